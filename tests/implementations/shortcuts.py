"""Correct shortcuts: one key needs no softmax, and a mask that allows everything none at all."""

import torch
from torch import nn


def softmax(x, dim=-1):
    if x.shape[dim] == 1:
        return torch.ones_like(x)
    return x.softmax(dim)


def causal_mask(length):
    return torch.arange(length)[None].le(torch.arange(length)[:, None])


def padding_mask(lengths, max_length):
    return torch.arange(max_length, device=lengths.device)[None] < lengths[:, None]


def _attend(s, v, mask):
    if s.shape[-1] == 1 and mask is None:
        w = torch.ones_like(s)
        return v.expand(*s.shape[:-1], v.shape[-1]), w
    if mask is not None and mask.all():
        mask = None
    if mask is None:
        w = s.softmax(-1)
    else:
        m = mask.expand_as(s)
        w = torch.zeros_like(s)
        rows = m.any(-1)
        w[rows] = s[rows].masked_fill(~m[rows], float("-inf")).softmax(-1)
    return w @ v, w


def scaled_dot_product_attention(query, key, value, mask=None):
    return _attend(query @ key.mT / query.shape[-1] ** 0.5, value, mask)


class MultiplicativeAttention(nn.Module):
    def __init__(self, d_query, d_key):
        super().__init__()
        self.m = nn.Parameter(torch.randn(d_query, d_key))

    def forward(self, query, key, value, mask=None):
        return _attend(query @ self.m @ key.mT, value, mask)


class AdditiveAttention(nn.Module):
    def __init__(self, d_query, d_key, d_hidden):
        super().__init__()
        self.q = nn.Linear(d_query, d_hidden)
        self.k = nn.Linear(d_key, d_hidden)
        self.e = nn.Linear(d_hidden, 1)

    def forward(self, query, key, value, mask=None):
        return _attend(
            self.e(torch.tanh(self.q(query)[:, :, None] + self.k(key)[:, None]))[..., 0],
            value,
            mask,
        )


