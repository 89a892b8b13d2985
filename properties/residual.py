"""Section 5 of the notes, Transformer: what a sublayer says is added to what it was told."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, combinations
from typing import Any

import sympy
import torch
from hypothesis import assume
from torch import Tensor, nn

from attest import symbolic
from attest.checks import DoesNotApply, at_most, close, sometimes_differs
from attest.claims import Claim, Verdict
from attest.differentiation import gradients, leaf
from attest.laws import law, proof
from attest.strategies import layer_inputs
from attest.subject import Subject
from attest.tolerances import gamma, layer_norm_errors, unit_roundoff
from properties.bounds import LAYER_NORM_EPS
from properties.families import STACKS
from properties.layer_norm import normalised

RES_01 = Claim(
    id="RES-01",
    section="5 Transformer",
    quote="gradient 흐름을 안정화하는 핵심 기술이다",
    statement="Residual connections stabilise the flow of gradients.",
    formal="y = x + F(x) ⇒ J = I + J_F; ‖J_F‖ ≤ ε < 1 in all L of them ⇒ the singular values of "
    "the stack's J lie in [(1 − ε)^L, (1 + ε)^L]; its expansion has 2^L paths",
    verdict=Verdict.MEASURED,
    conditions=(
        "for post-norm the Jacobian of the normalisation stands before I + J_F",
        "the norm of the whole gradient hardly tells: with layer normalisation it survives without "
        "residuals, and what vanishes is the gradient of differences between tokens",
    ),
    references=("Veit, Wilber and Belongie 2016",),
    parts=(
        (
            "paths",
            "A sublayer adds to its input, so that gradients reach every depth unchanged.",
            Verdict.PROVED,
        ),
        (
            "in depth",
            "Without residuals the gradient of differences between tokens vanishes with depth.",
            Verdict.MEASURED,
        ),
    ),
)

RES_02 = Claim(
    id="RES-02",
    section="5 Transformer",
    quote="Transformer는 매우 깊기 때문에 필수적이다",
    statement="Residual connections are essential because a Transformer is very deep.",
    formal="residuals are needed at depth L only where L is large",
    verdict=Verdict.REFUTED,
    conditions=(
        "one decoder layer needs them: without, and with one token of memory, no output depends on "
        "the prefix",
        "deep Transformers without residuals have been trained, at a price: they are not essential",
        "they slow the collapse of tokens onto each other, and do not prevent it",
    ),
    references=(
        "Vaswani et al. 2017, section 3.1: six layers",
        "He et al. 2023",
        "Noci et al. 2022",
    ),
    parts=(
        ("because deep", "What makes residuals necessary is depth.", Verdict.REFUTED),
        (
            "collapse",
            "Where they are, tokens do not collapse onto each other, however deep.",
            Verdict.REFUTED,
        ),
    ),
)


# --- A silent sublayer --------------------------------------------------------------------------

# Nothing beside a number of ordinary size, and far from underflow when it is squared.
NEARLY_NOTHING = 2.0**-300


def _as_made(component: str) -> Any:
    """Inputs of a layer whose parameters are as the constructor left them."""
    return layer_inputs(component).map(
        lambda drawn: {**drawn, "setup": replace(drawn["setup"], matrices={})}
    )


def _is_vector(parameter: Tensor) -> bool:
    """Say whether it is a vector, however many dimensions it is stored in."""
    return parameter.numel() == max(parameter.shape, default=1)


def can_be_told_apart(parameters: Mapping[str, Tensor]) -> None:
    """Make sure that weights can be told from the gains of normalisations.

    Raises:
        DoesNotApply: they may be either, or nobody knows how to silence them.
    """
    if all(_is_vector(p) for p in parameters.values()):
        raise DoesNotApply("all parameters are vectors, and none is known to be a weight matrix")
    for p in parameters.values():
        ones = p == 1
        if p.numel() > 1 and bool((p == p.flatten()[0]).all()):
            length = p.dim() > 1 and p.shape[-1] == 1
            if (length and bool(ones.all())) or not bool(ones.all() | (p == 0).all()):
                raise DoesNotApply("a vector of equal entries may be gains or something else")
        if not _is_vector(p) and bool(ones.all(0).any() or ones.all(-1).any()):
            raise DoesNotApply("a row of ones in a matrix may be gains or weights")


def _redrawn(layer: Subject, before: Mapping[str, Tensor], *, zeros: bool) -> dict[str, Tensor]:
    """Give random weight matrices, in place of those that the constructor left at zero, too or not.

    A matrix of zeros may be the biases of normalisations, stacked; vectors stay as they are.
    """
    assert layer.setup is not None
    drawn = layer.redrawn(replace(layer.setup, matrices=None))
    matrices = {name: value for name, value in drawn.items() if not _is_vector(value)}
    return {name: value for name, value in matrices.items() if zeros or bool(before[name].any())}


def silenced(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give parameters with which every sublayer says nearly nothing.

    All are made tiny but a normalisation's gain: a vector of ones.
    """
    return {
        name: value * NEARLY_NOTHING
        for name, value in parameters.items()
        if not bool((value == 1).all())
    }


