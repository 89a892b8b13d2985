"""A correct implementation of the contract, by an author who knew nothing but the contract.

It is pre-norm, with ReLU, GRU cells and a cache of layer inputs; `tests.strangers.styles` has the
other choices that the contract leaves. The edits are looked up in this file's text.
"""

import math

import torch
from torch import nn

HALF = (torch.float16, torch.bfloat16)


def _wide(x):
    return x.float() if x.dtype in HALF else x


def softmax(x, dim=-1):
    z = _wide(x)
    e = torch.exp(z - z.detach().amax(dim, keepdim=True))
    return (e / e.sum(dim, keepdim=True)).to(x.dtype)


def causal_mask(length):
    return torch.ones(length, length, dtype=torch.bool).tril()


def padding_mask(lengths, max_length):
    return torch.arange(max_length, device=lengths.device) < lengths[:, None]


def sinusoidal_positional_encoding(length, d_model):
    position = torch.arange(length, dtype=torch.float64)[:, None]
    column = torch.arange(0, d_model, 2, dtype=torch.float64)
    angle = position * 10000.0 ** (-column / d_model)
    table = torch.zeros(length, d_model, dtype=torch.float64)
    table[:, 0::2] = angle.sin()
    table[:, 1::2] = angle.cos()[:, : d_model // 2]
    return table.float()


def _masked(scores, mask):
    """Softmax over the allowed keys; a row without any gets zeros."""
    if mask is None:
        return softmax(scores)
    mask = mask.expand(torch.broadcast_shapes(mask.shape, scores.shape))
    dead = ~mask.any(-1, keepdim=True)
    filled = scores.masked_fill(~mask, -math.inf).masked_fill(dead, 0.0)
    return softmax(filled).masked_fill(~mask, 0.0)


def scaled_dot_product_attention(query, key, value, mask=None):
    scores = _wide(query) @ _wide(key).transpose(-2, -1) / math.sqrt(query.shape[-1])
    weights = _masked(scores, mask)
    output = weights @ _wide(value)
    return output.to(query.dtype), weights.to(query.dtype)


class AdditiveAttention(nn.Module):
    def __init__(self, d_query, d_key, d_hidden):
        super().__init__()
        self.query = nn.Linear(d_query, d_hidden, bias=False)
        self.key = nn.Linear(d_key, d_hidden, bias=False)
        self.energy = nn.Linear(d_hidden, 1, bias=False)

    def forward(self, query, key, value, mask=None):
        hidden = torch.tanh(self.query(query).unsqueeze(2) + self.key(key).unsqueeze(1))
        scores = self.energy(hidden).squeeze(-1)
        weights = _masked(scores, mask)
        return weights @ value, weights


class MultiplicativeAttention(nn.Module):
    def __init__(self, d_query, d_key):
        super().__init__()
        self.key = nn.Linear(d_key, d_query, bias=False)

    def forward(self, query, key, value, mask=None):
        scores = query @ self.key(key).transpose(1, 2)
        weights = _masked(scores, mask)
        return weights @ value, weights


class SelfAttention(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, mask=None):
        q, k, v = self.query(x), self.key(x), self.value(x)
        scores = q @ k.transpose(1, 2) / math.sqrt(x.shape[-1])
        weights = _masked(scores, mask)
        return weights @ v, weights


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"{n_heads} heads do not divide a width of {d_model}")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.output = nn.Linear(d_model, d_model)

    def split(self, x):
        return x.reshape(x.shape[0], x.shape[1], self.n_heads, self.d_head).transpose(1, 2)

    def forward(self, query, key, value, mask=None):
        q, k, v = (
            self.split(self.query(query)),
            self.split(self.key(key)),
            self.split(self.value(value)),
        )
        if mask is not None and mask.dim() == 3:
            mask = mask.unsqueeze(1)
        scores = q @ k.transpose(-2, -1) / math.sqrt(self.d_head)
        weights = _masked(scores, mask)
        heads = (weights @ v).transpose(1, 2)
        return self.output(heads.reshape(query.shape)), weights


