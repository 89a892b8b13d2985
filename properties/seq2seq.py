"""Section 1 of the notes, Seq2Seq: one network reads, its last state starts one that writes."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import sympy
import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor, nn

from attest import symbolic
from attest.checks import close, finite, identical, sometimes, sometimes_differs
from attest.claims import Claim, Verdict
from attest.contract import CONTRACT
from attest.laws import law, proof
from attest.specification import mapped, tensors_in
from attest.strategies import string_inputs, token_inputs
from attest.subject import Setup, Subject
from attest.tolerances import gamma, unit_roundoff
from properties.attention import some_matrix
from properties.bounds import measured_bound

PLAIN = "Seq2Seq"
ATTENDING = "AttentionSeq2Seq"
BOTH = (PLAIN, ATTENDING)

SECTION = "1 Seq2Seq"

S2S_01 = Claim(
    id="S2S-01",
    section=SECTION,
    quote="입력 시퀀스를 순차적으로 읽으며",
    statement="The encoder reads its source one token after the other, in order.",
    formal="h_t = f(h_{t−1}, x_t): ∂h_t/∂x_s = 0 for s > t, and ≠ 0 in general for s ≤ t",
    verdict=Verdict.PROVED,
    conditions=("the encoder reads in one direction; Bahdanau's reads in both",),
    references=("Sutskever, Vinyals and Le 2014, section 2",),
)

S2S_02 = Claim(
    id="S2S-02",
    section=SECTION,
    quote="하나의 고정된 벡터(context vector)로 압축",
    statement="A source of any length becomes one vector of a fixed size.",
    formal="c = h_T in R^d for every T; equal c ⇒ equal outputs, bit by bit",
    verdict=Verdict.PROVED,
    conditions=("for an LSTM, c is the hidden state and the cell", "T counts no padding"),
    references=("Cho et al. 2014, section 2.2",),
)

S2S_03 = Claim(
    id="S2S-03",
    section=SECTION,
    quote="이 벡터를 초기 상태로 받아",
    statement="The decoder starts from that vector.",
    formal="s_0 = g(c), so other states give other outputs, and ∂logits_1/∂c ≠ 0",
    verdict=Verdict.PROVED,
    references=("Sutskever, Vinyals and Le 2014, section 2",),
)

S2S_04 = Claim(
    id="S2S-04",
    section=SECTION,
    quote="다음 단어를 하나씩 생성한다",
    statement="The target is generated word by word, each given the ones before.",
    formal="p(y | c) = ∏_t p(y_t | y_<t, c), and Σ over all V^m strings p(y | c) = 1",
    verdict=Verdict.HOLDS,
    references=("Sutskever, Vinyals and Le 2014, equation 1",),
)

S2S_05 = Claim(
    id="S2S-05",
    section=SECTION,
    quote="다양한 시퀀스 변환 작업을 가능하게",
    statement="Sequences of any length can be turned into sequences of any other.",
    formal="for every T and m, p(y_1 … y_m | x_1 … x_T) is a distribution",
    verdict=Verdict.MEASURED,
    references=("Sutskever, Vinyals and Le 2014, section 2",),
    parts=(
        ("any lengths", "Source and target may have any two lengths.", Verdict.HOLDS),
        (
            "learned",
            "The model learns to copy short sequences.",
            Verdict.MEASURED,
        ),
    ),
)

S2S_06 = Claim(
    id="S2S-06",
    section=SECTION,
    quote="압축 과정에서 사라지는 information bottleneck",
    statement="The longer the source, the more of it is lost on the way through the state.",
    formal="b bits in each of d numbers tell 2^(bd) sources apart at most, and there are V^T",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "numbers have finitely many bits, and V^T is more than 2^(bd)",
        "not over exact numbers, of which one can hold any source",
    ),
    references=("Siegelmann and Sontag 1995", "Bahdanau, Cho and Bengio 2015, figure 2"),
    parts=(
        ("finite states", "A state of finitely many bits mistakes some sources.", Verdict.PROVED),
        ("exact states", "A state of exact numbers mistakes some, too.", Verdict.REFUTED),
        (
            "in training",
            "What is learned copies long sequences worse than short ones.",
            Verdict.MEASURED,
        ),
        (
            "by width",
            "What is learned copies more of a sequence with a wider state.",
            Verdict.MEASURED,
        ),
    ),
)

S2S_07 = Claim(
    id="S2S-07",
    section=SECTION,
    quote="인코더 내부 상태에 직접 접근할 수 없어",
    statement="The decoder does not see the encoder's states before the last, and so cannot make "
    "fine use of single steps.",
    formal="given c, the logits do not depend on h_1 … h_{T−1}, bit by bit",
    verdict=Verdict.CONDITIONAL,
    conditions=("what no state holds is out of reach; a state that holds it gives it back",),
    references=("Bahdanau, Cho and Bengio 2015, section 1",),
    parts=(
        ("no access", "Nothing but the last state reaches the decoder.", Verdict.PROVED),
        ("no fine use", "So the decoder cannot tell single source tokens.", Verdict.REFUTED),
        (
            "in training",
            "What is learned reproduces some positions worse than others, without attention alone.",
            Verdict.PENDING,
            "measured, and half of it not decided: of sixteen symbols the first four are copied "
            "better than the rest, by .27 of all, without attention; with it the difference, of "
            ".07, is not shown to be less than .05",
        ),
    ),
)

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]

# --- What laws about both models share ----------------------------------------------------------


def decoder(model: Subject, source: Tensor, lengths: Tensor | None) -> tuple[Step, Any]:
    """Read a source; give the decoder's step over it, token and state in, and its first state."""
    memory, first = model.encode(source, lengths)
    if model.spec.name == PLAIN:
        return model.step, first
    mask = real_tokens(source, lengths)

    def step(token: Tensor, state: Any) -> tuple[Tensor, Any]:
        logits, state, _ = model.step(token, state, memory, mask)
        return logits, state

    return step, first


