"""Parts that a component is made of, and who is to blame where it fails.

A composite that calls a part by its name in the submission fails with that part, for which points
are lost there already. So what fails is examined once more with the reference's part under that
name: where it holds then, nothing but the part is wrong.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

from attest.evidence import Evidence
from attest.experiments import Experiment
from attest.implementations import Implementation
from attest.laws import Property
from attest.ledger import own_package

__all__ = ["PARTS", "excerpt", "to_blame"]

_ATTENTION = ("softmax", "scaled_dot_product_attention")
_LAYER = (
    *_ATTENTION,
    *("causal_mask", "SelfAttention", "MultiHeadAttention", "FeedForward", "LayerNorm"),
)
_DECODER = (*_LAYER, "DecoderLayer")
_ENCODER = (*_LAYER, "EncoderLayer")
_POSITIONS = ("sinusoidal_positional_encoding", "LearnedPositionalEmbedding")

PARTS: Mapping[str, tuple[str, ...]] = {
    "scaled_dot_product_attention": ("softmax",),
    "AdditiveAttention": ("softmax",),
    "MultiplicativeAttention": ("softmax",),
    "SelfAttention": _ATTENTION,
    "MultiHeadAttention": _ATTENTION,
    "EncoderLayer": _LAYER,
    "DecoderLayer": _LAYER,
    "Encoder": _ENCODER,
    "Decoder": _DECODER,
    "Transformer": (
        *_LAYER,
        *("EncoderLayer", "DecoderLayer", "Encoder", "Decoder", "padding_mask", *_POSITIONS),
    ),
    "AttentionSeq2Seq": (
        *_ATTENTION,
        *("padding_mask", "AdditiveAttention", "MultiplicativeAttention"),
    ),
}
"""What a component may be made of, the smallest first."""

Examine = Callable[[Sequence[Evidence], Implementation], list[Evidence]]


def to_blame(
    evidence: Iterable[Evidence],
    implementation: Implementation,
    run: Examine,
    charged: Callable[[Property], bool],
) -> dict[str, tuple[str, ...]]:
    """Find which failures are the fault of parts that have lost points for them.

    Nothing of a component is excused where one of its definitions fails with correct parts, too:
    then it is not the parts alone that are wrong. Nor is it where something that holds with its own
    parts fails then, which is said of a component that does one thing or another by its parts.

    Args:
        evidence: what examining the implementation gave.
        implementation: what was examined.
        run: examines the properties of some evidence once more, on another implementation, and
            gives what it came to in the time that is left.
        charged: whether failing a property costs points.

    Returns:
        By the ids of such properties, the parts: one where it explains all, else all that fail.
    """
    evidence = list(evidence)
    failing = [e for e in evidence if e.status in {"refuted", "crashed", "timeout"}]
    blamed: dict[str, tuple[str, ...]] = {}

    def hold(of: Sequence[Evidence], parts: Sequence[str]) -> list[Evidence]:
        with implementation.replacing({part: excerpt(part) for part in parts}) as other:
            return [e for e in run(of, other) if e.status == "holds"]

    def has_paid(part: str) -> bool:
        own = (e.prop for e in failing if e.prop.component == part and e.prop.id not in blamed)
        return any(isinstance(prop, Property) and charged(prop) for prop in own)

    for component, names in PARTS.items():
        parts = tuple(name for name in names if has_paid(name))
        own = [e for e in failing if e.prop.component == component]
        if not parts or not own:
            continue
        held = [e for e in evidence if e.prop.component == component and e.status == "holds"]
        there = {e.prop.id: e for e in hold([*own, *held], parts)}
        needed = [e for e in own if _is_a_definition(e.prop)] + held
        if any(e.prop.id not in there for e in needed):
            continue
        excused = [there[e.prop.id] for e in own if e.prop.id in there]
        for part in parts if len(parts) > 1 else ():
            if not excused:
                break
            for one in hold(excused, [part]):
                blamed[one.prop.id] = (part,)
            excused = [e for e in excused if e.prop.id not in blamed]
        blamed |= {e.prop.id: parts for e in excused}
    return blamed


def _is_a_definition(prop: Property | Experiment) -> bool:
    return isinstance(prop, Property) and prop.kind == "definition"


@cache
def excerpt(component: str) -> str:
    """Give the reference's code of a component as a script of its own: what it needs, no more.

    A submission that gets a part of the reference gets nothing by which it could do more.
    """
    start = getattr(own_package("reference"), component)
    taken: dict[tuple[str, str], ast.stmt] = {}
    imports: dict[str, None] = {}
    waiting = [(str(start.__module__), component)]
    while waiting:
        module, name = waiting.pop()
        if (module, name) in taken:
            continue
        statement = _statements(module)[name]
        if isinstance(statement, ast.ImportFrom) and str(statement.module).startswith("reference."):
            waiting.append((str(statement.module), name))
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            imports[ast.unparse(statement)] = None
        else:
            taken[module, name] = statement
            waiting += [(module, used) for used in _names(statement) if used in _statements(module)]
    order = _in_order(taken)
    own = list(dict.fromkeys(ast.unparse(taken[place]) for place in order))
    return "\n".join(["from __future__ import annotations", *sorted(imports), *own, ""])


def _in_order(taken: Mapping[tuple[str, str], ast.stmt]) -> list[tuple[str, str]]:
    """Order definitions as their modules import each other, and within one as they stand there."""
    modules: list[str] = []

    def add(module: str) -> None:
        for statement in _statements(module).values():
            if isinstance(statement, ast.ImportFrom) and str(statement.module).startswith(
                "reference."
            ):
                add(str(statement.module))
        if module not in modules:
            modules.append(module)

    for module in dict.fromkeys(module for module, _ in taken):
        add(module)
    return sorted(taken, key=lambda place: (modules.index(place[0]), taken[place].lineno))


def _names(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            yield node.id


@cache
def _statements(module: str) -> dict[str, ast.stmt]:
    """Give what a module defines or imports, by name; an import with that name alone."""
    path = Path(str(import_module(module).__file__))
    found: dict[str, ast.stmt] = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        match statement:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found[name] = statement
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = statement
            case ast.ImportFrom(module=source, names=names):
                for alias in names:
                    found[alias.asname or alias.name] = ast.ImportFrom(source, [alias], 0)
            case ast.Import(names=names):
                for alias in names:
                    known = alias.asname or alias.name.partition(".")[0]
                    found[known] = ast.Import([alias])
    return found
