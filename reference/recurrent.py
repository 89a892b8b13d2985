"""Recurrent cells: a state that is carried from one token to the next."""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from reference.shapes import check_integers, check_lengths, check_pair, check_shapes, check_sizes

__all__ = ["Cell", "ElmanCell", "GRUCell", "LSTMCell", "State", "unroll"]

Hidden = Float[Tensor, "B d_hidden"]
State = Any
"""What a step hands to the next: a tensor, or a tuple of such, always with the batch first."""


@runtime_checkable
class Cell(Protocol):
    """One step of a recurrent network."""

    def initial(self, batch: int) -> State:
        """Give the state before the first token: zeros."""

    def __call__(self, x: Float[Tensor, "B d_input"], state: State) -> State:
        """Give the state after one more token."""

    @staticmethod
    def hidden(state: State) -> Hidden:
        """Give the part of a state that others may see, (B, d_hidden)."""


class _Gates(nn.Module):
    """Two linear layers, of the token and of the hidden state, with several blocks of rows.

    Args:
        d_input: width of the tokens.
        d_hidden: width of the state.
        n_gates: the number of blocks.
    """

    def __init__(self, d_input: int, d_hidden: int, n_gates: int) -> None:
        super().__init__()
        check_sizes(d_input=d_input, d_hidden=d_hidden)
        self.d_hidden = d_hidden
        self.input = nn.Linear(d_input, n_gates * d_hidden)
        self.recurrent = nn.Linear(d_hidden, n_gates * d_hidden)

    def _zeros(self, batch: int) -> Hidden:
        check_integers(0, batch=batch)
        return self.input.weight.new_zeros(batch, self.d_hidden)

    def _check(self, x: Float[Tensor, "B d_input"], **states: Hidden) -> None:
        forms = "".join(f", {name} (B, d_hidden)" for name in states)
        sizes = {"d_input": self.input.in_features, "d_hidden": self.d_hidden}
        check_shapes(f"x (B, d_input){forms}", x, *states.values(), **sizes)


class ElmanCell(_Gates):
    """The simplest cell.

        h′ = tanh(W x + b + U h + c)

    Args:
        d_input: width of the tokens.
        d_hidden: width of the state.

    Parameters: ``input.weight`` (d_hidden, d_input), ``recurrent.weight`` (d_hidden, d_hidden),
    ``input.bias`` and ``recurrent.bias``, each (d_hidden,).

    Raises:
        TypeError: a width is no integer.
        ValueError: a width below 1.

    Source: Elman 1990, with tanh.
    """

    def __init__(self, d_input: int, d_hidden: int) -> None:
        super().__init__(d_input, d_hidden, 1)

    def initial(self, batch: int) -> Hidden:
        """Give zeros, (B, d_hidden)."""
        return self._zeros(batch)

    def forward(self, x: Float[Tensor, "B d_input"], state: Hidden) -> Hidden:
        """Give the next state, (B, d_hidden).

        Raises:
            TypeError: a tensor is not floating point.
            ValueError: the shapes do not fit.
        """
        self._check(x, state=state)
        return torch.tanh(self.input(x) + self.recurrent(state))

    @staticmethod
    def hidden(state: Hidden) -> Hidden:
        """Give the state itself."""
        return state


class GRUCell(_Gates):
    """A cell that chooses between its old state and a new one, entry by entry.

        r = σ(W_r x + U_r h),  z = σ(W_z x + U_z h),  n = tanh(W_n x + r · (U_n h))
        h′ = (1 − z) · n + z · h

    Args:
        d_input: width of the tokens.
        d_hidden: width of the state.

    Parameters: ``input.weight`` (3 · d_hidden, d_input),
    ``recurrent.weight`` (3 · d_hidden, d_hidden), ``input.bias`` and ``recurrent.bias``, each
    (3 · d_hidden,); rows for r, then for z, then for n. Biases are left out above.

    Raises:
        TypeError: a width is no integer.
        ValueError: a width below 1.

    Source: Cho et al. 2014, section 2.3, with the reset gate after the product, as torch has it.
    """

    def __init__(self, d_input: int, d_hidden: int) -> None:
        super().__init__(d_input, d_hidden, 3)

    def initial(self, batch: int) -> Hidden:
        """Give zeros, (B, d_hidden)."""
        return self._zeros(batch)

    def forward(self, x: Float[Tensor, "B d_input"], state: Hidden) -> Hidden:
        """Give the next state, (B, d_hidden).

        Raises:
            TypeError: a tensor is not floating point.
            ValueError: the shapes do not fit.
        """
        self._check(x, state=state)
        reset_x, update_x, new_x = self.input(x).chunk(3, -1)
        reset_h, update_h, new_h = self.recurrent(state).chunk(3, -1)
        reset = torch.sigmoid(reset_x + reset_h)
        update = torch.sigmoid(update_x + update_h)
        new = torch.tanh(new_x + reset * new_h)
        return (1 - update) * new + update * state

    @staticmethod
    def hidden(state: Hidden) -> Hidden:
        """Give the state itself."""
        return state


