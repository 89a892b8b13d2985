"""Where in a source a mistake may be: places of its syntax tree, and what stands there."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = [
    "Place",
    "Scope",
    "called",
    "integer",
    "is_floating",
    "is_mask",
    "is_shape",
    "kind",
    "live",
]


@dataclass(frozen=True)
class Place:
    """Where a node stands in its tree."""

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None

    def put(self, node: ast.AST) -> None:
        """Let another node stand here."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


class Scope:
    """A function or a class's own statements, with what operators ask about it.

    Args:
        tree: the definition, of which everything is changed but what never runs.
        decided: tests of which the answer is known, since nobody sets an option.
    """

    def __init__(self, tree: ast.AST, decided: Mapping[str, bool]) -> None:
        self.tree = tree
        self.text = ast.unparse(tree)
        places = tuple(live(tree, decided))
        nodes = [place.node for place in places]
        names = [node for node in nodes if isinstance(node, ast.Name)]
        self._loads = Counter(n.id for n in names if isinstance(n.ctx, ast.Load))
        unread = {inner for node in nodes if self._is_unread(node) for inner in ast.walk(node)}
        self.places = tuple(place for place in places if place.node not in unread)
        self._above = {place.node: place for place in self.places}
        self._stores = [n for n in names if isinstance(n.ctx, ast.Store)]
        self.parameters = {node.arg for node in nodes if isinstance(node, ast.arg)}
        self.constructs = getattr(tree, "name", "") == "__init__"

    def _is_unread(self, node: ast.AST) -> bool:
        """Whether a statement names what nothing but a refusal reads."""
        if not isinstance(node, ast.Assign) or not isinstance(self.tree, ast.FunctionDef):
            return False
        stored = {n.id for n in ast.walk(node.targets[0]) if isinstance(n, ast.Name)} - {"self"}
        return bool(stored) and not any(self._loads[name] for name in stored)

    def above(self, node: ast.AST) -> ast.AST:
        """Give the node around a node."""
        place = self._above.get(node)
        return self.tree if place is None else place.parent

    def still_needed(self, name: ast.AST) -> bool:
        """Whether a name is an argument, or read more than once."""
        if not isinstance(name, ast.Name):
            return False
        return name.id in self.parameters or self._loads[name.id] > 1

    def bound_elsewhere(self, name: ast.AST) -> bool:
        """Whether a name has a value without this assignment."""
        if not isinstance(name, ast.Name):
            return False
        first = next((n for n in self._stores if n.id == name.id), name)
        return name.id in self.parameters or first is not name

    def is_value(self, node: ast.AST) -> bool:
        """Whether a node computes floating numbers that are given a name or returned."""
        if self.constructs or not isinstance(node, ast.Call | ast.BinOp) or not is_floating(node):
            return False
        above = self.above(node)
        if isinstance(above, ast.Tuple):
            above = self.above(above)
        return isinstance(above, ast.Assign | ast.Return)


# --- What is changed ----------------------------------------------------------------------------

_UNTOUCHED_FIELDS = {"annotation", "returns", "decorator_list", "handlers"}
_UNTOUCHED_KEYWORDS = {"device", "dtype", "strict", "bias", "generator"}


def live(tree: ast.AST, decided: Mapping[str, bool]) -> Iterator[Place]:
    """Give every place that a mistake may be in."""
    for field, value in ast.iter_fields(tree):
        if field in _UNTOUCHED_FIELDS or _is_decided(tree, field, decided):
            continue
        children = value if isinstance(value, list) else [value]
        for index, child in enumerate(children):
            if isinstance(child, ast.AST) and not _is_untouched(child, decided):
                yield Place(child, tree, field, index if isinstance(value, list) else None)
                yield from live(child, decided)


