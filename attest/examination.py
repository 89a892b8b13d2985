"""Examining one property against one implementation. It never raises; it gives evidence."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import random
import re
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import hypothesis
import numpy.random as numpy_random  # numpy imports it late, which would be in every worker
import torch
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis import strategies as st
from hypothesis.errors import Flaky, Unsatisfiable, UnsatisfiedAssumption
from torch import Tensor

from attest.checks import NEAR, Crash, DoesNotApply, Observer, Violation, observing
from attest.contract import CONTRACT, ContractBroken
from attest.counterexamples import describe, difference, reproduces
from attest.evidence import Evidence, Status
from attest.implementations import Implementation, LocalImplementation, SubmissionError
from attest.laws import Property
from attest.limits import Ended, TimeLimit, WorkerError, limited
from attest.messages import exception_line, printable
from attest.regimes import KINDS_OF_EXAMPLES, kinds_of_example
from attest.shrinking import limits, narrower, simplify, slimmer
from attest.specification import tensors_in
from attest.subject import Modules, Setup, Subject
from attest.tape import Tape

__all__ = ["MIXED", "Example", "Settings", "draw_shared", "examine", "quiet"]

MIXED = "float64 and float32"
"""Algebra in float64, and one example in five in float32."""

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

# How many examples of a property are shared, and in how many blocks of them at most a law looks for
# as many that it does not reject. Counterexamples are found soon, and looked for in smaller blocks.
SHARED = 100
BLOCKS = 4
SMALL_BLOCK = 20

# A change that never came counts only where it had that many chances: a law may ask for some, such
# as what a parameter of the fifth head does, in few examples. Where few examples are asked for, a
# law whose change has not come yet, or whose checks could not have failed yet, gets more of them,
# up to those that are shared: few examples accuse nobody of a change that is rare.
ENOUGH = 10

# Of the shared examples this share goes where luck seldom does: the longest and those whose scores
# are furthest apart, each of them one of STEERED that Hypothesis has steered there.
HARD_SHARE = 0.1
STEERED = 4

# In so many examples more is a larger error looked for, where one comes near its bound.
CLOSER = 20

PHASES = (Phase.generate, Phase.target, Phase.shrink)

_FAILURES = (Violation, ContractBroken, Crash, AssertionError)


@dataclass(frozen=True)
class Settings:
    """How to examine.

    Attributes:
        examples: how many examples a law is tried on.
        seed: deals out every property's own seed.
        dtype: float64, float32 or both of them for algebra; one of these or a lower precision for
            the laws that speak of rounding.
        device: where components run.
        seconds: the time limit for one property.
        total: the time limit for all properties of one implementation together, in seconds of the
            processes that examine them.
        explain: whether to make a counterexample small and describe it; without, a failure is
            found sooner and says no more than that there is one.
        quick: whether reports call this a quick pass; it changes nothing else.
        drawn_for: how many examples the run has whose first ones are taken; by default as many as
            are asked for.
        patient: whether a law gets more examples than are asked for where a change that should be
            seen has not come yet, and its bounds are known to be small enough to test anything.
            Without, such a law decides nothing, and failures alone are looked for.
    """

    examples: int = 100
    seed: int = 0
    dtype: str = MIXED
    device: str = "cpu"
    seconds: float = 60.0
    explain: bool = True
    quick: bool = False
    drawn_for: int = 0
    patient: bool = True
    total: float = math.inf


@dataclass(frozen=True)
class Example:
    """One drawn example: the law's inputs by name, how its module is constructed, its dtype."""

    inputs: Mapping[str, Any]
    setup: Setup | None
    dtype: str


@dataclass(frozen=True, eq=False)
class _Drawn:
    """What a strategy drew, for all laws that share it, and of which kinds it is in a dtype."""

    inputs: Mapping[str, Any]
    kinds: dict[str, tuple[str, ...]] = field(default_factory=dict)


