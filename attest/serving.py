"""What a worker answers: the calls of the contract, made on the submission that it holds.

Everything that it says is looked at by the judge, which believes none of it. So that a submission
that puts other things in the place of torch's hurts nobody but itself, what is needed here is
bound before one is loaded.
"""

from __future__ import annotations

import base64
import importlib
import importlib.util
import py_compile
import random
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import is_
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attest.wire import DEEPEST, Channel, Closed, Flat, Named, Odd, Reference, cut, outline

__all__ = [
    "MOST_COMPILED",
    "Parameters",
    "Served",
    "exchange",
    "is_of_torch",
    "last_line",
    "module_of",
    "refilled",
    "seed_everything",
]

# Of what an exception says, so much is passed on.
MOST_TEXT = 2000

# So much of what files are compiled to is kept, in base64.
MOST_COMPILED = 2 << 20

_OF_TORCH = (
    nn.functional.scaled_dot_product_attention,
    nn.functional.softmax,
    torch.softmax,
    nn.Transformer,
)


# What is asked and known here: a submission has no part in it, even where it is installed and
# no sandbox hides it.
OURS = ("attest", "properties", "reference")


class _Ours:
    """Finds none of our packages, but those of a submission that have the name of one.

    Args:
        folder: where the submission's files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find_spec(self, name: str, *_: object) -> None:
        first = name.partition(".")[0]
        own = (self._folder / first).is_dir() or (self._folder / f"{first}.py").is_file()
        if first in OURS and not own:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


_Seen = tuple[str, torch.Size, torch.dtype, bool, int, tuple[int, ...]]


class Parameters:
    """A module's parameters by name.

    Walking through a deep module takes as long as a call of it, so that it is done again only
    where modules or parameters are not the same ones.

    Args:
        module: the module.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._named: Mapping[str, Tensor] = {}
        self._members: list[tuple[dict[str, Any], list[str], list[Any]]] | None = None
        self._sure = False

    def ran(self) -> None:
        """Note that something of the module has run, which may have changed what it has."""
        self._sure = False

    def named(self) -> Mapping[str, Tensor]:
        """Give them as they are now; in the same dictionary as long as they are the same.

        Raises:
            TypeError: the module gives something else.
        """
        if self._sure:
            return self._named
        if self._members is None or not _as_they_were(self._members):
            named = {}
            for name, value in self._module.named_parameters():
                if type(name) is not str or not issubclass(type(value), Tensor):
                    raise TypeError("named_parameters() gave something that is no parameter")
                named[name] = value
            self._named = named
            modules = list(nn.Module.modules(self._module))
            usual = all(map(_walks_as_usual, modules))
            self._members = list(_members(modules)) if usual else None
        self._sure = True
        return self._named


