"""The ledger: claims and properties, found by walking packages and folders. No list to maintain."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import attest
from attest.claims import Claim
from attest.contract import ADDED
from attest.experiments import Experiment
from attest.implementations import LocalImplementation
from attest.laws import ATTRIBUTE, Property

__all__ = ["Ledger", "LedgerError", "load_ledger", "load_reference", "own_package"]

ENTRY_POINTS = "attest.properties"


class LedgerError(Exception):
    """The ledger cannot be read: a foreign package in the way, or properties that do not load."""


@dataclass(frozen=True)
class Ledger:
    """All claims and all properties, in the order in which they are written.

    Attributes:
        claims: by id.
        properties: in the order of files and of definitions.
        experiments: in the same order.
    """

    claims: dict[str, Claim]
    properties: tuple[Property, ...]
    experiments: tuple[Experiment, ...] = ()

    @property
    def laws(self) -> tuple[Property, ...]:
        """The properties that implementations are graded by."""
        return tuple(p for p in self.properties if p.grades)

    def only(self, names: Iterable[str]) -> Ledger:
        """Keep the claims and properties that one of these names selects.

        A name selects a claim by its id, a property by its id or its sentence, and all properties
        of a component by the component's name. A claim is judged by all of its evidence, so one
        stays where it is named, or where nothing of its evidence is left out.

        Raises:
            LedgerError: a name that selects nothing.
        """
        wanted = list(names)
        if not wanted:
            return self
        kept: list[Property] = []
        for name in wanted:
            found = [p for p in self.properties if name in _names(p)]
            measured = any(name == experiment.id for experiment in self.experiments)
            if not found and name not in self.claims and not measured:
                raise LedgerError(
                    f"--only {name}: no claim, property or component has this name; "
                    "`attest list` shows them all"
                )
            kept += found
        properties = tuple(p for p in self.properties if p in kept)
        named = all(name in self.claims for name in wanted)
        whole = set() if named else self.judged(properties)
        claims = {k: claim for k, claim in self.claims.items() if k in wanted or k in whole}
        experiments = tuple(
            e for e in self.experiments if e.id in wanted or e.claim.id in {*wanted, *claims}
        )
        return Ledger(claims, properties, experiments)

    def judged(self, properties: Iterable[Property | Experiment]) -> set[str]:
        """Give the claims of whose evidence nothing is left out of these properties.

        What was measured is always there; a claim that has no other evidence is among them where
        no property of the ledger is left out.
        """
        properties = list(properties)
        left_out = [p for p in self.properties if p not in properties]
        there = {claim.id for p in properties for claim in p.claims}
        if not left_out:
            there |= {experiment.claim.id for experiment in self.experiments}
        return there - {claim.id for p in left_out for claim in p.claims}


def _names(prop: Property) -> set[str]:
    names = {prop.id, prop.function.__name__, prop.sentence, prop.component}
    return names | {claim.id for claim in prop.claims}


def own_package(name: str) -> ModuleType:
    """Import a package of ours, and make sure that it is ours.

    ``reference`` and ``properties`` are names that a student's folder, or another distribution,
    may have as well; ours lie beside this package.

    Raises:
        LedgerError: another package of this name was imported before, or ours is missing.
    """
    expected = Path(attest.__file__).resolve().parent.parent / name / "__init__.py"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, expected, submodule_search_locations=[str(expected.parent)]
        )
        if not expected.exists() or spec is None or spec.loader is None:
            raise LedgerError(f"Attest's package {name!r} is not installed: {expected} is missing")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    module = sys.modules[name]
    found = getattr(module, "__file__", None)
    if found is None or Path(found).resolve() != expected:
        raise LedgerError(
            f"another package named {name!r} is in the way: {found or module!r}. Attest needs its "
            f"own, {expected}; run it in an environment of its own, from another folder"
        )
    return module


def load_reference() -> LocalImplementation:
    """Load the reference implementation.

    Raises:
        LedgerError: another package named ``reference`` is in the way.
    """
    return LocalImplementation("reference", _Right(own_package("reference")), trusted=True)


class _Right:
    """The reference's names, and those of the components that were added to the contract."""

    def __init__(self, package: ModuleType) -> None:
        self._package = package

    def __getattr__(self, name: str) -> object:
        return ADDED[name] if name in ADDED else getattr(self._package, name)