class _Examination:
    """One property against one implementation."""

    def __init__(
        self,
        prop: Property,
        implementation: Implementation,
        oracle: Implementation | None,
        settings: Settings,
    ) -> None:
        self.prop = prop
        self.implementation = implementation
        self.oracle = oracle
        self.settings = settings
        self.spec = CONTRACT[prop.component]
        self.gathers = prop.gathers
        self.examples = 0
        self.informative = 0
        self.ratio = 0.0
        self.tried: Counter[str] = Counter()
        self.witnesses: dict[str, bool] = {}
        self.unseen: dict[str, list[tuple[Example, Violation]]] = {}
        self.failures: list[tuple[Example, BaseException]] = []
        self.modules: Modules = {} if implementation.kept is None else implementation.kept

    def example(self, drawn: Mapping[str, Any], dtype: str) -> Example:
        """Turn what was drawn into an example in its dtype."""
        made: dict[int, Tensor] = {}  # one tensor under two names stays one
        inputs = {name: _cast(value, DTYPES[dtype], made) for name, value in drawn.items()}
        setup = inputs.pop("setup", None)
        return Example({"arguments": inputs} if self.gathers else inputs, setup, dtype)

    def run(
        self,
        example: Example,
        tape: Tape | None = None,
        modules: Modules | None = None,
        observer: Observer | None = None,
    ) -> Observer:
        """Run the law on one example; it raises where it does not hold.

        Args:
            example: the example.
            tape: records what happens.
            modules: modules of earlier examples to use again; without, a new one is constructed,
                but for what a law compares it with.
            observer: hears the checks; by default one that knows of no other example.
        """
        observer = observer or Observer()
        dtype = DTYPES[example.dtype]
        if tape is not None:
            for name, value in _flat(example.inputs):
                if isinstance(value, Tensor):
                    tape.given(name, value)
        with observing(observer), tape or contextlib.nullcontext():
            subject = Subject(
                self.implementation,
                self.spec,
                dtype,
                self.settings.device,
                example.setup,
                tape,
                modules,
            )
            arguments: list[Any] = [subject]
            if self.prop.oracle:
                with tape.paused() if tape is not None else contextlib.nullcontext():
                    arguments.append(self._with_same_parameters(subject, example))
            self.prop.function(*arguments, **example.inputs)
        return observer

    def _with_same_parameters(self, subject: Subject, example: Example) -> Subject:
        if self.oracle is None:
            raise DoesNotApply("there is no reference to compare with")
        dtype, device = DTYPES[example.dtype], self.settings.device
        kept, setup = self.oracle.kept, example.setup
        other = Subject(self.oracle, self.spec, dtype, device, setup, None, kept, "compared with")
        other.set_parameters(subject.parameters())
        return other

    def check_that_it_applies(self) -> None:
        """Decide by how parameters are stored, at sizes of which no two are alike.

        Raises:
            DoesNotApply: the law has nothing to say about this implementation.
        """
        if not self.prop.named and self.prop.applies is None:
            return
        try:
            own = self._example_parameters(self.implementation)
        except Crash:
            return  # the law will meet it, too
        if self.prop.applies is not None:
            reason = self.prop.applies(own)
            if reason is not None:
                raise DoesNotApply(reason)
        if self.prop.named:
            if self.oracle is None:
                raise DoesNotApply("there is no reference to take names from")
            theirs = self._example_parameters(self.oracle)
            if {n: v.shape for n, v in own.items()} != {n: v.shape for n, v in theirs.items()}:
                raise DoesNotApply("its parameters differ from the reference's in name or shape")

    def _example_parameters(self, implementation: Implementation) -> dict[str, Tensor]:
        dtype, setup = DTYPES[self.dtypes[0]], Setup(self.spec.example)
        device, kept = self.settings.device, implementation.kept
        return Subject(implementation, self.spec, dtype, device, setup, modules=kept).parameters()

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes that the law is examined in.

        Algebra is examined in float64, and now and then in float32, in which a component may take
        another path; or in float32 alone where that is asked for. A lower precision is for the
        laws that speak of rounding, which then keep to it.
        """
        wanted, own = self.settings.dtype, self.prop.dtypes
        if own:
            return (wanted,) if wanted in own and wanted != "float64" else own
        if self.prop.pinned is not None:
            return ("float64",)
        if wanted == MIXED:
            return ("float64",) * 3 + ("float32", "float64")
        return ("float32",) if wanted == "float32" else ("float64",)

    def search(self) -> BaseException | None:
        """Look for an example where the law fails; give its failure, the smallest found.

        The first examples are shared by all laws that draw the same inputs. Examples beyond them
        are drawn for this law alone, where Hypothesis steers towards errors near their bound. So
        are those that make a failure small.
        """
        asked = self.settings.examples
        wanted = min(asked, math.ceil(self.prop.share * max(asked, SHARED)))
        failure = self._try_shared(min(wanted, SHARED))
        if failure is None and wanted <= SHARED and self.ratio >= NEAR:
            failure = self._try_own(min(wanted, CLOSER))
        if failure is not None and self.settings.explain:
            shared = self.failures[-1]
            failure = self._try_own(wanted) or failure
            if not isinstance(failure, type(shared[1])):  # rarer than the search is long
                self.failures.append(shared)
                failure = shared[1]
        elif failure is None and wanted > SHARED:
            failure = self._try_own(wanted - SHARED)
        return failure or self._missing_witness()

    def find(self) -> BaseException | None:
        """Look for any example where the law fails, however few examples are asked for."""
        return self._try_shared(SHARED, SMALL_BLOCK)

    def _try_shared(self, wanted: int, size: int = SHARED) -> BaseException | None:
        size = min(size, _block_size(wanted, self.settings))
        prop, seed = self.prop, self.settings.seed
        for block in range(BLOCKS * -(-SHARED // size)):
            if self._tried_enough(wanted):
                return None
            drawn = _drawn(prop.inputs, prop.component, seed, block, size)
            for index, one in enumerate(drawn):
                if self._tried_enough(wanted):
                    return None
                dtype = self.dtypes[index % len(self.dtypes)]
                try:
                    self._try(self.example(one.inputs, dtype), self.modules)
                    self._note(one, dtype)
                except UnsatisfiedAssumption:
                    continue
                except _FAILURES as failure:
                    return failure
            if len(drawn) < size:
                return None  # there are no others
        return None

    def _tried_enough(self, wanted: int) -> bool:
        """Whether as many examples were tried as wanted, or as many more as tell something."""
        settled = bool(self.informative) and all(self.witnesses.values())
        return self.examples >= (wanted if settled or not self.settings.patient else SHARED)

    def _try(self, example: Example, modules: Modules | None = None) -> Observer:
        observer = Observer()
        # One of many, and nobody is steered by it; of the reference it is told how near it came.
        if modules is not None and self.implementation is not self.oracle:
            seen = frozenset(sentence for sentence, seen in self.witnesses.items() if seen)
            settled = self.informative > 0 or not self.settings.patient
            observer = Observer(settled=settled, seen=seen)
        try:
            self.run(example, modules=modules, observer=observer)
        except _FAILURES as failure:
            self.failures.append((example, failure))
            raise
        if not self.failures:
            self._count(example, observer)
        return observer

    def _note(self, drawn: _Drawn, dtype: str) -> None:
        """Count of which kinds an example is that was tried."""
        if dtype not in drawn.kinds:
            setup = drawn.inputs.get("setup")
            constructed = {} if setup is None else setup.arguments
            inputs = {name: value for name, value in drawn.inputs.items() if name != "setup"}
            drawn.kinds[dtype] = kinds_of_example(inputs, constructed, self.spec, DTYPES[dtype])
        self.tried.update(drawn.kinds[dtype])

    def kinds(self) -> dict[str, int]:
        """Say how many examples of each kind were tried, in the order of the kinds."""
        return {kind: self.tried[kind] for kind in KINDS_OF_EXAMPLES if self.tried[kind]}

    def _try_own(self, wanted: int) -> BaseException | None:
        def test(inputs: dict[str, Any], dtype: str) -> None:
            ratio = self._try(self.example(inputs, dtype)).ratio
            if not self.failures:
                self._note(_Drawn(inputs), dtype)
            if math.isfinite(ratio) and ratio > 0:
                hypothesis.target(min(ratio, 1e9), label="error over bound")
            _steer(inputs)

        if self.prop.inputs is None:
            return None
        drawn = hypothesis.given(inputs=self.prop.inputs, dtype=st.sampled_from(self.dtypes))(test)
        phases = PHASES if self.settings.explain else PHASES[:-1]
        try:
            _configured(drawn, _seed(self.settings.seed, self.prop.id), wanted, phases)()
        except Unsatisfiable:
            return None
        except Flaky:
            if not self.failures:
                raise
            return self.failures[-1][1]
        except _FAILURES as failure:
            return failure
        return None

    def _missing_witness(self) -> BaseException | None:
        """Give the failure of a change that should have been seen and never was."""
        for sentence, seen in self.witnesses.items():
            if not seen and len(self.unseen[sentence]) >= ENOUGH:
                tried = sorted(self.unseen[sentence], key=lambda seen: _size(seen[0]))
                # The smallest where something does change in the reference; without one, some
                # example that is not the very smallest, where nothing could.
                example, violation = next(
                    (seen for seen in tried if self._changes_in_the_reference(seen[0])),
                    tried[len(tried) // 3],
                )
                violation.what = f"never in {self.examples} examples: {sentence}"
                violation.args = (violation.what,)
                self.failures.append((example, violation))
                return violation
        return None

    def not_seen_yet(self) -> str | None:
        """Name a change that should be seen and has not been, where nobody waits for it."""
        missing = [sentence for sentence, seen in self.witnesses.items() if not seen]
        return f"not seen yet: {missing[0]}" if missing and not self.settings.patient else None

    def _in_the_reference(self, example: Example, *, same: bool = False) -> Observer | None:
        """Run the law on the reference; None where it does not hold.

        Args:
            example: the example.
            same: only with the example's own matrices; otherwise with drawn ones where the
                reference's have other names.
        """
        if self.oracle is None:
            return None
        reference = _Examination(self.prop, self.oracle, self.oracle, self.settings)
        try:
            try:
                return reference.run(example)
            except DoesNotApply:  # its matrices have other names
                if same or example.setup is None:
                    return None
                return reference.run(replace(example, setup=replace(example.setup, matrices=None)))
        except Exception:  # noqa: BLE001 - whatever it is, it does not hold
            return None

    def _holds_in_the_reference(self, example: Example) -> bool:
        return self._in_the_reference(example) is not None

    def _changes_in_the_reference(self, example: Example, sentence: str | None = None) -> bool:
        """Whether the change is seen there; all changes where it knows none of this name."""
        seen = self._in_the_reference(example)
        if seen is None or not seen.witnesses:
            return False
        return seen.witnesses.get(sentence or "", all(seen.witnesses.values()))

    def _count(self, example: Example, observer: Observer) -> None:
        self.examples += 1
        self.informative += observer.informative or (observer.spared and not self.settings.patient)
        self.ratio = max(self.ratio, observer.ratio)
        for sentence, seen in observer.witnesses.items():
            self.witnesses[sentence] = self.witnesses.get(sentence, False) or seen
            self.unseen.setdefault(sentence, []).append((example, observer.unseen[sentence]))

    def smallest(self) -> tuple[Example, BaseException]:
        """Make the last failure, which Hypothesis has shrunk already, narrower and simpler.

        Zeroes move nothing. Where a law asks for a change, or for more than some limit, matrices
        are simplified only as far as the law holds for the reference with the same ones.
        """
        example, failure = self._most_telling()
        if (
            not isinstance(failure, Violation | ContractBroken | Crash)
            or _relation(failure) == "is"
        ):
            return example, failure
        moves = _relation(failure) in {"differs", "above"}

        latest: list[tuple[Example, BaseException]] = [(example, failure)]
        held = self._holds_in_the_reference(example)

        def fails(candidate: Example) -> bool:
            again = self._fails_alike(candidate, failure, held=held)
            if again is not None:
                latest.append((candidate, again))
            return again is not None

        if _relation(failure) == "differs" and not fails(example):
            return example, failure  # nothing says that something should change here
        same = not moves or self._comparable(example)
        if not isinstance(failure, Violation):  # numbers hardly matter
            same = example.setup is not None and not fails(_as_made(example))
        for _ in range(2):  # what is simpler may be narrower
            for _ in narrower(self.spec, latest[-1][0].inputs, _like(latest[-1][0], fails)):
                pass
            while self._slim(latest[-1][0], fails):
                pass
            example = latest[-1][0]
            matrices = self._matrices(example) if same else {}
            sizes = example.setup.arguments if example.setup is not None else {}
            between = limits(self.spec, example.inputs, sizes)
            simplify(example.inputs, matrices, _like(example, fails), between)
        return latest[-1]

    def _most_telling(self) -> tuple[Example, BaseException]:
        """Give a failure that nobody would take for rounding, if there is one like the last."""
        last = self.failures[-1]
        if not isinstance(last[1], Violation) or last[1].relation not in _COMPARISONS:
            return last
        for example, failure in reversed(self.failures):
            if _alike(failure, last[1]) and _shows(failure):
                return example, failure
        for example in self._shared_examples():
            found = self._fails_alike(example, last[1], held=False)
            if found is not None and _shows(found):
                return example, found
        return last

    def _shared_examples(self) -> Iterator[Example]:
        drawn = _drawn(self.prop.inputs, self.prop.component, self.settings.seed, 0, SHARED)
        for index, one in enumerate(drawn):
            yield self.example(one.inputs, self.dtypes[index % len(self.dtypes)])

    def _fails_alike(
        self, candidate: Example, failure: BaseException, *, held: bool
    ) -> BaseException | None:
        """Run the law on a candidate; None where it does not fail, or in another way.

        Args:
            candidate: the candidate.
            failure: how it should fail.
            held: whether it has to hold in the reference: elsewhere a law does not speak.
        """
        try:
            observer = self.run(candidate)
        except (Violation, ContractBroken, Crash) as again:
            if not _alike(again, failure) or (_shows(failure) and not _shows(again)):
                return None
            if held and not self._holds_in_the_reference(candidate):
                return None
            return again
        except Exception:  # noqa: BLE001 - another failure, or sizes that the law cannot take
            return None
        if not isinstance(failure, Violation) or failure.relation != "differs":
            return None
        sentence = failure.what.partition(": ")[2]
        if observer.witnesses.get(sentence, True):
            return None
        return failure if self._changes_in_the_reference(candidate, sentence) else None

    def _comparable(self, example: Example) -> bool:
        """Whether the reference takes the same matrices."""
        setup = example.setup
        if setup is None:
            return True
        matrices = self._matrices(example)
        own = replace(example, setup=replace(setup, matrices=matrices))
        return self._in_the_reference(own, same=True) is not None

    def _slim(self, example: Example, fails: Callable[[Example], bool]) -> bool:
        """Look for smaller integers of the constructor for which the law still fails.

        Matrices are drawn anew, until they have been simplified; then they are cut.
        """
        setup = example.setup
        if setup is None:
            return False
        for inputs, sizes in slimmer(self.spec, example.inputs, setup.arguments):
            as_made = setup.matrices is not None and not setup.matrices
            drawn = replace(setup, arguments=sizes, matrices={} if as_made else None)
            candidate = Example(inputs, drawn, example.dtype)
            if setup.matrices:
                matrices = _corners(setup.matrices, self._matrices(candidate))
                candidate = replace(candidate, setup=replace(drawn, matrices=matrices))
            if fails(candidate):
                return True
        return False

    def _matrices(self, example: Example) -> Mapping[str, Tensor]:
        """Give the matrices that a module starts this example with, and its biases."""
        if example.setup is None:
            return {}
        subject = Subject(
            self.implementation,
            self.spec,
            DTYPES[example.dtype],
            self.settings.device,
            example.setup,
        )
        biases = {}
        with contextlib.suppress(Crash):
            own = subject.parameters().items()
            biases = {n: v for n, v in own if v.dim() == 1 and n.endswith("bias")}
        matrices = (subject.setup or example.setup).matrices or {}
        return {**matrices, **{name: v for name, v in biases.items() if name not in matrices}}

    def recorded(self, example: Example) -> tuple[Tape, BaseException | None]:
        """Run the law once more with a tape."""
        tape = Tape(recording=True)
        try:
            self.run(example, tape)
        except (*_FAILURES, UnsatisfiedAssumption, DoesNotApply) as failure:
            return tape, failure
        return tape, None


@contextlib.contextmanager
def _constants_of_nobody() -> Iterator[None]:
    """Keep Hypothesis from drawing constants that it finds in the sources of loaded modules.

    They are those of the submission, of the ledger and of whoever runs this, so that the same
    settings would draw other examples once another file is loaded. Hypothesis has no setting.
    """
    try:
        constants: Any = import_module("hypothesis.internal.constants_ast")
        providers: Any = import_module("hypothesis.internal.conjecture.providers")
        before, none = providers._get_local_constants, constants.Constants()  # noqa: SLF001
    except (ImportError, AttributeError):  # another version, which may draw them in another way
        yield
        return
    providers.CONSTANTS_CACHE.cache.clear()
    providers._get_local_constants = lambda: none  # noqa: SLF001
    try:
        yield
    finally:
        providers._get_local_constants = before  # noqa: SLF001
        providers.CONSTANTS_CACHE.cache.clear()


def _configured(
    test: Callable[[], None], seed: int, examples: int, phases: tuple[Phase, ...]
) -> Callable[[], None]:
    """Configure a Hypothesis test so that it depends on nothing but its seed."""
    settings = hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=phases,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    configured = hypothesis.seed(seed)(settings(test))

    def run() -> None:
        with _constants_of_nobody():
            configured()

    return run


@lru_cache(maxsize=512)
def _drawn(
    inputs: st.SearchStrategy[dict[str, Any]] | None,
    component: str,
    seed: int,
    block: int,
    wanted: int,
) -> tuple[_Drawn, ...]:
    """Draw examples once for all laws that take the same inputs.

    Drawing costs as much as examining, and depends on nothing that a law does. Most are drawn
    evenly; the last ones are hard.
    """
    if inputs is None:
        return ()
    hard = int(wanted * HARD_SHARE)
    some_seed = _seed(seed, f"{component} {block}")
    examples: list[_Drawn] = []

    def keep(drawn: dict[str, Any]) -> None:
        examples.append(_Drawn(drawn))

    with contextlib.suppress(Unsatisfiable):
        test = hypothesis.given(drawn=inputs)(keep)
        _configured(test, some_seed, wanted - hard, (Phase.generate,))()
        if len(examples) == wanted - hard:  # otherwise there are no others
            examples += _hard(inputs, some_seed, hard)
    return tuple(examples)


def _hard(inputs: st.SearchStrategy[dict[str, Any]], seed: int, wanted: int) -> list[_Drawn]:
    """Draw examples that are long, and examples whose scores are far apart."""
    found: list[tuple[float, float, _Drawn]] = []

    def keep(drawn: dict[str, Any]) -> None:
        found.append((*_steer(drawn), _Drawn(drawn)))

    if wanted:
        test = hypothesis.given(drawn=inputs)(keep)
        _configured(test, seed, STEERED * wanted, (Phase.generate, Phase.target))()
    # One of each: Hypothesis comes back to what it found, with another mask or another sign.
    unlike = list({(apart, length): one for apart, length, one in reversed(found)}.items())
    widest = sorted(unlike, key=lambda item: item[0], reverse=True)[: wanted - wanted // 2]
    rest = [item for item in unlike if item not in widest]
    longest = sorted(rest, key=lambda item: item[0][::-1], reverse=True)[: wanted // 2]
    chosen = [one for _, one in (*widest, *longest)]
    others = [one for *_, one in found if one not in chosen]
    return (chosen + others)[:wanted]


_FAR = 1e3  # scores whose size overflows are no further apart for Hypothesis, which needs numbers


def _steer(drawn: Mapping[str, Any]) -> tuple[float, float]:
    """Make for where scores are far apart and sequences long; give both, the first as a logarithm.

    How far apart scores can be grows with the products of the tokens: with their length, squared.
    """
    tensors = [t.detach() for _, value in _flat(drawn) for _, t in tensors_in(value)]
    tokens = [t for t in tensors if t.is_floating_point() and t.dim() and t.numel()]
    longest = max((float(t.double().norm(dim=-1).max()) for t in tokens), default=0.0)
    apart = min(2 * math.log(longest), _FAR) if longest > 0 else 0.0
    numbers = [value for _, value in _flat(drawn) if type(value) is int]
    length = float(max([*numbers, *(max(t.shape, default=0) for t in tensors)], default=0))
    hypothesis.target(apart, label="range of scores")
    hypothesis.target(length, label="length")
    return apart, length


def _corners(matrices: Mapping[str, Tensor], shaped: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cut matrices to the shapes of others; one that is not there, or too small, is taken over."""
    found = {}
    for name, like in shaped.items():
        corner = matrices.get(name, like)[tuple(slice(n) for n in like.shape)]
        found[name] = corner.clone() if corner.shape == like.shape else like
    return found


