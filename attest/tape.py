"""A tape of what a law did with a component, and the script that does it again.

While a law runs on a counterexample, the tape notes every torch operation between the inputs and
the two tensors that should have agreed. From the notes it writes straight-line torch code that
needs the submission and nothing of ours. What it cannot write as code (a value that came from
numpy, say) it writes as a literal tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from attest.specification import CallSpec, ComponentSpec, Kept, tensors_in

__all__ = ["MANY", "Tape", "literal"]

Token = Any
"""A piece of text, or what stands in its place: a tensor, a state, or what is kept."""

_OPERATORS = {
    "add": "+", "__add__": "+", "__radd__": "+", "sub": "-", "__sub__": "-", "mul": "*",
    "__mul__": "*", "__rmul__": "*", "div": "/", "__truediv__": "/", "true_divide": "/",
    "matmul": "@", "__matmul__": "@", "__and__": "&", "__or__": "|", "eq": "==", "__eq__": "==",
    "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "__lt__": "<", "__le__": "<=",
    "__gt__": ">", "__ge__": ">=", "pow": "**", "__pow__": "**",
}  # fmt: skip
_REFLECTED = {
    "__rsub__": "-", "__rtruediv__": "/", "__rdiv__": "/", "__rmatmul__": "@", "__rpow__": "**",
}  # fmt: skip
_UNARY = {"neg": "-", "__neg__": "-", "__invert__": "~", "bitwise_not": "~"}
# What torch passes on to a mode although nobody wrote it.
_DEFAULTS = {
    ("grad", "create_graph"): False,
    ("grad", "only_inputs"): True,
    ("grad", "is_grads_batched"): False,
}
_NAMESPACES = (
    ("torch", torch),
    ("torch.linalg", torch.linalg),
    ("torch.nn.functional", torch.nn.functional),
    ("torch.autograd", torch.autograd),
)


class _CannotWrite(Exception):  # noqa: N818 - control flow of the tape
    pass


@dataclass
class _Step:
    """One operation: its expression as text with tensors in it, and the tensors it gave.

    A step that overwrites a parameter names the module in ``overwrites`` and the parameter in
    ``filled``, with the number where all its entries are the same; one that calls or
    differentiates a module names it in ``uses``; a call says in ``graded`` whether gradients were
    recorded, and a differentiation in ``gives`` which gradients are taken out of it later.
    """

    tokens: list[Token] | None
    results: list[Any]
    names: list[str]
    changes: list[Tensor] = field(default_factory=list)
    always: bool = False
    overwrites: str = ""
    filled: tuple[str, float | None] = ("", None)
    uses: str = ""
    graded: bool | None = None
    gives: list[Tensor] | None = None

    @property
    def target(self) -> str:
        """What a step that overwrites a parameter overwrites."""
        return str((self.tokens or [""])[0]).partition(".data.copy_(")[0]

    @property
    def needs(self) -> list[Any]:
        return [t for t in self.tokens or [] if not isinstance(t, str)]


class Tape(TorchFunctionMode):
    """Notes torch operations and calls of components.

    Args:
        recording: whether to note anything at all.

    Attributes:
        parameters: those of the first module when it was first called, for the report.
    """

    def __init__(self, *, recording: bool) -> None:
        super().__init__()
        self._kept = self._recording = recording
        self._entered = False
        self._steps: list[_Step] = []
        self._inputs: dict[int, tuple[str, Tensor]] = {}
        self._aliases: list[tuple[Tensor, Tensor]] = []
        self._components = 0
        self._calls = 0
        self._seeded = False
        self._differentiations = 0
        self.parameters: dict[str, Tensor] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the operation and note it."""
        try:
            result = func(*args, **(kwargs or {}))
        except Exception:
            if self._recording:  # what raised belongs into the script, too
                with suppress(_CannotWrite):
                    tokens = _expression(func, func.__name__, args, kwargs or {})
                    self._steps.append(_Step(tokens, [], [], always=True))
            raise
        if self._recording:
            self._note(func, args, kwargs or {}, result)
        return result

    @property
    def recording(self) -> bool:
        """Whether it notes what happens now."""
        return self._recording

    def paused(self) -> AbstractContextManager[None]:
        """Note nothing inside."""
        return self._pause() if self._kept else nullcontext()

    @contextmanager
    def _pause(self) -> Iterator[None]:
        # Off the stack, too: torch's fused paths are not taken under a mode, so that a component
        # would compute otherwise here than where it failed.
        recording, self._recording = self._recording, False
        leaves = self._entered
        if leaves:
            self.__exit__(None, None, None)
        try:
            yield
        finally:
            if leaves:
                self.__enter__()
            self._recording = recording

    def __enter__(self) -> Self:
        """Listen to every operation of torch."""
        self._entered = True
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        """Listen no longer."""
        self._entered = False
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def given(self, name: str, value: Tensor) -> None:
        """Name an input of the law."""
        self._inputs[id(value)] = (name, value)

    def alias(self, tensor: Tensor, original: Tensor) -> None:
        """Note that a tensor is what the script knows under another tensor's name."""
        if self._kept:
            self._aliases.append((tensor, original))

    def constructed(
        self, spec: ComponentSpec, arguments: Mapping[str, int], seed: int, dtype: torch.dtype
    ) -> str:
        """Note that a module was constructed; give the name that the script will use.

        A module is constructed when it is first needed, also where nothing else is noted.
        """
        if not self._kept:
            return ""
        self._components += 1
        label = "module" if self._components == 1 else f"module_{self._components}"
        integers = ", ".join(str(arguments[name]) for name in spec.constructor or ())
        self._always(f"torch.manual_seed({seed})")
        self._always(f"{label} = submission.{spec.name}({integers}).to({dtype}).eval()")
        return label

    def put_into_mode(self, label: str, *, train: bool) -> None:
        """Note that a module was put into train mode, or back into eval mode."""
        if self._kept:
            text = f"{label}.train()" if train else f"{label}.eval()"
            self._steps.append(_Step([text], [], [], always=True, uses=label))

    def overwrote(self, label: str, values: Mapping[str, Tensor]) -> None:
        """Note that parameters of a module were overwritten."""
        if not self._kept:
            return
        for name, value in values.items():
            target = f"{label}.get_parameter({_quoted(name)}).data.copy_("
            for step in reversed(self._steps):
                if step.always and step.results:
                    break  # a call has used what was there before
                if step.always and str((step.tokens or [""])[0]).startswith(target):
                    self._steps.remove(step)
                    break
            text = f"{target}{literal(value)})"
            filled = name, _only_number(value)
            self._steps.append(_Step([text], [], [], always=True, overwrites=label, filled=filled))

    def called(
        self,
        label: str,
        spec: CallSpec,
        method: str,
        arguments: Mapping[str, Any],
        results: tuple[Any, ...],
        *,
        graded: bool,
    ) -> None:
        """Note a call of a component or of its method, and whether it recorded gradients."""
        if not self._recording:
            return
        given = [name for name in spec.parameters if arguments.get(name) is not None]
        called = f"{label}.{method}" if method else label or f"submission.{spec.name}"
        tokens: list[Token] = [f"{called}("]
        for index, name in enumerate(given):
            prefix = ", " if index else ""
            positional = index < 3 and name == spec.parameters[index]
            value = arguments[name]
            # What was given is given back by its name: a namedtuple is more than its tensors.
            known = any(value is result for step in self._steps for result in step.results)
            tokens.append(prefix if positional else f"{prefix}{name}=")
            tokens += [value] if known else _tokens(value)
        tokens += [")"]
        self._calls += 1
        taken = {name for name, _ in self._inputs.values()}
        first = self._calls == 1 and not taken & {result.name for result in spec.results}
        suffix = "" if first else f"_{self._calls}"
        names = [result.name + suffix for result in spec.results]
        if not results:
            tokens = ["answer = ", *tokens]
        step = _Step(tokens, list(results), names, always=True, uses=label, graded=graded)
        self._steps.append(step)
        for result in results:
            if isinstance(result, tuple | list):
                for path, tensor in tensors_in(result):
                    self._steps.append(_Step([result, path], [tensor], []))

    def drew(self) -> None:
        """Note that a function draws random numbers: the script starts from the same seed."""
        tokens: list[Token] = ["torch.manual_seed(0)"]
        if self._recording and not self._seeded:
            self._seeded = True
            self._steps.insert(0, _Step(tokens, [], [], always=True))

    def follows_from_answers(self, tensor: Tensor) -> bool:
        """Whether a tensor was computed from what the component gave, its shape apart."""
        originals = {id(t): original for t, original in self._aliases}
        needed = {id(originals.get(id(tensor), tensor))}
        for step in reversed(self._steps):
            if needed & {id(t) for t in (*step.results, *step.changes)}:
                if step.graded is not None:
                    return True
                text = "".join(t for t in step.tokens or [] if isinstance(t, str))
                if text.startswith(("torch.ones_like(", "torch.zeros_like(")):
                    continue
                shaped = text.startswith((".to(", ".expand_as(", ".view_as("))
                needed |= {id(t) for t in (step.needs[:1] if shaped else step.needs)}
        return False

    def counted(self, label: str, count: Tensor) -> None:
        """Note that a module's parameters were counted."""
        if self._recording:
            own = f"p.numel() for p in {label}.parameters() if p.numel() > 1 or p.requires_grad"
            text = f"torch.tensor(sum({own}))"
            self._steps.append(_Step([text], [count], []))

    def asked_for_gradients(self, answer: Tensor) -> None:
        """Note that somebody asked whether gradients are recorded at this point."""
        if self._recording:
            text = "torch.tensor(torch.is_grad_enabled())"
            self._steps.append(_Step([f"recorded = {text}"], [], [], always=True))
            self._steps.append(_Step(["recorded"], [answer], []))

    def differentiated(self, label: str, scalar: Tensor, found: Mapping[str, Tensor]) -> None:
        """Note that a scalar was differentiated by a module's parameters.

        Args:
            label: the module's name in the script.
            scalar: what was differentiated.
            found: its gradients by the parameters' names; empty where differentiating raised.
        """
        if not self._recording:
            return
        self._differentiations += 1
        suffix = "" if self._differentiations == 1 else f"_{self._differentiations}"
        named = f"{{n: p for n, p in {label}.named_parameters() if p.requires_grad}}"
        listing = _Step([f"parameters = {named}"], [], [], always=True, gives=list(found.values()))
        self._steps.append(listing)
        before = f"gradients{suffix} = dict(zip(parameters, torch.autograd.grad("
        after = ", list(parameters.values()), retain_graph=True, materialize_grads=True)))"
        gives = list(found.values())
        step = _Step([before, scalar, after], [], [], always=True, uses=label, gives=gives)
        self._steps.append(step)
        for name, gradient in found.items():
            self._steps.append(_Step([f"gradients{suffix}[{_quoted(name)}]"], [gradient], []))

    def script(
        self, wanted: Mapping[str, Tensor], *, brief: bool = False, copies: bool = False
    ) -> list[str]:
        """Write the statements that compute the wanted tensors, inputs first.

        Args:
            wanted: tensors by the name that the script gives them at the end.
            brief: leave out calls that nothing wanted follows from, which is another script where
                the component remembers them.
            copies: copy every answer, which a component may overwrite in a later call, and record
                no gradients that the law has not recorded, with which it may do something else.
        """
        originals = {id(tensor): original for tensor, original in self._aliases}
        wanted = {name: originals.get(id(t), t) for name, t in wanted.items()}
        needed = {id(t) for t in wanted.values()}
        kept: list[_Step] = []
        used: set[str] = set()
        for step in reversed(self._steps):
            if not brief:
                used.add(step.uses)
            if step.overwrites and step.overwrites not in used:
                continue
            given = {id(t) for t in (*step.results, *step.changes)}
            called = step.graded is not None
            answers = {id(t) for t in step.gives or (step.results if called else ())}
            if step.tokens is None:
                # What cannot be written becomes a literal, and what led to it is not needed.
                needed -= given
            elif brief and answers and not answers & needed:
                continue  # one without answers raised
            elif step.always or given & needed:
                kept.append(step)
                used.add(step.uses)
                needed |= {id(t) for t in step.needs}
        kept.reverse()
        kept = _without_repetitions(kept) if brief else kept
        return _Writer(self._inputs, _filled_together(kept), copies=copies).write(wanted)

    def _always(self, text: str) -> None:
        self._steps.append(_Step([text], [], [], always=True))

    def _note(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
    ) -> None:
        results = [result] if isinstance(result, Tensor) else result
        if not isinstance(results, list | tuple) or not all(isinstance(r, Tensor) for r in results):
            results = []
        name = getattr(func, "__name__", "")
        changes = []
        if name == "requires_grad_" and self._steps and self._steps[-1].tokens is not None:
            made = self._steps[-1]
            if len(made.results) == 1 and made.results[0] is args[0] and not made.always:
                made.tokens = [*(made.tokens or []), ".requires_grad_()"]
                return
        if name == "__setitem__" or (name.endswith("_") and not name.endswith("__")):
            changed = args[0] if isinstance(args[0], list | tuple) else [args[0]]  # as of _foreach_
            bases = [t._base for t in changed]  # noqa: SLF001 - of what it is a view has no name
            changes, results = [*changed, *(base for base in bases if base is not None)], []
        # An operation such as .double() may give back what it was given.
        results = [r for r in results if not any(r is argument for argument in args)]
        if not results and not changes:
            return
        try:
            tokens: list[Token] | None = _expression(func, name, args, kwargs)
        except _CannotWrite:
            tokens = None
        names = [] if isinstance(result, Tensor) else ["tuple"]
        self._steps.append(_Step(tokens, list(results), names, changes))


