"""Einstein summation throughout, with a small bias-free layer for each head and a finite mask."""

import math

import torch
from torch import Tensor, einsum, nn


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    if x.numel() == 0:
        return x.clone()
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    raised = torch.exp(wide - wide.detach().amax(dim, keepdim=True))
    return (raised / raised.sum(dim, keepdim=True)).to(x.dtype)


def causal_mask(length: int) -> Tensor:
    position = torch.arange(length)
    return position[:, None] >= position[None, :]


def padding_mask(lengths: Tensor, max_length: int) -> Tensor:
    position = torch.arange(max_length, device=lengths.device)
    return position[None, :] < lengths[:, None]


def _masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return softmax(scores)
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    wide = torch.where(mask, wide, torch.finfo(wide.dtype).min)
    raised = torch.exp(wide - wide.detach().amax(-1, keepdim=True)) * mask
    total = raised.sum(-1, keepdim=True)
    return (raised / (total + (total == 0))).to(scores.dtype)


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    scores = einsum("...ld,...sd->...ls", query, key) / math.sqrt(query.shape[-1])
    weights = _masked_softmax(scores, mask)
    return einsum("...ls,...sv->...lv", weights, value), weights


class AdditiveAttention(nn.Module):
    def __init__(self, d_query: int, d_key: int, d_hidden: int) -> None:
        super().__init__()
        self.from_query = nn.Parameter(torch.randn(d_hidden, d_query) / math.sqrt(d_query))
        self.from_key = nn.Parameter(torch.randn(d_hidden, d_key) / math.sqrt(d_key))
        self.reduce = nn.Parameter(torch.randn(d_hidden) / math.sqrt(d_hidden))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        asked = einsum("blq,hq->blh", query, self.from_query)
        offered = einsum("bsk,hk->bsh", key, self.from_key)
        features = torch.tanh(asked[:, :, None, :] + offered[:, None, :, :])
        weights = _masked_softmax(einsum("blsh,h->bls", features, self.reduce), mask)
        return einsum("bls,bsv->blv", weights, value), weights


class MultiplicativeAttention(nn.Module):
    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__()
        self.bilinear = nn.Parameter(torch.randn(d_query, d_key) / math.sqrt(d_key))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        weights = _masked_softmax(einsum("blq,qk,bsk->bls", query, self.bilinear, key), mask)
        return einsum("bls,bsv->blv", weights, value), weights


