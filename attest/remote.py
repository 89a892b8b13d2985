"""A submission in a worker, which looks to every law like one in this process.

What goes over is arguments and answers, parameters and gradients; none of the submission's code
runs here. A call whose gradients are wanted becomes one node of the graph, which asks the worker
for them; parameters have a copy here by which can be differentiated.
"""

from __future__ import annotations

import builtins
import math
import select
import signal
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attest.contract import CONTRACT, ComponentSpec
from attest.differentiation import is_wanted
from attest.implementations import SubmissionError
from attest.limits import Ended, TimeLimit, undisturbed
from attest.messages import exception_line, printable
from attest.sandbox import Limits, WorkerProcess
from attest.sources import Source, line_in
from attest.wire import Channel, Closed, Flat, Garbled, Named, Odd, Reference, Told, flatten

__all__ = ["RemoteImplementation"]

# Of what a submission prints while one property is examined, so many bytes are kept. So many pieces
# are thrown away before an answer is looked for again.
MOST_PRINTED = 1000
MOST_READS = 64

# What is said of whatever could not be an answer.
NONSENSE = "the process it ran in gave what is no answer"

# What the parameters of a component may be, so that many of them can be kept.
MOST_PARAMETERS = 4096
MOST_NUMBERS = 1 << 22
LONGEST_NAME = 200