def _without_repetitions(steps: list[_Step]) -> list[_Step]:
    """Leave out parameters that are overwritten before they are used, and those that stay."""
    kept: list[_Step] = []
    ahead: set[str] = set()
    for step in reversed(steps):
        if step.uses:
            ahead.clear()
        if step.overwrites:
            if step.target in ahead:
                continue
            ahead.add(step.target)
        kept.append(step)
    kept.reverse()
    values: dict[str, list[Token] | None] = {}
    final = []
    for step in kept:
        if step.overwrites:
            if values.get(step.target) == step.tokens:
                continue
            values[step.target] = step.tokens
        final.append(step)
    return final


# So many parameters that hold one number are shown, and filled, together.
MANY = 4


def _filled_together(steps: list[_Step]) -> list[_Step]:
    """Fill parameters in a loop where many are given the same number before anything else."""
    together: list[_Step] = []
    for (label, _), group in groupby(
        steps, key=lambda step: (step.overwrites, step.filled[0] == "")
    ):
        run = list(group)
        for number in dict.fromkeys(step.filled[1] for step in run) if label else ():
            alike = [step for step in run if step.filled[1] == number]
            if number is None or len(alike) < MANY:
                continue
            run = [step for step in run if step not in alike]
            names = "\n".join(f"    {_quoted(step.filled[0])}," for step in alike)
            fill = f"{label}.get_parameter(name).data.fill_({number})"
            together.append(_Step([f"for name in [\n{names}\n]:\n    {fill}"], [], [], always=True))
        together += run
    return together


