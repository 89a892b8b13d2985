"""What the contract asks of every component, whatever it computes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from attest.checks import close, identical, sometimes, sometimes_differs
from attest.contract import CONTRACT
from attest.differentiation import gradients, leaf, weighted_sum
from attest.laws import law
from attest.strategies import component_inputs
from attest.subject import Setup, Subject
from attest.tolerances import gamma, precision, unit_roundoff
from properties.bounds import largest_input, likely_bound, measured_bound, result_bounds
from properties.families import EVERY, MODELS, SDPA, STACKS

PER_ITEM = (*EVERY, "FeedForward", "PatchEmbedding", *STACKS, *MODELS)
"""Components that take a batch."""

NUMERIC = ("softmax", *PER_ITEM, "LayerNorm")
"""Components that take tensors and give floating point numbers."""

MODULES = (*[name for name in PER_ITEM if name != SDPA], "LayerNorm", "LearnedPositionalEmbedding")
"""Components that own parameters."""

KINKED = ("FeedForward", *STACKS, *MODELS)
"""Components whose activation may have a kink, as ReLU has at zero."""


def _results(answer: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return answer if isinstance(answer, tuple) else (answer,)


def _entries_differ(component: Subject, result: Tensor) -> None:
    """Control that the component is no constant, by its first result."""
    name = component.spec.results[0].name
    sometimes_differs(result, result.roll(1, -1), f"entries of the {name} differ")


# Short enough for the slope, long enough for rounding, in float64 and at inputs below 5.
SHORT = 1e-4


def _variables(component: Subject, arguments: dict[str, Any]) -> dict[str, Tensor]:
    """Give the floating inputs as leaves, off the place where an activation may have its kink."""
    off = 0.1 if component.spec.name in KINKED else 0.0
    made: dict[int, Tensor] = {}  # one tensor under two names stays one
    variables = {}
    for name, value in arguments.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            if id(value) not in made:
                made[id(value)] = leaf(value + off * torch.cos(1.0 + _count(value)))
            variables[name] = made[id(value)]
    return variables


def _count(value: Tensor) -> Tensor:
    """Give 0, 1, 2 … in the tensor's shape."""
    return torch.arange(value.numel()).to(value).view(value.shape)


def _learns(gradient: Tensor) -> Tensor:
    """Give one for each row of a table that has a gradient, and zero for the others."""
    rows = (gradient != 0).flatten(1).any(1)
    return rows.to(gradient).view(-1, *[1] * (gradient.dim() - 1))


def _gentle(arguments: dict[str, Any]) -> bool:
    tensors = [v for v in arguments.values() if isinstance(v, Tensor)]
    return largest_input(arguments) < 5 and sum(t.numel() for t in tensors) < 2400


@law(
    "padding_mask",
    *NUMERIC,
    inputs=component_inputs,
    formula="x after f(x) = x before",
    kind="robustness",
)
def inputs_are_left_unchanged(component: Subject, arguments: dict[str, Any]) -> None:
    """A call only reads its inputs; whoever passes them in may need them again."""
    first, *_ = _results(component(**arguments))
    for name, before, after in component.inputs_after_call():
        identical(after, before, f"{name} after the call")
    _entries_differ(component, first)


@law(
    "causal_mask",
    "padding_mask",
    "sinusoidal_positional_encoding",
    "LearnedPositionalEmbedding",
    *NUMERIC,
    inputs=component_inputs,
    formula="f(x) = f(x), bit by bit",
    kind="robustness",
)
def the_same_call_gives_the_same_result(component: Subject, arguments: dict[str, Any]) -> None:
    """In eval mode nothing is random and nothing is remembered from one call to the next."""
    first = _results(component(**arguments))
    for result, again, spec in zip(
        first, _results(component(**arguments)), component.spec.results, strict=True
    ):
        identical(again, result, f"{spec.name} of the second call")
    _entries_differ(component, first[0])