@law(
    *STACKS,
    inputs=_as_made,
    formula="all F = 0  ⇒  f(x) = x and ∂f/∂x = I for pre-norm; f(x) = (x − μ)/σ for post-norm, "
    "up to ε, and then every f(x) has mean 0 and variance ≤ 1",
    claim=RES_01.part("paths"),
    dtypes=("float64",),
)
def silent_sublayers_hand_the_tokens_on(layer: Subject, arguments: dict[str, Any]) -> None:
    """Where no sublayer says anything, tokens come out as they went in, or normalised.

    A pre-norm layer is then the identity. A post-norm layer is a normalisation, whatever its
    sublayers say: one that adds to normalised tokens and leaves the sum as it is would be neither.
    A residual that is missing loses the tokens altogether. (A normalisation that leaves the mean
    where it is may pass, and one whose variance is a sample's.)
    """
    x, before = leaf(arguments["x"]), layer.parameters()
    can_be_told_apart(before)
    wide = x.detach().double()
    scaled = wide / wide.square().mean(-1, keepdim=True).sqrt()
    variance = wide.var(-1, correction=0, keepdim=True)
    spread_out = variance[..., 0] >= 1e-3  # ε hides what becomes of a token of equal entries
    assume(bool(spread_out.any()))
    centred = normalised(x, 0.0)
    sample = centred * math.sqrt(1 - 1 / x.shape[-1])  # by a variance that divides by D − 1
    candidates = [tokens[spread_out] for tokens in (wide, scaled, centred, sample)]
    pairs = [*combinations(candidates, 2)][:-1]
    assume(all(float((a - b).abs().max()) > 0.1 for a, b in pairs))
    layer.set_parameters(silenced(before))
    y = layer(**{**arguments, "x": x})
    seen = y.detach()[spread_out]
    errors = [float((seen.double() - candidate).abs().max()) for candidate in candidates]
    nearest = errors.index(min(errors))
    if nearest == 0:
        probe = torch.cos(1.0 + torch.arange(y.numel())).view(y.shape).to(y)
        (found,) = gradients(y, probe, x)
        close(y, x, math.sqrt(NEARLY_NOTHING), "the silent layer's output")
        close(found, probe, math.sqrt(NEARLY_NOTHING), "the silent layer's gradient")
    else:
        assert layer.setup is not None
        norms = 4 * layer.setup.arguments.get("n_layers", 1) + 1
        expected = candidates[nearest]
        # Each normalisation shrinks a token by ε / 2σ² at most, and all but the first find σ ≈ 1.
        shrunk = expected.abs() * LAYER_NORM_EPS * (0.5 / variance[spread_out] + norms)
        limit = shrunk + norms * layer_norm_errors(x)[spread_out]
        close(seen, expected.to(seen.dtype), limit, "the silent layer's output")
        layer.set_parameters({**before, **_redrawn(layer, before, zeros=False)})
        _is_normalised(layer, arguments, centred=nearest > 1)
    layer.set_parameters({**before, **_redrawn(layer, before, zeros=True)})
    sometimes_differs(layer(**arguments), y, "sublayers add something to the tokens")


def _is_normalised(layer: Subject, arguments: dict[str, Any], *, centred: bool) -> None:
    """Require of a post-norm layer, whatever it computes, a variance of one at most.

    A sum that nobody normalises is off by its own size, so that half the digits are enough.
    """
    output = layer(**arguments).double()
    half = math.sqrt(unit_roundoff(output.dtype))
    mean, size = output.mean(-1), output.square().mean(-1)
    if centred:
        close(mean, torch.zeros_like(mean), half, "the mean of a post-norm output")
    at_most(size, torch.ones_like(size), half, "the variance of a post-norm output")


# --- Normalisation ------------------------------------------------------------------------------

FACTOR = 32.0
"""How many times larger tokens get; scores, by their square, stay where the contract speaks."""