def _only_number(value: Tensor) -> float | None:
    """Give the number that all entries of a tensor are; None where they are several."""
    numbers = set(value.flatten().tolist())
    number = numbers.pop() if len(numbers) == 1 else math.nan
    negative = math.copysign(1, number) < 0 and number == 0
    return float(number) if math.isfinite(number) and not negative else None


class _Writer:
    """Turns kept steps into statements; an expression used once is written where it is used."""

    def __init__(
        self, inputs: Mapping[int, tuple[str, Tensor]], steps: list[_Step], *, copies: bool
    ) -> None:
        self._copies = copies
        self._names = {key: name for key, (name, _) in inputs.items()}
        self._steps = steps
        self._inputs = inputs
        self._inline: dict[int, list[Token]] = {}
        self._lines: list[str] = []
        self._temporaries = 0
        self._uses: dict[int, int] = {}
        # Where only some calls record gradients, it is said which.
        self._mixed = {step.graded for step in steps} >= {True, False}
        for step in steps:
            for tensor in step.needs:
                self._uses[id(tensor)] = self._uses.get(id(tensor), 0) + 1

    def write(self, wanted: Mapping[str, Tensor]) -> list[str]:
        used = set(self._uses) | {id(t) for t in wanted.values()}
        for key, (name, value) in self._inputs.items():
            if key in used:
                self._lines.append(f"{name} = {literal(value)}")
        # Where values change on the way, everything is computed where the law computed it.
        mutable = any(step.changes for step in self._steps)
        for step in self._steps:
            self._statement(step, mutable=mutable)
        for name, tensor in wanted.items():
            self._lines.append(f"{name} = {_bare(self._text(tensor))}")
        return self._lines

    def _statement(self, step: _Step, *, mutable: bool) -> None:
        tokens = step.tokens or []
        if step.always or step.changes:
            text = self._join(tokens)
            if step.results:
                names = list(step.names)
                for result, name in zip(step.results, names, strict=True):
                    self._names[id(result)] = name
                if self._copies and step.graded is not None:
                    copied = "answer.clone() if isinstance(answer, torch.Tensor) else answer"
                    if all(isinstance(result, Tensor) for result in step.results):
                        copied = "answer.clone()"
                    each = f"({copied} for answer in {text})"
                    text = each if len(names) > 1 else f"{text}.clone()"
                text = f"{', '.join(names)} = {text}"
            # A module's parameters record them, too, and it may take another path then.
            if step.graded is False and (self._mixed or step.uses or self._copies):
                self._lines += ["with torch.no_grad():", f"    {text}"]
            else:
                self._lines.append(_bare(text))
            return
        if len(step.results) == 1 and not step.names and not mutable:
            result = step.results[0]
            if self._uses.get(id(result), 0) <= 1:
                self._inline[id(result)] = tokens
                return
        text = _bare(self._join(tokens))
        names = []
        for result in step.results:
            self._temporaries += 1
            self._names[id(result)] = f"t{self._temporaries}"
            names.append(f"t{self._temporaries}")
        trailing = "," if step.names and len(names) == 1 else ""
        self._lines.append(f"{', '.join(names)}{trailing} = {text}")

    def _join(self, tokens: list[Token]) -> str:
        return "".join(t if isinstance(t, str) else self._text(t) for t in tokens)

    def _text(self, tensor: Any) -> str:
        if id(tensor) in self._names:
            return self._names[id(tensor)]
        if id(tensor) in self._inline:
            return self._join(self._inline[id(tensor)])
        return literal(tensor)


