"""Section 5 of the notes, Transformer: the feed-forward network, one token at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy
import torch
from hypothesis import strategies as st
from torch import Tensor

from attest import symbolic
from attest.checks import at_most, close, identical, sometimes, sometimes_differs
from attest.claims import Claim, Verdict
from attest.differentiation import gradients, leaf
from attest.laws import law, proof
from attest.strategies import feed_forward_inputs, fill, seeds
from attest.subject import Setup, Subject
from properties.attention import some_matrix
from properties.bounds import measured_bound

FEED_FORWARD = "FeedForward"

TRF_02 = Claim(
    id="TRF-02",
    section="5 Transformer",
    quote="Position-wise Feed-Forward Network를 층층히",
    statement="The feed-forward network transforms each token by itself, and all of them alike.",
    formal="FFN(x)_t = f(x_t), so ∂FFN(x)_t / ∂x_s = 0 for s ≠ t",
    verdict=Verdict.PROVED,
    references=("Vaswani et al. 2017, equation 2",),
)


# --- TRF-02: position-wise ----------------------------------------------------------------------


@law(
    FEED_FORWARD,
    inputs=feed_forward_inputs(2),
    formula="x′_t = x_t ⇒ f(x′)_t = f(x)_t, bit by bit",
    claim=TRF_02,
)
def changing_a_token_changes_no_other(feed_forward: Subject, x: Tensor) -> None:
    """A token's output is the same whatever the others are, and another one if it changes."""
    y = feed_forward(x)
    for changed in (0, x.shape[1] - 1):
        other = x.clone()
        other[:, changed] = 2 - 3 * other[:, changed].flip(-1)
        found = feed_forward(other)
        rest = torch.arange(x.shape[1]) != changed
        identical(found[:, rest], y[:, rest], f"the outputs beside token {changed}")
        for entry, which in ((0, "first"), (-1, "last")):
            own = found[:, changed, entry], y[:, changed, entry]
            sometimes_differs(*own, f"the {which} entry of the token's own output changes")


@law(
    FEED_FORWARD,
    inputs=feed_forward_inputs(2),
    formula="∂f(x)_t / ∂x_s = 0 for s ≠ t, and not for s = t",
    claim=TRF_02,
)
def a_token_has_no_gradient_by_another(feed_forward: Subject, x: Tensor) -> None:
    """Nothing that is learned from one token's output reaches another token."""
    variable, t = leaf(x), x.shape[1] // 2
    y = feed_forward(variable)
    probe = torch.zeros_like(y)
    probe[:, t] = 1 + torch.arange(y.shape[-1]).to(y)
    (found,) = gradients(y, probe, variable)
    rest = torch.arange(x.shape[1]) != t
    others = found[:, rest]
    identical(others, torch.zeros_like(others), "the gradient by the other tokens")
    for entry, which in ((0, "first"), (-1, "last")):
        own = found[:, t, entry]
        what = f"the gradient by the {which} entry of the token itself is not zero"
        sometimes_differs(own, torch.zeros_like(own), what)


@law(
    FEED_FORWARD,
    inputs=feed_forward_inputs(2),
    formula="f(P x) = P f(x)",
    claim=TRF_02,
)
def permuting_the_tokens_permutes_the_outputs(feed_forward: Subject, x: Tensor) -> None:
    """The network does not know which token is which: no place has a map of its own."""
    length = x.shape[1]
    order = torch.cat([torch.arange(1, length), torch.tensor([0])])  # not its own inverse
    y, bound = feed_forward(x), measured_bound(feed_forward, {"x": x})
    close(feed_forward(x[:, order]), y[:, order], 2 * bound, "the outputs for permuted tokens")
    sometimes_differs(y[:, order], y, "tokens have different outputs", 2 * bound)


