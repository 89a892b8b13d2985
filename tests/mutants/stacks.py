"""What can be wrong with a stack of layers, of an encoder or of a decoder."""

from __future__ import annotations

from typing import Any

from torch import nn


class OtherLayers:
    """A stack that is right, but for the class of its layers."""

    layer: Any

    def __init__(self, d_model: int, n_heads: int, d_hidden: int, n_layers: int) -> None:
        super().__init__(d_model, n_heads, d_hidden, n_layers)
        self.layers = nn.ModuleList(self.layer(d_model, n_heads, d_hidden) for _ in range(n_layers))


class OneLayer:
    """A stack whose layers are all the same one."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.layers = nn.ModuleList([self.layers[0]] * len(self.layers))


class TwoLayersInTurn:
    """A stack that stores the weights of all layers together, and uses those of two in turn."""

    def _attend(self, x, other, mask, layer, which):
        return super()._attend(x, other, mask, layer % 2, which)

    def _network(self, x, layer):
        return super()._network(x, layer % 2)


class PlainList:
    """A stack whose layers are where PyTorch does not find them."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        layers = list(self.layers)
        del self.layers
        object.__setattr__(self, "layers", layers)


class FiveLayersAtMost:
    """A stack that is never deeper than five layers."""

    def __init__(self, d_model: int, n_heads: int, d_hidden: int, n_layers: int) -> None:
        super().__init__(d_model, n_heads, d_hidden, min(n_layers, 5))
