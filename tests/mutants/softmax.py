"""Wrong softmaxes."""

import torch
from torch import Tensor

from tests.mutants import mutant


@mutant("softmax", "no_finite_score_overflows")
def exponentials_without_a_shift(x: Tensor, dim: int = -1) -> Tensor:
    """Overflow for large scores."""
    exponentials = torch.exp(x)
    return exponentials / exponentials.sum(dim, keepdim=True)
