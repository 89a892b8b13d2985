"""Operators that know tensors: each changes one place of a source, as a mistake would.

An operator takes a node of the syntax tree and gives what may stand in its place. What refuses bad
input is left alone, and so are annotations, docstrings, and what never runs.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["OPERATORS", "Change", "Scope", "changes", "live", "rounded"]


def rounded(x: Tensor) -> Tensor:
    """Take a tensor through single precision, as mutated sources do by this name."""
    return x.float().to(x.dtype)


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
        flags: options that nobody sets, by name, with their values.
    """

    def __init__(self, tree: ast.AST, flags: Mapping[str, object]) -> None:
        self.tree = tree
        self.text = ast.unparse(tree)
        places = tuple(live(tree, flags))
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
        if self.constructs or not isinstance(node, ast.Call | ast.BinOp) or not _is_floating(node):
            return False
        above = self.above(node)
        if isinstance(above, ast.Tuple):
            above = self.above(above)
        return isinstance(above, ast.Assign | ast.Return)


# --- What is changed ----------------------------------------------------------------------------

_UNTOUCHED_FIELDS = {"annotation", "returns", "decorator_list", "handlers"}
_UNTOUCHED_KEYWORDS = {"device", "dtype", "strict", "bias", "generator"}


def live(tree: ast.AST, flags: Mapping[str, object]) -> Iterator[Place]:
    """Give every place that a mistake may be in."""
    for field, value in ast.iter_fields(tree):
        if field in _UNTOUCHED_FIELDS or _is_decided(tree, field, flags):
            continue
        children = value if isinstance(value, list) else [value]
        for index, child in enumerate(children):
            if isinstance(child, ast.AST) and not _is_untouched(child, flags):
                yield Place(child, tree, field, index if isinstance(value, list) else None)
                yield from live(child, flags)


def _is_untouched(node: ast.AST, flags: Mapping[str, object]) -> bool:
    match node:
        case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.Constant(value=str()):
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.If(body=[ast.Raise()]):
            return True
        case ast.If() if _value(node.test, flags) is False and not node.orelse:
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="__init__"))):
            return True
        case ast.Expr(value=ast.Call()) | ast.Call():
            name = _called(node.value if isinstance(node, ast.Expr) else node)
            return name.lstrip("_").startswith("check") or name == "super"
        case ast.keyword():
            return node.arg in _UNTOUCHED_KEYWORDS or node.arg in flags
    return False


def _is_decided(node: ast.AST, field: str, flags: Mapping[str, object]) -> bool:
    """Whether a part of a condition never runs, or is a test of which the answer is known."""
    if not isinstance(node, ast.If | ast.IfExp):
        return False
    value = _value(node.test, flags)
    return value is not None and field != ("body" if value else "orelse")


def _value(test: ast.AST, flags: Mapping[str, object]) -> bool | None:
    """Give what a test is as long as nobody sets a flag; None where that depends."""
    match test:
        case ast.Name(id=name) if name in flags:
            return bool(flags[name])
        case ast.Compare(left=ast.Name(id=name), ops=[op]) if name in flags:
            return isinstance(op, ast.Is) == (flags[name] is None)
        case ast.BoolOp(op=ast.And(), values=values):
            return False if False in {_value(value, flags) for value in values} else None
    return None


# --- What nodes are -----------------------------------------------------------------------------

_FLOATING = {
    "amax", "additive_score", "chunk", "cos", "dot_score", "exp", "feed_forward", "flatten",
    "forward", "general_score", "layer", "layer_norm", "masked_fill", "masked_softmax", "mean",
    "norm", "projection", "randn", "relu", "residual", "sigmoid", "sin", "softmax", "sqrt",
    "square", "stack", "sublayer", "sum", "tanh", "teacher_forced", "reshape", "transpose",
    "query", "key", "value", "output", "embedding", "cat", "to", "_embed", "decode", "encoder",
    "decoder", "start", "permute",
}  # fmt: skip
"""What gives one floating tensor, by the last name of what is called."""


