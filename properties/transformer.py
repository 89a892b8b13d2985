"""The Transformer as a whole: from tokens to logits, one pass or one token at a time.

Read it beside reference/transformer.py: under the heading of each group of laws stand the lines
that the laws speak of. Those of layers and stacks are in transformer_layers, in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from attest import symbolic
from attest.checks import (
    DoesNotApply,
    above,
    at_least,
    at_most,
    close,
    identical,
    sometimes,
    sometimes_differs,
)
from attest.claims import Claim, Verdict
from attest.counting import Calls, depth
from attest.dependence import reach, traced, traced_module, unknown
from attest.laws import law, proof, refutation
from attest.strategies import seeds, token_inputs
from attest.subject import Setup, Subject
from attest.tolerances import gamma, unit_roundoff
from properties.attention import some_matrix
from properties.bounds import angle_bounds, measured_bound
from properties.transformer_layers import IDENTICAL_IN, TRF_05
from properties.why import WHY_01

MODEL = "Transformer"

TRF_01 = Claim(
    id="TRF-01",
    section="5 Transformer",
    quote="순차적 처리 과정을 완전히 제거하고",
    statement="Nothing is processed one after another any more: all is parallel, and so fast.",
    formal="the depth of the computation does not depend on the length; an RNN's grows with it",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "the tokens are known: in the encoder, and in the decoder while it is trained",
        "not in generation, where each token waits for the one before",
    ),
    references=("Vaswani et al. 2017, section 3.1",),
    parts=(
        (
            "known tokens",
            "Encoding, and decoding a target that is known, takes no longer chain of operations "
            "for a longer sequence.",
            Verdict.PROVED,
        ),
        (
            "generation",
            "Generating takes no longer chain of operations for a longer sequence.",
            Verdict.REFUTED,
        ),
        (
            "speed",
            "Training is faster than that of a recurrent network.",
            Verdict.NO_CONTENT,
            "how long training takes is a matter of the machine and of what it is compared with: "
            "operations are counted, and times reported, in SA-08",
        ),
    ),
)

TRF_06 = Claim(
    id="TRF-06",
    section="5 Transformer",
    quote="다음 토큰을 예측한다",
    statement="The decoder predicts the next token.",
    formal="p(y) = Π_t p(y_t | y_<t),  Σ over all y of p(y) = 1,  loss = −Σ_t log p(y_t | y_<t)",
    verdict=Verdict.HOLDS,
    references=("Vaswani et al. 2017, section 3",),
    parts=(
        (
            "distribution",
            "What is said after each beginning is a distribution over what comes next: the "
            "probabilities of all sequences of one length add up to one.",
            Verdict.HOLDS,
        ),
        (
            "loss",
            "The loss compares the logits after y_<t with y_t, and with no other token.",
            Verdict.PROVED,
        ),
    ),
)

TRF_07 = Claim(
    id="TRF-07",
    section="5 Transformer",
    quote="깊고 넓은 모델 확장이 용이해",
    statement="Making the model deeper and wider is easy.",
    formal="‖∂L/∂x_1‖ does not vanish as the number of layers grows",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "pre-norm: then one path carries the gradient through all layers as it is",
        "post-norm normalises that path as well, once in every sublayer, and is trained with a "
        "warm-up of the learning rate",
        "the last layer's gradient: from 1 to 32 layers with pre-norm its slope is −.43, between "
        "−.44 and −.41 with 95 % confidence, which is near −1/2 and not it",
    ),
    references=("Xiong et al. 2020, theorem 1",),
    parts=(
        (
            "pre-norm",
            "With pre-norm there is a path without any weight on it from the last layer to the "
            "first, at any depth.",
            Verdict.PROVED,
        ),
        (
            "post-norm",
            "With post-norm, too, a gradient reaches the first layer at any depth.",
            Verdict.REFUTED,
        ),
        (
            "slopes",
            "At the start, the last layer's gradient falls nearly as L^(−1/2) with pre-norm alone.",
            Verdict.MEASURED,
        ),
    ),
)


def _inputs(**options: Any) -> Any:
    return token_inputs(MODEL, **options)


# Sizes and lengths of a long example: the model is narrow, so that it stays cheap.
_NARROW = {
    "source_vocab": 5, "target_vocab": 7, "d_model": 4, "n_heads": 2, "d_hidden": 5, "n_layers": 1,
}  # fmt: skip


@st.composite
def long_sequences(draw: Any, lengths: tuple[int, ...]) -> dict[str, Any]:
    """One long source and one long target, of random tokens, for a narrow model of one layer."""
    length, seed = draw(st.sampled_from(lengths)), draw(seeds())
    generator = torch.Generator().manual_seed(seed)
    return {
        "source": torch.randint(5, (1, length), generator=generator),
        "target_in": torch.randint(7, (1, length), generator=generator),
        "source_mask": None,
        "setup": Setup(_NARROW, seed, 2.0),
    }


@st.composite
def short_or_long(draw: Any, padding: Any = "any", least: int = 1) -> dict[str, Any]:
    """Inputs of any size; every tenth is long, for what goes wrong late."""
    late = draw(st.sampled_from((False,) * 9 + (True,)))
    chosen: dict[str, Any] = draw(
        long_sequences((20, 36)) if late else _inputs(padding=padding, least=least)
    )
    return chosen


@st.composite
def _answers(draw: Any, least: int = 1) -> dict[str, Any]:
    """Inputs of ``generate`` of any size; in every fifth example a long answer to a padded source.

    With small weights, many words and a wide model an answer does not come to repeat one word, and
    what is forgotten of source or answer changes it.
    """
    if not draw(st.sampled_from((True, False, False, False, False))):
        return _beginnings(draw(_inputs(least=least)))
    batch, seed = draw(st.sampled_from((1, 2))), draw(seeds())
    generator = torch.Generator().manual_seed(seed)
    sizes = {**_NARROW, "target_vocab": 43, "d_model": 8, "d_hidden": 9}
    return {
        "source": torch.randint(5, (batch, 6), generator=generator),
        "bos": 0,
        "max_length": 24,
        "source_mask": (torch.arange(6) < 3 + torch.arange(batch)[:, None]),
        "setup": Setup(sizes, seed),
    }


def _beginnings(drawn: dict[str, Any]) -> dict[str, Any]:
    """Give the arguments of ``generate``: the target gives the start token and the length."""
    target = drawn["target_in"]
    generated = {"bos": int(target[0, 0]), "max_length": target.shape[1]}
    return {name: v for name, v in drawn.items() if name != "target_in"} | generated


def _size(model: Subject, name: str) -> int:
    assert model.setup is not None
    return model.setup.arguments[name]


def _clear(result: Tensor) -> float:
    """Give what is far beyond rounding for a result of this size: √u of its largest entry."""
    return math.sqrt(unit_roundoff(result.dtype)) * float(result.abs().max())


def _others(model: Subject, tokens: Tensor, vocabulary: str) -> Tensor:
    """Give another token for each."""
    assume(_size(model, vocabulary) > 1)
    return (tokens + 1) % _size(model, vocabulary)


# --- One model: encode, decode, forward ---------------------------------------------------------
# » return self.decode(target_in, self.encode(source, source_mask), source_mask)
# » return self.output(x)


@law(MODEL, inputs=_inputs(), formula="f(x, y) = decode(y, encode(x))")
def decoding_the_memory_gives_the_logits_of_the_whole(
    model: Subject, source: Tensor, target_in: Tensor, source_mask: Tensor | None
) -> None:
    """The whole model is its two halves, one after the other; all that passes is the memory."""
    arguments = {"source": source, "target_in": target_in, "source_mask": source_mask}
    logits = model(**arguments)
    bound = measured_bound(model, arguments)
    memory = model.encode(source, source_mask)
    apart = model.decode(target_in, memory, source_mask)
    close(apart, logits, 2 * bound, "the logits of decode")
    another = model.encode(_others(model, source, "source_vocab"), source_mask)
    changed = model.decode(target_in, another, source_mask)
    sometimes_differs(changed, apart, "another memory gives other logits", 2 * bound)


@law(MODEL, inputs=_inputs(), formula="f(x, y) ≠ softmax(f(x, y))", kind="definition")
def logits_are_no_probabilities(
    model: Subject, source: Tensor, target_in: Tensor, source_mask: Tensor | None
) -> None:
    """What comes out is scores of any sign and size; the softmax is left to the loss."""
    logits = model(source, target_in, source_mask)
    sometimes(bool((logits < 0).any()), "a logit is negative")
    sometimes(bool((logits > 0).any()), "a logit is positive")
    total = logits.double().exp().sum(-1)
    even = torch.full_like(total, float(logits.shape[-1]))
    sometimes_differs(total, even, "the logits tell tokens apart")


# --- What depends on what -----------------------------------------------------------------------
# » return self.encoder(x, _for_every_query(source_mask))
# » x = self.decoder(x, memory, memory_mask=_for_every_query(source_mask))


@law(
    MODEL,
    inputs=_inputs(least=2),
    formula="y_≤t = y′_≤t  ⇒  f(x, y)_≤t = f(x, y′)_≤t, bit by bit",
    claim=TRF_05,
    dtypes=IDENTICAL_IN,
)
def later_target_tokens_do_not_change_earlier_logits(
    model: Subject, source: Tensor, target_in: Tensor, source_mask: Tensor | None
) -> None:
    """Rewriting the end of a target leaves the logits before it as they were, and only those.

    Were it not so, training would show the model the very token that it is to predict.
    """
    kept = (target_in.shape[1] + 1) // 2
    end = _others(model, target_in[:, kept:], "target_vocab")
    rewritten = torch.cat([target_in[:, :kept], end], 1)
    logits, changed = (model(source, y, source_mask) for y in (target_in, rewritten))
    identical(changed[:, :kept], logits[:, :kept], "the logits before the change")
    sometimes_differs(
        changed[:, kept : kept + 1],
        logits[:, kept : kept + 1],
        "a token changes the logits after it",
    )


@law(
    MODEL,
    inputs=_inputs(least=2),
    formula="f(x, y)_t depends on y_1 and on y_t, and on x_1 and x_S, at generic weights",
    claim=TRF_05,
)
def every_token_reaches_the_logits(
    model: Subject, source: Tensor, target_in: Tensor, source_mask: Tensor | None
) -> None:
    """The last logits depend on the first target token, and all logits on all of the source."""
    logits = model(source, target_in, source_mask)
    limit = _clear(logits)
    for place, word in ((0, "first"), (-1, "last")):
        other = target_in.clone()
        other[:, place] = _others(model, target_in, "target_vocab")[:, place]
        changed = model(source, other, source_mask)
        sentence = f"the {word} target token reaches the last logits"
        sometimes_differs(changed[:, -1], logits[:, -1], sentence, limit)
        other = source.clone()
        other[:, place] = _others(model, source, "source_vocab")[:, place]
        changed = model(other, target_in, source_mask)
        for at, logit in ((0, "first"), (-1, "last")):
            sentence = f"the {word} source token reaches the {logit} logits"
            sometimes_differs(changed[:, at], logits[:, at], sentence, limit)


@law(
    MODEL,
    inputs=_inputs(padding="none", least=2).map(
        lambda drawn: {name: v for name, v in drawn.items() if name != "target_in"}
    ),
    formula="encode(x)_i depends on x_j for j < i and for j > i, at generic weights",
)
def the_encoder_reads_in_both_directions(
    model: Subject, source: Tensor, source_mask: Tensor | None
) -> None:
    """The first row of the memory knows the last token, and the last row the first token."""
    memory = model.encode(source, source_mask)
    limit = _clear(memory)
    for place, seen, words in ((-1, 0, "the last token reaches the first row"),
                               (0, -1, "the first token reaches the last row")):  # fmt: skip
        other = source.clone()
        other[:, place] = _others(model, source, "source_vocab")[:, place]
        changed = model.encode(other, source_mask)
        sometimes_differs(changed[:, seen], memory[:, seen], words, limit)


@law(
    MODEL,
    inputs=long_sequences((20, 25)),
    formula="at lengths of 20 and more: f(x, y)_L depends on y_1, x_1 and x_S",
    claim=TRF_05,
)
def nothing_is_out_of_reach_in_a_long_sequence(
    model: Subject, source: Tensor, target_in: Tensor, source_mask: Tensor | None
) -> None:
    """However far a token is, it can be attended to: there is no window."""
    logits, memory = model(source, target_in, source_mask), model.encode(source, source_mask)
    limit, rows = _clear(logits), _clear(memory)
    other = target_in.clone()
    other[:, 0] = _others(model, target_in, "target_vocab")[:, 0]
    changed = model(source, other, source_mask)
    words = "the first target token reaches the last logits"
    sometimes_differs(changed[:, -1], logits[:, -1], words, limit)
    for place, far, words in ((0, -1, "the first source token"), (-1, 0, "the last source token")):
        other = source.clone()
        other[:, place] = _others(model, source, "source_vocab")[:, place]
        changed = model(other, target_in, source_mask)
        sometimes_differs(changed[:, -1], logits[:, -1], f"{words} reaches the last logits", limit)
        changed = model.encode(other, source_mask)
        end = f"{words} reaches the memory's other end"
        sometimes_differs(changed[:, far], memory[:, far], end, rows)


@proof(
    MODEL,
    method="structural",
    formula="dep(logits_t) = {y_1, …, y_t} ∪ {x_1, …, x_S}, for all weights and tokens",
    claim=TRF_05,
)
def the_logits_depend_on_the_source_and_on_what_was_said(model: Callable[..., Any]) -> None:
    """Follow what each number is made of: no token after t takes part in the logits at t.

    Tokens are unknown, and so are all weights. The sizes are small, and none of them enters the
    code but through shapes.
    """
    source, target = traced("x", 1, 4), traced("y", 1, 5)
    logits = traced_module(model, 3, 4, 4, 2, 3, 2)(source, target)
    of_target = reach(logits, target)[0, :, 0]
    assert torch.equal(of_target, torch.ones(5, 5, dtype=torch.bool).tril()), (
        f"the logits (rows) depend on target tokens (columns) {of_target.int().tolist()}"
    )
    of_source = reach(logits, source)[0, :, 0]
    assert bool(of_source.all()), f"on source tokens {of_source.int().tolist()}"


# --- Padding ------------------------------------------------------------------------------------
# » return None if mask is None else mask[:, None, :]


@law(
    MODEL,
    inputs=_inputs(padding="some", least=2),
    formula="source_mask_s = False  ⇒  encode and f do not depend on x_s, bit by bit",
    dtypes=IDENTICAL_IN,
)
def padding_of_the_source_cannot_reach_the_logits(
    model: Subject, source: Tensor, target_in: Tensor, source_mask: Tensor
) -> None:
    """What stands where the source is padded makes no difference, in the encoder or after it."""
    others = _others(model, source, "source_vocab")
    padded = torch.where(source_mask, source, others)
    logits, same = (model(x, target_in, source_mask) for x in (source, padded))
    identical(same, logits, "the logits with other padding")
    memory, rows = (model.encode(x, source_mask) for x in (source, padded))
    real = source_mask[..., None].expand_as(memory)
    identical(
        torch.where(real, rows, 0.0), torch.where(real, memory, 0.0), "the memory of real tokens"
    )
    changed = model(torch.where(source_mask, others, source), target_in, source_mask)
    sometimes(bool((~source_mask).any()), "something is padding")
    sometimes_differs(changed, logits, "a real token changes the logits")


@law(
    MODEL,
    inputs=_inputs(padding="some", least=2),
    formula="source_mask_s = False  ⇒  decode and step do not depend on memory_s, bit by bit",
    dtypes=IDENTICAL_IN,
)
def padding_of_the_memory_is_not_read(
    model: Subject, source: Tensor, target_in: Tensor, source_mask: Tensor
) -> None:
    """Cross-attention reads the memory of real tokens, all of it and no other."""
    memory = model.encode(source, source_mask)
    real = source_mask[..., None].expand_as(memory)
    junk = torch.where(real, memory, 100.0 - memory)
    first = target_in[:, 0]
    logits, same = (model.decode(target_in, m, source_mask) for m in (memory, junk))
    identical(same, logits, "the logits of decode with another memory of the padding")
    logits, same = (model.step(first, m, None, source_mask)[0] for m in (memory, junk))
    identical(same, logits, "the logits of step with another memory of the padding")
    for at, word in ((0, "first"), (-1, "last")):
        other = memory.clone()
        other[:, at] = 1.0 - other[:, at]
        for name, changed, usual in (
            ("decode", model.decode(target_in, other), model.decode(target_in, memory)),
            ("step", model.step(first, other)[0], model.step(first, memory)[0]),
        ):
            sometimes_differs(changed, usual, f"{name} reads the {word} row of the memory")


@law(
    MODEL,
    inputs=_inputs(padding="none"),
    formula="f([x, padding], y, mask) = f(x, y)",
)
def padding_a_source_further_changes_nothing(
    model: Subject, source: Tensor, target_in: Tensor, source_mask: Tensor | None
) -> None:
    """A short source may be padded to the length of its batch; so may one that has no padding."""
    arguments = {"source": source, "target_in": target_in, "source_mask": source_mask}
    logits = model(**arguments)
    longer = torch.cat([source, source.flip(1), source], 1)
    mask = torch.arange(longer.shape[1]).expand_as(longer) < source.shape[1]
    padded = {"source": longer, "target_in": target_in, "source_mask": mask}
    bound = 2 * measured_bound(model, padded)
    close(model(**padded), logits, bound, "the logits with padding at the end of the source")
    everything = torch.ones_like(source, dtype=torch.bool)
    same = model(source, target_in, everything)
    close(same, logits, bound, "the logits with a mask that allows everything")
    read = model(longer, target_in)
    sometimes_differs(read, logits, "what is not masked is read", bound)


# --- Positions ----------------------------------------------------------------------------------
# » return x + positions[first:].to(x.device)


@law(
    MODEL,
    inputs=_inputs(padding="none", least=2),
    formula="f(P x, y) ≠ f(x, y), and for y = (v, v, …): f(x, y)_t ≠ f(x, y)_t+1, in general",
)
def the_order_of_the_tokens_matters(
    model: Subject, source: Tensor, target_in: Tensor, source_mask: Tensor | None
) -> None:
    """Positions are added on both sides: a source in reverse says something else.

    One and the same token, again and again, is another one at each position.
    """
    logits, reverse = (model(x, target_in, source_mask) for x in (source, source.flip(1)))
    words = "a source in reverse gives other logits"
    sometimes_differs(reverse, logits, words, _clear(logits))
    memory = model.encode(source[:, :1].expand_as(source).contiguous(), source_mask)
    words = "a source token is told by position"
    sometimes_differs(memory[:, 1:], memory[:, :-1], words, _clear(memory))
    again = model(source, target_in[:, :1].expand_as(target_in).contiguous(), source_mask)
    words = "a target token is told by position"
    sometimes_differs(again[:, 1:], again[:, :-1], words, _clear(again))


@law(
    MODEL,
    inputs=long_sequences((20, 40)),
    formula="swapping x_s, x_s+2, or y_s, y_s+2, changes f, for s = 16 and s = 36 as well",
)
def late_positions_are_told_apart_as_well(
    model: Subject, source: Tensor, target_in: Tensor, source_mask: Tensor | None
) -> None:
    """Positions do not end: two late tokens that change places make another sequence.

    With one layer, what the last token sees before it would be a set if it were not for positions.
    """
    assume(source.shape[1] == target_in.shape[1] > 4)
    last = source.shape[1] - 1
    order = torch.arange(last + 1)
    order[[last - 3, last - 1]] = order[[last - 1, last - 3]]
    logits = model(source, target_in, source_mask)[:, -1]
    for side, swapped in (
        ("source", model(source[:, order], target_in, source_mask)),
        ("target", model(source, target_in[:, order], source_mask)),
    ):
        words = f"late {side} tokens are told by position, {last + 1} tokens on"
        sometimes_differs(swapped[:, -1], logits, words, _clear(logits))


@st.composite
def _three_times_the_same(draw: Any) -> dict[str, Any]:
    """A source and a target that each repeat some tokens three times, for a narrow model."""
    period, seed = draw(st.sampled_from(tuple(product((16, 32, 50, 64), range(12)))))
    generator = torch.Generator().manual_seed(seed)
    return {
        "source": torch.randint(5, (1, period), generator=generator).repeat(1, 3),
        "target_in": torch.randint(7, (1, period), generator=generator).repeat(1, 3),
        "setup": Setup(_NARROW, seed, 2.0),
    }


@law(
    MODEL,
    inputs=_three_times_the_same(),
    formula="of z z z, n tokens each: encode(…)_t+n ≠ encode(…)_t+2n and logits_2n ≠ logits_3n",
)
def positions_do_not_begin_again(model: Subject, source: Tensor, target_in: Tensor) -> None:
    """The same tokens further on have other positions, however many there are.

    Where positions began again after n tokens, or ended there, the second and the third time that
    n tokens are read would be one. So they would for the last token of the target, which sees all
    tokens of it equally often.
    """
    n = source.shape[1] // 3
    assume(n > 0 and source.shape == target_in.shape and source.shape[1] == 3 * n)
    memory = model.encode(source)
    words = f"source tokens are told apart by position, {n} tokens on"
    sometimes_differs(memory[:, 2 * n :], memory[:, n : 2 * n], words, _clear(memory))
    logits = model.decode(target_in, memory)
    words = f"target tokens are told apart by position, {n} tokens on"
    sometimes_differs(logits[:, 3 * n - 1], logits[:, 2 * n - 1], words, _clear(logits))


_WORDS = 43
"""So many words, and positions, that a table of 32 is seen to end; no width is the same."""

_SURE = 2e-9
"""Limits of a power of two between which it is as good as known."""

_HOLLOWS, _SEEN = 4, 0.05
"""So many of the hollows between factors are looked into, up to such limits."""


@st.composite
def _many_words(draw: Any) -> dict[str, Any]:
    """A narrow model of many words, for one side of it or the other; few, as all show as much."""
    seed, side = draw(st.sampled_from(tuple(product(range(5), ("source", "target")))))
    width, heads = ((4, 2), (6, 1), (8, 2))[seed % 3]
    words = {"source_vocab": 7, "target_vocab": 7, f"{side}_vocab": _WORDS}
    sizes = {"d_model": width, "n_heads": heads, "d_hidden": 5, "n_layers": 1 + seed % 2}
    return {"side": side, "setup": Setup(words | sizes, seed)}


def _tables(model: Subject) -> dict[str, Tensor]:
    """Give the matrices with one row or one column for every word.

    Raises:
        DoesNotApply: there is none.
    """
    shape = sorted((_WORDS, _size(model, "d_model")))
    found = {n: p for n, p in model.parameters().items() if sorted(p.shape) == shape}
    if not found:
        raise DoesNotApply("it has no table of words")
    return found


def _taken_away(width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Give p(0) − p(t) for every t, in each layout of columns, and by how much p(t) may be off."""
    angles = torch.arange(_WORDS, dtype=torch.float64)[:, None]
    angles = angles * 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    pairs = torch.stack([angles.sin(), angles.cos()], -1)
    error = angle_bounds(angles)[..., None].expand_as(pairs)
    for table, wrong in ((pairs, error), (pairs.mT, error.mT)):
        yield (table[:1] - table).flatten(1), wrong.flatten(1)