@law(
    FEED_FORWARD,
    inputs=feed_forward_inputs(2),
    formula="f(x[:, a:b]) = f(x)[:, a:b]",
    claim=TRF_02,
)
def a_part_of_the_tokens_gives_a_part_of_the_outputs(feed_forward: Subject, x: Tensor) -> None:
    """Leaving tokens out leaves out their outputs, and nothing else happens."""
    length = x.shape[1]
    y, bound = feed_forward(x), measured_bound(feed_forward, {"x": x})
    for part in (slice(0, length // 2 or 1), slice(length // 2, length), slice(0, 1)):
        what = f"the outputs for tokens {part.start} to {part.stop - 1} alone"
        close(feed_forward(x[:, part]), y[:, part], 2 * bound, what)
    sometimes_differs(y[:, :1], y[:, -1:], "tokens have different outputs", 2 * bound)


@proof(
    FEED_FORWARD,
    method="symbolic",
    formula="f(x)_t is an expression in x_t, the same for every t; symbols in x_s do not occur",
    claim=TRF_02,
)
def an_output_is_an_expression_in_its_own_token(feed_forward: Callable[..., Any]) -> None:
    """Run on symbols, an output is made of its own token's, and replacing them gives the others'.

    Entries and weights are any real numbers, at three tokens of width 2; no size enters the code.
    """
    module, _ = symbolic.symbolic_module(feed_forward, 2, 3)
    x = symbolic.symbols("x", 1, 3, 2)
    y = module(x).entries[0]
    inputs = x.entries[0]
    every = set(inputs.flatten())
    for t in range(len(inputs)):
        used = set().union(*(entry.free_symbols for entry in y[t])) & every
        assert used == set(inputs[t]), f"output {t} is made of {sorted(map(str, used))}"
        renamed = dict(zip(inputs[0], inputs[t], strict=True))
        found = [entry.xreplace(renamed) for entry in y[0]]
        assert symbolic.equal(symbolic.tensor(found), symbolic.tensor(list(y[t]))), f"output {t}"


# --- What the layers between are for ------------------------------------------------------------


@law(
    FEED_FORWARD,
    inputs=feed_forward_inputs(),
    formula="f((x + x′) / 2) ≠ (f(x) + f(x′)) / 2, for some x and x′",
)
def it_is_not_affine(feed_forward: Subject, x: Tensor) -> None:
    """Between the two layers something bends; otherwise they might as well be one."""
    other = 1 - 2 * x.flip(-1)
    middle = (x + other) / 2
    ends = [{"x": x}, {"x": other}, {"x": middle}]
    y, z, between = (feed_forward(**arguments) for arguments in ends)
    bound = sum(measured_bound(feed_forward, arguments) for arguments in ends)
    chord = (y + z) / 2
    sometimes_differs(between, chord, "the output in the middle is off the chord", 2 * bound)


@law(
    FEED_FORWARD,
    inputs=feed_forward_inputs(),
    formula="∂f/∂W ≠ 0 for every weight matrix W",
    applies=some_matrix,
)
def every_weight_matrix_is_used(feed_forward: Subject, x: Tensor) -> None:
    """Every matrix takes part in the output, and can be learned."""
    with feed_forward.learning():
        y = feed_forward(x)
        probe = torch.cos(1.0 + torch.arange(y.numel())).view(y.shape).to(y)
        found = feed_forward.parameter_gradients((y * probe).sum())
    for name, grad in found.items():
        if grad.dim() >= 2:
            sometimes_differs(grad, torch.zeros_like(grad), f"the gradient by {name} is not zero")


@st.composite
def _narrow(draw: Any) -> dict[str, Any]:
    """Inputs of a network that is narrower inside than outside, with more tokens than that."""
    width, hidden = draw(st.sampled_from(((4, 1), (5, 2), (6, 3), (7, 2), (9, 4), (21, 5))))
    seed = draw(seeds())
    x = fill(torch.Generator().manual_seed(seed), "normal", 2, 7, width)
    return {"x": x, "setup": Setup({"d_model": width, "d_hidden": hidden}, seed)}


@law(
    FEED_FORWARD,
    inputs=_narrow(),
    formula="d_hidden / 2 < rank of the outputs' differences ≤ d_hidden",
)
def outputs_span_no_more_than_the_hidden_width(feed_forward: Subject, x: Tensor) -> None:
    """All that reaches the output went through d_hidden numbers, and is spanned by as many.

    Nor is it a half of them: a gated network may spend a third of its hidden width on the gates,
    and still uses more than half.
    """
    assert feed_forward.setup is not None
    hidden = feed_forward.setup.arguments["d_hidden"]
    y = feed_forward(x).detach().double().flatten(0, 1)
    values = torch.linalg.svdvals(y - y[:1])
    # A singular value moves no further than the matrix does, in Frobenius norm.
    bound = 4 * measured_bound(feed_forward, {"x": x}) * y.numel() ** 0.5
    beyond = values[hidden:]
    at_most(beyond, torch.zeros_like(beyond), bound, f"singular values beyond the first {hidden}")
    sometimes(bool(values[0] > bound), "tokens have different outputs")
    if hidden >= 3:
        wide = bool(values[hidden // 2] > bound)
        sometimes(wide, "outputs span more than half of the hidden width")


@proof(
    FEED_FORWARD,
    method="symbolic",
    formula="b_1 = b_2 = 0, a > 0 ⇒ f(a x) = a f(x); f(−x) ≠ −f(x)",
)
def without_biases_a_positive_factor_passes_through(feed_forward: Callable[..., Any]) -> None:
    """A ReLU bends at zero alone, so that without biases a longer token is a longer output.

    Entries, weights and the factor are symbols. A negative factor does not pass, or the network
    would be linear.
    """
    width, hidden = 2, 2
    module, _ = symbolic.symbolic_module(
        feed_forward,
        width,
        hidden,
        values={
            "inner.bias": symbolic.tensor([0] * hidden),
            "outer.bias": symbolic.tensor([0] * width),
        },
    )
    x, factor = symbolic.symbols("x", 1, 1, width), sympy.Symbol("a", positive=True)
    times = symbolic.tensor([[[factor] * width]])
    assert symbolic.equal(module(x * times), module(x) * times), "a positive factor"
    assert not symbolic.equal(module(-x), -module(x)), "a negative factor"