def _is_untouched(node: ast.AST, decided: Mapping[str, bool]) -> bool:
    match node:
        case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.Constant(value=str()):
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.If(body=[ast.Raise()]):
            return True
        case ast.If() if _known(node.test, decided) is False and not node.orelse:
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="__init__"))):
            return True
        case ast.Expr(value=ast.Call()) | ast.Call():
            name = called(node.value if isinstance(node, ast.Expr) else node)
            return name.lstrip("_").startswith("check") or name == "super"
        case ast.keyword():
            return node.arg in _UNTOUCHED_KEYWORDS or ast.unparse(node.value) in decided
    return False


def _is_decided(node: ast.AST, field: str, decided: Mapping[str, bool]) -> bool:
    """Whether a part of a condition never runs, or is a test of which the answer is known."""
    if not isinstance(node, ast.If | ast.IfExp):
        return False
    value = _known(node.test, decided)
    return value is not None and field != ("body" if value else "orelse")


def _known(test: ast.AST, decided: Mapping[str, bool]) -> bool | None:
    """Give the answer of a test; None where it depends."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return False if False in {_known(value, decided) for value in test.values} else None
    return decided.get(ast.unparse(test))


# --- What nodes are -----------------------------------------------------------------------------

_FLOATING = {
    "amax", "additive_score", "cos", "dot_score", "exp", "feed_forward", "flatten",
    "forward", "general_score", "layer", "layer_norm", "masked_fill", "masked_softmax", "mean",
    "norm", "projection", "randn", "relu", "residual", "sigmoid", "sin", "softmax", "sqrt",
    "square", "stack", "sublayer", "sum", "tanh", "teacher_forced", "reshape", "transpose",
    "query", "key", "value", "output", "embedding", "cat", "to", "_embed", "decode", "encoder",
    "decoder", "start", "permute",
}  # fmt: skip
"""What gives one floating tensor, by the last name of what is called."""


def called(node: ast.AST) -> str:
    """Give the last name of what is called."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return getattr(function, "attr", getattr(function, "id", ""))


def is_floating(node: ast.AST) -> bool:
    match node:
        case ast.Call():
            return called(node) in _FLOATING and "causal_mask" not in ast.unparse(node)
        case ast.BinOp(left, op, right):
            whole = isinstance(op, ast.BitAnd | ast.FloorDiv | ast.Mod)
            return not whole and (is_floating(left) or is_floating(right))
        case ast.Subscript(value=value):
            return not is_shape(value) and is_floating(value)
        case ast.Attribute(attr=name):
            return name in {"mT", "weight", "table", "bias", "gain"}
        case ast.Name(id=name):
            return not is_mask(node) and kind(node) == "tensor"
    return False


_TOKENS = {"source", "target_in", "token", "tokens", "first", "bos", "input"}
_STATES = {"state", "cache", "caches", "grown", "after", "new", "old", "last"}
_FUNCTIONS = {"step", "choose", "attend", "consult", "norm", "sublayer", "end", "lambda", "cell"}
_COUNTS = {"length", "width", "batch", "channels", "height", "p", "vocabulary", "t", "past", "dim"}


def kind(node: ast.AST) -> str:
    """Guess what a name, or what is like one, stands for."""
    name = ast.unparse(node).split("(")[0].split(".")[-1]
    if isinstance(node, ast.Call) and called(node) not in _FLOATING:
        return ast.unparse(node)
    if name.endswith("mask") or name in {"lengths", "None"}:
        return "mask"
    if name.startswith(("d_", "n_")) or name.endswith(("_size", "_vocab", "_length")):
        return "count"
    kinds = {"tokens": _TOKENS, "state": _STATES, "": _FUNCTIONS, "count": _COUNTS}
    for kind, names in kinds.items():
        if name in names:
            return kind
    if isinstance(node, ast.Constant | ast.Lambda) or name.endswith(("norm", "feed_forward")):
        return ""
    return "tensor"


def is_mask(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and (node.id.endswith("mask") or node.id == "lengths")


def integer(node: ast.AST | None) -> int | None:
    try:
        value = ast.literal_eval(node) if node is not None else None
    except ValueError:
        return None
    return value if type(value) is int else None


def is_shape(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "shape"