def _block_size(wanted: int, settings: Settings) -> int:
    """Say how many examples are drawn together.

    Not fewer than a few: the first one of every block is the simplest there is.
    """
    return min(SHARED, max(wanted, settings.drawn_for, ENOUGH))


def draw_shared(prop: Property, settings: Settings) -> None:
    """Draw the examples that a property shares, so that processes forked later have them."""
    if prop.inputs is None or prop.pinned is not None:
        return
    # A strategy that raises, or takes too long, is met again where the property is examined.
    with contextlib.suppress(Exception, TimeLimit), quiet(), limited(settings.seconds):
        size = _block_size(min(settings.examples, SHARED), settings)
        _drawn(prop.inputs, prop.component, settings.seed, 0, size)


def _size(example: Example) -> int:
    return sum(v.numel() for _, v in _flat(example.inputs) if isinstance(v, Tensor))


def _like(
    example: Example, fails: Callable[[Example], bool]
) -> Callable[[Mapping[str, Any], Mapping[str, Tensor]], bool]:
    """Let ``fails`` take inputs and matrices in place of an example's."""

    def fails_with(inputs: Mapping[str, Any], matrices: Mapping[str, Tensor]) -> bool:
        setup = example.setup
        if setup is not None and matrices:
            setup = replace(setup, matrices=matrices)
        return fails(Example(inputs, setup, example.dtype))

    return fails_with