@law(
    *STACKS,
    inputs=lambda component: layer_inputs(component, "none", 1, ("normal", "integers", "sparse")),
    formula="min(‖f(a x)‖, ‖f(a x) − a x‖) grows more slowly than √a",
)
def what_sublayers_say_does_not_grow_with_the_tokens(
    layer: Subject, arguments: dict[str, Any]
) -> None:
    """Sublayers are told, or their sum is, what is normalised: large tokens are no louder.

    Of a post-norm layer the output keeps its size; of a pre-norm layer what is added to the tokens
    does. Without a normalisation, before any one of the sublayers or at all, both grow as the
    tokens do.
    """
    x = arguments["x"]
    assume(bool(x.any()))
    x, sizes = x / x.abs().max(), []
    for factor in (1.0, FACTOR):
        tokens = factor * x
        output = layer(**{**arguments, "x": tokens})
        sizes.append(torch.minimum(output.abs().max(), (output - tokens).abs().max()).double())
    limit = math.sqrt(FACTOR) * (1 + sizes[0])  # one is the size of what is normalised
    at_most(sizes[1], limit, 0, "the size of what is said of larger tokens")
    sometimes_differs(sizes[1], torch.zeros_like(limit), "something is said")


# --- Paths --------------------------------------------------------------------------------------


def _times(symbol: sympy.Symbol, *, attends: bool) -> Callable[..., Any]:
    """Give the forward of a sublayer that multiplies by a symbol, from the left.

    An attention also gives weights, which nobody reads.
    """

    def forward(x: Any, *others: Any) -> Any:
        del others
        product = symbolic.tensor([symbol]) * x
        return (product, None) if attends else product

    return forward


def operator(name: str) -> sympy.Symbol:
    """Make a symbol for a linear map, which does not commute with others."""
    return sympy.Symbol(name, commutative=False)


def layer_of_operators(layer: Callable[..., Any], number: int, *, pre_norm: bool) -> Any:
    """Construct a layer whose sublayers and normalisations multiply by operators.

    They are named s, c and f, and n in front for their normalisations, with the layer's number.
    """
    module = layer(1, 1, 1, pre_norm=pre_norm)
    for name, part in module.named_children():
        kind = name.removesuffix("_norm")
        letter = {"cross_attention": "c", "feed_forward": "f"}.get(kind, "s")
        letter = "n" + letter if name.endswith("_norm") else letter
        part.forward = _times(operator(f"{letter}{number}"), attends=name.endswith("attention"))
    return module


def applied(layers: list[Any], *others: Any) -> sympy.Expr:
    """Give what layers of operators make of a token with one entry, x, as an expanded sum."""
    token = symbolic.tensor([[[operator("x")]]])
    for layer in layers:
        token = layer(token, *others)
    return sympy.expand(token.entries[0, 0, 0])


def _products(factors: list[sympy.Expr]) -> Iterator[sympy.Expr]:
    """Give the product of every subset, the later factor on the left."""
    for size in range(len(factors) + 1):
        for chosen in combinations(factors, size):
            yield math.prod(reversed(chosen), start=sympy.Integer(1))


def _every_subset_is_a_path(layer: Callable[..., Any], kinds: str, depth: int) -> None:
    others = [symbolic.symbols("m", 1, 1, 1)] if "c" in kinds else []
    layers = [layer_of_operators(layer, number, pre_norm=True) for number in range(depth)]
    sublayers = [
        operator(f"{kind}{number}") * operator(f"n{kind}{number}")
        for number in range(depth)
        for kind in kinds
    ]
    found = applied(layers, *others)
    paths = [path * operator("x") for path in _products(sublayers)]
    assert len(set(paths)) == 2 ** (len(kinds) * depth)
    assert sympy.expand(found - sum(paths)) == 0, f"{found} is not the sum of {len(paths)} paths"
    post = layer_of_operators(layer, 0, pre_norm=False)
    expected = operator("x")
    for kind in kinds:
        expected = operator(f"n{kind}0") * (1 + operator(f"{kind}0")) * expected
    assert sympy.expand(applied([post], *others) - expected) == 0, "post-norm: N (1 + F) x"


@proof(
    "EncoderLayer",
    method="symbolic",
    formula="J = ∏ (I + J_l) = Σ over the 2^{2L} subsets of the sublayers; post-norm: ∏ N_l (I + "
    "J_l)",
    claim=RES_01.part("paths"),
)
def gradients_take_every_subset_of_the_sublayers(layer: Callable[..., Any]) -> None:
    """With operators for sublayers, one to three layers expand into 4, 16 and 64 paths.

    An operator stands for any sublayer's Jacobian. One more layer multiplies the sum from the left
    by (1 + f)(1 + s), which gives four paths for each: so it goes on for any depth.
    """
    for depth in (1, 2, 3):
        _every_subset_is_a_path(layer, "sf", depth)