def _as_if_at_the_first_place(
    model: Subject, outputs: Callable[[Tensor], Tensor], name: str, away: Tensor, wrong: Tensor
) -> tuple[float, Tensor, Tensor]:
    """Write words into a table that make up for their positions, as far as any factor does.

    Returns:
        How far apart the first two of them stay, beside what is allowed for; what comes of all, in
        order, (1, words, …), and its bound.
    """
    before = model.parameters()[name]
    start = 2 * torch.cos(1.0 + torch.arange(away.shape[1], dtype=torch.float64))

    def written(words: Tensor, tokens: Tensor) -> Tensor:
        model.set_parameters({name: words if words.shape == before.shape else words.mT})
        return outputs(tokens)

    words = torch.arange(_WORDS)[None]
    pairs = torch.stack([torch.zeros_like(words[0]), words[0]], 1)

    def compared(exponents: Tensor) -> Tensor:
        factors = torch.cat([torch.zeros(1), 2.0**exponents])  # the first word is for its own place
        rows = written(start + factors[:, None] * away[1], pairs)
        apart = (rows[1:, 1] - rows[1:, 0]).abs().amax(-1)
        return apart.nan_to_num(nan=math.inf, posinf=math.inf)

    def narrowed(at: float, side: float, narrow: float) -> tuple[float, float, float]:
        """Look for the factor, as a power of two, between narrower and narrower limits."""
        least = math.inf
        while side > narrow:
            exponents = torch.linspace(at - side, at + side, _WORDS - 1, dtype=torch.float64)
            apart, side = compared(exponents), 4 * side / (_WORDS - 2)
            at, least = float(exponents[int(apart.argmin())]), float(apart.min())
        return least, at, side

    # At first many are tried, since it may be far from 1. It need not lie in the hollow that is the
    # deepest at these: a few are looked into.
    exponents = torch.linspace(-14.0, 14.0, 4 * (_WORDS - 1), dtype=torch.float64)
    apart, step = torch.cat([compared(part) for part in exponents.chunk(4)]), 28.0 / len(exponents)
    hollow = torch.ones_like(apart, dtype=torch.bool)
    hollow[1:] &= apart[1:] <= apart[:-1]
    hollow[:-1] &= apart[:-1] <= apart[1:]
    deepest = exponents[hollow][apart[hollow].argsort()[:_HOLLOWS]].tolist()
    _, at, side = min(narrowed(at, 2 * step, _SEEN) for at in deepest)
    least, at, _ = narrowed(at, side, _SURE / 2)
    factor = 2.0**at
    table = start + factor * away
    rows = written(table, words)
    # A position may be off by as much as the contract says: so much is it moved, at random.
    bound = torch.zeros_like(rows[..., :1])
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        signs = 2.0 * torch.randint(2, table.shape, generator=generator) - 1
        moved = written(table + 4 * factor * signs * wrong, words)
        bound = torch.maximum(bound, (moved - rows).abs().amax(-1, keepdim=True))
    model.set_parameters({name: before})
    bound = 4 * bound.cummax(1).values + _clear(rows)
    return least / float(bound[0, 1, 0]), rows, bound