def examine(
    prop: Property,
    implementation: Implementation,
    settings: Settings | None = None,
    oracle: Implementation | None = None,
) -> Evidence:
    """Examine one property against one implementation.

    It never raises, KeyboardInterrupt apart: whatever the implementation does becomes evidence.
    Where a worker holds it and is lost, which tells nothing of it, WorkerError is raised.
    The verdict depends on the property, the implementation and the settings alone. How many
    examples were informative, and how near its bound the largest error came, is found out in full
    where the implementation is the oracle.

    Args:
        prop: the property.
        implementation: what to examine it against.
        settings: how; by default 100 examples in float64 on the CPU.
        oracle: the reference, for properties that need its names or its answers.

    Returns:
        The evidence, with the smallest counterexample where the law fails.
    """
    settings = settings or Settings()
    start = time.perf_counter()
    examination = _Examination(prop, implementation, oracle, settings)
    with quiet(), _unpoisoned():
        try:
            with limited(settings.seconds):
                if not implementation.defines(prop.component):
                    evidence = Evidence(
                        prop, "not_attempted", message=f"{prop.component} is not defined"
                    )
                elif prop.inputs is None:
                    evidence = _argue(examination)
                else:
                    with implementation.fresh():
                        examination.check_that_it_applies()
                        refutes = prop.pinned is not None
                        evidence = _refute(examination) if refutes else _sample(examination)
        except (KeyboardInterrupt, WorkerError):
            raise
        except TimeLimit as limit:
            evidence = _out_of_time(examination, str(limit))
        except (Ended, SubmissionError) as end:
            evidence = Evidence(prop, "crashed", examination.examples, message=str(end))
        except DoesNotApply as reason:
            evidence = Evidence(prop, "not_applicable", message=str(reason))
        except BaseException as error:  # noqa: BLE001 - whatever a stranger's code raises
            if time.perf_counter() - start >= settings.seconds:
                evidence = _out_of_time(examination)  # Hypothesis turns a limit into other errors
            else:
                evidence = Evidence(prop, "crashed", examination.examples, message=_line(error))
    printed = "" if evidence.well else implementation.printed
    return replace(evidence, seconds=time.perf_counter() - start, printed=printed)


