"""Strangers of the masks."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "causal_mask",
        "strict",
        "The diagonal is left out: a position does not see itself.",
        edits=(Edit(".tril()", ".tril(-1)"),),
        mistake="the mask hides a token from itself",
    ),
    Stranger(
        "causal_mask",
        "upper",
        "The upper triangle is returned: positions see the future instead of the past.",
        edits=(Edit(".tril()", ".triu()"),),
        mistake="the mask is transposed, so that queries and keys change places",
    ),
    Stranger(
        "causal_mask",
        "inverted",
        "The polarity is inverted: True marks the forbidden places.",
        edits=(Edit(".tril()", ".triu(1)"),),
        mistake="the mask has the other polarity",
    ),
    Stranger(
        "causal_mask",
        "one_ahead",
        "Each position sees one position ahead.",
        edits=(Edit(".tril()", ".tril(1)"),),
        mistake="the mask is off by one, so that every token sees the next",
    ),
    Stranger(
        "causal_mask",
        "floats",
        "The mask is floating instead of boolean.",
        edits=(Edit("dtype=torch.bool).tril()", "dtype=torch.bool).tril().float()"),),
    ),
    Stranger(
        "causal_mask",
        "additive",
        "An additive mask of 0 and -inf is returned instead of a boolean one.",
        edits=(
            Edit(
                "return torch.ones(length, length, dtype=torch.bool).tril()",
                """
                return torch.zeros(length, length).masked_fill(
                    torch.ones(length, length, dtype=torch.bool).triu(1), -math.inf
                )
                """,
            ),
        ),
    ),
    Stranger(
        "causal_mask",
        "squeezed",
        "A mask of length 1 loses its dimensions to a squeeze.",
        edits=(Edit(".tril()", ".tril().squeeze()"),),
        mistake="axes are mixed up (transpose, reshape, flatten, unsqueeze, cat)",
    ),
    Stranger(
        "causal_mask",
        "window",
        "Positions more than 63 back are forbidden too, which a long mask shows.",
        edits=(Edit(".tril()", ".tril().triu(-63)"),),
        mistake="a token sees only itself or what is near it",
    ),
    Stranger(
        "causal_mask",
        "stale_cache",
        (
            "The mask is cached and not cut to length, so after a longer call a shorter one "
            "returns too large a mask."
        ),
        edits=(
            Edit(
                "return torch.ones(length, length, dtype=torch.bool).tril()",
                """
                kept = causal_mask.__dict__.setdefault("kept", [])
                if not kept or len(kept[0]) < length:
                    kept[:] = [torch.ones(length, length, dtype=torch.bool).tril()]
                return kept[0].clone()
                """,
            ),
        ),
        mistake="something of an earlier call is kept and used again",
    ),
    Stranger(
        "causal_mask",
        "batched",
        "The mask comes with an extra leading batch dimension.",
        edits=(Edit(".tril()", ".tril()[None]"),),
        mistake="axes are mixed up (transpose, reshape, flatten, unsqueeze, cat)",
    ),
    Stranger(
        "causal_mask",
        "first_column_hidden",
        "The first position (taken for a start token) is hidden from all others.",
        edits=(
            Edit(
                "return torch.ones(length, length, dtype=torch.bool).tril()",
                """
                mask = torch.ones(length, length, dtype=torch.bool).tril()
                mask[1:, 0] = False
                return mask
                """,
            ),
        ),
        mistake="the mask hides others than it should",
    ),
    Stranger(
        "padding_mask",
        "inverted",
        "True marks the padding instead of the real tokens.",
        edits=(Edit("<", ">="),),
        mistake="the mask has the other polarity",
    ),
    Stranger(
        "padding_mask",
        "one_more",
        "One padding token after the end counts as real.",
        edits=(Edit("<", "<="),),
        mistake="the padding mask is off by one token",
    ),
    Stranger(
        "padding_mask",
        "one_less",
        "The last real token is masked away.",
        edits=(Edit("< lengths[:, None]", "< lengths[:, None] - 1"),),
        mistake="the padding mask is off by one token",
    ),
    Stranger(
        "padding_mask",
        "left",
        "The real tokens are marked at the end of the row, as if padding came first.",
        edits=(
            Edit(
                "return torch.arange(max_length, device=lengths.device) < lengths[:, None]",
                """
                return (
                    torch.arange(max_length, device=lengths.device) >= max_length - lengths[:, None]
                )
                """,
            ),
        ),
        mistake="the mask hides others than it should",
    ),
    Stranger(
        "padding_mask",
        "widest",
        "The mask is as wide as the longest length instead of max_length.",
        edits=(Edit("arange(max_length,", "arange(int(lengths.max()),"),),
        mistake="what lies beyond the longest sequence is cut off",
    ),
    Stranger(
        "padding_mask",
        "floats",
        "The mask is floating instead of boolean.",
        edits=(
            Edit(
                "return torch.arange(max_length, device=lengths.device) < lengths[:, None]",
                """
                return (torch.arange(max_length, device=lengths.device) < lengths[:, None]).float()
                """,
            ),
        ),
    ),
    Stranger(
        "padding_mask",
        "integers",
        "The mask is int64 instead of boolean.",
        edits=(
            Edit(
                "return torch.arange(max_length, device=lengths.device) < lengths[:, None]",
                """
                return (torch.arange(max_length, device=lengths.device) < lengths[:, None]).long()
                """,
            ),
        ),
    ),
    Stranger(
        "padding_mask",
        "first_length",
        "The first length is used for every item of the batch.",
        edits=(Edit("lengths[:, None]", "lengths[:1, None].expand(len(lengths), 1)"),),
        mistake="every item gets the mask of the first",
        also=("what belongs to the first item of a batch serves all",),
    ),
    Stranger(
        "padding_mask",
        "four_dimensional",
        "The mask is returned as (B, 1, 1, max_length) instead of (B, max_length).",
        edits=(
            Edit(
                "return torch.arange(max_length, device=lengths.device) < lengths[:, None]",
                """
                return (torch.arange(max_length, device=lengths.device) < lengths[:, None])[
                    :, None, None
                ]
                """,
            ),
        ),
        mistake="axes are mixed up (transpose, reshape, flatten, unsqueeze, cat)",
    ),
    Stranger(
        "padding_mask",
        "transposed",
        "The mask is returned as (max_length, B).",
        edits=(
            Edit(
                "return torch.arange(max_length, device=lengths.device) < lengths[:, None]",
                "return (torch.arange(max_length, device=lengths.device) < lengths[:, None]).T",
            ),
        ),
        mistake="the mask is transposed, so that queries and keys change places",
        also=("axes are mixed up (transpose, reshape, flatten, unsqueeze, cat)",),
    ),
    Stranger(
        "padding_mask",
        "sorted",
        "The lengths are sorted and the order is not restored.",
        edits=(
            Edit(
                "return torch.arange(max_length, device=lengths.device) < lengths[:, None]",
                """
                return (
                    torch.arange(max_length, device=lengths.device)
                    < lengths.sort(descending=True).values[:, None]
                )
                """,
            ),
        ),
        mistake="the masks of the items are dealt out to the wrong items or heads",
    ),
    Stranger(
        "padding_mask",
        "bytes",
        "Positions and lengths are held in eight bits and wrap at 256.",
        edits=(
            Edit(
                "return torch.arange(max_length, device=lengths.device) < lengths[:, None]",
                """
                return (
                    torch.arange(max_length, device=lengths.device).to(torch.uint8)
                    < lengths.to(torch.uint8)[:, None]
                )
                """,
            ),
        ),
        mistake="positions are counted in a type that has too few digits",
    ),
    Stranger(
        "padding_mask",
        "only_last",
        "Only the last real token is marked.",
        edits=(Edit("<", "== -1 +"),),
        mistake="the mask hides others than it should",
    ),
    Stranger(
        "padding_mask",
        "squeezed",
        "A batch of one loses its batch dimension to a squeeze.",
        edits=(
            Edit(
                "return torch.arange(max_length, device=lengths.device) < lengths[:, None]",
                """
                return (torch.arange(max_length, device=lengths.device) < lengths[:, None]).squeeze(
                    0
                )
                """,
            ),
        ),
        mistake="axes are mixed up (transpose, reshape, flatten, unsqueeze, cat)",
    ),
    Stranger(
        "padding_mask",
        "full_is_empty",
        "The lengths are taken modulo max_length, so a row without padding is masked entirely.",
        edits=(Edit("lengths[:, None]", "lengths[:, None] % max_length"),),
        mistake="the mask hides others than it should",
    ),
)
