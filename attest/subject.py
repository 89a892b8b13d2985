"""The component as a law sees it: calls, gradients and parameters, and nothing else.

A law runs on the CPU whatever the device of the component: a subject moves arguments there and
answers back, inside autograd, so that gradients flow through. It checks every answer against the
contract, hands out copies of the arguments so that a component that overwrites them harms no law,
and keeps a tape of what was done, from which a counterexample's script is written.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby
from typing import Any, TypeVar, cast
from weakref import ref

import torch
from torch import Tensor

from attest.checks import Crash, DoesNotApply
from attest.differentiation import differentiating
from attest.estimates import Estimate
from attest.implementations import Component, Implementation
from attest.limits import ours
from attest.specification import (
    CallSpec,
    ComponentSpec,
    ContractBroken,
    Kept,
    mapped,
    tensors_in,
)
from attest.tape import Tape
from attest.wire import cut, flatten

__all__ = ["Modules", "Setup", "Subject"]

Value = TypeVar("Value")

# What a trusted component keeps for later laws: more than the ledger asks for at 100 examples a
# property, and a few megabytes.
MOST_KEPT = 20_000

_State = tuple[Any, ...]

# So many calls are remembered.
LATEST = 4

# Weights seldom start so large, and biases and gains hardly ever. Numbers that do, and are used for
# nothing, would widen every bound that follows from the sizes of weights.
LARGEST = 10.0
LARGEST_OF_A_VECTOR = 2.0

Modules = dict[Any, "_Made"]
"""Modules by their sizes, dtype and use."""


@dataclass(frozen=True)
class _Start:
    """What a module's parameters are when it was made.

    Attributes:
        initial: they themselves.
        clipped: the same, clipped to where weights usually are.
        large: of what learns, several numbers some of which are beyond that, or beyond less in a
            vector.
        blank: what is redrawn: these, matrices, and what is zero.
    """

    initial: dict[str, Tensor]
    clipped: dict[str, Tensor]
    large: dict[str, Tensor]
    blank: dict[str, Tensor]


@dataclass(frozen=True)
class _Made:
    """A module that is kept."""

    component: Component
    start: _Start


@dataclass(frozen=True)
class Setup:
    """How to construct a module for one example.

    Attributes:
        arguments: the constructor's integers by name.
        seed: seeds the initialisation and the redrawn weight matrices.
        gain: the size of redrawn weights: their variance is gain² / fan-in.
        matrices: weight matrices by name; None redraws all of them from the seed. What learns and
            starts larger than weights do is redrawn in any case.
    """

    arguments: Mapping[str, int]
    seed: int = 0
    gain: float = 1.0
    matrices: Mapping[str, Tensor] | None = None


class Subject:
    """One component of one implementation.

    Args:
        implementation: where the component comes from.
        spec: what the contract says about it.
        dtype: the dtype of its parameters.
        device: where it runs.
        setup: how it was constructed; None for a function, or a module not yet constructed.
        tape: records what the law does, where a script is wanted.
        modules: keeps what was constructed, so that the next example of these sizes need not be.
        use: what for, where a law has several modules of the same sizes.
    """

    def __init__(
        self,
        implementation: Implementation,
        spec: ComponentSpec,
        dtype: torch.dtype,
        device: str,
        setup: Setup | None = None,
        tape: Tape | None = None,
        modules: Modules | None = None,
        use: str = "",
    ) -> None:
        self.spec = spec
        self.setup = setup
        self.dtype = dtype
        self._passed: Mapping[str, Any] = {}
        self._implementation = implementation
        self._device = device
        self._tape = tape or Tape(recording=False)
        self._label = ""
        self._component: Component | None = None
        self._all: Mapping[str, Tensor] | None = None
        self._single: list[tuple[Tensor, bool]] = []  # numbers, and whether they learn
        self._parameters: dict[str, Tensor] = {}
        self._version: int | None = None
        self._written: dict[str, Tensor] = {}  # parameters, whatever it has made of them since
        self._sizes: dict[str, float] = {}
        self._modules = modules
        self._use = use
        self._learning = False
        self._keeps = False  # whether one call's tensors are handed over to the next
        self._last: str | None = None  # the method that was called last since then
        self._changed = 0  # how often parameters were overwritten, or the mode was
        self._estimates: list[ref[Estimate]] = []
        # Calls: the state, the first result, and the arguments, lest others take their ids.
        self._latest: deque[tuple[_State, Tensor, Mapping[str, Any]]] = deque(maxlen=LATEST)

    def _constructed(self) -> Component:
        """Give the component, constructed when a law first needs it: many reject an example first.

        Raises:
            Crash: the constructor raised.
        """
        if self._component is None:
            if self.setup is None and self.spec.is_module:
                raise TypeError(f"{self.spec.name} is a module: construct it before calling it")
            self._construct(self.setup or Setup({}))
        assert self._component is not None
        return self._component

    def _construct(self, setup: Setup) -> None:
        if self.spec.is_module:
            self._label = self._tape.constructed(self.spec, setup.arguments, setup.seed, self.dtype)
        self._implementation.seed(setup.seed)
        if self._modules is None or not self.spec.is_module:
            self._component, made = self._new(setup), None
        else:
            made = self._kept(setup, self._modules)
            self._component = made.component
        if not self.spec.is_module:
            return
        own = self._own_parameters()
        # What an earlier example left is overwritten.
        initial = {} if made is None else made.start.initial
        same = made is not None and initial.keys() == own.keys()
        start = made.start if made is not None and same else _started(own)
        if setup.matrices is None:
            matrices: Mapping[str, Tensor] = _redrawn(start.blank, setup)
            self._restore({**initial, **matrices})
        else:
            matrices = {**_redrawn(start.large, setup), **setup.matrices}
            self._restore(initial)
            self.set_parameters(matrices)
        self._written = {**start.clipped, **matrices}
        self.setup = Setup(setup.arguments, setup.seed, setup.gain, matrices)

    def _kept(self, setup: Setup, modules: Modules) -> _Made:
        """Give a module of an earlier example, or a new one for later ones."""
        key = (self.spec.name, self.dtype, self._device, *setup.arguments.items())
        if (self._use, key) not in modules:
            # Whichever example comes first, later ones start from the same parameters.
            self._implementation.seed(zlib.crc32(repr(key).encode()))
            self._component = self._new(setup)
            start = _started(self._own_parameters())
            modules[self._use, key] = _Made(self._component, start)
            self._implementation.seed(setup.seed)
        return modules[self._use, key]

    def _new(self, setup: Setup) -> Component:
        with self._tape.paused():
            try:
                return self._implementation.construct(
                    self.spec, setup.arguments, self.dtype, self._device
                )
            except BaseException as error:
                if ours(error):
                    raise
                what = f"{self.spec.name}({_listed(setup.arguments)})"
                raise Crash(what, error, self._implementation.line_of(error)) from None

    def redrawn(self, setup: Setup) -> dict[str, Tensor]:
        """Draw every weight matrix from the setup's seed: normal, with variance gain² / fan-in.

        So is a vector that is zero, which may be a matrix of one row, and a single number that is
        zero, which may be a gate: either would hide laws. So is what learns and is larger than
        weights are.
        """
        return _redrawn(_started(self._own_parameters()).blank, setup)

    def construct(self, seed: int = 0, gain: float = 1.0, **arguments: int) -> Subject:
        """Construct another module of the same class.

        Raises:
            Crash: the constructor raised.
        """
        other = Subject(
            self._implementation,
            self.spec,
            self.dtype,
            self._device,
            Setup(arguments, seed, gain),
            self._tape,
        )
        other._constructed()
        return other

    def widened(self) -> Subject:
        """Give the module once more, in float64 and with the same parameters.

        Raises:
            Crash: the constructor raised.
        """
        wide = Subject(
            self._implementation,
            self.spec,
            torch.float64,
            self._device,
            self.setup,
            self._tape,
            self._modules,
            "widened",
        )
        wide._restore({name: value.double() for name, value in self.parameters().items()})
        wide._written = dict(self._written)
        return wide

    def _restore(self, values: Mapping[str, Tensor]) -> None:
        """Overwrite its own parameters with what they were before, here or in another precision.

        Raises:
            Crash: it has others by now.
        """
        try:
            self.set_parameters(values)
        except DoesNotApply:
            problem = RuntimeError("its parameters have other names than they had before")
            raise Crash(f"{self.spec.name}.named_parameters", problem) from None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Call the component; give its tensor, or a tuple of tensors where it gives several.

        Gradients, by parameters too, can be taken where some argument requires one, and of every
        call inside :meth:`learning`.

        Raises:
            Crash: the component raised.
            ContractBroken: the answer's type, shapes or dtypes are not the contract's.
        """
        return self._call("", *args, **kwargs)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Give one of the component's methods, such as ``encode``, to be called in the same way.

        Raises:
            AttributeError: the contract names no such method.
        """
        if name.startswith("_") or name not in self.spec.methods:
            raise AttributeError(f"the contract knows no method {name!r} of this component")
        return partial(self._call, name)

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Record gradients in the calls made inside, whatever their arguments require."""
        before, self._learning = self._learning, True
        try:
            yield
        finally:
            self._learning = before

    @contextmanager
    def same_tensors(self) -> Iterator[None]:
        """Hand over the same tensors in the calls made inside, with the arguments copied into them.

        Otherwise every call gets copies of its own. A law changes its arguments in place in
        between, so that its script does the same.
        """
        self._keeps, self._last = True, None
        try:
            yield
        finally:
            self._keeps = False

    @contextmanager
    def training(self) -> Iterator[None]:
        """Put the module into train mode for the calls made inside.

        Raises:
            Crash: it cannot be put into it.
        """
        self._train(mode=True)
        try:
            yield
        finally:
            self._train(mode=False)

    def _train(self, *, mode: bool) -> None:
        component = self._constructed()
        self._before_a_change()
        try:
            with self._tape.paused():
                component.train(mode=mode)
        except BaseException as error:
            if ours(error):
                raise
            line = self._implementation.line_of(error)
            raise Crash(f"{self.spec.name}.train({mode})", error, line) from None
        self._tape.put_into_mode(self._label, train=mode)

    def _call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        component, spec = self._constructed(), self.spec.calls(method)
        arguments = spec.bind(args, kwargs)
        given = [tensor for value in arguments.values() for _, tensor in tensors_in(value)]
        graded = self._learning or any(tensor.requires_grad for tensor in given)
        if self._tape.recording and not self._tape.parameters:
            self._tape.parameters = self.parameters()
        watched = self._tape.recording and not self.spec.is_module
        try:
            same = self._keeps and method == self._last
            if same and (graded or any(isinstance(value, Kept) for value in arguments.values())):
                raise TypeError("the same tensors are for calls without gradients and caches")
            with self._tape.paused():
                results = self._answer(
                    component, method, arguments, graded=graded, watched=watched, same=same
                )
            self._last = method
        except (Crash, ContractBroken):
            self._tape.called(self._label, spec, method, arguments, (), graded=graded)
            raise
        if watched and component.drew:
            self._tape.drew()
        self._tape.called(self._label, spec, method, arguments, results, graded=graded)
        stateful = any(isinstance(value, Kept) for value in arguments.values())
        plain = isinstance(results[0], Tensor) and not results[0].is_inference()
        if plain and not stateful:
            state = self._state(method, arguments, results[0], graded=graded)
            self._latest.append((state, results[0], arguments))
        return results if len(results) > 1 else results[0]

    def _answer(
        self,
        component: Component,
        method: str,
        arguments: Mapping[str, Any],
        *,
        graded: bool,
        watched: bool = False,
        same: bool = False,
    ) -> tuple[Any, ...]:
        private = self._privately(arguments)
        call = partial(component.call, private, method, watched=watched, same=same)
        return self._checked(call, method, arguments, private, graded=graded)

    def _checked(
        self,
        call: Callable[[], object],
        method: str,
        arguments: Mapping[str, Any],
        private: Mapping[str, Any],
        *,
        graded: bool,
    ) -> tuple[Any, ...]:
        spec = self.spec.calls(method)
        try:
            with torch.set_grad_enabled(graded):
                answer = call()
        except BaseException as error:
            if ours(error):
                raise
            raise Crash(spec.name, error, self._implementation.line_of(error)) from None
        constructed = {} if self.setup is None else self.setup.arguments
        dtype = self.dtype if self.spec.is_module else None
        try:
            results = spec.check(answer, arguments, constructed, dtype)
        except ContractBroken as broken:
            if not method:
                raise
            raise ContractBroken(f"{spec.name} {broken}", broken.check) from None
        own = {name: value for name, value in arguments.items() if not isinstance(value, Kept)}
        self._require_same_device(spec, results, {name: private[name] for name in own})
        self._passed = own
        # Copies: a component may give the same buffer twice, changed in between. Within one answer
        # there is one of it, however often it is named.
        given: dict[int, Tensor] = {}

        def own_copy(tensor: Tensor) -> Tensor:
            if id(tensor) not in given:
                given[id(tensor)] = tensor.to("cpu", copy=True)
            return given[id(tensor)]

        return tuple(mapped(result, own_copy) for result in results)

    def _require_same_device(
        self, spec: CallSpec, results: tuple[Any, ...], private: Mapping[str, Any]
    ) -> None:
        devices = {t.device.type for value in private.values() for _, t in tensors_in(value)}
        if self.spec.is_module:
            devices.add(torch.device(self._device).type)
        for result, named in zip(results, spec.results, strict=True):
            for _, tensor in tensors_in(result):
                if devices and tensor.device.type not in devices:
                    raise ContractBroken(
                        f"returned {named.name} on {tensor.device.type}; "
                        f"expected it where the inputs are, on {', '.join(devices)}",
                        f"answer.device.type in {devices}",
                    )

    def _privately(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Copy arguments for the component; one tensor under two names stays one."""
        copies: dict[int, Tensor] = {}
        apart = self._constructed().apart

        def private(tensor: Tensor) -> Tensor:
            if apart:
                return tensor
            if id(tensor) not in copies:
                copies[id(tensor)] = tensor.to(self._device, copy=True)
            return copies[id(tensor)]

        return {
            name: value.value if isinstance(value, Kept) else mapped(value, private)
            for name, value in arguments.items()
        }

    def again(self, arguments: Mapping[str, Any], method: str = "") -> Tensor:
        """Give the first result of a call in float64: of one that was just made, if it is the same.

        Nothing of it is in a counterexample's script.

        Raises:
            Crash: the component raised.
            ContractBroken: the answer is not the contract's.
        """
        for state, result, _ in self._latest:
            if state == self._state(method, arguments, result, graded=False):
                return result.detach().double().clone()  # a law may overwrite its own
        passed = self._passed
        with self._tape.paused():
            given = {name: mapped(value, Tensor.detach) for name, value in arguments.items()}
            found: Tensor = self._answer(self._constructed(), method, given, graded=False)[0]
        self._passed = passed
        return found.double()

    def _state(
        self, method: str, arguments: Mapping[str, Any], result: Tensor, *, graded: bool
    ) -> _State:
        """Give what changes where a call would not be the same, or its result was overwritten."""
        own = {name: value for name, value in arguments.items() if value is not None}
        given = [t for value in own.values() for _, t in tensors_in(value)]
        versions = [t._version for t in (result, *given)]  # noqa: SLF001 - of what is done in place
        values = {n: v if isinstance(v, int) else id(v) for n, v in own.items()}
        return method, graded, self._changed, values, versions

    def nudged(
        self, arguments: Mapping[str, Any], method: str = "", *, seeds: Sequence[int], step: float
    ) -> list[Tensor]:
        """Give the first result with every parameter and floating input θ at θ (1 ± step).

        The signs are drawn from a seed, of which each gives one result. Nothing of it is in a
        counterexample's script, and the parameters are afterwards what they were.

        Raises:
            Crash: the component raised.
            ContractBroken: the answer is not the contract's.
        """
        passed, component = self._passed, self._constructed()
        with self._tape.paused():
            own = {n: p for n, p in self._own_parameters().items() if p.is_floating_point()}
            given = [t for value in arguments.values() for _, t in tensors_in(value)]
            given = [t for t in given if t.is_floating_point()]
            before = _Together([*own.values(), *given])
            moves: list[tuple[dict[str, Tensor], dict[str, Any]]] = []
            for seed in seeds:
                moved = before.nudged(seed, step)
                inputs = {id(t): m for t, m in zip(given, moved[len(own) :], strict=True)}
                passed_on = {
                    name: mapped(value, lambda t, by=inputs: by.get(id(t), t).detach())  # type: ignore[misc]
                    for name, value in arguments.items()
                }
                moves.append((dict(zip(own, moved, strict=False)), self._privately(passed_on)))
            try:
                call = partial(next, component.moved(moves, method))
                answers = [
                    self._checked(call, method, arguments, private, graded=False)
                    for _, private in moves
                ]
            finally:
                component.set_parameters(dict(zip(own, before.copies(), strict=False)))
        self._passed = passed
        return [answer[0].double() for answer in answers]

    def later(self, least: float, find: Callable[[], Tensor]) -> Tensor:
        """Give a bound that is found out where it decides, or before parameters or mode change.

        It is found out at once where a law is traced: there is one run, and torch may ask for the
        bound in the middle of an operation, when nothing can be traced or paused.

        Args:
            least: what it is at least.
            find: finds it out with the parameters as they are now.

        Returns:
            What a law may take for a tensor without dimensions.
        """
        if self._tape.recording:
            return find()
        estimate = Estimate(least, find)
        self._estimates.append(ref(estimate))
        return cast("Tensor", estimate)

    def _before_a_change(self) -> None:
        """Find out all bounds that somebody may still want, since they would change with it."""
        self._changed += 1
        waiting, self._estimates = self._estimates, []
        for estimate in waiting:
            wanted = estimate()
            if wanted is not None:
                wanted.whole()

    def once(
        self, what: str, arguments: Mapping[str, Any], method: str, compute: Callable[[], Value]
    ) -> Value:
        """Compute what follows from parameters and arguments alone, of a trusted component once.

        Args:
            what: a name for it.
            arguments: of the call by name.
            method: one of its methods; the plain call where it is empty.
            compute: does it.
        """
        kept = self._implementation.kept
        if kept is None or any(isinstance(value, Kept) for value in arguments.values()):
            return compute()
        own = {name: _content(value) for name, value in self._own_parameters().items()}
        given = {name: _content(value) for name, value in arguments.items()}
        sizes = None if self.setup is None else tuple(self.setup.arguments.items())
        run = (self.spec.name, sizes, method, self.dtype, self._device)
        text = repr((run, own, given)).encode()
        key = (what, hashlib.blake2b(text, digest_size=16).digest())
        if key not in kept:
            kept[key] = compute()
            while len(kept) > MOST_KEPT:
                del kept[next(iter(kept))]  # the oldest; whoever needs it computes it again
        found: Value = mapped(kept[key], Tensor.clone)  # a law may do with it as it likes
        return found

    def inputs_after_call(self) -> list[tuple[str, Tensor, Tensor]]:
        """Give every tensor of the last call as (name, what was passed, what is there now)."""
        with self._tape.paused():
            seen, held = [], self._constructed().arguments()
            for name, value in self._passed.items():
                pairs = zip(tensors_in(value), tensors_in(held[name]), strict=True)
                for (path, before), (_, after) in pairs:
                    now = after.detach().to("cpu", copy=True)
                    self._tape.alias(now, before)
                    seen.append((name + path, before.detach().clone(), now))
            return seen

    def records_gradients(self) -> Tensor:
        """Say whether gradients were recorded when the last call was over: a bool without axes."""
        with self._tape.paused():
            records = torch.tensor(self._constructed().records)
        self._tape.asked_for_gradients(records)
        return records

    def _own_parameters(self) -> dict[str, Tensor]:
        component = self._constructed()
        if self._version != component.version:
            self._version = component.version
            own = component.parameters()
            if own is self._all and all(p.requires_grad is learns for p, learns in self._single):
                return self._parameters
            self._all = own
            self._single = [(p, p.requires_grad) for p in own.values() if p.numel() == 1]
            # A number that never learns, such as a scale or what hides a key, is a constant.
            self._parameters = {
                name: p for name, p in own.items() if p.requires_grad or p.numel() != 1
            }
        return self._parameters

    def largest_parameter(self) -> float:
        """Give the size of the largest entry of any parameter, as they were written last.

        A module may store its weights in any layout. Whatever it is, a row sum is at most this
        times the width of the row, and a bias at most this.
        """
        return self._size("entry", lambda p: p.abs().max())

    def longest_row(self) -> float:
        """Give the Euclidean length of the longest row or column of any parameter, likewise.

        Whatever the layout, no row of a matrix that the module multiplies by is longer.
        """
        return self._size("row", _longest)

    def _size(self, what: str, measure: Callable[[Tensor], Tensor]) -> float:
        self._constructed()
        if what not in self._sizes:
            with self._tape.paused(), torch.no_grad():
                own = [measure(p) for p in self._written.values() if p.numel()]
                self._sizes[what] = float(torch.stack(own).max()) if own else 0.0
        return self._sizes[what]

    def parameters(self) -> dict[str, Tensor]:
        """Give copies of the parameters by name."""
        with self._tape.paused():
            return {
                name: value.detach().clone() if value.is_cpu else value.detach().cpu()
                for name, value in self._own_parameters().items()
            }

    def parameter_count(self) -> Tensor:
        """Give how many numbers its parameters hold, as a tensor without dimensions."""
        with self._tape.paused():
            count = torch.tensor(sum(p.numel() for p in self._own_parameters().values()))
        self._tape.counted(self._label, count)
        return count

    def set_parameters(self, values: Mapping[str, Tensor]) -> None:
        """Overwrite some parameters in place.

        Raises:
            DoesNotApply: there is no parameter of such a name.
        """
        if values:
            unknown = set(values) - set(self._own_parameters())
            if unknown:
                raise DoesNotApply(f"it has no parameter named {', '.join(sorted(unknown))}")
            self._before_a_change()
            with self._tape.paused():
                self._constructed().set_parameters(values)
            self._written.update(values)
            self._sizes.clear()
            self._tape.overwrote(self._label, values)

    def parameter_gradients(self, scalar: Tensor) -> dict[str, Tensor]:
        """Give the gradient of a scalar by every parameter; zeros where it does not depend on one.

        Raises:
            Crash: the component cannot be differentiated.
        """
        own = {n: p for n, p in self._own_parameters().items() if p.requires_grad}
        if not own:
            return {}
        try:
            with self._tape.paused(), differentiating(by=own.values()):
                found = torch.autograd.grad(
                    scalar, list(own.values()), retain_graph=True, materialize_grads=True
                )
        except RuntimeError as error:
            self._tape.differentiated(self._label, scalar, {})
            line = self._implementation.line_of(error)
            raise Crash(f"the gradient of {self.spec.name}", error, line) from None
        with self._tape.paused():
            by_name = {name: grad.to("cpu") for name, grad in zip(own, found, strict=True)}
        self._tape.differentiated(self._label, scalar, by_name)
        return by_name


def _content(value: Any) -> Hashable:  # noqa: ANN401 - whatever an argument is
    """Give something that is equal for equal values, wherever they are."""
    if isinstance(value, Tensor):
        # A copy: a single number may be stored with a stride, as bytes it may not.
        row = value.detach().cpu().flatten().clone(memory_format=torch.contiguous_format)
        return row.dtype, value.shape, row.view(torch.uint8).numpy().tobytes()
    if isinstance(value, tuple | list):
        return tuple(_content(inner) for inner in value)
    other: Hashable = value
    return other


def _started(parameters: Mapping[str, Tensor]) -> _Start:
    """Note what parameters are."""
    together = _Together([p.detach() for p in parameters.values()])
    initial = dict(zip(parameters, together.copies(), strict=True))
    beyond, large = set[str](), dict[str, Tensor]()
    if not together.within(LARGEST_OF_A_VECTOR):
        beyond = {n for n, p in initial.items() if _beyond(p, LARGEST)}
        vectors = {n for n, p in initial.items() if p.dim() < 2 and _beyond(p, LARGEST_OF_A_VECTOR)}
        several = {n for n, p in parameters.items() if p.requires_grad and p.numel() > 1}
        large = {n: p for n, p in initial.items() if n in (beyond | vectors) & several}
    blank = {n: p for n, p in initial.items() if p.dim() >= 2 or not p.any() or n in large}
    clipped = initial | {n: initial[n].clamp(-LARGEST, LARGEST) for n in beyond}
    return _Start(initial, clipped, large, blank)


def _beyond(parameter: Tensor, largest: float) -> bool:
    """Whether it has numbers that are larger than this, and all of them are numbers."""
    if not parameter.is_floating_point() or not parameter.isfinite().all():
        return False
    return bool((parameter.abs() > largest).any())


def _redrawn(blank: Mapping[str, Tensor], setup: Setup) -> dict[str, Tensor]:
    shapes = tuple((tuple(p.shape), p.dtype) for p in blank.values())
    return dict(zip(blank, _drawn(shapes, setup.seed, setup.gain), strict=True))


@lru_cache(maxsize=1024)
def _drawn(
    shapes: tuple[tuple[tuple[int, ...], torch.dtype], ...], seed: int, gain: float
) -> tuple[Tensor, ...]:
    """Draw matrices of these shapes, once for all laws that share an example."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for shape, dtype in shapes:
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        drawn.append(noise.mul_(gain / (shape[-1] if shape else 1) ** 0.5).to(dtype))
    return tuple(drawn)


class _Together:
    """Copies of tensors of numbers θ, made and moved in a few operations however many they are."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        alike = [
            list(several) for _, several in groupby(tensors, key=lambda t: (t.dtype, t.device))
        ]
        self._parts = [(flatten(several).cpu(), several) for several in alike]

    def copies(self) -> list[Tensor]:
        """Give them as they were."""
        return [part for numbers, like in self._parts for part in cut(numbers, like)]

    def within(self, limit: float) -> bool:
        """Whether all numbers of floating point are finite, and as small as this."""
        numbers = [part for part, _ in self._parts if part.is_floating_point()]
        return all(bool((part.abs() <= limit).all()) for part in numbers)

    def nudged(self, seed: int, step: float) -> list[Tensor]:
        """Give them with each θ at θ (1 ± step)."""
        found: list[Tensor] = []
        for index, (numbers, like) in enumerate(self._parts):
            size = 1 << numbers.numel().bit_length()  # few sizes, so that signs are drawn once
            factors = _factors(size, numbers.dtype, 1000 * seed + index, step)
            found += cut(numbers * factors[: numbers.numel()], like)
        return found


@lru_cache(maxsize=64)
def _factors(size: int, dtype: torch.dtype, seed: int, step: float) -> Tensor:
    """Draw numbers of which half are 1 + step and half 1 - step."""
    generator = torch.Generator().manual_seed(seed)
    return 1 + step * (2 * torch.randint(2, (size,), generator=generator) - 1).to(dtype)


def _longest(parameter: Tensor) -> Tensor:
    if parameter.dim() < 2:  # a bias is added entry by entry
        return parameter.abs().max()
    matrix = parameter.flatten(1)
    return torch.maximum(matrix.norm(dim=0).max(), matrix.norm(dim=1).max())


def _listed(arguments: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in arguments.items())
