"""Wrong implementations made of the reference's own source, by changing one place of it.

Nobody says beforehand which law notices; some law of the component has to.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any
from zlib import crc32

import reference
from attest.contract import CONTRACT
from attest.implementations import LocalImplementation
from properties.families import MODELS
from tests.mutants import Mutant
from tests.mutants.operators import Change, changes, rounded
from tests.mutants.places import Scope, live

# The contract's constructors and calls leave the reference's options as they are.
DECIDED: Mapping[str, bool] = {
    "pre_norm": False,
    "self.pre_norm": False,
    "lstm": False,
    "isinstance(new, tuple)": False,  # no LSTM, no pair of states
    "end": False,
    "end is None": True,
    "end is not None": False,
}

# It refuses bad input, and does nothing else.
REFUSALS = "reference.shapes"


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(Path(str(importlib.import_module(module).__file__)).read_text())


@cache
def _code(module: str) -> CodeType:
    return compile(_tree(module), module, "exec")


def _modules() -> list[str]:
    """Give the reference's modules that may be changed."""
    folder = Path(str(reference.__file__)).parent
    return [f"reference.{p.stem}" for p in sorted(folder.glob("[!_]*.py")) if p.stem != "shapes"]


# --- What a component runs ----------------------------------------------------------------------


@dataclass(frozen=True)
class Unit:
    """A function, a method, or what a class says outside of its methods."""

    module: str
    owner: str
    name: str
    tree: ast.AST

    @property
    def path(self) -> str:
        """Where it is, in a word."""
        return ".".join(part for part in (self.owner, self.name) if part)

    @property
    def names(self) -> frozenset[str]:
        """Give the names in it."""
        return frozenset(n.id for n in self._nodes if isinstance(n, ast.Name))

    @property
    def attributes(self) -> frozenset[str]:
        """Give the attributes in it, methods among them."""
        return frozenset(n.attr for n in self._nodes if isinstance(n, ast.Attribute))

    @cached_property
    def _nodes(self) -> list[ast.AST]:
        return [place.node for place in live(self.tree, DECIDED)]


@cache
def _units() -> tuple[Unit, ...]:
    return tuple(unit for module in _modules() for unit in _units_of(module))


def _units_of(module: str) -> Iterator[Unit]:
    for node in _tree(module).body:
        if isinstance(node, ast.FunctionDef):
            yield Unit(module, "", node.name, node)
        elif isinstance(node, ast.ClassDef):
            own: list[ast.stmt] = []
            for statement in node.body:
                if isinstance(statement, ast.FunctionDef):
                    yield Unit(module, node.name, statement.name, statement)
                else:
                    own.append(statement)
            bases = [ast.Expr(base) for base in node.bases]
            yield Unit(module, node.name, "", ast.Module([*own, *bases], []))


def _components() -> dict[Unit, list[str]]:
    """Give the components that each unit belongs to: those that run it without another's help."""
    reached = {name: _reached(name) for name in CONTRACT}
    beyond = {name: _names(units) & set(CONTRACT) - {name} for name, units in reached.items()}
    users = {u: [name for name in CONTRACT if u in reached[name]] for u in _units()}
    return {u: [a for a in own if not beyond[a] & set(own)] for u, own in users.items()}


@cache
def _reached(component: str) -> frozenset[Unit]:
    """Give all that a component runs."""
    units: frozenset[Unit] = frozenset()
    while True:
        names = _names(units) | {component}
        attributes = frozenset[str]().union(*(unit.attributes for unit in units))
        called = attributes | {"", "__init__", "forward"}
        own = called | set(CONTRACT[component].methods)
        found = frozenset(
            u
            for u in _units()
            if (u.owner or u.name) in names
            and (not u.owner or u.name in (own if u.owner == component else called))
        )
        if found == units:
            return units
        units = found


def _names(units: Iterable[Unit]) -> frozenset[str]:
    return frozenset[str]().union(*(unit.names for unit in units))


# --- A private copy of the reference --------------------------------------------------------------


def _load(module: str, code: CodeType, name: str) -> Any:
    """Give a name of the reference's, after one of its modules was executed from other code.

    Modules that do not import that one, however indirectly, are taken as they are.
    """
    private: dict[str, ModuleType] = {}

    def load(path: str) -> ModuleType:
        if path not in _importers(module):
            return importlib.import_module(path)
        if path not in private:
            private[path] = ModuleType(path)
            vars(private[path])["__builtins__"] = {
                **vars(builtins),
                "__import__": import_,
                "rounded": rounded,
            }
            exec(code if path == module else _code(path), vars(private[path]))  # noqa: S102
        return private[path]

    def import_(path: str, *rest: Any) -> Any:
        return (
            load(path)
            if path in sys.modules and path.startswith("reference.")
            else (builtins.__import__(path, *rest))
        )

    return getattr(load(getattr(reference, name).__module__), name)


@cache
def _importers(module: str) -> frozenset[str]:
    """Give a module and all that import it."""
    found = {module}
    while True:
        more = {m for m in _modules() if _imports(m) & found} | found
        if more == found:
            return frozenset(found)
        found = more


@cache
def _imports(module: str) -> frozenset[str]:
    nodes = ast.walk(_tree(module))
    return frozenset(n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module)


# --- Mutants --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Generated(Mutant):
    """A component in whose source, or in a helper's, one place is changed."""

    module: str = ""
    change: Change | None = None

    def implementation(self) -> LocalImplementation:
        """Give the reference with this component in place of its own."""
        assert self.change is not None
        code = compile(self.change.of(_tree(self.module)), f"{self.module} ({self.name})", "exec")
        changed = _load(self.module, code, self.component)
        names = {name: getattr(reference, name) for name in reference.__all__}
        return LocalImplementation(self.name, SimpleNamespace(**{**names, self.component: changed}))


# What the contract leaves free, by the place and the operators that would only choose otherwise.
FREE: Mapping[str, tuple[str, ...]] = {
    "AttentionSeq2Seq.encode": ("constant_result", "dropped"),  # where a decoder starts from
    "_Gates._zeros": ("sign",),  # the same of an encoder
    "Decoder.step": ("detached",),  # the contract wants gradients of what is trained
    "DecoderLayer.step": ("detached",),
    "Transformer.step": ("detached",),
    "GRUCell.forward": ("constant", "dropped", "scale", "sign", "swap"),  # any cell will do
    "LearnedPositionalEmbedding.__init__": ("scale", "swap"),  # initialisation
    "sinusoidal_positional_encoding": ("detached", "single_precision"),  # that is near enough
}


def _generated() -> Iterator[Generated]:
    taken: set[tuple[str, str]] = set()
    for unit, components in _components().items():
        for change in changes(Scope(unit.tree, DECIDED)) if components else ():
            if change.operator in FREE.get(unit.path, ()):
                continue
            name = f"{unit.path}, {change.operator}: {change.before} -> {change.after}"
            for component in _one_model(name, components):
                assert (component, name) not in taken, (component, name)
                taken.add((component, name))
                yield Generated(name, component, None, (), "", unit.module, change)


def _one_model(name: str, components: list[str]) -> list[str]:
    """Choose one where several models use a helper, always the same for a name.

    Models take long to examine, and use it in the same way.
    """
    if set(components) <= set(MODELS):
        return [components[crc32(name.encode()) % len(components)]]
    return components


MUTANTS = tuple(_generated())
