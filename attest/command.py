"""The command line: ``attest verify``, ``grade``, ``report``, ``measure`` and ``list``."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

import attest
from attest.limits import strangers_run

__all__ = ["main", "run"]

WELL, FAILED, UNUSABLE = 0, 1, 2
# As a shell reports what a signal has ended: by Ctrl-C, by a reader that went away, by a request.
INTERRUPTED, UNREAD, TERMINATED = 130, 141, 143

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

LONGEST = 1e6  # seconds; no system waits much longer at once

EXAMPLES, QUICK = 100, 10

REPORTS, DATA = Path("reports"), "claims.json"

# What an interrupted measurement has finished, in the folder of results.
PARTIAL = ".partial.jsonl"

# What `attest grade` writes beside --json, and in which languages it speaks to students.
WRITTEN = {
    "feedback": "the student's report, as Markdown",
    "gradescope": "Gradescope's results.json",
    "junit": "JUnit's XML",
    "csv": "a table of all properties",
    "markdown": "a summary for GitHub Actions",
}
LANGUAGES = ("en", "ko")

DTYPES = ("float64", "float32", "bfloat16", "float16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: the words after ``attest``; by default those of this process.

    Returns:
        0 when all is well, 1 when something came out otherwise than it should, 2 when the request
        cannot be carried out, 130 when it was interrupted, 141 when nobody reads the report.
    """
    options = _parser().parse_args(arguments)
    options.start = time.perf_counter()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a mark that the encoding lacks stops no report
            stream.reconfigure(errors="replace")
    console, errors = _Console(), _Console(stderr=True)
    try:
        with _only_words() if options.run is _grade else contextlib.nullcontext():
            return int(options.run(options, console, errors))
    except KeyboardInterrupt:
        _say(errors, "interrupted; nothing was written")
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return UNREAD
    except OSError as error:
        if error.errno not in FULL:
            raise
        _say(errors, f"the report cannot be written: {error.strerror}")
        _discard_output()
        return UNUSABLE


@contextlib.contextmanager
def _only_words() -> Iterator[None]:
    """Keep GitHub Actions from taking what a submission says for commands of a workflow."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        yield
        return
    word = secrets.token_hex(16)
    print(f"::stop-commands::{word}", flush=True)  # noqa: T201 - as it is, and not wrapped
    try:
        yield
    finally:
        print(f"::{word}::", flush=True)  # noqa: T201


def _discard_output() -> None:
    """Send what is still to be written nowhere, or Python would fail on it once more at its end."""
    with contextlib.suppress(OSError, ValueError):  # a stream that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Console(Console):
    """A console whose reader may go away, of which rich would make a failure."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def run() -> int:
    """Run the command as a process of its own, which ends when it is done.

    A thread that a submission has started, and that is still there, would keep it alive.
    """
    signal.signal(signal.SIGTERM, _terminated)
    code = main()
    if strangers_run():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _terminated(signum: int, frame: object) -> None:  # noqa: ARG001 - a handler's signature
    """End as after an exception, so that no worker is left behind."""
    raise SystemExit(TERMINATED)


