"""Strangers of the self-attention."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "SelfAttention",
        "unscaled",
        "The scores are not scaled by 1/√d_model.",
        edits=(
            Edit(
                "scores = q @ k.transpose(1, 2) / math.sqrt(x.shape[-1])",
                "scores = q @ k.transpose(1, 2)",
            ),
        ),
        mistake="the scores are not divided by the root of the width",
    ),
    Stranger(
        "SelfAttention",
        "scale_d",
        "The scores are divided by d_model instead of its root.",
        edits=(Edit("math.sqrt(x.shape[-1])", "x.shape[-1]"),),
        style=("renamed",),
        mistake="the scores are divided by the width and not by its root",
    ),
    Stranger(
        "SelfAttention",
        "scale_length",
        "The scale is the root of the sequence length instead of the width.",
        edits=(Edit("math.sqrt(x.shape[-1])", "math.sqrt(x.shape[1])"),),
        mistake="the scores are divided by the root of another size than the width of the keys",
    ),
    Stranger(
        "SelfAttention",
        "shared_query_key",
        "Queries are projected by the keys' matrix.",
        edits=(
            Edit(
                "q, k, v = self.query(x), self.key(x), self.value(x)",
                "q, k, v = self.key(x), self.key(x), self.value(x)",
            ),
        ),
        mistake="queries and keys go through the same matrix",
        also=("there is a parameter that nothing uses",),
    ),
    Stranger(
        "SelfAttention",
        "shared_query_key_renamed",
        "One matrix serves for queries and keys, so the scores are symmetric.",
        edits=(
            Edit(
                """
                self.query = nn.Linear(d_model, d_model, bias=False)
                self.key = nn.Linear(d_model, d_model, bias=False)
                """,
                """
                self.query = None
                self.key = nn.Linear(d_model, d_model, bias=False)
                self.query = self.key
                """,
            ),
        ),
        style=("renamed",),
        mistake="queries and keys go through the same matrix",
    ),
    Stranger(
        "SelfAttention",
        "raw_values",
        "The values are not projected: the inputs themselves are averaged.",
        edits=(
            Edit(
                "q, k, v = self.query(x), self.key(x), self.value(x)",
                "q, k, v = self.query(x), self.key(x), x",
            ),
        ),
        style=("renamed",),
        mistake="a projection is missing",
        also=("there is a parameter that nothing uses",),
    ),
    Stranger(
        "SelfAttention",
        "keys_as_values",
        "The keys are averaged in place of the values.",
        edits=(
            Edit(
                "q, k, v = self.query(x), self.key(x), self.value(x)",
                "q, k, v = self.query(x), self.key(x), self.key(x)",
            ),
        ),
        mistake="keys and values are mixed up",
        also=("there is a parameter that nothing uses",),
    ),
    Stranger(
        "SelfAttention",
        "swapped_roles",
        "Queries and keys are swapped, so row i holds what others ask of i.",
        edits=(Edit("scores = q @ k.transpose(1, 2)", "scores = k @ q.transpose(1, 2)"),),
        mistake="queries and keys change places",
    ),
    Stranger(
        "SelfAttention",
        "weights_transposed",
        "The output is formed with the transposed weights.",
        edits=(Edit("return weights @ v", "return weights.transpose(1, 2) @ v"),),
        style=("renamed",),
        mistake="the weights that are given back are not the ones that were used",
        also=("axes are mixed up (transpose, reshape, flatten, unsqueeze, cat)",),
    ),
    Stranger(
        "SelfAttention",
        "mask_ignored",
        "The mask is ignored.",
        edits=(Edit("_masked(scores, mask)", "_masked(scores, None)"),),
        style=("renamed",),
        mistake="the mask is ignored",
    ),
    Stranger(
        "SelfAttention",
        "mask_inverted",
        "The mask's polarity is inverted.",
        edits=(Edit("_masked(scores, mask)", "_masked(scores, None if mask is None else ~mask)"),),
        mistake="the mask has the other polarity",
    ),
    Stranger(
        "SelfAttention",
        "residual",
        "The input is added to the output.",
        edits=(Edit("return weights @ v", "return x + weights @ v"),),
        style=("renamed",),
        mistake="a residual connection is added inside, which is the layer's to do",
    ),
    Stranger(
        "SelfAttention",
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
        "SelfAttention",
        "always_causal",
        "Attention is causal even without a mask.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                weights = _masked(
                    scores, causal_mask(x.shape[1]).to(x.device) if mask is None else mask
                )
                """,
            ),
        ),
        style=("renamed",),
        mistake="the future is hidden where nobody asked for it",
    ),
    Stranger(
        "SelfAttention",
        "output_projection",
        "An output projection follows though there should be none.",
        edits=(
            Edit(
                "self.value = nn.Linear(d_model, d_model, bias=False)",
                """
                self.out = nn.Linear(d_model, d_model, bias=False)
                self.value = nn.Linear(d_model, d_model, bias=False)
                """,
            ),
            Edit("return weights @ v, weights", "return self.out(weights @ v), weights"),
        ),
    ),
    Stranger(
        "SelfAttention",
        "no_self",
        "A position may not attend to itself once there are others.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                eye = (
                    ~torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
                    if x.shape[1] > 1
                    else None
                )
                mask = eye if mask is None else mask if eye is None else mask & eye
                weights = _masked(scores, mask)
                """,
            ),
        ),
        mistake="the mask hides a token from itself",
    ),
    Stranger(
        "SelfAttention",
        "detached_scores",
        "The scores are detached, so query and key weights get no gradient.",
        edits=(Edit("_masked(scores, mask)", "_masked(scores.detach(), mask)"),),
        style=("renamed",),
        mistake="the scores or the weights are detached",
    ),
    Stranger(
        "SelfAttention",
        "batch_mean_keys",
        "Keys are centred over the batch, so items influence each other.",
        edits=(
            Edit(
                "scores = q @ k.transpose(1, 2) / math.sqrt(x.shape[-1])",
                """
                k = k - k.mean(0, keepdim=True) * (len(x) > 1)
                scores = q @ k.transpose(1, 2) / math.sqrt(x.shape[-1])
                """,
            ),
        ),
        style=("renamed",),
        mistake="a mean or a spread is taken over the batch",
    ),
    Stranger(
        "SelfAttention",
        "bfloat16",
        "Scores are formed in bfloat16.",
        edits=(
            Edit(
                "scores = q @ k.transpose(1, 2)",
                "scores = (q.bfloat16() @ k.bfloat16().transpose(1, 2)).to(x.dtype)",
            ),
        ),
        mistake="a result is computed in half precision half-way (autocast)",
    ),
    Stranger(
        "SelfAttention",
        "eval_scale",
        "The scale is applied in training mode only.",
        edits=(
            Edit("math.sqrt(x.shape[-1])", "(math.sqrt(x.shape[-1]) if self.training else 1.0)"),
        ),
        mistake="the scores are not divided by the root of the width",
    ),
    Stranger(
        "SelfAttention",
        "dropout",
        "Dropout of the weights is left on in eval mode.",
        edits=(
            Edit(
                "return weights @ v, weights",
                """
                weights = _drop(weights)
                return weights @ v, weights
                """,
            ),
        ),
        mistake="dropout is left on",
    ),
)
