"""What code a result depends on: the definitions that can be reached from where it starts.

Only definitions of ours count, whatever file they are in, and neither comments, docstrings nor
layout: a result is out of date when something has changed that could have changed it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["digest", "reached"]

OURS = ("attest", "properties", "reference")

# What describes claims and experiments, and what refuses bad input, changes no number.
APART = {
    *("attest.claims", "attest.checks", "reference.shapes"),
    *(f"attest.experiments.{name}" for name in ("Experiment", "Figure", "Series")),
}

# What is said of an experiment changes none either.
WORDS = ("about", "hypothesis", "task", "expected", "seconds", "figures")


@dataclass(frozen=True)
class _Module:
    """The definitions of a module by name, and where its imported names come from."""

    definitions: dict[str, tuple[ast.stmt, ...]]
    imports: dict[str, tuple[str, str]]


def digest(*places: tuple[str, str]) -> str:
    """Give a fingerprint of definitions and of all of ours that they can reach.

    Args:
        places: where to start: modules, and names that they define or import.

    Raises:
        KeyError: a module has no such name.
    """
    digested = hashlib.sha256()
    for where, name in sorted(reached(*places)):
        digested.update(f"{where}.{name} {_known(where, name)[0]}".encode())
    return digested.hexdigest()[:16]


def reached(*places: tuple[str, str]) -> set[tuple[str, str]]:
    """Give the definitions of ours that can be reached, these among them, by module and name.

    Names are followed, and attributes that are public names of the reference: what is looked up by
    a string is not seen.

    Raises:
        KeyError: a module has no such name.
    """
    waiting, seen = [*places], set[tuple[str, str]]()
    for place in waiting:
        if place[1] not in _parsed(place[0]).definitions | _parsed(place[0]).imports:
            raise KeyError(f"{place[0]} has no {place[1]}")
    while waiting:
        where, name = waiting.pop()
        found = _parsed(where)
        if name in found.imports:
            where, name = found.imports[name]
            if where.partition(".")[0] not in OURS or APART & {where, f"{where}.{name}"}:
                continue
            found = _parsed(where)
            if name in found.imports:  # handed on by a package
                waiting.append((where, name))
                continue
        if (where, name) in seen or name not in found.definitions:
            continue
        seen.add((where, name))
        waiting += _known(where, name)[1]
    return seen


@cache
def _known(where: str, name: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Give a definition as text that layout does not change, and the names that it reaches."""
    statements = _parsed(where).definitions[name]
    text = " ".join(ast.dump(statement) for statement in statements)
    return text, tuple(_reached(where, statements))


def _reached(where: str, statements: Iterable[ast.stmt]) -> Iterator[tuple[str, str]]:
    public, own = _parsed("reference").imports, _parsed(where)
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name):
                if node.id in own.definitions or node.id in own.imports:
                    yield where, node.id
            elif isinstance(node, ast.Attribute) and node.attr in public:
                yield public[node.attr]


@cache
def _parsed(module: str) -> _Module:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return _Module({}, {})
    definitions: dict[str, tuple[ast.stmt, ...]] = {}
    imports: dict[str, tuple[str, str]] = {}
    for statement in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            for alias in statement.names:
                imports[alias.asname or alias.name] = statement.module, alias.name
        else:
            for name in _defined(statement):
                definitions[name] = (*definitions.get(name, ()), _stripped(statement))
    return _Module(definitions, imports)


def _defined(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _stripped(statement: ast.stmt) -> ast.stmt:
    """Leave out docstrings, and what an experiment says."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Experiment":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in WORDS]
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return statement
