"""Strangers of the encoder."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "Encoder",
        "shared_layers",
        "All layers are one layer applied n_layers times.",
        edits=(
            Edit(
                """
                self.layers = nn.ModuleList(
                    EncoderLayer(d_model, n_heads, d_hidden) for _ in range(n_layers)
                )
                """,
                """
                self.layers = nn.ModuleList([EncoderLayer(d_model, n_heads, d_hidden)] * n_layers)
                """,
            ),
        ),
        mistake="not every layer has weights of its own that are used",
    ),
    Stranger(
        "Encoder",
        "shared_layers_post",
        "All layers are one layer applied n_layers times (post-norm).",
        edits=(
            Edit(
                """
                self.layers = nn.ModuleList(
                    EncoderLayer(d_model, n_heads, d_hidden) for _ in range(n_layers)
                )
                """,
                """
                self.layers = nn.ModuleList([EncoderLayer(d_model, n_heads, d_hidden)] * n_layers)
                """,
            ),
        ),
        style=("post",),
        mistake="not every layer has weights of its own that are used",
    ),
    Stranger(
        "Encoder",
        "mask_first_layer",
        "The mask is given to the first layer only.",
        edits=(
            Edit(
                "x = layer(x, mask)",
                """
                x = layer(x, mask)
                mask = None
                """,
            ),
        ),
        mistake="the mask does not reach all layers",
    ),
    Stranger(
        "Encoder",
        "mask_ignored",
        "The mask is not passed to the layers.",
        edits=(Edit("x = layer(x, mask)", "x = layer(x)"),),
        style=("post",),
        mistake="the mask is ignored",
    ),
    Stranger(
        "Encoder",
        "not_chained",
        "Every layer reads the original input and only the last one's result is kept.",
        edits=(
            Edit(
                """
                for layer in self.layers:
                    x = layer(x, mask)
                """,
                """
                start = x
                for layer in self.layers:
                    x = layer(start, mask)
                """,
            ),
        ),
        mistake="not every layer has weights of its own that are used",
        also=(
            "layers or sublayers are in another order, or beside each other",
            "a step is left out, or what it gives is not used",
        ),
    ),
    Stranger(
        "Encoder",
        "one_layer_less",
        "The last layer is never run.",
        edits=(Edit("in self.layers:", "in self.layers[: max(len(self.layers) - 1, 1)]:"),),
        style=("post",),
        mistake="not every layer has weights of its own that are used",
    ),
    Stranger(
        "Encoder",
        "only_first",
        "The loop returns after the first layer.",
        edits=(
            Edit(
                "x = layer(x, mask)",
                """
                x = layer(x, mask)
                break
                """,
            ),
        ),
        style=("gelu",),
        mistake="not every layer has weights of its own that are used",
    ),
    Stranger(
        "Encoder",
        "averaged",
        "The outputs of all layers are averaged.",
        edits=(
            Edit(
                "for layer in self.layers:",
                """
                total = 0
                for layer in self.layers:
                """,
            ),
            Edit(
                """
                for layer in self.layers:
                    x = layer(x, mask)
                """,
                """
                for layer in self.layers:
                    x = layer(x, mask)
                    total = total + x
                x = total / len(self.layers)
                """,
            ),
        ),
        style=("post",),
        doubt="that layers are a plain chain is implied only",
    ),
    Stranger(
        "Encoder",
        "causal",
        "The encoder is causal.",
        edits=(
            Edit(
                "for layer in self.layers:",
                """
                causal = causal_mask(x.shape[1]).to(x.device)
                mask = causal if mask is None else mask & causal
                for layer in self.layers:
                """,
            ),
        ),
        mistake="the future is hidden where nobody asked for it",
    ),
    Stranger(
        "Encoder",
        "detached_between",
        "The result of every layer is detached before the next.",
        edits=(
            Edit(
                "x = layer(x, mask)",
                "x = layer(x.detach() if layer is not self.layers[0] else x, mask)",
            ),
        ),
        mistake="the gradient is cut on its way (detach)",
    ),
    Stranger(
        "Encoder",
        "input_in_place",
        "The result is written into the caller's tensor.",
        edits=(
            Edit(
                "for layer in self.layers:",
                """
                start = x
                for layer in self.layers:
                """,
            ),
            Edit(
                "return self.norm(x)",
                """
                start.data.copy_(x.data)
                return self.norm(x)
                """,
            ),
        ),
        mistake="the inputs are overwritten",
    ),
    Stranger(
        "Encoder",
        "batch_norm",
        "The final norm takes its statistics over the batch.",
        edits=(
            Edit(
                "return self.norm(x)",
                "return self.norm(x - x.mean(0, keepdim=True) * (len(x) > 1))",
            ),
        ),
        mistake="a mean or a spread is taken over the batch",
    ),
    Stranger(
        "Encoder",
        "mask_inverted_later",
        "The mask is inverted from one layer to the next.",
        edits=(
            Edit(
                "x = layer(x, mask)",
                """
                x = layer(x, mask)
                mask = None if mask is None else ~mask
                """,
            ),
        ),
        style=("post",),
        mistake="the mask has the other polarity",
        also=("what a mask should hide takes part all the same",),
    ),
    Stranger(
        "Encoder",
        "masked_mean_leak",
        (
            "With a mask given, the mean over the whole sequence, padding included, is added to "
            "every position."
        ),
        edits=(
            Edit(
                "for layer in self.layers:",
                """
                if mask is not None:
                    x = x + x.mean(1, keepdim=True)
                for layer in self.layers:
                """,
            ),
        ),
        mistake="a mean or a spread is taken over all tokens, hidden or not",
        also=("what a mask should hide takes part all the same",),
    ),
    Stranger(
        "Encoder",
        "reversed_batch",
        "The items of the batch come back in reversed order.",
        edits=(Edit("return self.norm(x)", "return self.norm(x).flip(0)"),),
        mistake="tokens or items of a batch meet that should be kept apart",
        also=("arguments, operands or results are in the wrong order",),
    ),
    Stranger(
        "Encoder",
        "stale_result",
        "Without gradients the last result is returned again for any input of the same shape.",
        edits=(
            Edit(
                "return self.norm(x)",
                """
                x = self.norm(x)
                return (
                    x
                    if torch.is_grad_enabled()
                    else self.__dict__.setdefault("kept", {})
                    .setdefault((x.shape, x.dtype), x)
                    .clone()
                )
                """,
            ),
        ),
        mistake="something of an earlier call is kept and used again",
    ),
    Stranger(
        "Encoder",
        "dropout",
        "Dropout between the layers is left on in eval mode.",
        edits=(Edit("x = layer(x, mask)", "x = layer(_drop(x), mask)"),),
        style=("post",),
        mistake="dropout is left on",
    ),
)
