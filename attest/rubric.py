"""Rubrics: what a property is worth, read from a TOML file or by default."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

from attest.contract import CONTRACT
from attest.laws import Kind, Property
from attest.messages import printable

__all__ = ["Rubric", "RubricError", "read_rubric"]

KINDS: tuple[Kind, ...] = get_args(Kind)

# What a number of a rubric may be. Points have six decimals, and scaled ones have to stay finite.
LEAST, MOST = 1e-6, 1e6

LONGEST = 60  # of what a message quotes


class RubricError(Exception):
    """A rubric that cannot be used; one line says what is wrong with it."""


@dataclass(frozen=True)
class Rubric:
    """What properties are worth, and which of them a student sees.

    A pattern is a property's name, such as ``softmax.entries_sum_to_one``, a component's or a
    claim's, and may contain ``*``.

    Attributes:
        kinds: points of a property by its kind.
        properties: points of properties by pattern; of several that fit, the last one counts.
        components: what all properties of a component are worth together, however many apply to a
            submission; the others keep theirs.
        assigned: the components that are graded; empty for all.
        required: components without which a submission keeps no more than a share of its points.
        kept: that share, from 0 to 1.
        bonus: patterns of properties whose points come on top.
        hidden: patterns of properties of which a student sees the name alone.
        out_of: what all points together are scaled to; None where they are not.
        seconds: the time limit for all properties of a submission; None for the command's.
    """

    kinds: Mapping[Kind, float] = field(
        default_factory=lambda: {"definition": 3.0, "claim": 2.0, "robustness": 1.0}
    )
    properties: Mapping[str, float] = field(default_factory=dict)
    components: Mapping[str, float] = field(default_factory=dict)
    assigned: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    kept: float = 0.0
    bonus: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    out_of: float | None = None
    seconds: float | None = None

    def grades(self, prop: Property) -> bool:
        """Whether a property is graded at all."""
        return not self.assigned or prop.component in self.assigned

    def is_bonus(self, prop: Property) -> bool:
        """Whether its points come on top."""
        return _fits_any(self.bonus, prop)

    def is_hidden(self, prop: Property) -> bool:
        """Whether a student sees its name alone."""
        return _fits_any(self.hidden, prop)

    def points(self, properties: Iterable[Property]) -> dict[str, float]:
        """Give what each of the properties that apply to a submission is worth, by id."""
        there = list(properties)
        found = {prop.id: self._alone(prop) for prop in there}
        for component, wanted in self.components.items():
            self._scale(found, [prop for prop in there if prop.component == component], wanted)
        if self.out_of is not None:
            self._scale(found, there, self.out_of)
        return found

    def _scale(self, points: dict[str, float], own: Sequence[Property], wanted: float) -> None:
        """Let properties be worth something together, in their proportions; a bonus comes on top.

        Where none of them is worth anything, all are worth the same.
        """
        counted = [prop.id for prop in own if not self.is_bonus(prop)]
        total = math.fsum(points[name] for name in counted)
        if total > 0:
            for prop in own:
                points[prop.id] *= wanted / total
        else:
            points |= {name: wanted / len(counted) for name in counted}

    def _alone(self, prop: Property) -> float:
        own = [worth for pattern, worth in self.properties.items() if _fits(pattern, prop)]
        return own[-1] if own else self.kinds[prop.kind]

    def worthless(self, properties: Iterable[Property]) -> bool:
        """Whether none of the properties that are graded is worth anything, without a bonus."""
        graded = [prop for prop in properties if self.grades(prop)]
        worth = self.points(graded)
        return not any(worth[prop.id] for prop in graded if not self.is_bonus(prop))

    def require_known(self, properties: Sequence[Property]) -> None:
        """Make sure that every pattern fits something.

        Raises:
            RubricError: one fits nothing.
        """
        for where in ("properties", "bonus", "hidden"):
            for pattern in getattr(self, where):
                if not any(_fits(pattern, prop) for prop in properties):
                    claims = {claim.id for prop in properties for claim in prop.claims}
                    names = [*(prop.id for prop in properties), *CONTRACT, *sorted(claims)]
                    meant = _meant(pattern, names) or "; `attest list` shows them all"
                    raise RubricError(f"{where}: {_shown(pattern)} fits no property{meant}")


def _fits(pattern: str, prop: Property) -> bool:
    names = (prop.id, prop.component, *(claim.id for claim in prop.claims))
    return any(fnmatchcase(name, pattern) for name in names)


def _fits_any(patterns: Iterable[str], prop: Property) -> bool:
    return any(_fits(pattern, prop) for pattern in patterns)


def _meant(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; is {near[0]!r} meant?" if near else ""


def read_rubric(path: Path) -> tuple[Rubric, bytes]:
    """Read a rubric from a TOML file whose keys are a rubric's attributes, all of them optional.

    Returns:
        The rubric, and what the file holds: it may be a pipe, which gives it once.

    Raises:
        RubricError: it cannot be read, or says what cannot be meant.
    """
    where = printable(str(path))
    try:
        content = path.read_bytes()
        data = tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise RubricError(f"{where}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # of bytes, of TOML, of a number's digits
        raise RubricError(f"{where} is no TOML: {printable(str(error))}") from None
    try:
        return _rubric(data), content
    except RubricError as error:
        raise RubricError(f"{where}: {error}") from None


def _rubric(data: Mapping[str, Any]) -> Rubric:
    known = [attribute.name for attribute in fields(Rubric)]
    for key in data:
        if key not in known:
            meant = _meant(key, known) or f"; there are {', '.join(known)}"
            raise RubricError(f"there is no {_shown(key)} in a rubric{meant}")
    made = {key: _READ[key](key, value) for key, value in data.items()}
    made["kinds"] = {**Rubric().kinds, **made.get("kinds", {})}
    for key, names in (
        ("kinds", KINDS),
        ("components", CONTRACT),
        ("assigned", CONTRACT),
        ("required", CONTRACT),
    ):
        _require(made.get(key, ()), names, key)
    rubric = Rubric(**made)
    missing = set(rubric.required) - set(rubric.assigned or CONTRACT)
    if missing:
        raise RubricError(f"required: {', '.join(sorted(missing))} is not among those assigned")
    return rubric


def _require(names: Iterable[str], known: Iterable[str], where: str) -> None:
    there = list(known)
    for name in names:
        if name not in there:
            meant = _meant(name, there) or f"; there are {', '.join(there)}"
            raise RubricError(f"{where}: there is no {_shown(name)}{meant}")


def _worths(key: str, table: Any) -> dict[str, float]:  # noqa: ANN401 - whatever TOML has
    if not isinstance(table, dict):
        raise RubricError(f"{key} is a table of points by name")
    for name, worth in table.items():
        if isinstance(worth, dict):
            raise RubricError(
                f"{key}: {_shown(name)} has no number; a name with a dot is put in quotation marks"
            )
    return {name: _number(f"{key}: {_shown(name)}", worth, MOST) for name, worth in table.items()}


def _names(key: str, values: Any) -> tuple[str, ...]:  # noqa: ANN401 - whatever TOML has
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise RubricError(f"{key} is a list of names")
    return tuple(dict.fromkeys(values))


def _number(key: str, value: Any, most: float) -> float:  # noqa: ANN401 - whatever TOML has
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= most:
        raise RubricError(f"{key} is a number from 0 to {most:.0f}, not {_shown(value)}")
    if 0 < value < LEAST:
        raise RubricError(f"{key} is 0 or at least {LEAST:g}, not {_shown(value)}")
    return abs(float(value))  # TOML has a −0


def _shown(value: Any) -> str:  # noqa: ANN401 - whatever TOML has
    try:
        text = repr(value)
    except ValueError:
        return "one of thousands of digits"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _share(key: str, value: Any) -> float:  # noqa: ANN401 - whatever TOML has
    return _number(key, value, 1.0)


def _amount(key: str, value: Any) -> float:  # noqa: ANN401 - whatever TOML has
    found = _number(key, value, MOST)
    if found == 0:
        raise RubricError(f"{key} is a number above 0")
    return found


_READ: Mapping[str, Callable[[str, Any], Any]] = {
    "kinds": _worths,
    "properties": _worths,
    "components": _worths,
    "assigned": _names,
    "required": _names,
    "bonus": _names,
    "hidden": _names,
    "kept": _share,
    "out_of": _amount,
    "seconds": _amount,
}
