"""What a teacher copies from examples/ works as it is."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from attest.command import _parser
from attest.ledger import load_ledger
from attest.rubric import Rubric, read_rubric

ROOT = Path(__file__).parent.parent
GRADESCOPE = ROOT / "examples" / "gradescope"
CLASSROOM = ROOT / "examples" / "github-classroom"
SETUP, RUN, RUBRIC = (GRADESCOPE / name for name in ("setup.sh", "run_autograder", "rubric.toml"))
WORKFLOW = CLASSROOM / ".github" / "workflows" / "grade.yml"

RIGHT = "import torch\n\n\ndef softmax(x, dim=-1):\n    return torch.softmax(x, dim)\n"
WRONG = RIGHT.replace("(x, dim)\n", "(x, 0)\n")
HIDDEN = "no_finite_score_overflows"

# As Gradescope documents it.
VISIBILITIES = {"hidden", "visible", "after_due_date", "after_published"}

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.mark.parametrize("script", [SETUP, RUN], ids=lambda path: path.name)
def test_a_script_is_sound_and_can_be_run(script):
    assert script.stat().st_mode & stat.S_IXUSR
    checks = [["bash", "-n"], *([["shellcheck"]] if shutil.which("shellcheck") else [])]
    for check in checks:
        run = subprocess.run([*check, script], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr


def test_the_rubric_fits_the_laws_and_shows_every_key():
    assert set(tomllib.loads(RUBRIC.read_text())) == {field.name for field in fields(Rubric)}
    (rubric, _), laws = read_rubric(RUBRIC), load_ledger().laws
    graded = [law for law in laws if rubric.grades(law)]
    rubric.require_known(graded)
    assert set(rubric.components) == set(rubric.assigned) == {law.component for law in graded}
    worth = rubric.points(graded)
    counted = [worth[law.id] for law in graded if not rubric.is_bonus(law)]
    assert len(counted) < len(graded)
    assert sum(counted) == pytest.approx(rubric.out_of)


def test_the_workflow_installs_grades_and_keeps_what_was_found():
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load(WORKFLOW.read_text())
    assert "push" in workflow[True]  # what YAML takes `on` for
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert job["runs-on"].startswith("ubuntu-")
    steps = job["steps"]
    used = [step["uses"] for step in steps if "uses" in step]
    assert [re.fullmatch(r"actions/([\w-]+)@v\d+", action)[1] for action in used] == [
        *("checkout", "checkout", "setup-python", "upload-artifact")
    ]
    work, own = (step["with"] for step in steps if "checkout" in step.get("uses", ""))
    assert own["repository"] == "${{ env.ATTEST }}"
    assert "ATTEST" in workflow["env"]

    order = [
        next(number for number, step in enumerate(steps) if found in step.get("run", ""))
        for found in ("apt-get install", "pip install", "attest grade")
    ]
    assert order == sorted(order)
    installs = steps[order[1]]["run"].split()
    assert f"./{own['path']}" in installs
    assert f"{own['path']}/constraints.txt" in installs

    grades, keeps = steps[order[2]], steps[-1]
    (options,) = map(parsed, commands(grades["run"]))
    assert options.submission == "submission.py"
    assert str(options.markdown) == "$GITHUB_STEP_SUMMARY"
    assert grades["working-directory"] == work["path"]
    assert keeps["with"]["path"] == f"{work['path']}/{options.junit}"
    assert keeps["if"] == "always()"  # points that were lost fail the step before


def commands(text: str) -> list[list[str]]:
    """Give what follows the name in each line that runs attest."""
    return [shlex.split(line) for line in re.findall(r"^ *attest (.*)$", text, re.MULTILINE)]


def parsed(arguments):
    try:
        return _parser().parse_args(arguments)
    except SystemExit:
        pytest.fail(f"attest {shlex.join(arguments)}: there is no such command")


def test_every_command_of_a_page_exists():
    pages = [page.read_text() for page in (ROOT / "examples").rglob("*.md")]
    found = [arguments for page in pages for arguments in commands(page)]
    assert len(found) == 2
    for arguments in found:
        parsed(arguments)


@pytest.fixture
def autograder(tmp_path):
    """Gradescope's folders, where attest is the one of this environment and takes few examples."""
    folder = tmp_path / "auto grader"
    for name in ("source", "submission", "venv/bin"):
        (folder / name).mkdir(parents=True)
    (folder / "source" / "rubric.toml").write_text(
        f'assigned = ["softmax"]\nhidden = ["softmax.{HIDDEN}"]\n'
    )
    (folder / "venv" / "bin" / "python").symlink_to(sys.executable)
    attest = f'cd {shlex.quote(str(ROOT))} && {sys.executable} -m attest "$@" --examples 5'
    install(folder, attest)
    return folder