def real_tokens(source: Tensor, lengths: Tensor | None) -> Tensor | None:
    """Give the padding mask of a source; None where there is no padding."""
    return None if lengths is None else torch.arange(source.shape[1]) < lengths[:, None]


def another(tokens: Tensor, vocabulary: int) -> Tensor:
    """Give another token for each."""
    return (tokens + 1) % vocabulary


def vocabularies(model: Subject) -> tuple[int, int]:
    """Give the number of source tokens and that of target tokens."""
    assert model.setup is not None
    return model.setup.arguments["source_vocab"], model.setup.arguments["target_vocab"]


def same_state(after: Any, before: Any, what: str) -> None:
    """Require that two states are the same, bit by bit."""
    for (path, one), (_, other) in zip(tensors_in(after), tensors_in(before), strict=True):
        identical(one, other, what + path)


def numbers_in(state: Any) -> Tensor:
    """Give all floating point numbers of a state in one row."""
    return torch.cat([p.flatten() for _, p in tensors_in(state) if p.is_floating_point()])


def elsewhere(state: Any) -> Any:
    """Give another state: all its floating point numbers less one half."""
    return mapped(state, lambda part: part - 0.5 if part.is_floating_point() else part)


def wave(like: Tensor) -> Tensor:
    """Give numbers of both signs in a tensor's shape, to weigh its entries by."""
    return torch.cos(1.0 + torch.arange(like.numel()).to(like)).view(like.shape)


# --- Definition ---------------------------------------------------------------------------------


