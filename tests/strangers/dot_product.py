"""Strangers of the scaled dot-product attention."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "scaled_dot_product_attention",
        "unscaled",
        "The scores are not divided by √d_k.",
        edits=(
            Edit(
                "scores = _wide(query) @ _wide(key).transpose(-2, -1) / math.sqrt(query.shape[-1])",
                "scores = _wide(query) @ _wide(key).transpose(-2, -1)",
            ),
        ),
        mistake="the scores are not divided by the root of the width",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "scale_d",
        "The scores are divided by d_k instead of its root.",
        edits=(Edit("math.sqrt(query.shape[-1])", "query.shape[-1]"),),
        mistake="the scores are divided by the width and not by its root",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "scale_dv",
        "The scale is taken from the width of the values.",
        edits=(Edit("math.sqrt(query.shape[-1])", "math.sqrt(value.shape[-1])"),),
        mistake="the scores are divided by the root of another size than the width of the keys",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "scale_keys",
        "The scale is the root of the number of keys rather than of their width.",
        edits=(Edit("math.sqrt(query.shape[-1])", "math.sqrt(key.shape[-2])"),),
        mistake="the scores are divided by the root of another size than the width of the keys",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "scale_after",
        "The scale is applied to the weights after the softmax.",
        edits=(
            Edit(
                """
                scores = _wide(query) @ _wide(key).transpose(-2, -1) / math.sqrt(query.shape[-1])
                weights = _masked(scores, mask)
                """,
                """
                scores = _wide(query) @ _wide(key).transpose(-2, -1)
                weights = _masked(scores, mask) / math.sqrt(query.shape[-1])
                """,
            ),
        ),
        mistake="the scores are not divided by the root of the width",
        also=("the weights are not a softmax of the scores",),
    ),
    Stranger(
        "scaled_dot_product_attention",
        "query_axis",
        "The softmax runs over the queries instead of the keys.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                filled = scores if mask is None else scores.masked_fill(~mask, -1e30)
                weights = softmax(filled, -2)
                weights = weights if mask is None else weights.masked_fill(~mask, 0.0)
                """,
            ),
        ),
        mistake="the softmax runs over the queries",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "mask_inverted",
        "The mask's polarity is inverted: True is where attention is forbidden.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                "weights = _masked(scores, None if mask is None else ~mask)",
            ),
        ),
        mistake="the mask has the other polarity",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "mask_ignored",
        "The mask is ignored.",
        edits=(Edit("weights = _masked(scores, mask)", "weights = _masked(scores, None)"),),
        mistake="the mask is ignored",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "mask_after",
        "The mask is applied to the weights after the softmax, which no longer sum to one.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                weights = softmax(scores)
                weights = weights if mask is None else weights * mask
                """,
            ),
        ),
        mistake="the mask is applied after the softmax",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "fill_zero",
        "Masked scores are set to 0 instead of −∞, so they keep some weight.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                "weights = softmax(scores if mask is None else scores * mask)",
            ),
        ),
        mistake="masked scores are not made low enough, as where they are multiplied by the mask",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "fill_1e4",
        "Masked scores are filled with −10000, which large scores reach.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                "weights = softmax(scores if mask is None else scores.masked_fill(~mask, -1e4))",
            ),
        ),
        mistake="masked scores are not made low enough, as where they are multiplied by the mask",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "fill_minus_20",
        "Masked scores are lowered by 20 only, so masked keys keep a trace of weight.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                "weights = softmax(scores if mask is None else scores - 20.0 * ~mask)",
            ),
        ),
        mistake="masked scores are not made low enough, as where they are multiplied by the mask",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "nan_rows",
        "A query without any allowed key gives NaN.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                weights = torch.softmax(
                    scores if mask is None else scores.masked_fill(~mask, -math.inf), -1
                )
                """,
            ),
        ),
        mistake="a row with nothing to see is zero over zero",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "raw_scores",
        "The scores are returned in place of the weights.",
        edits=(Edit("weights.to(query.dtype)", "scores.to(query.dtype)"),),
        mistake="the weights that are given back are not the ones that were used",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "unmasked_weights",
        "The weights returned are those without the mask, unlike the ones used.",
        edits=(Edit("weights.to(query.dtype)", "softmax(scores).to(query.dtype)"),),
        mistake="the weights that are given back are not the ones that were used",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "mask_transposed",
        "A square mask is applied transposed.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                if mask is not None and mask.shape[-1] == mask.shape[-2]:
                    mask = mask.transpose(-2, -1)
                weights = _masked(scores, mask)
                """,
            ),
        ),
        mistake="the mask is transposed, so that queries and keys change places",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "reshaped_key",
        "The key is reshaped to (d_k, S) instead of transposed.",
        edits=(
            Edit(
                "_wide(key).transpose(-2, -1)",
                "_wide(key).reshape(*key.shape[:-2], key.shape[-1], key.shape[-2])",
            ),
        ),
        mistake="the keys are not transposed in their product with the queries",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "query_in_place",
        "The query is scaled in place, which changes the caller's tensor.",
        edits=(
            Edit(
                "scores = _wide(query) @ _wide(key).transpose(-2, -1) / math.sqrt(query.shape[-1])",
                """
                scores = (
                    _wide(query).clone() @ _wide(key).transpose(-2, -1) / math.sqrt(query.shape[-1])
                )
                query.data.div_(math.sqrt(query.shape[-1]))
                """,
            ),
        ),
        mistake="the inputs are overwritten",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "mask_in_place",
        "The caller's mask is inverted in place and left so.",
        edits=(
            Edit(
                "output = weights @ _wide(value)",
                """
                if mask is not None and mask.is_contiguous():
                    mask.logical_not_()
                output = weights @ _wide(value)
                """,
            ),
        ),
        mistake="the inputs are overwritten",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "detached_weights",
        "The weights are detached before the output, so query and key get no gradient from it.",
        edits=(Edit("output = weights @", "output = weights.detach() @"),),
        mistake="the scores or the weights are detached",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "detached_value",
        "The values are detached.",
        edits=(Edit("@ _wide(value)", "@ _wide(value).detach()"),),
        mistake="the values are detached",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "always_causal",
        "Square attention without a mask is made causal.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                if mask is None and query.shape[-2] == key.shape[-2] > 1:
                    mask = causal_mask(key.shape[-2]).to(scores.device)
                weights = _masked(scores, mask)
                """,
            ),
        ),
        mistake="the future is hidden where nobody asked for it",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "float32_inside",
        "float64 inputs are computed in float32.",
        edits=(
            Edit(
                "scores = _wide(query) @ _wide(key).transpose(-2, -1) / math.sqrt(query.shape[-1])",
                """
                dtype = query.dtype
                query, key, value = query.float(), key.float(), value.float()
                scores = _wide(query) @ _wide(key).transpose(-2, -1) / math.sqrt(query.shape[-1])
                """,
            ),
            Edit(
                "return output.to(query.dtype), weights.to(query.dtype)",
                "return output.to(dtype), weights.to(dtype)",
            ),
        ),
        mistake="a result is computed in float32 half-way",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "no_max",
        "The exponentials are taken without subtracting the maximum and overflow.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                e = scores.exp()
                e = e if mask is None else e * mask
                weights = e / e.sum(-1, keepdim=True).clamp_min(1e-30)
                """,
            ),
        ),
        mistake="the softmax does not subtract the largest score of the row",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "max_over_masked",
        (
            "The row maximum subtracted includes masked scores, so a large masked score drives all "
            "allowed ones to zero."
        ),
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                e = (scores - scores.detach().amax(-1, keepdim=True)).exp()
                e = e if mask is None else e * mask
                weights = e / e.sum(-1, keepdim=True).clamp_min(1e-30)
                """,
            ),
        ),
        mistake="what a mask should hide takes part all the same",
        also=("the softmax does not subtract the largest score of the row",),
    ),
    Stranger(
        "scaled_dot_product_attention",
        "clamped",
        "Scores are clamped to ±30.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                scores = scores.clamp(-30, 30)
                weights = _masked(scores, mask)
                """,
            ),
        ),
        mistake="the scores are computed by another formula",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "decode_path",
        "With a single query, as in step-by-step decoding, the mask is ignored.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                mask = mask if query.shape[-2] > 1 else None
                weights = _masked(scores, mask)
                """,
            ),
        ),
        mistake="the mask is ignored",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "first_mask",
        "A mask with a batch dimension is read for the first item only.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                if mask is not None and mask.dim() > 2:
                    mask = mask[:1]
                weights = _masked(scores, mask)
                """,
            ),
        ),
        mistake="every item gets the mask of the first",
        also=("what belongs to the first item of a batch serves all",),
    ),
    Stranger(
        "scaled_dot_product_attention",
        "window",
        "Only the last 128 keys are attended to.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                if key.shape[-2] > 128:
                    recent = (
                        torch.arange(key.shape[-2], device=key.device)[None] >= key.shape[-2] - 128
                    )
                    mask = recent if mask is None else mask & recent
                weights = _masked(scores, mask)
                """,
            ),
        ),
        mistake="what lies beyond a fixed length is left out",
        also=("a token sees only itself or what is near it",),
    ),
    Stranger(
        "scaled_dot_product_attention",
        "squeezed",
        "Dimensions of size one are squeezed out of the output.",
        edits=(Edit("return output.to(query.dtype),", "return output.squeeze().to(query.dtype),"),),
        mistake="axes are mixed up (transpose, reshape, flatten, unsqueeze, cat)",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "float32_out",
        "Half-precision inputs give float32 outputs.",
        edits=(
            Edit(
                "return output.to(query.dtype), weights.to(query.dtype)", "return output, weights"
            ),
        ),
    ),
    Stranger(
        "scaled_dot_product_attention",
        "epsilon_sum",
        "The normaliser has 1e-3 added to it.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                z = scores if mask is None else scores.masked_fill(~mask, -1e30)
                e = (z - z.detach().amax(-1, keepdim=True)).exp()
                e = e if mask is None else e * mask
                weights = e / (e.sum(-1, keepdim=True) + 1e-3)
                """,
            ),
        ),
        mistake="the softmax has something added to its denominator",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "dropout",
        "Dropout of the weights is left on.",
        edits=(
            Edit(
                "output = weights @ _wide(value)",
                """
                weights = _drop(weights)
                output = weights @ _wide(value)
                """,
            ),
        ),
        mistake="dropout is left on",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "row_mask_only",
        "A mask is reduced to one row: the first query's permissions apply to all queries.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                mask = mask if mask is None else mask[..., :1, :]
                weights = _masked(scores, mask)
                """,
            ),
        ),
        mistake="a mask of queries and keys is taken for padding, with one row for all queries",
    ),
    Stranger(
        "scaled_dot_product_attention",
        "cosine",
        "Keys are normalised to unit length before the product.",
        edits=(
            Edit("_wide(key).transpose", "nn.functional.normalize(_wide(key), dim=-1).transpose"),
        ),
        mistake="the scores are computed by another formula",
    ),
)
