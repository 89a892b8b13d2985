"""Strangers of the attentions with scores of their own: additive, multiplicative."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "AdditiveAttention",
        "product",
        "Projected query and key are multiplied instead of added.",
        edits=(Edit("unsqueeze(2) + self", "unsqueeze(2) * self"),),
        mistake="the scores are computed by another formula",
    ),
    Stranger(
        "AdditiveAttention",
        "no_tanh",
        "The tanh is missing.",
        edits=(Edit("torch.tanh(", "("),),
        mistake="the tanh is missing or is another function",
    ),
    Stranger(
        "AdditiveAttention",
        "tanh_outside",
        "The tanh is applied to the score after the energy layer instead of before it.",
        edits=(
            Edit("torch.tanh(", "("),
            Edit("self.energy(hidden).squeeze(-1)", "torch.tanh(self.energy(hidden).squeeze(-1))"),
        ),
        style=("renamed",),
        mistake="the tanh is in the wrong place",
    ),
    Stranger(
        "AdditiveAttention",
        "relu",
        "ReLU stands in place of tanh.",
        edits=(Edit("torch.tanh(", "torch.relu("),),
        mistake="the tanh is missing or is another function",
    ),
    Stranger(
        "AdditiveAttention",
        "scaled",
        "The scores are divided by √d_hidden.",
        edits=(
            Edit(
                "self.energy(hidden).squeeze(-1)",
                "self.energy(hidden).squeeze(-1) / math.sqrt(hidden.shape[-1])",
            ),
        ),
        mistake="the scores of an attention that has no scale are divided by the root of a width",
    ),
    Stranger(
        "AdditiveAttention",
        "mask_ignored",
        "The mask is ignored.",
        edits=(Edit("_masked(scores, mask)", "_masked(scores, None)"),),
        style=("renamed",),
        mistake="the mask is ignored",
    ),
    Stranger(
        "AdditiveAttention",
        "mask_inverted",
        "The mask's polarity is inverted.",
        edits=(Edit("_masked(scores, mask)", "_masked(scores, None if mask is None else ~mask)"),),
        mistake="the mask has the other polarity",
    ),
    Stranger(
        "AdditiveAttention",
        "query_axis",
        "The softmax runs over the queries instead of the keys.",
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
        style=("renamed",),
        mistake="the softmax runs over the queries",
    ),
    Stranger(
        "AdditiveAttention",
        "energy_unused",
        "The energy vector is not used; hidden units are summed with equal weight.",
        edits=(Edit("self.energy(hidden).squeeze(-1)", "hidden.sum(-1)"),),
        mistake="a projection is missing",
        also=(
            "there is a parameter that nothing uses",
            "the scores are computed by another formula",
        ),
    ),
    Stranger(
        "AdditiveAttention",
        "query_unused",
        "The query does not enter the energy; only the keys do.",
        edits=(Edit("self.query(query).unsqueeze(2)", "0 * self.query(query).unsqueeze(2)"),),
        style=("renamed",),
        mistake="the query has no part in the scores",
    ),
    Stranger(
        "AdditiveAttention",
        "mean_query",
        "The mean of the queries is used for every query.",
        edits=(
            Edit(
                "hidden = torch.tanh(self.query(query).unsqueeze(2) + self.key(key).unsqueeze(1))",
                """
                hidden = torch.tanh(
                    self.query(query)
                    .mean(1, keepdim=True)
                    .expand(-1, query.shape[1], -1)
                    .unsqueeze(2)
                    + self.key(key).unsqueeze(1)
                )
                """,
            ),
        ),
        mistake="a mean or a spread is taken over all tokens, hidden or not",
    ),
    Stranger(
        "AdditiveAttention",
        "key_for_value",
        "Where widths agree, the keys are averaged instead of the values.",
        edits=(
            Edit(
                "return weights @ value",
                "return weights @ (key if key.shape == value.shape else value)",
            ),
        ),
        mistake="keys and values are mixed up",
    ),
    Stranger(
        "AdditiveAttention",
        "fill_minus_5",
        "Masked scores are filled with −5 instead of −∞.",
        edits=(
            Edit(
                "_masked(scores, mask)",
                "softmax(scores if mask is None else scores.masked_fill(~mask, -5.0))",
            ),
        ),
        mistake="masked scores are not made low enough, as where they are multiplied by the mask",
    ),
    Stranger(
        "AdditiveAttention",
        "mask_after",
        "The mask is applied after the softmax without normalising again.",
        edits=(Edit("_masked(scores, mask)", "softmax(scores) * (1 if mask is None else mask)"),),
        style=("renamed",),
        mistake="the mask is applied after the softmax",
    ),
    Stranger(
        "AdditiveAttention",
        "detached_key",
        "The key projection is detached, so its weight gets no gradient.",
        edits=(Edit("self.key(key).unsqueeze(1)", "self.key(key).detach().unsqueeze(1)"),),
        style=("renamed",),
        mistake="the keys or the queries are detached",
    ),
    Stranger(
        "AdditiveAttention",
        "double_tanh",
        "Query and key are each squashed by tanh before being added and squashed again.",
        edits=(
            Edit("self.query(query).unsqueeze(2)", "torch.tanh(self.query(query)).unsqueeze(2)"),
            Edit("+ self.key(key).unsqueeze(1)", "+ torch.tanh(self.key(key)).unsqueeze(1)"),
        ),
        mistake="the scores are computed by another formula",
    ),
    Stranger(
        "AdditiveAttention",
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
        "MultiplicativeAttention",
        "scaled",
        "The scores are divided by √d_query although this attention is unscaled.",
        edits=(
            Edit(
                "scores = query @ self.key(key).transpose(1, 2)",
                "scores = query @ self.key(key).transpose(1, 2) / math.sqrt(query.shape[-1])",
            ),
        ),
        mistake="the scores of an attention that has no scale are divided by the root of a width",
    ),
    Stranger(
        "MultiplicativeAttention",
        "scaled_renamed",
        "The scores are divided by √d_key although this attention is unscaled.",
        edits=(
            Edit(
                "scores = query @ self.key(key).transpose(1, 2)",
                "scores = query @ self.key(key).transpose(1, 2) / math.sqrt(key.shape[-1])",
            ),
        ),
        style=("renamed",),
        mistake="the scores of an attention that has no scale are divided by the root of a width",
    ),
    Stranger(
        "MultiplicativeAttention",
        "transposed_when_square",
        "A square W is applied transposed.",
        edits=(
            Edit(
                "self.key(key)",
                "(key @ self.key.weight if key.shape[-1] == query.shape[-1] else self.key(key))",
            ),
        ),
        mistake="a weight matrix is transposed",
    ),
    Stranger(
        "MultiplicativeAttention",
        "matrix_unused",
        "Where the widths agree, W is left out and the plain dot product used.",
        edits=(
            Edit("self.key(key)", "(key if key.shape[-1] == query.shape[-1] else self.key(key))"),
        ),
        style=("renamed",),
        mistake="a projection is missing",
    ),
    Stranger(
        "MultiplicativeAttention",
        "mask_ignored",
        "The mask is ignored.",
        edits=(Edit("_masked(scores, mask)", "_masked(scores, None)"),),
        style=("renamed",),
        mistake="the mask is ignored",
    ),
    Stranger(
        "MultiplicativeAttention",
        "mask_inverted",
        "The mask's polarity is inverted.",
        edits=(Edit("_masked(scores, mask)", "_masked(scores, None if mask is None else ~mask)"),),
        mistake="the mask has the other polarity",
    ),
    Stranger(
        "MultiplicativeAttention",
        "query_axis",
        "The softmax runs over the queries instead of the keys.",
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
        mistake="the softmax runs over the queries",
    ),
    Stranger(
        "MultiplicativeAttention",
        "cosine",
        "Projected keys and queries are normalised to unit length.",
        edits=(
            Edit(
                "scores = query @ self.key(key).transpose(1, 2)",
                """
                scores = nn.functional.normalize(query, dim=-1) @ nn.functional.normalize(
                    self.key(key), dim=-1
                ).transpose(1, 2)
                """,
            ),
        ),
        style=("renamed",),
        mistake="the scores are cosines or distances and not dot products",
    ),
    Stranger(
        "MultiplicativeAttention",
        "detached",
        "The projected keys are detached, so W gets no gradient.",
        edits=(Edit("self.key(key).transpose", "self.key(key).detach().transpose"),),
        mistake="the keys or the queries are detached",
    ),
    Stranger(
        "MultiplicativeAttention",
        "tanh",
        "A tanh is put on the scores.",
        edits=(Edit("_masked(scores, mask)", "_masked(torch.tanh(scores), mask)"),),
        style=("renamed",),
        mistake="the scores are computed by another formula",
    ),
    Stranger(
        "MultiplicativeAttention",
        "sigmoid",
        "The weights are sigmoids normalised by their sum instead of a softmax.",
        edits=(Edit("_masked(scores, mask)", "_masked(nn.functional.logsigmoid(scores), mask)"),),
        mistake="the weights come from something other than exponentials",
    ),
    Stranger(
        "MultiplicativeAttention",
        "fill_1e4",
        "Masked scores are filled with −10000, which scores in range can fall below.",
        edits=(
            Edit(
                "_masked(scores, mask)",
                "softmax(scores if mask is None else scores.masked_fill(~mask, -1e4))",
            ),
        ),
        mistake="masked scores are not made low enough, as where they are multiplied by the mask",
    ),
    Stranger(
        "MultiplicativeAttention",
        "no_max",
        "The exponentials overflow: no maximum is subtracted.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                weights = nn.functional.normalize(
                    scores.exp() * (1 if mask is None else mask), p=1, dim=-1
                )
                """,
            ),
        ),
        style=("renamed",),
        mistake="the softmax does not subtract the largest score of the row",
    ),
    Stranger(
        "MultiplicativeAttention",
        "mask_batch_one",
        "With a batch of one the mask is ignored.",
        edits=(Edit("_masked(scores, mask)", "_masked(scores, mask if len(query) > 1 else None)"),),
        mistake="the mask is ignored",
    ),
    Stranger(
        "MultiplicativeAttention",
        "bias",
        "The first key gets a constant bonus of 1 in its score.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                scores = scores + (torch.arange(key.shape[1], device=key.device) == 0).to(scores)
                weights = _masked(scores, mask)
                """,
            ),
        ),
        mistake="where a token stands counts where it should not",
    ),
)