def load_ledger(folders: Iterable[Path] = ()) -> Ledger:
    """Find all claims and properties: ours, those of installed distributions, and in folders.

    A distribution adds properties by an entry point in the group ``attest.properties`` that names
    a module or a package.

    Args:
        folders: folders with Python files that define claims and properties.

    Raises:
        LedgerError: a foreign package is in the way, a file does not load, or an id is used twice.
    """
    modules = list(_walk(own_package("properties")))
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda found: found.name):
        loaded = _load(f"the entry point {entry.name}", entry.load)
        modules += _walk(loaded)
    for folder in folders:
        modules += _from_folder(folder)
    return _collect(modules)


def _load(what: str, load: object) -> ModuleType:
    try:
        loaded = load()  # type: ignore[operator]
    except (Exception, SystemExit) as error:
        raise LedgerError(f"{what} does not load: {type(error).__name__}: {error}") from error
    if not isinstance(loaded, ModuleType):
        raise LedgerError(f"{what} names {loaded!r}, which is not a module")
    return loaded


def _walk(package: ModuleType) -> Iterator[ModuleType]:
    yield package
    for info in pkgutil.walk_packages(getattr(package, "__path__", []), package.__name__ + "."):
        yield _load(info.name, partial(importlib.import_module, info.name))


def _from_folder(folder: Path) -> Iterator[ModuleType]:
    if not folder.is_dir():
        raise LedgerError(f"--properties {folder}: this is not a folder")
    files = sorted(folder.glob("*.py"))
    if not files:
        raise LedgerError(f"--properties {folder}: there is no Python file in this folder")
    # A file may import another one beside it. Last on the path, so that it can shadow nothing.
    if str(folder.resolve()) not in sys.path:
        sys.path.append(str(folder.resolve()))
    for path in files:
        name = f"attest_properties_{folder.resolve().name}_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise LedgerError(f"{path} cannot be loaded as Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loader = spec.loader
        yield _load(
            str(path), lambda loader=loader, module=module: loader.exec_module(module) or module
        )


def _collect(modules: Iterable[ModuleType]) -> Ledger:
    claims: dict[str, Claim] = {}
    properties: dict[str, Property] = {}
    experiments: dict[str, Experiment] = {}
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, Experiment):
                found = replace(value, origin=(module.__name__, name))
                if experiments.setdefault(value.id, found) is not found:
                    raise LedgerError(f"the experiment {value.id} is defined twice")
            if isinstance(value, Claim) and claims.setdefault(value.id, value) is not value:
                raise LedgerError(
                    f"the claim {value.id} is defined twice, again in {module.__name__}"
                )
            for prop in getattr(value, ATTRIBUTE, ()):
                if value.__module__ != module.__name__:
                    continue  # imported from the file that defines it
                if properties.setdefault(prop.id, prop) is not prop:
                    raise LedgerError(f"the property {prop.id} is defined twice")
    chapters = own_package("properties").CHAPTERS
    in_order = sorted(claims.items(), key=lambda claim: _order(claim[0], chapters))
    by_claim = sorted(experiments.values(), key=lambda one: _order(one.claim.id, chapters))
    return Ledger(dict(in_order), tuple(properties.values()), tuple(by_claim))


def _order(claim: str, chapters: Sequence[str]) -> tuple[int, str]:
    chapter = claim.rpartition("-")[0]
    return (chapters.index(chapter) if chapter in chapters else len(chapters), claim)