def _say(errors: Console, text: str) -> None:
    errors.print(f"attest: {text}", markup=False, highlight=False, soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="attest", description=attest.__doc__)
    parser.add_argument("--version", action="version", version=f"attest {attest.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    verify = commands.add_parser(
        "verify", help="verify the claims of the notes on the reference implementation"
    )
    verify.set_defaults(run=_verify)
    _examining(verify)
    _saying(verify)
    _json(verify)

    grade = commands.add_parser("grade", help="grade implementations by the same properties")
    grade.add_argument(
        "submission",
        metavar="FILE_OR_MODULE_OR_FOLDER",
        help="a .py file, an importable module, or a folder with a class's submissions",
    )
    grade.add_argument(
        "--rubric", metavar="FILE", type=Path, help="a TOML file that says what laws are worth"
    )
    grade.add_argument(
        "--language",
        choices=LANGUAGES,
        default=LANGUAGES[0],
        help="of what students read (default: %(default)s)",
    )
    grade.add_argument("--name", default="", help="what reports call it (default: as given)")
    grade.add_argument(
        "--out", metavar="FOLDER", type=Path, help="where the results of a class are written"
    )
    grade.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="grade a class on the workers of this Dask scheduler (pip install 'attest[cluster]')",
    )
    grade.set_defaults(run=_grade)
    grade.add_argument(
        "--trusted",
        action="store_true",
        help="run the submission with the grader's own rights, not in a worker and a sandbox",
    )
    grade.add_argument(
        "--require-sandbox",
        action="store_true",
        help="refuse to grade where there is no sandbox",
    )
    _examining(grade)
    grade.add_argument(
        "--call-seconds",
        default=10.0,
        type=_seconds,
        metavar="S",
        help="time limit for one call of the submission (default: %(default)g)",
    )
    grade.add_argument(
        "--total-seconds",
        default=3600.0,
        type=_seconds,
        metavar="S",
        help="time limit for all of its properties, in seconds of all processes together "
        "(default: %(default)g)",
    )
    _json(grade)
    for name, what in WRITTEN.items():
        grade.add_argument(f"--{name}", metavar="FILE", type=Path, help=f"write {what}")

    report = commands.add_parser(
        "report", help="verify the claims, and write the ledger with all evidence to files"
    )
    report.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        help=f"write into FOLDER/claims (default: {REPORTS})",
    )
    report.set_defaults(run=_report)
    _examining(report)

    measure = commands.add_parser(
        "measure", help="run the experiments that claims about training are decided by"
    )
    measure.set_defaults(run=_measure)
    _selecting(measure)
    measure.add_argument("--device", default="cpu", help="where models are trained: cpu, cuda, …")
    measure.add_argument(
        "--seeds",
        type=_positive,
        metavar="N",
        help="how many seeds (default: the twelve that decide)",
    )
    measure.add_argument(
        "--jobs", type=_positive, metavar="N", help="processes at once (default: one a core)"
    )
    measure.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        help="write into FOLDER (default: where `attest verify` reads)",
    )

    listing = commands.add_parser("list", help="list the claims and the properties")
    listing.set_defaults(run=_list)
    _selecting(listing)
    return parser


def _selecting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        help="a claim, a property or a component; may be given several times",
    )
    parser.add_argument(
        "--properties",
        metavar="FOLDER",
        action="append",
        default=[],
        type=Path,
        help="a folder with further claims and properties; may be given several times",
    )


def _examining(parser: argparse.ArgumentParser) -> None:
    _selecting(parser)
    parser.add_argument("--device", default="cpu", help="where components run: cpu, cuda, …")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="default: float64, and one example in five in float32",
    )
    parser.add_argument(
        "--examples",
        type=_positive,
        metavar="N",
        help=f"examples a property (default: {EXAMPLES})",
    )
    parser.add_argument("--seed", default=0, type=int, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--jobs", type=_positive, metavar="N", help="processes at once (default: one a core)"
    )
    parser.add_argument(
        "--seconds",
        default=60.0,
        type=_seconds,
        metavar="S",
        help="time limit for one property (default: %(default)g)",
    )


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the result as data, too")


def _saying(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK} examples a property, and more only where a change that should be seen "
        "has not been yet",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="say of every claim why, not of those named"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= LONGEST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds above 0, at most {LONGEST:g}"
        )
    return number


