"""Decoding: from a model that gives logits, one step at a time, to whole sequences.

A step takes the newest token of each sequence and the state so far, and gives logits and the next
state. Whatever the state holds, every tensor in it has the batch first.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from reference.recurrent import State

__all__ = ["Step", "beam_search", "greedy", "sampled", "teacher_forced"]

Step = Callable[[Int64[Tensor, "B"], State], tuple[Float[Tensor, "B V"], State]]


def teacher_forced(
    step: Step, state: State, target_in: Int64[Tensor, "B L"]
) -> Float[Tensor, "B L V"]:
    """Feed the tokens that are right, whatever the model would have said.

    Args:
        step: gives logits and the next state.
        state: the state before the first token.
        target_in: the target shifted right, (B, L): the first token is the start token.

    Returns:
        The logits after each token, (B, L, V).

    Raises:
        ValueError: no token at all.

    Source: Williams and Zipser 1989.
    """
    if target_in.shape[1] == 0:
        raise ValueError(f"a target has at least one token, got shape {tuple(target_in.shape)}")
    logits = []
    for t in range(target_in.shape[1]):
        after, state = step(target_in[:, t], state)
        logits.append(after)
    return torch.stack(logits, 1)


def greedy(
    step: Step, state: State, first: Int64[Tensor, "B"], max_length: int
) -> Int64[Tensor, "B max_length"]:
    """Feed back the likeliest token, again and again.

    Args:
        step: gives logits and the next state.
        state: the state before the first token.
        first: the start token of each sequence, (B,), which is not part of the result.
        max_length: how many tokens to generate.

    Returns:
        The generated tokens, (B, max_length).

    Raises:
        ValueError: a negative length.
    """
    return _generated(step, state, first, max_length, lambda logits: logits.argmax(-1))


def sampled(
    step: Step,
    state: State,
    first: Int64[Tensor, "B"],
    max_length: int,
    generator: torch.Generator | None = None,
) -> Int64[Tensor, "B max_length"]:
    """Feed back a token drawn from the model's own distribution.

    Args:
        step: gives logits and the next state.
        state: the state before the first token.
        first: the start token of each sequence, (B,).
        max_length: how many tokens to generate.
        generator: where the randomness comes from.

    Returns:
        The generated tokens, (B, max_length).

    Raises:
        ValueError: a negative length.
    """

    def draw(logits: Float[Tensor, "B V"]) -> Int64[Tensor, "B"]:
        return torch.multinomial(torch.softmax(logits, -1), 1, generator=generator)[:, 0]

    return _generated(step, state, first, max_length, draw)


def _generated(
    step: Step,
    state: State,
    token: Int64[Tensor, "B"],
    max_length: int,
    choose: Callable[[Float[Tensor, "B V"]], Int64[Tensor, "B"]],
) -> Int64[Tensor, "B max_length"]:
    if max_length < 0:
        raise ValueError(f"a length is at least 0, got {max_length}")
    tokens = []
    for _ in range(max_length):
        logits, state = step(token, state)
        token = choose(logits)
        tokens.append(token)
    return torch.stack(tokens, 1) if tokens else token.new_zeros(len(token), 0)


def beam_search(
    step: Step, state: State, first: Int64[Tensor, "B"], max_length: int, width: int
) -> tuple[Int64[Tensor, "B max_length"], Float[Tensor, "B"]]:
    """Keep the likeliest beginnings, and extend each of them by every token.

        score(y_1 … y_t) = Σ_s log p(y_s | y_<s)

    Args:
        step: gives logits and the next state.
        state: the state before the first token; tensors and tuples of them, batch first.
        first: the start token of each sequence, (B,).
        max_length: how many tokens to generate.
        width: how many beginnings to keep; 1 is greedy.

    Returns:
        The likeliest sequence that was found for each item, (B, max_length), and its score, (B,).

    Raises:
        ValueError: a negative length, or a width below 1.

    Source: Sutskever, Vinyals and Le 2014, section 3.2.
    """
    if max_length < 0 or width < 1:
        raise ValueError(f"a length is at least 0 and a width 1, got {max_length} and {width}")
    batch = len(first)
    every = torch.arange(batch, device=first.device)
    rows = every.repeat_interleave(width)
    state, token = _take(state, rows), first[rows]
    tokens = first.new_zeros(batch, width, 0)
    # All beams of an item are one at first; only one of them may be extended.
    scores = torch.full((batch, width), -torch.inf, device=first.device)
    scores[:, 0] = 0.0
    for _ in range(max_length):
        logits, state = step(token, state)  # (B·width, V)
        vocabulary = logits.shape[-1]
        extended = scores[..., None] + torch.log_softmax(logits, -1).view(batch, width, -1)
        scores, best = extended.flatten(1).topk(width)  # (B, width)
        beam, new = best // vocabulary, best % vocabulary
        tokens = torch.cat([tokens[every[:, None], beam], new[..., None]], -1)
        state = _take(state, (every[:, None] * width + beam).flatten())
        token = new.flatten()
    return tokens[:, 0], scores[:, 0]


def _take(state: State, rows: Int64[Tensor, "rows"]) -> State:
    """Pick some sequences' states."""
    if isinstance(state, Tensor):
        return state[rows]
    return tuple(_take(part, rows) for part in state)