class SelfAttention(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.w_q = nn.Parameter(torch.randn(d_model, d_model) / math.sqrt(d_model))
        self.w_k = nn.Parameter(torch.randn(d_model, d_model) / math.sqrt(d_model))
        self.w_v = nn.Parameter(torch.randn(d_model, d_model) / math.sqrt(d_model))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        query, key, value = (
            einsum("bld,kd->blk", x, weight) for weight in (self.w_q, self.w_k, self.w_v)
        )
        return scaled_dot_product_attention(query, key, value, mask)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        if n_heads < 1 or d_model % n_heads:
            raise ValueError(f"a width of {d_model} cannot be shared by {n_heads} heads")
        width = d_model // n_heads

        def per_head(d_in: int, d_out: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Linear(d_in, d_out, bias=False) for _ in range(n_heads))

        self.ask = per_head(d_model, width)
        self.offer = per_head(d_model, width)
        self.carry = per_head(d_model, width)
        self.merge = per_head(width, d_model)

    @staticmethod
    def _stacked(layers: nn.ModuleList) -> Tensor:
        return torch.stack([layer.weight for layer in layers])

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if mask is not None and mask.dim() == 3:
            mask = mask[:, None]
        asked = einsum("bld,hkd->bhlk", query, self._stacked(self.ask))
        offered = einsum("bsd,hkd->bhsk", key, self._stacked(self.offer))
        carried = einsum("bsd,hvd->bhsv", value, self._stacked(self.carry))
        heads, weights = scaled_dot_product_attention(asked, offered, carried, mask)
        return einsum("bhlv,hdv->bld", heads, self._stacked(self.merge)), weights


def sinusoidal_positional_encoding(length: int, d_model: int) -> Tensor:
    if d_model % 2:
        raise ValueError(f"a width of {d_model} is odd")
    frequency = torch.exp(
        torch.arange(d_model // 2, dtype=torch.float64) * (-2 * math.log(10000.0) / d_model)
    )
    angle = einsum("l,i->li", torch.arange(length, dtype=torch.float64), frequency)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


class LayerNorm(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(d_model))
        self.shift = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        centred = wide - wide.mean(-1, keepdim=True)
        spread = (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        return einsum("...d,d->...d", (centred * spread).to(x.dtype), self.scale) + self.shift


class FeedForward(nn.Module):
    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__()
        self.widen = nn.Parameter(torch.randn(d_model, d_hidden) / math.sqrt(d_model))
        self.narrow = nn.Parameter(torch.randn(d_hidden, d_model) / math.sqrt(d_hidden))

    def forward(self, x: Tensor) -> Tensor:
        hidden = nn.functional.gelu(einsum("...d,dh->...h", x, self.widen))
        return einsum("...h,hd->...d", hidden, self.narrow)


class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int) -> None:
        super().__init__()
        self.mix = MultiHeadAttention(d_model, n_heads)
        self.think = FeedForward(d_model, d_hidden)
        self.before_mix = LayerNorm(d_model)
        self.before_think = LayerNorm(d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        seen = self.before_mix(x)
        x = x + self.mix(seen, seen, seen, mask)[0]
        return x + self.think(self.before_think(x))


class DecoderLayer(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int) -> None:
        super().__init__()
        self.mix = MultiHeadAttention(d_model, n_heads)
        self.consult = MultiHeadAttention(d_model, n_heads)
        self.think = FeedForward(d_model, d_hidden)
        self.before_mix = LayerNorm(d_model)
        self.before_consult = LayerNorm(d_model)
        self.before_think = LayerNorm(d_model)

    def rest(self, x: Tensor, memory: Tensor, memory_mask: Tensor | None) -> Tensor:
        x = x + self.consult(self.before_consult(x), memory, memory, memory_mask)[0]
        return x + self.think(self.before_think(x))

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        allowed = causal_mask(x.shape[1]).to(x.device)
        allowed = allowed if self_mask is None else torch.logical_and(allowed, self_mask)
        seen = self.before_mix(x)
        return self.rest(x + self.mix(seen, seen, seen, allowed)[0], memory, memory_mask)


class Encoder(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int, n_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(d_model, n_heads, d_hidden) for _ in range(n_layers)
        )
        self.last = LayerNorm(d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, mask)
        return self.last(x)


class Decoder(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int, n_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(d_model, n_heads, d_hidden) for _ in range(n_layers)
        )
        self.last = LayerNorm(d_model)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        for layer in self.layers:
            x = layer(x, memory, self_mask, memory_mask)
        return self.last(x)

    def newest(
        self, x: Tensor, memory: Tensor, past: dict[int, Tensor], memory_mask: Tensor | None
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Take the newest token (B, 1, D); keep what every layer has read, normalised."""
        kept = {}
        for index, layer in enumerate(self.layers):
            seen = layer.before_mix(x)
            kept[index] = torch.cat([past[index], seen], 1) if past else seen
            x = x + layer.mix(seen, kept[index], kept[index])[0]
            x = layer.rest(x, memory, memory_mask)
        return self.last(x), kept


class LearnedPositionalEmbedding(nn.Module):
    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(max_length, d_model))

    def forward(self, length: int) -> Tensor:
        if length > len(self.rows):
            raise ValueError(f"there are {len(self.rows)} positions, not {length}")
        return self.rows[:length]


class PatchEmbedding(nn.Module):
    def __init__(self, patch_size: int, channels: int, d_model: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.kernel = nn.Parameter(torch.randn(d_model, channels, patch_size, patch_size))

    def forward(self, images: Tensor) -> Tensor:
        p = self.patch_size
        tiles = images.unfold(2, p, p).unfold(3, p, p)
        return einsum("bcyxij,dcij->byxd", tiles, self.kernel).flatten(1, 2)


class Transformer(nn.Module):
    """Keeps what each decoder layer has read of the tokens so far, by the layer's number."""

    def __init__(
        self,
        source_vocab: int,
        target_vocab: int,
        d_model: int,
        n_heads: int,
        d_hidden: int,
        n_layers: int,
    ) -> None:
        super().__init__()
        self.read = nn.Parameter(torch.randn(source_vocab, d_model))
        self.write = nn.Parameter(torch.randn(target_vocab, d_model))
        self.encoder = Encoder(d_model, n_heads, d_hidden, n_layers)
        self.decoder = Decoder(d_model, n_heads, d_hidden, n_layers)
        self.unembed = nn.Parameter(torch.randn(target_vocab, d_model))

    @staticmethod
    def _placed(table: Tensor, tokens: Tensor, first: int = 0) -> Tensor:
        length, width = tokens.shape[1], table.shape[1]
        positions = sinusoidal_positional_encoding(first + length, width)[first:]
        return table[tokens] + positions.to(table)

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        mask = None if source_mask is None else source_mask[:, None, :]
        return self.encoder(self._placed(self.read, source), mask)

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        mask = None if source_mask is None else source_mask[:, None, :]
        x = self.decoder(self._placed(self.write, target_in), memory, None, mask)
        return einsum("bld,vd->blv", x, self.unembed)

    def forward(
        self, source: Tensor, target_in: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        return self.decode(target_in, self.encode(source, source_mask), source_mask)

    def step(
        self,
        token: Tensor,
        memory: Tensor,
        cache: dict[int, Tensor] | None = None,
        source_mask: Tensor | None = None,
    ) -> tuple[Tensor, dict[int, Tensor]]:
        past = cache or {}
        x = self._placed(self.write, token[:, None], past[0].shape[1] if past else 0)
        mask = None if source_mask is None else source_mask[:, None, :]
        x, past = self.decoder.newest(x, memory, past, mask)
        return einsum("bd,vd->bv", x[:, 0], self.unembed), past

    def generate(
        self, source: Tensor, bos: int, max_length: int, source_mask: Tensor | None = None
    ) -> Tensor:
        memory = self.encode(source, source_mask)
        tokens = source.new_full((len(source), max_length + 1), bos)
        cache = None
        for t in range(max_length):
            logits, cache = self.step(tokens[:, t], memory, cache, source_mask)
            tokens[:, t + 1] = logits.argmax(-1)
        return tokens[:, 1:].clone()


class _Gru(nn.Module):
    """Three gates whose weights are stacked along a dimension of their own."""

    def __init__(self, d_input: int, d_hidden: int) -> None:
        super().__init__()
        self.of_input = nn.Parameter(torch.randn(3, d_hidden, d_input) / math.sqrt(d_input))
        self.of_state = nn.Parameter(torch.randn(3, d_hidden, d_hidden) / math.sqrt(d_hidden))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        reset_x, keep_x, new_x = einsum("ghd,bd->gbh", self.of_input, x)
        reset_h, keep_h, new_h = einsum("ghk,bk->gbh", self.of_state, h)
        keep = torch.sigmoid(keep_x + keep_h)
        return keep * h + (1 - keep) * torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)


class Seq2Seq(nn.Module):
    def __init__(self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__()
        self.read = nn.Parameter(torch.randn(source_vocab, d_embed))
        self.write = nn.Parameter(torch.randn(target_vocab, d_embed))
        self.reader = _Gru(d_embed, d_hidden)
        self.writer = _Gru(d_embed, d_hidden)
        self.unembed = nn.Parameter(torch.randn(target_vocab, d_hidden))

    def encode(self, source: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        state = self.unembed.new_zeros(len(source), self.unembed.shape[1])
        states = []
        for t in range(source.shape[1]):
            new = self.reader(self.read[source[:, t]], state)
            if lengths is not None:
                new = torch.where((t < lengths)[:, None], new, state)
            state = new
            states.append(state)
        return torch.stack(states, 1), state

    def step(self, token: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.writer(self.write[token], state)
        return einsum("bh,vh->bv", state, self.unembed), state

    def forward(self, source: Tensor, target_in: Tensor, lengths: Tensor | None = None) -> Tensor:
        _, state = self.encode(source, lengths)
        logits = []
        for token in target_in.T:
            after, state = self.step(token, state)
            logits.append(after)
        return torch.stack(logits, 1)

    def generate(
        self, source: Tensor, bos: int, max_length: int, lengths: Tensor | None = None
    ) -> Tensor:
        _, state = self.encode(source, lengths)
        tokens = source.new_full((len(source), max_length + 1), bos)
        for t in range(max_length):
            logits, state = self.step(tokens[:, t], state)
            tokens[:, t + 1] = logits.argmax(-1)
        return tokens[:, 1:].clone()


class AttentionSeq2Seq(Seq2Seq):
    """Looks back after the step, at what the new state asks for."""

    def __init__(self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__(source_vocab, target_vocab, d_embed, d_hidden)
        self.ask = nn.Parameter(torch.randn(d_hidden, d_hidden) / math.sqrt(d_hidden))
        self.join = nn.Parameter(torch.randn(2, d_hidden, d_hidden) / math.sqrt(d_hidden))

    def step(
        self,
        token: Tensor,
        state: Tensor,
        memory: Tensor,
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        state = self.writer(self.write[token], state)
        scores = einsum("bh,hk,bsk->bs", state, self.ask, memory)
        weights = _masked_softmax(scores, memory_mask)
        context = einsum("bs,bsh->bh", weights, memory)
        both = torch.tanh(einsum("chk,cbk->bh", self.join, torch.stack([state, context])))
        return einsum("bh,vh->bv", both, self.unembed), state, weights

    def forward(self, source: Tensor, target_in: Tensor, lengths: Tensor | None = None) -> Tensor:
        memory, state = self.encode(source, lengths)
        mask = None if lengths is None else padding_mask(lengths, source.shape[1])
        logits = []
        for token in target_in.T:
            after, state, _ = self.step(token, state, memory, mask)
            logits.append(after)
        return torch.stack(logits, 1)

    def generate(
        self, source: Tensor, bos: int, max_length: int, lengths: Tensor | None = None
    ) -> Tensor:
        memory, state = self.encode(source, lengths)
        mask = None if lengths is None else padding_mask(lengths, source.shape[1])
        tokens = source.new_full((len(source), max_length + 1), bos)
        for t in range(max_length):
            logits, state, _ = self.step(tokens[:, t], state, memory, mask)
            tokens[:, t + 1] = logits.argmax(-1)
        return tokens[:, 1:].clone()