class _Session:
    """One run: what is examined and how, with everything slow imported only now."""

    def __init__(self, options: argparse.Namespace, console: Console, errors: Console) -> None:
        import torch

        from attest.examination import MIXED, Settings
        from attest.ledger import LedgerError, load_ledger, load_reference
        from attest.measurements import measured, own_folder
        from attest.running import usable_device

        torch.set_num_threads(1)  # small tensors: a second thread costs more than it brings
        self.options = options
        self.console = console
        self.errors = errors
        self.reference = load_reference()
        whole = load_ledger(options.properties)
        self.ledger = whole.only(options.only)
        measurements = measured(whole.experiments, own_folder())
        kept = {experiment.id for experiment in self.ledger.experiments}
        self.measured = [evidence for evidence in measurements if evidence.prop.id in kept]
        quick = getattr(options, "quick", False)
        if quick and options.examples is not None:
            raise LedgerError(
                f"--quick means --examples {QUICK}; give one of the two, --quick or --examples"
            )
        self.settings = Settings(
            examples=options.examples or (QUICK if quick else EXAMPLES),
            seed=options.seed,
            dtype=options.dtype or MIXED,
            device=options.device,
            seconds=options.seconds,
            quick=quick,
            total=getattr(options, "total_seconds", float("inf")),
        )
        usable_device(options.device)
        for name in ("json", *WRITTEN):
            path = getattr(options, name, None)
            if path is not None:
                _writable(f"--{name}", path)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - float(self.options.start)

    @property
    def jobs(self) -> int:
        from attest.running import default_jobs

        return int(self.options.jobs or default_jobs(self.options.device))

    def examine(
        self,
        properties: Sequence[Any],
        implementation: Any,  # noqa: ANN401
        what: str,
        settings: Any = None,  # noqa: ANN401
        workers: list[Any] | None = None,
    ) -> list[Any]:
        from attest.running import examine_all
        from attest.terminal import progress

        with progress(self.errors) as bar:
            task = bar.add_task(what, total=len(properties))
            return examine_all(
                properties,
                implementation,
                settings or self.settings,
                self.reference,
                self.jobs,
                lambda _: bar.advance(task),
                workers,
            )

    def write(self, data: dict[str, Any]) -> bool:
        """Write the data where they are asked for, before a report that may be cut short."""
        if self.options.json is None:
            return True
        text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
        return self.put("--json", self.options.json, text)

    def put(self, option: str, path: Path, text: str) -> bool:
        """Write a file that an option asks for; say so where it cannot be written."""
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            _say(self.errors, f"{option} {path}: {error.strerror}")
            return False
        return True


def _writable(option: str, path: Path) -> None:
    from attest.ledger import LedgerError

    folder = path.parent
    if path.is_dir() or not folder.is_dir():
        raise LedgerError(f"{option} {path}: this is a folder, or in a folder that does not exist")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise LedgerError(f"{option} {path}: this cannot be written")


def _session(options: argparse.Namespace, console: Console, errors: Console) -> _Session | None:
    from attest.ledger import LedgerError

    try:
        return _Session(options, console, errors)
    except LedgerError as error:
        _say(errors, str(error))
        return None


def _verify(options: argparse.Namespace, console: Console, errors: Console) -> int:
    session = _session(options, console, errors)
    if session is None:
        return UNUSABLE
    from attest.terminal import show, verification_report
    from attest.verification import verify

    evidence = session.examine(session.ledger.properties, session.reference, "verifying")
    evidence += session.measured
    result = verify(session.ledger, evidence, session.settings)
    written = session.write(result.as_data(session.seconds))
    wanted = set(session.ledger.claims) if options.verbose else set(options.only)
    show(console, verification_report(result, session.seconds, explained=wanted))
    return UNUSABLE if not written else WELL if result.well else FAILED


def _report(options: argparse.Namespace, console: Console, errors: Console) -> int:
    if options.only and options.out is None:
        _say(errors, f"--only writes a part of the ledger: say where with --out, not to {REPORTS}")
        return UNUSABLE
    session = _session(options, console, errors)
    if session is None:
        return UNUSABLE
    from attest.markdown import HEADER, UNASKED, pages
    from attest.publishing import PublishingError, check, publish
    from attest.report import MARK, as_json, report
    from attest.verification import verify

    folder, marks = (options.out or REPORTS) / "claims", (HEADER, MARK)

    def files(evidence: Sequence[Any]) -> tuple[bool, dict[str, str]]:
        result = verify(session.ledger, [*evidence, *session.measured], session.settings)
        data = report(result)
        return result.well, {DATA: as_json(data), **pages(data)}

    try:
        check(folder, {UNASKED, *files(())[1]}, marks)
        evidence = session.examine(session.ledger.properties, session.reference, "verifying")
        well, written = files(evidence)
        changed, removed = publish(folder, written, marks)
    except PublishingError as error:
        _say(errors, str(error))
        return UNUSABLE
    gone = f", {removed} removed" if removed else ""
    console.print(
        f"{len(written)} files in {folder}, {changed} of them new or changed{gone}, "
        f"in {session.seconds:.1f} s.",
        markup=False,
        highlight=False,
    )
    if not well:
        console.print(
            "Not everything came out as the ledger says: `attest verify` shows what.",
            markup=False,
            highlight=False,
        )
    return WELL if well else FAILED