def _out_of_time(examination: _Examination, said: str = "") -> Evidence:
    """Say what is known when the time is over: perhaps a failure that was not made small."""
    prop, failures = examination.prop, examination.failures
    late = said or f"not finished after {examination.settings.seconds:g} seconds"
    if not failures:
        return Evidence(prop, "timeout", examination.examples, message=late)
    if prop.pinned is not None:
        return Evidence(prop, "holds", examination.examples, examination.examples, message=late)
    failure = failures[-1][1]
    status: Status = "crashed" if isinstance(failure, Crash) else "refuted"
    return Evidence(prop, status, examination.examples, message=f"{_line(failure)} ({late})")


def _argue(examination: _Examination) -> Evidence:
    """Make an argument about the component itself, once."""
    prop, implementation = examination.prop, examination.implementation
    if not isinstance(implementation, LocalImplementation):
        raise DoesNotApply("an argument about the code itself needs the code in this process")
    try:
        prop.function(*(implementation.raw(name) for name in (prop.component, *prop.beside)))
    except AssertionError as failure:
        came = ""
        if isinstance(failure, Violation) and failure.actual is not None:
            came = f": {failure.actual.tolist()}"
        return Evidence(prop, "refuted", 1, message=f"{failure}{came}")
    return Evidence(prop, "holds", 1, 1)


