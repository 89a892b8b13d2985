"""Strangers of the multi-head attention."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "MultiHeadAttention",
        "scale_model",
        "Scores are scaled by 1/√d_model rather than by the width of a head.",
        edits=(Edit("math.sqrt(self.d_head)", "math.sqrt(query.shape[-1])"),),
        style=("renamed",),
        mistake="the scores are divided by the root of the model's width and not of a head's",
    ),
    Stranger(
        "MultiHeadAttention",
        "unscaled",
        "The scores are not scaled.",
        edits=(
            Edit(
                "scores = q @ k.transpose(-2, -1) / math.sqrt(self.d_head)",
                "scores = q @ k.transpose(-2, -1)",
            ),
        ),
        mistake="the scores are not divided by the root of the width",
    ),
    Stranger(
        "MultiHeadAttention",
        "scale_heads",
        "Scores are scaled by the root of the number of heads.",
        edits=(Edit("math.sqrt(self.d_head)", "math.sqrt(self.n_heads)"),),
        style=("renamed",),
        mistake="the scores are divided by the root of another size than the width of the keys",
    ),
    Stranger(
        "MultiHeadAttention",
        "scale_head_width",
        "Scores are divided by the head width instead of its root.",
        edits=(Edit("math.sqrt(self.d_head)", "self.d_head"),),
        mistake="the scores are divided by the width and not by its root",
    ),
    Stranger(
        "MultiHeadAttention",
        "view_split",
        (
            "Heads are split by reshaping to (B, H, L, d) without a transpose, which mixes "
            "positions."
        ),
        edits=(
            Edit(
                """
                return x.reshape(x.shape[0], x.shape[1], self.n_heads, self.d_head).transpose(1, 2)
                """,
                "return x.reshape(x.shape[0], self.n_heads, x.shape[1], self.d_head)",
            ),
        ),
        style=("renamed",),
        mistake="the heads are split or merged without a transpose",
    ),
    Stranger(
        "MultiHeadAttention",
        "view_merge",
        "Heads are merged without transposing back.",
        edits=(Edit("(weights @ v).transpose(1, 2)", "(weights @ v)"),),
        mistake="the heads are split or merged without a transpose",
    ),
    Stranger(
        "MultiHeadAttention",
        "interleaved",
        "Heads take every H-th row of the projections instead of a block.",
        edits=(
            Edit(
                """
                return x.reshape(x.shape[0], x.shape[1], self.n_heads, self.d_head).transpose(1, 2)
                """,
                """
                return x.reshape(x.shape[0], x.shape[1], self.d_head, self.n_heads).permute(
                    0, 3, 1, 2
                )
                """,
            ),
        ),
        mistake="the columns of the heads are in another order",
    ),
    Stranger(
        "MultiHeadAttention",
        "merge_interleaved",
        "Head outputs are interleaved rather than concatenated before the output projection.",
        edits=(Edit("(weights @ v).transpose(1, 2)", "(weights @ v).permute(0, 2, 3, 1)"),),
        style=("renamed",),
        mistake="the columns of the heads are in another order",
    ),
    Stranger(
        "MultiHeadAttention",
        "no_output",
        "The output projection is not applied.",
        edits=(
            Edit(
                "return self.output(heads.reshape(query.shape)), weights",
                """
                return heads.reshape(query.shape) + 0 * self.output(
                    heads.reshape(query.shape)
                ), weights
                """,
            ),
        ),
        style=("renamed",),
        mistake="a projection is missing",
    ),
    Stranger(
        "MultiHeadAttention",
        "repeated_mask",
        (
            "The mask is repeated head-major for batch-major scores, so items get each other's "
            "masks."
        ),
        edits=(
            Edit(
                "mask = mask.unsqueeze(1)",
                """
                mask = (
                    mask.expand(len(query), query.shape[1], key.shape[1])
                    .repeat(self.n_heads, 1, 1)
                    .view(len(query), self.n_heads, query.shape[1], key.shape[1])
                )
                """,
            ),
        ),
        style=("renamed",),
        mistake="the masks of the items are dealt out to the wrong items or heads",
    ),
    Stranger(
        "MultiHeadAttention",
        "first_item_mask",
        "A batched mask is read for the first item only.",
        edits=(Edit("mask = mask.unsqueeze(1)", "mask = mask[:1].unsqueeze(1)"),),
        mistake="every item gets the mask of the first",
        also=("what belongs to the first item of a batch serves all",),
    ),
    Stranger(
        "MultiHeadAttention",
        "any_head",
        "A mask by head is merged over the heads: what one head may see, all see.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                if mask is not None and mask.dim() == 4:
                    mask = mask.any(1, keepdim=True)
                weights = _masked(scores, mask)
                """,
            ),
        ),
        mistake="what a mask should hide takes part all the same",
    ),
    Stranger(
        "MultiHeadAttention",
        "first_head_mask",
        "The mask is applied to the first head only.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                if mask is not None:
                    mask = (
                        mask | (torch.arange(self.n_heads, device=mask.device) > 0)[:, None, None]
                    )
                weights = _masked(scores, mask)
                """,
            ),
        ),
        style=("renamed",),
        mistake="the mask does not reach all heads",
    ),
    Stranger(
        "MultiHeadAttention",
        "mask_ignored",
        "The mask is ignored.",
        edits=(Edit("weights = _masked(scores, mask)", "weights = _masked(scores, None)"),),
        mistake="the mask is ignored",
    ),
    Stranger(
        "MultiHeadAttention",
        "mask_inverted",
        "The mask's polarity is inverted.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                "weights = _masked(scores, None if mask is None else ~mask)",
            ),
        ),
        style=("renamed",),
        mistake="the mask has the other polarity",
    ),
    Stranger(
        "MultiHeadAttention",
        "mean_weights",
        "The weights of all heads are averaged before use.",
        edits=(
            Edit(
                "heads = (weights @ v).transpose(1, 2)",
                """
                weights = weights.mean(1, keepdim=True).expand_as(weights)
                heads = (weights @ v).transpose(1, 2)
                """,
            ),
        ),
        style=("renamed",),
        mistake="several heads have the same weights",
    ),
    Stranger(
        "MultiHeadAttention",
        "mean_returned",
        "The weights returned are averaged over the heads, unlike those used.",
        edits=(
            Edit(
                "return self.output(heads.reshape(query.shape)), weights",
                """
                return self.output(heads.reshape(query.shape)), weights.mean(
                    1, keepdim=True
                ).expand_as(weights)
                """,
            ),
        ),
        mistake="the weights that are given back are not the ones that were used",
    ),
    Stranger(
        "MultiHeadAttention",
        "mean_shape",
        "The weights are returned as (B, L, S), averaged over the heads.",
        edits=(
            Edit(
                "return self.output(heads.reshape(query.shape)), weights",
                "return self.output(heads.reshape(query.shape)), weights.mean(1)",
            ),
        ),
        mistake="the weights that are given back are not the ones that were used",
    ),
    Stranger(
        "MultiHeadAttention",
        "value_from_key",
        "The values are projected from the key argument.",
        edits=(Edit("self.split(self.value(value))", "self.split(self.value(key))"),),
        mistake="keys and values are mixed up",
    ),
    Stranger(
        "MultiHeadAttention",
        "key_projects_value",
        "The key projection is used for the values too.",
        edits=(Edit("self.split(self.value(value))", "self.split(self.key(value))"),),
        style=("renamed",),
        mistake="keys and values are mixed up",
        also=("there is a parameter that nothing uses",),
    ),
    Stranger(
        "MultiHeadAttention",
        "self_when_square",
        (
            "Where query and key have the same shape the key argument is ignored and the query "
            "attends to itself."
        ),
        edits=(
            Edit(
                "self.split(self.key(key))",
                "self.split(self.key(query if query.shape == key.shape else key))",
            ),
        ),
        mistake="the keys have no part in the scores",
    ),
    Stranger(
        "MultiHeadAttention",
        "indivisible",
        "A width that the heads do not divide is accepted and the remainder silently dropped.",
        edits=(
            Edit(
                """
                if d_model % n_heads:
                    raise ValueError(f"{n_heads} heads do not divide a width of {d_model}")
                """,
                "",
            ),
            Edit(
                """
                return x.reshape(x.shape[0], x.shape[1], self.n_heads, self.d_head).transpose(1, 2)
                """,
                """
                return (
                    x[..., : self.n_heads * self.d_head]
                    .reshape(x.shape[0], x.shape[1], self.n_heads, self.d_head)
                    .transpose(1, 2)
                )
                """,
            ),
            Edit(
                "return self.output(heads.reshape(query.shape)), weights",
                """
                heads = nn.functional.pad(
                    heads.flatten(2), (0, query.shape[-1] - self.n_heads * self.d_head)
                )
                return self.output(heads), weights
                """,
            ),
        ),
        mistake="a width that the heads do not divide is accepted",
    ),
    Stranger(
        "MultiHeadAttention",
        "odd_heads",
        "With an odd number of heads above one the last head repeats the first.",
        edits=(
            Edit(
                "if mask is not None and mask.dim() == 3:",
                """
                if self.n_heads % 2 and self.n_heads > 1:
                    v = torch.cat([v[:, :-1], v[:, :1]], 1)
                if mask is not None and mask.dim() == 3:
                """,
            ),
        ),
        style=("renamed",),
        mistake="the heads are too wide or too few, or they are mixed",
        also=("parts that need weights of their own share them",),
    ),
    Stranger(
        "MultiHeadAttention",
        "half_precision",
        "Queries and keys are rounded to half precision before the product.",
        edits=(
            Edit(
                "scores = q @ k.transpose(-2, -1)",
                "scores = q.half().to(q) @ k.half().to(k).transpose(-2, -1)",
            ),
        ),
        mistake="a result is computed in half precision half-way (autocast)",
    ),
    Stranger(
        "MultiHeadAttention",
        "float32_scores",
        "The softmax is computed in float32 even for float64.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                "weights = _masked(scores.float(), mask).to(scores.dtype)",
            ),
        ),
        style=("renamed",),
        mistake="a result is computed in float32 half-way",
    ),
    Stranger(
        "MultiHeadAttention",
        "one_head_bug",
        "With a single head the scale is left out.",
        edits=(
            Edit("math.sqrt(self.d_head)", "(math.sqrt(self.d_head) if self.n_heads > 1 else 1.0)"),
        ),
        mistake="the scores are not divided by the root of the width",
    ),
    Stranger(
        "MultiHeadAttention",
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
        style=("renamed",),
        mistake="the softmax runs over the queries",
    ),
    Stranger(
        "MultiHeadAttention",
        "head_axis",
        "The softmax runs over the heads instead of the keys.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                filled = scores if mask is None else scores.masked_fill(~mask, -1e30)
                weights = softmax(filled, 1)
                weights = weights if mask is None else weights.masked_fill(~mask, 0.0)
                """,
            ),
        ),
        mistake="the softmax runs over a wrong axis",
    ),
    Stranger(
        "MultiHeadAttention",
        "residual",
        "The query is added to the output.",
        edits=(
            Edit(
                "return self.output(heads.reshape(query.shape))",
                "return query + self.output(heads.reshape(query.shape))",
            ),
        ),
        style=("renamed",),
        mistake="a residual connection is added inside, which is the layer's to do",
    ),
    Stranger(
        "MultiHeadAttention",
        "shared_heads",
        "All heads use the first head's keys.",
        edits=(
            Edit(
                "if mask is not None and mask.dim() == 3:",
                """
                k = k[:, :1].expand_as(k)
                if mask is not None and mask.dim() == 3:
                """,
            ),
        ),
        mistake="all heads share a projection",
    ),
    Stranger(
        "MultiHeadAttention",
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
        style=("renamed",),
        mistake="a row with nothing to see is zero over zero",
    ),
    Stranger(
        "MultiHeadAttention",
        "weights_dropout",
        "Dropout of the weights is left on in eval mode.",
        edits=(
            Edit(
                "heads = (weights @ v).transpose(1, 2)",
                """
                weights = _drop(weights)
                heads = (weights @ v).transpose(1, 2)
                """,
            ),
        ),
        style=("renamed",),
        mistake="dropout is left on",
    ),
    Stranger(
        "MultiHeadAttention",
        "key_cache",
        (
            "Projected keys are cached by the shape of the key argument, so a second call with "
            "other keys reads the first ones."
        ),
        edits=(
            Edit(
                "def forward(self, query, key, value, mask=None):",
                """
                def cached(self, key):
                    if torch.is_grad_enabled():
                        return self.split(self.key(key))
                    kept = self.__dict__.setdefault("kept", {})
                    return kept.setdefault((key.shape, key.dtype), self.split(self.key(key)))

                def forward(self, query, key, value, mask=None):
                """,
            ),
            Edit("self.split(self.key(key)),", "self.cached(key),"),
        ),
        mistake="something of an earlier call is kept and used again",
    ),
    Stranger(
        "MultiHeadAttention",
        "large_fill",
        "Masked scores are filled with −50 instead of −∞.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                "weights = softmax(scores if mask is None else scores.masked_fill(~mask, -50.0))",
            ),
        ),
        mistake="masked scores are not made low enough, as where they are multiplied by the mask",
    ),
    Stranger(
        "MultiHeadAttention",
        "two_dimensional_mask",
        "A two-dimensional mask is transposed before use when it is square.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                if mask is not None and mask.dim() == 2 and mask.shape[0] == mask.shape[1]:
                    mask = mask.T
                weights = _masked(scores, mask)
                """,
            ),
        ),
        mistake="the mask is transposed, so that queries and keys change places",
    ),
)