@law(
    MODEL,
    inputs=_many_words(),
    formula="E_w = E_0 + (p(0) − p(t)) / s for the word w at t, p(t) = (sin, cos) of "
    "t · 10000^(−2i/d), and some s: then s E_w + p(t) is the same for all t",
    dtypes=("float64",),
)
def words_that_make_up_for_their_positions_are_all_alike(model: Subject, side: str) -> None:
    """Positions are told by sinusoids, and a word that takes them away again leaves no difference.

    By what embeddings are multiplied is free, and so is which column is whose. A table of words is
    looked for in which the second position cancels; with it all later ones do, by the same factor,
    and copies of one token are as that token alone.
    """
    memory = model.encode(torch.tensor([[0, 1, 2]])) if side == "target" else None

    def outputs(tokens: Tensor) -> Tensor:
        if memory is None:
            rows: Tensor = model.encode(tokens)
        else:
            rows = model.decode(tokens, memory.expand(len(tokens), -1, -1))
        return rows

    drawn = outputs(torch.arange(_WORDS)[None])
    attempts = []
    for name, (away, wrong) in product(_tables(model), _taken_away(_size(model, "d_model"))):
        attempts.append(_as_if_at_the_first_place(model, outputs, name, away, wrong))
        if attempts[-1][0] <= 1:
            break
    _, rows, bound = min(attempts, key=lambda attempt: attempt[0])
    close(rows, rows[:, :1].expand_as(rows), bound, "copies of one token, at any position")
    sometimes_differs(drawn[:, 1:], drawn[:, :-1], "other words are not alike", _clear(drawn))