def _refute(examination: _Examination) -> Evidence:
    """Check the pinned counterexample of a refutation, and look for another."""
    prop = examination.prop
    pinned = examination.example(prop.pinned or {}, "float64")
    try:
        examination.run(pinned)
    except Violation:
        pass
    except UnsatisfiedAssumption:
        message = "the law has nothing to say about the pinned counterexample: it rejects it"
        return Evidence(prop, "refuted", 1, message=message)
    else:
        message = "the pinned counterexample refutes nothing"
        return Evidence(prop, "refuted", 1, message=message)
    failure = examination.find()
    tried = examination.examples
    if not isinstance(failure, Violation):
        message = f"the search found no counterexample in {tried} examples"
        return Evidence(prop, "refuted", tried, message=message)
    found = _counterexample(examination, pinned)
    return Evidence(prop, "holds", tried + 2, tried + 2, counterexample=found)


def _sample(examination: _Examination) -> Evidence:
    """Try a law on examples."""
    prop = examination.prop
    failure = examination.search()
    tried, informative, ratio = examination.examples, examination.informative, examination.ratio
    if failure is None:
        if tried and not informative and "float64" not in examination.dtypes:
            raise DoesNotApply("in this precision its bound is larger than what it bounds")
        if tried == 0 or informative == 0:
            message = "every example was rejected" if tried == 0 else "no check could have failed"
            return Evidence(prop, "undecided", tried, informative, message=message)
        return Evidence(
            prop,
            "holds",
            tried,
            informative,
            message=examination.not_seen_yet(),
            ratio=ratio,
            tried=examination.kinds(),
        )
    status: Status = "crashed" if isinstance(failure, Crash) else "refuted"
    if not examination.settings.explain:
        return Evidence(prop, status, tried, informative, message=_line(failure), ratio=ratio)
    example, failure = examination.smallest()
    found = _counterexample(examination, example, failure)
    return Evidence(
        prop, status, tried, informative, message=_line(failure), counterexample=found, ratio=ratio
    )


