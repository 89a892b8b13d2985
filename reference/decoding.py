"""Decoding: from a model that gives logits, one step at a time, to whole sequences.

A step takes the newest token of each sequence and the state so far, and gives logits and the next
state. Whatever the state holds, every tensor in it has the batch first.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from reference.recurrent import State
from reference.shapes import check_integers, check_shapes, check_sizes

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
        TypeError: the tokens are not int64.
        ValueError: no token at all, or logits that are not (B, V).

    Source: Williams and Zipser 1989.
    """
    check_shapes("target_in int64 (B, L>0)", target_in)
    logits = []
    for t in range(target_in.shape[1]):
        after, state = step(target_in[:, t], state)
        check_shapes("logits (B, V)", after, B=len(target_in))
        logits.append(after)
    return torch.stack(logits, 1)


def greedy(
    step: Step,
    state: State,
    first: Int64[Tensor, "B"],
    max_length: int,
    *,
    end: int | None = None,
) -> Int64[Tensor, "B max_length"]:
    """Feed back the likeliest token, again and again.

        y_t = argmax_v p(v | y_<t)

    Args:
        step: gives logits and the next state.
        state: the state before the first token.
        first: the start token of each sequence, (B,), which is not part of the result.
        max_length: how many tokens to generate.
        end: the token that ends a sequence and fills the rest of it; None means that none does.

    Returns:
        The generated tokens, (B, max_length).

    Raises:
        TypeError: the tokens are not int64, or a number is no integer.
        ValueError: a negative length, or an ``end`` outside the vocabulary.

    Source: Sutskever, Vinyals and Le 2014, section 3.2, a beam of 1.
    """
    return _generated(step, state, first, max_length, lambda logits: logits.argmax(-1), end)


def sampled(
    step: Step,
    state: State,
    first: Int64[Tensor, "B"],
    max_length: int,
    generator: torch.Generator | None = None,
    *,
    end: int | None = None,
) -> Int64[Tensor, "B max_length"]:
    """Feed back a token drawn from the model's own distribution.

        y_t ~ p(· | y_<t)

    Args:
        step: gives logits and the next state.
        state: the state before the first token.
        first: the start token of each sequence, (B,).
        max_length: how many tokens to generate.
        generator: where the randomness comes from.
        end: the token that ends a sequence and fills the rest of it; None means that none does.

    Returns:
        The generated tokens, (B, max_length).

    Raises:
        TypeError: the tokens are not int64, or a number is no integer.
        ValueError: a negative length, or an ``end`` outside the vocabulary.

    Source: Graves 2013, section 2.
    """

    def draw(logits: Float[Tensor, "B V"]) -> Int64[Tensor, "B"]:
        return torch.multinomial(torch.softmax(logits, -1), 1, generator=generator)[:, 0]

    return _generated(step, state, first, max_length, draw, end)


def _generated(
    step: Step,
    state: State,
    token: Int64[Tensor, "B"],
    max_length: int,
    choose: Callable[[Float[Tensor, "B V"]], Int64[Tensor, "B"]],
    end: int | None,
) -> Int64[Tensor, "B max_length"]:
    _check_start(token, max_length, end)
    tokens = token.new_full((len(token), max_length), 0 if end is None else end)
    ended = torch.zeros_like(token, dtype=torch.bool)
    for t in range(max_length):
        logits, state = step(token, state)
        _check_logits(logits, len(token), end)
        token = choose(logits)
        if end is not None:
            token = torch.where(ended, end, token)
            ended = ended | (token == end)
        tokens[:, t] = token
        if end is not None and bool(ended.all()):
            break
    return tokens


def beam_search(
    step: Step,
    state: State,
    first: Int64[Tensor, "B"],
    max_length: int,
    width: int,
    *,
    end: int | None = None,
) -> tuple[Int64[Tensor, "B max_length"], Float[Tensor, "B"]]:
    """Keep the likeliest beginnings, and extend each of them by every token.

        score(y_1 … y_t) = Σ_s log p(y_s | y_<s)

    A sequence that has ended stays in the beam as it is. Scores are not divided by lengths, and so
    favour short sequences.

    Args:
        step: gives logits and the next state.
        state: the state before the first token; tensors and tuples of them, batch first.
        first: the start token of each sequence, (B,).
        max_length: how many tokens to generate.
        width: how many beginnings to keep; 1 is greedy.
        end: the token that ends a sequence and fills the rest of it; None means that none does.

    Returns:
        The likeliest sequence that was found for each item, (B, max_length), and its score, (B,).

    Raises:
        TypeError: the tokens are not int64, or a number is no integer.
        ValueError: a negative length, a width below 1 or above the number of sequences that there
            are, or an ``end`` outside the vocabulary.

    Source: Sutskever, Vinyals and Le 2014, section 3.2.
    """
    _check_start(first, max_length, end)
    check_sizes(width=width)
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
        _check_logits(logits, batch * width, end)
        vocabulary = logits.shape[-1]
        if width > vocabulary**max_length:
            raise ValueError(
                f"a beam of {width} is wider than the {vocabulary**max_length} sequences of "
                f"{max_length} tokens out of {vocabulary}"
            )
        log_p = torch.log_softmax(logits, -1).view(batch, width, vocabulary)
        if end is not None and tokens.shape[-1]:
            ended = (tokens[..., -1] == end)[..., None]  # (B, width, 1)
            stays = torch.arange(vocabulary, device=first.device) == end
            log_p = torch.where(ended, torch.where(stays, 0.0, -torch.inf), log_p)
        scores, best = (scores[..., None] + log_p).flatten(1).topk(width)  # (B, width)
        beam, new = best // vocabulary, best % vocabulary
        tokens = torch.cat([tokens[every[:, None], beam], new[..., None]], -1)
        state = _take(state, (every[:, None] * width + beam).flatten())
        token = new.flatten()
    return tokens[:, 0], scores[:, 0]


def _check_start(first: Int64[Tensor, "B"], max_length: int, end: int | None) -> None:
    check_shapes("first int64 (B,)", first)
    check_integers(0, max_length=max_length)
    if end is not None:
        check_integers(0, end=end)


def _check_logits(logits: Float[Tensor, "B V"], batch: int, end: int | None) -> None:
    check_shapes("logits (B, V>0)", logits, B=batch)
    if end is not None:
        check_integers(0, logits.shape[-1] - 1, end=end)


def _take(state: State, rows: Int64[Tensor, "rows"]) -> State:
    """Pick some sequences' states; None is the state of a model that has none."""
    if state is None:
        return None
    if isinstance(state, Tensor):
        return state[rows]
    return tuple(_take(part, rows) for part in state)