@proof(
    "DecoderLayer",
    method="symbolic",
    formula="J = ∏ (I + J_l) = Σ over the 2^{3L} subsets of the sublayers; post-norm: ∏ N_l (I + "
    "J_l)",
    claim=RES_01.part("paths"),
)
def gradients_take_every_subset_of_the_three_sublayers(layer: Callable[..., Any]) -> None:
    """With operators for sublayers, one and two decoder layers expand into 8 and 64 paths."""
    for depth in (1, 2):
        _every_subset_is_a_path(layer, "scf", depth)


@proof(
    "EncoderLayer",
    method="structural",
    formula="J = ∏ (I + J_l), ‖J_l‖ ≤ ε_l < 1 ⇒ ∏ (1 − ε_l) ≤ σ_i(J) ≤ ∏ (1 + ε_l)",
    claim=RES_01.part("paths"),
)
def singular_values_stay_between_the_products(layer: Callable[..., Any]) -> None:
    """Weak sublayers keep every direction: (1 − ε)‖v‖ ≤ ‖v + J_F v‖ ≤ (1 + ε)‖v‖.

    That is the triangle inequality, true for any sizes and any depth. What has to be seen is that
    the layers' Jacobian is that product: autograd's is, at depths of one to four, and so its
    singular values are within the limits.
    """
    generator = torch.Generator().manual_seed(0)
    for depth in (1, 2, 4):
        torch.manual_seed(depth)
        layers = [layer(4, 2, 5, pre_norm=True).double() for _ in range(depth)]
        with torch.no_grad():
            for module in layers:
                module.attention.output.weight.mul_(0.1)
                module.feed_forward.outer.weight.mul_(0.1)
        start = torch.randn(1, 3, 4, generator=generator, dtype=torch.float64)
        product, least, most, at = torch.eye(start.numel(), dtype=torch.float64), 1.0, 1.0, start
        for sublayer in chain.from_iterable(map(_sublayers, layers)):
            own = _jacobian(sublayer, at)
            size = float(torch.linalg.matrix_norm(own, 2))
            assert 0 < size < 1, f"a sublayer's Jacobian of norm {size}"
            least, most = least * (1 - size), most * (1 + size)
            product = own @ product + product
            at = (at + sublayer(at)).detach()
        whole = _jacobian(nn.Sequential(*layers), start)
        error = gamma(64 * depth * start.numel(), unit_roundoff(torch.float64)) * most
        assert bool((whole - product).abs().max() <= error), "J = ∏ (I + J_l)"
        values = torch.linalg.svdvals(whole)
        assert bool(values.min() >= least - error), f"{values.min()} is below {least}"
        assert bool(values.max() <= most + error), f"{values.max()} is above {most}"


def _jacobian(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Give the derivative of all entries by all entries, as a square matrix."""
    x = leaf(at)
    rows = torch.eye(at.numel(), dtype=at.dtype).view(at.numel(), *at.shape)
    y = function(x)
    return torch.stack([gradients(y, row, x)[0].flatten() for row in rows])


def _sublayers(layer: Any) -> Iterator[Callable[[Tensor], Tensor]]:
    """Give what a pre-norm layer adds to its tokens: attention's part, then the network's."""

    def attend(x: Tensor) -> Tensor:
        seen = layer.attention_norm(x)
        mixed: Tensor = layer.attention(seen, seen, seen)[0]
        return mixed

    def think(x: Tensor) -> Tensor:
        bent: Tensor = layer.feed_forward(layer.feed_forward_norm(x))
        return bent

    yield attend
    yield think


# --- RES-02: why they are needed ----------------------------------------------------------------


@proof(
    "DecoderLayer",
    method="structural",
    formula="L = 1, one token of memory, no residuals: f(x) = f(x′) for all prefixes x, x′",
    against=RES_02.part("because deep"),
)
def one_layer_without_residuals_forgets_its_prefix(layer: Callable[..., Any]) -> None:
    """One layer deep, and lost already: the notes' three equations, with one token to look at.

    Attention over one key has a weight of one, whoever asks. What comes out is that key's value,
    and the prefix is gone; with the residuals of the layer itself it is not. Depth has no part in
    it.
    """
    generator = torch.Generator().manual_seed(0)
    for width, heads, length in ((4, 2, 3), (6, 1, 5), (2, 1, 1)):
        module = layer(width, heads, 7).double().eval()
        memory = torch.randn(2, 1, width, generator=generator, dtype=torch.float64)
        past = torch.ones(length, length, dtype=torch.bool).tril()

        def without(x: Tensor, module: Any = module, memory: Any = memory, past: Any = past) -> Any:
            own, _ = module.self_attention(x, x, x, past)
            found, _ = module.cross_attention(own, memory, memory)
            return module.feed_forward(found)

        one, other = torch.randn(2, 2, length, width, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            assert torch.equal(without(one), without(other)), "without residuals"
            assert not torch.equal(module(one, memory), module(other, memory)), "with residuals"
