"""Section 1 of the notes, the decoder: what its next state needs, and how words are chosen."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import sympy
import torch
from torch import Tensor

from attest import symbolic
from attest.checks import identical, sometimes_differs
from attest.claims import Claim, Verdict
from attest.laws import law, proof, refutation
from attest.strategies import token_inputs
from attest.subject import Setup, Subject
from attest.tolerances import gamma, unit_roundoff
from properties.seq2seq import (
    ATTENDING,
    BOTH,
    PLAIN,
    S2S_02,
    S2S_07,
    SECTION,
    SOURCES,
    TARGETS,
    AnyCell,
    another,
    decoder,
    elsewhere,
    model_of_any_cells,
    numbers_in,
    real_tokens,
    same_state,
    vocabularies,
    wave,
)

DEC_01 = Claim(
    id="DEC-01",
    section=SECTION,
    quote="이전 디코더 hidden state + 이전 출력 token embedding",
    statement="The decoder's next state needs its last state and the last token, and no more.",
    formal="s_t = g(y_{t−1}, s_{t−1}): equal (s_{t−1}, y_{t−1}) ⇒ equal s_t, bit by bit",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "the state is all that a step hands to the next: for an LSTM the cell, too",
        "not for Cho's decoder, which needs the context, nor for Bahdanau's, which needs the "
        "encoder's states",
    ),
    references=(
        "Sutskever, Vinyals and Le 2014, section 2",
        "Cho et al. 2014, section 2.2",
        "Bahdanau, Cho and Bengio 2015, section 3.1",
    ),
    parts=(
        ("plain", "In the plain model the whole state and the token suffice.", Verdict.PROVED),
        ("LSTM", "An LSTM's hidden state and the token suffice.", Verdict.REFUTED),
        ("Cho", "In Cho's model the hidden state and the token suffice.", Verdict.REFUTED),
        ("Bahdanau", "In Bahdanau's model the state and the token suffice.", Verdict.REFUTED),
    ),
)

DEC_02 = Claim(
    id="DEC-02",
    section=SECTION,
    quote="디코더 초기 state에만 사용된다",
    statement="The context, the encoder's last state, is used for the decoder's first state alone.",
    formal="s_0 = c = h_T, and ∂s_t/∂c = 0 at fixed (s_{t−1}, y_{t−1})",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "unused means that no step takes the context beside the state; through the states it "
        "reaches every step",
        "not in Cho's and Bahdanau's decoders, which take a context in every step",
        "the context is the last state itself in the plain model; Cho's is a function of it",
    ),
    references=(
        "Sutskever, Vinyals and Le 2014, section 2",
        "Cho et al. 2014, section 2.2",
        "Bahdanau, Cho and Bengio 2015, section 3.1",
    ),
    parts=(
        ("plain", "In the plain model no step takes the context but the first.", Verdict.PROVED),
        ("no influence", "The context has no influence on later states.", Verdict.REFUTED),
        ("Cho", "In Cho's model no later step takes the context.", Verdict.REFUTED),
        ("Bahdanau", "In Bahdanau's model no later step takes a context.", Verdict.REFUTED),
        ("last state", "The context is the encoder's last state.", Verdict.CONDITIONAL),
    ),
)

# --- DEC-01: what the next state needs ----------------------------------------------------------


@law(
    PLAIN,
    inputs=token_inputs,
    formula="step(y, s) is the same after other sources have been read, bit by bit",
    claim=(S2S_02, S2S_07.part("no access"), DEC_01.part("plain")),
)
@law(
    ATTENDING,
    inputs=token_inputs,
    formula="step(y, s, memory) is the same after other sources have been read, bit by bit",
)
def a_step_depends_on_what_it_is_given_alone(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """The model keeps nothing from one sequence for another: all that a step knows is handed to it.

    Between two equal steps, another source is read, decoded and answered.
    """
    others = another(source, vocabularies(model)[0])
    step, state = decoder(model, source, lengths)
    logits, after = step(target_in[:, 0], state)
    far, _ = step(target_in[:, -1], after)
    other_step, other_state = decoder(model, others, lengths)
    other, _ = other_step(target_in[:, 0], other_state)
    model(others, target_in, lengths)
    again, again_after = step(target_in[:, 0], state)
    identical(again, logits, "the logits of the same step")
    same_state(again_after, after, "the state after the same step")
    identical(step(target_in[:, -1], again_after)[0], far, "the logits of the next step")
    sometimes_differs(other, logits, "the other source gives other logits")
    sometimes_differs(far, logits, "the next step gives other logits")


@law(
    *BOTH,
    inputs=token_inputs,
    formula="(y, s) after g(y, s) = (y, s) before",
    kind="robustness",
    share=0.3,
)
def a_step_leaves_the_state_that_it_is_given(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """A state may be gone on from more than once, as where several continuations are tried."""
    memory, state = model.encode(source, lengths)
    token, seen = target_in[:, 0], (memory, real_tokens(source, lengths))
    logits, *_ = model.step(token, state, *(() if model.spec.name == PLAIN else seen))
    for name, before, after in model.inputs_after_call():
        identical(after, before, f"{name} after the step")
    sometimes_differs(logits[:, 1:], logits[:, :-1], "the logits of words differ")


@law(
    ATTENDING,
    inputs=token_inputs,
    formula="step(y, s, m := m′) = step(y, s, m′), bit by bit",
    kind="robustness",
    share=0.3,
)
def the_memory_is_what_its_tensor_holds(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """A memory that is written into the tensor of another one is looked at anew.

    What is kept of a memory, such as what its keys are projected to, is out of date then.
    """
    memory, state = model.encode(source, lengths)
    other, _ = model.encode(another(source, vocabularies(model)[0]), lengths)
    token, mask, buffer = target_in[:, 0], real_tokens(source, lengths), other.clone()
    with model.same_tensors():
        before, *_ = model.step(token, state, buffer, mask)
        buffer.copy_(memory)
        logits, *_ = model.step(token, state, buffer, mask)
    expected, *_ = model.step(token, state, memory, mask)
    identical(logits, expected, "the logits of the same step with the memory in that tensor")
    sometimes_differs(logits, before, "the other memory gives other logits")


def _symbolic_state(batch: int, width: int) -> symbolic.SymbolicTensor:
    return symbolic.symbols("s", batch, width)


@proof(
    PLAIN,
    method="symbolic",
    formula="s_t = g(y_{t−1}, s_{t−1}) and logits_t = W s_t + b for any cell g, and nothing else",
    claim=DEC_01.part("plain"),
)
def the_next_state_is_the_cells_own(model: Callable[..., Any]) -> None:
    """With a cell of which nothing is known, a step is written out in token and state alone.

    Two sources are read before, of which nothing may be left.
    """
    module, parameters = model_of_any_cells(model)
    module(SOURCES, TARGETS)
    state, table = _symbolic_state(2, 2), parameters["embedding.weight"].entries
    weight, bias = parameters["output.weight"].entries, parameters["output.bias"].entries
    logits, after = module.step(TARGETS[:, 1], state)
    for item, token in enumerate(TARGETS[:, 1].tolist()):
        exact = [g(*table[token], *state.entries[item]) for g in module.cell.functions]
        assert after.entries[item].tolist() == exact, f"the next state is {after}"
        assert symbolic.equal(
            symbolic.tensor(list(logits.entries[item])),
            symbolic.tensor(list(weight @ exact + bias)),
        ), f"the logits are {logits}"


def _filled(module: torch.nn.Module, value: float = 1.0) -> Any:
    """Set every parameter to the same number."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)
    return module.double()


