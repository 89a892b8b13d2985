"""Strangers of the feed-forward network."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "FeedForward",
        "linear",
        "There is no activation between the two layers, so the whole is affine.",
        edits=(Edit("hidden = torch.relu(self.up(x))", "hidden = self.up(x)"),),
        mistake="the feed-forward network has no activation",
    ),
    Stranger(
        "FeedForward",
        "mean_over_positions",
        "The hidden layer is centred over the positions.",
        edits=(
            Edit(
                "return self.down(hidden)",
                """
                hidden = hidden - hidden.mean(1, keepdim=True)
                return self.down(hidden)
                """,
            ),
        ),
        mistake="a mean or a spread is taken over all tokens, hidden or not",
    ),
    Stranger(
        "FeedForward",
        "batch_norm",
        "The hidden layer is normalised with batch statistics.",
        edits=(
            Edit(
                "return self.down(hidden)",
                """
                hidden = hidden / (1 + hidden.mean(0, keepdim=True))
                return self.down(hidden)
                """,
            ),
        ),
        mistake="a mean or a spread is taken over the batch",
    ),
    Stranger(
        "FeedForward",
        "convolution",
        "Each position also sees the position before it, as in a convolution.",
        edits=(
            Edit(
                "hidden = torch.relu(self.up(x))",
                """
                hidden = torch.relu(self.up(x + 0.5 * nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]))
                """,
            ),
        ),
        mistake="tokens or items of a batch meet that should be kept apart",
    ),
    Stranger(
        "FeedForward",
        "softmax_positions",
        "The activation is a softmax over the positions.",
        edits=(Edit("hidden = torch.relu(self.up(x))", "hidden = softmax(self.up(x), 1)"),),
        mistake="tokens or items of a batch meet that should be kept apart",
    ),
    Stranger(
        "FeedForward",
        "position_scale",
        "The hidden layer is scaled by the position.",
        edits=(
            Edit(
                "return self.down(hidden)",
                """
                hidden = hidden * torch.linspace(1, 2, x.shape[1]).to(x)[:, None]
                return self.down(hidden)
                """,
            ),
        ),
        mistake="where a token stands counts where it should not",
        also=("a result is scaled by how long the sequence or the padded batch is",),
    ),
    Stranger(
        "FeedForward",
        "input_in_place",
        "The activation is applied to the caller's tensor in place.",
        edits=(
            Edit(
                "hidden = torch.relu(self.up(x))",
                """
                x.data.relu_()
                hidden = torch.relu(self.up(x))
                """,
            ),
        ),
        mistake="the inputs are overwritten",
    ),
    Stranger(
        "FeedForward",
        "detached_hidden",
        "The hidden layer is detached, so the first matrix gets no gradient.",
        edits=(
            Edit("hidden = torch.relu(self.up(x))", "hidden = torch.relu(self.up(x)).detach()"),
        ),
        mistake="the gradient is cut on its way (detach)",
    ),
    Stranger(
        "FeedForward",
        "bfloat16",
        "The hidden layer is rounded to bfloat16.",
        edits=(
            Edit(
                "hidden = nn.functional.gelu(self.up(x))",
                "hidden = nn.functional.gelu(self.up(x)).bfloat16().to(x.dtype)",
            ),
        ),
        style=("gelu",),
        mistake="a result is computed in half precision half-way (autocast)",
    ),
    Stranger(
        "FeedForward",
        "dropout",
        "Dropout is left on in eval mode.",
        edits=(
            Edit(
                "hidden = nn.functional.gelu(self.up(x))",
                "hidden = _drop(nn.functional.gelu(self.up(x)))",
            ),
        ),
        style=("gelu",),
        mistake="dropout is left on",
    ),
    Stranger(
        "FeedForward",
        "train_dropout",
        "Dropout is on in training mode although nobody asked for it.",
        edits=(
            Edit(
                "return self.down(hidden)",
                """
                hidden = _drop(hidden) if self.training else hidden
                return self.down(hidden)
                """,
            ),
        ),
        mistake="dropout or something like it is at work where nobody asked for it",
        doubt="modules are graded in eval mode; what 'unless it asks for it' means is unclear",
    ),
    Stranger(
        "FeedForward",
        "chunk_tail",
        (
            "Positions are processed in chunks of 64 and a last incomplete chunk after the first "
            "is left zero."
        ),
        edits=(
            Edit(
                "return self.down(hidden)",
                """
                out = self.down(hidden)
                n = x.shape[1] if x.shape[1] <= 64 else x.shape[1] // 64 * 64
                return torch.cat([out[:, :n], torch.zeros_like(out[:, n:])], 1)
                """,
            ),
        ),
        mistake="what lies beyond a fixed length is left out",
    ),
    Stranger(
        "FeedForward",
        "running_state",
        (
            "A running mean of earlier calls is subtracted, so results depend on what was called "
            "before."
        ),
        edits=(
            Edit(
                "return self.down(hidden)",
                """
                before = self.__dict__.get("before", 0.0)
                self.__dict__["before"] = hidden.detach().mean().item()
                hidden = hidden - before
                return self.down(hidden)
                """,
            ),
        ),
        mistake="something of an earlier call is kept and used again",
    ),
    Stranger(
        "FeedForward",
        "squeezed",
        "With a single position the length dimension is squeezed away.",
        edits=(Edit("return self.down(hidden)", "return self.down(hidden).squeeze(1)"),),
        mistake="axes are mixed up (transpose, reshape, flatten, unsqueeze, cat)",
    ),
    Stranger(
        "FeedForward",
        "float32_inside",
        "float64 is computed in float32.",
        edits=(Edit("return self.down(hidden)", "return self.down(hidden.float().to(x.dtype))"),),
        mistake="a result is computed in float32 half-way",
    ),
    Stranger(
        "FeedForward",
        "reversed_positions",
        "The output comes in reversed order of positions.",
        edits=(Edit("return self.down(hidden)", "return self.down(hidden).flip(1)"),),
        mistake="tokens or items of a batch meet that should be kept apart",
        also=("arguments, operands or results are in the wrong order",),
    ),
    Stranger(
        "FeedForward",
        "first_token_gate",
        "All positions are gated by the first token's hidden layer.",
        edits=(
            Edit(
                "return self.down(hidden)",
                """
                hidden = hidden * (1 + hidden[:, :1])
                return self.down(hidden)
                """,
            ),
        ),
        mistake="tokens or items of a batch meet that should be kept apart",
    ),
)