class LSTMCell(_Gates):
    """A cell with a memory of its own, which gates write to, keep and read.

        i, f, o = σ(W x + U h),  g = tanh(W_g x + U_g h),  c′ = f · c + i · g,  h′ = o · tanh(c′)

    Args:
        d_input: width of the tokens.
        d_hidden: width of the state.

    Parameters: ``input.weight`` (4 · d_hidden, d_input),
    ``recurrent.weight`` (4 · d_hidden, d_hidden), ``input.bias`` and ``recurrent.bias``, each
    (4 · d_hidden,); rows for i, then for f, g and o. Biases are left out above.

    Raises:
        TypeError: a width is no integer.
        ValueError: a width below 1.

    Source: Hochreiter and Schmidhuber 1997; with the forget gate, Gers et al. 2000.
    """

    def __init__(self, d_input: int, d_hidden: int) -> None:
        super().__init__(d_input, d_hidden, 4)

    def initial(self, batch: int) -> tuple[Hidden, Hidden]:
        """Give zeros for the hidden state and the cell, each (B, d_hidden)."""
        return self._zeros(batch), self._zeros(batch)

    def forward(
        self, x: Float[Tensor, "B d_input"], state: tuple[Hidden, Hidden]
    ) -> tuple[Hidden, Hidden]:
        """Give the next hidden state and the next cell, each (B, d_hidden).

        Raises:
            TypeError: the state is no pair, or a tensor is not floating point.
            ValueError: the shapes do not fit.
        """
        check_pair(state, "(hidden, cell)")
        hidden, cell = state
        self._check(x, hidden=hidden, cell=cell)
        write, keep, new, read = (self.input(x) + self.recurrent(hidden)).chunk(4, -1)
        cell = torch.sigmoid(keep) * cell + torch.sigmoid(write) * torch.tanh(new)
        return torch.sigmoid(read) * torch.tanh(cell), cell

    @staticmethod
    def hidden(state: tuple[Hidden, Hidden]) -> Hidden:
        """Give the hidden state without the cell."""
        check_pair(state, "(hidden, cell)")
        return state[0]


def unroll(
    cell: Cell,
    inputs: Float[Tensor, "B T d_input"],
    state: State,
    lengths: Int64[Tensor, "B"] | None = None,
) -> tuple[Float[Tensor, "B T d_hidden"], State]:
    """Read a sequence in its order, and carry the state along.

        h_t = cell(x_t, h_{t−1})

    A sequence that has ended keeps its state, so that padding changes nothing.

    Args:
        cell: one step.
        inputs: (B, T, d_input).
        state: the state before the first token.
        lengths: the number of real tokens of each sequence, (B,); None means all.

    Returns:
        The hidden state after each token, (B, T, d_hidden), and the last state.

    Raises:
        TypeError: the inputs are not floating point, or the lengths not int64.
        ValueError: an empty sequence, or lengths that are not between 1 and T.

    Source: Elman 1990.
    """
    check_shapes("inputs (B, T>0, d_input), lengths? int64 (B,)", inputs, lengths)
    length = inputs.shape[1]
    check_lengths(lengths, length)
    states = []
    for t in range(length):
        after = cell(inputs[:, t], state)
        if lengths is not None:
            after = _where((t < lengths)[:, None], after, state)
        state = after
        states.append(cell.hidden(state))
    return torch.stack(states, 1), state


def _where(condition: Tensor, new: State, old: State) -> State:
    if isinstance(new, tuple):
        return tuple(_where(condition, n, o) for n, o in zip(new, old, strict=True))
    return torch.where(condition, new, old)