def _counterexample(
    examination: _Examination, example: Example, failure: BaseException | None = None
) -> Any:  # noqa: ANN401
    tape, replayed = examination.recorded(example)
    if failure is None or replayed is not None:
        failure = replayed or failure
    elif isinstance(failure, Violation) and failure.relation in {"differs", "is"}:
        tape = Tape(recording=True)
        observer = examination.run(example, tape)
        sentence = failure.what.partition(": ")[2]
        again = observer.unseen.get(sentence)
        if again is not None:
            again.what = failure.what
            again.args = failure.args
            failure = again
    claim = examination.prop.claim
    reproduced = replayed is not None or failure is None or _relation(failure) in {"differs", "is"}
    implementation = examination.implementation
    described = partial(
        describe,
        examination.prop,
        dict(_flat(example.inputs)),
        example.setup,
        failure,
        tape,
        quote=None if claim is None else claim.quote,
        implementation=implementation,
    )
    if not reproduced:
        return described(again=False)
    if getattr(implementation, "path", None) is None or examination.settings.device != "cpu":
        return described()
    for brief, copies in ((True, False), (False, False), (False, True)):
        found = described(brief=brief, copies=copies)
        if reproduces(found.script, failure, implementation):
            return found
    return described(again=False)  # a new process remembers nothing


