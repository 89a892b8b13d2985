"""Implementations: something that obeys the contract, loaded from a file or a module."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from attest.contract import CONTRACT, ComponentSpec
from attest.limits import ours
from attest.messages import exception_line
from attest.serving import (
    Parameters,
    exchange,
    is_of_torch,
    last_line,
    module_of,
    refilled,
    seed_everything,
)

__all__ = [
    "Component",
    "Implementation",
    "LocalImplementation",
    "SubmissionError",
    "load_submission",
    "nowhere",
]


class SubmissionError(Exception):
    """A submission that cannot be examined at all: no file, no Python, or nothing known in it."""


class Component(Protocol):
    """One constructed component, wherever it lives: calls and parameters, nothing else."""

    @property
    def apart(self) -> bool:
        """Whether it gets copies of its arguments, since it lives elsewhere."""

    @property
    def version(self) -> int:
        """A number that is another one whenever the parameters may be others."""

    @property
    def drew(self) -> bool:
        """Whether the last call that was watched drew random numbers."""

    @property
    def records(self) -> bool:
        """Whether gradients were recorded when the last call was over."""

    def call(
        self,
        arguments: Mapping[str, Any],
        method: str = "",
        *,
        watched: bool = False,
        same: bool = False,
    ) -> object:
        """Call it, or one of its methods, with arguments by name; give its answer unchecked.

        Args:
            arguments: by name.
            method: one of its methods; the plain call where it is empty.
            watched: whether to see if it draws random numbers.
            same: whether to copy the arguments into the tensors of the last call where shape and
                dtype are the same, and hand over these.
        """

    def moved(
        self, moves: Sequence[tuple[Mapping[str, Tensor], Mapping[str, Any]]], method: str = ""
    ) -> Iterator[object]:
        """Overwrite some parameters and call it, so often; give one answer after the other.

        Where it lives elsewhere, all of it is asked for at once.

        Args:
            moves: parameters and arguments by name, for each call.
            method: one of its methods; the plain call where it is empty.
        """

    def arguments(self) -> Mapping[str, Any]:
        """Give the arguments of the last call, by name, as they are now."""

    def parameters(self) -> Mapping[str, Tensor]:
        """Give the parameters themselves, by name, so that gradients can be taken.

        As long as they are the same ones, so is what holds them.
        """

    def set_parameters(self, values: Mapping[str, Tensor]) -> None:
        """Overwrite some parameters in place."""

    def train(self, *, mode: bool) -> None:
        """Put a module into train mode, or back into eval mode."""


class Implementation(Protocol):
    """Something that obeys the contract, here or in another process."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def printed(self) -> str:
        """The beginning of what it printed when it was examined last, where that is known."""

    @property
    def kept(self) -> dict[Any, Any] | None:
        """What all properties share, where the implementation is trusted; None where it is not."""

    def defines(self, component: str) -> bool:
        """Whether it defines this name."""

    def construct(
        self, spec: ComponentSpec, arguments: Mapping[str, int], dtype: torch.dtype, device: str
    ) -> Component:
        """Construct a module in eval mode, or give the function."""

    def line_of(self, error: BaseException) -> int | None:
        """Give the last line of its file that an exception came through, where that is known."""

    def seed(self, number: int) -> None:
        """Seed every generator of random numbers that it may draw from."""

    def fresh(self) -> AbstractContextManager[None]:
        """Forget whatever earlier examinations have left, where it can."""

    def run(self, script: str) -> BaseException | None:
        """Run a counterexample's script with the submission loaded anew; give what it raises."""

    def replacing(self, parts: Mapping[str, str]) -> AbstractContextManager[Implementation]:
        """Give it with scripts' definitions in the place of those that it has, by name."""


class LocalComponent:
    """A component in this process."""

    apart = False

    def __init__(self, spec: ComponentSpec, target: Any) -> None:  # noqa: ANN401
        self._spec = spec
        self._target = target
        self._own = Parameters(target) if isinstance(target, nn.Module) else None
        self._arguments: Mapping[str, Any] = {}
        self.version = 0
        self.drew = False
        self.records = False

    def call(
        self,
        arguments: Mapping[str, Any],
        method: str = "",
        *,
        watched: bool = False,
        same: bool = False,
    ) -> object:
        """Call it with the arguments that the contract puts in this order by position."""
        if same:
            arguments = refilled(self._arguments, arguments)
        self._arguments = arguments
        self.version += 1  # a call may change which parameters there are, and what they hold
        if self._own is not None:
            self._own.ran()
        positional, rest = self._spec.calls(method).split(arguments)
        target = getattr(self._target, method) if method else self._target
        before = torch.get_rng_state() if watched else None
        answer = target(*positional, **rest)
        self.records = torch.is_grad_enabled()
        self.drew = before is not None and not torch.equal(before, torch.get_rng_state())
        return answer

    def moved(
        self, moves: Sequence[tuple[Mapping[str, Tensor], Mapping[str, Any]]], method: str = ""
    ) -> Iterator[object]:
        """Overwrite some parameters and call it, so often; give one answer after the other."""
        for values, arguments in moves:
            self.set_parameters(values)
            yield self.call(arguments, method)

    def arguments(self) -> Mapping[str, Any]:
        """Give the arguments of the last call, by name, which it may have changed."""
        return self._arguments

    def parameters(self) -> Mapping[str, Tensor]:
        """Give the parameters of a module by name; a function has none."""
        return {} if self._own is None else self._own.named()

    def set_parameters(self, values: Mapping[str, Tensor]) -> None:
        """Overwrite some parameters in place."""
        if not values:
            return
        own = self.parameters()
        self.version += 1
        with torch.no_grad():
            torch._foreach_copy_([own[name] for name in values], list(values.values()))

    def train(self, *, mode: bool) -> None:
        """Put a module into train mode, or back into eval mode."""
        self.version += 1
        if self._own is not None:
            self._own.ran()
        self._target.train(mode)