def _called(node: ast.AST) -> str:
    """Give the last name of what is called."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return getattr(function, "attr", getattr(function, "id", ""))


def _is_floating(node: ast.AST) -> bool:
    match node:
        case ast.Call():
            return _called(node) in _FLOATING and "causal_mask" not in ast.unparse(node)
        case ast.BinOp(left, op, right):
            whole = isinstance(op, ast.BitAnd | ast.FloorDiv | ast.Mod)
            return not whole and (_is_floating(left) or _is_floating(right))
        case ast.Subscript(value=value):
            return not _is_shape(value) and _is_floating(value)
        case ast.Attribute(attr=name):
            return name in {"mT", "weight", "table", "bias", "gain"}
        case ast.Name(id=name):
            return not _is_mask(node) and _kind(node) == "tensor"
    return False


_TOKENS = {"source", "target_in", "token", "tokens", "first", "bos", "input"}
_STATES = {"state", "cache", "caches", "grown", "after", "new", "old", "last"}
_FUNCTIONS = {"step", "choose", "attend", "consult", "norm", "sublayer", "end", "lambda", "cell"}
_COUNTS = {"length", "width", "batch", "channels", "height", "p", "vocabulary", "t", "past", "dim"}


def _kind(node: ast.AST) -> str:
    """Guess what a name, or what is like one, stands for."""
    name = ast.unparse(node).split("(")[0].split(".")[-1]
    if isinstance(node, ast.Call) and _called(node) not in _FLOATING:
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


def _is_mask(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and (node.id.endswith("mask") or node.id == "lengths")


def _integer(node: ast.AST | None) -> int | None:
    try:
        value = ast.literal_eval(node) if node is not None else None
    except ValueError:
        return None
    return value if type(value) is int else None


def _literal(value: object) -> ast.expr:
    return ast.parse(repr(value), mode="eval").body


def _expression(text: str, **nodes: ast.AST) -> ast.expr:
    """Read an expression, and put nodes in place of names."""

    class Put(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:  # noqa: N802 - ast's name
            return nodes.get(node.id, node)

    return Put().visit(ast.parse(text, mode="eval").body)


def _call(node: ast.Call, **changed: object) -> ast.Call:
    fields = {"func": node.func, "args": node.args, "keywords": node.keywords}
    return ast.Call(**{**fields, **changed})


def _method(node: ast.AST) -> ast.expr | None:
    """Give the object whose method is called."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    owner = node.func.value
    return None if isinstance(owner, ast.Name) and owner.id in {"torch", "math", "nn"} else owner


def _replaced(items: list, index: int, item: object) -> list:
    return [*items[:index], item, *items[index + 1 :]]


def _exchanged(items: list, *, alike: bool = False) -> Iterator[list]:
    """Give a list with two neighbours exchanged, in every way that changes it."""
    for index, (left, right) in enumerate(zip(items, items[1:], strict=False)):
        starred = isinstance(left, ast.Starred) or isinstance(right, ast.Starred)
        unlike = starred or (alike and (_kind(left) != _kind(right) or not _kind(left)))
        if not unlike and ast.dump(left) != ast.dump(right):
            yield [*items[:index], right, left, *items[index + 2 :]]


# --- Operators ----------------------------------------------------------------------------------

Operator = Callable[[ast.AST, Scope], Iterator[ast.AST]]
OPERATORS: dict[str, Operator] = {}


def operator(function: Operator) -> Operator:
    """Declare an operator; its name is the function's."""
    OPERATORS[function.__name__] = function
    return function


_AXIS_AT = {
    "sum": 0, "mean": 0, "amax": 0, "any": 0, "argmax": 0, "flatten": 0,
    "cat": 1, "stack": 1, "chunk": 1,
}  # fmt: skip
_OTHER_AXES = {-1: (-2, 0), -2: (-3, -1), 0: (1,), 1: (0, 2)}