@dataclass
class _Held:
    """A component: a module or a function, and what was said of its parameters."""

    target: Any
    module: bool
    arguments: Any = None
    _seen: list[_Seen] = field(default_factory=list)
    _arrays: list[np.ndarray[Any, Any]] = field(default_factory=list)
    _numbers: bytearray = field(default_factory=bytearray)
    _together: Tensor | None = None
    _parts: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parameters = Parameters(self.target)

    def changed(self) -> Mapping[str, Tensor] | None:
        """Give its parameters where they are not what was said of them last, and take them as said.

        Their bytes are compared in place, which is faster than comparing tensors.
        """
        named = self.parameters.named()
        seen = [
            (name, v.shape, v.dtype, v.requires_grad, _data_ptr(v), _stride(v))
            for name, v in named.items()
        ]
        alike = True
        if seen != self._seen:
            alike = [one[:4] for one in seen] == [one[:4] for one in self._seen]
            self._seen, self._arrays = seen, [_array(v) for v in named.values()]
            if not alike:
                self._together = None
        numbers = b"".join([array.tobytes() for array in self._arrays])
        if alike and numbers == self._numbers:
            return None
        self._numbers = bytearray(numbers)
        return named

    def overwritten(self, values: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Take parameters as said that are to be overwritten; give each with what it is to hold."""
        ends = accumulate(array.nbytes for array in self._arrays)
        places = {name: end for (name, *_), end in zip(self._seen, ends, strict=True)}
        for name, value in values.items():
            data = _array(value).tobytes()
            self._numbers[places[name] - len(data) : places[name]] = data
        own = self.parameters.named()
        return [(own[name], value) for name, value in values.items()]

    def all_overwritten(self, values: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Do the same for all, whose numbers of one dtype are given as one tensor."""
        named = self.parameters.named()
        own = [named[name] for name, *_ in self._seen]
        if self._together is None:
            self._together = values.clone()
            self._parts = cut(self._together, own)
        else:
            self._together.copy_(values)
        self._numbers = bytearray(_array(values).tobytes())
        return list(zip(own, self._parts, strict=True))


def _members(
    modules: Sequence[nn.Module],
) -> Iterator[tuple[dict[str, Any], list[str], list[Any]]]:
    """Give where modules keep their parameters and modules, and which these are now."""
    for module in modules:
        for kept in (module._parameters, module._modules):  # noqa: SLF001
            yield kept, list(kept), list(kept.values())


def _as_they_were(members: Sequence[tuple[dict[str, Any], list[str], list[Any]]]) -> bool:
    for kept, names, values in members:
        if len(kept) != len(names):
            return False
        if names and ([*kept] != names or not all(map(is_, kept.values(), values))):
            return False
    return True


def _walks_as_usual(module: nn.Module) -> bool:
    return all(
        getattr(type(module), name) is getattr(nn.Module, name) and name not in vars(module)
        for name in ("named_parameters", "named_modules", "_named_members")
    )


# Bound before a submission is loaded, whose word is not taken for what has changed.
_data_ptr, _stride, _detach, _numpy = Tensor.data_ptr, Tensor.stride, Tensor.detach, Tensor.numpy


def _array(value: Tensor) -> np.ndarray[Any, Any]:
    """Give a tensor's memory as an array."""
    value = _detach(value)
    # numpy has no bfloat16
    return _numpy(value.view(torch.int16) if value.dtype == torch.bfloat16 else value)


def refilled(before: Any, now: Any) -> Any:  # noqa: ANN401 - whatever arguments there are
    """Give arguments of a call in the tensors of an earlier one, filled with what they hold now.

    Args:
        before: the earlier arguments, in tuples, lists and dictionaries.
        now: the present ones; what has another shape or dtype is given as it is.
    """
    if type(now) is type(before) is Tensor:
        if now.shape == before.shape and now.dtype == before.dtype:
            # A cache may look at the version of a tensor, which writing into it changes.
            if not before.equal(now):
                with torch.no_grad():
                    before.copy_(now)
            return before
    elif isinstance(now, dict) and isinstance(before, dict):
        return {name: refilled(before.get(name), value) for name, value in now.items()}
    elif type(now) is type(before) and type(now) in {tuple, list} and len(now) == len(before):
        return type(now)(map(refilled, before, now))
    return now


@dataclass
class _Graph:
    """What one call leaves for its gradients."""

    outputs: list[Tensor]
    inputs: list[Tensor]
    parameters: dict[str, Tensor]


class Served:
    """One submission, and the judge at the other end of a channel."""

    def __init__(self, channel: Channel, home: str) -> None:
        self._channel = channel
        self._home = Path(home)
        self._path: str | None = None
        self._names: dict[str, Any] = {}
        self._held: dict[int, _Held] = {}
        self._graphs: dict[int, _Graph] = {}
        self._kept: dict[int, Any] = {}
        self._kinds: list[type] = []
        self._numbers = 0
        # Bound before anything of the submission runs, which may put other things in their place.
        self._equal, self._enabled = torch.equal, torch.set_grad_enabled
        self._records = torch.is_grad_enabled
        self._differentiate, self._no_grad = torch.autograd.grad, torch.no_grad
        self._overwrite = torch._foreach_copy_
        self._drawn, self._subclass = torch.get_rng_state, torch._C.DisableTorchFunctionSubclass  # noqa: SLF001

    def answer(self) -> None:
        """Answer message after message."""
        operations: dict[str, Callable[..., dict[str, Any]]] = {
            "compile": self._compile,
            "load": self._load,
            "construct": self._construct,
            "call": self._call,
            "moved": self._moved,
            "arguments": self._arguments,
            "train": self._train,
            "gradients": self._gradients,
            "run": self._run,
        }
        while True:
            message = self._channel.receive()
            try:
                self._before(message.pop("before", ()))
                self._channel.send(operations[message.pop("do")](**message))
            except Closed:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever a submission raises is answered
                self._channel.send({"raised": _described(error, self._path)})

    # -- what needs no answer --

    def _before(self, told: Sequence[Mapping[str, Any]]) -> None:
        for what in told:
            for number in what.get("forget", ()):
                self._graphs.pop(number, None)
                self._kept.pop(number, None)
                self._held.pop(number, None)
            if "seed" in what:
                seed_everything(what["seed"])
            if "set" in what:
                self._set(self._held[what["set"]], what["values"])

    def _set(self, held: _Held, values: Mapping[str, Tensor] | Tensor) -> None:
        """Overwrite parameters: some by name, or all, as one tensor in their order."""
        if isinstance(values, Tensor):
            pairs = held.all_overwritten(values)
        else:
            pairs = held.overwritten(values)
        if pairs:
            with self._no_grad():
                self._overwrite([own for own, _ in pairs], [value for _, value in pairs])

    # -- what does --

    def _compile(self, files: Mapping[str, str]) -> dict[str, Any]:
        """Compile files, and run nothing; give what they are compiled to, where that is possible.

        Args:
            files: their content in base64 by their place.
        """
        folder = self._home / "submission"
        _write(files, folder)
        found, left = dict[str, str](), MOST_COMPILED
        for place in files:
            try:
                written = py_compile.compile(
                    str(folder / place),
                    doraise=True,
                    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                )
                content = base64.b64encode(Path(str(written)).read_bytes()).decode()
            except Exception:  # noqa: BLE001, S112 - if it matters, loading it will tell
                continue
            left -= len(content)
            if left < 0:
                break
            found[place] = content
        return {"compiled": found}

    def _load(
        self,
        files: Mapping[str, str],
        compiled: Mapping[str, str],
        name: str,
        path: str | None,
        parts: Mapping[str, str],
        kept: list[str],
    ) -> dict[str, Any]:
        """Load a submission from the files that it consists of.

        Args:
            files: their content in base64 by their place.
            compiled: what some of them are compiled to, likewise.
            name: of the module.
            path: its file among them; None where it is found by its name.
            parts: scripts that define what is put in the place of what it defines, by name.
            kept: names that keep what they have.
        """
        folder = self._home / "submission"
        self._path = None if path is None else str(folder / path)
        _write(files, folder)
        cached = importlib.util.cache_from_source
        _write({cached(place): content for place, content in compiled.items()}, folder)
        sys.dont_write_bytecode = True
        sys.meta_path.insert(0, _Ours(folder))
        try:
            module = self._from_file(name, folder / path) if path else self._by_name(name, folder)
            exchange(module, parts, folder, kept)
            names = [name for name in dir(module) if type(name) is str]
            namespace = {name: getattr(module, name, None) for name in names}
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
            said = _described(error, self._path)
            if isinstance(error, SyntaxError):
                said["line"], said["problem"] = error.lineno, str(error.msg)[:MOST_TEXT]
            return {"failed": said}
        self._names = {
            key: value
            for key, value in namespace.items()
            if value is not None and not is_of_torch(value)
        }
        return {"defines": [key for key in self._names if key.isidentifier()]}

    def _from_file(self, name: str, path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        sys.path.append(str(path.parent))  # last, so that it can shadow nothing
        spec.loader.exec_module(module)
        return module

    def _by_name(self, name: str, folder: Path) -> ModuleType:
        sys.path.append(str(folder))
        return importlib.import_module(name)

    def _construct(self, component: str, sizes: list[int] | None, dtype: str) -> dict[str, Any]:
        target = self._names[component]
        if sizes is not None:
            target = module_of(component, target(*sizes), getattr(torch, dtype), "cpu")
        held = _Held(target, sizes is not None)
        number = self._number()
        self._held[number] = held
        return {"number": number, **self._changes(held)}

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _changes(self, held: _Held) -> dict[str, Any]:
        """Give its parameters, where they are not what was said of them last."""
        if not held.module:
            return {}
        with self._subclass():
            changed = held.changed()
        if changed is None:
            return {}
        plain = {name: self._plain(value) for name, value in changed.items()}
        return {"names": list(plain), "changed": Flat(plain)}

    def _call(
        self,
        number: int,
        method: str,
        positional: list[Any],
        named: dict[str, Any],
        kept: list[int],
        *,
        graded: bool,
        watched: bool,
        same: bool,
    ) -> dict[str, Any]:
        held = self._held[number]
        inputs = [t for t in _tensors((positional, list(named.values()))) if t.requires_grad]
        before = self._drawn() if watched else None
        with self._enabled(graded):
            # As the answer of another operation, which may be overwritten, unlike what is a leaf.
            given = {id(leaf): leaf.clone() for leaf in inputs}
            positional = [self._own(value, given) for value in positional]
            named = {name: self._own(value, given) for name, value in named.items()}
            if same:
                positional, named = refilled(held.arguments, (positional, named))
            held.arguments = (positional, named)
            target = getattr(held.target, method) if method else held.target
            held.parameters.ran()  # also where it raises
            answer = target(*positional, **named)
            records = self._records()
        drew = before is not None and not self._equal(before, self._drawn())
        graph = None
        if graded:
            outputs: list[Tensor] = []
            told = self._told(answer, kept, outputs)
            own = held.parameters.named() if held.module else {}
            own = {name: value for name, value in own.items() if value.requires_grad}
            graph = self._number()
            self._graphs[graph] = _Graph(outputs, inputs, own)
        else:
            told = self._told(answer, kept, [])
        seen = {"drew": drew, "records": records}
        return {"answer": told, "graph": graph, **seen, **self._changes(held)}

    def _moved(self, number: int, calls: list[dict[str, Any]]) -> dict[str, Any]:
        """Call it with other parameters, again and again.

        What comes after a call that raises, or after which other numbers are in the parameters than
        were put there, is to be asked for again.
        """
        answers: list[dict[str, Any]] = []
        for call in calls:
            try:
                self._set(self._held[number], call.pop("values"))
                answers.append(self._call(number, **call))
            except BaseException as error:  # noqa: BLE001 - whatever a submission raises is answered
                answers.append({"raised": _described(error, self._path)})
            if answers[-1].keys() & {"raised", "names"}:
                break
        return {"answers": answers}

    def _own(self, value: Any, given: Mapping[int, Tensor]) -> Any:  # noqa: ANN401
        """Give an argument as the submission gets it."""
        if isinstance(value, Reference):
            return self._kept[value.number]
        if isinstance(value, Named):
            return self._kinds[value.kind](*(self._own(part, given) for part in value.parts))
        if isinstance(value, tuple):
            return tuple(self._own(part, given) for part in value)
        if isinstance(value, list):
            return [self._own(part, given) for part in value]
        return given.get(id(value), value)

    def _told(self, answer: Any, kept: list[int], outputs: list[Tensor]) -> Any:  # noqa: ANN401
        """Give an answer as the judge gets it; what it only hands back stays here."""
        kind = type(answer)
        if not kept or not issubclass(kind, tuple | list):
            return self._value(answer, outputs, DEEPEST)
        parts = []
        for index, part in enumerate(answer):
            if index in kept:
                number = self._number()
                self._kept[number] = part
                parts.append(Reference(number))
            else:
                parts.append(self._value(part, outputs, DEEPEST))
        return tuple(parts)

    def _value(self, value: Any, outputs: list[Tensor], depth: int) -> Any:  # noqa: ANN401
        kind = type(value)
        if value is None:
            return None
        if issubclass(kind, Tensor):
            if kind is not Tensor and kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
                return Odd("_Wrapper")
            plain = self._plain(value)
            told = outline(plain)
            if told is not None:
                return told
            if plain.requires_grad:
                outputs.append(plain)
            return plain
        if depth and issubclass(kind, tuple | list):
            parts = [self._value(part, outputs, depth - 1) for part in value]
            if issubclass(kind, list):
                return parts
            if hasattr(kind, "_fields"):
                if kind not in self._kinds:
                    self._kinds.append(kind)
                return Named(self._kinds.index(kind), tuple(parts))
            return tuple(parts)
        return Odd(_short(kind.__name__))

    def _plain(self, value: Tensor) -> Tensor:
        if type(value) is Tensor:
            return value.resolve_conj().resolve_neg()
        with self._subclass():
            return Tensor.as_subclass(value, Tensor)

    def _arguments(self, number: int) -> dict[str, Any]:
        """Say what the tensors of the last call hold now."""
        positional, named = self._held[number].arguments
        return {
            "positional": [self._value(value, [], DEEPEST) for value in positional],
            "named": {name: self._value(value, [], DEEPEST) for name, value in named.items()},
        }

    def _train(self, number: int, *, mode: bool) -> dict[str, Any]:
        held = self._held[number]
        held.parameters.ran()  # also where it raises
        held.target.train(mode)
        return self._changes(held)

    def _gradients(
        self, graph: int, outputs: list[int], cotangents: list[Tensor], wanted: list[list[Any]]
    ) -> dict[str, Any]:
        """Give the gradient of a call's outputs by its inputs, or earlier calls', or parameters."""
        made = self._graphs[graph]
        by = [
            self._graphs[where].parameters[which]
            if isinstance(which, str)
            else self._graphs[where].inputs[which]
            for where, which in wanted
        ]
        given = [made.outputs[index] for index in outputs]
        found = self._differentiate(
            given, by, grad_outputs=cotangents, retain_graph=True, allow_unused=True
        )
        return {"gradients": [None if one is None else self._plain(one) for one in found]}

    def _run(self, script: str, path: str | None, given: str | None) -> dict[str, Any]:
        """Run a counterexample's script; say how it ended.

        Args:
            script: the script.
            path: the submission's file among its own.
            given: where the script looks for it.
        """
        if path is not None and given is not None:
            there, here = Path(given), self._home / "submission" / path
            script = script.replace(repr(str(there)), repr(str(here)))
            script = script.replace(repr(str(there.parent)), repr(str(here.parent)))
        try:
            exec(compile(script, "counterexample", "exec"), {"__name__": "counterexample"})  # noqa: S102
        except BaseException as error:  # noqa: BLE001 - that is what it is run for
            return {"ended": _described(error)}
        return {"ended": None}


def _write(files: Mapping[str, str], folder: Path) -> None:
    for place, content in files.items():
        written = folder / place
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_bytes(base64.b64decode(content))


def _tensors(value: Any) -> Iterator[Tensor]:  # noqa: ANN401
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, Named):
        yield from _tensors(value.parts)


def is_of_torch(value: object) -> bool:
    """Say whether it is what torch has of a name: of another signature, and no attempt."""
    return any(value is known for known in _OF_TORCH)


def module_of(component: str, made: Any, dtype: torch.dtype, device: str) -> nn.Module:  # noqa: ANN401
    """Give what a constructor gave as a module in eval mode, of a dtype and on a device.

    Raises:
        TypeError: it is no module.
    """
    if not issubclass(type(made), nn.Module):
        raise TypeError(f"{component}(...) gave a {type(made).__name__}, not a torch.nn.Module")
    module: nn.Module = made.to(device=device, dtype=dtype).eval()
    return module


def exchange(
    namespace: object, parts: Mapping[str, str], folder: Path | None, kept: Collection[str]
) -> list[tuple[object, str, object]]:
    """Put other functions and classes in the place of what a submission defines.

    Args:
        namespace: what has them as attributes.
        parts: scripts that define the others, by name.
        kept: names that keep what they have, also where it is the same.
        folder: where other modules of the submission are, which may have them, too.

    Returns:
        What was exchanged: where, under which name, and what was there.
    """
    places = [namespace]
    for module in list(sys.modules.values()) if parts else ():
        if type(module) is not ModuleType or module is namespace:
            continue
        file = vars(module).get("__file__")
        if type(file) is str and folder is not None and Path(file).is_relative_to(folder):
            places.append(module)
    before: list[tuple[object, str, object]] = []
    for name, script in parts.items():
        old, made = getattr(namespace, name, None), ModuleType("part")
        if old is None:
            continue
        exec(compile(script, f"{name}.py", "exec"), made.__dict__)  # noqa: S102 - a part of ours
        for place in places:
            for key, value in list(vars(place).items()):
                if value is old and (key == name or key not in kept):
                    before.append((place, key, old))
                    setattr(place, key, getattr(made, name))
    return before


def seed_everything(number: int) -> None:
    """Seed the generators of torch, Python and numpy in this process."""
    # torch.manual_seed seeds every kind of device, which takes a millisecond.
    torch.default_generator.manual_seed(number)
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 - what a component may use


def _short(text: str) -> str:
    return str(text)[:MOST_TEXT].encode("utf-8", "backslashreplace").decode()


def _described(error: BaseException, path: str | None = None) -> dict[str, Any]:
    """Say of an exception what it is and says, and where; it may fail to print itself."""
    try:
        text = _short(str(error).strip().partition("\n")[0])
    except BaseException:  # noqa: BLE001 - whatever a stranger's __str__ raises
        text = ""
    names = [_short(kind.__name__) for kind in type(error).__mro__[:8]]
    return {"names": names, "text": text, "line": last_line(error, path)}


# As Python keeps it: an exception may give something else under the name.
_traceback = BaseException.__dict__["__traceback__"].__get__


def last_line(error: BaseException, path: str | None) -> int | None:
    """Give the last line of a file that an exception came through, if it did."""
    if path is None:
        return None
    last, known = None, Path(path).absolute()
    for frame, line in traceback.walk_tb(_traceback(error)):
        if Path(frame.f_code.co_filename).absolute() == known:
            last = line
    return last
