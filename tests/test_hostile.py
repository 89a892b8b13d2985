"""Submissions that do what no submission should: nobody but themselves is hurt, and none gains.

Whatever they try is bounded here, so that a worker that held nothing back would not take the
machine down: a few processes, a few gigabytes, seconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import socket
import subprocess
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from attest import sandbox
from attest.evidence import Evidence
from attest.examination import Settings
from attest.holding import Holder
from attest.implementations import SubmissionError
from attest.laws import Property
from attest.ledger import LedgerError, load_ledger, load_reference
from attest.running import examine_all
from attest.sandbox import FILES, TOGETHER, WORKER, Isolation, isolation

SETTINGS = Settings(examples=10, seconds=20.0)
HURRIED = Settings(examples=10, seconds=5.0)
MANY = Settings(examples=100, seconds=20.0)
SUM = "softmax.entries_along_the_axis_sum_to_one"
SHIFT = "softmax.adding_a_constant_changes_nothing"
EXPONENTIAL = "softmax.it_is_the_normalised_exponential"
SAME = "softmax.the_same_call_gives_the_same_result"

IN_A_SANDBOX = isolation().sandbox is not None


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    """Have what nobody has closed told here, and not in whatever test comes later."""
    yield
    gc.collect()


Examined = Callable[..., list[Evidence]]


@pytest.fixture(scope="module")
def laws() -> dict[str, Property]:
    return {law.id: law for law in load_ledger().laws}


@pytest.fixture(scope="module")
def workers() -> Iterator[Holder]:
    if not IN_A_SANDBOX:
        pytest.skip(f"no sandbox: {isolation().problem}")
    with Holder(SETTINGS, 2, patience=4.0) as holder:
        yield holder


@pytest.fixture
def examined(workers, laws, tmp_path) -> Examined:
    """Examine a submission's text by the named laws; by two of softmax where none is named."""

    def run(text: str, *names: str, settings: Settings = SETTINGS) -> list[Evidence]:
        path = tmp_path / "submission.py"
        path.write_text(text)
        chosen = [laws[name] for name in names or (SUM, SHIFT)]
        submission = workers.load(str(path))
        return examine_all(
            chosen, submission, settings, load_reference(), 2, lambda _: None, workers.workers
        )

    return run


RIGHT = """
import torch

def softmax(x, dim=-1):
    return torch.softmax(x, dim)
"""


def softmax(body: str, before: str = "") -> str:
    """Write a submission whose softmax does something before it answers rightly."""
    body = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return (
        f"import torch\n{textwrap.dedent(before)}\n"
        f"def softmax(x, dim=-1):\n{body}\n    return torch.softmax(x, dim)\n"
    )


def statuses(evidence: list[Evidence]) -> list[str]:
    return [one.status for one in evidence]


def test_what_is_right_is_right(examined):
    assert statuses(examined(RIGHT)) == ["holds", "holds"]


DEAF = """
import signal
for number in range(1, 32):
    try:
        signal.signal(number, signal.SIG_IGN)
    except OSError:
        pass
while True:
    pass
"""

NOT_LOADED = {
    "it exits": ("import sys; sys.exit(0)", "raised SystemExit: 0 when imported"),
    "it ends its process": ("import os; os._exit(3)", "exit code 3"),
    "it reads memory that is not there": ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    "it aborts": ("import os; os.abort()", "SIG"),
    "it hangs and hears no signal": (DEAF, "not imported after 5 seconds"),
    "it calls itself for ever": (
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
        "SIG|MemoryError|not imported",
    ),
    "it interrupts": ("raise KeyboardInterrupt", "raised KeyboardInterrupt"),
    "it is no Python": ("softmax = = 3", "line 1: this is not Python"),
    "it has a zero byte": ("softmax = '\0'", "not Python"),
    "it is empty": ("", "defines none"),
    "its only name is nothing": ("softmax = None", "defines none"),
    "it imports the reference": ("from reference import softmax", "No module named 'reference'"),
    "it imports the grader": ("import attest.ledger", "No module named 'attest.ledger'"),
    "it imports the laws": (
        "import properties.softmax",
        "No module named 'properties",
    ),
    "its exception cannot be printed": (
        "class E(Exception):\n    def __str__(self): raise self\n    __repr__ = __str__\nraise E",
        "raised E when imported",
    ),
    "its exception ends the process that prints it": (
        "import os\nclass E(Exception):\n    def __str__(self): os._exit(7)\nraise E",
        "exit code 7",
    ),
    "Python itself was tampered with": (
        "import builtins\nbuiltins.isinstance = builtins.len = builtins.type = None",
        "exit code|raised",
    ),
    "its modules lie about what they have": (
        "import sys\nclass M(type(sys)):\n    def __dir__(self): raise SystemExit\n"
        "sys.modules[__name__].__class__ = M",
        "SystemExit",
    ),
}


