"""A class: found in a folder, graded once, and the same whoever is graded beside whom."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from attest import classroom
from attest.apart import Command
from attest.classroom import Class, entries, grade_class
from attest.command import main
from attest.examination import Settings
from attest.holding import Holder
from attest.ledger import LedgerError, load_ledger, load_reference
from attest.rubric import Rubric
from attest.sweeping import BusyError, locked

SETTINGS = Settings(examples=5, seconds=20.0)
LAWS = ("softmax.entries_along_the_axis_sum_to_one", "softmax.adding_a_constant_changes_nothing")

RIGHT = "def softmax(x, dim=-1):\n    return x.softmax(dim)\n"
WRONG = "def softmax(x, dim=-1):\n    return 2 * x.softmax(dim)\n"


@pytest.fixture(scope="module")
def how() -> Class:
    laws = {law.id: law for law in load_ledger([]).laws}
    chosen = [laws[name] for name in LAWS]
    holder = partial(Holder, SETTINGS)
    command = Command(("--seconds=20", "--examples=5", *(f"--only={name}" for name in LAWS)), None)
    return Class(chosen, SETTINGS, Rubric(), load_reference(), "en", holder, command)


def a_class(place: Path) -> Path:
    place.mkdir()
    for name, text in (("ann", RIGHT), ("bob", WRONG), ("cyd", RIGHT), ("dan", "def softmax(:")):
        (place / f"{name}.py").write_text(text)
    return place


@pytest.fixture
def folder(tmp_path) -> Path:
    return a_class(tmp_path / "class")


def graded(folder: Path, how: Class, out: Path, *, jobs: int = 1) -> dict[str, dict[str, Any]]:
    found, _ = entries(folder)
    return {data["submission"]: data for data in grade_class(found, how, out, jobs=jobs)}


@pytest.fixture(scope="module")
def results(how, tmp_path_factory) -> Path:
    """Where such a class was graded."""
    place = tmp_path_factory.mktemp("graded")
    graded(a_class(place / "class"), how, place / "out")
    return place / "out"


def written(out: Path) -> dict[str, str]:
    """Give what is in a folder of results, without how long it took."""
    found = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        text = path.read_text()
        if path.suffix == ".json":
            data = json.loads(text)
            for row in (data, *data["properties"]):
                row["seconds"] = 0.0
            text = json.dumps(data)
        found[path.relative_to(out).as_posix()] = text
    return found


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """Which submissions are graded, and not taken from results that are there."""
    names: list[str] = []
    plain = classroom.each_done

    def noted(numbers: Any, work: Callable[[int], Any], jobs: int) -> Any:
        for number, result in plain(numbers, work, jobs):
            names.append(result["data"]["submission"])
            yield number, result

    monkeypatch.setattr(classroom, "each_done", noted)
    return names


def test_everybody_has_results_of_their_own(folder, how, tmp_path):
    found = graded(folder, how, tmp_path / "out")
    assert {name: data["score"] for name, data in found.items()} == {
        "ann": 6.0,
        "bob": 3.0,
        "cyd": 6.0,
        "dan": 0.0,
    }
    assert "this is not Python" in found["dan"]["problem"]
    with (tmp_path / "out" / "class.csv").open() as file:
        rows = {row["submission"]: row for row in csv.DictReader(file)}
    assert rows["bob"]["score"] == "3.0"
    assert rows["bob"]["failed"] == "1"
    assert rows["bob"]["softmax"] == "3.0"
    report = (tmp_path / "out" / "submissions" / "bob.md").read_text()
    assert "entries along the axis sum to one" in report
    assert str(folder) not in report


def test_neither_jobs_nor_order_nor_company_changes_a_result(folder, how, tmp_path):
    graded(folder, how, tmp_path / "one", jobs=1)
    graded(folder, how, tmp_path / "two", jobs=2)
    assert written(tmp_path / "one") == written(tmp_path / "two")
    found, _ = entries(folder)
    grade_class(found[::-1], how, tmp_path / "turned", jobs=2)
    grade_class(found[1:2], how, tmp_path / "alone", jobs=1)
    grade_class(found[1:2], how, tmp_path / "workers", jobs=3)
    for name in ("turned", "alone", "workers"):
        for path, text in written(tmp_path / name).items():
            if path.startswith("submissions/"):
                assert text == written(tmp_path / "one")[path]


def test_what_was_graded_is_not_graded_again(folder, how, tmp_path, asked):
    graded(folder, how, tmp_path / "out", jobs=2)
    before = written(tmp_path / "out")
    assert sorted(asked) == ["ann", "bob", "cyd", "dan"]
    asked.clear()
    graded(folder, how, tmp_path / "out")
    assert asked == []
    assert written(tmp_path / "out") == before


@pytest.mark.parametrize(
    "change", ["file", "new", "results", "report", "examples", "rubric", "language"]
)
def test_what_has_changed_is_graded_again(folder, how, results, tmp_path, asked, change):
    shutil.copytree(results, tmp_path / "out")
    everybody = ["ann", "bob", "cyd", "dan"]
    some = {"file": ["bob"], "new": ["eve"], "results": ["ann"], "report": ["ann"]}
    expected = some.get(change, everybody)
    match change:
        case "file":
            (folder / "bob.py").write_text(RIGHT)
        case "new":
            (folder / "eve.py").write_text(RIGHT)
        case "results":
            (tmp_path / "out" / "submissions" / "ann.json").write_text('{"submission": "an')
        case "report":
            (tmp_path / "out" / "submissions" / "ann.md").unlink()
        case "examples":
            how = replace(how, settings=replace(SETTINGS, examples=6))
        case "rubric":
            how = replace(how, rubric=Rubric(out_of=100.0))
        case "language":
            how = replace(how, language="ko")
    found = graded(folder, how, tmp_path / "out")
    assert sorted(asked) == expected
    assert found["bob"]["score"] == (6.0 if change == "file" else found["bob"]["max_score"] / 2)


def test_an_interrupted_run_goes_on_where_it_was(folder, how, tmp_path, monkeypatch, asked):
    noted = classroom.each_done

    def interrupted(*arguments: Any) -> Any:
        yield from list(noted(*arguments))[:2]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(classroom, "each_done", interrupted)
        with pytest.raises(KeyboardInterrupt):
            graded(folder, how, tmp_path / "out")
    kept = {path.stem for path in (tmp_path / "out" / "submissions").glob("*.json")}
    assert len(kept) == 2
    with (tmp_path / "out" / "class.csv").open() as file:
        assert {row["submission"] for row in csv.DictReader(file)} == kept
    assert (tmp_path / "out" / "class.html").is_file()
    asked.clear()
    assert len(graded(folder, how, tmp_path / "out")) == 4
    assert kept.isdisjoint(asked)


def test_two_runs_do_not_write_into_one_folder(folder, how, tmp_path):
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out" / ".lock"), pytest.raises(BusyError, match="another run"):
        graded(folder, how, tmp_path / "out")


def test_no_submission_sees_another(folder, how, tmp_path):
    (folder / "eve.py").write_text("from ann import softmax\n")
    (folder / "fay.py").write_text(f"open({str(folder / 'ann.py')!r})\n{RIGHT}")
    found = graded(folder, how, tmp_path / "out")
    assert "No module named 'ann'" in found["eve"]["problem"]
    assert "FileNotFoundError" in found["fay"]["problem"]


def test_folders_are_submissions_too(folder, how, tmp_path):
    for name, files in {
        "gus": {"submission.py": "from part import softmax\n", "part.py": RIGHT},
        "hal": {"mine.py": RIGHT},
        "ida": {"a.py": RIGHT, "b.py": RIGHT},
        "jim": {"notes.txt": ""},
        "nan": {"nan/deep/submission.py": RIGHT, "nan/deep/notes.py": "", "__pycache__/x": ""},
        ".git": {"x.py": ""},
        "__pycache__": {"x.py": ""},
    }.items():
        (folder / name).mkdir()
        for file, text in files.items():
            (folder / name / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / file).write_text(text)
    (folder / "kim").symlink_to(folder / "hal")
    (folder / "lea.py").symlink_to(folder / "ann.py")
    (folder / "essay.docx").write_text("")
    assert entries(folder)[1] == ["essay.docx"]
    found = graded(folder, how, tmp_path / "out")
    assert {name: data["score"] for name, data in found.items() if name >= "g"} == {
        "gus": 6.0,
        "hal": 6.0,
        "ida": 0.0,
        "jim": 0.0,
        "kim": 0.0,
        "lea": 0.0,
        "nan": 6.0,
    }
    assert "2 Python files, and none of them is submission.py" in found["ida"]["problem"]
    assert "no Python file" in found["jim"]["problem"]
    assert "link" in found["kim"]["problem"]
    assert "link" in found["lea"]["problem"]


def test_a_folder_without_submissions_is_refused(tmp_path):
    with pytest.raises(LedgerError, match="no submission"):
        entries(tmp_path)


def test_two_of_one_name_are_two(tmp_path):
    (tmp_path / "ann.py").write_text(RIGHT)
    (tmp_path / "ann (2).py").write_text(RIGHT)
    (tmp_path / "ann").mkdir()
    names = {entry.name: entry.path.name for entry in entries(tmp_path)[0]}
    assert names == {"ann": "ann.py", "ann (2)": "ann (2).py", "ann (3)": "ann"}
    assert list(names) == sorted(names)


def test_nobody_is_called_what_another_was_shortened_to(tmp_path):
    long = "b" * 210
    short = classroom._file(tmp_path, long, "json").stem
    assert len(short) < 40
    assert classroom._file(tmp_path, short, "json").stem != short


def test_what_no_file_can_be_called_stops_nobody_else(folder, how, tmp_path):
    (folder / f"{'가' * 84}.py").write_text(RIGHT)
    (folder / "eve").mkdir()
    (folder / "eve" / "mine.py").write_text(f"if False:\n    import {'a' * 300}\n{RIGHT}")
    found = graded(folder, how, tmp_path / "out")
    assert found["eve"]["score"] == found["가" * 84]["score"] == 6.0
    assert len(list((tmp_path / "out" / "submissions").glob("*.json"))) == 6
    links = re.findall('href="([^"]*)"', (tmp_path / "out" / "class.html").read_text())
    assert len(links) == 6
    assert all((tmp_path / "out" / unquote(link)).is_file() for link in links)


def test_a_fault_of_ours_is_no_result(folder, how, tmp_path, monkeypatch, asked):
    plain = classroom.Marker.mark

    def faulty(self: Any, submission: str, **named: Any) -> Any:
        if submission.endswith("bob.py"):
            raise ValueError("something of ours")
        return plain(self, submission, **named)

    with monkeypatch.context() as patched:
        patched.setattr(classroom.Marker, "mark", faulty)
        found = graded(folder, how, tmp_path / "out")
    assert "not the submission's: ValueError: something of ours" in found["bob"]["problem"]
    assert found["bob"]["fingerprint"] == ""
    asked.clear()
    assert graded(folder, how, tmp_path / "out")["bob"]["score"] == 3.0
    assert asked == ["bob"]


def test_a_fault_of_ours_ends_the_command_with_one(folder, tmp_path, monkeypatch, capsys):
    def faulty(*_: Any, **__: Any) -> None:
        raise ValueError("something of ours")

    monkeypatch.setattr(classroom.Marker, "mark", faulty)
    assert main(["grade", str(folder), *ONLY, "--out", str(tmp_path / "out")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "by a fault of ours or of this machine's: ann, bob, cyd, dan" in said


def test_a_rubric_may_come_from_a_pipe(how, tmp_path):
    place = tmp_path / "class"
    place.mkdir()
    (place / "ann.py").write_text(RIGHT)
    os.mkfifo(tmp_path / "rubric")
    with ThreadPoolExecutor(1) as pool:
        pool.submit((tmp_path / "rubric").write_text, "out_of = 100\n")
        words = ["--rubric", str(tmp_path / "rubric"), "--out", str(tmp_path / "out"), "--trusted"]
        assert main(["grade", str(place), *ONLY, *words]) == 0
    data = json.loads((tmp_path / "out" / "submissions" / "ann.json").read_text())
    assert data["max_score"] == 100


@pytest.mark.slow
def test_trusted_submissions_do_not_meet_either(how, tmp_path):
    place = tmp_path / "class"
    for name, helper in (("ann", RIGHT), ("bob", WRONG)):
        (place / name).mkdir(parents=True)
        (place / name / "submission.py").write_text("from helper import softmax\n")
        (place / name / "helper.py").write_text(helper)
    (place / "cyd.py").write_text("from dan import softmax\n")
    (place / "dan.py").write_text(RIGHT)
    trusting = replace(
        how,
        holder=partial(Holder, SETTINGS, trusted=True),
        command=replace(how.command, arguments=(*how.command.arguments, "--trusted")),
    )
    found = graded(place, trusting, tmp_path / "out", jobs=1)
    assert {name: data["score"] for name, data in found.items()} == {
        "ann": 6.0,
        "bob": 3.0,
        "cyd": 0.0,
        "dan": 6.0,
    }


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_names_and_words_of_submissions_are_no_html_and_no_formulas(how, tmp_path):
    place = tmp_path / "class"
    place.mkdir()
    (place / "=1+1.py").write_text(RIGHT)
    (place / "<img src=x>.py").write_text("raise ValueError('<script>alert(1)</script>')\n")
    (place / "a\nb.py").write_text(RIGHT)
    graded(place, how, tmp_path / "out")
    page = _Text()
    page.feed((tmp_path / "out" / "class.html").read_text())
    assert "img" not in page.tags
    assert page.tags.count("script") == 1
    assert "<script>alert(1)</script>" in page.text
    with (tmp_path / "out" / "class.csv").open() as file:
        names = [row["submission"] for row in csv.DictReader(file)]
    assert names == ["<img src=x>", "'=1+1", "a\\nb"]


ONLY = ["--only", LAWS[0], "--examples", "5"]


def test_a_class_is_a_folder_with_a_place_for_its_results(folder, tmp_path, capsys):
    assert main(["grade", str(folder), *ONLY]) == 2
    assert "a class's folder is graded with --out" in capsys.readouterr().err
    out = ["--out", str(tmp_path / "out")]
    assert main(["grade", str(folder), *ONLY, *out, "--json", "y.json"]) == 2
    assert "--json: for one submission, and --out is for a class" in capsys.readouterr().err
    (tmp_path / "a file").write_text("")
    assert main(["grade", str(folder), *ONLY, "--out", str(tmp_path / "a file")]) == 2
    assert "is a file; choose a folder for the results" in capsys.readouterr().err
    assert main(["grade", str(folder / "ann.py"), *ONLY, *out]) == 2
    assert "ann.py is no folder" in capsys.readouterr().err
    assert main(["grade", str(folder), *ONLY, *out, "--name", "x"]) == 2
    assert "--name: for one submission" in capsys.readouterr().err
    for within in (folder, folder / "out", folder.parent):
        if within == folder.parent:
            folder = folder.rename(folder.parent / "submissions")
        assert main(["grade", str(folder), *ONLY, "--out", str(within)]) == 2
        assert "choose a folder apart from the submissions" in capsys.readouterr().err
    assert main(["grade", str(folder), *ONLY, "--scheduler", "tcp://127.0.0.1:1"]) == 2
    assert "--scheduler is for a class" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_says_where_the_results_are(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["grade", str(folder), *ONLY, "--out", str(out), "--language", "ko"]) == 0
    said = capsys.readouterr().out
    assert "4 submissions in" in said
    assert "this is not Python" in " ".join(said.split())
    assert "점 만점에" in (out / "submissions" / "bob.md").read_text()


def test_ctrl_c_leaves_what_is_done_and_no_process(folder, tmp_path):
    for name in ("eve", "fay"):
        (folder / f"{name}.py").write_text("import time\ntime.sleep(1000)\n")
    command = [sys.executable, "-m", "attest", "grade", str(folder), *ONLY]
    command += ["--out", str(tmp_path / "out"), "--jobs", "1", "--seconds", "30"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        place, deadline = tmp_path / "out" / "submissions", time.monotonic() + 60
        while not (place / "dan.json").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "interrupted; the same command goes on from here" in said
    assert {path.stem for path in place.glob("*.json")} == {"ann", "bob", "cyd", "dan"}
    deadline = time.monotonic() + 10
    while _of_session(run.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _of_session(run.pid) == []


def _of_session(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z" and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found
