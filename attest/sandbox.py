"""Starting a worker: in a sandbox of bubblewrap where there is one, with limits everywhere."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from attest.limits import WorkerError
from attest.worker import FRESH, PREPARE

__all__ = [
    "FILES",
    "TOGETHER",
    "WORKER",
    "Host",
    "Isolation",
    "Limits",
    "WorkerProcess",
    "installed",
    "isolation",
    "trusted",
]

# What the worker is made of. It sees nothing else of ours.
OWN = ("wire", "serving", "worker")

# Loads these files as what they are, with a package of theirs that has nothing else in it.
LAUNCH = """
import importlib.util, sys, types
sys.path += {paths!r}
sys.modules["attest"] = types.ModuleType("attest")
sys.modules["attest"].__path__ = []
for name, path in {files!r}.items():
    spec = importlib.util.spec_from_file_location("attest." + name, path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
module.main()
"""

READ_ONLY = ("--remount-ro", "/")

START = 60.0  # seconds that importing torch may take
END = 15.0  # seconds until whatever was started in a worker has ended

MEBI = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What a submission may take, as the system enforces it.

    Attributes:
        memory: bytes that a process may have beside what importing torch has taken.
        seconds: of the processor.
        file: bytes that it may write into one file.
        files: how many it may hold open.
        processes: how many there may be, threads among them.
    """

    memory: int = 2048 * MEBI
    seconds: float = 65.0
    file: int = 32 * MEBI
    files: int = 64
    processes: int = 16

    def resources(self) -> dict[str, int]:
        """Give them by the system's names."""
        return {
            "AS": self.memory,
            "CPU": int(self.seconds) + 1,
            "FSIZE": self.file,
            "NOFILE": self.files,
            "NPROC": self.processes,
            "CORE": 0,
            "MSGQUEUE": 0,
        }


@dataclass(frozen=True)
class Isolation:
    """How submissions are kept apart from the grader, from each other and from this machine.

    Attributes:
        process: where they run.
        unprotected: what they could do all the same.
        command: what a worker's command is prefixed with; empty without a sandbox.
        sandbox: the sandbox and its version; None without one.
        problem: why there is none.
    """

    process: str
    unprotected: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    sandbox: str | None = None
    problem: str | None = None

    def as_data(self) -> dict[str, Any]:
        """Give it in the form that ``attest grade --json`` writes."""
        return {
            "process": self.process,
            "sandbox": self.sandbox,
            "unprotected": list(self.unprotected),
            "problem": self.problem,
        }


WORKER = "a worker that has nothing of the grader's but what it is asked"
FILES = (
    "use the network",
    "read files",
    "write files, the grader's own among them",
    "end processes of this user, and leave some",
)
TOGETHER = ("leave something for its own later properties", "see and end processes of its worker")
RESOURCES = ("take all memory and all processes",)


@lru_cache(maxsize=1)
def isolation() -> Isolation:
    """Find the strongest isolation that works here, by starting something in it."""
    program = shutil.which("bwrap")
    if program is None:
        missing = "bubblewrap is not installed (Debian: apt-get install bubblewrap)"
        return Isolation(WORKER, FILES, problem=missing)
    said = subprocess.run(  # noqa: S603 - what was found by that name
        [program, "--version"], capture_output=True, text=True, check=False
    )
    problem = ""
    for command in _commands(program):
        tried = subprocess.run(  # noqa: S603 - the same
            [*command, str(_seen(Path(_program()))), "-I", "-S", "-u", "-c", "import json"],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if tried.returncode == 0:
            return Isolation(WORKER, (), tuple(command), said.stdout.strip() or "bubblewrap")
        problem = problem or tried.stderr.strip().partition("\n")[0]
    return Isolation(WORKER, FILES, problem=f"bubblewrap does not work here: {problem}")


def trusted(device: str, *, why: str) -> Isolation:
    """Say how submissions run that are trusted: with the grader's own code and rights."""
    own = "the grader's own" if device != "cpu" else "one forked from the grader for each property"
    return Isolation(own, (*FILES, *RESOURCES), problem=why)


def _commands(program: str) -> Iterator[list[str]]:
    """Give the ways to call bubblewrap, the best first.

    Root needs no namespace of users to make the others, and the worker then becomes a user whom
    the limits on processes count. Whoever is not root needs one.
    """
    apart = ["--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts"]
    apart += ["--unshare-cgroup-try", "--die-with-parent", "--new-session"]
    apart += ["--hostname", "attest", "--chdir", "/"]
    user = ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    if os.getuid() == 0:
        user = ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    for process in (["--proc", "/proc"], ["--ro-bind", "/proc", "/proc"]):
        yield [program, *apart, *user, *_places(), *process, *READ_ONLY, "--"]


def _places() -> list[str]:
    """Say what of the system a worker sees, all of it read-only: Python, torch, no file of ours."""
    sources = [*_python(), *_libraries()]
    above = {parent for folder in sources for parent in _seen(folder).parents}
    places = [
        word for parent in sorted(above)[1:] for word in ("--perms", "0755", "--dir", str(parent))
    ]
    bound = []
    for name in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        path = Path(name)
        if path.is_symlink():
            places += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            places += ["--ro-bind", name, name]
            bound.append(path)
    for name in ("/etc/ld.so.cache", "/etc/alternatives", "/sys/devices/system/cpu"):
        if Path(name).exists():
            places += ["--ro-bind", name, name]
    for folder in sources:
        places += ["--ro-bind", str(folder), str(_seen(folder))]
    hidden = [_seen(folder) for folder in _hidden([*bound, *sources])]
    for folder in hidden:
        places += ["--size", "4096", "--perms", "0555", "--tmpfs", str(folder)]
    for source in _own():
        places += ["--ro-bind", str(source), f"/attest/{source.name}"]
    # What only its mount makes writable would outlive a property.
    for folder in (*hidden, Path("/dev")):
        closed = ["--remount-ro", str(folder)]
        places += closed if folder in hidden else ["--dev", "/dev", *closed]
    return [*places, "--size", str(64 * MEBI), "--perms", "1777", "--tmpfs", "/tmp"]  # noqa: S108


def _seen(path: Path) -> Path:
    """Give where a worker sees Python or a library: elsewhere if its own place is found empty."""
    if any(path.is_relative_to(place) for place in FRESH):
        return Path("/installed", *path.parts[1:])
    return path


def _hidden(bound: Iterable[Path]) -> list[Path]:
    """Give what is ours in folders that a worker sees: code, and where people keep theirs."""
    bound, sources = list(bound), [*_python(), *_libraries()]
    ours = [Path(__file__).resolve().parent, Path.cwd(), Path("/usr/src"), Path("/usr/local/src")]
    for name in ("reference", "properties", "tests"):
        found = importlib.util.find_spec(name)
        places = found.submodule_search_locations if found is not None else None
        ours += [Path(place).resolve() for place in places or ()]
    return [
        folder
        for folder in dict.fromkeys(ours)
        if folder.is_dir()
        and any(folder != seen and folder.is_relative_to(seen) for seen in bound)
        and not any(source.is_relative_to(folder) for source in sources)
    ]


def _python() -> list[Path]:
    """Give where Python itself is, if it is not part of the system."""
    base = Path(sys.base_prefix).resolve()
    return [] if base.is_relative_to("/usr") else [base]


def _program() -> str:
    """Give the interpreter, outside of any virtual environment, that the sandbox has, too."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return str(Path(base).resolve())


def _libraries() -> list[Path]:
    """Give the folders of installed packages: torch's, and those of this environment."""
    torch = importlib.util.find_spec("torch")
    assert torch is not None
    assert torch.origin is not None
    found = [Path(torch.origin).resolve().parents[1]]
    found += [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")]
    return list(dict.fromkeys(folder for folder in found if folder.is_dir()))


def installed(place: Path) -> bool:
    """Say whether a worker sees a package or module without being sent it."""
    return place.parent in _libraries() and place not in _hidden([place.parent])


def _own() -> list[Path]:
    return [Path(__file__).with_name(f"{name}.py") for name in OWN]


class Host:
    """What has torch, and what workers are forked from.

    It is a process in a sandbox of its own. Where one is not enough to keep a property apart from
    all others, it is a single worker itself.

    Args:
        isolation: how it is kept apart.
    """

    def __init__(self, isolation: Isolation) -> None:
        self._isolation = isolation
        self._start()

    def _start(self) -> None:
        self._prepared = False
        self._said: Mapping[str, Any] | None = None
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        inside = bool(self._isolation.sandbox)
        files = {
            source.stem: f"/attest/{source.name}" if inside else str(source) for source in _own()
        }
        paths = [str(_seen(folder) if inside else folder) for folder in _libraries()]
        program = str(_seen(Path(_program()))) if inside else _program()
        settings = {"control": theirs.fileno(), "sandbox": inside}
        launch = LAUNCH.format(paths=paths, files=files)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with it
        self._process = subprocess.Popen(  # noqa: S603
            [
                *self._isolation.command,
                *(program, "-I", "-S", "-u", "-c", launch, json.dumps(settings)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            pass_fds=[theirs.fileno()],
            cwd="/",
            env={"OMP_NUM_THREADS": "1", "LANG": "C.UTF-8"},
        )
        theirs.close()

    def ready(self) -> Mapping[str, Any]:
        """Wait until it has imported torch; give what it says of itself.

        Raises:
            WorkerError: it did not start.
        """
        if self._said is None:
            try:
                self._said = _asked(self._control, b"?", START)
            except (OSError, ValueError):
                raise self.lost() from None
        return self._said

    @property
    def several(self) -> bool:
        """Whether any number of workers can be forked from it."""
        return bool(self.ready()["alone"])

    def prepare(self) -> None:
        """Let it import what takes long and few submissions use, which pays for many properties."""
        if not self._prepared:
            self._prepared = True
            with contextlib.suppress(OSError):  # one that is gone is noticed when it is asked
                self._control.send(PREPARE)

    def connect(self) -> socket.socket:
        """Have a worker, and give what it is asked through.

        Raises:
            WorkerError: it is gone.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                socket.send_fds(self._control, [b"worker"], [theirs.fileno()])
            except OSError:
                ours.close()
                raise self.lost() from None
        return ours

    def lost(self) -> WorkerError:
        """End it, since it does not answer; say what is known of why."""
        self._process.kill()
        return self.problem()

    def problem(self) -> WorkerError:
        """Say what is known of why it, or a worker of it, is lost."""
        file = self._errors.fileno()
        start = max(0, os.fstat(file).st_size - (1 << 16))
        lines = os.pread(file, 1 << 16, start).decode(errors="replace").splitlines()
        last = next((line for line in reversed(lines) if line.strip()), "it says nothing")
        return WorkerError(f"the worker that holds submissions did not start, or is gone: {last}")

    def restart(self) -> None:
        """End it, with all its workers, and start another in its place.

        Raises:
            WorkerError: it did not start.
        """
        self.close()
        self._start()
        self.ready()

    def close(self) -> None:
        """End it, with all its workers."""
        _hang_up(self._control)  # at which it ends what it has started, and itself
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)
        self._process.kill()
        self._process.wait()
        self._errors.close()


def _asked(control: socket.socket, what: bytes, seconds: float) -> Mapping[str, Any]:
    control.settimeout(seconds)
    control.send(what)
    return dict(json.loads(control.recv(1 << 16)))


def _hang_up(control: socket.socket) -> None:
    """Close a connection for all who have it: processes that were forked have copies."""
    with contextlib.suppress(OSError):  # closed before, or gone
        control.shutdown(socket.SHUT_RDWR)
    control.close()


class WorkerProcess:
    """A worker without a submission: it forks a process whenever one is wanted.

    Args:
        host: what it is forked from.

    Raises:
        WorkerError: it is gone.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._busy = False
        self._prepared = False
        self._control = host.connect()

    def ready(self) -> None:
        """Wait until it can be asked.

        Raises:
            WorkerError: it cannot.
        """
        self._ask(b"?", START)

    def prepare(self) -> None:
        """Let it import what takes long and few submissions use, which pays for many properties.

        It does so on its own; :meth:`ready` waits for it.
        """
        if self._prepared:
            return
        self._prepared = True
        if self._host.several:
            self._host.prepare()
            self.close()
            with contextlib.suppress(WorkerError):  # one that is gone is noticed when it is asked
                self._control = self._host.connect()
        else:
            if self._busy:
                self.end()
            with contextlib.suppress(OSError):
                self._control.send(PREPARE)
        self._busy = False

    def start(self, limits: Limits) -> tuple[socket.socket, socket.socket]:
        """Fork a process for one property; give its channel and what it prints into.

        Raises:
            WorkerError: it is gone.
        """
        if self._busy:  # whoever was interrupted has left a process
            self.end()
        answers, theirs = socket.socketpair()
        output, printed = socket.socketpair()
        with theirs, printed:
            request = json.dumps(limits.resources()).encode()
            try:
                socket.send_fds(self._control, [request], [theirs.fileno(), printed.fileno()])
            except OSError:
                answers.close()
                output.close()
                raise self._lost() from None
        self._busy = True
        return answers, output

    def end(self) -> int | None:
        """End that process with all that it has started; give the status that it ended with.

        Raises:
            WorkerError: the worker is gone, or does not come to an end; it is asked no more.
        """
        found = self._ask(b"x", END).get("status")
        self._busy = False
        return found if isinstance(found, int) else None

    def _ask(self, what: bytes, seconds: float) -> Mapping[str, Any]:
        try:
            return _asked(self._control, what, seconds)
        except (OSError, ValueError):
            raise self._lost() from None

    def _lost(self) -> WorkerError:
        self.close()
        return self._host.problem() if self._host.several else self._host.lost()

    def another(self) -> WorkerProcess:
        """End it, have another in its place, and wait for that one.

        Raises:
            WorkerError: it did not start.
        """
        self.close()
        if self._host.several:
            with contextlib.suppress(WorkerError):  # then all of them are, or seem to be, gone
                return self._forked()
        self._host.restart()
        return self._forked()

    def _forked(self) -> WorkerProcess:
        other = WorkerProcess(self._host)
        other.ready()
        return other

    def close(self) -> None:
        """Hang up, at which it ends what it has started, and itself."""
        _hang_up(self._control)
