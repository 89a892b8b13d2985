"""Strangers: wrong versions by an author who saw the contract and none of our tests.

Laws are written with mutants in sight, and sentences about mistakes are tuned on them; how good
either is at what a class hands in, our own mutants cannot say. These versions measure it: their
author was given the contract alone, wrote one correct implementation of it, `base.py`, and made
mistakes in it that a teacher would mark. So nobody who changes a law, a sentence or a threshold
looks here first. What a stranger shows is a number; to learn from one, write a mutant or a law of
your own, and count that stranger out from then on.

A stranger is data: the texts of `base.py` that are replaced, in one of its styles, so that a law
that knows one way of writing is met by others. What is wrong is said in one sentence by the author;
which sentence of `tests.mutants.mistakes` is true of it was added later, from the code alone. Files
are walked; there is no list to maintain.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from attest.contract import CONTRACT
from attest.implementations import LocalImplementation
from tests.mutants import Mutant

__all__ = ["RENAMED", "Edit", "Stranger", "all_strangers", "base_in", "edited"]


RENAMED = "renamed"
"""The style whose parameters have other names, so that nothing can be read off them."""

_BASE = Path(__file__).with_name("base.py").read_text(encoding="utf-8")
_PARTS = re.split(r"(?m)^(?=(?:def|class) )", _BASE)
_NAMES = ["", *(re.split(r"\W", part, maxsplit=2)[1] for part in _PARTS[1:])]
_PARAMETER = re.compile(r"\bself\.(query|key|value|output|energy|gain|bias)\b")


@dataclass(frozen=True)
class Edit:
    """A text that takes the place of another.

    A block's own indentation and the empty lines around it do not count: its further lines are
    indented as far as the line in which its first one is found.

    Attributes:
        old: what is replaced; it occurs once.
        new: what takes its place.
        within: the function or class of the base where it is; by default the component's own.
    """

    old: str
    new: str
    within: str = ""

    def __call__(self, code: str) -> str:
        """Give the code after the edit; raise ValueError unless its place is one."""
        old, new = _at_the_margin(self.old), _at_the_margin(self.new)
        places = [
            (start, start + len(text), margin)
            for start, margin in _beginnings(old.partition("\n")[0], code)
            if code.startswith(text := _indented(old, margin), start)
        ]
        if len(places) != 1:
            raise ValueError(f"{old!r} occurs {len(places)} times where it should once")
        ((start, end, margin),) = places
        return code[:start] + _indented(new, margin) + code[end:]


@dataclass(frozen=True)
class Stranger:
    """One wrong version.

    Attributes:
        component: the contract's name of the component that is wrong.
        name: what it is called; no other of the component has the name.
        what: what is wrong, in a sentence of its author.
        edits: how its code differs from the base's.
        style: what was chosen otherwise before: keys of `tests.strangers.styles.STYLES`.
        mistake: a sentence of `tests.mutants.mistakes` that is true of it, as narrow as there is,
            or a wider one, or none.
        also: sentences of other kinds that are true as well.
        doubt: why the contract may not forbid it, if that can be said; a strict count leaves it
            out.
    """

    component: str
    name: str
    what: str
    edits: tuple[Edit, ...]
    style: tuple[str, ...] = ()
    mistake: str = ""
    also: tuple[str, ...] = ()
    doubt: str = ""

    @property
    def source(self) -> str:
        """The code of the whole implementation that has the mistake."""
        return edited(self.component, self.edits, self.style)

    @property
    def target(self) -> Any:
        """The wrong function or class."""
        return _component(self.component, self.name, self.edits, self.style)

    def implementation(self) -> LocalImplementation:
        """Give the reference with this component in place of its own, as for a mutant."""
        return Mutant(self.name, self.component, self.target).implementation()


def all_strangers() -> Iterator[Stranger]:
    """Give every stranger that a file in this folder lists, components as in the contract."""
    found: list[Stranger] = []
    for info in pkgutil.iter_modules(__path__):
        found += vars(importlib.import_module(f"{__name__}.{info.name}")).get("STRANGERS", ())
    order = list(CONTRACT)
    yield from sorted(found, key=lambda stranger: order.index(stranger.component))


def base_in(component: str, style: tuple[str, ...] = ()) -> LocalImplementation:
    """Give the reference with the base's component in a style, which is correct."""
    target = _component(component, "correct", (), style)
    return Mutant("_".join(("base", *style)), component, target).implementation()


def edited(component: str, edits: Sequence[Edit], style: Sequence[str]) -> str:
    """Give the text of the base in a style and after edits."""
    from tests.strangers.styles import STYLES  # which is made of edits

    parts = dict(zip(_NAMES, _PARTS, strict=True))
    for edit in [*(edit for name in style for edit in STYLES[name]), *edits]:
        where = edit.within or component
        parts[where] = edit(parts[where])
    if RENAMED in style:
        parts[component] = _PARAMETER.sub(r"self.w_\1", parts[component])
    return "".join(parts.values())


@cache
def _component(component: str, name: str, edits: tuple[Edit, ...], style: tuple[str, ...]) -> Any:
    label = "_".join(("stranger", component, name, *style))
    module = ModuleType(label)
    sys.modules[label] = module  # where torch and pickle look a class up
    code = compile(edited(component, edits, style), f"<{label}>", "exec")
    exec(code, vars(module))  # noqa: S102 - texts of this folder
    return getattr(module, component)


def _at_the_margin(text: str) -> str:
    """Take a block's own indentation and the empty lines around it away."""
    if "\n" not in text:
        return text
    lines = text.strip("\n").rstrip().split("\n")
    margin = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return "\n".join(line[margin:] for line in lines)


def _indented(text: str, margin: str) -> str:
    return re.sub(r"\n(?=[^\n])", f"\n{margin}", text)


def _beginnings(first: str, code: str) -> Iterator[tuple[int, str]]:
    """Find a text, and say how far the line is indented in which it begins."""
    for found in re.finditer(re.escape(first), code):
        line = code[code.rfind("\n", 0, found.start()) + 1 :]
        yield found.start(), line[: len(line) - len(line.lstrip(" "))]