@proof(
    PLAIN,
    "LSTMCell",
    method="symbolic",
    formula="h′ = σ(o) tanh(σ(f) c + σ(i) tanh(g)): at zeroes ∂h′/∂c = 1/4, at the same h and x",
    against=DEC_01.part("LSTM"),
)
def an_lstm_needs_its_cell_too(model: Callable[..., Any], lstm_cell: Callable[..., Any]) -> None:
    """Two LSTMs with the same hidden state and the same token go on differently.

    What else they hold is the cell. With all weights at zero half of it is kept, and half of that
    is shown.
    """
    del model
    cell, _ = symbolic.symbolic_module(lstm_cell, 1, 1)
    kept = symbolic.symbols("c", 1, 1)
    hidden, _ = cell(symbolic.symbols("x", 1, 1), (symbolic.symbols("h", 1, 1), kept))
    slope = symbolic.derivative(hidden, kept.entries[0, 0]).entries[0, 0]
    zeroes = dict.fromkeys(slope.free_symbols, 0)
    assert slope.subs(zeroes) == sympy.Rational(1, 4), (
        f"at zeroes the slope is {slope.subs(zeroes)}"
    )


@proof(
    PLAIN,
    "ChoSeq2Seq",
    method="symbolic",
    formula="s_t = g([y_{t−1}; c], s_{t−1}): at ones, s_{t−1} = 0 and c = 0 or 1, s_t differs",
    against=(DEC_01.part("Cho"), DEC_02.part("Cho")),
)
def chos_decoder_takes_the_context_in_every_step(
    model: Callable[..., Any], cho: Callable[..., Any]
) -> None:
    """With any cell, the context occurs in each next state beside the state before.

    With the model's own cell and all weights at one, contexts of zero and one give other states.
    """
    del model
    module, _ = symbolic.symbolic_module(cho, 3, 3, 1, 2)
    module.cell = AnyCell("write", 2)
    hidden, context = _symbolic_state(1, 2), symbolic.symbols("c", 1, 2)
    _, (after, _) = module.step(torch.tensor([1]), (hidden, context))
    for entry in after.entries.flatten():
        assert entry.free_symbols >= set(context.entries.flatten()), f"the next state is {entry}"
    module, token = _filled(cho(3, 3, 1, 1)), torch.tensor([1, 1])
    contexts = torch.tensor([[0.0], [1.0]]).double()
    _, (moved, _) = module.step(token, (torch.zeros_like(contexts), contexts))
    assert bool(moved[0] != moved[1]), f"contexts of zero and one give the state {float(moved[0])}"