class SelfAttention(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.kqv = nn.Linear(d_model, 3 * d_model, bias=False)

    def forward(self, x, mask=None):
        k, q, v = self.kqv(x).chunk(3, -1)
        return scaled_dot_product_attention(q, k, v, mask)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        if d_model % n_heads:
            raise ValueError("heads")
        super().__init__()
        self.n = n_heads
        self.q = nn.Linear(d_model, d_model, bias=False)
        self.kv = nn.Linear(d_model, 2 * d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, query, key, value, mask=None):
        q = self.q(query)
        if key is value:
            k, v = self.kv(key).chunk(2, -1)
        else:
            wk, wv = self.kv.weight.chunk(2, 0)
            k, v = key @ wk.T, value @ wv.T
        q, k, v = (t.unflatten(-1, (self.n, -1)).transpose(1, 2) for t in (q, k, v))
        o, w = scaled_dot_product_attention(
            q, k, v, mask[:, None] if mask is not None and mask.dim() == 3 else mask
        )
        return self.out_proj(o.transpose(1, 2).flatten(2)), w


def sinusoidal_positional_encoding(length, d_model):
    if d_model % 2:
        raise ValueError("odd width")
    w = 10000 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    a = torch.arange(length, dtype=torch.float64)[:, None] * w
    return torch.cat([a.sin(), a.cos()], -1).float()


class LayerNorm(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.g = nn.Parameter(torch.ones(d_model))
        self.b = nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        return nn.functional.layer_norm(x, x.shape[-1:]) * self.g + self.b


class FeedForward(nn.Module):
    def __init__(self, d_model, d_hidden):
        super().__init__()
        self.a = nn.Linear(d_model, d_hidden, bias=False)
        self.b = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, x):
        return self.b(self.a(x).clamp_min(0))


class EncoderLayer(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden):
        super().__init__()
        self.att, self.ff = MultiHeadAttention(d_model, n_heads), FeedForward(d_model, d_hidden)
        self.n1, self.n2 = LayerNorm(d_model), LayerNorm(d_model)

    def forward(self, x, mask=None):
        h = self.n1(x)
        x = x + self.att(h, h, h, mask)[0]
        return x + self.ff(self.n2(x))


class DecoderLayer(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden):
        super().__init__()
        self.own, self.other = (
            MultiHeadAttention(d_model, n_heads),
            MultiHeadAttention(d_model, n_heads),
        )
        self.ff = FeedForward(d_model, d_hidden)
        self.n1, self.n2, self.n3 = LayerNorm(d_model), LayerNorm(d_model), LayerNorm(d_model)

    def after(self, x, memory, memory_mask):
        x = x + self.other(self.n2(x), memory, memory, memory_mask)[0]
        return x + self.ff(self.n3(x))

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        h = self.n1(x)
        if x.shape[1] == 1 and self_mask is None:
            m = None
        else:
            m = causal_mask(x.shape[1]).to(x.device)
            m = m if self_mask is None else m & self_mask
        return self.after(x + self.own(h, h, h, m)[0], memory, memory_mask)


class Encoder(nn.Sequential):
    """Pre-norm, and no normalisation at the end."""

    def __init__(self, d_model, n_heads, d_hidden, n_layers):
        super().__init__(*(EncoderLayer(d_model, n_heads, d_hidden) for _ in range(n_layers)))

    def forward(self, x, mask=None):
        for layer in self:
            x = layer(x, mask)
        return x


class Decoder(nn.Sequential):
    def __init__(self, d_model, n_heads, d_hidden, n_layers):
        super().__init__(*(DecoderLayer(d_model, n_heads, d_hidden) for _ in range(n_layers)))

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        for layer in self:
            x = layer(x, memory, self_mask, memory_mask)
        return x


class LearnedPositionalEmbedding(nn.Module):
    def __init__(self, max_length, d_model):
        super().__init__()
        self.t = nn.Parameter(torch.randn(max_length, d_model))

    def forward(self, length):
        if length == len(self.t):
            return self.t
        if length > len(self.t):
            raise IndexError(length)
        return self.t[:length]


class PatchEmbedding(nn.Module):
    def __init__(self, patch_size, channels, d_model):
        super().__init__()
        self.p = patch_size
        self.w = nn.Linear(channels * patch_size**2, d_model, bias=False)

    def forward(self, images):
        if self.p == 1:
            return self.w(images.flatten(2).mT)
        p = self.p
        return self.w(
            images.unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 1, 4, 5).flatten(3)
        ).flatten(1, 2)


class Transformer(nn.Module):
    """A mask that allows everything is none; the decoder is normalised once, at the end."""

    def __init__(self, source_vocab, target_vocab, d_model, n_heads, d_hidden, n_layers):
        super().__init__()
        self.s = nn.Embedding(source_vocab, d_model)
        self.t = nn.Embedding(target_vocab, d_model)
        self.e = Encoder(d_model, n_heads, d_hidden, n_layers)
        self.d = Decoder(d_model, n_heads, d_hidden, n_layers)
        self.n = LayerNorm(d_model)
        self.o = nn.Linear(d_model, target_vocab, bias=False)

    def _pe(self, x, start=0):
        return x + sinusoidal_positional_encoding(start + x.shape[1], x.shape[2])[start:].to(x)

    def encode(self, source, source_mask=None):
        if source_mask is not None and source_mask.all():
            source_mask = None
        return self.e(
            self._pe(self.s(source)), None if source_mask is None else source_mask[:, None]
        )

    def decode(self, target_in, memory, source_mask=None):
        m = None if source_mask is None or source_mask.all() else source_mask[:, None]
        return self.o(self.n(self.d(self._pe(self.t(target_in)), memory, None, m)))

    def forward(self, source, target_in, source_mask=None):
        return self.decode(target_in, self.encode(source, source_mask), source_mask)

    def step(self, token, memory, cache=None, source_mask=None):
        n, past = cache or (0, [None] * len(self.d))
        x = self._pe(self.t(token)[:, None], n)
        m = None if source_mask is None or source_mask.all() else source_mask[:, None]
        new = []
        for layer, before in zip(self.d, past, strict=True):
            h = layer.n1(x)
            p = h if before is None else torch.cat([before, h], 1)
            new.append(p)
            x = layer.after(x + layer.own(h, p, p)[0], memory, m)
        return self.o(self.n(x))[:, 0], (n + 1, new)

    def generate(self, source, bos, max_length, source_mask=None):
        memory, cache, out = self.encode(source, source_mask), None, []
        token = source.new_full(source.shape[:1], bos)
        for _ in range(max_length):
            logits, cache = self.step(token, memory, cache, source_mask)
            token = logits.argmax(-1)
            out.append(token)
        return torch.stack(out, 1)