# --- Step by step -------------------------------------------------------------------------------
# » x, cache = self.decoder.step(x, memory, cache, _for_every_query(source_mask))


@law(
    MODEL,
    inputs=_inputs().filter(lambda drawn: drawn["target_in"].shape[1] <= 5),
    formula="steps of one sequence between those of another give what each gives alone",
)
def sequences_may_take_turns(
    model: Subject, source: Tensor, target_in: Tensor, source_mask: Tensor | None
) -> None:
    """All that a step remembers is in the cache that it is given, and not in the model.

    Each sequence has a memory and a mask of its own. A memory that is written into the tensor of
    an earlier one is another one.
    """
    other_mask = None if source_mask is None else source_mask.flip(-1)
    other_memory = model.encode(_others(model, source, "source_vocab"), other_mask)
    other_target = _others(model, target_in, "target_vocab")
    memory = model.encode(source, source_mask)
    arguments = {"target_in": target_in, "memory": memory, "source_mask": source_mask}
    logits, bound = model.decode(**arguments), measured_bound(model, arguments, "decode")
    cache = other_cache = None
    for t in range(target_in.shape[1]):
        found, cache = model.step(target_in[:, t], memory, cache, source_mask)
        close(found, logits[:, t], 2 * bound, f"the logits of step {t} of the first sequence")
        other, other_cache = model.step(other_target[:, t], other_memory, other_cache, other_mask)
        sometimes_differs(other, found, "the sequences differ", 2 * bound)
    token, buffer = target_in[:, 0], other_memory.clone()
    with model.same_tensors():
        model.step(token, buffer, None, source_mask)
        buffer.copy_(memory)
        again, _ = model.step(token, buffer, None, source_mask)
    close(again, logits[:, 0], 2 * bound, "the first step of a new sequence")


