"""Recurrent cells: a state that is carried from one token to the next."""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

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
        self.d_hidden = d_hidden
        self.input = nn.Linear(d_input, n_gates * d_hidden)
        self.recurrent = nn.Linear(d_hidden, n_gates * d_hidden)

    def _zeros(self, batch: int) -> Hidden:
        return self.input.weight.new_zeros(batch, self.d_hidden)


class ElmanCell(_Gates):
    """The simplest cell.

        h′ = tanh(W x + b + U h + c)

    Args:
        d_input: width of the tokens.
        d_hidden: width of the state.

    Source: Elman 1990, with tanh.
    """

    def __init__(self, d_input: int, d_hidden: int) -> None:
        super().__init__(d_input, d_hidden, 1)

    def initial(self, batch: int) -> Hidden:
        """Give zeros, (B, d_hidden)."""
        return self._zeros(batch)

    def forward(self, x: Float[Tensor, "B d_input"], state: Hidden) -> Hidden:
        """Give the next state, (B, d_hidden)."""
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

    Source: Cho et al. 2014, section 2.3, with the reset gate after the product, as torch has it.
    """

    def __init__(self, d_input: int, d_hidden: int) -> None:
        super().__init__(d_input, d_hidden, 3)

    def initial(self, batch: int) -> Hidden:
        """Give zeros, (B, d_hidden)."""
        return self._zeros(batch)

    def forward(self, x: Float[Tensor, "B d_input"], state: Hidden) -> Hidden:
        """Give the next state, (B, d_hidden)."""
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
        """Give the next hidden state and the next cell, each (B, d_hidden)."""
        hidden, cell = state
        write, keep, new, read = (self.input(x) + self.recurrent(hidden)).chunk(4, -1)
        cell = torch.sigmoid(keep) * cell + torch.sigmoid(write) * torch.tanh(new)
        return torch.sigmoid(read) * torch.tanh(cell), cell

    @staticmethod
    def hidden(state: tuple[Hidden, Hidden]) -> Hidden:
        """Give the hidden state without the cell."""
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
        ValueError: an empty sequence, or lengths that are not between 1 and T.
    """
    length = inputs.shape[1]
    if length == 0:
        raise ValueError(f"a sequence has at least one token, got shape {tuple(inputs.shape)}")
    if lengths is not None and bool(((lengths < 1) | (lengths > length)).any()):
        raise ValueError(f"lengths lie from 1 to {length}, got {lengths.tolist()}")
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