def _grade(options: argparse.Namespace, console: Console, errors: Console) -> int:
    from attest.rubric import Rubric, RubricError, read_rubric

    if options.scheduler is not None and options.out is None:
        _say(errors, "--scheduler is for a class: say with --out where its results go")
        return UNUSABLE
    try:
        rubric, text = Rubric(), None
        if options.rubric is not None:
            rubric, text = read_rubric(options.rubric)
    except RubricError as error:
        _say(errors, str(error))
        return UNUSABLE
    session = _session(options, console, errors)
    if session is None:
        return UNUSABLE
    from attest.holding import Holder
    from attest.ledger import LedgerError
    from attest.limits import WorkerError
    from attest.running import require_sound_laws

    laws = session.ledger.laws
    try:
        if not any(rubric.grades(law) for law in laws):
            raise LedgerError(  # noqa: TRY301 - said like the others
                "no law is left by --only and the rubric, and grades are given by laws"
            )
        if rubric.worthless(laws):
            raise LedgerError(  # noqa: TRY301 - said like the others
                "by this rubric no law is worth a point, but for a bonus"
            )
        if not options.only:  # which may leave out what the rubric speaks of
            rubric.require_known(laws)
        holder = partial(
            Holder,
            session.settings,
            trusted=options.trusted,
            required=options.require_sandbox,
            patience=options.call_seconds,
        )
        require_sound_laws(laws, session.reference, session.settings, session.jobs)
        if options.out is not None:
            return _class(session, holder, rubric, text)
        with holder(session.jobs) as held:
            return _alone(session, held, rubric)
    except (LedgerError, RubricError, WorkerError) as error:
        _say(errors, str(error))
        return UNUSABLE


def _alone(session: _Session, holder: Any, rubric: Any) -> int:  # noqa: ANN401
    """Grade one submission, and say how it went."""
    from attest.formats import FORMATS
    from attest.marking import Marker
    from attest.report import as_json
    from attest.terminal import grade_report, show

    options = session.options

    def examine(laws: Any, implementation: Any, settings: Any, what: str) -> list[Any]:  # noqa: ANN401
        return session.examine(laws, implementation, what, settings, holder.workers)

    marker = Marker(holder, session.ledger.laws, session.settings, rubric, examine)
    result = marker.mark(options.submission, name=options.name)
    seconds = session.seconds
    written = session.write(result.as_data(seconds))
    for name, made in FORMATS.items():
        path = getattr(options, name)
        if path is not None:
            text = made(result, seconds, options.language)
            text = text if isinstance(text, str) else as_json(text)
            written = session.put(f"--{name}", path, text) and written
    if result.problem is not None:
        _say(session.errors, result.problem)
        return UNUSABLE
    show(session.console, grade_report(result, seconds, options.language))
    return UNUSABLE if not written else WELL if result.well else FAILED


def _class_folder(options: argparse.Namespace) -> Path:
    """Give the folder of a class, if its results have a place apart from it.

    Raises:
        LedgerError: there is no such folder, or they have not.
    """
    from attest.ledger import LedgerError

    folder = Path(options.submission)
    alone = [f"--{name}" for name in ("json", *WRITTEN, "name") if getattr(options, name)]
    if not folder.is_dir():
        raise LedgerError(f"--out is for the results of a class, and {folder} is no folder")
    if alone:
        raise LedgerError(f"{', '.join(alone)}: for one submission, and --out is for a class")
    place = options.out.resolve()
    if place.exists() and not place.is_dir():
        raise LedgerError(f"--out {options.out} is a file; choose a folder for the results")
    if folder.resolve() in {place, *place.parents, (place / "submissions")}:
        raise LedgerError(f"--out {options.out}: choose a folder apart from the submissions")
    return folder


