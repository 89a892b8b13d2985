"""Wrong implementations made of the reference's own source, by changing one place of it.

Nobody says beforehand which law notices; some law of the component has to. A component that is made
of others gets a few of their mistakes as well.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
from collections import Counter, defaultdict
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
from properties.families import MODELS, STACKS
from tests.mutants import Mutant
from tests.mutants.operators import OPERATORS, Change, changes, rounded
from tests.mutants.places import Scope, live
from tests.mutants.survivors import RIGHT_INSIDE, SURVIVORS

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
    """A component in whose source, or in a helper's, one place is changed.

    Attributes:
        module: the module of the reference that the place is in.
        change: what is done to it.
        method: the method that the place is in, with its class; empty where it is in none.
    """

    module: str = ""
    change: Change | None = None
    method: str = ""

    @property
    def operator(self) -> str:
        """Give the name of the operator that made it."""
        assert self.change is not None
        return self.change.operator

    def implementation(self) -> LocalImplementation:
        """Give the reference with this component in place of its own."""
        assert self.change is not None
        code = compile(self.change.of(_tree(self.module)), f"{self.module} ({self.name})", "exec")
        changed = _load(self.module, code, self.component)
        names = {name: getattr(reference, name) for name in reference.__all__}
        return LocalImplementation(self.name, SimpleNamespace(**{**names, self.component: changed}))


# What the contract leaves free: why, in which places, and by which operators.
_FREE: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "where a decoder starts from is a free choice": (
        ("AttentionSeq2Seq.encode",),
        ("constant_result", "dropped"),
    ),
    "where an encoder starts from is a free choice": (("_Gates._zeros",), ("sign",)),
    "nothing is trained through steps, of which the contract wants no gradient": (
        ("Decoder.step", "DecoderLayer.step", "Transformer.step"),
        ("detached",),
    ),
    "any recurrent cell will do": (
        ("GRUCell.forward",),
        ("constant", "dropped", "scale", "sign", "swap"),
    ),
    "how parameters are initialised is a free choice": (
        ("LearnedPositionalEmbedding.__init__",),
        ("scale", "swap"),
    ),
    "a table of positions has nothing to learn": (
        ("sinusoidal_positional_encoding",),
        ("detached",),
    ),
    "positions in float32 are near enough": (
        ("sinusoidal_positional_encoding",),
        ("single_precision",),
    ),
}
FREE: Mapping[tuple[str, str], str] = {
    (place, operator): reason
    for reason, (places, operators) in _FREE.items()
    for place in places
    for operator in operators
}
"""Why a change would only choose otherwise, by its place and operator."""

COMPOSITES = (*STACKS, "Transformer")
"""Components that are made of others which have laws of their own."""

INSIDE = 12
"""How many mistakes of other components a composite gets."""

# What mostly shows in shapes, whichever component it is in, and what is mostly right in another,
# whose intermediate results nobody reads again.
_LAST = {"axis", "layout", "transpose_dropped", "default", "index", "in_place"}


@dataclass(frozen=True)
class LeftOut:
    """A change that is not made.

    Attributes:
        component: the component that would have it.
        name: the change.
        reason: why the contract leaves it free.
    """

    component: str
    name: str
    reason: str


def left_out() -> Iterator[LeftOut]:
    """Give every change that is not made because the contract leaves it free."""
    for unit, components in _components().items():
        for change in _changes(unit) if components else ():
            reason = FREE.get((unit.path, change.operator))
            name = _name(unit, change)
            for component in _one_model(name, components) if reason else ():
                yield LeftOut(component, name, reason or "")
    for name, reason in RIGHT_INSIDE.items():
        yield from (LeftOut(composite, name, reason) for composite in COMPOSITES)


def _generated() -> Iterator[Generated]:
    taken: set[tuple[str, str]] = set()
    for component, unit, change in (*_own(), *_inner()):
        name = _name(unit, change)
        assert (component, name) not in taken, (component, name)
        taken.add((component, name))
        method = unit.path if unit.owner and unit.name else ""
        yield Generated(name, component, None, (), "", unit.module, change, method)


def _own() -> Iterator[tuple[str, Unit, Change]]:
    """Give the changes of what belongs to a component, and which component has them."""
    for unit, components in _components().items():
        for change in _changes(unit) if components else ():
            if (unit.path, change.operator) not in FREE:
                for component in _one_model(_name(unit, change), components):
                    yield component, unit, change


def _inner() -> Iterator[tuple[str, Unit, Change]]:
    """Give composites some changes of what belongs to the components that they are made of.

    What is right where it belongs is not among them.
    """
    owners, right = _components(), {*RIGHT_INSIDE, *(name for _, name in SURVIVORS)}
    for composite in COMPOSITES:
        inside = [u for u in _units() if u in _reached(composite) and composite not in owners[u]]
        found = [
            (unit, change)
            for unit in inside
            for change in _changes(unit)
            if (unit.path, change.operator) not in FREE and _name(unit, change) not in right
        ]
        yield from ((composite, *one) for one in _sample(composite, found))


def _sample(composite: str, found: Iterable[tuple[Unit, Change]]) -> Iterator[tuple[Unit, Change]]:
    """Choose one change of an operator, from all modules in turn; always the same ones."""
    by_operator: defaultdict[str, list[tuple[Unit, Change]]] = defaultdict(list)
    for unit, change in found:
        by_operator[change.operator].append((unit, change))
    taken: Counter[str] = Counter()

    def rank(one: tuple[Unit, Change]) -> tuple[int, int]:
        return taken[one[0].module], crc32(f"{composite}: {_name(*one)}".encode())

    operators = [o for o in sorted(OPERATORS, key=_LAST.__contains__) if by_operator[o]]
    for operator in operators[:INSIDE]:
        unit, change = min(by_operator[operator], key=rank)
        taken[unit.module] += 1
        yield unit, change


@cache
def _changes(unit: Unit) -> tuple[Change, ...]:
    return tuple(changes(Scope(unit.tree, DECIDED)))


def _name(unit: Unit, change: Change) -> str:
    return f"{unit.path}, {change.operator}: {change.before} -> {change.after}"


def _one_model(name: str, components: list[str]) -> list[str]:
    """Choose one where several models use a helper, always the same for a name.

    Models take long to examine, and use it in the same way.
    """
    if set(components) <= set(MODELS):
        return [components[crc32(name.encode()) % len(components)]]
    return components


MUTANTS = tuple(_generated())