def install(autograder: Path, script: str) -> None:
    attest = autograder / "venv" / "bin" / "attest"
    attest.write_text(f"#!/bin/sh\n{script}\n")
    attest.chmod(0o755)


def graded(autograder: Path):
    """Run the script, and give the results, once their form is as Gradescope documents it."""
    environment = {**os.environ, "AUTOGRADER": str(autograder)}
    run = subprocess.run([RUN], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    text = (autograder / "results" / "results.json").read_text()
    assert str(autograder) not in text
    results = json.loads(text)
    assert is_number(results["score"])
    assert results["output"].strip()
    for test in results["tests"]:
        assert is_number(test["score"])
        assert is_number(test["max_score"])
        assert test["name"].strip()
        assert test["status"] in {"passed", "failed"}
        assert test["visibility"] in VISIBILITIES
        assert isinstance(test["output"], str)
    return results


def is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def test_a_right_submission_gets_all_points_and_hides_what_is_hidden(autograder):
    (autograder / "submission" / "submission.py").write_text(RIGHT)
    results = graded(autograder)
    tests = results["tests"]
    assert results["score"] == sum(test["max_score"] for test in tests) > 0
    assert {test["status"] for test in tests} == {"passed"}
    (hidden,) = (test for test in tests if test["visibility"] == "hidden")
    assert hidden["name"] == f"softmax: {HIDDEN}"
    assert not hidden["output"]


def test_a_wrong_submission_loses_points_and_is_told_why(autograder):
    (autograder / "submission" / "submission.py").write_text(WRONG)
    results = graded(autograder)
    tests = results["tests"]
    assert 0 < results["score"] < sum(test["max_score"] for test in tests)
    failed = [test for test in tests if test["status"] == "failed"]
    assert sum(test["max_score"] - test["score"] for test in failed) > 0
    assert any("should be" in test["output"] for test in failed)


def test_a_submission_that_is_no_python_gets_no_points_and_is_told_so(autograder):
    (autograder / "submission" / "submission.py").write_text("def softmax(x:\n")
    results = graded(autograder)
    assert results["score"] == 0
    assert "submission.py, line 1: this is not Python" in results["output"]
    assert {test["status"] for test in results["tests"]} == {"failed"}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ((), "no Python file"),
        (("notes.txt", ".hidden.py", "folder/submission.py"), "no Python file"),
        (("a.py", "b.py"), "several Python files"),
    ],
    ids=["nothing", "elsewhere", "several"],
)
def test_what_is_no_submission_gets_no_points_without_attest(files, says, autograder):
    install(autograder, "exit 1")
    for name in files:
        path = autograder / "submission" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(RIGHT)
    results = graded(autograder)
    assert results["score"] == 0
    assert says in results["output"]


def test_a_link_is_no_submission(autograder):
    install(autograder, "exit 1")
    (autograder / "source" / "right.py").write_text(RIGHT)
    (autograder / "submission" / "submission.py").symlink_to(autograder / "source" / "right.py")
    assert "no Python file" in graded(autograder)["output"]


@pytest.mark.parametrize(
    "files", [("my softmax.py",), ("-.py",), ("a.py", "z.py", "submission.py")]
)
def test_attest_is_asked_to_grade_the_file_that_was_meant(files, autograder):
    for name in files:
        (autograder / "submission" / name).write_text(RIGHT)
    asked, results = autograder / "asked", autograder / "results" / "results.json"
    install(
        autograder, f'printf "%s\\n" "$@" >"{asked}"; echo \'{{"left": "as it is"}}\' >"{results}"'
    )
    environment = {**os.environ, "AUTOGRADER": str(autograder)}
    subprocess.run([RUN], env=environment, check=True)
    assert json.loads(results.read_text()) == {"left": "as it is"}
    options = parsed(asked.read_text().splitlines())
    assert options.submission == str(autograder / "submission" / files[-1])
    assert options.name == files[-1]
    assert options.rubric == autograder / "source" / "rubric.toml"
    assert options.gradescope == results