@law(
    *NUMERIC,
    inputs=component_inputs,
    formula="f(x := x′) = f(x′),  f(x; θ := θ′) = f(x; θ′)",
    kind="robustness",
    share=0.4,
)
def what_a_tensor_holds_when_it_is_called_is_what_counts(
    component: Subject, arguments: dict[str, Any]
) -> None:
    """A tensor that is filled anew, as a buffer for data is, is read anew by the next call.

    So are parameters, which an optimiser overwrites in place. What a module remembers of an earlier
    call with these very tensors is out of date.
    """
    buffers = _copied(arguments)
    turned = {id(v): (v, _turned(v, n)) for n, v in buffers.items() if isinstance(v, Tensor)}
    with component.same_tensors():
        before = _results(component(**buffers))
        for value, other in turned.values():
            value.copy_(other)
        found = _results(component(**buffers))
    _agree(component, buffers, found, "once the tensors hold something else")
    sometimes_differs(found[0], before[0], "what the tensors hold makes a difference")
    if component.spec.is_module:
        with component.same_tensors():
            before = _results(component(**buffers))
            component.set_parameters(_learned_a_little(component.parameters()))
            learned = _results(component(**buffers))
        _agree(component, buffers, learned, "once parameters are others")
        sometimes_differs(learned[0], before[0], "what the parameters are makes a difference")


