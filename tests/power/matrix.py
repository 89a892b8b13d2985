"""The kill matrix and the table of false alarms, as data."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any, Literal

import reference as source
from attest.contract import CONTRACT
from attest.evidence import Evidence
from attest.examination import MIXED, Settings, draw_shared, examine
from attest.implementations import Implementation, LocalImplementation, load_submission
from attest.laws import Property
from attest.ledger import Ledger, load_reference
from attest.mistakes import FIRST_OF_MANY_PARTS, first_of
from attest.sweeping import sweep
from tests.bugs import all_bugs
from tests.mutants import DEAD, Mutant, all_mutants
from tests.mutants.generated import Generated
from tests.sources import ROOT, fingerprint

__all__ = [
    "DEAR",
    "LESS",
    "MANY",
    "STYLES",
    "Wrong",
    "alarms",
    "all_wrong",
    "costs_points",
    "few",
    "kills",
    "rewritten",
]

# A law gets the first few examples of a grade for each mutant. Where a mutant survives a property
# that it names, that one gets them all; where it survives all laws, they do, up to the first that
# it dies of.
MANY = Settings(examples=100, explain=False)
# A version that a reason is given for why it is right, or that arguments alone are to notice, is
# tried by every law to the end. Lest the reason be false, it gets all examples too, but where laws
# take longest; there, and where arguments are to notice, it gets a few more than others.
LESS = replace(MANY, examples=12, drawn_for=100)
DEAR = frozenset(name for name in CONTRACT if first_of(name) == FIRST_OF_MANY_PARTS)

# Where the reference's own code is.
HOME = f"{Path(str(source.__file__)).parent}/"

OF_EVERY_CLASS = {
    "__annotations__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__static_attributes__",
    "__weakref__",
}

STYLES = {path.stem: path for path in sorted((ROOT / "tests/implementations").glob("*.py"))}


@dataclass(frozen=True)
class AsItIs:
    """What a law says of the reference itself, on as many examples as every version gets.

    Attributes:
        evidence: what it says.
        methods: the functions of the reference that it ran, methods with their classes. Of a
            version in which another one is changed, and nothing else, it says the same.
    """

    evidence: Evidence
    methods: frozenset[str]


def few(component: str, *, patient: bool = False) -> Settings:
    """Give the settings by which every law of a component examines every version of it.

    Args:
        component: the component.
        patient: whether a law that waits for a change gets more: a correct style does.
    """
    return replace(MANY, examples=first_of(component), drawn_for=100, patient=patient)


def as_it_is(law: Property) -> AsItIs:
    """Examine the reference as a version is, and note what runs."""
    own, methods = LocalImplementation("reference", source), set[str]()
    own.kept = {}  # what another law has left would not run

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(HOME):
            methods.add(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        evidence = examine(law, own, few(law.component), load_reference())
    finally:
        sys.setprofile(None)
    if evidence.status in DEAD or evidence.status == "timeout":
        raise RuntimeError(f"{law.id}, of the reference: {evidence.status}: {evidence.message}")
    if not methods and evidence.status != "not_applicable":
        raise RuntimeError(f"{law.id} ran nothing of {HOME}")
    return AsItIs(evidence, frozenset(methods))


@dataclass(frozen=True)
class Wrong:
    """One wrong version of a component.

    Attributes:
        mutant: the version.
        kind: how it came about: "written" by hand, "generated" over the reference's source, a
            "bug" that a public project shipped, or by a "stranger" to the suite.
        row: for a bug, the number of its row.
    """

    mutant: Mutant
    kind: Literal["written", "generated", "bug", "stranger"]
    row: int = 0

    @property
    def id(self) -> str:
        """The component's name and the mistake's."""
        return f"{self.mutant.component}.{self.mutant.name}"

    @property
    def instead_of(self) -> str:
        """The name beside the contract's that it is put in the place of; empty where it is none.

        The component is the reference's own then, so that no law has anything to notice.
        """
        return self.mutant.replaces if self.mutant.replaces != self.mutant.component else ""


def all_wrong() -> list[Wrong]:
    """Give every wrong version that there is, by component."""
    found = [Wrong(m, "written" if m.killers else "generated") for m in all_mutants()]
    found += [Wrong(bug.mutant, "bug", bug.row) for bug in all_bugs()]
    order = list(CONTRACT)
    return sorted(found, key=lambda w: (order.index(w.mutant.component), w.kind, w.mutant.name))


def kills(
    ledger: Ledger, wrong: Sequence[Wrong], partial: Path, right: Container[str] = ()
) -> dict[str, Any]:
    """Examine every wrong version by every law of its component, and by what else it names.

    Args:
        ledger: the properties.
        wrong: the versions.
        partial: where results are kept while this runs.
        right: the ids of versions that are known to be right. They survive all laws, which is
            longer work than to die of one, and some are examined on fewer examples.

    Returns:
        By the id of a version: "cells", a dict from a property's name to the number of the example
        that it died at, 0 where it survived; or "never" where it died of a change that never
        came; "crashes", a dict from the names of those properties of which it died by an error to
        what that said; "dies_after", the seconds from the beginning of its examination to its
        first death, None where it survives; and "seconds", all that it took, both without laws
        that need not be run. Laws that do not apply have no cell, and neither have those of a
        component that is the reference's own.
    """
    reference = load_reference()
    by_component: dict[str, list[Property]] = {}
    for prop in ledger.properties:
        by_component.setdefault(prop.component, []).append(prop)
        if prop.grades:
            draw_shared(prop, few(prop.component))
    # A component with methods has laws that run but some of them.
    changed = {w.mutant.component for w in wrong if changed_methods(w.mutant)}
    plain = {
        law.id: as_it_is(law)
        for component in sorted(changed)
        if CONTRACT[component].methods
        for law in by_component[component]
        if law.grades
    }

    def work(index: int) -> dict[str, Any]:
        one = wrong[index]
        component = one.mutant.component
        graded = {prop.name for prop in by_component[component] if prop.grades}
        free = one.id in right or not graded.intersection(one.mutant.killers or graded)
        most = LESS if free and (component in DEAR or one.id not in right) else MANY
        said = _said_already(one.mutant, plain)
        return _examined(one, by_component[component], reference, most, said)

    names = [w.id for w in wrong]
    return sweep("kill matrix", names, work, partial, mark=fingerprint(*names))


def costs_points(cells: Mapping[str, int | str], laws: Collection[str]) -> bool:
    """Whether a version with these cells loses a submission points: some law that grades kills it.

    Args:
        cells: where it died, by the names of properties, as :func:`kills` gives them.
        laws: the names of the properties of its component that grade.
    """
    return any(cells.get(law) for law in laws)


def _said_already(mutant: Mutant, plain: Mapping[str, AsItIs]) -> dict[str, Evidence]:
    """Give what laws say of a version, by their ids, that run no method changed in it."""
    changed = changed_methods(mutant)
    if not changed:
        return {}
    return {law: one.evidence for law, one in plain.items() if not changed & one.methods}


def changed_methods(mutant: Mutant) -> frozenset[str]:
    """Give the reference's methods, with their classes, that a version has others in place of.

    Nothing is given where it may differ in anything else.
    """
    if isinstance(mutant, Generated):
        return frozenset({mutant.method} - {""})
    base, target = getattr(source, mutant.component), mutant.target
    if not (isinstance(base, type) and isinstance(target, type) and issubclass(target, base)):
        return frozenset()
    found, made = set(), base(*(CONTRACT[mutant.component].example or {}).values())
    for kind in target.__mro__[: target.__mro__.index(base)]:
        for name, value in vars(kind).items():
            if name in OF_EVERY_CLASS or not hasattr(made, name):
                continue  # a helper is called by what is changed
            owner = next((one for one in base.__mro__ if name in vars(one)), object)
            if not isinstance(value, FunctionType) or owner.__module__.split(".")[0] != "reference":
                return frozenset()
            found.add(f"{owner.__name__}.{name}")
    return frozenset(found)


def _examined(
    wrong: Wrong,
    properties: Sequence[Property],
    reference: Implementation,
    most: Settings,
    known: Mapping[str, Evidence],
) -> dict[str, Any]:
    """Examine one version: by every law a little, and then by those that may decide.

    Args:
        wrong: the version.
        properties: those of its component.
        reference: what laws compare with.
        most: how to examine it where few examples have decided nothing.
        known: what some laws say of it on few examples, by their ids.
    """
    mutant, implementation = wrong.mutant, wrong.mutant.implementation()
    cells: dict[str, int | str] = {}
    crashes: dict[str, str] = {}
    # As for the reference, modules and bounds serve all laws: a matrix is long work.
    implementation.kept = {}
    start, dies_after = time.perf_counter(), None
    a_few = few(mutant.component)

    def look(prop: Property, settings: Settings) -> Evidence:
        evidence = (settings is a_few and known.get(prop.id)) or examine(
            prop, implementation, settings, reference
        )
        if evidence.status == "not_applicable":
            cells.pop(prop.name, None)
        else:
            dead, said = evidence.status in DEAD, evidence.message or ""
            at: int | str = "never" if said.startswith("never in ") else evidence.examples + 1
            cells[prop.name] = at if dead else 0
            if evidence.status == "crashed":
                crashes[prop.name] = said
            nonlocal dies_after
            if dead and dies_after is None:
                dies_after = time.perf_counter() - start
        return evidence

    laws = [] if wrong.instead_of else [prop for prop in properties if prop.grades]
    first = [look(law, a_few) for law in laws]
    for prop in properties:
        if prop.name in mutant.killers and not cells.get(prop.name):
            look(prop, most)
    tried = zip(laws, first, strict=True)
    for law, evidence in sorted(tried, key=lambda pair: _what_to_try_first(pair[1])):
        if costs_points(cells, [law.name for law in laws]):
            break
        if evidence.status != "not_applicable":
            look(law, most)
    return {
        "cells": cells,
        "crashes": crashes,
        "dies_after": None if dies_after is None else round(dies_after, 3),
        "seconds": round(time.perf_counter() - start, 3),
    }


def _what_to_try_first(evidence: Evidence) -> tuple[bool, float]:
    """Order laws after few examples: first what has decided nothing yet, and then what is quick."""
    unseen = (evidence.message or "").startswith("not seen yet: ")
    return not (unseen or evidence.status == "undecided"), evidence.seconds


def alarms(
    ledger: Ledger, cases: Sequence[tuple[str, str, Settings]], title: str, partial: Path
) -> dict[str, Any]:
    """Examine correct styles, each by all laws of the components that it rewrites.

    Args:
        ledger: the properties.
        cases: the styles' names, a component of each, and how to examine it.
        title: what is done, for the progress.
        partial: where results are kept while this runs.

    Returns:
        By "style component seed dtype": "laws" that applied, "examples" tried, and the "alarms", a
        dict from a law's name to what it said.
    """
    reference = load_reference()
    # Those that differ in their dtype alone draw the same examples, and are examined together.
    alike = [list(some) for _, some in groupby(cases, lambda case: (*case[:2], case[2].seed))]
    names = [f"{style} {part} {s.seed}" for (style, part, s), *_ in alike]

    def examined(implementation: Implementation, part: str, settings: Settings) -> dict[str, Any]:
        found = [
            examine(prop, implementation, settings, reference)
            for prop in ledger.laws
            if prop.component == part and _tells_more(prop, settings)
        ]
        applied = [evidence for evidence in found if evidence.status != "not_applicable"]
        return {
            "laws": len(applied),
            "examples": sum(evidence.examples for evidence in applied),
            "alarms": {
                e.prop.function.__name__: f"{e.status}: {e.message}" for e in applied if not e.well
            },
        }

    def work(index: int) -> list[dict[str, Any]]:
        implementation = load_submission(str(STYLES[alike[index][0][0]]))
        implementation.kept = {}  # as for the reference, modules and bounds serve all laws
        return [examined(implementation, part, settings) for _, part, settings in alike[index]]

    dtypes = [s.dtype for _, _, s in cases]
    found = sweep(title, names, work, partial, mark=fingerprint(*names, *dtypes))
    results = (result for some in found.values() for result in some)
    return {
        f"{style} {part} {s.seed} {s.dtype}": result
        for (style, part, s), result in zip(cases, results, strict=True)
    }


def _tells_more(prop: Property, settings: Settings) -> bool:
    """Whether a law is examined in other numbers than in float64: some keep to dtypes of theirs."""
    return settings.dtype in {MIXED, "float64"} or not prop.dtypes or settings.dtype in prop.dtypes


def rewritten(style: str) -> list[str]:
    """Give the components that a style defines."""
    implementation = load_submission(str(STYLES[style]))
    return [component for component in CONTRACT if implementation.defines(component)]