class LocalImplementation:
    """An implementation whose names are the attributes of an object in this process.

    Args:
        name: what reports call it.
        namespace: an object, usually a module, with the contract's names as attributes.
        path: the file it came from, where there is one.
        trusted: whether it keeps no state of its own, so that properties may share its modules and
            what follows from them.
    """

    def __init__(
        self, name: str, namespace: object, path: Path | None = None, *, trusted: bool = False
    ) -> None:
        self.name = name
        self.path = path
        self.printed = ""
        self.kept: dict[Any, Any] | None = {} if trusted else None
        self._namespace = namespace

    def defines(self, component: str) -> bool:
        """Whether the object has this attribute.

        What torch has of the same name has another signature, and importing it is no attempt.
        """
        found = getattr(self._namespace, component, None)
        return found is not None and not is_of_torch(found)

    def raw(self, component: str) -> Any:  # noqa: ANN401
        """Give the function or class itself."""
        return getattr(self._namespace, component)

    def construct(
        self, spec: ComponentSpec, arguments: Mapping[str, int], dtype: torch.dtype, device: str
    ) -> Component:
        """Construct a module in eval mode on the device, or give the function."""
        target = self.raw(spec.name)
        if spec.constructor is not None:
            made = target(*(arguments[name] for name in spec.constructor))
            target = module_of(spec.name, made, dtype, device)
        return LocalComponent(spec, target)

    def line_of(self, error: BaseException) -> int | None:
        """Give the last line of its file that an exception came through, if it did."""
        return None if self.path is None else last_line(error, str(self.path))

    def seed(self, number: int) -> None:
        """Seed every generator of random numbers of this process."""
        seed_everything(number)

    def fresh(self) -> AbstractContextManager[None]:
        """Do nothing: what runs in this process stays in it."""
        return nullcontext()

    @contextmanager
    def replacing(self, parts: Mapping[str, str]) -> Iterator[LocalImplementation]:
        """Exchange what it defines as long as what is inside takes."""
        folder = None if self.path is None else self.path.resolve().parent
        before = exchange(self._namespace, parts, folder, CONTRACT)
        try:
            yield self
        finally:
            for place, name, value in reversed(before):
                setattr(place, name, value)

    def run(self, script: str) -> BaseException | None:
        """Run a script here, with the submission loaded anew, but not what that imports."""
        try:
            with torch.enable_grad():  # whatever the submission leaves behind
                exec(compile(script, "counterexample", "exec"), {"__name__": "counterexample"})  # noqa: S102
        except BaseException as error:
            if ours(error):
                raise
            return error
        return None


def load_submission(submission: str) -> LocalImplementation:
    """Load a submission: one Python file, or an importable module.

    Args:
        submission: a path that ends in ``.py``, or a module's dotted name.

    Raises:
        SubmissionError: it does not exist, does not import, or defines nothing of the contract.
    """
    path = Path(submission)
    try:
        module = _from_file(path) if path.suffix == ".py" else _from_name(submission)
        own = LocalImplementation(submission, module)
        known = [name for name in CONTRACT if own.defines(name)]
    except SubmissionError:
        raise
    except SyntaxError as error:
        line = "" if error.lineno is None else f", line {error.lineno}"
        raise SubmissionError(f"{submission}{line}: this is not Python: {error.msg}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise SubmissionError(
            f"{submission} raised {exception_line(error)} when imported{_where(error, path)}"
        ) from error
    if not known:
        raise SubmissionError(
            f"{submission} defines none of the contract's names: {', '.join(CONTRACT)}"
        )
    return LocalImplementation(submission, module, path if path.suffix == ".py" else None)


def _from_file(path: Path) -> ModuleType:
    if not path.exists():
        raise SubmissionError(f"{path} does not exist")
    if not path.is_file():
        raise SubmissionError(f"{path} is a folder; a submission is one .py file or a module")
    name = f"submission_{path.stem}"
    loader = _Uncached(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # A submission may import a file beside it. Last on the path, so that it can shadow nothing.
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    loader.exec_module(module)
    return module


class _Uncached(SourceFileLoader):
    """Reads a file itself, and no bytecode of what was there a moment ago; leaves none behind."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _from_name(name: str) -> ModuleType:
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    found = None
    if all(part.isidentifier() for part in name.split(".")):  # no path, which cannot be imported
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # a package on the way raised it
        except ValueError:  # a module that says that it has no specification
            found = None
    if found is None or found.origin is None:  # nowhere, or a folder without any code of its own
        raise SubmissionError(nowhere(name))
    return importlib.import_module(name)


def nowhere(name: str) -> str:
    """Say that there is no module of this name, and what is there instead."""
    there = Path(name)
    what = "a folder" if there.is_dir() else "a file"
    problem = f"is {what}, not a .py file" if name and there.exists() else "does not exist"
    many = "; a class's folder is graded with --out" if name and there.is_dir() else ""
    return f"{name or repr('')} {problem}; a submission is one .py file or a module{many}"


def _where(error: BaseException, path: Path) -> str:
    line = last_line(error, str(path) if path.suffix == ".py" else None)
    return "" if line is None else f" (line {line})"