class _Process:
    """The process in which one property is examined.

    Args:
        worker: what forks it.
        limits: what it may take.
        patience: seconds that it may take to answer once.
    """

    def __init__(self, worker: WorkerProcess, limits: Limits, patience: float) -> None:
        self._worker = worker
        self.patience = patience
        self._deadline = math.inf
        self._answers, self._printed = worker.start(limits)
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)
        self._poll.register(self._printed, select.POLLIN)
        self._printed.settimeout(0)
        self._channel = Channel(self._answers, self._wait)
        self._seed: int | None = None
        self.set: dict[RemoteComponent, set[str]] = {}  # what the worker does not know yet
        self._forgotten: list[int] = []
        self.printed = b""
        self.end: str | None = None
        self._failure: BaseException | None = None
        self._open = True

    def seed(self, number: int) -> None:
        """Let the worker seed its generators before what is asked next."""
        self._seed = number

    def forget(self, number: int) -> None:
        """Let the worker drop what nobody can ask for any more."""
        self._forgotten.append(number)

    def ask(self, do: str, *, times: int = 1, **what: Any) -> dict[str, Any]:  # noqa: ANN401
        """Ask something; give the answer.

        Args:
            do: what it is to do.
            times: so many calls it is, each of which may take its time.
            what: with what.

        Raises:
            Ended: the process is gone, or says what nobody understands.
            TimeLimit: no answer came in time. Nothing can be asked any more.
            Garbled: the question is too large.
            Exception: what the submission raised, as far as it can be told.
        """
        if self._failure is not None:
            raise self._failure
        message, before = {"do": do, **what}, list[dict[str, Any]]()
        if self._forgotten:
            before.append({"forget": self._forgotten[:]})
            self._forgotten.clear()
        if self._seed is not None:
            before.append({"seed": self._seed})
            self._seed = None
        for component, names in self.set.items():
            before.append(component.what_to_set(names))
        self.set.clear()
        if before:
            message["before"] = before
        self._deadline = time.monotonic() + times * self.patience
        try:
            answer = self._answer(message)
        except Exception:
            raise
        except BaseException as limit:  # in the middle of a message: what comes next is not known
            self._failure = limit
            raise
        self.require_answer(answer)
        return answer

    def require_answer(self, told: Mapping[str, Any]) -> None:
        """Make sure that nothing was raised in the place of an answer.

        Raises:
            Exception: what the submission raised, as far as it can be told.
        """
        if "raised" in told:
            with self.understood():
                raised = _exception(told["raised"])
            raise raised

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            self._channel.send(message)
        except Closed:
            raise self._gone() from None
        try:
            return self._channel.receive()
        except Closed:
            raise self._gone() from None
        except Garbled as problem:
            raise Ended(f"{NONSENSE}: {problem}") from None

    def _gone(self) -> Ended:
        return Ended(self.close() or "the process it ran in was ended")

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Take whatever goes wrong inside for an answer that is none.

        Raises:
            Ended: it went wrong.
        """
        try:
            yield
        except Exception:  # noqa: BLE001 - an answer may be forged in any way
            self._failure = Ended(NONSENSE)
            raise self._failure from None

    def _wait(self, until: int) -> None:
        """Wait until something can be read, or written; nobody waits to print meanwhile."""
        answers, printed = self._answers.fileno(), self._printed.fileno()
        self._poll.modify(self._answers, until)
        while True:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeLimit(f"one call was not finished after {self.patience:g} seconds")
            ready = {descriptor for descriptor, _ in self._poll.poll(1000 * min(left, 1.0))}
            if answers in ready:
                return
            if printed in ready and not self._drain():
                self._poll.unregister(self._printed)

    def _drain(self) -> bool:
        """Read some of what was printed, and keep its beginning; say whether more can come."""
        try:
            for _ in range(MOST_READS):
                read = self._printed.recv(1 << 16)
                if not read:
                    return False
                self.printed += read[: MOST_PRINTED - len(self.printed)]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def close(self) -> str | None:
        """End it; say how it ended, if not by this.

        Raises:
            WorkerError: the worker is gone.
        """
        if self._open:
            self._open = False
            with undisturbed(), self._answers, self._printed:
                self.end = _end_of(self._worker.end())
                self._failure = self._failure or Ended(self.end)
                self._drain()
        return self.end


def _readable(printed: bytes) -> str:
    """Give what was printed as lines that any terminal and file can take."""
    text = printed.decode(errors="replace")
    cut = " …" if len(printed) == MOST_PRINTED else ""
    return "\n".join(printable(line) for line in text.splitlines()).strip() + cut


def _end_of(status: int | None) -> str:
    if status is None:
        return "no process could be started for it"
    if status & 0x7F:
        return f"the process it ran in was ended by {_named_signal(status & 0x7F)}"
    return f"it ended the process it ran in, with exit code {status >> 8}"


def _named_signal(number: int) -> str:
    known = {one.value: one.name for one in signal.Signals}
    return known.get(number, f"signal {number}")  # such as those of real time


class RemoteImplementation:
    """A submission that a worker holds.

    Args:
        source: what it consists of.
        limits: what it may take.
        loading: seconds that importing it may take.
        patience: seconds that one call may take.
        parts: scripts of what is put in the place of what it defines, by name.
    """

    kept: dict[Any, Any] | None = None
    printed = ""

    def __init__(
        self,
        source: Source,
        limits: Limits,
        *,
        loading: float,
        patience: float,
        parts: Mapping[str, str] | None = None,
    ) -> None:
        self.name = source.name
        self._parts = dict(parts or {})
        self.path = source.path
        self.source = source
        self._limits = limits
        self._loading = loading
        self._patience = patience
        self._worker: WorkerProcess | None = None
        self._process: _Process | None = None
        self._compiled = False
        self._defines: frozenset[str] | None = None

    def attach(self, worker: WorkerProcess) -> None:
        """Say which worker is to hold it, and wait until that one can.

        Raises:
            WorkerError: it cannot.
        """
        if self._worker is not worker:
            worker.ready()
            self._worker = worker

    @contextmanager
    def fresh(self) -> Iterator[None]:
        """Load the submission in a new process, which ends with what is done inside.

        Raises:
            SubmissionError: it cannot be loaded.
            Ended: the process is gone.
            TimeLimit: it was not loaded in time.
        """
        assert self._worker is not None
        before = self._process
        try:
            with undisturbed():
                self._process = _Process(self._worker, self._limits, self._loading)
            self._load(self._process)
            self._process.patience = self._patience
            yield
        finally:
            with undisturbed():
                if self._process is not None and self._process is not before:
                    self._process.close()
                    self.printed = _readable(self._process.printed)
                self._process = before

    def _load(self, process: _Process) -> None:
        try:
            if not self._compiled:
                started = time.monotonic()
                self._compile(process)
                process.patience -= time.monotonic() - started
            source = self.source
            told = process.ask(
                "load",
                files=source.files,
                compiled=source.compiled,
                name=source.module,
                path=source.file,
                parts=self._parts,
                kept=list(CONTRACT),
            )
        except Exception as error:  # noqa: BLE001 - whatever it pretends to have raised
            raise SubmissionError(f"{self.name} raised {exception_line(error)}") from None
        with process.understood():
            problem = source.failed(told["failed"]) if "failed" in told else None
            self._defines = frozenset(name for name in told.get("defines", ()) if name in CONTRACT)
        if problem is not None:
            raise SubmissionError(problem)

    def _compile(self, process: _Process) -> None:
        """Have its files compiled once, before anything of it runs, and not for every property."""
        told = process.ask("compile", files=self.source.files)
        with process.understood():
            compiled = {str(place): str(content) for place, content in told["compiled"].items()}
            self.source = self.source.with_compiled(compiled)
        self._compiled = True

    def defines(self, component: str) -> bool:
        """Whether it defines this name, as it said when it was loaded."""
        assert self._defines is not None
        return component in self._defines

    def line_of(self, error: BaseException) -> int | None:
        """Give the last line of the submission that an exception came through, as it is told."""
        return getattr(error, "line", None)

    def seed(self, number: int) -> None:
        """Seed every generator of random numbers there."""
        self._running.seed(number)

    @property
    def _running(self) -> _Process:
        if self._process is None:
            raise RuntimeError("a submission in a worker is used inside of fresh()")
        return self._process

    def construct(
        self,
        spec: ComponentSpec,
        arguments: Mapping[str, int],
        dtype: torch.dtype,
        device: str,  # noqa: ARG002 - a worker has no other than the CPU
    ) -> RemoteComponent:
        """Construct a module in eval mode, or give the function."""
        names = spec.constructor
        sizes = None if names is None else [arguments[name] for name in names]
        process, kind = self._running, str(dtype).removeprefix("torch.")
        told = process.ask("construct", component=spec.name, sizes=sizes, dtype=kind)
        return RemoteComponent(process, spec, told)

    @contextmanager
    def replacing(self, parts: Mapping[str, str]) -> Iterator[RemoteImplementation]:
        """Give another one whose processes have something else in the place of what it defines."""
        other = RemoteImplementation(
            self.source,
            self._limits,
            loading=self._loading,
            patience=self._patience,
            parts={**self._parts, **parts},
        )
        other._defines, other._compiled = self._defines, self._compiled
        yield other

    def run(self, script: str) -> BaseException | None:
        """Run a counterexample's script in a new process; give what it raises."""
        path = None if self.path is None else str(self.path.resolve())
        self._running.close()
        with self.fresh():
            try:
                told = self._running.ask("run", script=script, path=self.source.file, given=path)
            except Exception as error:  # noqa: BLE001 - forged: what a script raises is told otherwise
                return error
        if told.get("ended") is None:
            return None
        return _exception(told["ended"])