@operator
def axis(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Work along another axis, or in another order of axes."""
    match node:
        case ast.arg(arg="dim"):
            return
        case ast.Call(args=args) if _called(node) in _AXIS_AT:
            at = _AXIS_AT[_called(node)]
            if at < len(args):
                given = _integer(args[at])
                for other in _OTHER_AXES.get(given, (-1,)) if given is not None else (-1, 0):
                    yield _call(node, args=_replaced(args, at, _literal(other)))
            kept = [k for k in node.keywords if k.arg != "keepdim"]
            if len(kept) < len(node.keywords):
                yield _call(node, keywords=kept)
        case ast.Call(args=[first, second]) if _called(node) == "transpose":
            for pair in ((0, 1), (1, 3), (2, 3)):
                if pair != (_integer(first), _integer(second)):
                    yield _call(node, args=[_literal(dim) for dim in pair])
        case ast.Call(args=args) if _called(node) in {"permute", "reshape", "expand"}:
            yield from (_call(node, args=other) for other in _exchanged(args))
        case ast.Subscript(slice=ast.Tuple(elts=elts)) if any(map(_is_none, elts)):
            rest = [e for e in elts if not _is_none(e)]
            for at in range(len(elts)):
                other = [*rest[:at], _literal(None), *rest[at:]]
                if not _is_none(elts[at]):
                    yield ast.Subscript(node.value, ast.Tuple(other, ast.Load()), node.ctx)
        case ast.Tuple(elts=elts, ctx=ast.Store()) if _unpacks_a_shape(node, scope):
            yield from (ast.Tuple(other, ast.Store()) for other in _exchanged(elts))


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _unpacks_a_shape(node: ast.AST, scope: Scope) -> bool:
    above = scope.above(node)
    return (
        isinstance(above, ast.Assign)
        and isinstance(above.value, ast.Attribute)
        and above.value.attr == "shape"
    )


@operator
def transpose_dropped(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Leave the axes as they are."""
    if isinstance(node, ast.Attribute) and node.attr == "mT":
        yield node.value
    if _called(node) in {"transpose", "permute", "flatten"}:
        yield _method(node)


@operator
def scale(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Scale by something else, the wrong way, or not at all."""
    match node:
        case ast.BinOp(left, ast.Div(), right):
            yield left
            yield ast.BinOp(left, ast.Mult(), right)
        case ast.BinOp(left, ast.Mult(), right) if _is_floating(left) or _is_floating(right):
            yield left
            yield ast.BinOp(left, ast.Div(), right)
        case ast.BinOp(left, ast.Pow(), right):
            yield ast.BinOp(left, ast.Pow(), ast.UnaryOp(ast.USub(), right))
        case ast.Call(args=[inner]) if _called(node) == "sqrt":
            yield inner
            yield _expression("inner ** 2", inner=inner)
        case ast.Call(args=[]) if _called(node) == "square":
            yield _expression("inner.abs()", inner=_method(node))
        case ast.Subscript(value=ast.Attribute(attr="shape"), slice=index):
            for other in _OTHER_AXES.get(_integer(index), ()):
                yield ast.Subscript(node.value, _literal(other), node.ctx)


@operator
def mask(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Hide what may be seen, show what may not, or forget the mask."""
    match node:
        case ast.UnaryOp(ast.Invert(), operand):
            yield operand
        case ast.BinOp(left, ast.BitAnd(), right):
            yield ast.BinOp(left, ast.BitOr(), right)
            yield left
            yield right
        case ast.Call(args=args) if _called(node) == "masked_fill":
            yield _method(node)
            if not isinstance(args[0], ast.UnaryOp):
                yield _call(node, args=[ast.UnaryOp(ast.Invert(), args[0]), *args[1:]])
            if ast.unparse(args[1]) == "-torch.inf":
                yield _call(node, args=[args[0], _literal(-1e4)])
                yield _call(node, args=[args[0], _literal(0.0)])
        case ast.Call(args=args) if _called(node) in {"where", "_where"}:
            yield _call(node, args=[args[0], args[2], args[1]])
            yield args[1]
        case ast.Call(func=ast.Attribute(value=value, attr="any")):
            yield _call(node, func=ast.Attribute(value, "all", ast.Load()))
        case ast.Name() | ast.Call() if _is_mask(node) or _called(node) == "_for_every_query":
            above = scope.above(node)
            if isinstance(above, ast.keyword) or node in getattr(above, "args", ()):
                yield _literal(None)


@operator
def off_by_one(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Start or end one too early or too late."""
    match node:
        case ast.Call(args=[count]) if _called(node) in {"range", "arange"}:
            yield _call(node, args=[_expression("n - 1", n=count)])
            if not scope.constructs:
                yield _call(node, args=[_literal(1), _expression("n + 1", n=count)])
        case ast.Call(args=[start, stop, step]) if _called(node) == "arange":
            yield _call(node, args=[_literal(2), _expression("n + 2", n=stop), step])
            yield _call(node, args=[_literal(1), _expression("n + 1", n=stop), step])
        case ast.Call(args=[]) if _called(node) == "tril":
            yield from (_call(node, args=[_literal(by)]) for by in (-1, 1))
            yield _call(node, func=ast.Attribute(node.func.value, "triu", ast.Load()))
        case ast.Slice(lower=None, upper=ast.expr() as upper):
            yield ast.Slice(None, _expression("n - 1", n=upper))
            yield ast.Slice(_literal(1), _expression("n + 1", n=upper))
        case ast.Slice(lower=ast.expr() as lower, upper=None):
            yield ast.Slice(None, _expression("-n or None", n=lower))
            yield ast.Slice(_expression("n - 1", n=lower), None)
        case ast.Compare(ops=[ast.Lt()]):
            yield from (
                ast.Compare(node.left, [other], node.comparators)
                for other in (ast.LtE(), ast.Gt(), ast.GtE())
            )
        case ast.arg():
            return
        case ast.Constant(value=int()) if type(node.value) is int and _is_default(node, scope):
            yield _literal(node.value + 1)
        case ast.UnaryOp() if _integer(node) is not None and _is_default(node, scope):
            yield _literal(_integer(node) - 1)
            yield _literal(0)
        case ast.Subscript(ctx=ast.Load()) if not _is_shape(node.value):
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            for index, part in enumerate(parts):
                given = _integer(part)
                if given is not None:
                    other = _replaced(parts, index, _literal(1 - given))
                    inner = ast.Tuple(other, ast.Load()) if len(parts) > 1 else other[0]
                    yield ast.Subscript(node.value, inner, node.ctx)


def _is_default(node: ast.AST, scope: Scope) -> bool:
    return isinstance(scope.above(node), ast.arguments)


def _is_shape(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "shape"


@operator
def detached(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Let no gradient through."""
    if scope.is_value(node):
        yield _expression("inner.detach()", inner=node)
    elif isinstance(node, ast.Name) and _kind(node) in {"tensor", "state"}:
        above = scope.above(node)
        if isinstance(above, ast.Call) and above.args[:1] == [node] and _is_sublayer(above):
            yield _expression("inner.detach()", inner=node)


def _is_sublayer(node: ast.Call) -> bool:
    """Whether a module that belongs to this one is called, other than one that takes tokens."""
    text = ast.unparse(node.func)
    return text in {"sublayer", "norm", "layer", "residual", "cell"} or (
        text.startswith(("self.", "own.")) and "embed" not in text and "step" not in text
    )


_IN_PLACE = {ast.Add: "add_", ast.Sub: "sub_", ast.Mult: "mul_", ast.Div: "div_"}


@operator
def in_place(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Overwrite what is still needed."""
    match node:
        case ast.BinOp(left, op, right) if type(op) in _IN_PLACE and scope.still_needed(left):
            if not scope.constructs and _is_floating(left):
                text = f"left.{_IN_PLACE[type(op)]}(right)"
                yield _expression(text, left=left, right=right)
        case ast.Call(func=ast.Attribute(value=value, attr="masked_fill")):
            if scope.still_needed(value):
                yield _call(node, func=ast.Attribute(value, "masked_fill_", ast.Load()))


@operator
def single_precision(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Compute an intermediate result in single precision."""
    if scope.is_value(node):
        yield _expression("rounded(inner)", inner=node)


@operator
def constant_result(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Give the same whatever is asked."""
    if scope.is_value(node) and not isinstance(scope.above(node), ast.Assign):
        yield _expression("torch.zeros_like(inner)", inner=node)


@operator
def swap(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Mistake one argument or operand for another."""
    match node:
        case ast.Call(args=args) if not scope.constructs:
            if _called(node) not in {*_AXIS_AT, "reshape", "permute", "where", "_where"}:
                yield from (_call(node, args=other) for other in _exchanged(args, alike=True))
        case ast.BinOp(left, ast.Sub() | ast.Div() | ast.Pow() as op, right):
            yield ast.BinOp(right, op, left)
        case ast.List(elts=elts) if len(elts) > 1:
            yield from (ast.List(other, node.ctx) for other in _exchanged(elts))
        case ast.Tuple(elts=elts) if isinstance(scope.above(node), ast.Assign | ast.Return):
            if isinstance(node.ctx, ast.Load) and not scope.constructs:
                yield from (ast.Tuple(other, node.ctx) for other in _exchanged(elts, alike=True))
        case ast.Name(ctx=ast.Load()):
            # A query attends to the keys of another.
            other = {"query": "key", "key": "value", "memory": "x", "height": "width"}.get(node.id)
            above = scope.above(node)
            used = isinstance(above, ast.Call | ast.BinOp) and other in scope.parameters
            if used and node.id in scope.parameters:
                yield ast.Name(other, ast.Load())


@operator
def dropped(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Leave out a layer, an activation, a norm or a summand."""
    match node:
        case ast.Call(args=[first, *_]) if _is_sublayer(node) and not scope.constructs:
            if _called(node) != "cell":
                yield first
        case ast.Call(args=[first, *_]) if _called(node) in {"tanh", "sigmoid", "relu", "exp"}:
            yield first
        case ast.BinOp(left, ast.Add() | ast.Sub(), right) if not scope.constructs:
            yield left
            if isinstance(node.op, ast.Add):
                yield right


_OTHER_NAMES = {
    "amax": "amin", "argmax": "argmin", "sin": "cos", "cos": "sin", "ones": "zeros",
    "zeros": "ones", "ones_like": "zeros_like", "new_zeros": "new_ones",
}  # fmt: skip


@operator
def sign(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Take the opposite."""
    match node:
        case ast.BinOp(left, ast.Add() | ast.Sub() as op, right):
            other = ast.Sub() if isinstance(op, ast.Add) else ast.Add()
            yield ast.BinOp(left, other, right)
        case ast.UnaryOp(ast.USub(), operand) if _integer(node) is None:
            yield operand
        case ast.Attribute(value=value, attr=name) if name in _OTHER_NAMES:
            yield ast.Attribute(value, _OTHER_NAMES[name], ast.Load())


_OTHER_NUMBERS = {1e-5: (0.0, 1e-6, 1e-3), 10000.0: (1000.0, 10001.0), 0.0: (1.0,), 2: (1, 3)}


@operator
def constant(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Take another number."""
    inside = scope.above(node)
    if isinstance(inside, ast.arguments):  # a helper is told
        return
    if isinstance(node, ast.Constant) and type(node.value) in {int, float}:
        if isinstance(node.value, float) or (
            isinstance(inside, ast.BinOp)
            or (isinstance(inside, ast.Call) and _called(inside) == "arange")
        ):
            others = _OTHER_NUMBERS.get(node.value, (node.value + 1,))
            yield from (_literal(other) for other in others)


@operator
def shared(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Let two layers have the same parameters."""
    match node:
        case ast.Call(args=[ast.GeneratorExp() as each]) if _called(node) == "ModuleList":
            count = each.generators[0].iter.args[0]
            one = _expression("[layer] * count", layer=each.elt, count=count)
            yield _call(node, args=[one])
        case ast.Assign(targets=[ast.Attribute()], value=ast.Call() as value) if scope.constructs:
            for place in scope.places:
                other = place.node
                if other is node:
                    return
                alike = isinstance(other, ast.Assign) and ast.dump(other.value) == ast.dump(value)
                if alike and "Norm" not in ast.unparse(value):
                    earlier = ast.parse(ast.unparse(other.targets[0]), mode="eval").body
                    yield ast.Assign(node.targets, earlier, lineno=1)
                    return


@operator
def step_dropped(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Leave out a step, or a layer of a stack."""
    match node:
        case ast.Assign(targets=[target], value=value) if scope.bound_elsewhere(target):
            yield ast.Pass()
        case ast.If():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Subscript()]) | ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Attribute(attr="layers") if isinstance(scope.above(node), ast.For | ast.Call):
            # A decoder's step counts its layers, so it takes one in the place of another.
            yield _expression("list(layers)[1:]", layers=node)
            yield _expression("list(layers)[:-1]", layers=node)
            yield _expression("list(layers)[::-1]", layers=node)


@operator
def condition(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Take one of two branches always."""
    match node:
        case ast.IfExp(body=body, orelse=orelse):
            if _value(node.test, _NO_FLAGS) is None and not _is_flag(node, scope):
                yield body
                yield orelse
        case ast.If(test=test):
            yield ast.If(_literal(True), node.body, node.orelse)


_NO_FLAGS: dict[str, object] = {}


def _is_flag(node: ast.IfExp, scope: Scope) -> bool:
    """Whether only one of the two branches is ever taken."""
    return not any(place.node is node.test for place in scope.places)


# --- Changes ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """One place changed by one operator.

    Attributes:
        operator: the operator's name.
        before: what stood there, with as much around it as tells where.
        after: what stands there.
        place: where.
        node: what is put there.
    """

    operator: str
    before: str
    after: str
    place: Place
    node: ast.AST

    def of(self, tree: ast.AST) -> str:
        """Give the source of a tree that the place is in, changed."""
        self.place.put(self.node)
        try:
            return ast.unparse(ast.fix_missing_locations(tree))
        finally:
            self.place.put(self.place.node)


def changes(scope: Scope) -> Iterator[Change]:
    """Give every change of a definition, each text once."""
    seen: set[tuple[ast.AST, str]] = set()
    for place in scope.places:
        statement, around = _statement(place.node, scope), _around(place.node, scope)
        before = _text(around)
        for name, apply in OPERATORS.items():
            for node in apply(place.node, scope):
                place.put(ast.fix_missing_locations(node))
                try:
                    text = ast.unparse(node if statement is place.node else statement)
                    after = _text(node if around is place.node else around)
                finally:
                    place.put(place.node)
                if after != before and (statement, text) not in seen:
                    seen.add((statement, text))
                    yield Change(name, before, after, place, node)


def _statement(node: ast.AST, scope: Scope) -> ast.AST:
    """Give the statement that a node is in, or the definition's arguments."""
    while not isinstance(node, ast.stmt | ast.arguments) and scope.above(node) is not scope.tree:
        node = scope.above(node)
    return node


def _around(node: ast.AST, scope: Scope) -> ast.AST:
    """Give the smallest node around a node whose text stands once in the definition."""
    last = _statement(node, scope)
    while node is not last:
        if isinstance(node, ast.expr):
            text = _text(node)
            if len(text) > 3 and scope.text.count(text) == 1:
                return node
        node = scope.above(node)
    return node


def _text(node: ast.AST) -> str:
    """Write a node on one line, a block by how it starts, arguments by what they are by default."""
    if isinstance(node, ast.arguments):
        named = node.args[len(node.args) - len(node.defaults) :]
        pairs = zip(named, node.defaults, strict=True)
        return ", ".join(f"{a.arg}={ast.unparse(default)}" for a, default in pairs)
    lines = ast.unparse(node).splitlines()
    return " ".join(line.strip() for line in lines[:2])
