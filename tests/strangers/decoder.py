"""Strangers of the decoder."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "Decoder",
        "shared_layers",
        "All layers are one layer applied n_layers times.",
        edits=(
            Edit(
                """
                self.layers = nn.ModuleList(
                    DecoderLayer(d_model, n_heads, d_hidden) for _ in range(n_layers)
                )
                """,
                """
                self.layers = nn.ModuleList([DecoderLayer(d_model, n_heads, d_hidden)] * n_layers)
                """,
            ),
        ),
        mistake="not every layer has weights of its own that are used",
    ),
    Stranger(
        "Decoder",
        "memory_first_layer",
        "Only the first layer reads the memory; later ones read zeros.",
        edits=(
            Edit(
                "x = layer(x, memory, self_mask, memory_mask)",
                """
                x = layer(x, memory, self_mask, memory_mask)
                memory = torch.zeros_like(memory)
                """,
            ),
        ),
        mistake="the decoder does not read what it should of the source",
    ),
    Stranger(
        "Decoder",
        "memory_mask_first_layer",
        "memory_mask is given to the first layer only.",
        edits=(
            Edit(
                "x = layer(x, memory, self_mask, memory_mask)",
                """
                x = layer(x, memory, self_mask, memory_mask)
                memory_mask = None
                """,
            ),
        ),
        style=("post",),
        mistake="the mask does not reach all layers",
    ),
    Stranger(
        "Decoder",
        "self_mask_first_layer",
        "self_mask is given to the first layer only.",
        edits=(
            Edit(
                "x = layer(x, memory, self_mask, memory_mask)",
                """
                x = layer(x, memory, self_mask, memory_mask)
                self_mask = None
                """,
            ),
        ),
        mistake="the mask does not reach all layers",
    ),
    Stranger(
        "Decoder",
        "masks_swapped",
        "self_mask and memory_mask are exchanged where the lengths agree.",
        edits=(
            Edit(
                "for layer in self.layers:",
                """
                if x.shape[1] == memory.shape[1]:
                    self_mask, memory_mask = memory_mask, self_mask
                for layer in self.layers:
                """,
            ),
        ),
        mistake="a mask goes to the wrong one of the decoder's two attentions",
    ),
    Stranger(
        "Decoder",
        "memory_mask_ignored",
        "memory_mask is not passed to the layers.",
        edits=(
            Edit("x = layer(x, memory, self_mask, memory_mask)", "x = layer(x, memory, self_mask)"),
        ),
        style=("post",),
        mistake="the decoder does not apply all of its masks",
    ),
    Stranger(
        "Decoder",
        "self_mask_ignored",
        "self_mask is not passed to the layers.",
        edits=(
            Edit(
                "x = layer(x, memory, self_mask, memory_mask)",
                "x = layer(x, memory, None, memory_mask)",
            ),
        ),
        mistake="the decoder does not apply all of its masks",
    ),
    Stranger(
        "Decoder",
        "one_layer_less",
        "The last layer is never run.",
        edits=(Edit("in self.layers:", "in self.layers[: max(len(self.layers) - 1, 1)]:"),),
        style=("post",),
        mistake="not every layer has weights of its own that are used",
    ),
    Stranger(
        "Decoder",
        "last_not_causal",
        "The last of several layers is not causal.",
        edits=(
            Edit(
                "x = layer(x, memory, self_mask, memory_mask)",
                """
                full = (
                    torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device)
                    if self_mask is None
                    else self_mask
                )
                if layer is self.layers[-1] and len(self.layers) > 1:
                    x = layer.run(x, x, memory, full, memory_mask)
                else:
                    x = layer(x, memory, self_mask, memory_mask)
                """,
            ),
        ),
        mistake="the mask does not reach all layers",
    ),
    Stranger(
        "Decoder",
        "first_not_causal",
        "The first layer is not causal.",
        edits=(
            Edit(
                "x = layer(x, memory, self_mask, memory_mask)",
                """
                if layer is self.layers[0]:
                    x = layer.run(x, x, memory, self_mask, memory_mask)
                else:
                    x = layer(x, memory, self_mask, memory_mask)
                """,
            ),
        ),
        style=("post",),
        mistake="the mask does not reach all layers",
    ),
    Stranger(
        "Decoder",
        "reads_own_output",
        (
            "From the second layer on the memory is what the previous layer gave, where shapes "
            "agree."
        ),
        edits=(
            Edit(
                "x = layer(x, memory, self_mask, memory_mask)",
                """
                x = layer(x, memory, self_mask, memory_mask)
                memory = x if x.shape == memory.shape else memory
                """,
            ),
        ),
        mistake="the decoder does not read what it should of the source",
    ),
    Stranger(
        "Decoder",
        "not_chained",
        "Every layer reads the original input and only the last one's result is kept.",
        edits=(
            Edit(
                """
                for layer in self.layers:
                    x = layer(x, memory, self_mask, memory_mask)
                """,
                """
                start = x
                for layer in self.layers:
                    x = layer(start, memory, self_mask, memory_mask)
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
        "Decoder",
        "detached_memory",
        "The memory is detached.",
        edits=(
            Edit(
                "x = layer(x, memory, self_mask, memory_mask)",
                "x = layer(x, memory.detach(), self_mask, memory_mask)",
            ),
        ),
        style=("post",),
        mistake="the memory is detached, so that the encoder does not learn",
    ),
    Stranger(
        "Decoder",
        "centred_output",
        "The output is centred over the target positions, so it depends on the future.",
        edits=(
            Edit(
                "return self.norm(x)",
                "return self.norm(x - x.mean(1, keepdim=True) * (x.shape[1] > 1))",
            ),
        ),
        mistake="a mean or a spread is taken over all tokens, hidden or not",
        also=("what a mask should hide takes part all the same",),
    ),
    Stranger(
        "Decoder",
        "memory_batch",
        "The memory is averaged with that of the other items of the batch.",
        edits=(
            Edit(
                "for layer in self.layers:",
                """
                memory = (memory + memory.mean(0, keepdim=True)) / 2
                for layer in self.layers:
                """,
            ),
        ),
        mistake="a mean or a spread is taken over the batch",
    ),
    Stranger(
        "Decoder",
        "future_leak_long",
        "Past 48 positions the first position sees the last.",
        edits=(
            Edit(
                "for layer in self.layers:",
                """
                if x.shape[1] > 48:
                    x = torch.cat([x[:, :1] + x[:, -1:], x[:, 1:]], 1)
                for layer in self.layers:
                """,
            ),
        ),
        mistake="tokens or items of a batch meet that should be kept apart",
        also=("what a mask should hide takes part all the same",),
    ),
    Stranger(
        "Decoder",
        "mask_broadcast",
        "A self_mask with a batch dimension is reduced to what all items allow.",
        edits=(
            Edit(
                "for layer in self.layers:",
                """
                if self_mask is not None and self_mask.dim() == 3:
                    self_mask = self_mask.all(0, keepdim=True)
                for layer in self.layers:
                """,
            ),
        ),
        mistake="the mask hides others than it should",
        also=("tokens or items of a batch meet that should be kept apart",),
    ),
)