class LayerNorm(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        z = _wide(x)
        mean = z.mean(-1, keepdim=True)
        variance = (z - mean).square().mean(-1, keepdim=True)
        normal = (z - mean) / torch.sqrt(variance + 1e-5)
        return (normal * self.gain + self.bias).to(x.dtype)


class FeedForward(nn.Module):
    def __init__(self, d_model, d_hidden):
        super().__init__()
        self.up = nn.Linear(d_model, d_hidden)
        self.down = nn.Linear(d_hidden, d_model)

    def forward(self, x):
        hidden = torch.relu(self.up(x))
        return self.down(hidden)


class EncoderLayer(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden):
        super().__init__()
        self.attention = MultiHeadAttention(d_model, n_heads)
        self.feed_forward = FeedForward(d_model, d_hidden)
        self.norm1, self.norm2 = LayerNorm(d_model), LayerNorm(d_model)

    def forward(self, x, mask=None):
        a = self.norm1(x)
        x = x + self.attention(a, a, a, mask)[0]
        return x + self.feed_forward(self.norm2(x))


class DecoderLayer(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden):
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, n_heads)
        self.cross_attention = MultiHeadAttention(d_model, n_heads)
        self.feed_forward = FeedForward(d_model, d_hidden)
        self.norm1, self.norm2, self.norm3 = (
            LayerNorm(d_model),
            LayerNorm(d_model),
            LayerNorm(d_model),
        )

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        mask = causal_mask(x.shape[1]).to(x.device)
        if self_mask is not None:
            mask = mask & self_mask
        return self.run(x, x, memory, mask, memory_mask)

    def run(self, x, seen, memory, mask, memory_mask):
        """x queries the inputs seen so far (in a full pass, x itself)."""
        a, s = self.norm1(x), self.norm1(seen)
        x = x + self.self_attention(a, s, s, mask)[0]
        x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]
        return x + self.feed_forward(self.norm3(x))


class Encoder(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden, n_layers):
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(d_model, n_heads, d_hidden) for _ in range(n_layers)
        )
        self.norm = LayerNorm(d_model)

    def forward(self, x, mask=None):
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)


class Decoder(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden, n_layers):
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(d_model, n_heads, d_hidden) for _ in range(n_layers)
        )
        self.norm = LayerNorm(d_model)

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        for layer in self.layers:
            x = layer(x, memory, self_mask, memory_mask)
        return self.norm(x)


class LearnedPositionalEmbedding(nn.Module):
    def __init__(self, max_length, d_model):
        super().__init__()
        self.table = nn.Parameter(torch.randn(max_length, d_model) * 0.02)

    def forward(self, length):
        if not 0 <= length <= len(self.table):
            raise ValueError(f"length {length} is past the {len(self.table)} positions there are")
        return self.table[:length]


