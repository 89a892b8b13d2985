"""Operators that know tensors: each changes one place of a source, as a mistake would.

An operator takes a node of the syntax tree and gives what may stand in its place. What refuses bad
input is left alone, and so are annotations, docstrings, and what never runs.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from tests.mutants.places import (
    Place,
    Scope,
    called,
    integer,
    is_floating,
    is_mask,
    is_shape,
    kind,
)

__all__ = ["OPERATORS", "Change", "changes", "rounded"]


def rounded(x: Tensor) -> Tensor:
    """Take a tensor through single precision, as mutated sources do by this name."""
    return x.float().to(x.dtype)


def _literal(value: object) -> ast.expr:
    return ast.parse(repr(value), mode="eval").body


def _expression(text: str, **nodes: ast.AST) -> ast.expr:
    """Read an expression, and put nodes in place of names."""

    class Put(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:
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
    for index, (left, right) in enumerate(pairwise(items)):
        starred = isinstance(left, ast.Starred) or isinstance(right, ast.Starred)
        unlike = starred or (alike and (kind(left) != kind(right) or not kind(left)))
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
        case ast.Call(args=args) if called(node) in _AXIS_AT:
            at = _AXIS_AT[called(node)]
            if at < len(args):
                given = integer(args[at])
                for other in _OTHER_AXES.get(given, (-1,)) if given is not None else (-1, 0):
                    yield _call(node, args=_replaced(args, at, _literal(other)))
            kept = [k for k in node.keywords if k.arg != "keepdim"]
            if len(kept) < len(node.keywords):
                yield _call(node, keywords=kept)
        case ast.Call(args=[first, second]) if called(node) == "transpose":
            for pair in ((0, 1), (1, 3), (2, 3)):
                if pair != (integer(first), integer(second)):
                    yield _call(node, args=[_literal(dim) for dim in pair])
        case ast.Call(args=args) if called(node) in {"permute", "reshape", "expand"}:
            yield from (_call(node, args=other) for other in _exchanged(args))


@operator
def layout(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Take one axis for another, or add one in another place."""
    match node:
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
    if called(node) in {"transpose", "permute", "flatten"}:
        yield _method(node)


@operator
def scale(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Scale by something else, the wrong way, or not at all."""
    match node:
        case ast.BinOp(left, ast.Div(), right):
            yield left
            yield ast.BinOp(left, ast.Mult(), right)
        case ast.BinOp(left, ast.Mult(), right) if is_floating(left) or is_floating(right):
            yield left
            yield ast.BinOp(left, ast.Div(), right)
        case ast.BinOp(left, ast.Pow(), right):
            yield ast.BinOp(left, ast.Pow(), ast.UnaryOp(ast.USub(), right))
        case ast.Call(args=[inner]) if called(node) == "sqrt":
            yield inner
            yield _expression("inner ** 2", inner=inner)
        case ast.Call(args=[]) if called(node) == "square":
            yield _expression("inner.abs()", inner=_method(node))
        case ast.Subscript(value=ast.Attribute(attr="shape"), slice=index):
            for other in _OTHER_AXES.get(integer(index), ()):
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
        case ast.Call(args=args) if called(node) == "masked_fill":
            yield _method(node)
            if not isinstance(args[0], ast.UnaryOp):
                yield _call(node, args=[ast.UnaryOp(ast.Invert(), args[0]), *args[1:]])
            if ast.unparse(args[1]) == "-torch.inf":
                yield _call(node, args=[args[0], _literal(-1e4)])
                yield _call(node, args=[args[0], _literal(0.0)])
        case ast.Call(args=args) if called(node) in {"where", "_where"}:
            yield _call(node, args=[args[0], args[2], args[1]])
            yield args[1]
        case ast.Call(func=ast.Attribute(value=value, attr="any")):
            yield _call(node, func=ast.Attribute(value, "all", ast.Load()))
        case ast.Name() | ast.Call() if is_mask(node) or called(node) == "_for_every_query":
            above = scope.above(node)
            if isinstance(above, ast.keyword) or node in getattr(above, "args", ()):
                yield _literal(None)


@operator
def off_by_one(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Start or end one too early or too late."""
    match node:
        case ast.Call(args=[count]) if called(node) in {"range", "arange"}:
            yield _call(node, args=[_expression("n - 1", n=count)])
            if not scope.constructs:
                yield _call(node, args=[_literal(1), _expression("n + 1", n=count)])
        case ast.Call(args=[_, stop, step]) if called(node) == "arange":
            yield _call(node, args=[_literal(2), _expression("n + 2", n=stop), step])
            yield _call(node, args=[_literal(1), _expression("n + 1", n=stop), step])
        case ast.Call(args=[]) if called(node) == "tril":
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


@operator
def default(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Take another value by default."""
    match node:
        case ast.Constant(value=int()) if type(node.value) is int and _is_default(node, scope):
            yield _literal(node.value + 1)
        case ast.UnaryOp() if integer(node) is not None and _is_default(node, scope):
            yield _literal(integer(node) - 1)
            yield _literal(0)


@operator
def index(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Take the other of two parts."""
    match node:
        case ast.Subscript(ctx=ast.Load()) if not is_shape(node.value):
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            for at, part in enumerate(parts):
                given = integer(part)
                if given is not None:
                    other = _replaced(parts, at, _literal(1 - given))
                    inner = ast.Tuple(other, ast.Load()) if len(parts) > 1 else other[0]
                    yield ast.Subscript(node.value, inner, node.ctx)


def _is_default(node: ast.AST, scope: Scope) -> bool:
    return isinstance(scope.above(node), ast.arguments)


@operator
def detached(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Let no gradient through."""
    if scope.is_value(node):
        yield _expression("inner.detach()", inner=node)
    elif isinstance(node, ast.Name) and kind(node) in {"tensor", "state"}:
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
            if not scope.constructs and is_floating(left):
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
            if called(node) not in {*_AXIS_AT, "reshape", "permute", "where", "_where"}:
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
            if called(node) != "cell":
                yield first
        case ast.Call(args=[first, *_]) if called(node) in {"tanh", "sigmoid", "relu", "exp"}:
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
        case ast.UnaryOp(ast.USub(), operand) if integer(node) is None:
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
    computed = isinstance(inside, ast.BinOp) or called(inside) == "arange"
    match node:
        case ast.Constant(value=float() | int() as value) if type(value) is float or computed:
            others = _OTHER_NUMBERS.get(value, (value + 1,))
            yield from (_literal(other) for other in others)


@operator
def shared(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Let two layers have the same parameters."""
    match node:
        case ast.Call(args=[ast.GeneratorExp() as each]) if called(node) == "ModuleList":
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
        case ast.Assign(targets=[target]) if scope.bound_elsewhere(target):
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
            if any(place.node is node.test for place in scope.places):  # it is not decided
                yield body
                yield orelse
        case ast.If():
            yield ast.If(_literal(True), node.body, node.orelse)


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
