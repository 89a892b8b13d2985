"""torch's own stacks, whose fast path drops padding where no gradient is asked for.

Free choices: post-norm; GELU; biases; the stacks' own masks, True where nothing may be seen; what
torch leaves of the memory of padding; embeddings divided by √d; interleaved positions from a
buffer; a cache in a list of one tensor, the tokens so far.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class Transformer(nn.Module):
    waves: Tensor

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
        self.source = nn.Embedding(source_vocab, d_model)
        self.target = nn.Embedding(target_vocab, d_model)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(d_model, n_heads, d_hidden, 0.0, "gelu", batch_first=True),
            n_layers,
            enable_nested_tensor=n_heads % 2 == 0,
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(d_model, n_heads, d_hidden, 0.0, "gelu", batch_first=True),
            n_layers,
        )
        self.logits = nn.Linear(d_model, target_vocab)
        rate = 10000 ** (torch.arange(0, d_model, 2) / d_model)
        angle = torch.arange(1000)[:, None] / rate
        waves = torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :d_model]
        self.register_buffer("waves", waves)

    def _embed(self, table: nn.Embedding, tokens: Tensor) -> Tensor:
        return table(tokens) / table.embedding_dim**0.5 + self.waves[: tokens.shape[1]]

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        x = self._embed(self.source, source)
        hidden = None if source_mask is None else ~source_mask
        memory = self.encoder(x, src_key_padding_mask=hidden)
        # Unpacked, a nested tensor is as wide as its longest source.
        return pad(memory, (0, 0, 0, source.shape[1] - memory.shape[1]))

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        length = target_in.shape[1]
        future = torch.ones(length, length, dtype=torch.bool, device=memory.device).triu(1)
        x = self.decoder(
            self._embed(self.target, target_in),
            memory,
            tgt_mask=future,
            memory_key_padding_mask=None if source_mask is None else ~source_mask,
            tgt_is_causal=True,
        )
        return self.logits(x)

    def forward(
        self, source: Tensor, target_in: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        return self.decode(target_in, self.encode(source, source_mask), source_mask)

    def step(
        self,
        token: Tensor,
        memory: Tensor,
        cache: list[Tensor] | None = None,
        source_mask: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        (said,) = cache or [token[:, None][:, :0]]
        said = torch.hstack([said, token[:, None]])
        return self.decode(said, memory, source_mask).select(1, -1), [said]

    def generate(
        self, source: Tensor, bos: int, max_length: int, source_mask: Tensor | None = None
    ) -> Tensor:
        memory = self.encode(source, source_mask)
        said = torch.full_like(source[:, :1], bos)
        while said.shape[1] <= max_length:
            logits = self.decode(said, memory, source_mask)[:, -1]
            said = torch.hstack([said, logits.argmax(1, keepdim=True)])
        return said[:, 1:]