class PatchEmbedding(nn.Module):
    def __init__(self, patch_size, channels, d_model):
        super().__init__()
        self.patch, self.project = patch_size, nn.Linear(channels * patch_size**2, d_model)

    def forward(self, images):
        b, c, h, w = images.shape
        p = self.patch
        x = images.reshape(b, c, h // p, p, w // p, p)
        x = x.permute(0, 2, 4, 1, 3, 5)
        x = x.reshape(b, (h // p) * (w // p), c * p * p)
        return self.project(x)


class Transformer(nn.Module):
    def __init__(self, source_vocab, target_vocab, d_model, n_heads, d_hidden, n_layers):
        super().__init__()
        self.source_embedding = nn.Embedding(source_vocab, d_model)
        self.target_embedding = nn.Embedding(target_vocab, d_model)
        self.encoder = Encoder(d_model, n_heads, d_hidden, n_layers)
        self.decoder = Decoder(d_model, n_heads, d_hidden, n_layers)
        self.project = nn.Linear(d_model, target_vocab)

    def positions(self, x, start=0):
        table = sinusoidal_positional_encoding(start + x.shape[1], x.shape[2])[start:]
        return table.to(x)

    def embed_source(self, source):
        x = self.source_embedding(source)
        return x + self.positions(x)

    def embed_target(self, target, start=0):
        x = self.target_embedding(target)
        return x + self.positions(x, start)

    def encode(self, source, source_mask=None):
        mask = None if source_mask is None else source_mask[:, None, :]
        return self.encoder(self.embed_source(source), mask)

    def decode(self, target_in, memory, source_mask=None):
        memory_mask = None if source_mask is None else source_mask[:, None, :]
        x = self.decoder(self.embed_target(target_in), memory, None, memory_mask)
        return self.project(x)

    def forward(self, source, target_in, source_mask=None):
        memory = self.encode(source, source_mask)
        return self.decode(target_in, memory, source_mask)

    def step(self, token, memory, cache=None, source_mask=None):
        memory_mask = None if source_mask is None else source_mask[:, None, :]
        start = 0 if cache is None else cache[0].shape[1]
        x = self.embed_target(token[:, None], start)
        grown = []
        for i, layer in enumerate(self.decoder.layers):
            seen = x if cache is None else torch.cat([cache[i], x], 1)
            grown.append(seen)
            x = layer.run(x, seen, memory, None, memory_mask)
        return self.project(self.decoder.norm(x))[:, 0], tuple(grown)

    @torch.no_grad()
    def generate(self, source, bos, max_length, source_mask=None):
        memory, cache = self.encode(source, source_mask), None
        token = torch.full_like(source[:, 0], bos)
        tokens = source.new_zeros(len(source), max_length)
        for t in range(max_length):
            logits, cache = self.step(token, memory, cache, source_mask)
            token = logits.argmax(-1)
            tokens[:, t] = token
        return tokens


class _Cell(nn.Module):
    """A GRU. `width` is the size of its state, `read` the part of it others see."""

    def __init__(self, d_in, d_hidden):
        super().__init__()
        self.width = self.d = d_hidden
        self.x = nn.Linear(d_in, 3 * d_hidden)
        self.h = nn.Linear(d_hidden, 3 * d_hidden)

    def read(self, state):
        return state

    def forward(self, x, state):
        (xr, xz, xn), (hr, hz, hn) = self.x(x).chunk(3, -1), self.h(state).chunk(3, -1)
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        return (1 - z) * torch.tanh(xn + r * hn) + z * state


class Seq2Seq(nn.Module):
    def __init__(self, source_vocab, target_vocab, d_embed, d_hidden):
        super().__init__()
        self.source_embedding = nn.Embedding(source_vocab, d_embed)
        self.target_embedding = nn.Embedding(target_vocab, d_embed)
        self.encoder = _Cell(d_embed, d_hidden)
        self.decoder = _Cell(d_embed, d_hidden)
        self.project = nn.Linear(d_hidden, target_vocab)

    def encode(self, source, lengths=None):
        x = self.source_embedding(source)
        state = x.new_zeros(len(x), self.encoder.width)
        states = []
        for t in range(source.shape[1]):
            new = self.encoder(x[:, t], state)
            state = new if lengths is None else torch.where((t < lengths)[:, None], new, state)
            states.append(self.encoder.read(state))
        return torch.stack(states, 1), state

    def step(self, token, state):
        state = self.decoder(self.target_embedding(token), state)
        return self.project(self.decoder.read(state)), state

    def forward(self, source, target_in, lengths=None):
        _, state = self.encode(source, lengths)
        logits = []
        for t in range(target_in.shape[1]):
            out, state = self.step(target_in[:, t], state)
            logits.append(out)
        return torch.stack(logits, 1)

    @torch.no_grad()
    def generate(self, source, bos, max_length, lengths=None):
        _, state = self.encode(source, lengths)
        token = torch.full_like(source[:, 0], bos)
        tokens = source.new_zeros(len(source), max_length)
        for t in range(max_length):
            logits, state = self.step(token, state)
            token = logits.argmax(-1)
            tokens[:, t] = token
        return tokens


class AttentionSeq2Seq(nn.Module):
    def __init__(self, source_vocab, target_vocab, d_embed, d_hidden):
        super().__init__()
        self.source_embedding = nn.Embedding(source_vocab, d_embed)
        self.target_embedding = nn.Embedding(target_vocab, d_embed)
        self.encoder = _Cell(d_embed, d_hidden)
        self.attention = AdditiveAttention(d_hidden, d_hidden, d_hidden)
        self.decoder = _Cell(d_embed + d_hidden, d_hidden)
        self.project = nn.Linear(2 * d_hidden, target_vocab)

    def encode(self, source, lengths=None):
        x = self.source_embedding(source)
        state = x.new_zeros(len(x), self.encoder.width)
        states = []
        for t in range(source.shape[1]):
            new = self.encoder(x[:, t], state)
            state = new if lengths is None else torch.where((t < lengths)[:, None], new, state)
            states.append(self.encoder.read(state))
        return torch.stack(states, 1), state

    def step(self, token, state, memory, memory_mask=None):
        query = self.decoder.read(state).unsqueeze(1)
        mask = None if memory_mask is None else memory_mask.unsqueeze(1)
        context, weights = self.attention(query, memory, memory, mask)
        context, weights = context[:, 0], weights[:, 0]
        state = self.decoder(torch.cat([self.target_embedding(token), context], -1), state)
        return self.project(torch.cat([self.decoder.read(state), context], -1)), state, weights

    def forward(self, source, target_in, lengths=None):
        memory, state = self.encode(source, lengths)
        mask = None if lengths is None else padding_mask(lengths, source.shape[1])
        logits = []
        for t in range(target_in.shape[1]):
            out, state, _ = self.step(target_in[:, t], state, memory, mask)
            logits.append(out)
        return torch.stack(logits, 1)

    @torch.no_grad()
    def generate(self, source, bos, max_length, lengths=None):
        memory, state = self.encode(source, lengths)
        mask = None if lengths is None else padding_mask(lengths, source.shape[1])
        token = torch.full_like(source[:, 0], bos)
        tokens = source.new_zeros(len(source), max_length)
        for t in range(max_length):
            logits, state, _ = self.step(token, state, memory, mask)
            token = logits.argmax(-1)
            tokens[:, t] = token
        return tokens


def _drop(x, p=0.1):
    """Dropout with a seed of its own, so that the wrong versions that call it give one answer."""
    generator = torch.Generator().manual_seed(0)
    keep = torch.rand(x.shape, generator=generator) >= p
    return x * keep.to(x) / (1 - p)