_COMPARISONS = {"close", "identical"}

# A difference of this share of the numbers is not taken for rounding by whoever reads it.
VISIBLE = 1e-3


def _shows(failure: BaseException) -> bool:
    """Whether a comparison failed by more than rounding explains to a reader."""
    if not isinstance(failure, Violation) or failure.relation not in _COMPARISONS:
        return False
    if failure.actual is None or failure.expected is None or not failure.actual.numel():
        return False
    actual, expected = failure.actual.detach().double(), failure.expected.detach().double()
    size = torch.maximum(actual.abs().max(), expected.abs().max())
    return bool((actual - expected).abs().max() > VISIBLE * size)


def _relation(failure: BaseException) -> str:
    return failure.relation if isinstance(failure, Violation) else ""


def _alike(one: BaseException, other: BaseException) -> bool:
    """Whether two failures are the same but for sizes: of one kind, in the same words."""
    if isinstance(one, Violation) and isinstance(other, Violation):
        return one.relation == other.relation
    first, second = (re.sub(r"[^A-Za-z_]+", " ", str(failure)) for failure in (one, other))
    return type(one) is type(other) and first == second


def _as_made(example: Example) -> Example:
    """Leave a module's weights as its constructor makes them."""
    assert example.setup is not None
    return replace(example, setup=replace(example.setup, matrices={}))


def _cast(value: Any, dtype: torch.dtype, made: dict[int, Tensor]) -> Any:  # noqa: ANN401
    if isinstance(value, Tensor):  # a copy, since examples are shared
        if id(value) not in made:
            wanted = dtype if value.is_floating_point() else value.dtype
            made[id(value)] = value.to(wanted, copy=True)
        return made[id(value)]
    if isinstance(value, dict):
        return {name: _cast(inner, dtype, made) for name, inner in value.items()}
    return value


def _flat(inputs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in inputs.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield name, value


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8])


def _line(error: BaseException) -> str:
    if isinstance(error, _FAILURES):
        line = str(error).strip().partition("\n")[0] or type(error).__name__
        far = difference(error) if isinstance(error, Violation) else None
        if far is None and isinstance(error, Violation):
            far = {"finite": "not finite", "above": "not above what they should be"}.get(
                error.relation
            )
        return printable(line if far is None else f"{line}: {far}")
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{exception_line(error)} ({Path(last.filename).name}:{last.lineno})"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what a submission prints, and warns of, out of the report."""
    with (
        contextlib.redirect_stdout(_Discard()),
        contextlib.redirect_stderr(_Discard()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


class _Discard(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


@contextlib.contextmanager
def _unpoisoned() -> Iterator[None]:
    """Leave global state as it was: random numbers, defaults of torch, the folder."""
    dtype, grad, threads = (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
    )
    deterministic, folder = torch.are_deterministic_algorithms_enabled(), None
    with contextlib.suppress(OSError):  # a submission may have removed it
        folder = Path.cwd()
    python, numpy = random.getstate(), numpy_random.get_state()  # noqa: NPY002 - theirs, not ours
    tf32 = torch.backends.cudnn.allow_tf32
    with torch.random.fork_rng(devices=[]):
        try:
            torch.set_default_dtype(torch.float32)
            torch.set_grad_enabled(True)
            # On a GPU, convolutions would round to eleven bits what is float32 in name.
            torch.backends.cudnn.allow_tf32 = False
            yield
        finally:
            random.setstate(python)
            numpy_random.set_state(numpy)  # noqa: NPY002
            torch.backends.cudnn.allow_tf32 = tf32
            torch.set_default_device(None)
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(grad)
            if torch.are_deterministic_algorithms_enabled() != deterministic:
                torch.use_deterministic_algorithms(deterministic)
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            if folder is not None:
                with contextlib.suppress(OSError):
                    os.chdir(folder)
