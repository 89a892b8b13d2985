"""Strangers of the Transformer as a whole: positions, masks, what it reads."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "Transformer",
        "no_target_positions",
        "No positions are added to the target embedding.",
        edits=(Edit("return x + self.positions(x, start)", "return x"),),
        mistake="positions are added to one of source and target alone",
    ),
    Stranger(
        "Transformer",
        "no_source_positions",
        "No positions are added to the source embedding.",
        edits=(Edit("return x + self.positions(x)", "return x"),),
        style=("post",),
        mistake="positions are added to one of source and target alone",
    ),
    Stranger(
        "Transformer",
        "positions_multiplied",
        "Positions are multiplied onto the source embedding instead of added.",
        edits=(Edit("return x + self.positions(x)", "return x * self.positions(x)"),),
        mistake="tokens get no positions or the wrong ones",
    ),
    Stranger(
        "Transformer",
        "decode_mask_ignored",
        "The cross-attention does not get source_mask.",
        edits=(
            Edit(
                "self.embed_target(target_in), memory, None, memory_mask)",
                "self.embed_target(target_in), memory)",
            ),
            Edit(
                "layer.run(x, seen, memory, None, memory_mask)",
                "layer.run(x, seen, memory, None, None)",
            ),
        ),
        mistake="the decoder does not apply all of its masks",
    ),
    Stranger(
        "Transformer",
        "encode_mask_ignored",
        "The encoder does not get source_mask.",
        edits=(
            Edit(
                "self.encoder(self.embed_source(source), mask)",
                "self.encoder(self.embed_source(source))",
            ),
        ),
        style=("post",),
        mistake="the encoder reads padding as if it were real",
    ),
    Stranger(
        "Transformer",
        "mask_inverted",
        "source_mask is taken as True at padding.",
        edits=(
            Edit(
                """
                def encode(self, source, source_mask=None):
                    mask = None if source_mask is None else source_mask[:, None, :]
                """,
                """
                def encode(self, source, source_mask=None):
                    mask = None if source_mask is None else ~source_mask[:, None, :]
                """,
            ),
        ),
        mistake="the mask has the other polarity",
    ),
    Stranger(
        "Transformer",
        "mask_query_side",
        "In the encoder source_mask hides queries instead of keys.",
        edits=(
            Edit(
                """
                def encode(self, source, source_mask=None):
                    mask = None if source_mask is None else source_mask[:, None, :]
                """,
                """
                def encode(self, source, source_mask=None):
                    mask = None if source_mask is None else source_mask[:, :, None]
                """,
            ),
        ),
        mistake="the mask is transposed, so that queries and keys change places",
        also=("a new axis is put in the wrong place (unsqueeze)",),
    ),
    Stranger(
        "Transformer",
        "forward_drops_mask",
        "forward does not pass source_mask on to decode.",
        edits=(
            Edit(
                "return self.decode(target_in, memory, source_mask)",
                "return self.decode(target_in, memory)",
            ),
        ),
        style=("scaled",),
        mistake="padding of the source is read in teacher forcing",
    ),
    Stranger(
        "Transformer",
        "not_causal",
        "The decoder sees the whole target.",
        edits=(
            Edit(
                "mask = causal_mask(x.shape[1]).to(x.device)",
                "mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device)",
                "DecoderLayer",
            ),
        ),
        mistake="the causal mask is missing",
    ),
    Stranger(
        "Transformer",
        "one_ahead",
        "Position t also sees target_in[t + 1].",
        edits=(
            Edit(
                "mask = causal_mask(x.shape[1]).to(x.device)",
                """
                mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril(1)
                """,
                "DecoderLayer",
            ),
        ),
        style=("post",),
        mistake="the mask is off by one, so that every token sees the next",
    ),
    Stranger(
        "Transformer",
        "probabilities",
        "decode gives probabilities instead of logits.",
        edits=(Edit("return self.project(x)", "return softmax(self.project(x))"),),
        mistake="the logits have been through a softmax (or its logarithm)",
    ),
    Stranger(
        "Transformer",
        "probabilities_everywhere",
        "decode and step both give probabilities instead of logits.",
        edits=(
            Edit(
                """
                x = self.decoder(self.embed_target(target_in), memory, None, memory_mask)
                return self.project(x)
                """,
                """
                x = self.decoder(self.embed_target(target_in), memory, None, memory_mask)
                return softmax(self.project(x))
                """,
            ),
            Edit(
                "return self.project(x)[:, 0], tuple(grown)",
                "return softmax(self.project(x)[:, 0]), tuple(grown)",
            ),
        ),
        style=("post",),
        mistake="the logits have been through a softmax (or its logarithm)",
    ),
    Stranger(
        "Transformer",
        "target_shifted",
        "decode shifts the target right by itself and so reads the tokens one place late.",
        edits=(
            Edit(
                "x = self.decoder(self.embed_target(target_in), memory, None, memory_mask)",
                """
                x = self.decoder(
                    self.embed_target(torch.cat([target_in[:, :1], target_in[:, :-1]], 1)),
                    memory,
                    None,
                    memory_mask,
                )
                """,
            ),
        ),
        mistake="the decoder is fed other tokens than those of the target",
        also=("logits and targets are one token apart",),
    ),
    Stranger(
        "Transformer",
        "encoder_bypassed",
        "The encoder is bypassed: the memory is the embedded source.",
        edits=(
            Edit(
                "return self.encoder(self.embed_source(source), mask)",
                """
                return self.embed_source(source) + 0 * self.encoder(self.embed_source(source), mask)
                """,
            ),
        ),
        style=("post",),
        mistake="what the layers give is thrown away",
    ),
    Stranger(
        "Transformer",
        "memory_ignored",
        "The decoder reads a memory of zeros.",
        edits=(
            Edit(
                "memory = self.encode(source, source_mask)",
                "memory = 0 * self.encode(source, source_mask)",
            ),
        ),
        mistake="the source does not reach the decoder",
    ),
    Stranger(
        "Transformer",
        "token_zero_padding",
        "Source token 0 is taken for padding even without a mask.",
        edits=(
            Edit(
                """
                def encode(self, source, source_mask=None):
                    mask = None if source_mask is None else source_mask[:, None, :]
                """,
                """
                def encode(self, source, source_mask=None):
                    pad = (source != 0) | (torch.arange(source.shape[1], device=source.device) == 0)
                    source_mask = pad if source_mask is None else source_mask & pad
                    mask = source_mask[:, None, :]
                """,
            ),
        ),
        mistake="the first word of the vocabulary is taken for padding",
    ),
    Stranger(
        "Transformer",
        "positions_capped",
        "Positions past 31 all get the encoding of position 31.",
        edits=(
            Edit(
                "return table.to(x)",
                """
                full = sinusoidal_positional_encoding(32, x.shape[2])
                return full[(start + torch.arange(x.shape[1])).clamp_max(31)].to(x)
                """,
            ),
        ),
        mistake="some positions get the encoding of others",
    ),
    Stranger(
        "Transformer",
        "positions_first_length",
        (
            "The positional table is made at the first call and later, longer inputs reuse its "
            "rows from the start."
        ),
        edits=(
            Edit(
                """
                table = sinusoidal_positional_encoding(start + x.shape[1], x.shape[2])[start:]
                return table.to(x)
                """,
                """
                if "table" not in self.__dict__:
                    self.__dict__["table"] = sinusoidal_positional_encoding(
                        max(start + x.shape[1], 4), x.shape[2]
                    )
                return self.table[(start + torch.arange(x.shape[1])) % len(self.table)].to(x)
                """,
            ),
        ),
        mistake="something of an earlier call is kept and used again",
        also=("some positions get the encoding of others",),
    ),
    Stranger(
        "Transformer",
        "detached_memory",
        "The memory is detached, so the encoder gets no gradient.",
        edits=(
            Edit(
                "return self.decode(target_in, memory, source_mask)",
                "return self.decode(target_in, memory.detach(), source_mask)",
            ),
        ),
        style=("post",),
        mistake="the memory is detached, so that the encoder does not learn",
    ),
    Stranger(
        "Transformer",
        "batch_position",
        "Positions are taken along the batch instead of the sequence.",
        edits=(
            Edit(
                "return x + self.positions(x)",
                """
                table = sinusoidal_positional_encoding(x.shape[0], x.shape[2]).to(x)
                return x + table[:, None]
                """,
            ),
        ),
        mistake="all tokens of a sequence get the same position",
    ),
    Stranger(
        "Transformer",
        "shared_stack",
        "Encoder layers share one set of parameters.",
        edits=(
            Edit(
                "self.project = nn.Linear(d_model, target_vocab)",
                """
                self.encoder.layers = nn.ModuleList([self.encoder.layers[0]] * n_layers)
                self.project = nn.Linear(d_model, target_vocab)
                """,
            ),
        ),
        mistake="not every layer has weights of its own that are used",
    ),
    Stranger(
        "Transformer",
        "single_batch_squeeze",
        "decode of a batch of one loses the batch dimension.",
        edits=(Edit("return self.project(x)", "return self.project(x).squeeze(0)"),),
        mistake="axes are mixed up (transpose, reshape, flatten, unsqueeze, cat)",
    ),
    Stranger(
        "Transformer",
        "last_token_only",
        "The logits of the last position are repeated for all.",
        edits=(Edit("return self.project(x)", "return self.project(x[:, -1:].expand_as(x))"),),
        mistake="tokens or items of a batch meet that should be kept apart",
        also=("what a mask should hide takes part all the same",),
    ),
)