def literal(value: Tensor) -> str:
    """Write a tensor as a torch expression.

    Numbers are written in full, so that the tensor comes back bit by bit.
    """
    value = value.detach().cpu()
    if value.numel() == 0:
        return f"torch.empty({tuple(value.shape)}, dtype={value.dtype})"
    negative = value.is_floating_point() and bool(((value == 0) & torch.signbit(value)).any())
    if value.numel() > 1 and not negative and bool((value == value.flatten()[0]).all()):
        size, filled = tuple(value.shape), value.flatten()[0].item()
        shape = ", ".join(str(n) for n in size)
        if value.dtype == torch.bool:
            return f"torch.full({size}, {filled})"
        if filled in {0, 1}:
            return f"torch.{'ones' if filled else 'zeros'}({shape}, dtype={value.dtype})"
        if math.isfinite(filled):
            return f"torch.full({size}, {filled}, dtype={value.dtype})"
    text = repr(value.tolist()).replace("inf", "torch.inf").replace("nan", "torch.nan")
    suffix = "" if value.dtype in {torch.bool, torch.int64} else f", dtype={value.dtype}"
    return f"torch.tensor({text}{suffix})"


def _tokens(value: Any) -> list[Token]:
    if isinstance(value, Tensor | Kept):
        return [value]
    if isinstance(value, torch.Size):
        return [repr(tuple(value))]
    if isinstance(value, list | tuple):
        inner: list[Token] = []
        for item in value:
            inner += [*_tokens(item), ", "]
        opening, closing = ("[", "]") if isinstance(value, list) else ("(", ")")
        if isinstance(value, list) or len(value) > 1:
            inner = inner[:-1]
        return [opening, *inner, closing]
    if value is None or isinstance(value, bool | int | str):
        return [repr(value)]
    if isinstance(value, float):
        return [repr(value)] if math.isfinite(value) else [f'float("{value}")']
    if isinstance(value, torch.dtype):
        return [str(value)]
    if value is Ellipsis:
        return ["..."]
    raise _CannotWrite