# --- Generation ---------------------------------------------------------------------------------
# » return greedy(step, None, torch.full_like(source[:, 0], bos), max_length, end=end)


def _decided(logits: Tensor, bound: Tensor) -> Tensor:
    """Say up to where rounding cannot have changed a greedy choice, (B, L).

    Beyond a token that two computations may choose differently they say different things.
    """
    assume(logits.shape[-1] >= 2)
    best = logits.double().topk(2, -1).values
    clear = best[..., 0] - best[..., 1] > 4 * bound
    return clear.int().cumprod(-1).bool()


def _generated(
    model: Subject, source: Tensor, bos: int, max_length: int, source_mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Generate; give the tokens, the logits after each token before them, and these' bound."""
    tokens = model.generate(source, bos, max_length, source_mask)
    at_least(tokens, torch.zeros_like(tokens), 0, "the tokens")
    largest = torch.full_like(tokens, _size(model, "target_vocab") - 1)
    at_most(tokens, largest, 0, "the tokens")
    start = torch.full_like(tokens[:, :1], bos)
    said = torch.cat([start, tokens[:, :-1]], 1)
    arguments = {"source": source, "target_in": said, "source_mask": source_mask}
    return tokens, model(**arguments), measured_bound(model, arguments)


@law(
    MODEL,
    inputs=_answers(),
    formula="y_t = argmax_v f(x, (bos, y_1, …, y_t−1))_v",
)
def it_generates_what_is_likeliest_after_its_own_tokens(
    model: Subject, source: Tensor, bos: int, max_length: int, source_mask: Tensor | None
) -> None:
    """Greedy decoding: each token is the likeliest one after the start token and those before it.

    Fed with what was generated, the model gives the largest logit to every token of it. The start
    token is not part of what is generated, and what another source said before is forgotten.
    """
    model.generate((source + 1) % _size(model, "source_vocab"), bos, 1, source_mask)
    tokens, logits, bound = _generated(model, source, bos, max_length, source_mask)
    chosen = logits.gather(-1, tokens[..., None])[..., 0]
    best = logits.amax(-1)
    # Each of four roundings may be off by the bound: two of what chose, two of what is compared.
    at_least(chosen, best, 4 * bound, "the logit of each generated token, beside the largest")
    sometimes_differs(tokens, torch.full_like(tokens, bos), "it says more than the start token")
    sometimes_differs(tokens, tokens[:, :1].expand_as(tokens), "it says several tokens")
    sometimes(bool(_decided(logits, bound).all()), "a token is likelier than all others")
    other = (bos + 1) % _size(model, "target_vocab")
    another = model.generate(source, other, 1, source_mask)
    sometimes_differs(another, tokens[:, :1], "another start token begins another sequence")


@st.composite
def _long_answers(draw: Any) -> dict[str, Any]:
    """A few long answers, of models that do not come to repeat one word soon."""
    seed = draw(st.integers(0, 3))
    generator = torch.Generator().manual_seed(seed)
    sizes = {**_NARROW, "target_vocab": 43, "d_model": 8, "d_hidden": 9}
    source = torch.randint(5, (1, 4), generator=generator)
    return {"source": source, "bos": seed, "max_length": 40, "setup": Setup(sizes, seed)}


@law(
    MODEL,
    inputs=_long_answers(),
    formula="y_t = argmax_v f(x, (bos, y_1, …, y_t−1))_v for t up to 40",
)
def a_long_answer_is_as_likely_to_its_end(
    model: Subject, source: Tensor, bos: int, max_length: int
) -> None:
    """Nothing is forgotten of a long answer, and no place in it is the last that is known."""
    tokens, logits, bound = _generated(model, source, bos, max_length, None)
    chosen = logits.gather(-1, tokens[..., None])[..., 0]
    at_least(chosen, logits.amax(-1), 4 * bound, "the logit of each generated token")
    late = tokens[:, max_length // 2 :]
    sometimes_differs(late, late[:, :1].expand_as(late), "it says several tokens late")


@law(
    MODEL,
    inputs=_answers(least=2),
    formula="generate(n)_≤m = generate(m) for m ≤ n, where no two tokens are equally likely",
)
def a_shorter_generation_is_the_beginning_of_a_longer_one(
    model: Subject, source: Tensor, bos: int, max_length: int, source_mask: Tensor | None
) -> None:
    """How much is asked for makes no difference to what is said first."""
    assume(max_length >= 2)
    half = max_length // 2
    tokens, logits, bound = _generated(model, source, bos, max_length, source_mask)
    shorter = model.generate(source, bos, half, source_mask)
    decided = _decided(logits, bound)[:, :half]
    identical(
        torch.where(decided, shorter, -1),
        torch.where(decided, tokens[:, :half], -1),
        "the tokens of the shorter generation",
    )
    sometimes_differs(tokens, tokens.roll(1, 1), "tokens differ")


@law(
    MODEL,
    inputs=_inputs().map(_beginnings).filter(lambda drawn: len(drawn["source"]) > 1),
    formula="generate(x)_b = generate(x_b), where no two tokens are equally likely",
)
def every_sequence_is_generated_by_itself(
    model: Subject, source: Tensor, bos: int, max_length: int, source_mask: Tensor | None
) -> None:
    """What a sequence says does not depend on what else is in the batch."""
    tokens, logits, bound = _generated(model, source, bos, max_length, source_mask)
    last = slice(len(source) - 1, None)
    mask = None if source_mask is None else source_mask[last]
    alone = model.generate(source[last], bos, max_length, mask)
    decided = _decided(logits, bound)[last]
    identical(
        torch.where(decided, alone, -1),
        torch.where(decided, tokens[last], -1),
        "the tokens of the last sequence alone",
    )
    sometimes_differs(tokens[1:], tokens[:-1], "sequences differ")


# --- Parameters ---------------------------------------------------------------------------------
# » self.source_embedding = Embedding(source_vocab, d_model)
# » self.encoder = Encoder(d_model, n_heads, d_hidden, n_layers, pre_norm=pre_norm)


@st.composite
def _two_layers(draw: Any) -> dict[str, Any]:
    """One of a few models of two layers: that a weight learns is seen at once, or never."""
    seed = draw(st.integers(0, 15))
    generator = torch.Generator().manual_seed(seed)
    sizes = {**_NARROW, "d_hidden": 8, "n_layers": 2}
    return {
        "source": torch.randint(5, (2, 21 if seed == 15 else 4), generator=generator),
        "target_in": torch.randint(7, (2, 2 + seed % 2), generator=generator),
        "source_mask": None,
        "setup": Setup(sizes, seed),
    }


def _slopes(
    model: Subject, source: Tensor, target_in: Tensor, source_mask: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Give the logits, and the gradient of a mixture of them by every parameter."""
    with model.learning():
        logits = model(source, target_in, source_mask)
    mixture = (logits * torch.cos(torch.arange(logits.numel()).to(logits)).view_as(logits)).sum()
    return logits.detach(), model.parameter_gradients(mixture)


@law(
    MODEL,
    inputs=_two_layers(),
    formula="f depends on W  ⇒  ∂f/∂W ≠ 0",
    applies=some_matrix,
    dtypes=("float64",),
)
def every_matrix_that_is_used_learns(
    model: Subject, source: Tensor, target_in: Tensor, source_mask: Tensor | None
) -> None:
    """A weight matrix that changes the logits gets a gradient from them.

    What is declared to need none, such as a table of positions, is left out.
    """
    logits, slopes = _slopes(model, source, target_in, source_mask)
    arguments = {"source": source, "target_in": target_in, "source_mask": source_mask}
    limit = _clear(logits)
    for name, matrix in model.parameters().items():
        if matrix.dim() < 2 or name not in slopes:
            continue
        slope, none = slopes[name], torch.zeros_like(matrix)
        used = bool(slope.any())
        if not used:
            model.set_parameters({name: matrix.roll(1, -1) + 1})
            used = bool(((model(**arguments) - logits).abs() > limit).any())
            model.set_parameters({name: matrix})
        if used:
            sometimes_differs(slope, none, f"{name} gets a gradient")


@law(
    MODEL,
    inputs=st.tuples(st.sampled_from(((8, 6), (4, 66))), st.integers(0, 1)).map(
        lambda drawn: {
            "source": torch.tensor([[0, 1, 2, 3], [4, 2, 2, 1]]),
            "target_in": torch.tensor([[0, 3, 1], [2, 6, 5]]),
            "setup": Setup({**_NARROW, "d_model": drawn[0][0], "d_hidden": drawn[0][1]}, drawn[1]),
        }
    ),
    formula="what learns in n layers ≥ what learns in one + (n − 1) (12 d² + 3 d h)",
    dtypes=("float64",),
)
def every_layer_has_weights_of_its_own(model: Subject, source: Tensor, target_in: Tensor) -> None:
    """A layer more is three attentions and two feed-forward networks more, and all of them learn.

    An attention has four square matrices, a feed-forward network two, or three of half the width.
    A narrow network shows that no attention is missing, and a wide one that no network is.
    """
    assert model.setup is not None
    sizes, seed = dict(model.setup.arguments), model.setup.seed
    counts = []
    for layers in (1, 2, 6):
        deep = model.construct(seed, **{**sizes, "n_layers": layers})
        _, slopes = _slopes(deep, source, target_in, None)
        counts.append(sum(g.numel() for g in slopes.values() if bool(g.any())))
    d, hidden = sizes["d_model"], sizes["d_hidden"]
    for layers, count in ((2, counts[1]), (6, counts[2])):
        least = counts[0] + (layers - 1) * (12 * d * d + 3 * d * hidden)
        at_least(torch.tensor(count), torch.tensor(least), 0, f"what learns in {layers} layers")


@law(
    MODEL,
    inputs=st.tuples(st.integers(0, 5), st.sampled_from((2, 4))).map(
        lambda drawn: {
            "source": torch.tensor([[0, 1, 2, 3], [4, 2, 2, 1]]),
            "target_in": torch.tensor([[0, 3, 1], [2, 6, 5]]),
            "setup": Setup({**_NARROW, "d_model": 8, "n_heads": drawn[1]}, drawn[0]),
        }
    ),
    formula="encode_H ≠ encode_1 and decode_H ≠ decode_1 with the same parameters",
)
def the_number_of_heads_matters_to_both_halves(
    model: Subject, source: Tensor, target_in: Tensor
) -> None:
    """In the encoder and in the decoder, several heads do not compute what one does."""
    assert model.setup is not None
    own, one = model.parameters(), model.construct(**{**model.setup.arguments, "n_heads": 1})
    if {n: p.shape for n, p in own.items()} != {n: p.shape for n, p in one.parameters().items()}:
        raise DoesNotApply("its parameters are stored by head")
    one.set_parameters(own)
    memory = model.encode(source)
    sometimes_differs(one.encode(source), memory, "one head encodes otherwise", _clear(memory))
    logits = model.decode(target_in, memory)
    changed = one.decode(target_in, memory)
    sometimes_differs(changed, logits, "one head decodes otherwise", _clear(logits))


# --- TRF-01: parallel, where tokens are known ---------------------------------------------------
# » return self.step(token, memory, cache, source_mask)

LENGTHS = (2, 3, 8, 64)


@proof(
    MODEL,
    method="structural",
    formula="depth and operations of encode(x) and f(x, y) are the same at lengths 2, 3, 8 and 64",
    claim=TRF_01.part("known tokens"),
)
def known_tokens_are_processed_at_once(model: Callable[..., Any]) -> None:
    """Follow the longest chain of operations behind the memory and behind the logits.

    It is a property of the code, which has no loop over the tokens. The number of operations is
    counted too, since what is detached leaves no chain.
    """
    module = model(5, 7, 4, 2, 5, 2)
    calls_of: dict[str, Callable[[Tensor], Tensor]] = {
        "encode": module.encode,
        "the whole": lambda tokens: module(tokens, tokens),
    }
    for what, call in calls_of.items():
        chains, numbers = [], []
        for n in LENGTHS:
            tokens = torch.zeros(1, n, dtype=torch.int64)
            with Calls() as calls:
                result = call(tokens)
            chains.append(depth(result))
            numbers.append(calls.number)
        assert len(set(chains)) == 1, f"the depth of {what} at lengths {LENGTHS} is {chains}"
        assert len(set(numbers)) == 1, f"the operations of {what} at these lengths: {numbers}"


@proof(
    MODEL,
    method="structural",
    formula="generate(m) takes m steps, and step t + 1 reads the token that step t chose",
    against=(TRF_01.part("generation"), WHY_01),
)
def generation_takes_a_step_for_each_token(model: Callable[..., Any]) -> None:
    """Count the steps, and see that each is handed what the one before it chose.

    Nobody can take a step whose token is not known yet. That the token makes a difference is seen,
    too: with another one the step gives other logits.
    """

    class Watched(model):  # type: ignore[misc, valid-type]
        def step(self, token: Tensor, *rest: Any) -> Any:
            logits, cache = super().step(token, *rest)
            steps.append((token, logits, super().step((token + 1) % 7, *rest)[0]))
            return logits, cache

    steps: list[tuple[Tensor, Tensor, Tensor]] = []
    torch.manual_seed(0)
    module = Watched(5, 7, 4, 2, 5, 1).double().eval()
    source = torch.tensor([[1, 2, 3]])
    for m in (1, 2, 5, 16):
        steps.clear()
        tokens = module.generate(source, 0, m)
        assert len(steps) == m, f"{m} tokens took {len(steps)} steps"
        for t in range(1, m):
            before = steps[t - 1][1].argmax(-1)
            assert torch.equal(steps[t][0], before), f"step {t} does not read what was chosen"
            assert torch.equal(tokens[:, t - 1], before), f"token {t - 1} is not what was chosen"
        assert all(bool((a != b).any()) for _, a, b in steps), "a token makes no difference"


# --- TRF-06: the next token ---------------------------------------------------------------------
# » self.output = nn.Linear(d_model, target_vocab)


@st.composite
def _all_sequences(draw: Any) -> dict[str, Any]:
    choices = ((2, 1), (2, 3), (2, 4), (3, 2), (3, 3), (5, 2))
    (vocabulary, length), seed = draw(st.sampled_from(choices)), draw(seeds())
    layers, tokens = draw(st.sampled_from(((1, 1), (1, 3), (2, 2))))
    generator = torch.Generator().manual_seed(seed)
    sizes = {**_NARROW, "target_vocab": vocabulary, "n_layers": layers}
    return {
        "source": torch.randint(5, (1, tokens), generator=generator),
        "bos": int(torch.randint(vocabulary, (1,), generator=generator)),
        "length": length,
        "setup": Setup(sizes, seed, 2.0),
    }


@law(
    MODEL,
    inputs=_all_sequences(),
    formula="Σ over all y of length m of Π_t softmax(f(x, (bos, y_<t)))_{y_t} = 1",
    claim=TRF_06.part("distribution"),
)
def the_probabilities_of_all_sequences_add_up_to_one(
    model: Subject, source: Tensor, bos: int, length: int
) -> None:
    """Predicting the next token again and again makes a distribution over sequences.

    Whoever has seen the token that is to come is too sure of it, and the sum is no longer one.
    """
    vocabulary = torch.arange(_size(model, "target_vocab"))
    every = torch.cartesian_prod(*[vocabulary] * length).view(-1, length)  # (V^m, m)
    start = torch.full_like(every[:, :1], bos)
    arguments = {
        "source": source.expand(len(every), -1).contiguous(),
        "target_in": torch.cat([start, every[:, :-1]], 1),
        "source_mask": None,
    }
    logits = model(**arguments)
    bound = measured_bound(model, arguments)
    each = torch.log_softmax(logits.double(), -1).gather(-1, every[..., None])[..., 0].sum(-1)
    # A logit and the sum of exponentials may each be off by the bound, at every token.
    error = torch.expm1(2 * length * bound) + gamma(
        len(every) + length * (len(vocabulary) + 8), unit_roundoff(torch.float64)
    ) * (1 + float(each.abs().max()))
    total = each.exp().sum()
    close(total, torch.ones_like(total), error, "the probability of all sequences together")
    even = torch.full_like(each, 1 / len(every))
    sometimes_differs(
        each.exp(), even, "some sequences are likelier than others", 0.01 / len(every)
    )


@proof(
    MODEL,
    "sequence_loss",
    method="symbolic",
    formula="∂loss/∂z_tv = (softmax(z_t)_v − [v = y_t]) / N in symbols, and dep(z_t) ∩ y = y_<t",
    claim=TRF_06.part("loss"),
)
def the_loss_compares_each_token_with_what_was_said_before_it(
    model: Callable[..., Any], sequence_loss: Callable[..., Any]
) -> None:
    """The loss of symbols pulls at the logits of position t by the target of position t alone.

    With the target shifted right, those logits are made of the tokens before it, and of no other.
    """
    target = torch.tensor([[0, 2, 1], [1, 1, 0]])
    real = torch.tensor([[True, True, True], [True, False, False]])
    z = symbolic.symbols("z", 2, 3, 3)
    for mask in (None, real):
        kept = torch.ones_like(real) if mask is None else mask
        loss = symbolic.tensor([sequence_loss(z, target, mask).entries.item()])
        exponentials = z.exp()
        weights = (exponentials / exponentials.sum(-1, keepdim=True)).entries
        for b, t, v in ((b, t, v) for b in range(2) for t in range(3) for v in range(3)):
            hit = int(target[b, t] == v)
            pull = (weights[b, t, v] - hit) / int(kept.sum()) if kept[b, t] else 0
            found = symbolic.derivative(loss, z.entries[b, t, v])
            assert symbolic.equal(found, symbolic.tensor([pull])), (
                f"the derivative by logit {v} of token {t} of sequence {b}"
            )
    y: Any = traced("y", 1, 4)
    unsaid: Any = unknown(1, 1)  # the start token
    shifted: Any = torch.cat([unsaid, y[:, :3]], 1)
    logits = traced_module(model, 3, 4, 4, 2, 3, 2)(torch.tensor([[0, 1, 2]]), shifted)
    seen = reach(logits, y)[0, :, 0]
    assert torch.equal(seen, torch.ones(4, 4, dtype=torch.bool).tril(-1)), (
        f"the logits (rows) have seen the targets (columns) {seen.int().tolist()}"
    )


# --- TRF-07: depth ------------------------------------------------------------------------------


@proof(
    MODEL,
    method="structural",
    formula="pre-norm: sublayers that add a constant ⇒ ∂x_L/∂x_0 = I, bit by bit, at any depth L",
    claim=TRF_07.part("pre-norm"),
)
def pre_norm_leaves_one_path_without_weights(model: Callable[..., Any]) -> None:
    """With nothing but constants from the sublayers, what is left of the gradient is that path.

    In general the Jacobian of a layer is I + F′: sublayers add to the path, and none stands on it.
    """
    probe = torch.tensor([[[0.3, -1.1, 0.7, 2.0], [1.9, 0.2, -0.4, -0.6]]]).double()
    for n_layers in (1, 2, 8, 32):
        torch.manual_seed(n_layers)
        encoder = model(5, 7, 4, 2, 5, n_layers, pre_norm=True).double().encoder
        x = torch.tensor([[[1.0, 2.0, -3.0, 0.5], [0.1, -0.2, 4.0, 1.0]]]).double().requires_grad_()
        out = x
        with torch.no_grad():
            for layer in encoder.layers:
                layer.attention.output.weight.zero_()
                layer.feed_forward.outer.weight.zero_()
        for layer in encoder.layers:
            out = layer(out)
        (grad,) = torch.autograd.grad(out, x, probe)
        assert torch.equal(grad, probe), (
            f"through {n_layers} layers the gradient is {grad.tolist()}"
        )


def _constant_sublayers(model: Subject) -> None:
    """Let every sublayer of the encoder add one and the same constant, whatever it reads."""
    own = model.parameters()
    constant = torch.tensor([1.0, -1.0]).repeat(_size(model, "d_model") // 2)
    changed = {}
    for name, value in own.items():
        if name.startswith("encoder.layers.") and name.split(".", 3)[3] in {
            "attention.output.weight",
            "feed_forward.outer.weight",
        }:
            changed[name] = torch.zeros_like(value)
            bias = name.replace("weight", "bias")
            changed[bias] = constant.to(own[bias])
    model.set_parameters(changed)


def _deep(seed: int) -> dict[str, Any]:
    return {"source": torch.tensor([[0, 1, 2]]), "setup": Setup(_NARROW, seed)}


@refutation(
    MODEL,
    claim=TRF_07.part("post-norm"),
    formula="‖∂x_L/∂x_0‖ at L = 16 ≥ ‖∂x_L/∂x_0‖ at L = 1, times 1/100",
    inputs=seeds().map(_deep),
    pinned=_deep(0),
)
def post_norm_lets_a_gradient_through_any_depth(model: Subject, source: Tensor) -> None:
    """Each normalisation divides the gradient by the spread of what it normalises.

    Where every sublayer adds the same constant, tokens come to lie along it, their spread after the
    sum is two, and the gradient halves in every sublayer.
    """
    assert model.setup is not None
    sizes = []
    for n_layers in (1, 16):
        arguments = {**model.setup.arguments, "n_layers": n_layers}
        stack = model.construct(model.setup.seed, **arguments)
        _constant_sublayers(stack)
        with stack.learning():
            memory = stack.encode(source)
        probe = torch.cos(torch.arange(memory.numel()).to(memory)).view_as(memory)
        slopes = stack.parameter_gradients((memory * probe).sum())
        sizes.append(slopes["source_embedding.weight"].norm())
    above(sizes[1], sizes[0] / 100, "the gradient of the embedding through sixteen layers")
