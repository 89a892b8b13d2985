"""Strangers of the encoder's layer."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "EncoderLayer",
        "no_attention_residual",
        "The residual around self-attention is missing.",
        edits=(
            Edit(
                "x = x + self.attention(a, a, a, mask)[0]", "x = self.attention(a, a, a, mask)[0]"
            ),
        ),
        mistake="the residual connection is missing",
    ),
    Stranger(
        "EncoderLayer",
        "no_attention_residual_post",
        "The residual around self-attention is missing (post-norm).",
        edits=(
            Edit(
                "x = self.norm1(x + self.attention(a, a, a, mask)[0])",
                "x = self.norm1(self.attention(a, a, a, mask)[0])",
            ),
        ),
        style=("post",),
        mistake="the residual connection is missing",
    ),
    Stranger(
        "EncoderLayer",
        "no_ff_residual",
        "The residual around the feed-forward net is missing.",
        edits=(
            Edit(
                "return x + self.feed_forward(self.norm2(x))",
                "return self.feed_forward(self.norm2(x))",
            ),
        ),
        mistake="the residual connection is missing",
    ),
    Stranger(
        "EncoderLayer",
        "no_ff_residual_post",
        "The residual around the feed-forward net is missing (post-norm).",
        edits=(
            Edit(
                "return self.norm2(x + self.feed_forward(x))",
                "return self.norm2(self.feed_forward(x))",
            ),
        ),
        style=(
            "post",
            "gelu",
        ),
        mistake="the residual connection is missing",
    ),
    Stranger(
        "EncoderLayer",
        "parallel",
        "The feed-forward net reads the layer's input instead of the attention's result.",
        edits=(
            Edit(
                """
                x = x + self.attention(a, a, a, mask)[0]
                return x + self.feed_forward(self.norm2(x))
                """,
                """
                start = x
                x = x + self.attention(a, a, a, mask)[0]
                return x + self.feed_forward(self.norm2(start))
                """,
            ),
        ),
        mistake="the sublayers run beside each other and not one after another",
    ),
    Stranger(
        "EncoderLayer",
        "wrong_residual",
        (
            "The second residual adds the layer's input, so the first sublayer's result is lost "
            "from the sum."
        ),
        edits=(
            Edit(
                """
                x = self.norm1(x + self.attention(a, a, a, mask)[0])
                return self.norm2(x + self.feed_forward(x))
                """,
                """
                start = x
                x = self.norm1(x + self.attention(a, a, a, mask)[0])
                return self.norm2(start + self.feed_forward(x))
                """,
            ),
        ),
        style=("post",),
        mistake="the second residual starts at the layer's input",
    ),
    Stranger(
        "EncoderLayer",
        "swapped_order",
        "The feed-forward net comes before the self-attention.",
        edits=(
            Edit(
                """
                a = self.norm1(x)
                x = x + self.attention(a, a, a, mask)[0]
                return x + self.feed_forward(self.norm2(x))
                """,
                """
                x = x + self.feed_forward(self.norm2(x))
                a = self.norm1(x)
                return x + self.attention(a, a, a, mask)[0]
                """,
            ),
        ),
        mistake="the sublayers are in another order",
    ),
    Stranger(
        "EncoderLayer",
        "mask_ignored",
        "The mask is ignored.",
        edits=(Edit("(a, a, a, mask)", "(a, a, a)"),),
        mistake="the mask is ignored",
    ),
    Stranger(
        "EncoderLayer",
        "mask_inverted",
        "The mask is inverted on its way to the attention.",
        edits=(Edit("(a, a, a, mask)", "(a, a, a, None if mask is None else ~mask)"),),
        style=("post",),
        mistake="the mask has the other polarity",
    ),
    Stranger(
        "EncoderLayer",
        "causal",
        "The self-attention is causal.",
        edits=(
            Edit(
                "x = x + self.attention(a, a, a, mask)[0]",
                """
                causal = causal_mask(x.shape[1]).to(x.device)
                mask = causal if mask is None else mask & causal
                x = x + self.attention(a, a, a, mask)[0]
                """,
            ),
        ),
        mistake="the future is hidden where nobody asked for it",
    ),
    Stranger(
        "EncoderLayer",
        "mask_transposed",
        "A square mask is transposed, so that queries rather than keys are masked.",
        edits=(
            Edit(
                "x = x + self.attention(a, a, a, mask)[0]",
                """
                x = (
                    x
                    + self.attention(
                        a,
                        a,
                        a,
                        mask
                        if mask is None or mask.shape[-1] != mask.shape[-2]
                        else mask.transpose(-2, -1),
                    )[0]
                )
                """,
            ),
        ),
        mistake="the mask is transposed, so that queries and keys change places",
    ),
    Stranger(
        "EncoderLayer",
        "detached_attention",
        "The attention's output is detached, so nothing before it learns through it.",
        edits=(
            Edit(
                "x = x + self.attention(a, a, a, mask)[0]",
                "x = x + self.attention(a, a, a, mask)[0].detach()",
            ),
        ),
        mistake="the gradient is cut on its way (detach)",
    ),
    Stranger(
        "EncoderLayer",
        "detached_residual",
        "The residual path is detached.",
        edits=(
            Edit(
                "x = x + self.attention(a, a, a, mask)[0]",
                "x = x.detach() + self.attention(a, a, a, mask)[0]",
            ),
        ),
        mistake="the gradient is cut on its way (detach)",
    ),
    Stranger(
        "EncoderLayer",
        "in_place",
        "The residual is added in place to the caller's tensor.",
        edits=(
            Edit(
                "x = x + self.attention(a, a, a, mask)[0]",
                """
                start = x
                x = x + self.attention(a, a, a, mask)[0]
                start.data.copy_(x.data)
                """,
            ),
        ),
        mistake="the inputs are overwritten",
    ),
    Stranger(
        "EncoderLayer",
        "one_head",
        "The number of heads is ignored and one head used.",
        edits=(Edit("MultiHeadAttention(d_model, n_heads)", "MultiHeadAttention(d_model, 1)"),),
        mistake="the number of heads is ignored",
    ),
    Stranger(
        "EncoderLayer",
        "ff_unused",
        "The feed-forward net is never applied.",
        edits=(
            Edit(
                "return x + self.feed_forward(self.norm2(x))",
                "return x + 0 * self.feed_forward(self.norm2(x))",
            ),
        ),
        style=("gelu",),
        mistake="the feed-forward network is not used",
    ),
    Stranger(
        "EncoderLayer",
        "attention_unused",
        "The self-attention is never applied.",
        edits=(
            Edit(
                "x = self.norm1(x + self.attention(a, a, a, mask)[0])",
                "x = self.norm1(x + 0 * self.attention(a, a, a, mask)[0])",
            ),
        ),
        style=("post",),
        mistake="the self-attention is left out",
    ),
    Stranger(
        "EncoderLayer",
        "norm_over_sequence",
        "The norms take their statistics over the positions of the sequence.",
        edits=(
            Edit("mean = z.mean(-1, keepdim=True)", "mean = z.mean(1, keepdim=True)", "LayerNorm"),
            Edit(
                "variance = (z - mean).square().mean(-1, keepdim=True)",
                "variance = (z - mean).square().mean(1, keepdim=True)",
                "LayerNorm",
            ),
        ),
        mistake="the normalisation runs over other axes than the width",
    ),
    Stranger(
        "EncoderLayer",
        "double_residual",
        "The input is added twice in the first residual.",
        edits=(
            Edit(
                "x = x + self.attention(a, a, a, mask)[0]",
                "x = x + x + self.attention(a, a, a, mask)[0]",
            ),
        ),
        mistake="a residual connection is missing or starts or ends in the wrong place",
    ),
    Stranger(
        "EncoderLayer",
        "dropout",
        "Dropout of the attention's result is left on in eval mode.",
        edits=(
            Edit(
                "x = self.norm1(x + self.attention(a, a, a, mask)[0])",
                "x = self.norm1(x + _drop(self.attention(a, a, a, mask)[0]))",
            ),
        ),
        style=("post",),
        mistake="dropout is left on",
    ),
    Stranger(
        "EncoderLayer",
        "first_mask",
        "The mask of the first item of the batch is used for all.",
        edits=(
            Edit(
                "(a, a, a, mask)", "(a, a, a, mask if mask is None or mask.dim() < 3 else mask[:1])"
            ),
        ),
        mistake="every item gets the mask of the first",
        also=("what belongs to the first item of a batch serves all",),
    ),
    Stranger(
        "EncoderLayer",
        "first_token_query",
        "Only the first token is used as the query and its result given to all positions.",
        edits=(
            Edit(
                "x = x + self.attention(a, a, a, mask)[0]",
                """
                x = (
                    x
                    + self.attention(
                        a[:, :1],
                        a,
                        a,
                        mask if mask is None or mask.shape[-2] == 1 else mask[..., :1, :],
                    )[0]
                )
                """,
            ),
        ),
        mistake="tokens or items of a batch meet that should be kept apart",
    ),
    Stranger(
        "EncoderLayer",
        "norm_shared",
        "One norm serves both sublayers instead of each having its own.",
        edits=(
            Edit(
                "self.norm1, self.norm2 = LayerNorm(d_model), LayerNorm(d_model)",
                "self.norm1 = self.norm2 = LayerNorm(d_model)",
            ),
        ),
        mistake="parts that need weights of their own share them",
        doubt="'parameters of their own' may mean the sublayers only, not the norms",
    ),
    Stranger(
        "EncoderLayer",
        "ff_convolves",
        "The feed-forward net mixes neighbouring positions.",
        edits=(
            Edit(
                "return self.norm2(x + self.feed_forward(x))",
                "return self.norm2(x + self.feed_forward(x + 0.5 * x.roll(1, 1)))",
            ),
        ),
        style=("post",),
        mistake="tokens or items of a batch meet that should be kept apart",
    ),
)
