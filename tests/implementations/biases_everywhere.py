"""Biases everywhere, odd shapes, orthogonal and zero initialisation."""

import torch
from torch import nn


def softmax(x, dim=-1):
    return torch.nn.Softmax(dim=dim)(x)


def causal_mask(length):
    return torch.tril(torch.ones((length, length))).to(torch.bool)


def padding_mask(lengths, max_length):
    return torch.arange(max_length, device=lengths.device).expand(
        lengths.size(0), -1
    ) < lengths.unsqueeze(-1)


def _attend(s, v, mask):
    if mask is not None:
        s = s.masked_fill(
            mask == 0,
            -1e30 if s.dtype in (torch.float32, torch.float64, torch.bfloat16) else -65504.0,
        )
    w = nn.functional.softmax(s, dim=-1)
    return torch.matmul(w, v), w


class Biased(nn.Module):
    """A linear map whose bias has as many dimensions as its input."""

    def __init__(self, i, o, dims=3, init=nn.init.orthogonal_):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(o, i))
        self.bias = nn.Parameter(torch.full([1] * (dims - 1) + [o], 0.3))
        init(self.weight)

    def forward(self, x):
        return torch.matmul(x, self.weight.t()) + self.bias


def scaled_dot_product_attention(query, key, value, mask=None):
    return _attend(
        torch.matmul(query, key.transpose(-2, -1)).div(query.size(-1) ** 0.5), value, mask
    )


class AdditiveAttention(nn.Module):
    def __init__(self, d_query, d_key, d_hidden):
        super().__init__()
        self.q = Biased(d_query, d_hidden)
        self.k = Biased(d_key, d_hidden)
        self.e = Biased(d_hidden, 1, 4)

    def forward(self, query, key, value, mask=None):
        return _attend(
            self.e(torch.tanh(self.q(query).unsqueeze(2) + self.k(key).unsqueeze(1))).squeeze(-1),
            value,
            mask,
        )


class MultiplicativeAttention(nn.Module):
    def __init__(self, d_query, d_key):
        super().__init__()
        self.k = Biased(d_key, d_query)

    def forward(self, query, key, value, mask=None):
        return _attend(query @ self.k(key).transpose(1, 2), value, mask)