@pytest.mark.parametrize("name", NOT_LOADED)
def test_what_cannot_be_loaded_is_told_in_one_line(tmp_path, name, patient):
    text, said = NOT_LOADED[name]
    path = tmp_path / "submission.py"
    path.write_text(text)
    with pytest.raises(SubmissionError, match=said) as raised:
        patient.load(str(path))
    assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def patient() -> Iterator[Holder]:
    with Holder(HURRIED, 1) as holder:
        yield holder


IN_A_CALL = {
    "exit": ("raise SystemExit", "crashed", "SystemExit"),
    "os._exit": ("import os; os._exit(0)", "crashed", "exit code 0"),
    "a segmentation fault": ("import ctypes; ctypes.string_at(0)", "crashed", "SIGSEGV"),
    "an endless loop": (DEAF, "timeout", "one call was not finished after 4 seconds"),
    "sleep": ("import time; time.sleep(1000)", "timeout", "one call"),
    "a gigabyte at a time": (
        "kept = [bytearray(1 << 30) for _ in range(8)]",
        "",
        "MemoryError|one call",
    ),
    "a large tensor": ("torch.zeros(8 << 30, dtype=torch.uint8)", "crashed", "RuntimeError"),
    "a large answer": ("return torch.zeros(1 << 29, dtype=torch.uint8)", "crashed", "too large"),
    "a large file": (
        "open('/tmp/large', 'wb').write(b'0' * (80 << 20))",
        "crashed",
        "SIGXFSZ|OSError",
    ),
    "many files": ("kept = [open('/dev/null') for _ in range(500)]", "crashed", "OSError"),
    "an exception that cannot be printed": (
        "class E(Exception):\n    def __str__(self): raise self\nraise E",
        "crashed",
        "E",
    ),
    "an exception that hides where it was raised": (
        "class E(Exception):\n    __traceback__ = property(lambda self: 1 / 0)\nraise E('found')",
        "crashed",
        "E: found (line ",
    ),
    "an exception that runs code when it is unpickled": (
        "class E(Exception):\n    def __reduce__(self): return print, ('taken over',)\nraise E",
        "crashed",
        "E",
    ),
    "an interrupt": ("raise KeyboardInterrupt", "crashed", "KeyboardInterrupt"),
    "a time limit of its own": (
        "class TimeLimit(BaseException): pass\nraise TimeLimit",
        "crashed",
        "TimeLimit",
    ),
}


@pytest.mark.parametrize("name", IN_A_CALL)
def test_what_goes_wrong_in_a_call_costs_the_property(examined, name):
    body, status, said = IN_A_CALL[name]
    found = examined(softmax(body), SUM)
    assert found[0].status == (status or found[0].status) != "holds"
    assert said in found[0].message or any(one in found[0].message for one in said.split("|"))


def test_many_processes_are_refused_and_gone_afterwards(examined):
    mark = f"fork{time.time_ns()}"
    found = examined(
        softmax(
            f"""
            import os, time, sys
            for _ in range(100):
                if os.fork() == 0:
                    try:
                        os.execv("/bin/sleep", ["{mark}", "60"])
                    finally:
                        os._exit(0)
            """
        ),
        SUM,
    )
    assert found[0].status == "crashed"
    assert "BlockingIOError" in found[0].message
    assert not _processes(mark)