def _class(session: _Session, holder: Any, rubric: Any, text: bytes | None) -> int:  # noqa: ANN401
    """Grade all submissions of a folder, and say where the results are."""
    from attest.apart import Command
    from attest.classroom import Class, entries, grade_class
    from attest.ledger import LedgerError
    from attest.sweeping import ENDED, BrokenProcessPool, BusyError
    from attest.terminal import class_table, show

    options = session.options
    folder = _class_folder(options)
    command = Command.of(options, text)
    how = Class(
        session.ledger.laws,
        session.settings,
        rubric,
        session.reference,
        options.language,
        holder,
        command,
        tuple(options.properties),
    )
    try:
        found, others = entries(folder)
    except OSError as error:
        raise LedgerError(f"{folder} cannot be read: {error.strerror}") from None
    for name in others:
        _say(session.errors, f"{folder / name} is not graded: it is no .py file and no folder")
    elsewhere = None
    if options.scheduler is not None:
        from attest.cluster import graded_on

        elsewhere = graded_on(options.scheduler, command)
    try:
        graded = grade_class(found, how, options.out, jobs=session.jobs, elsewhere=elsewhere)
    except KeyboardInterrupt:
        _say(session.errors, "interrupted; the same command goes on from here")
        return INTERRUPTED
    except BusyError as error:
        raise LedgerError(str(error)) from None
    except BrokenProcessPool:
        raise LedgerError(ENDED) from None
    except OSError as error:
        raise LedgerError(f"--out {options.out}: {error.strerror}") from None
    show(session.console, class_table(graded, options.out, session.seconds))
    ours = [data["submission"] for data in graded if not data["fingerprint"]]
    if ours:
        names = ", ".join(ours)
        _say(session.errors, f"not graded, by a fault of ours or of this machine's: {names}")
    return FAILED if ours else WELL  # all others are graded, however well


def _measure(options: argparse.Namespace, console: Console, errors: Console) -> int:
    import torch

    from attest.ledger import LedgerError, load_ledger
    from attest.measurement_page import page
    from attest.measurements import SEEDS, evidence_of, own_folder, read
    from attest.running import usable_device
    from attest.sweeping import ENDED, BrokenProcessPool, BusyError, apart

    try:
        from attest.measuring import ArmError, measure
    except ImportError:
        _say(errors, "measuring needs scipy and matplotlib: pip install 'attest[measure]'")
        return UNUSABLE
    torch.set_num_threads(1)
    folder = options.out or own_folder()
    try:
        whole = load_ledger(options.properties)
        claims = {experiment.claim.id for experiment in whole.only(options.only).experiments}
        experiments = [e for e in whole.experiments if e.claim.id in claims]  # a file is a claim
        usable = partial(usable_device, options.device)
        if options.device.startswith("cuda"):  # whoever has used CUDA cannot fork
            apart(usable)
        else:
            usable()
        if not experiments:
            known = ", ".join(sorted({e.claim.id for e in whole.experiments}))
            raise LedgerError(  # noqa: TRY301 - said like the others
                f"--only selects no experiment; there are some of {known}"
            )
        if options.out is None and (options.seeds or SEEDS) < SEEDS:
            raise LedgerError(  # noqa: TRY301 - said like the others
                f"--seeds {options.seeds}: fewer than {SEEDS} decide nothing; say with --out where "
                f"to write what they give, not over {folder}"
            )
        paths = measure(
            experiments,
            folder,
            folder / PARTIAL,
            seeds=options.seeds or SEEDS,
            device=options.device,
            jobs=options.jobs,
        )
        measurements = read(whole.experiments, folder)
        (folder / "README.md").write_text(page(measurements), encoding="utf-8")
    except (LedgerError, BusyError, ArmError, OSError) as error:
        _say(errors, str(error))
        return UNUSABLE
    except BrokenProcessPool:
        _say(errors, ENDED)
        return UNUSABLE
    except KeyboardInterrupt:
        _say(errors, "interrupted; the same command goes on from here")
        return INTERRUPTED
    chosen = {experiment.id for experiment in experiments}
    found = [evidence_of(one) for one in measurements if one.experiment.id in chosen]
    for evidence in found:
        mark = "✓" if evidence.well else "✗"
        text = f"{mark} {evidence.prop.id}: {evidence.prop.sentence}\n  {evidence.message}"
        console.print(text, markup=False, highlight=False)
    seconds = time.perf_counter() - float(options.start)
    console.print(f"{len(paths)} files in {folder}, in {seconds:.0f} s.", highlight=False)
    return WELL if all(evidence.well for evidence in found) else FAILED


def _list(options: argparse.Namespace, console: Console, errors: Console) -> int:
    from attest.ledger import LedgerError, load_ledger
    from attest.terminal import listing, show

    try:
        ledger = load_ledger(options.properties).only(options.only)
    except LedgerError as error:
        _say(errors, str(error))
        return UNUSABLE
    show(console, listing(ledger, wrapped=console.is_terminal))
    return WELL