def _index(value: Any) -> list[Token]:
    if isinstance(value, slice):
        ends = [[] if v is None else _tokens(v) for v in (value.start, value.stop)]
        step: list[Token] = [] if value.step is None else [":", *_tokens(value.step)]
        return [*ends[0], ":", *ends[1], *step]
    if isinstance(value, tuple):
        inner: list[Token] = []
        for item in value:
            inner += [*_index(item), ", "]
        return inner[:-1] or ["()"]
    return _tokens(value)


def _expression(
    func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[Token]:
    if name == "__get__":
        return [*_tokens(args[0]), f".{getattr(func, '__self__').__name__}"]  # noqa: B009
    if name == "__getitem__":
        return [*_tokens(args[0]), "[", *_index(args[1]), "]"]
    if name == "__setitem__":
        return [*_tokens(args[0]), "[", *_index(args[1]), "] = ", *_tokens(args[2])]
    if not kwargs and len(args) == 2:
        if name in _OPERATORS:
            return ["(", *_tokens(args[0]), f" {_OPERATORS[name]} ", *_tokens(args[1]), ")"]
        if name in _REFLECTED:
            return ["(", *_tokens(args[1]), f" {_REFLECTED[name]} ", *_tokens(args[0]), ")"]
    if not kwargs and len(args) == 1 and name in _UNARY:
        return ["(", _UNARY[name], *_tokens(args[0]), ")"]
    passed: list[Token] = []
    method = isinstance(args[0], Tensor) if args else False
    method = method and getattr(Tensor, name, None) is func
    for value in args[1:] if method else args:
        passed += [*_tokens(value), ", "]
    for key, value in kwargs.items():
        if value is not None and _DEFAULTS.get((name, key)) != value:
            passed += [f"{key}=", *_tokens(value), ", "]
    passed = passed[:-1]
    if method:
        return [args[0], f".{name}(", *passed, ")"]
    for prefix, namespace in _NAMESPACES:
        short = name.removeprefix("linalg_")
        if getattr(namespace, short, None) is func:
            return [f"{prefix}.{short}(", *passed, ")"]
    raise _CannotWrite


def _quoted(name: str) -> str:
    plain = all(c.isalnum() or c in "._-" for c in name)
    return f'"{name}"' if plain else repr(name)


def _bare(text: str) -> str:
    """Drop a pair of parentheses that encloses a whole expression."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for index, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and index < len(text) - 1:
            return text
    return text[1:-1]