def detaching(mark: str) -> str:
    """Write a softmax that starts a program out of its reach, and fails if it does not start."""
    return softmax(
        f"""
        import os
        if not started:
            started.append(1)
            closed, kept = os.pipe()  # which the program that is started has not
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    try:
                        os.execv("/bin/sleep", ["{mark}", "60"])
                    finally:
                        os.write(kept, b"not started")
                os._exit(0)
            os.close(kept)
            assert os.read(closed, 1) == b""
        """,
        "started = []",
    )


def test_whoever_detaches_is_ended_too(examined):
    mark = f"detached{time.time_ns()}"
    assert statuses(examined(detaching(mark), SUM)) == ["holds"]
    assert not _processes(mark)


def test_two_properties_at_once_share_no_network(examined):
    text = """
        import socket, time
        mine = socket.socket(socket.AF_UNIX)
        mine.bind("\\0mine")  # a name that a network has once
        time.sleep(2)  # so that both are there
    """
    found = examined(textwrap.dedent(text) + RIGHT)
    assert statuses(found) == ["holds", "holds"], found[1].message


def test_a_property_ends_with_the_worker_that_holds_it(workers, laws, tmp_path):
    mark = f"sleeping{time.time_ns()}"
    path = tmp_path / "mine.py"
    path.write_text(
        softmax(
            "subprocess.Popen(['MARK', '60'], executable='/bin/sleep')\nwhile True: pass".replace(
                "MARK", mark
            ),
            "import subprocess",
        )
    )
    held, found = workers.load(str(path)), list[Evidence]()
    rest = SETTINGS, load_reference(), 1, lambda _: None, workers.workers
    thread = threading.Thread(target=lambda: found.extend(examine_all([laws[SUM]], held, *rest)))
    thread.start()
    try:
        assert _in_time(lambda: bool(_processes(mark)))
        (sleeping,) = _processes(mark)
        os.kill(_parent(_parent(sleeping)), 9)
        assert _in_time(lambda: not Path(f"/proc/{sleeping}").exists())
    finally:
        thread.join()
    assert statuses(found) == ["timeout"]  # of the worker in its place
    assert not _processes(mark)


def _in_time(done: Callable[[], bool], seconds: float = 3.0) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def test_workers_that_are_lost_together_are_replaced(laws, tmp_path):
    if not IN_A_SANDBOX:
        pytest.skip(f"no sandbox: {isolation().problem}")
    path = tmp_path / "mine.py"
    path.write_text(RIGHT)
    with Holder(SETTINGS, 2, patience=4.0) as holder:
        held = holder.load(str(path))
        for _ in range(2):
            holder.workers[0]._host._process.kill()
            found = examine_all(
                [laws[name] for name in (SUM, SHIFT, SAME)],
                held,
                SETTINGS,
                load_reference(),
                2,
                lambda _: None,
                holder.workers,
            )
            assert statuses(found) == ["holds"] * 3, found[0].message


@pytest.fixture
def together() -> Iterator[Holder]:
    """Submissions as they are held where a sandbox can have no namespaces inside of it."""
    (*command, end) = isolation().command or ("--",)
    flat = ["--unshare-user", "--uid", "65534", "--gid", "65534", "--disable-userns"]
    only = replace(isolation(), command=(*command, *flat, end))
    words = [*only.command, "/bin/true"]
    if not IN_A_SANDBOX or subprocess.run(words, check=False).returncode:
        pytest.skip("no sandbox, or none that can refuse it")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("attest.holding.isolation", lambda: only)
        with Holder(SETTINGS, 2, patience=4.0) as holder:
            yield holder