class Seq2Seq(nn.Module):
    """Bias-free cells; a source that has ended keeps its state."""

    def __init__(self, source_vocab, target_vocab, d_embed, d_hidden):
        super().__init__()
        self.h = d_hidden
        self.s, self.t = nn.Embedding(source_vocab, d_embed), nn.Embedding(target_vocab, d_embed)
        self.read = nn.GRUCell(d_embed, d_hidden, bias=False)
        self.write = self._writer(d_embed, d_hidden)
        self.o = nn.Linear(d_hidden, target_vocab, bias=False)

    def _writer(self, d_embed, d_hidden):
        return nn.GRUCell(d_embed, d_hidden, bias=False)

    def encode(self, source, lengths=None):
        x = self.s(source)
        h, out = x.new_zeros(len(x), self.h), []
        for t in range(x.shape[1]):
            new = self.read(x[:, t], h)
            h = new if lengths is None else new.where((lengths > t)[:, None], h)
            out.append(h)
        return torch.stack(out, 1), h

    def step(self, token, state):
        state = self.write(self.t(token), state)
        return self.o(state), state

    def forward(self, source, target_in, lengths=None):
        state, out = self.encode(source, lengths)[1], []
        for token in target_in.mT:
            logits, state = self.step(token, state)
            out.append(logits)
        return torch.stack(out, 1)

    def generate(self, source, bos, max_length, lengths=None):
        state, token, out = (
            self.encode(source, lengths)[1],
            source.new_full((len(source),), bos),
            [],
        )
        for _ in range(max_length):
            logits, state = self.step(token, state)
            token = logits.argmax(-1)
            out.append(token)
        return torch.stack(out, 1)


class AttentionSeq2Seq(Seq2Seq):
    def __init__(self, source_vocab, target_vocab, d_embed, d_hidden):
        super().__init__(source_vocab, target_vocab, d_embed, d_hidden)
        self.a = MultiplicativeAttention(d_hidden, d_hidden)

    def _writer(self, d_embed, d_hidden):
        return nn.GRUCell(d_embed + d_hidden, d_hidden, bias=False)

    def step(self, token, state, memory, memory_mask=None):
        c, w = self.a(
            state[:, None], memory, memory, None if memory_mask is None else memory_mask[:, None]
        )
        state = self.write(torch.cat([self.t(token), c[:, 0]], -1), state)
        return self.o(state), state, w[:, 0]

    def forward(self, source, target_in, lengths=None):
        (memory, state), out = self.encode(source, lengths), []
        m = None if lengths is None else padding_mask(lengths, source.shape[1])
        for token in target_in.mT:
            logits, state, _ = self.step(token, state, memory, m)
            out.append(logits)
        return torch.stack(out, 1)

    def generate(self, source, bos, max_length, lengths=None):
        (memory, state), out = self.encode(source, lengths), []
        m = None if lengths is None else padding_mask(lengths, source.shape[1])
        token = source.new_full((len(source),), bos)
        for _ in range(max_length):
            logits, state, _ = self.step(token, state, memory, m)
            token = logits.argmax(-1)
            out.append(token)
        return torch.stack(out, 1)
