"""How much a computation takes: how long its longest chain is, and how many operations it has."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["Calls", "depth"]


def depth(output: Tensor) -> int:
    """Give the longest chain of operations behind a tensor, in its autograd graph.

    A tensor that has no gradient has none, and a depth of zero.
    """
    if output.grad_fn is None:
        return 0
    depths: dict[Any, int] = {None: 0}
    stack: list[Any] = [output.grad_fn]
    while stack:
        node = stack[-1]
        parents = [parent for parent, _ in node.next_functions]
        missing = [parent for parent in parents if parent not in depths]
        if missing:
            stack.extend(missing)
            continue
        depths[stack.pop()] = 1 + max((depths[parent] for parent in parents), default=0)
    return depths[output.grad_fn]


class Calls(TorchFunctionMode):
    """Counts the calls of torch's functions, however large their tensors are.

    Attributes:
        number: how many calls there were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 - torch passes any of its functions
        types: Any,  # noqa: ANN401 - and any types
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - and takes any result
        """Count the call and make it."""
        self.number += 1
        return func(*args, **(kwargs or {}))