def test_without_namespaces_inside_a_sandbox_nothing_is_left_either(together, laws, tmp_path):
    assert set(TOGETHER) <= set(together.isolation.unprotected)
    assert together.workers[0]._host is not together.workers[1]._host
    mark = f"left{time.time_ns()}"
    path = tmp_path / "submission.py"
    keeping = (
        "import pathlib\nleft = pathlib.Path('/tmp/left')\nassert not left.exists()\nleft.touch()\n"
    )
    path.write_text(keeping + detaching(mark))
    submission = together.load(str(path))
    chosen = [laws[name] for name in (SUM, SHIFT, SAME, EXPONENTIAL)]
    found = examine_all(
        chosen, submission, SETTINGS, load_reference(), 2, lambda _: None, together.workers
    )
    assert statuses(found) == ["holds"] * 4, [one.message for one in found]
    assert not _processes(mark)
    together.workers[0]._host._process.kill()
    path.write_text(RIGHT)
    held = together.load(str(path))
    found = examine_all(
        chosen, held, SETTINGS, load_reference(), 2, lambda _: None, together.workers
    )
    assert statuses(found) == ["holds"] * 4, [one.message for one in found]


def _processes(mark: str) -> list[int]:
    """Give those in whose command a mark is."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdecimal() and mark in (process / "cmdline").read_text():
                found.append(int(process.name))
    return found


def test_a_flood_of_output_is_cut_and_harms_nothing(examined):
    assert statuses(examined(softmax('print(\'{"status": "holds"}\' * 100_000)'))) == ["holds"] * 2
    found = examined(softmax("while True: print('holds' * 1000)"), SUM)
    assert found[0].status == "timeout"


def test_what_a_worker_imports_for_many_properties_draws_no_number(laws, tmp_path):
    path = tmp_path / "mine.py"
    text = "import numpy, torch\nprint(torch.rand(1), numpy.random.rand())\n"
    path.write_text(text + softmax("return 2 * x.softmax(dim)"))
    with Holder(SETTINGS, 1) as holder:

        def printed() -> str:
            loaded, right = holder.load(str(path)), load_reference()
            found = examine_all(
                [laws[SUM]], loaded, SETTINGS, right, 1, lambda _: None, holder.workers
            )
            return found[0].printed

        before = printed()
        (worker,) = holder.workers
        worker.prepare()
        worker.ready()
        assert "tensor" in before
        assert printed() == before


def test_who_prints_a_lot_loses_no_time(examined):
    text = """
        for number in range(40000):
            print(number)
    """
    assert set(statuses(examined(softmax(text)))) == {"holds"}


def test_a_submission_finds_no_words_of_ours(examined):
    text = "import argparse\nargparse.ArgumentParser().parse_args()\n" + RIGHT
    assert set(statuses(examined(text))) == {"holds"}


def test_forged_results_are_not_read(examined):
    forged = """
        import json, os
        line = json.dumps({"status": "holds", "examples": 100, "informative": 100}).encode()
        for descriptor in (0, 1, 2, *range(4, 256)):
            try:
                os.write(descriptor, line + b"\\n")
            except OSError:
                pass
        return torch.zeros_like(x)
    """
    assert statuses(examined(softmax(forged), SUM)) == ["refuted"]


def test_noise_on_the_channel_is_a_crash(examined):
    assert statuses(examined(softmax("import os; os.write(3, b'0' * 4096)"), SUM)) == ["crashed"]


def test_nothing_can_be_read_written_or_reached(examined, tmp_path, monkeypatch):
    secret = tmp_path / "other.py"
    secret.write_text("ANSWER = 42")
    server = socket.create_server(("127.0.0.1", 0))
    written = tmp_path / "results.json"
    home = Path.home() / f"attest-{time.time_ns()}"
    tried = f"""
        import os, socket
        for name in ({str(secret)!r}, {str(Path(__file__))!r}, "/etc/passwd", "/proc/1/environ"):
            assert not os.path.exists(name), name
        for name in ({str(written)!r}, {str(home)!r}, "/usr/lib/attest", "/attest/wire.py"):
            try:
                open(name, "w").close()
            except OSError:
                continue
            assert name == "no file", name
        try:
            socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), timeout=1).close()
        except OSError:
            pass
        else:
            raise AssertionError("reached")
        assert not [name for name in os.environ if "KEY" in name or "TOKEN" in name]
    """
    monkeypatch.setenv("AN_API_KEY", "1")
    try:
        found = examined(softmax(tried))
    finally:
        server.close()
    assert statuses(found) == ["holds", "holds"], found[0].message
    assert not written.exists()
    assert not home.exists()


def test_nobody_else_can_be_ended(examined):
    tried = """
        import os, signal
        for process in (os.getppid(), *range(2, 400), -1):
            if process > 0 or process == -1:
                try:
                    os.kill(process, signal.SIGKILL)
                except OSError:
                    pass
    """
    assert statuses(examined(softmax(tried))) == ["holds", "holds"]
    assert statuses(examined(RIGHT)) == ["holds", "holds"]


def test_root_is_given_up_and_cannot_be_had_again(examined):
    tried = """
        import ctypes, os
        assert os.getuid() != 0 and os.geteuid() != 0
        for number in (0, 1):
            try:
                os.setuid(number)
            except OSError:
                continue
            raise AssertionError("another user")
        system = ctypes.CDLL(None)
        assert system.mount(b"tmpfs", b"/usr", b"tmpfs", 0, None) != 0
        assert system.unshare(0x10000000 | 0x20000) != 0
    """
    found = examined(softmax(tried))
    assert statuses(found) == ["holds", "holds"], found[0].message


def test_what_one_property_leaves_does_not_reach_the_next(examined):
    marked = softmax(
        """
        for folder in places:
            try:
                with open(folder + "/mark", "a") as file:
                    file.write("x")
            except OSError:
                pass
        """,
        """
        import os, sys
        places = ["/tmp", "/dev/shm", os.path.expanduser("~"), "/var/tmp", "/home", "/dev", "/"]
        places += [entry for entry in sys.path if os.path.isdir(entry)]
        places += [os.path.join(entry, "properties") for entry in sys.path]
        if any(os.path.exists(folder + "/mark") for folder in places):
            raise SystemExit("something was left")
        """,
    )
    found = examined(marked, SUM, SHIFT, SAME, EXPONENTIAL)
    assert statuses(found) == ["holds"] * 4, [one.message for one in found]


def test_whoever_behaves_well_for_fifty_calls_loses_after_them(examined):
    text = softmax(
        """
        global calls
        calls += 1
        if calls > 50:
            return torch.zeros_like(x)
        """,
        "calls = 0",
    )
    found = examined(text, SUM, EXPONENTIAL, settings=MANY)
    assert statuses(found) == ["refuted", "refuted"]


def test_a_torch_that_was_tampered_with_convinces_nobody(examined):
    tampered = """
        import builtins
        import hypothesis
        import numpy
        hypothesis.given = hypothesis.settings = hypothesis.target = None
        for name in ("equal", "allclose", "isclose", "isfinite", "all", "le", "lt", "eq"):
            setattr(torch, name, lambda *args, **kwargs: True)
        for name in ("__eq__", "__le__", "__lt__", "__ge__", "__gt__", "equal", "all", "abs"):
            setattr(torch.Tensor, name, lambda *args, **kwargs: True)
        numpy.allclose = numpy.array_equal = lambda *args, **kwargs: True
        builtins.abs = builtins.max = lambda *args, **kwargs: 0
    """
    wrong = (
        f"import torch\n{textwrap.dedent(tampered)}\ndef softmax(x, dim=-1):\n    return x * 0\n"
    )
    found = examined(wrong)
    assert all(one.status in {"refuted", "crashed"} for one in found)
    assert statuses(examined(RIGHT)) == ["holds", "holds"]


def test_a_tensor_that_lies_is_seen_through(examined):
    lying = """
        class Lying(torch.Tensor):
            @classmethod
            def __torch_function__(cls, function, types, args=(), kwargs=None):
                if function.__name__ in ("sum", "allclose", "equal"):
                    return torch.ones(())
                return super().__torch_function__(function, types, args, kwargs or {})

            @property
            def shape(self):
                return torch.Size([1])
    """
    text = softmax("return torch.zeros_like(x).as_subclass(Lying)", lying)
    assert statuses(examined(text, SUM)) == ["refuted"]


def test_what_is_poisoned_stays_where_it_is(examined):
    poisoned = """
        import random, numpy, warnings, sys, os
        torch.set_default_dtype(torch.float16)
        torch.set_grad_enabled(False)
        torch.manual_seed(7)
        random.seed(7)
        numpy.random.seed(7)
        sys.setrecursionlimit(60)
        os.chdir("/")
        os.environ.clear()
        sys.stdout = sys.stderr = None
    """
    before = [(one.status, one.examples, one.ratio) for one in examined(RIGHT)]
    examined(softmax(poisoned))
    assert [(one.status, one.examples, one.ratio) for one in examined(RIGHT)] == before


def test_names_that_are_not_what_they_should_be_cost_their_own_points(examined):
    found = examined(
        "softmax = 3\nclass LayerNorm:\n    def __init__(self, d): pass\nFeedForward = torch = 'x'",
        SUM,
        "LayerNorm.the_same_call_gives_the_same_result",
        "FeedForward.the_same_call_gives_the_same_result",
        "Encoder.the_same_call_gives_the_same_result",
    )
    assert statuses(found) == ["crashed", "crashed", "crashed", "not_attempted"]
    assert "not callable" in found[0].message
    assert "not a torch.nn.Module" in found[1].message


@pytest.mark.parametrize(
    "answer",
    ["[[]] * 3", "{1: x}", "x.tolist()", "x.to_sparse()", "x.to('meta')", "object()", "..."],
)
def test_answers_that_are_no_tensors_are_refused(examined, answer):
    before = "deep = []\nfor _ in range(10_000): deep = [deep]"
    assert statuses(examined(softmax(f"return {answer}", before), SUM)) == ["refuted"]


def test_a_thread_that_stays_keeps_nobody_waiting(examined):
    text = softmax(
        "", "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()"
    )
    start = time.monotonic()
    assert statuses(examined(text.replace("    \n", ""))) == ["holds", "holds"]
    assert time.monotonic() - start < 60


@pytest.fixture(scope="module")
def limited() -> Iterator[Holder]:
    """Submissions as they are held where there is no sandbox."""
    with pytest.MonkeyPatch.context() as patched:
        none = Isolation(WORKER, FILES, problem="a test")
        patched.setattr("attest.holding.isolation", lambda: none)
        with Holder(SETTINGS, 2, patience=4.0) as holder:
            yield holder


LIMITED = ["exit", "os._exit", "a segmentation fault", "an endless loop", "a large tensor"]
LIMITED += ["a gigabyte at a time", "a large file", "many files"]


@pytest.mark.parametrize("name", LIMITED)
def test_without_a_sandbox_limits_hold(limited, laws, tmp_path, name):
    body, status, said = IN_A_CALL[name]
    (tmp_path / "submission.py").write_text(softmax(body))
    submission = limited.load(str(tmp_path / "submission.py"))
    found = examine_all(
        [laws[SUM]], submission, SETTINGS, load_reference(), 1, lambda _: None, limited.workers
    )
    assert found[0].status == (status or found[0].status) != "holds"
    assert any(one in found[0].message for one in said.split("|"))


@pytest.mark.parametrize("name", ["reference", "properties.softmax", "attest.ledger"])
def test_without_a_sandbox_nothing_of_ours_can_be_imported(limited, tmp_path, name):
    (tmp_path / "submission.py").write_text(f"import {name}\n{softmax('pass')}")
    with pytest.raises(SubmissionError, match=r"No module named '(reference|properties|attest)"):
        limited.load(str(tmp_path / "submission.py"))


def test_without_a_sandbox_nothing_is_left_running(limited, laws, tmp_path):
    mark = f"left{time.time_ns()}"
    path = tmp_path / "submission.py"
    path.write_text(detaching(mark))
    submission = limited.load(str(path))
    found = examine_all(
        [laws[SUM]], submission, SETTINGS, load_reference(), 1, lambda _: None, limited.workers
    )
    assert statuses(found) == ["holds"]
    assert not _processes(mark)
    assert not any(mark in text for text in _kept_by_workers())


def _kept_by_workers() -> Iterator[str]:
    """Give the submissions that are in folders of workers, of which other tests may have some."""
    for path in Path(tempfile.gettempdir()).glob("attest-*/submission/*.py"):
        with contextlib.suppress(OSError):
            yield path.read_text()


def test_a_sandbox_can_be_asked_for(monkeypatch):
    none = Isolation(WORKER, FILES, problem="bubblewrap is not installed")
    monkeypatch.setattr("attest.holding.isolation", lambda: none)
    with pytest.raises(LedgerError, match="--require-sandbox: bubblewrap is not installed"):
        Holder(SETTINGS, 1, required=True)
    with pytest.raises(LedgerError, match="--require-sandbox: --trusted"):
        Holder(SETTINGS, 1, required=True, trusted=True)
    with pytest.raises(LedgerError, match="--require-sandbox: a worker has no cuda"):
        Holder(replace(SETTINGS, device="cuda"), 1, required=True)


KEYS = """
import contextlib
import ctypes
system = ctypes.CDLL(None)
for ring in (-3, -4, -5):
    assert system.syscall(250, 10, ring, b"user", b"attest-secret", 0) < 0, ring
    assert system.syscall(248, b"user", b"attest-mark", b"1", 1, ring) < 0, ring
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="calls by their numbers there")
def test_keys_of_the_system_are_out_of_reach(examined):
    system = ctypes.CDLL(None)
    key = system.syscall(248, b"user", b"attest-secret", b"42", 2, -3)
    if key < 0:
        pytest.skip("this system lets nobody add a key")
    assert statuses(examined(softmax(KEYS))) == ["holds", "holds"]
    system.syscall(250, 21, key)