def _copied(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the tensors among arguments; one under two names stays one."""
    copies = {id(value): value.clone() for value in arguments.values() if isinstance(value, Tensor)}
    return {name: copies.get(id(value), value) for name, value in arguments.items()}


def _learned_a_little(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give other parameters near by, also where they start at zero."""
    begun = {n: p if p.any() else torch.full_like(p, 0.05) for n, p in parameters.items()}
    return _elsewhere(begun, 0.05)


def _turned(value: Tensor, name: str) -> Tensor:
    """Give the same numbers in another order, in which no row of a mask is left without a key.

    A square mask is turned round, so that what hides later tokens hides earlier ones. Of a mask
    that takes away from a causal one, the first key stays, which all tokens see.
    """
    square = value.dtype == torch.bool and value.dim() >= 2 and value.shape[-1] == value.shape[-2]
    turned = value.flip(-2, -1) if square else value.flip(-1)
    if name == "self_mask":
        turned[..., 0] = True
    return turned


def _agree(
    component: Subject, arguments: Mapping[str, Any], found: tuple[Tensor, ...], when: str
) -> None:
    """Require that results are those of a call with tensors that nobody has seen."""
    anew = _copied(arguments)
    bounds = result_bounds(component, anew)
    for result, expected, bound, spec in zip(
        found, _results(component(**anew)), bounds, component.spec.results, strict=True
    ):
        close(result, expected, 2 * bound, f"{spec.name} {when}")


@law(
    *NUMERIC,
    inputs=component_inputs,
    formula="f(x stored in another order) = f(x)",
    kind="robustness",
)
def how_a_tensor_is_stored_makes_no_difference(
    component: Subject, arguments: dict[str, Any]
) -> None:
    """A transposed view holds the same numbers as a contiguous tensor, and gives the same."""
    views = {
        name: value.transpose(0, -1).contiguous().transpose(0, -1)
        if isinstance(value, Tensor)
        else value
        for name, value in arguments.items()
    }
    plain, viewed = _results(component(**arguments)), _results(component(**views))
    bounds = result_bounds(component, arguments)
    for result, other, bound, spec in zip(
        plain, viewed, bounds, component.spec.results, strict=True
    ):
        close(other, result, 2 * bound, f"{spec.name} of transposed views")
    _entries_differ(component, plain[0])


@law(
    *NUMERIC,
    inputs=component_inputs,
    formula="f(x while gradients are recorded) = f(x)",
    kind="robustness",
)
def recording_gradients_changes_no_result(component: Subject, arguments: dict[str, Any]) -> None:
    """What is computed in training is what is computed in use."""
    variables = {
        name: leaf(value) if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in arguments.items()
    }
    plain = _results(component(**arguments))
    with component.learning():
        recorded = _results(component(**variables))
    bounds = result_bounds(component, arguments)
    for result, other, bound, spec in zip(
        plain, recorded, bounds, component.spec.results, strict=True
    ):
        close(other, result, 2 * bound, f"{spec.name} while gradients are recorded")
    _entries_differ(component, plain[0])


@law(
    *NUMERIC,
    inputs=component_inputs,
    formula="gradients are recorded before f(x) ⇒ they are after it",
    kind="robustness",
    share=0.3,
)
def a_call_leaves_gradients_switched_on(component: Subject, arguments: dict[str, Any]) -> None:
    """What switches gradients off for itself, as generation may, leaves them as they were.

    Whoever trains afterwards would learn nothing, and nobody would say so.
    """
    with component.learning():
        first, *_ = _results(component(**arguments))
        recorded = component.records_gradients()
        identical(recorded, torch.ones_like(recorded), "whether gradients are recorded afterwards")
        if "generate" in component.spec.methods:
            named = set(component.spec.methods["generate"].parameters) & set(arguments)
            component.generate(bos=0, max_length=2, **{name: arguments[name] for name in named})
            recorded = component.records_gradients()
            what = "whether gradients are recorded after generating"
            identical(recorded, torch.ones_like(recorded), what)
    _entries_differ(component, first)


@law(
    *MODULES,
    inputs=component_inputs,
    formula="f(x in train mode) = f(x in eval mode)",
    kind="robustness",
)
def train_mode_changes_no_result(component: Subject, arguments: dict[str, Any]) -> None:
    """There is no dropout, since nobody has asked for any, and no statistic of a batch.

    What a call in train mode leaves behind changes no later one.
    """
    plain = _results(component(**arguments))
    with component.training():
        trained = _results(component(**arguments))
        with component.learning():
            learned = _results(component(**arguments))
    bounds, later = result_bounds(component, arguments), _results(component(**arguments))
    for result, one, other, last, bound, spec in zip(
        plain, trained, learned, later, bounds, component.spec.results, strict=True
    ):
        close(one, result, 2 * bound, f"{spec.name} in train mode")
        close(other, result, 2 * bound, f"{spec.name} in train mode, with gradients recorded")
        close(last, result, 2 * bound, f"{spec.name} in eval mode afterwards")
    _entries_differ(component, plain[0])


@law(
    *MODULES,
    inputs=component_inputs,
    formula="f with the parameters θ = another f with the parameters θ",
    kind="robustness",
)
def what_it_computes_is_in_its_parameters(component: Subject, arguments: dict[str, Any]) -> None:
    """A module that was made elsewhere and is given the same parameters is the same function.

    Otherwise saving and loading a model loses what was not saved. All parameters are there before
    the first call, or an optimiser that was made by then would leave some out.
    """
    results = _results(component(**arguments))
    assert component.setup is not None
    setup = component.setup
    other = component.construct(seed=setup.seed + 1, gain=setup.gain, **setup.arguments)
    count = other.parameter_count()
    before, *_ = _results(other(**arguments))
    made = other.parameters()
    differ = any(not torch.equal(p, made[name]) for name, p in component.parameters().items())
    identical(other.parameter_count(), count, "the number of parameters after the first call")
    other.set_parameters(component.parameters())
    bounds = result_bounds(component, arguments)
    for result, same, bound, spec in zip(
        results, _results(other(**arguments)), bounds, component.spec.results, strict=True
    ):
        close(same, result, 2 * bound, f"{spec.name} by another module with the same parameters")
    if differ:  # a normalisation may be made in one way alone
        sometimes_differs(before, results[0], "other parameters give another result")


@law(
    *PER_ITEM,
    inputs=component_inputs,
    formula="f(x)[b] = f(x[b])",
    kind="robustness",
)
def items_of_a_batch_do_not_mix(component: Subject, arguments: dict[str, Any]) -> None:
    """Every item of a batch gets what it would get alone."""
    first = next(v for v in arguments.values() if isinstance(v, Tensor))
    batch = first.shape[0]
    assume((first.dim() >= 3 or not first.is_floating_point()) and batch >= 2)
    whole = _results(component(**arguments))
    bounds = result_bounds(component, arguments)
    item = batch - 1
    alone = component(**{name: _item(value, item, first) for name, value in arguments.items()})
    for result, single, bound, spec in zip(
        whole, _results(alone), bounds, component.spec.results, strict=True
    ):
        limit = bound[item : item + 1] if bound.dim() == result.dim() else bound
        close(single, result[item : item + 1], 2 * limit, f"{spec.name} of item {item} alone")
        sometimes_differs(result[item], result[0], f"items differ in their {spec.name}")


def _item(value: Tensor | None, item: int, like: Tensor) -> Tensor | None:
    return value[item : item + 1] if value is not None and _per_item(value, like) else value


def _per_item(value: Tensor, like: Tensor) -> bool:
    """Say whether a tensor has something of its own for each item, as a mask need not."""
    return value.dtype != torch.bool or (value.dim() >= like.dim() and value.shape[0] > 1)


@law(
    *PER_ITEM,
    inputs=component_inputs,
    formula="f(x, x, …, x)_b = f(x)_b,  of 130 items or more",
    kind="robustness",
    share=0.4,
)
def a_large_batch_is_many_small_ones(component: Subject, arguments: dict[str, Any]) -> None:
    """How many items there are makes no difference to any of them."""
    first = next(v for v in arguments.values() if isinstance(v, Tensor))
    batch, numbers = first.shape[0], sum(_numel(value) for value in arguments.values())
    assume((first.dim() >= 3 or not first.is_floating_point()) and batch <= 3 and numbers <= 100)
    copies = -(-LARGE_BATCH // batch)
    of_a_model = not first.is_floating_point()  # whose masks have a row for each item
    many = {
        name: _repeated(value, copies)
        if isinstance(value, Tensor) and (of_a_model or _per_item(value, first))
        else value
        for name, value in arguments.items()
    }
    few, whole = _results(component(**arguments)), _results(component(**many))
    bounds = result_bounds(component, arguments)
    for result, all_of_them, bound, spec in zip(
        few, whole, bounds, component.spec.results, strict=True
    ):
        expected, limit = (_repeated(t, copies) for t in (result, bound.expand_as(result)))
        close(all_of_them, expected, 2 * limit, f"{spec.name} of {len(expected)} items")
        sometimes_differs(all_of_them, all_of_them.roll(1, 0), f"items differ in their {spec.name}")


LARGE_BATCH = 130
"""More items than a kernel may have threads or rows for, and than fit into seven bits."""


def _numel(value: Any) -> int:
    return value.numel() if isinstance(value, Tensor) else 0


def _repeated(items: Tensor, copies: int) -> Tensor:
    """Give the items of a batch again and again, (copies · B, …)."""
    return items.repeat(copies, *[1] * (items.dim() - 1))


LOWER = ("float32", "bfloat16", "float16")


@law(
    *[name for name in NUMERIC if name not in {"softmax", SDPA}],
    inputs=component_inputs,
    formula="|f in low precision − f in float64| ≤ γ̃_k · (how far roundings move f + max |f|)",
    kind="robustness",
    dtypes=LOWER,
)
def every_precision_computes_the_same_function(
    component: Subject, arguments: dict[str, Any]
) -> None:
    """In float32, bfloat16 and float16 a module computes what it computes in float64, but rounded.

    Inputs and parameters are numbers of the lower precision, and of ordinary size. Tokens of two
    or three entries are left out where they are normalised, which makes any error of them large.
    """
    assert component.setup is not None
    sizes = component.setup.arguments
    normalises = "n_heads" in sizes or component.spec.name == "LayerNorm"
    numbers = largest_input(arguments)
    assume(_gentle(arguments) and not 0 < numbers < ORDINARY)
    assume(not normalises or sizes["d_model"] >= 4)
    result, *_ = _results(component(**arguments))
    wide = component.widened()
    given = {
        name: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v
        for name, v in arguments.items()
    }
    exact, *_ = _results(wide(**given))
    if result.dtype == torch.float32:
        bound = 2 * measured_bound(component, arguments)
    else:  # where what rounding does at worst says nothing
        bound = likely_bound(wide, given, unit_roundoff(result.dtype))
    what = f"{component.spec.results[0].name} in {str(result.dtype).removeprefix('torch.')}"
    close(result.double(), exact, bound, what)
    sometimes_differs(exact, exact.roll(1, -1), "entries of the result differ", bound)


ORDINARY = 0.1
"""Inputs that are smaller throughout are squared below what float16 can hold, as for a variance."""


@law(
    *NUMERIC,
    "LearnedPositionalEmbedding",
    inputs=component_inputs,
    formula="∂f(x) · v = lim (f(x + h v) − f(x − h v)) / 2h",
    kind="robustness",
    dtypes=("float64",),
)
def gradients_agree_with_finite_differences(component: Subject, arguments: dict[str, Any]) -> None:
    """Autograd's gradient, by inputs and parameters at once, is the slope that can be measured.

    The slope is measured over two distances. What their difference says of the curvature, and
    what rounding adds at the shorter distance, is the bound. Where an activation may have a kink,
    the slopes to both sides may differ, and so may autograd's from either. A token that is kept
    from learning, as one for padding often is, is left where it is.
    """
    assume(_gentle(arguments))
    floating = _variables(component, arguments)
    names = {id(value): name for name, value in floating.items()}
    distinct = {name: floating[name] for name in names.values()}
    own = component.parameters()
    waves = {n: torch.cos(1.0 + _count(value)) for n, value in {**floating, **own}.items()}
    with component.learning():
        answer = _results(component(**{**arguments, **floating}))
    # Far from one, at which a gradient may be clipped.
    probes = [100 * torch.sin(1.0 + _count(result)) for result in answer]
    u = precision(answer[0].dtype)
    sizes = component.setup.arguments if component.setup is not None else {}
    vocabularies = {size for name, size in sizes.items() if name.endswith("vocab")}
    slopes = []
    for result, probe in zip(answer, probes, strict=True):
        found: dict[str, Tensor] = {}
        if distinct:
            found = dict(zip(distinct, gradients(result, probe, *distinct.values()), strict=True))
        if own:
            scalar = weighted_sum(result, probe, *floating.values())
            by_parameter = component.parameter_gradients(scalar)
            found |= by_parameter
        for key in set(own) & set(found):
            if own[key].dim() >= 2 and own[key].shape[0] in vocabularies:
                waves[key] = waves[key] * _learns(found[key])
        slopes.append(torch.cat([(found[key] * waves[key]).flatten() for key in found]))

    def at(step: float) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        moved = {n: v.detach() + step * waves[n] for n, v in floating.items()}
        component.set_parameters({n: p + step * waves[n] for n, p in own.items()})
        there = {**arguments, **moved}
        results = _results(component(**there))
        return tuple(r.detach() * p for r, p in zip(results, probes, strict=True)), there

    far_behind, _ = at(-2 * SHORT)
    far_ahead, there = at(2 * SHORT)
    errors = result_bounds(component, there)
    points = zip(far_ahead, far_behind, at(SHORT)[0], at(-SHORT)[0], errors, strict=True)
    for spec, terms, probe, still, (ahead, behind, near_ahead, near_behind, error) in zip(
        component.spec.results, slopes, probes, answer, points, strict=True
    ):
        far = (ahead.sum() - behind.sum()) / (4 * SHORT)
        near = (near_ahead.sum() - near_behind.sum()) / (2 * SHORT)
        noise = float((error.expand_as(probe) * probe.abs()).sum())
        noise += gamma(ahead.numel() + 2, u) * float(ahead.abs().sum() + behind.abs().sum())
        noise /= SHORT
        # The error of the longer distance is four times that of the shorter one.
        summing = gamma(terms.numel() + 2, u) * float(terms.abs().sum())
        bound = 2 * (float((far - near).abs()) + noise + summing)
        if component.spec.name in KINKED:
            here = (still.detach() * probe).sum()
            bound += float((near_ahead.sum() + near_behind.sum() - 2 * here).abs()) / SHORT
        close(terms.sum(), near, bound, f"the directional derivative of the {spec.name}")
        sometimes_differs(terms, torch.zeros_like(terms), "the derivative is not zero")


@law(
    *NUMERIC,
    "LearnedPositionalEmbedding",
    inputs=component_inputs,
    formula="|∂f in float32 − ∂f in float64| ≤ 2⁻⁸ · max |∂f in float64|",
    kind="robustness",
    dtypes=("float32",),
)
def single_precision_learns_what_double_precision_learns(
    component: Subject, arguments: dict[str, Any]
) -> None:
    """Gradients in float32, in which models are trained, are those in float64, but rounded.

    Two digits of the largest one are compared, by inputs and parameters at once. Where an
    activation happens to have its kink between the two precisions, other parameters are tried. In
    float32 parameters learn from inputs that need no gradient themselves, as data do not.
    """
    sizes = component.setup.arguments if component.setup is not None else {}
    normalises = "n_heads" in sizes or component.spec.name == "LayerNorm"
    assume(_gentle(arguments) and not (normalises and sizes["d_model"] < 4))
    floating, own = _variables(component, arguments), component.parameters()
    wide = component.widened() if component.spec.is_module else component
    made = {id(value): leaf(value.double()) for value in floating.values()}
    widened = {name: made[id(value)] for name, value in floating.items()}
    found = expected = torch.zeros(0)
    bound = 0.0
    for place in (0.0, 0.01, 0.02):
        if place:
            base = _elsewhere(own, place)
            component.set_parameters(base)
            if wide is not component:
                wide.set_parameters({name: value.double() for name, value in base.items()})
        found = _whole_gradient(component, arguments, floating, data=True)
        expected = _whole_gradient(wide, arguments, widened)
        bound = TWO_DIGITS * float(expected.abs().max())
        if bool(((found - expected).abs() <= bound).all()):
            break
    close(found, expected, bound, "the gradient in float32, by inputs and parameters")
    sometimes_differs(expected, torch.zeros_like(expected), "the gradient is not zero")


def _elsewhere(parameters: Mapping[str, Tensor], part: float) -> dict[str, Tensor]:
    """Give other parameters near by: of each entry, up to a part more or less."""
    return {n: p * (1 + part * torch.sin(1.0 + _count(p))) for n, p in parameters.items()}


TWO_DIGITS = 2.0**-8
"""Far more than rounding to float32 does to a gradient, and less than a factor would."""


def _whole_gradient(
    component: Subject,
    arguments: dict[str, Any],
    floating: Mapping[str, Tensor],
    *,
    data: bool = False,
) -> Tensor:
    """Give the gradient by all floating inputs, then all parameters, of all results together.

    With ``data`` that by parameters is of a call whose inputs need none.
    """

    def called(inputs: Mapping[str, Tensor]) -> Tensor:
        with component.learning():
            answer = _results(component(**{**arguments, **inputs}))
        return torch.cat([one.flatten() for one in answer])

    result = called(floating)
    probe = torch.sin(1.0 + _count(result))
    distinct = {id(value): value for value in floating.values()}.values()
    found = [*gradients(result, probe, *distinct)] if distinct else []
    if data and distinct and component.spec.is_module:
        result = called({name: value.detach() for name, value in floating.items()})
    scalar = weighted_sum(result, probe, *distinct)
    found += component.parameter_gradients(scalar).values()
    return torch.cat([gradient.flatten().double() for gradient in found])


# How far parameters move, relatively: less than single precision can tell, and a thousand times as
# much, which is still too little for a curve to show.
LITTLE, MORE = 1e-10, 1e-7


@law(
    *KINKED,
    inputs=component_inputs,
    formula="Δ_h f = h/H · Δ_H f,  Δ_h f = f(θ (1 + h)) − f(θ (1 − h)),  h = 1e-10, H = 1e-7",
    kind="robustness",
    dtypes=("float64",),
    share=0.3,
)
def no_step_is_too_small_to_be_felt(component: Subject, arguments: dict[str, Any]) -> None:
    """What is learned in double precision moves the result however little it is changed.

    Something that is computed in single precision on the way changes in steps. All parameters are
    moved together, a little and a thousand times as much; one movement is in proportion to the
    other. Where an activation happens to have its kink in between, others are tried. What a model
    makes of the source is moved likewise.
    """
    assert component.setup is not None
    assume(_gentle(arguments))
    _moves_in_proportion(component, arguments, "")
    if "encode" in component.spec.methods:
        named = component.spec.methods["encode"].parameters
        _moves_in_proportion(component, {n: arguments[n] for n in named}, "encode")


def _moves_in_proportion(component: Subject, arguments: dict[str, Any], method: str) -> None:
    own = component.parameters()
    bound = 4 * measured_bound(component, arguments, method)
    little = expected = torch.zeros(0)
    for place in (0.0, 0.01, 0.02):
        base = _elsewhere(own, place) if place else own
        way = {n: p * torch.cos(1.0 + _count(p)) for n, p in base.items()}
        little = _movement(component, arguments, method, base, way, LITTLE)
        expected = _movement(component, arguments, method, base, way, MORE) * (LITTLE / MORE)
        if bool(((little - expected).abs() <= bound).all()):
            break
    component.set_parameters(own)
    what = component.spec.calls(method).results[0].name
    close(little, expected, bound, f"how far a small change of all parameters moves the {what}")
    sometimes_differs(little, torch.zeros_like(little), f"the {what} moves", bound)


def _movement(
    component: Subject,
    arguments: dict[str, Any],
    method: str,
    base: Mapping[str, Tensor],
    way: Mapping[str, Tensor],
    h: float,
) -> Tensor:
    """Give by how much the first result differs where parameters go a part h of a way, and back."""
    call = getattr(component, method) if method else component
    ends = []
    for step in (h, -h):
        component.set_parameters({n: torch.add(p, way[n], alpha=step) for n, p in base.items()})
        ends.append(_results(call(**arguments))[0].detach())
    return ends[0] - ends[1]


def _all_words(component: str) -> st.SearchStrategy[dict[str, Any]]:
    """Every word of both vocabularies, each as a sequence by itself; a few models to read them."""

    def inputs(seed: int) -> dict[str, Any]:
        names = CONTRACT[component].constructor or ()
        inside = (8, 2, 12, 1) if component == "Transformer" else (5, 7)
        words = (307, 61)[:: 1 if seed % 2 else -1]
        arguments = dict(zip(names, (*words, *inside), strict=True))
        source, target_in = (torch.arange(n)[:, None] for n in words)
        return {"source": source, "target_in": target_in, "setup": Setup(arguments, seed)}

    return st.integers(0, 19).map(inputs)


@law(
    *MODELS,
    inputs=_all_words,
    formula="v ≠ w  ⇒  f(v, y) ≠ f(w, y) and f(x, v) ≠ f(x, w), in general",
)
def no_two_words_are_the_same_word(model: Subject, source: Tensor, target_in: Tensor) -> None:
    """Each word of either language, the last as well as the first, is read as a word of its own."""
    lengths = {"source": len(source), "target": len(target_in)}
    for language, words, other in (
        ("source", source, target_in[:1].expand_as(source)),
        ("target", target_in, source[:1].expand_as(target_in)),
    ):
        both = (words, other) if language == "source" else (other, words)
        logits = model(*both)[:, 0]
        apart = torch.cdist(logits, logits, p=math.inf)
        apart.fill_diagonal_(math.inf)
        clear = math.sqrt(precision(logits.dtype)) * float(logits.abs().max())
        more = "more" if lengths[language] == max(lengths.values()) else "fewer"
        sentence = f"every {language} word, of {more} than the other's, has logits of its own"
        sometimes(float(apart.min()) > clear, sentence)
        sometimes_differs(logits[1:], logits[:-1], f"{language} words give different logits")