class _Record:
    """One call: where its answers came from, for gradients."""

    def __init__(
        self,
        process: _Process,
        graph: int,
        sources: list[tuple[Tensor, tuple[int, int | str]]],
        earlier: tuple[_Record, ...],
    ) -> None:
        self.process = process
        self.graph = graph
        self.sources = sources
        self.earlier = earlier  # which the worker has to keep as long
        weakref.finalize(self, process.forget, graph)


class _Handle:
    """Something that the worker keeps, and what its numbers followed from."""

    def __init__(self, process: _Process, number: int, record: _Record | None) -> None:
        self.number = number
        self.record = record
        weakref.finalize(self, process.forget, number)


class _Recorded(torch.autograd.Function):
    """A call in the worker as a node of the graph here."""

    @staticmethod
    def forward(ctx: Any, record: _Record, outputs: list[Tensor], *_: Tensor) -> Any:  # noqa: ANN401
        ctx.record = record
        ctx.set_materialize_grads(False)
        return tuple(output.detach() for output in outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:  # noqa: ANN401
        record: _Record = ctx.record
        needed = ctx.needs_input_grad[2:]
        # A parameter here is a leaf; an argument may lead to whatever gradients are asked by.
        wanted = [
            index
            for index, (tensor, (_, which)) in enumerate(record.sources)
            if needed[index] and (isinstance(which, int) or is_wanted(tensor))
        ]
        given = [index for index, value in enumerate(cotangents) if value is not None]
        found: list[Tensor | None] = [None] * len(needed)
        if wanted and given:
            told = record.process.ask(
                "gradients",
                graph=record.graph,
                outputs=given,
                cotangents=[cotangents[index] for index in given],
                wanted=[list(record.sources[index][1]) for index in wanted],
            )
            with record.process.understood():
                for index, gradient in zip(wanted, told["gradients"], strict=True):
                    found[index] = None if gradient is None else gradient.detach()
        return (None, None, *found)


class RemoteComponent:
    """A component in a worker."""

    apart = True

    def __init__(self, process: _Process, spec: ComponentSpec, told: dict[str, Any]) -> None:
        self._process = process
        self._spec = spec
        with process.understood():
            self._number = int(told["number"])
        self._parameters: dict[str, Tensor] = {}
        self._positions: tuple[str, ...] = ()
        self.version = 0
        self.drew = False
        self.records = False
        self._note(told)
        weakref.finalize(self, process.forget, self._number)

    def _note(self, told: dict[str, Any]) -> None:
        """Take over what has changed among its parameters.

        Raises:
            Ended: what is told are no parameters, or more than anybody needs here.
        """
        if "names" not in told:
            return
        self.version += 1
        with self._process.understood(), torch.no_grad():
            _require_parameters(told)
            for name, value in told["changed"].items():
                known = self._parameters.get(name)
                if known is None or _layout(known) != _layout(value):
                    self._parameters[name] = value
                elif not torch.equal(known, value):
                    known.copy_(value)
            self._parameters = {name: self._parameters[name] for name in told["names"]}

    def call(
        self,
        arguments: Mapping[str, Any],
        method: str = "",
        *,
        watched: bool = False,
        same: bool = False,
    ) -> object:
        """Call it with the arguments that the contract puts in this order by position."""
        sources, earlier = list[Tensor](), list[_Record]()
        question = self._question(arguments, method, sources, earlier)
        question.update(watched=watched, same=same)
        told = self._process.ask("call", number=self._number, **question)
        return self._answer(told, sources, earlier, graded=question["graded"])

    def moved(
        self, moves: Sequence[tuple[Mapping[str, Tensor], Mapping[str, Any]]], method: str = ""
    ) -> Iterator[object]:
        """Overwrite some parameters and call it, so often; give one answer after the other.

        The parameters here stay what they are. As many calls are asked for at once as fit into a
        message.
        """
        left = list(moves)
        while left:
            size = sum(value.numel() for value in left[0][0].values())
            count = max(1, MOST_NUMBERS // max(1, size))
            asked: list[tuple[dict[str, Any], list[Tensor], list[_Record]]] = []
            for values, arguments in left[:count]:
                sources, earlier = list[Tensor](), list[_Record]()
                question = self._question(arguments, method, sources, earlier)
                question.update(watched=False, same=False, values=self._together(values))
                asked.append((question, sources, earlier))
            calls = [question for question, *_ in asked]
            told = self._process.ask("moved", times=len(calls), number=self._number, calls=calls)
            with self._process.understood():
                answers = [dict(one) for one in told["answers"]]
                if not 0 < len(answers) <= len(calls):
                    raise ValueError("no answers to what was asked")
            left = left[len(answers) :]
            for (question, sources, earlier), one in zip(asked, answers, strict=False):
                self._process.require_answer(one)
                yield self._answer(one, sources, earlier, graded=question["graded"])

    def _question(
        self,
        arguments: Mapping[str, Any],
        method: str,
        sources: list[Tensor],
        earlier: list[_Record],
    ) -> dict[str, Any]:
        spec = self._spec.calls(method)
        positional, rest = spec.split(arguments)
        self._positions = spec.parameters[: len(positional)]
        return {
            "method": method,
            "positional": [_sent(value, sources, earlier) for value in positional],
            "named": {name: _sent(value, sources, earlier) for name, value in rest.items()},
            "graded": torch.is_grad_enabled(),
            "kept": [index for index, result in enumerate(spec.results) if result.kind == "kept"],
        }

    def _answer(
        self,
        told: dict[str, Any],
        sources: list[Tensor],
        earlier: list[_Record],
        *,
        graded: bool,
    ) -> object:
        self._note(told)
        record, outputs = None, list[Tensor]()
        with self._process.understood():
            self.drew, self.records = bool(told["drew"]), bool(told["records"])
            if graded:
                record = self._record(int(told["graph"]), sources, earlier)
            answer = _received(told["answer"], self._process, record, outputs)
        if record is None or not outputs:
            return answer
        sources_of = (tensor for tensor, _ in record.sources)
        tied = _Recorded.apply(record, outputs, *sources_of)  # type: ignore[no-untyped-call]
        return _tied(answer, iter(tied))

    def _record(self, graph: int, sources: list[Tensor], earlier: list[_Record]) -> _Record:
        found: dict[int, tuple[Tensor, tuple[int, int | str]]] = {}
        for index, tensor in enumerate(sources):
            found.setdefault(id(tensor), (tensor, (graph, index)))
        for name, tensor in self._parameters.items():
            if tensor.requires_grad:
                found.setdefault(id(tensor), (tensor, (graph, name)))
        # What is kept from earlier calls followed from their arguments, which the worker holds
        # apart; parameters are the same ones there.
        before = {
            where: (tensor, where)
            for record in earlier
            for tensor, where in record.sources
            if isinstance(where[1], int)
        }
        sources_of = [*found.values(), *before.values()]
        return _Record(self._process, graph, sources_of, tuple(earlier))

    def arguments(self) -> Mapping[str, Any]:
        """Give the arguments of the last call as they are now."""
        told = self._process.ask("arguments", number=self._number)
        with self._process.understood():
            positional = dict(zip(self._positions, told["positional"], strict=True))
            return {**positional, **told["named"]}

    def parameters(self) -> Mapping[str, Tensor]:
        """Give its parameters by name: copies, by which gradients can be taken."""
        return self._parameters

    def set_parameters(self, values: Mapping[str, Tensor]) -> None:
        """Overwrite some parameters in place."""
        if not values:
            return
        self.version += 1
        with torch.no_grad():
            own = [self._parameters[name] for name in values]
            torch._foreach_copy_(own, list(values.values()))
        self._process.set.setdefault(self, set()).update(values)

    def what_to_set(self, names: Iterable[str]) -> dict[str, Any]:
        """Give some parameters as the worker is to have them."""
        values = {name: self._parameters[name] for name in names if name in self._parameters}
        return {"set": self._number, "values": self._together(values)}

    def _together(self, values: Mapping[str, Tensor]) -> Tensor | Flat:
        """Give parameters as they go over: one tensor for all, where they are of one dtype."""
        if len(values) < len(self._parameters) or len({v.dtype for v in values.values()}) != 1:
            return Flat(dict(values))
        return flatten([values[name] for name in self._parameters])

    def train(self, *, mode: bool) -> None:
        """Put a module into train mode, or back into eval mode."""
        self._note(self._process.ask("train", number=self._number, mode=mode))


def _layout(parameter: Tensor) -> tuple[torch.Size, torch.dtype, bool]:
    return parameter.shape, parameter.dtype, parameter.requires_grad


def _require_parameters(told: Mapping[str, Any]) -> None:
    names, changed = told["names"], told["changed"]
    for name in names:
        if type(name) is not str or not name.isprintable() or len(name) > LONGEST_NAME:
            raise ValueError("a parameter without a name")
    if len(names) > MOST_PARAMETERS or not changed.keys() <= set(names):
        raise ValueError("too many parameters")
    if sum(value.numel() for value in changed.values()) > MOST_NUMBERS:
        raise ValueError("too many numbers")


def _sent(value: Any, sources: list[Tensor], earlier: list[_Record]) -> Any:  # noqa: ANN401
    """Give an argument as it goes over, and note what gradients may be wanted by."""
    if isinstance(value, Tensor):
        if value.requires_grad:
            sources.append(value)
        return value
    if isinstance(value, _Handle):
        if value.record is not None:
            earlier.append(value.record)
        return Reference(value.number)
    if isinstance(value, tuple | list):
        parts = [_sent(part, sources, earlier) for part in value]
        kind = getattr(value, "kind", None)
        if kind is not None:
            return Named(kind, tuple(parts))
        return parts if isinstance(value, list) else tuple(parts)
    return value


def _received(
    value: Any,  # noqa: ANN401
    process: _Process,
    record: _Record | None,
    outputs: list[Tensor],
) -> Any:  # noqa: ANN401
    """Give an answer as it would have come from here, and note what has gradients."""
    match value:
        case Tensor():
            if value.requires_grad:
                outputs.append(value)
            return value
        case Reference():
            return _Handle(process, value.number, record)
        case Named():
            parts = [_received(part, process, record, outputs) for part in value.parts]
            return _named(value.kind, len(parts))(*parts)
        case tuple():
            return tuple(_received(part, process, record, outputs) for part in value)
        case list():
            return [_received(part, process, record, outputs) for part in value]
        case Told():
            return _without_numbers(value)
        case Odd():
            return _odd(value.name)()
        case _:
            return value


def _tied(answer: Any, tied: Iterator[Tensor]) -> Any:  # noqa: ANN401
    """Put the outputs of a node where they stand in an answer."""
    if isinstance(answer, Tensor):
        return next(tied) if answer.requires_grad else answer
    if isinstance(answer, tuple | list):
        parts = [_tied(part, tied) for part in answer]
        if isinstance(answer, list):
            return parts
        return type(answer)(*parts) if hasattr(answer, "_fields") else tuple(parts)
    return answer


@lru_cache(maxsize=64)
def _named(kind: int, size: int) -> Callable[..., tuple[Any, ...]]:
    """Make a type for a named tuple that has one only in the worker."""

    def new(cls: type, *parts: Any) -> Any:  # noqa: ANN401
        return tuple.__new__(cls, parts)

    fields = tuple(f"field_{index}" for index in range(size))
    return type("NamedTuple", (tuple,), {"_fields": fields, "kind": kind, "__new__": new})


@lru_cache(maxsize=64)
def _odd(name: str) -> type:
    """Make a type whose name is all that is known of something."""
    return type(printable(name) or "object", (), {})


def _without_numbers(told: Told) -> Tensor:
    if told.device == "meta" or math.prod(told.shape) > MOST_NUMBERS:  # neither is an answer
        return torch.empty(told.shape, dtype=told.dtype, device="meta")
    if told.layout != str(torch.strided):
        return torch.empty(told.shape, dtype=told.dtype, layout=torch.sparse_coo)
    return torch.empty((), dtype=told.dtype).expand(told.shape)


def _exception(told: Mapping[str, Any]) -> Exception:
    """Make an exception like one that was raised in the worker.

    It is of the nearest type that Python itself has, so that a law can tell a ValueError.
    """
    names = [str(name) for name in told["names"]]
    text = str(told["text"])
    known = (getattr(builtins, name, None) for name in names)
    bases = (k for k in known if isinstance(k, type) and issubclass(k, Exception))
    base = next(bases, Exception)
    name = printable(names[0]) if names else "Exception"
    kind: Any = _raised(name, base)  # type: ignore[arg-type]  # any type can be hashed
    error: Exception = kind(text)
    vars(error)["line"] = line_in(told)
    return error


@lru_cache(maxsize=64)
def _raised(name: str, base: type[Exception]) -> type[Exception]:
    """Make a type of exceptions, once: Hypothesis tells failures apart by their types."""
    if issubclass(base, UnicodeError | ExceptionGroup):  # which cannot be made of a text alone
        base = ValueError if issubclass(base, UnicodeError) else Exception
    return type(name, (base,), {"__str__": _first_argument})


def _first_argument(error: BaseException) -> str:
    return str(error.args[0])