FORGED = {
    "no number": {"changed": {}, "names": []},
    "a number that is none": {"number": "one"},
    "names that are none": {"number": 1, "changed": {}, "names": [3]},
    "names with escapes": {"number": 1, "changed": {}, "names": ["\x1b[31m"]},
    "parameters that are none": {"number": 1, "changed": {"a": 3}, "names": ["a"]},
    "parameters that are not there": {"number": 1, "changed": {}, "names": ["a"]},
    "an exception that is none": {"raised": 3},
    "an exception without a name": {"raised": {"names": [], "text": ""}},
    "nothing": {},
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_answers_cost_the_property(examined, name):
    text = f"""
        import gc, sys
        import torch

        class LayerNorm(torch.nn.Module):
            def __init__(self, d_model):
                super().__init__()
                for served in gc.get_objects():
                    if type(served).__name__ == "Channel":
                        served.send({FORGED[name]!r})
    """
    law = "LayerNorm.the_same_call_gives_the_same_result"
    assert statuses(examined(textwrap.dedent(text), law)) == ["crashed"]


@pytest.mark.parametrize(
    "forged",
    [
        "{}",
        "{'defines': 3}",
        "{'failed': {'names': []}}",
        "{'raised': {'names': ['E'], 'text': ''}}",
        "{'failed': {'names': ['E'], 'text': '', 'line': '\\x1b[2J'}}",
    ],
)
def test_a_forged_loading_is_told(tmp_path, patient, forged):
    path = tmp_path / "submission.py"
    path.write_text(
        "import gc\nfor one in gc.get_objects():\n"
        f"    if type(one).__name__ == 'Channel': one.send({forged})\n"
    )
    with pytest.raises(SubmissionError) as refused:
        patient.load(str(path))
    assert str(refused.value).isprintable()


def test_a_name_that_is_no_text_is_left_out(examined):
    text = """
        import sys
        class Name(str):
            def isidentifier(self): raise ValueError("boo")
        class Module(type(sys)):
            def __dir__(self): return [Name("softmax"), "softmax"]
        sys.modules[__name__].__class__ = Module
    """
    assert statuses(examined(RIGHT + textwrap.dedent(text))) == ["holds", "holds"]


def test_parameters_whose_names_change_are_no_way_out(examined):
    text = """
        import torch
        made = 0
        class LayerNorm(torch.nn.Module):
            def __init__(self, d_model):
                global made
                super().__init__()
                made += 1
                self.name = f"w{made}"
                setattr(self, self.name, torch.nn.Parameter(torch.ones(d_model)))
            def forward(self, x):
                return torch.nn.functional.layer_norm(x, x.shape[-1:]) * getattr(self, self.name)
    """
    law = "LayerNorm.every_precision_computes_the_same_function"
    assert statuses(examined(textwrap.dedent(text), law)) == ["crashed"]


STOPPING = """
import os
if os.getppid() > 1:
    os.kill(os.getppid(), {signal})
"""


@pytest.mark.parametrize("signal", [9, 19])
def test_without_a_sandbox_a_worker_that_is_ended_is_replaced(laws, tmp_path, monkeypatch, signal):
    monkeypatch.setattr("attest.sandbox.END", 2.0)
    monkeypatch.setattr(
        "attest.holding.isolation", lambda: Isolation(WORKER, FILES, problem="a test")
    )
    hostile, honest = tmp_path / "hostile.py", tmp_path / "honest.py"
    hostile.write_text(softmax(STOPPING.format(signal=signal)))
    honest.write_text(RIGHT)
    with Holder(HURRIED, 1, patience=4.0) as holder:
        for path, wanted in ((hostile, "crashed"), (honest, "holds"), (honest, "holds")):
            found = examine_all(
                [laws[SUM]],
                holder.load(str(path)),
                HURRIED,
                load_reference(),
                1,
                lambda _: None,
                holder.workers,
            )
            assert statuses(found) == [wanted], found[0].message
        hostile.write_text(STOPPING.format(signal=signal) + RIGHT)
        with pytest.raises(SubmissionError, match="ended"):
            holder.load(str(hostile))
        assert holder.load(str(honest)).defines("softmax")


def test_time_for_all_is_shared(examined):
    settings = replace(SETTINGS, total=1e-9)
    found = examined(RIGHT, SUM, SHIFT, SAME, EXPONENTIAL, settings=settings)
    assert "timeout" in statuses(found)
    late = [one for one in found if one.status == "timeout"]
    assert all("seconds for all properties were over" in one.message for one in late)


def test_of_what_is_printed_the_beginning_is_kept(examined):
    text = softmax('print("here I am \\x1b[31m" + "x" * 5000)\nreturn 2 * x.softmax(dim)')
    (found,) = examined(text, SUM)
    assert found.status == "refuted"
    assert found.printed.startswith("here I am \\x1b[31mxxx")
    assert found.printed.endswith("x …")
    assert len(found.printed) < 1100
    (found,) = examined(softmax('print("here I am")'), SUM)
    assert (found.status, found.printed) == ("holds", "")


@pytest.mark.skipif(not IN_A_SANDBOX, reason="no sandbox")
def test_a_library_below_what_every_property_finds_empty_is_there(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        usual, library = sandbox._libraries(), Path(folder, "library")
        library.mkdir()
        (library / "special.py").write_text("from torch import softmax\n")
        monkeypatch.setattr(sandbox, "_libraries", lambda: [*usual, library])
        monkeypatch.setattr("attest.holding.isolation", isolation)
        isolation.cache_clear()
        try:
            submission = Path(folder, "mine.py")
            submission.write_text(
                "import torch\n"
                "def softmax(x, dim=-1):\n"
                "    import special\n"  # late, when /tmp is another one
                "    return special.softmax(x, dim)\n"
            )
            law = next(law for law in load_ledger().laws if law.id == SUM)
            with Holder(SETTINGS, 1) as holder:
                held = holder.load(str(submission), alone=True)
                (found,) = examine_all(
                    [law], held, SETTINGS, load_reference(), 1, lambda _: None, holder.workers
                )
            assert (found.status, found.message) == ("holds", None)
        finally:
            isolation.cache_clear()