@law(*BOTH, inputs=token_inputs, formula="Σ_v logits_tv ≠ 1 and Σ_v e^logits_tv ≠ 1")
def logits_are_not_normalised(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """The model gives scores, which softmax turns into probabilities, and not these themselves.

    Nor are they the logarithms of probabilities already.
    """
    logits = model(source, target_in, lengths)
    finite(logits, "the logits")
    total = logits.sum(-1)
    bound = gamma(2 * logits.shape[-1] + 8, unit_roundoff(logits.dtype))
    sometimes_differs(total, torch.ones_like(total), "logits do not sum to one", bound)
    powers = logits.double().exp().sum(-1)
    half = math.sqrt(unit_roundoff(logits.dtype))  # of the digits
    sometimes_differs(powers, torch.ones_like(powers), "nor do their exponentials", half)


def _called(source: Tensor, target_in: Tensor, lengths: Tensor | None) -> dict[str, Any]:
    return {"source": source, "target_in": target_in, "lengths": lengths}


@law(
    *BOTH,
    inputs=lambda component: token_inputs(component, "any", 3),
    formula="f depends on W  ⇒  ∂f/∂W ≠ 0",
    kind="robustness",
    applies=some_matrix,
)
def every_matrix_that_is_used_learns(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """Nothing on the way from the source to the logits is cut off from learning.

    A matrix that changes no logits, such as a bias on all scores, need not learn.
    """
    with model.learning():
        logits = model(source, target_in, lengths)
    found = model.parameter_gradients((logits * wave(logits)).sum())
    own = model.parameters()
    for name, grad in found.items():
        if grad.dim() < 2:
            continue
        used = bool(grad.any())
        if not used:
            given = _called(source, target_in, lengths)
            model.set_parameters({name: own[name].roll(1, -1) + 1})
            rounding = 2 * measured_bound(model, given)
            used = bool(((model(**given) - logits).abs() > rounding).any())
            model.set_parameters({name: own[name]})
        if used:
            sometimes_differs(grad, torch.zeros_like(grad), f"{name} learns")


# --- S2S-01: reading in order -------------------------------------------------------------------


@law(
    *BOTH,
    inputs=lambda component: token_inputs(component, "any", 2),
    formula="h_1 … h_t do not change with x_{t+1} … x_S, bit by bit",
    claim=S2S_01,
)
def states_do_not_see_later_tokens(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """Whatever comes later in the source, the states before it are what they were."""
    del target_in
    size = source.shape[1]
    t = int(source.sum()) % (size - 1) + 1  # this many tokens stay
    changed = torch.cat([source[:, :t], another(source[:, t:], vocabularies(model)[0])], 1)
    states, _ = model.encode(source, lengths)
    other, _ = model.encode(changed, lengths)
    real = real_tokens(source, lengths)
    shown = torch.ones_like(source, dtype=torch.bool) if real is None else real
    kept = shown[:, :t, None]
    identical(
        torch.where(kept, other[:, :t], 0.0),
        torch.where(kept, states[:, :t], 0.0),
        "the states before the first changed token",
    )
    sometimes_differs(
        torch.where(shown, other[..., 0], 0.0)[:, t],
        torch.where(shown, states[..., 0], 0.0)[:, t],
        "the state at a changed token changes",
    )


@law(
    *BOTH,
    inputs=lambda component: token_inputs(component, "none", 2),
    formula="h_t changes with x_1, for t = 1 … S",
    claim=S2S_01,
)
def the_first_token_reaches_every_state(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """A state remembers more than the token just read: the first one, too, however far back."""
    del target_in
    changed = source.clone()
    changed[:, 0] = another(source[:, 0], vocabularies(model)[0])
    (states, _), (other, _) = model.encode(source, lengths), model.encode(changed, lengths)
    finite(states, "the states")
    for t in range(min(source.shape[1], 6)):
        sometimes_differs(other[:, t], states[:, t], f"the first token reaches state {t + 1}")
    # In single precision, what is left of it after many tokens may be rounded away.
    if source.shape[1] > 4 and states.dtype == torch.float64:
        (states, _), (other, _) = (
            model.encode(torch.cat([x, *[source[:, 1:]] * 6], 1)) for x in (source, changed)
        )
        words = "the first token reaches the last of many states"
        sometimes_differs(other[:, -1], states[:, -1], words)


def _long_sources(component: str) -> st.SearchStrategy[dict[str, Any]]:
    """One source of many tokens, for a model of any narrow widths."""

    def inputs(case: tuple[int, tuple[int, int]]) -> dict[str, Any]:
        seed, widths = case
        sizes = zip(CONTRACT[component].constructor or (), (5, 4, *widths), strict=True)
        generator = torch.Generator().manual_seed(seed)
        source = torch.randint(5, (1, 20 + 7 * (seed % 9)), generator=generator)
        return {"source": source, "setup": Setup(dict(sizes), seed, 2.0)}

    widths = ((2, 3), (3, 4), (4, 2))
    return st.tuples(st.integers(0, 8), st.sampled_from(widths)).map(inputs)


@law(
    *BOTH,
    inputs=_long_sources,
    formula="h_t changes with x_t, for t = 1 … S, of 20 tokens to 76",
    claim=S2S_01,
)
def every_token_of_a_long_source_is_read(model: Subject, source: Tensor) -> None:
    """However many there were before, a state knows the token that was just read."""
    places = torch.arange(source.shape[1])
    changed = source.repeat(len(places), 1)  # (S, S): another token at each place in turn
    changed[places, places] = another(source[0], vocabularies(model)[0])
    (states, _), (other, _) = model.encode(source), model.encode(changed)
    moved = (other[places, places] - states[0]).abs().amax(-1)
    limit = 2 * float(measured_bound(model, {"source": changed}, "encode").amax())
    words = "each token changes the state after it"
    sometimes_differs(moved.amin(), torch.zeros_like(moved.amin()), words, limit)


@law(
    *BOTH,
    inputs=token_inputs,
    formula="h_1 … h_length of x among others and padded = those of x[:length] alone",
    claim=S2S_01,
)
def each_source_is_read_as_if_it_were_alone(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """A state knows what has been read, and not how much room or what company it was read in."""
    del target_in
    given = {"source": source, "lengths": lengths}
    states, _ = model.encode(**given)
    item = int(source.sum()) % len(source)
    real = source.shape[1] if lengths is None else int(lengths[item])
    alone, _ = model.encode(source[item : item + 1, :real])
    bound = 2 * measured_bound(model, given, "encode")
    close(alone[0], states[item, :real], bound, f"the states of source {item} alone")
    sometimes(real < source.shape[1], "there is padding")
    sometimes_differs(alone[0, 0], alone[0, -1], "states differ from token to token", bound)


class AnyCell(nn.Module):
    """A cell of which nothing is known: its new state is f(x, h), with an f for every entry.

    Args:
        name: what the functions are called.
        d_hidden: the number of entries of the state.
    """

    def __init__(self, name: str, d_hidden: int) -> None:
        super().__init__()
        self.functions = [sympy.Function(f"{name}_{k}", real=True) for k in range(d_hidden)]

    def initial(self, batch: int) -> symbolic.SymbolicTensor:
        """Give zeros."""
        return symbolic.tensor([[0] * len(self.functions)] * batch)

    def forward(
        self, x: symbolic.SymbolicTensor, state: symbolic.SymbolicTensor
    ) -> symbolic.SymbolicTensor:
        """Apply the functions to every item of the batch."""
        rows = zip(x.entries, state.entries, strict=True)
        return symbolic.tensor([[f(*x, *h) for f in self.functions] for x, h in rows])

    @staticmethod
    def hidden(state: symbolic.SymbolicTensor) -> symbolic.SymbolicTensor:
        """Give the state itself."""
        return state


def model_of_any_cells(
    cls: Callable[..., Any], *, vocabulary: int = 3, d_hidden: int = 2
) -> tuple[Any, dict[str, symbolic.SymbolicTensor]]:
    """Construct a model whose parameters are symbols and whose cells are any cells at all."""
    model, parameters = symbolic.symbolic_module(cls, vocabulary, vocabulary, 1, d_hidden)
    model.encoder.cell = AnyCell("read", d_hidden)
    model.cell = AnyCell("write", d_hidden)
    return model, parameters


SOURCES = torch.tensor([[0, 1, 2, 1, 0], [2, 2, 1, 0, 1]])
TARGETS = torch.tensor([[0, 1, 2], [0, 2, 2]])


def expected_states(
    model: Any,
    parameters: dict[str, symbolic.SymbolicTensor],
    tokens: list[int],
) -> list[list[sympy.Expr]]:
    """Write out h_t = f(x_t, h_{t−1}) from h_0 = 0."""
    table, state = parameters["encoder.embedding.weight"].entries, [sympy.Integer(0)] * 2
    states = []
    for token in tokens:
        state = [f(*table[token], *state) for f in model.encoder.cell.functions]
        states.append(state)
    return states


@proof(
    PLAIN,
    method="symbolic",
    formula="h_t = f(x_t, f(x_{t−1}, … f(x_1, 0))) for any cell f, so ∂h_t/∂x_s = 0 for s > t",
    claim=S2S_01,
)
def states_are_the_cells_own_in_reading_order(model: Callable[..., Any]) -> None:
    """With a cell of which nothing is known, each state is written out in the tokens up to it.

    A token that does not occur has a derivative of zero. The loop over the tokens knows no length;
    sources of one to five tokens are written out, with lengths and without.
    """
    module, parameters = model_of_any_cells(model)
    for size, lengths in ((1, None), (2, None), (5, None), (5, torch.tensor([5, 3]))):
        states, _ = module.encode(SOURCES[:, :size], lengths)
        for item, tokens in enumerate(SOURCES[:, :size].tolist()):
            real = size if lengths is None else int(lengths[item])
            exact = expected_states(module, parameters, tokens[:real])
            for t, state in enumerate(exact):
                assert states.entries[item, t].tolist() == state, (
                    f"state {t + 1} of {size} is {states.entries[item, t].tolist()}"
                )


@proof(
    PLAIN,
    method="structural",
    formula="∂h_t/∂x_s ≠ 0 for every s ≤ t ≤ 5, at some weights and so at almost all",
    claim=S2S_01,
)
def every_earlier_token_moves_a_state(model: Callable[..., Any]) -> None:
    """The derivative is an analytic function of the weights: not zero once, it is so almost always.

    With a row of the embedding for every position, the gradient by a row is that by a token.
    """
    torch.manual_seed(0)
    module = model(5, 2, 2, 3).double()
    table = dict(module.named_parameters())["encoder.embedding.weight"]
    states, _ = module.encode(torch.arange(5)[None])
    for t in range(5):
        (grad,) = torch.autograd.grad(states[0, t].sum(), table, retain_graph=True)
        moved = [bool(row.abs().max() > 0) for row in grad]
        assert moved == [s <= t for s in range(5)], f"state {t + 1} depends on tokens {moved}"


# --- S2S-02: one vector of a fixed size ---------------------------------------------------------


@law(
    *BOTH,
    inputs=lambda component: token_inputs(component, "some", 2),
    formula="c and the logits do not change with x_t for t > length, bit by bit",
    claim=S2S_02,
)
def what_stands_in_the_padding_makes_no_difference(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor
) -> None:
    """The last state is that after the last real token; padding leaves no trace in it."""
    real = torch.arange(source.shape[1]) < lengths[:, None]
    others = another(source, vocabularies(model)[0])
    repadded = torch.where(real, source, others)
    (_, state), (_, other) = model.encode(source, lengths), model.encode(repadded, lengths)
    same_state(other, state, "the state")
    logits = model(source, target_in, lengths)
    identical(model(repadded, target_in, lengths), logits, "the logits")
    last = torch.arange(source.shape[1]) == lengths[:, None] - 1
    changed = model(torch.where(last, others, source), target_in, lengths)
    sometimes_differs(changed, logits, "the last real token changes the logits")


@law(
    *BOTH,
    inputs=token_inputs,
    formula="f(x padded to any width, length) = f(x[:length])",
    claim=S2S_02,
)
def the_width_of_the_padding_makes_no_difference(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """Padded further, or cut to its own length and read alone, a source gives the same logits."""
    logits = model(source, target_in, lengths)
    bound = 2 * measured_bound(model, _called(source, target_in, lengths))
    batch, size = source.shape
    given = torch.full((batch,), size) if lengths is None else lengths
    padding = torch.cat([source, another(source, vocabularies(model)[0])], 1)[:, : size + 2]
    padding = torch.cat([padding, source[:, :1]], 1)
    wider = model(padding, target_in, given)
    close(wider, logits, bound, "the logits with more padding")
    item = int(given.argmin())
    alone = model(source[item : item + 1, : int(given[item])], target_in[item : item + 1])
    close(alone, logits[item : item + 1], bound, f"the logits of item {item} without padding")
    longer = model(padding, target_in, given + 1)
    sometimes_differs(longer, logits, "one more real token changes the logits", bound)


@law(
    PLAIN,
    inputs=token_inputs,
    formula="the size of c does not depend on S",
    claim=(S2S_02, S2S_07.part("no access")),
)
def the_summary_has_one_size_for_every_length(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """One token or many, the state that the decoder gets holds as many numbers."""
    del target_in, lengths
    doubled = torch.cat([source, source], 1)
    states = [model.encode(x)[1] for x in (source[:, :1], source, doubled)]
    sizes = [torch.tensor([t[0].numel() for _, t in tensors_in(state)]) for state in states]
    for size in sizes:
        identical(size.sum(), sizes[0].sum(), "how many numbers the state of one item holds")
    one, other = (numbers_in(state) for state in states[1:])
    finite(other, "the state after twice the source")
    sometimes_differs(one, other, "a longer source gives another state")


@proof(
    PLAIN,
    method="symbolic",
    formula="for any cell f: c = h_length = f(x_length, … f(x_1, 0)), whatever comes after",
    claim=S2S_02,
)
def the_summary_is_the_state_after_the_last_real_token(model: Callable[..., Any]) -> None:
    """With a cell of which nothing is known, padding does not occur in the state at all."""
    module, parameters = model_of_any_cells(model)
    cases: list[tuple[int, Tensor | None]] = [(size, None) for size in (1, 2, 5)]
    cases += [(5, torch.tensor(pair)) for pair in ((5, 1), (3, 4), (2, 5))]
    for size, lengths in cases:
        _, state = module.encode(SOURCES[:, :size], lengths)
        for item, tokens in enumerate(SOURCES[:, :size].tolist()):
            real = size if lengths is None else int(lengths[item])
            exact = expected_states(module, parameters, tokens[:real])[-1]
            assert state.entries[item].tolist() == exact, (
                f"the state after {real} tokens of {size} is {state.entries[item].tolist()}"
            )


# --- S2S-03: the vector starts the decoder ------------------------------------------------------


@law(
    PLAIN,
    inputs=token_inputs,
    formula="logits(y, c_π) = logits(y, c)_π for every permutation π of the batch",
    claim=S2S_03,
)
def whoever_gets_the_state_gets_the_output(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """Items that swap their states swap their outputs: nothing else tells one from the other."""
    assume(len(source) >= 2)
    _, state = model.encode(source, lengths)
    token = target_in[:1, 0].expand(len(source)).contiguous()
    swapped = mapped(state, lambda part: part.roll(1, 0))
    logits, after = model.step(token, state)
    other, _ = model.step(token, swapped)
    bound = 2 * measured_bound(model, {"token": token, "state": state}, "step")
    close(other, logits.roll(1, 0), bound, "the logits from swapped states")
    sometimes_differs(other, logits, "swapped states change the logits", bound)
    again, _ = model.step(token, after)
    sometimes_differs(again, logits, "the state after a step gives other logits", bound)


@law(
    *BOTH,
    inputs=token_inputs,
    formula="logits_1 changes with c",
    claim=S2S_03,
)
def the_first_logits_depend_on_the_state(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """The decoder does start from the state that it is given: from another, it says another."""
    step, state = decoder(model, source, lengths)
    logits, _ = step(target_in[:, 0], state)
    moved, _ = step(target_in[:, 0], elsewhere(state))
    sometimes_differs(moved, logits, "another state gives other first logits")


@law(
    *BOTH,
    inputs=token_inputs,
    formula="logits_1 changes with x_1 … x_T",
    claim=S2S_03,
)
def the_source_reaches_the_first_logits(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """Another source gives other first logits; in the plain model, by another state."""
    other = another(source, vocabularies(model)[0])
    if model.spec.name == PLAIN:  # with attention, the decoder may start from anything
        (_, state), (_, changed) = model.encode(source, lengths), model.encode(other, lengths)
        moved = numbers_in(changed)
        sometimes_differs(moved, numbers_in(state), "another source gives another state")
    logits = model(source, target_in, lengths)
    moved = model(other, target_in, lengths)
    sometimes_differs(moved[:, 0], logits[:, 0], "another source gives other first logits")


@proof(
    PLAIN,
    method="symbolic",
    formula="logits_t = W s_t + b with s_t = g(y_{t−1}, s_{t−1}) and s_0 = h_T, for any cells",
    claim=S2S_03,
)
def the_decoder_starts_from_the_last_state(model: Callable[..., Any]) -> None:
    """With cells of which nothing is known, the first logits are written out in the last state."""
    module, parameters = model_of_any_cells(model)
    logits = module(SOURCES, TARGETS)
    table = parameters["embedding.weight"].entries
    weight, bias = parameters["output.weight"].entries, parameters["output.bias"].entries
    for item, tokens in enumerate(TARGETS.tolist()):
        state = expected_states(module, parameters, SOURCES[item].tolist())[-1]
        for t, token in enumerate(tokens):
            state = [g(*table[token], *state) for g in module.cell.functions]
            exact = symbolic.tensor(list(weight @ state + bias))
            found = symbolic.tensor(list(logits.entries[item, t]))
            assert symbolic.equal(found, exact), f"the logits at {t} are {found}"


# --- S2S-04, S2S-05: word by word, to any length ------------------------------------------------


@law(
    *BOTH,
    inputs=string_inputs,
    formula="Σ over y in V^m of ∏_t softmax(logits_t)[y_t] = 1",
    claim=S2S_04,
)
def the_probabilities_of_all_strings_sum_to_one(
    model: Subject, source: Tensor, length: int
) -> None:
    """Every target of some length is tried: together they have probability one.

    Logits that had seen the word they are about would give each string too much.
    """
    vocabulary = vocabularies(model)[1]
    strings = torch.tensor(list(product(range(vocabulary), repeat=length)))
    first = torch.zeros(len(strings), 1, dtype=torch.int64)
    target_in = torch.cat([first, strings[:, :-1]], 1)
    sources = source.expand(len(strings), -1).contiguous()
    logits = model(sources, target_in)
    log_p = torch.log_softmax(logits.double(), -1).gather(-1, strings[..., None])[..., 0].sum(-1)
    error = 4 * length * float(measured_bound(model, _called(sources, target_in, None)))
    u = unit_roundoff(torch.float64)
    rounding = gamma(len(strings) + length * (vocabulary + 8), u) * (1 + float(log_p.abs().max()))
    total = log_p.exp().sum()
    close(
        total,
        torch.ones_like(total),
        math.expm1(min(error, 700.0)) + rounding,
        "the sum over all strings",
    )
    sometimes_differs(log_p, log_p.mean().expand_as(log_p), "some strings are likelier", error)


@law(
    *BOTH,
    inputs=token_inputs,
    formula="logits in R^(m × V) and tokens in V^m, for every T and m",
    claim=S2S_05.part("any lengths"),
)
def any_length_in_gives_any_length_out(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """Source and target need not be as long as each other: each may be one token or many."""
    size, length = source.shape[1], target_in.shape[1]
    vocabulary = vocabularies(model)[1]
    longer = torch.cat([target_in, another(target_in, vocabulary), target_in[:, :1]], 1)
    for cut in (1, length, 2 * length + 1):
        logits = model(source, longer[:, :cut], lengths)
        finite(torch.log_softmax(logits, -1), f"the log-probabilities of {cut} tokens")
    for wanted in (1, size, size + 2):
        tokens = model.generate(source, int(target_in[0, 0]), wanted, lengths)
        inside = (tokens >= 0) & (tokens < vocabulary)
        identical(inside, torch.ones_like(inside), "whether tokens are of the vocabulary")
    sometimes_differs(logits[:, -1], logits[:, 0], "the last logits are not the first")


# --- S2S-06, S2S-07: what is lost, and what is out of reach -------------------------------------


@proof(
    PLAIN,
    method="exhaustive",
    formula="2^17 sources, states of one float16: two sources share a state, and all their outputs",
    claim=S2S_06.part("finite states"),
)
def more_sources_than_states_collide(model: Callable[..., Any]) -> None:
    """Every source of 17 bits is read into a state of 16: two of them leave the same one.

    That is the pigeonhole principle, which holds for any map into fewer states than sources: here
    for V = 2, T = 17, d = 1 and b = 16. Sources that share a state share what is decoded from it.
    """
    torch.manual_seed(0)
    module = model(2, 3, 1, 1).half()
    bits = 17
    sources = (torch.arange(2**bits)[:, None] >> torch.arange(bits)) & 1
    with torch.no_grad():
        _, state = module.encode(sources)
        numbers, count = 0, 1
        for _, part in tensors_in(state):
            numbers += part[0].numel()
            count *= len(torch.unique(part))
        assert 16 * numbers < bits, f"a state holds {numbers} numbers of 16 bits"
        assert 2 < count < len(sources), f"{count} states for {len(sources)} sources"
        values, which = torch.unique(state[:, 0], return_inverse=True)
        crowded = int(torch.bincount(which, minlength=len(values)).argmax())
        pair = torch.nonzero(which == crowded)[:2, 0]
        one, other = sources[pair[:1]], sources[pair[1:]]
        assert bool((one != other).any())
        targets = torch.tensor([[0, 1, 2, 0]])
        same = torch.equal(module(one, targets), module(other, targets))
        assert same, f"sources {one.tolist()} and {other.tolist()} share a state"


class _Digits(nn.Module):
    """A cell that holds all it has read in one exact number: h′ = (h + x) / V."""

    def __init__(self, base: int) -> None:
        super().__init__()
        self.base = base

    def initial(self, batch: int) -> symbolic.SymbolicTensor:
        """Give zeros."""
        return symbolic.tensor([[0]] * batch)

    def forward(
        self, x: symbolic.SymbolicTensor, state: symbolic.SymbolicTensor
    ) -> symbolic.SymbolicTensor:
        """Put the token before the digits."""
        return (state + x) / self.base

    @staticmethod
    def hidden(state: symbolic.SymbolicTensor) -> symbolic.SymbolicTensor:
        """Give the state itself."""
        return state


def _reading_digits(model: Callable[..., Any], base: int) -> Any:
    """Make of the model one that reads into an exact number and writes its digits."""

    class Reading(model):  # type: ignore[misc, valid-type]
        def step(self, token: Tensor, state: Any) -> tuple[Tensor, Any]:  # noqa: ARG002
            shifted = [row[0] * base for row in state.entries]
            digits = [int(sympy.floor(value)) for value in shifted]
            rest = [[value - digit] for value, digit in zip(shifted, digits, strict=True)]
            return torch.eye(base)[digits], symbolic.tensor(rest)

    module = Reading(base, base, 1, 1)
    del module.encoder.embedding.weight
    module.encoder.embedding.weight = symbolic.tensor([[token] for token in range(base)])
    module.encoder.cell = _Digits(base)
    return module


@proof(
    PLAIN,
    method="exhaustive",
    formula="h = Σ_t x_t V^−(T+1−t) is one number, and 60 tokens are read off it again",
    against=(S2S_06.part("exact states"), S2S_07.part("no fine use")),
)
def one_exact_number_holds_sixty_tokens(model: Callable[..., Any]) -> None:
    """The model's own loops read 60 tokens into one fraction and write them out, the last first.

    Each token is a digit in base V. Nothing is lost, and each token can be told from the state.
    """
    generator = torch.Generator().manual_seed(0)
    for base, size in ((2, 60), (3, 60), (5, 1)):
        module = _reading_digits(model, base)
        source = torch.randint(base, (2, size), generator=generator)
        tokens = module.generate(source, 0, size)
        assert tokens.tolist() == source.flip(1).tolist(), f"{size} tokens in base {base}"


@proof(
    PLAIN,
    method="symbolic",
    formula="given h_T = c, no logits contain x_1 … x_T or h_1 … h_{T−1}",
    claim=S2S_07.part("no access"),
)
def the_logits_contain_the_source_in_the_last_state_alone(model: Callable[..., Any]) -> None:
    """With any cells, put one symbol for each entry of the last state: the source has gone."""
    module, parameters = model_of_any_cells(model)
    lengths = torch.tensor([5, 3])
    logits = module(SOURCES, TARGETS, lengths)
    _, state = module.encode(SOURCES, lengths)
    read = set(parameters["encoder.embedding.weight"].entries.flatten())
    for item in range(len(SOURCES)):
        known = {value: sympy.Symbol(f"c_{k}") for k, value in enumerate(state.entries[item])}
        for entry in logits.entries[item].flatten():
            assert entry.free_symbols & read, "the source does not reach the logits"
            left = entry.xreplace(known)
            assert not left.free_symbols & read, f"the logits contain {left}"


# --- What attention adds ------------------------------------------------------------------------


def _attended(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> dict[str, Any]:
    """Give the arguments of the first step over a source."""
    memory, state = model.encode(source, lengths)
    mask = real_tokens(source, lengths)
    token = another(target_in[:, 0], vocabularies(model)[1])
    return {"token": token, "state": state, "memory": memory, "memory_mask": mask}


def _largest_score(model: Subject, *tensors: Any) -> float:
    """Bound the size of any score between states of these sizes; nobody sees how it is made."""
    assert model.setup is not None
    size = (model.setup.arguments["d_hidden"] + 1) * max(1.0, model.longest_row())
    for value in tensors:
        size *= 1 + float(numbers_in(value).abs().max())
    return size * (model.setup.arguments["d_hidden"] + 1)


@law(
    ATTENDING,
    inputs=token_inputs,
    formula="Σ_j α_tj = 1, α_tj ≥ 0, and α_tj = 0 where position j is padding",
)
def weights_are_a_distribution_over_real_tokens(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """What the decoder looks at are shares of the whole, and padding gets none of it."""
    given = _attended(model, source, target_in, lengths)
    _, after, weights = model.step(**given)
    score = _largest_score(model, (given["state"], after), given["memory"])
    u, n = unit_roundoff(weights.dtype), weights.shape[-1]
    bound = gamma(n + 8, u) + math.expm1(min(4 * u * (score + math.log(n)), 700.0))
    total = weights.sum(-1)
    close(total, torch.ones_like(total), bound, "the sum of the weights")
    identical(weights < 0, torch.zeros_like(weights, dtype=torch.bool), "which are below zero")
    if given["memory_mask"] is not None:
        hidden = weights.masked_fill(given["memory_mask"], 0.0)
        identical(hidden, torch.zeros_like(hidden), "the weights of padding")
        sometimes(not bool(given["memory_mask"].all()), "there is padding")
    some = (weights > 0).to(weights)
    even = some / some.sum(-1, keepdim=True)
    sometimes_differs(weights, even, "some tokens weigh more than others", bound)


@law(
    ATTENDING,
    inputs=lambda component: token_inputs(component, "some", 2),
    formula="logits, state and α do not change with h_j where position j is masked, bit by bit",
)
def padding_in_the_memory_is_out_of_reach(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor
) -> None:
    """Whatever stands in the memory where the mask forbids to look, the decoder does not see it.

    Padding behind the last real token is hidden, and so is what stands before the first.
    """
    given = _attended(model, source, target_in, lengths)
    for mask in (given["memory_mask"], given["memory_mask"].roll(1, 1)):
        given["memory_mask"] = mask
        logits, state, weights = model.step(**given)
        hidden = ~mask[..., None]
        changed = torch.where(hidden, 30.0 - given["memory"], given["memory"])
        other, other_state, other_weights = model.step(**{**given, "memory": changed})
        identical(other, logits, "the logits")
        same_state(other_state, state, "the state")
        identical(other_weights, weights, "the weights")
        shown = torch.where(hidden, given["memory"], given["memory"] - 0.5)
        moved, _, _ = model.step(**{**given, "memory": shown})
        sometimes_differs(moved, logits, "real positions change the logits")


@law(
    ATTENDING,
    inputs=lambda component: token_inputs(component, "any", 2),
    formula="step(y, s, h_1 … h_S) = step(y, s, c) with one state c = Σ_j α_j h_j to look at",
)
def the_decoder_gets_the_mean_by_its_weights(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """The weights that come out are those by which the encoder's states are mixed.

    So a decoder that finds nothing but their mean by these weights says the same.
    """
    given = _attended(model, source, target_in, lengths)
    logits, _, weights = model.step(**given)
    bound = measured_bound(model, given, "step")
    one = {"memory": weights[:, None] @ given["memory"], "memory_mask": None}
    other, _, _ = model.step(**{**given, **one})
    bound = 2 * (bound + measured_bound(model, {**given, **one}, "step"))
    close(other, logits, bound, "the logits over the mean of the states")
    plain = {"memory": given["memory"].mean(1, keepdim=True), "memory_mask": None}
    even, _, _ = model.step(**{**given, **plain})
    sometimes_differs(even, logits, "the mean by equal weights gives other logits", bound)


@law(
    ATTENDING,
    inputs=lambda component: token_inputs(component, "none", 2),
    formula="α and logits change with h_j, for every j, at the same state",
)
def the_decoder_sees_every_state_of_the_encoder(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """Unlike the plain model's, this decoder looks past the last state, and sees all of them.

    The source is said several times over, since what sees a few states need not see many.
    """
    times = 3 if source.shape[1] < 4 else 12
    given = _attended(model, source.repeat(1, times), target_in, lengths)
    logits, _, weights = model.step(**given)
    size = given["memory"].shape[1]
    of = "the encoder, of many," if size > 8 else "the encoder"
    of = "the encoder, of more than forty," if size > 40 else of
    for name, j in (("first", 0), ("middle", size // 2), ("last", size - 1)):
        memory = given["memory"].clone()
        memory[:, j] = 0.5 - memory[:, j]
        moved, _, other = model.step(**{**given, "memory": memory})
        sometimes_differs(moved, logits, f"the {name} state of {of} changes the logits")
        sometimes_differs(other, weights, f"the {name} state of {of} changes the weights")


@law(
    ATTENDING,
    inputs=lambda component: token_inputs(component, "none", 2),
    formula="α_t changes with s, at the same memory, in every step",
)
def the_weights_depend_on_the_decoders_state(
    model: Subject, source: Tensor, target_in: Tensor, lengths: Tensor | None
) -> None:
    """Where the decoder looks depends on what it is about to say: on its state, step by step."""
    given = _attended(model, source, target_in, lengths)
    _, state, weights = model.step(**given)
    _, _, second = model.step(**{**given, "state": state})
    sometimes_differs(second, weights, "the decoder looks elsewhere in its second step")
    _, _, other = model.step(**{**given, "state": elsewhere(state)})
    sometimes_differs(other, second, "another state looks elsewhere in the second step")