class SelfAttention(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.q, self.k, self.v = (
            Biased(d_model, d_model),
            Biased(d_model, d_model),
            Biased(d_model, d_model),
        )

    def forward(self, x, mask=None):
        return scaled_dot_product_attention(self.q(x), self.k(x), self.v(x), mask)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise AssertionError
        self.n_heads = n_heads
        self.q, self.k, self.v = (
            Biased(d_model, d_model),
            Biased(d_model, d_model),
            Biased(d_model, d_model),
        )
        self.o = Biased(d_model, d_model, init=nn.init.zeros_)

    def forward(self, query, key, value, mask=None):
        if mask is not None and mask.dim() == 3:
            mask = mask[:, None]
        q, k, v = (
            t.unflatten(2, (self.n_heads, -1)).permute(0, 2, 1, 3)
            for t in (self.q(query), self.k(key), self.v(value))
        )
        o, w = scaled_dot_product_attention(q, k, v, mask)
        return self.o(o.permute(0, 2, 1, 3).flatten(2)), w


def sinusoidal_positional_encoding(length, d_model):
    p = torch.arange(length).float()[:, None]
    i = torch.arange(d_model)[None]
    angle = p / torch.pow(torch.tensor(10000.0), (2 * (i // 2)).float() / d_model)
    return torch.where(i % 2 == 0, torch.sin(angle), torch.cos(angle))


class LayerNorm(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        return nn.functional.layer_norm(x, [x.size(-1)], self.weight, self.bias, 1e-5)


class FeedForward(nn.Module):
    def __init__(self, d_model, d_hidden):
        super().__init__()
        self.a = Biased(d_model, d_hidden)
        self.b = Biased(d_hidden, d_model, init=nn.init.zeros_)

    def forward(self, x):
        return self.b(nn.functional.leaky_relu(self.a(x)))


class EncoderLayer(nn.Module):
    """Post-norm."""

    def __init__(self, d_model, n_heads, d_hidden):
        super().__init__()
        self.mha = MultiHeadAttention(d_model, n_heads)
        self.ffn = FeedForward(d_model, d_hidden)
        self.ln1, self.ln2 = LayerNorm(d_model), LayerNorm(d_model)

    def forward(self, x, mask=None):
        a, _ = self.mha(x, x, x, mask)
        x = self.ln1(a + x)
        return self.ln2(self.ffn(x) + x)


class DecoderLayer(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden):
        super().__init__()
        self.mha1 = MultiHeadAttention(d_model, n_heads)
        self.mha2 = MultiHeadAttention(d_model, n_heads)
        self.ffn = FeedForward(d_model, d_hidden)
        self.ln1, self.ln2, self.ln3 = LayerNorm(d_model), LayerNorm(d_model), LayerNorm(d_model)

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        look_ahead = causal_mask(x.size(1)).to(x.device)[None]
        if self_mask is not None:
            look_ahead = look_ahead * self_mask
        a, _ = self.mha1(x, x, x, look_ahead)
        x = self.ln1(a + x)
        a, _ = self.mha2(x, memory, memory, memory_mask)
        x = self.ln2(a + x)
        return self.ln3(self.ffn(x) + x)


class Encoder(nn.Module):
    """Post-norm layers, and one more normalisation at the end."""

    def __init__(self, d_model, n_heads, d_hidden, n_layers):
        super().__init__()
        self.layers = nn.ModuleList(
            [EncoderLayer(d_model, n_heads, d_hidden) for _ in range(n_layers)]
        )
        self.ln = LayerNorm(d_model)

    def forward(self, x, mask=None):
        for layer in self.layers:
            x = layer(x, mask)
        return self.ln(x)


class Decoder(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden, n_layers):
        super().__init__()
        self.layers = nn.ModuleList(
            [DecoderLayer(d_model, n_heads, d_hidden) for _ in range(n_layers)]
        )
        self.ln = LayerNorm(d_model)

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        for layer in self.layers:
            x = layer(x, memory, self_mask, memory_mask)
        return self.ln(x)


class LearnedPositionalEmbedding(nn.Module):
    def __init__(self, max_length, d_model):
        super().__init__()
        self.max_length = max_length
        self.pe = nn.Parameter(torch.zeros(1, max_length, d_model))

    def forward(self, length):
        assert length <= self.max_length
        return self.pe[0, :length]


class PatchEmbedding(nn.Module):
    def __init__(self, patch_size, channels, d_model):
        super().__init__()
        self.p = patch_size
        self.proj = Biased(channels * patch_size * patch_size, d_model)

    def forward(self, images):
        b, c, h, w = images.shape
        x = (
            images.view(b, c, h // self.p, self.p, w // self.p, self.p)
            if images.is_contiguous()
            else images.reshape(b, c, h // self.p, self.p, w // self.p, self.p)
        )
        x = x.permute(0, 2, 4, 3, 5, 1).reshape(b, (h // self.p) * (w // self.p), -1)
        return self.proj(x)


class Transformer(nn.Module):
    def __init__(self, source_vocab, target_vocab, d_model, n_heads, d_hidden, n_layers):
        super().__init__()
        self.src = nn.Embedding(source_vocab, d_model)
        self.tgt = nn.Embedding(target_vocab, d_model)
        self.enc = Encoder(d_model, n_heads, d_hidden, n_layers)
        self.dec = Decoder(d_model, n_heads, d_hidden, n_layers)
        self.out = Biased(d_model, target_vocab)
        self.register_buffer("pe", sinusoidal_positional_encoding(1000, d_model), persistent=False)
        self.scale = d_model**0.5

    def encode(self, source, source_mask=None):
        x = self.src(source) * self.scale + self.pe[None, : source.size(1)]
        return self.enc(x, None if source_mask is None else source_mask[:, None, :])

    def decode(self, target_in, memory, source_mask=None):
        x = self.tgt(target_in) * self.scale + self.pe[None, : target_in.size(1)]
        mask = None if source_mask is None else source_mask[:, None, :]
        return self.out(self.dec(x, memory, None, mask))

    def forward(self, source, target_in, source_mask=None):
        return self.decode(target_in, self.encode(source, source_mask), source_mask)

    def step(self, token, memory, cache=None, source_mask=None):
        tokens = (
            token[:, None] if cache is None else torch.cat((cache["tokens"], token[:, None]), 1)
        )
        return self.decode(tokens, memory, source_mask)[:, -1], {"tokens": tokens}

    def generate(self, source, bos, max_length, source_mask=None):
        memory = self.encode(source, source_mask)
        out = torch.full((source.size(0), 1), bos, dtype=torch.long, device=source.device)
        for _ in range(max_length):
            out = torch.cat((out, self.decode(out, memory, source_mask)[:, -1:].argmax(-1)), 1)
        return out[:, 1:]


class Seq2Seq(nn.Module):
    """GRU cells of torch, and the state in a tuple in a tuple."""

    def __init__(self, source_vocab, target_vocab, d_embed, d_hidden):
        super().__init__()
        self.h = d_hidden
        self.src = nn.Embedding(source_vocab, d_embed)
        self.tgt = nn.Embedding(target_vocab, d_embed)
        self.enc = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.dec = nn.GRUCell(d_embed, d_hidden)
        self.out = nn.Linear(d_hidden, target_vocab)

    def encode(self, source, lengths=None):
        states, _ = self.enc(self.src(source))
        if lengths is None:
            last = states[:, -1]
        else:
            last = states[torch.arange(source.size(0), device=source.device), lengths - 1]
        return states, ((last,),)

    def step(self, token, state):
        h = self.dec(self.tgt(token), state[0][0])
        return self.out(h), ((h,),)

    def forward(self, source, target_in, lengths=None):
        _, state = self.encode(source, lengths)
        out = []
        for t in range(target_in.size(1)):
            logits, state = self.step(target_in[:, t], state)
            out.append(logits[:, None])
        return torch.cat(out, 1)

    def generate(self, source, bos, max_length, lengths=None):
        _, state = self.encode(source, lengths)
        token = torch.full((source.size(0),), bos, dtype=torch.long, device=source.device)
        out = torch.empty((source.size(0), max_length), dtype=torch.long, device=source.device)
        for t in range(max_length):
            logits, state = self.step(token, state)
            token = torch.max(logits, -1).indices
            out[:, t] = token
        return out


class AttentionSeq2Seq(nn.Module):
    """The decoder starts from a projection of the last state."""

    def __init__(self, source_vocab, target_vocab, d_embed, d_hidden):
        super().__init__()
        self.src = nn.Embedding(source_vocab, d_embed)
        self.tgt = nn.Embedding(target_vocab, d_embed)
        self.enc = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.start = nn.Linear(d_hidden, d_hidden)
        self.att = AdditiveAttention(d_hidden, d_hidden, d_hidden)
        self.dec = nn.GRUCell(d_embed + d_hidden, d_hidden)
        self.out = nn.Linear(2 * d_hidden, target_vocab)

    def encode(self, source, lengths=None):
        states, _ = self.enc(self.src(source))
        if lengths is None:
            last = states[:, -1]
        else:
            last = states[torch.arange(source.size(0), device=source.device), lengths - 1]
        return states, torch.tanh(self.start(last))

    def step(self, token, state, memory, memory_mask=None):
        mask = memory_mask[:, None, :] if memory_mask is not None else None
        c, w = self.att(state[:, None, :], memory, memory, mask)
        h = self.dec(torch.cat((self.tgt(token), c[:, 0]), 1), state)
        return self.out(torch.cat((h, c[:, 0]), 1)), h, w[:, 0]

    def forward(self, source, target_in, lengths=None):
        memory, state = self.encode(source, lengths)
        mask = None if lengths is None else padding_mask(lengths, source.size(1))
        out = []
        for t in range(target_in.size(1)):
            logits, state, _ = self.step(target_in[:, t], state, memory, mask)
            out.append(logits[:, None])
        return torch.cat(out, 1)

    def generate(self, source, bos, max_length, lengths=None):
        memory, state = self.encode(source, lengths)
        mask = None if lengths is None else padding_mask(lengths, source.size(1))
        token = torch.full((source.size(0),), bos, dtype=torch.long, device=source.device)
        out = torch.empty((source.size(0), max_length), dtype=torch.long, device=source.device)
        for t in range(max_length):
            logits, state, _ = self.step(token, state, memory, mask)
            token = torch.max(logits, -1).indices
            out[:, t] = token
        return out
