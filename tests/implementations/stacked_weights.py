"""The weights of all layers in a few tensors, layers first, and a recursion over the layers.

Free choices: pre-norm, whose gains are stored as what they add to one, without a normalisation at
the end; Mish; a bias inside the network alone; heads are an axis of the weights; the dtype's least
number for a mask; what ends a sublayer starts at zero.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, mish


class _Stack(nn.Module):
    """Every parameter has a slice for each layer.

    Args:
        attentions: how many attentions a layer has.
    """

    attentions: int

    def __init__(self, d_model: int, n_heads: int, d_hidden: int, n_layers: int) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"{n_heads} heads in a width of {d_model}")
        n, k, d_head = n_layers, self.attentions, d_model // n_heads
        self.gains = nn.Parameter(torch.zeros(n, k + 1, d_model))
        self.inward = nn.Parameter(torch.randn(n, k, 3, n_heads, d_model, d_head) / d_model**0.5)
        self.outward = nn.Parameter(torch.zeros(n, k, n_heads, d_head, d_model))
        self.wide = nn.Parameter(torch.randn(n, d_model, d_hidden) / d_model**0.5)
        self.bent = nn.Parameter(torch.full((n, 1, d_hidden), -0.5))
        self.narrow = nn.Parameter(torch.zeros(n, d_hidden, d_model))

    def _normal(self, x: Tensor, layer: int, which: int) -> Tensor:
        return layer_norm(x, x.shape[-1:], 1 + self.gains[layer, which])

    def _attend(
        self, x: Tensor, other: Tensor | None, mask: Tensor | None, layer: int, which: int
    ) -> Tensor:
        seen = self._normal(x, layer, which)
        other = seen if other is None else other
        of_query, of_key, of_value = self.inward[layer, which]
        query = seen[:, None] @ of_query
        key, value = other[:, None] @ of_key, other[:, None] @ of_value
        scores = query @ key.mT / query.shape[-1] ** 0.5
        if mask is not None:
            lowest = torch.finfo(scores.dtype).min
            scores = scores.masked_fill(~mask.unsqueeze(-3), lowest)
        return x + (scores.softmax(-1) @ value @ self.outward[layer, which]).sum(1)

    def _network(self, x: Tensor, layer: int) -> Tensor:
        seen = self._normal(x, layer, -1)
        return x + mish(seen @ self.wide[layer] + self.bent[layer]) @ self.narrow[layer]


class Encoder(_Stack):
    attentions = 1

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self._up_to(len(self.gains), x, mask)

    def _up_to(self, layers: int, x: Tensor, mask: Tensor | None) -> Tensor:
        if not layers:
            return x
        below = self._up_to(layers - 1, x, mask)
        return self._network(self._attend(below, None, mask, layers - 1, 0), layers - 1)


class Decoder(_Stack):
    attentions = 2

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        places = torch.arange(x.shape[1], device=x.device)
        past = places[:, None] >= places
        past = past if self_mask is None else past & self_mask
        return self._up_to(len(self.gains), x, past, memory, memory_mask)

    def _up_to(
        self, layers: int, x: Tensor, past: Tensor, memory: Tensor, memory_mask: Tensor | None
    ) -> Tensor:
        if not layers:
            return x
        layer = layers - 1
        below = self._up_to(layer, x, past, memory, memory_mask)
        heard = self._attend(below, None, past, layer, 0)
        return self._network(self._attend(heard, memory, memory_mask, layer, 1), layer)
