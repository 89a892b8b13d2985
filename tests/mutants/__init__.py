"""Wrong implementations, each named after its mistake, with the properties that must notice it.

A mutant replaces one component of the reference, or another public name of it that a component's
proofs speak of. Files are walked; there is no list to maintain. A file may also generate mutants,
and names them in ``MUTANTS``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import reference
from attest.implementations import LocalImplementation

__all__ = ["DEAD", "Mutant", "all_mutants", "declared", "mutant"]


DEAD = frozenset({"refuted", "crashed"})
"""What evidence says of a mutant that a property has noticed."""


@dataclass(frozen=True)
class Mutant:
    """One wrong component.

    Attributes:
        name: the mistake.
        component: the contract's name of the component that is wrong.
        target: the wrong function or class.
        killers: the names of the properties that must notice; empty where it is not known which.
        replaces: the name in the reference that it takes the place of; by default the component's.
    """

    name: str
    component: str
    target: Any
    killers: tuple[str, ...] = ()
    replaces: str = ""

    def implementation(self) -> LocalImplementation:
        """Give the reference with this component in place of its own."""
        names = {name: getattr(reference, name) for name in reference.__all__}
        return LocalImplementation(
            self.name, SimpleNamespace(**{**names, self.replaces or self.component: self.target})
        )


def mutant(component: str, *killers: str, replaces: str = "") -> Callable[[Any], Any]:
    """Declare a function or a class as a mutant of a component, killed by these properties.

    Args:
        component: the component whose properties notice it.
        killers: their names.
        replaces: the public name of the reference in whose place it is put; by default the
            component's own. It reaches proofs that take that name beside the component.
    """

    def declare(target: Any) -> Any:
        target.__mutant__ = [
            *vars(target).get("__mutant__", ()),
            Mutant(target.__name__, component, target, killers, replaces),
        ]
        return target

    return declare


def all_mutants() -> Iterator[Mutant]:
    """Give every mutant that a file in this folder declares."""
    yield from declared(__name__, "__mutant__", "MUTANTS")


def declared(package: str, attribute: str, listed: str) -> Iterator[Any]:
    """Give what the files of a package declare on functions and classes, and name in a list."""
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{info.name}")
        yield from vars(module).get(listed, ())
        for value in list(vars(module).values()):
            if getattr(value, "__module__", None) == module.__name__:
                yield from vars(value).get(attribute, ())