@refutation(
    ATTENDING,
    claim=(DEC_01.part("Bahdanau"), DEC_02.part("Bahdanau")),
    formula="equal (s_{t−1}, y_{t−1}) ⇒ equal s_t, whatever the encoder's states",
    inputs=lambda component: token_inputs(component, "none", 1),
    pinned={
        "source": torch.tensor([[0]]),
        "target_in": torch.tensor([[0]]),
        "lengths": None,
        "setup": Setup(
            {"source_vocab": 2, "target_vocab": 2, "d_embed": 1, "d_hidden": 1},
        ),
    },
)
def state_and_token_decide_whatever_the_memory_holds(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """The same state and token over another memory lead elsewhere: a new context comes in."""
    del lengths
    memory, state = model.encode(source)
    _, after, _ = model.step(target_in[:, 0], state, memory)
    _, other, _ = model.step(target_in[:, 0], state, memory + 1)
    same_state(other, after, "the next state")


# --- DEC-02: where the context goes -------------------------------------------------------------


@law(
    PLAIN,
    inputs=lambda component: token_inputs(component, "any", 2),
    formula="logits_t changes with c, and ∂logits_t/∂W ≠ 0 for W that c is made with, t = 1 … 4",
    against=DEC_02.part("no influence"),
)
def the_context_reaches_later_logits_through_the_states(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """No step but the first takes the context, and yet it matters to every step.

    Another context changes the logits of each, and what makes the context learns from each.
    """
    steps = min(target_in.shape[1], 4)
    _, state = model.encode(source, lengths)
    changed = elsewhere(state)
    for t in range(steps):
        logits, state = model.step(target_in[:, t], state)
        moved, changed = model.step(target_in[:, t], changed)
        sometimes_differs(moved, logits, f"another context changes logits {t + 1}")
    with model.learning():
        _, context = model.encode(source, lengths)
        forced = model(source, target_in, lengths)
    makes = _slopes(model, numbers_in(context))
    slopes = [_slopes(model, forced[:, t]) for t in range(steps)]
    for name, slope in makes.items():
        if slope.any() and any(later[name].any() for later in slopes):
            for t, later in enumerate(slopes):
                what = f"{name}, which makes the context, learns from logits {t + 1}"
                sometimes_differs(later[name], torch.zeros_like(slope), what)


def _slopes(model: Subject, result: Tensor) -> dict[str, Tensor]:
    """Give the gradient of a mixture of a result's entries by every parameter; zeros for none."""
    if not result.requires_grad:
        return {name: torch.zeros_like(value) for name, value in model.parameters().items()}
    return model.parameter_gradients((result * wave(result)).sum())


@proof(
    PLAIN,
    method="symbolic",
    formula="put a symbol for s_{t−1}: then s_t contains no c, so ∂s_t/∂c = 0 at fixed s_{t−1}",
    claim=DEC_02.part("plain"),
)
def no_step_but_the_first_takes_the_context(model: Callable[..., Any]) -> None:
    """With any cell, each state contains the context inside the state before, and nowhere else."""
    module, _ = model_of_any_cells(model)
    module.encode(SOURCES)
    context = symbolic.symbols("c", 2, 2)
    read, before = set(context.entries.flatten()), context
    for t in range(TARGETS.shape[1]):
        logits, state = module.step(TARGETS[:, t], before)
        if t:
            known = {s: sympy.Symbol(f"s_{i}") for i, s in enumerate(before.entries.flatten())}
            for entry in state.entries.flatten():
                assert entry.free_symbols & read, "the context does not reach a later state"
                left = entry.xreplace(known)
                assert not left.free_symbols & read, f"beside the state before, {left} contains c"
            for entry in logits.entries.flatten():
                known_now = {
                    s: sympy.Symbol(f"n_{i}") for i, s in enumerate(state.entries.flatten())
                }
                left = entry.xreplace(known_now)
                assert not left.free_symbols & read, f"beside the state, {left} contains c"
        before = state


@proof(
    PLAIN,
    method="symbolic",
    formula="ds_2/dc = ∂s_2/∂s_1 · ∂s_1/∂c, which at ones and c = 0 is above zero",
    against=DEC_02.part("no influence"),
)
def the_influence_of_the_context_is_a_product_of_jacobians(model: Callable[..., Any]) -> None:
    """With the model's own cell, of width one, the whole derivative is written out in symbols.

    It is the product of the derivatives of the steps: none of them takes the context another way.
    """
    module, _ = symbolic.symbolic_module(model, 2, 2, 1, 1)
    context, between = symbolic.symbols("c", 1, 1), symbolic.symbols("s", 1, 1)
    token, later = torch.tensor([0]), torch.tensor([1])
    (c,), (s,) = context.entries[0], between.entries[0]
    _, first = module.step(token, context)
    _, second = module.step(later, first)
    _, alone = module.step(later, between)
    total = symbolic.derivative(second, c).entries[0, 0]
    there = symbolic.derivative(alone, s).entries[0, 0].xreplace({s: first.entries[0, 0]})
    steps = there * symbolic.derivative(first, c).entries[0, 0]
    symbols = sorted(total.free_symbols, key=str)
    # Exact rational numbers for the symbols, and fifty digits.
    values = {x: sympy.Rational(i % 5 - 2, 3) for i, x in enumerate(symbols)}
    difference = total.xreplace(values).evalf(50) - steps.xreplace(values).evalf(50)
    assert abs(difference) < 1e-40, f"the derivatives differ by {difference}"
    ones = {x: sympy.Integer(x != c) for x in symbols}
    influence = total.xreplace(ones).evalf()
    assert influence > 0, f"the influence is {influence}"


@proof(
    PLAIN,
    method="symbolic",
    formula="s_0 = h_T for any cell",
    claim=DEC_02.part("last state"),
)
def the_plain_models_context_is_the_last_state(model: Callable[..., Any]) -> None:
    """The decoder's first state is the encoder's last one, entry by entry."""
    module, _ = model_of_any_cells(model)
    states, state = module.encode(SOURCES)
    assert state.entries.tolist() == states.entries[:, -1].tolist(), f"the first state is {state}"


@proof(
    PLAIN,
    "ChoSeq2Seq",
    method="symbolic",
    formula="c = tanh(V h_T + b), which is not h_T",
    against=DEC_02.part("last state"),
)
def chos_context_is_a_function_of_the_last_state(
    model: Callable[..., Any], cho: Callable[..., Any]
) -> None:
    """Between the encoder's last state and the context there is a layer of its own."""
    del model
    module, parameters = symbolic.symbolic_module(cho, 3, 3, 1, 2)
    module.encoder.cell = AnyCell("read", 2)
    states, (_, context) = module.encode(SOURCES)
    weight, bias = parameters["summary.weight"].entries, parameters["summary.bias"].entries
    for item in range(len(SOURCES)):
        last = states.entries[item, -1]
        exact = [sympy.tanh(entry) for entry in weight @ last + bias]
        assert context.entries[item].tolist() == exact, f"the context is {context}"
        assert context.entries[item].tolist() != last.tolist()


# --- Recurrent cells, unasked -------------------------------------------------------------------


@proof(
    PLAIN,
    "GRUCell",
    method="symbolic",
    formula="h′ = (1 − z) n + z h with 0 < z < 1 and |n| < 1, so |h′| ≤ max(1, |h|)",
)
def a_grus_state_stays_within_one_or_where_it_was(
    model: Callable[..., Any], gru_cell: Callable[..., Any]
) -> None:
    """A GRU's next state lies between its old one and a number within ±1, entry by entry.

    In symbols, each entry is a mean of the two: weights that add up to one, and are positive.
    """
    del model
    cell, _ = symbolic.symbolic_module(gru_cell, 1, 2)
    state = symbolic.symbols("h", 1, 2)
    after = cell(symbolic.symbols("x", 1, 1), state)
    for k, entry in enumerate(after.entries[0]):
        (candidate,) = entry.atoms(sympy.tanh)
        new, old = sympy.Symbol("n", real=True), sympy.Symbol("o", real=True)
        opened = entry.xreplace({candidate: new})
        gates = opened.atoms(sympy.exp)
        assert len(gates) == 1, f"the next state has the gates {gates}"
        power = sympy.Symbol("e", positive=True)
        mean = opened.xreplace({gates.pop(): power}).xreplace({state.entries[0, k]: old})
        assert mean.free_symbols == {new, old, power}, f"the next state is {mean}"
        kept, taken = (sympy.factor(sympy.diff(mean, x)) for x in (old, new))
        assert sympy.simplify(mean - kept * old - taken * new) == 0, f"the next state is {mean}"
        assert sympy.simplify(kept + taken - 1) == 0, f"the weights are {kept} and {taken}"
        assert kept.is_positive, f"the weight of the old state is {kept}"
        assert taken.is_positive, f"the weight of the new state is {taken}"


@proof(
    PLAIN,
    "unroll",
    method="symbolic",
    formula="unroll(f, x, s, lengths)_b = unroll(f, x_b[:length_b], s_b) for any cell f",
)
def unrolling_a_padded_batch_is_unrolling_each_alone(
    model: Callable[..., Any], unroll: Callable[..., Any]
) -> None:
    """Read together with padding or each by itself: the same states, in symbols, for any cell."""
    del model
    cell = AnyCell("f", 2)
    x, start = symbolic.symbols("x", 3, 4, 1), symbolic.symbols("s", 3, 2)
    for lengths in ((4, 1, 2), (1, 3, 4), (4, 4, 4), (1, 1, 1)):
        states, last = unroll(cell, x, start, torch.tensor(lengths))
        for item, length in enumerate(lengths):
            here = slice(item, item + 1)
            alone, end = unroll(cell, x[here, :length], start[here])
            assert states.entries[item, :length].tolist() == alone.entries[0].tolist()
            assert last.entries[item].tolist() == end.entries[0].tolist()
            assert end.entries[0].tolist() == alone.entries[0, -1].tolist()


# --- Choosing words, unasked --------------------------------------------------------------------


class _Tree:
    """A model of everything said so far: logits of their own for every beginning.

    Args:
        batch: the number of items, each with a tree of its own.
        vocabulary: V.
        depth: the number of tokens.
        seed: where the logits come from.
    """

    def __init__(self, batch: int, vocabulary: int, depth: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        nodes = sum(vocabulary**level for level in range(depth))
        shape = (batch, nodes, vocabulary)
        self.logits = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
        self.vocabulary, self.depth = vocabulary, depth
        self.first = torch.zeros(batch, dtype=torch.int64)
        self.state = (torch.arange(batch), torch.full((batch,), -1))

    def step(self, token: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Any]:
        """Go down to the branch of a token."""
        item, node = state
        node = torch.where(node < 0, 0, node * self.vocabulary + token + 1)
        return self.logits[item, node], (item, node)

    def scores(self, strings: Tensor, end: int | None = None) -> Tensor:
        """Give log p of every string for every item, (B, strings); none after the end costs."""
        total = torch.zeros(len(self.first), len(strings), dtype=torch.float64)
        for b, one in product(range(len(self.first)), range(len(strings))):
            state: Any = (torch.tensor([b]), torch.tensor([-1]))
            token = self.first[:1]
            for wanted in strings[one]:
                logits, state = self.step(token, state)
                total[b, one] += torch.log_softmax(logits[0], -1)[wanted]
                token = wanted[None]
                if int(wanted) == end:
                    break
        return total


def _trees() -> list[_Tree]:
    cases = ((1, 2, 1), (3, 2, 4), (2, 3, 3), (2, 5, 2))
    return [_Tree(*case, seed) for case in cases for seed in range(4)]


@proof(
    PLAIN,
    "beam_search",
    "greedy",
    method="exhaustive",
    formula="beam_search(width 1) = greedy, with the score Σ log p",
)
def a_beam_of_one_is_greedy(
    model: Callable[..., Any], beam_search: Callable[..., Any], greedy: Callable[..., Any]
) -> None:
    """Who keeps one beginning alone takes the likeliest token every time."""
    del model
    for tree in _trees():
        tokens, scores = beam_search(tree.step, tree.state, tree.first, tree.depth, 1)
        likeliest = greedy(tree.step, tree.state, tree.first, tree.depth)
        assert tokens.tolist() == likeliest.tolist(), f"{tokens.tolist()}"
        _assert_scores(scores, tree.scores(likeliest).diagonal(), tree)


@proof(
    PLAIN,
    "beam_search",
    method="exhaustive",
    formula="beam_search(width V^m) = argmax over y in V^m of Σ log p(y_t | y_<t)",
)
def a_beam_that_keeps_everything_finds_the_likeliest(
    model: Callable[..., Any], beam_search: Callable[..., Any]
) -> None:
    """All strings are scored one by one: the widest beam finds the best of them.

    A narrower one may miss it, and its score is that of the string that it gives.
    """
    del model
    missed = 0
    for tree in _trees():
        strings = torch.tensor(list(product(range(tree.vocabulary), repeat=tree.depth)))
        exact = tree.scores(strings)
        for width in {2, len(strings)}:
            tokens, scores = beam_search(tree.step, tree.state, tree.first, tree.depth, width)
            found = tree.scores(tokens).diagonal()
            _assert_scores(scores, found, tree)
            best = strings[exact.argmax(-1)]
            missed += int((tokens != best).any())
            if width == len(strings):
                assert tokens.tolist() == best.tolist(), f"{tokens.tolist()} is not the likeliest"
    assert missed, "two beginnings always sufficed, which says nothing"


@proof(
    PLAIN,
    "greedy",
    "sampled",
    method="exhaustive",
    formula="with an end e: tokens up to the first e as without, then e alone, and no steps",
)
def nothing_comes_after_the_end(
    model: Callable[..., Any], greedy: Callable[..., Any], sampled: Callable[..., Any]
) -> None:
    """Every token is made the end in turn: up to it nothing changes, and after it nothing comes.

    The others of the batch go on; once all have ended, the model is not asked again.
    """
    del model
    asked: list[int] = []
    early = 0
    for tree, way in product(_trees(), (greedy, sampled)):

        def step(token: Tensor, state: Any, tree: _Tree = tree) -> tuple[Tensor, Any]:
            asked.append(1)
            return tree.step(token, state)

        for end in range(tree.vocabulary):
            results = []
            both: tuple[dict[str, Any], ...] = ({}, {"end": end})
            for options in both:
                if way is sampled:
                    options["generator"] = torch.Generator().manual_seed(0)
                asked.clear()
                results.append(way(step, tree.state, tree.first, tree.depth, **options))
            free, ended = results
            over = ((free == end).cumsum(1) - (free == end).int()) > 0  # after the first end
            exact = torch.where(over, end, free)
            assert ended.tolist() == exact.tolist(), f"{ended.tolist()} for {free.tolist()}"
            needed = int((~over).any(0).sum())
            assert len(asked) == needed, f"{len(asked)} steps where {needed} were needed"
            early += needed < tree.depth
    assert early, "no batch ended early, which says nothing"


@proof(
    PLAIN,
    "beam_search",
    method="exhaustive",
    formula="with an end e: beam_search(width V^m) = argmax of Σ log p(y_t | y_<t) up to e",
)
def a_beam_keeps_what_has_ended(model: Callable[..., Any], beam_search: Callable[..., Any]) -> None:
    """All sequences that end, or fill the room, are scored; what has ended costs no more.

    A short sequence may so win over longer ones, whose words all have to be paid for.
    """
    del model
    short = 0
    for tree in _trees():
        strings = torch.tensor(list(product(range(tree.vocabulary), repeat=tree.depth)))
        for end in range(tree.vocabulary):
            over = ((strings == end).cumsum(1) - (strings == end).int()) > 0
            whole = strings[((strings == end) | ~over).all(1)]  # nothing but the end after the end
            exact = tree.scores(whole, end)
            tokens, scores = beam_search(
                tree.step, tree.state, tree.first, tree.depth, len(strings), end=end
            )
            assert tokens.tolist() == whole[exact.argmax(-1)].tolist(), f"{tokens.tolist()}"
            _assert_scores(scores, exact.amax(-1), tree)
            short += int((tokens[:, :-1] == end).any())
    assert short, "no sequence ended early, which says nothing"


def _assert_scores(scores: Tensor, exact: Tensor, tree: _Tree) -> None:
    size = float(tree.logits.abs().max()) * tree.depth
    bound = gamma(4 * (tree.depth + tree.vocabulary), unit_roundoff(torch.float32)) * size
    assert bool(((scores - exact).abs() <= bound).all()), f"{scores.tolist()}, {exact.tolist()}"


@proof(
    PLAIN,
    "sampled",
    "greedy",
    method="exhaustive",
    formula="sampled ~ ∏ p(y_t | y_<t): as often as likely, and greedy where p is 0 or 1",
)
def sampling_draws_each_token_as_often_as_it_is_likely(
    model: Callable[..., Any], sampled: Callable[..., Any], greedy: Callable[..., Any]
) -> None:
    """Where one token has all the probability it comes; elsewhere all come, by their shares.

    The shares of 4,096 draws are within 0.05 of the probabilities: by Hoeffding's inequality chance
    would break that once in 10⁸ draws of a seed, and the seed is fixed.
    """
    del model
    for tree in _trees():
        certain = _Tree(len(tree.first), tree.vocabulary, tree.depth, 0)
        certain.logits = torch.where(
            tree.logits == tree.logits.amax(-1, keepdim=True), 0.0, -torch.inf
        )
        generator = torch.Generator().manual_seed(0)
        drawn = sampled(certain.step, certain.state, certain.first, certain.depth, generator)
        likeliest = greedy(certain.step, certain.state, certain.first, certain.depth)
        assert drawn.tolist() == likeliest.tolist(), "a certain token did not come"
    tree, draws = _Tree(1, 3, 2, 1), 4096
    state = tuple(part.expand(draws) for part in tree.state)
    generator = torch.Generator().manual_seed(0)
    drawn = sampled(tree.step, state, tree.first.expand(draws), tree.depth, generator)
    strings = torch.tensor(list(product(range(3), repeat=2)))
    shares = (drawn[:, None] == strings).all(-1).double().mean(0)
    assert bool(((shares - tree.scores(strings)[0].exp()).abs() < 0.05).all()), f"{shares.tolist()}"


# --- The loss, unasked --------------------------------------------------------------------------

TARGET = torch.tensor([[0, 2, 1], [1, 1, 0]])
REAL = torch.tensor([[True, True, False], [True, False, False]])


@proof(
    PLAIN,
    "sequence_loss",
    method="symbolic",
    formula="loss = mean over n real tokens of (ln Σ_v e^{z_v} − z_y), ∂loss/∂z_y = (p_y − 1) / n",
)
def the_loss_is_the_mean_surprise_at_real_tokens(
    model: Callable[..., Any], sequence_loss: Callable[..., Any]
) -> None:
    """In symbols: no logit of padding occurs, and the mean is over as many tokens as are real."""
    del model
    logits = symbolic.symbols("z", 2, 3, 3)
    for mask in (REAL, None):
        loss = sequence_loss(logits, TARGET, mask).entries.item()
        real = torch.ones_like(REAL) if mask is None else mask
        terms = []
        for b, t in real.nonzero().tolist():
            z, y = logits.entries[b, t], int(TARGET[b, t])
            terms.append(sympy.log(sum(sympy.exp(v) for v in z)) - z[y])
            p = sympy.exp(z[y]) / sum(sympy.exp(v) for v in z)
            slope = symbolic.tensor([sympy.diff(loss, z[y])])
            exact = symbolic.tensor([(p - 1) / int(real.sum())])
            assert symbolic.equal(slope, exact), f"the slope by the target's logit at {b}, {t}"
        assert sympy.expand(loss - sympy.Add(*terms) / len(terms)) == 0, f"the loss is {loss}"


@proof(
    PLAIN,
    "sequence_loss",
    method="symbolic",
    formula="loss(z, y, mask) = loss(z[:, :2], y[:, :2], mask[:, :2]), where nothing after is real",
)
def the_loss_does_not_depend_on_the_width_of_the_padding(
    model: Callable[..., Any], sequence_loss: Callable[..., Any]
) -> None:
    """Padding a batch further neither adds to the loss nor dilutes it."""
    del model
    logits = symbolic.symbols("z", 2, 3, 3)
    wide = sequence_loss(logits, TARGET, REAL).entries.item()
    narrow = sequence_loss(logits[:, :2], TARGET[:, :2], REAL[:, :2]).entries.item()
    assert sympy.expand(wide - narrow) == 0, f"{wide} and {narrow}"