@pytest.mark.parametrize(
    "attest",
    [
        None,
        "exit 2",
        'for last; do :; done; printf "{" >"$last"; exit 1',
        'for last; do :; done; echo \'{"score": 1}\' >"$last"; exit 3',
        "kill -KILL $$",
    ],
    ids=["missing", "refuses", "half", "crashes", "killed"],
)
def test_what_is_the_graders_fault_is_said_to_be(attest, autograder):
    (autograder / "submission" / "submission.py").write_text(RIGHT)
    if attest is None:
        shutil.rmtree(autograder / "venv")
    else:
        install(autograder, attest)
    (autograder / "results").mkdir()
    (autograder / "results" / "results.json").write_text('{"score": 100}')
    results = graded(autograder)
    assert results["score"] == 0
    assert "no fault of yours" in results["output"]


# Stands for every program that setup.sh runs, and makes what they would make.
STUB = """#!/bin/sh
echo "${0##*/} $* [${PIP_EXTRA_INDEX_URL-}]" >>"$LOG"
case "$1" in
-c) exit "$OLD" ;;
-m)
  for name in attest properties reference; do
    mkdir -p "$3/lib/python3.11/site-packages/$name"
  done
  mkdir -p "$3/bin"
  cp "$0" "$3/bin/pip"
  cp "$0" "$3/bin/attest"
  ;;
clone) mkdir -p "$5" && touch "$5/constraints.txt" ;;
esac
"""


@pytest.fixture
def set_up(tmp_path):
    """Runs setup.sh with the values that a teacher gives; gives its run and what it has called."""
    bin_, log, folder = tmp_path / "bin", tmp_path / "log", tmp_path / "autograder"
    bin_.mkdir()
    for name in ("apt-get", "git", "python3", "python3.11"):
        (bin_ / name).write_text(STUB)
        (bin_ / name).chmod(0o755)
    (folder / "source").mkdir(parents=True)

    def run(*, zipped: bool, old: bool = False, url: str = "", index: str = ""):
        text = SETUP.read_text()
        for variable, value in (("ATTEST_URL", url), ("TORCH_INDEX", index)):
            assert f'\n{variable}=""\n' in text
            text = text.replace(f'\n{variable}=""\n', f'\n{variable}="{value}"\n')
        script = tmp_path / "setup.sh"
        script.write_text(text)
        if zipped:
            (folder / "source" / "attest").mkdir()
            (folder / "source" / "attest" / "constraints.txt").touch()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        path = f"{bin_}{os.pathsep}{os.environ['PATH']}"
        environment = {**kept, "PATH": path, "AUTOGRADER": str(folder), "LOG": str(log)}
        environment["OLD"] = "1" if old else "0"
        found = subprocess.run(
            ["bash", script], env=environment, capture_output=True, text=True, check=False
        )
        return found, log.read_text().splitlines(), folder

    return run


@pytest.mark.parametrize(
    ("given", "python"),
    [
        ({"zipped": True}, "python3"),
        (
            {"zipped": False, "old": True, "url": "file:///attest", "index": "file:///torch"},
            "python3.11",
        ),
    ],
    ids=["zip", "url"],
)
def test_the_image_gets_attest_with_its_constraints(given, python, set_up):
    run, called, folder = set_up(**given)
    assert run.returncode == 0, run.stderr
    source, index = folder / "source", f"[{given.get('index', '')}]"
    cloned = f"git clone --depth 1 file:///attest {source}/attest []"
    assert (cloned in called) is not given["zipped"]
    assert f"{python} -m venv {folder}/venv {index}" in called
    packages = " ".join(line for line in called if line.startswith("apt-get install"))
    assert {"bubblewrap", f"{python}-venv"} <= set(packages.split())
    (installed,) = (line for line in called if line.startswith("pip install"))
    assert f" --constraint {source}/attest/constraints.txt {source}/attest {index}" in installed
    tried, *arguments = called[-1].removesuffix(index).split()
    assert tried == "attest"
    parsed(arguments)
    unread = [source, *(folder / "venv" / "lib" / "python3.11" / "site-packages").iterdir()]
    assert len(unread) == 4
    assert not any(stat.S_IMODE(path.stat().st_mode) & 0o077 for path in unread)


def test_an_image_without_attest_is_not_built(set_up):
    run, called, _ = set_up(zipped=False)
    assert run.returncode != 0
    assert "put it into the zip" in run.stderr
    assert not any("install" in line and "pip" in line for line in called)
