"""Strangers of the positions, sines and learned ones."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "sinusoidal_positional_encoding",
        "half_exponent",
        "The exponent is i/d instead of 2i/d.",
        edits=(Edit("-column / d_model", "-column / 2 / d_model"),),
        mistake="the exponents of the wavelengths are not 2i/d",
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "double_exponent",
        "The exponent is 4i/d: the even column index is doubled once more.",
        edits=(Edit("-column / d_model", "-2 * column / d_model"),),
        mistake="the exponents of the wavelengths are not 2i/d",
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "own_frequency",
        (
            "The cosine columns use their own odd column index, so sine and cosine of a pair "
            "differ in frequency."
        ),
        edits=(
            Edit(
                "table[:, 1::2] = angle.cos()[:, : d_model // 2]",
                """
                table[:, 1::2] = (position * 10000.0 ** (-(column + 1) / d_model)).cos()[
                    :, : d_model // 2
                ]
                """,
            ),
        ),
        mistake="the sine and the cosine of a pair have different frequencies",
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "from_one",
        "Positions start at 1 instead of 0.",
        edits=(
            Edit(
                "torch.arange(length, dtype=torch.float64)[:, None]",
                "torch.arange(1, length + 1, dtype=torch.float64)[:, None]",
            ),
        ),
        mistake="positions are counted from one and not from zero",
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "cosine_first",
        "Cosine comes first and sine second.",
        edits=(
            Edit(
                "return table.float()",
                """
                cosine = table.clone()
                cosine[:, 0::2] = angle.cos()
                cosine[:, 1::2] = angle.sin()[:, : d_model // 2]
                return cosine.float()
                """,
            ),
        ),
        mistake="sines and cosines are mixed up",
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "base_1000",
        "The base is 1000 instead of 10000.",
        edits=(Edit("10000.0", "1000.0"),),
        mistake="the base of the wavelengths is not ten thousand",
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "base_100000",
        "The base is 100000 instead of 10000.",
        edits=(Edit("10000.0", "100000.0"),),
        style=("halved",),
        mistake="the base of the wavelengths is not ten thousand",
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "tensor2tensor",
        "The exponent is i/(d/2 - 1), so that the slowest frequency is exactly 1/10000.",
        edits=(Edit("-column / d_model", "-(column / 2) / max(d_model // 2 - 1, 1)"),),
        style=("halved",),
        mistake="the exponents of the wavelengths are not 2i/d",
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "low_precision",
        "The angles are formed in half precision.",
        edits=(
            Edit(
                "angle = position * 10000.0 ** (-column / d_model)",
                "angle = (position.half() * (10000.0 ** (-column / d_model)).half()).double()",
            ),
        ),
        mistake="positions are counted in a type that has too few digits",
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "only_sines",
        "Sine is used in every column.",
        edits=(Edit("= angle.cos()[:", "= angle.sin()[:"),),
        mistake="sines and cosines are mixed up",
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "wraps",
        "Positions wrap at 512.",
        edits=(Edit("angle = position *", "angle = position % 512 *"),),
        mistake="some positions get the encoding of others",
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "times",
        "The angle is position times 10000^(2i/d) instead of divided by it.",
        edits=(Edit("(-column", "(column"),),
        mistake="the exponents of the wavelengths are not 2i/d",
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "odd_width",
        "An odd width silently loses its last column.",
        edits=(Edit("return table.float()", "return table.float()[:, : d_model // 2 * 2]"),),
        mistake="entries of a token are left out",
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "unit_norm",
        "Every row is scaled to unit length.",
        edits=(
            Edit("return table.float()", "return (table / math.sqrt(max(d_model / 2, 1))).float()"),
        ),
        mistake="the encodings are scaled or normalised afterwards",
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "reversed_frequencies",
        "The frequencies run from the slowest to the fastest.",
        edits=(
            Edit(
                "angle = position * 10000.0 ** (-column / d_model)",
                "angle = position * 10000.0 ** (-column.flip(0) / d_model)",
            ),
        ),
        mistake="the exponents of the wavelengths are not 2i/d",
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "cache_by_width",
        (
            "The table is cached by width only and a later, longer request gets rows repeated from "
            "the first."
        ),
        edits=(
            Edit(
                "return table.float()",
                """
                kept = sinusoidal_positional_encoding.__dict__.setdefault("kept", {})
                table = kept.setdefault(d_model, table.float())
                return table[torch.arange(length) % max(len(table), 1)]
                """,
            ),
        ),
        mistake="something of an earlier call is kept and used again",
        also=("some positions get the encoding of others",),
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "fractions",
        (
            "Positions are divided by the length, so the encoding of a position depends on how "
            "long the sequence is."
        ),
        edits=(Edit("angle = position *", "angle = position / max(length, 1) *"),),
        mistake="a position's encoding depends on the length of the sequence",
    ),
    Stranger(
        "sinusoidal_positional_encoding",
        "cosine_shifted",
        "The cosine columns are taken at the next position.",
        edits=(
            Edit(
                "table[:, 1::2] = angle.cos()",
                "table[:, 1::2] = (angle + 10000.0 ** (-column / d_model)).cos()",
            ),
        ),
        mistake="the angles are not those of the formula",
        also=("tokens get no positions or the wrong ones",),
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "truncates",
        "Past max_length the table is silently cut, so fewer rows than asked come back.",
        edits=(
            Edit(
                """
        if not 0 <= length <= len(self.table):
            raise ValueError(f"length {length} is past the {len(self.table)} positions there are")
        """,
                "",
            ),
        ),
        mistake="what lies beyond a fixed length is left out",
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "wraps",
        "Past max_length positions wrap around instead of being refused.",
        edits=(
            Edit(
                """
        if not 0 <= length <= len(self.table):
            raise ValueError(f"length {length} is past the {len(self.table)} positions there are")
        return self.table[:length]
        """,
                """
                return self.table[torch.arange(length, device=self.table.device) % len(self.table)]
                """,
            ),
        ),
        mistake="some positions get the encoding of others",
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "clamps",
        "Past max_length the last row is repeated instead of being refused.",
        edits=(
            Edit(
                """
        if not 0 <= length <= len(self.table):
            raise ValueError(f"length {length} is past the {len(self.table)} positions there are")
        return self.table[:length]
        """,
                """
                return self.table[
                    torch.arange(length, device=self.table.device).clamp_max(len(self.table) - 1)
                ]
                """,
            ),
        ),
        mistake="some positions get the encoding of others",
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "refuses_last",
        "The full length max_length is refused as well.",
        edits=(Edit("0 <= length <= len", "0 <= length < len"),),
        mistake="a range ends one too early",
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "one_too_many",
        "One position more than max_length is accepted.",
        edits=(
            Edit("<= len(self.table):", "<= len(self.table) + 1:"),
            Edit(
                "return self.table[:length]",
                """
                return self.table[torch.arange(length, device=self.table.device) % len(self.table)]
                """,
            ),
        ),
        mistake="some positions get the encoding of others",
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "whole_table",
        "The whole table is returned whatever the length.",
        edits=(Edit("return self.table[:length]", "return self.table"),),
        mistake="the input has no part in the result",
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "batched",
        "The result has an extra batch dimension.",
        edits=(Edit("return self.table[:length]", "return self.table[None, :length]"),),
        mistake="axes are mixed up (transpose, reshape, flatten, unsqueeze, cat)",
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "last_rows",
        "The last rows of the table are returned, so position 0 changes with the length.",
        edits=(
            Edit("return self.table[:length]", "return self.table[len(self.table) - length :]"),
        ),
        mistake="a position's encoding depends on the length of the sequence",
        doubt="nowhere said that row t does not depend on length",
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "reversed",
        "The rows come in reversed order, so position 0 changes with the length.",
        edits=(Edit("return self.table[:length]", "return self.table[:length].flip(0)"),),
        mistake="a position's encoding depends on the length of the sequence",
        doubt="nowhere said that row t does not depend on length",
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "detached",
        "The rows are detached, so the embedding is never learned.",
        edits=(Edit("return self.table[:length]", "return self.table[:length].detach()"),),
        mistake="a parameter never learns",
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "not_a_parameter",
        "The table is a fixed buffer, not a parameter.",
        edits=(
            Edit(
                "self.table = nn.Parameter(torch.randn(max_length, d_model) * 0.02)",
                'self.register_buffer("table", torch.randn(max_length, d_model) * 0.02)',
            ),
        ),
        mistake="the result depends on a number that is no parameter",
        also=("a parameter never learns",),
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "same_row",
        "Every position gets the first row.",
        edits=(Edit("return self.table[:length]", "return self.table[:1].expand(length, -1)"),),
        mistake="all tokens of a sequence get the same position",
        doubt="nowhere said that positions may differ",
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "half",
        "The rows are rounded to bfloat16.",
        edits=(
            Edit(
                "return self.table[:length]",
                "return self.table[:length].bfloat16().to(self.table.dtype)",
            ),
        ),
        mistake="a result is computed in half precision half-way (autocast)",
        doubt="rounding of a free table; only an equality with the parameter shows it",
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "stretched",
        "The table is stretched to the length asked for, so rows depend on the length.",
        edits=(
            Edit(
                "return self.table[:length]",
                """
                return self.table[
                    torch.linspace(0, len(self.table) - 1, length, device=self.table.device)
                    .round()
                    .long()
                ]
                """,
            ),
        ),
        mistake="a position's encoding depends on the length of the sequence",
        doubt="nowhere said that row t does not depend on length",
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "centred",
        "The rows returned are centred over the length.",
        edits=(
            Edit(
                "return self.table[:length]",
                "return self.table[:length] - self.table[:length].mean(0) * (length > 1)",
            ),
        ),
        mistake="a position's encoding depends on the length of the sequence",
        also=("the encodings are scaled or normalised afterwards",),
        doubt="nowhere said that row t does not depend on length",
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "moving",
        "Each call goes on where the last one ended, as if it kept a position.",
        edits=(
            Edit(
                "return self.table[:length]",
                """
                start = self.__dict__.get("start", 0)
                self.__dict__["start"] = start + length
                return self.table[
                    (start + torch.arange(length, device=self.table.device)) % len(self.table)
                ]
                """,
            ),
        ),
        mistake="something of an earlier call is kept and used again",
        also=("some positions get the encoding of others",),
    ),
    Stranger(
        "LearnedPositionalEmbedding",
        "float_out",
        "The result is float32 whatever the dtype of the module.",
        edits=(Edit("return self.table[:length]", "return self.table[:length].float()"),),
    ),
)
