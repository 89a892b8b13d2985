"""The command line, as people meet it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from attest import feedback
from attest.claims import Verdict
from attest.command import FAILED, INTERRUPTED, LANGUAGES, UNREAD, UNUSABLE, WELL, WRITTEN, main
from attest.evidence import Counterexample, Evidence
from attest.examination import Settings
from attest.formats import FORMATS
from attest.grading import Grade
from attest.implementations import SubmissionError, load_submission
from attest.ledger import load_ledger
from attest.rubric import Rubric
from attest.sandbox import trusted
from attest.terminal import grade_report, listing, show

RIGHT = """
import torch

def softmax(x, dim=-1):
    return torch.softmax(x, dim)

def causal_mask(length):
    return torch.ones(length, length, dtype=torch.bool).tril()
"""
WRONG = RIGHT.replace("torch.softmax(x, dim)", "torch.softmax(x, 0)")


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(RIGHT)
    return path


@pytest.mark.slow
def test_a_right_submission_gets_all_points_of_what_it_attempts(submission, tmp_path):
    data = tmp_path / "grade.json"
    assert main(["grade", str(submission), "--examples", "20", "--json", str(data)]) == WELL
    grade = json.loads(data.read_text())
    components = grade["components"]
    for name in ("softmax", "causal_mask"):
        assert components[name]["status"] == "attempted"
        assert components[name]["score"] == components[name]["max_score"] > 0
    assert components["MultiHeadAttention"]["status"] == "not_attempted"
    assert components["MultiHeadAttention"]["score"] == 0
    assert grade["score"] == sum(c["score"] for c in components.values())
    assert grade["max_score"] == sum(c["max_score"] for c in components.values())


def test_a_grade_has_the_form_of_the_contract(submission, tmp_path):
    data = tmp_path / "grade.json"
    main(["grade", str(submission), "--only", "softmax", "--examples", "10", "--json", str(data)])
    grade = json.loads(data.read_text())
    assert grade["schema"] == 1
    assert grade["submission"] == str(submission)
    assert {"seconds", "environment", "isolation"} <= set(grade)
    row = grade["properties"][0]
    assert {
        "id", "claim", "component", "kind", "status", "examples", "seconds", "points",
        "max_points", "counterexample", "message",
    } == set(row)  # fmt: skip
    assert row["kind"] in {"definition", "claim", "robustness"}


def test_a_wrong_submission_loses_points_and_exits_with_one(submission, tmp_path, capsys):
    submission.write_text(WRONG)
    data = tmp_path / "grade.json"
    only = ["--only", "softmax", "--examples", "30"]
    assert main(["grade", str(submission), *only, "--json", str(data)]) == FAILED
    grade = json.loads(data.read_text())
    assert 0 < grade["score"] < grade["max_score"]
    refuted = [row for row in grade["properties"] if row["status"] == "refuted"]
    assert refuted
    assert all(row["points"] == 0 and row["counterexample"] for row in refuted)
    printed = capsys.readouterr().out
    assert "should be" in printed
    assert "import torch" in printed


def test_a_component_that_runs_is_attempted_even_where_all_fails(submission, tmp_path):
    submission.write_text(WRONG)
    data = tmp_path / "grade.json"
    only = ["--only", "softmax.it_is_the_normalised_exponential"]
    assert main(["grade", str(submission), *only, "--json", str(data)]) == FAILED
    grade = json.loads(data.read_text())
    assert grade["components"]["softmax"]["status"] == "attempted"
    assert grade["score"] == 0


def test_a_point_that_is_missing_is_not_rounded_away(monkeypatch):
    kept = Grade("mine.py", (), Settings(), trusted("cpu", why="a test"), Rubric())
    monkeypatch.setattr(Grade, "score", 857)
    monkeypatch.setattr(Grade, "max_score", 861)
    *_, last = grade_report(kept, 1.0)
    assert "857 of 861 points (99%)" in last.plain


@pytest.mark.slow
def test_the_same_grade_comes_out_twice_and_for_any_number_of_jobs(submission, tmp_path):
    submission.write_text(WRONG)
    found = []
    for jobs in ("1", "2", "2"):
        data = tmp_path / f"{len(found)}.json"
        options = ["--only", "softmax", "--examples", "20", "--jobs", jobs, "--json", str(data)]
        main(["grade", str(submission), *options])
        grade = json.loads(data.read_text())
        del grade["seconds"]
        for row in grade["properties"]:
            del row["seconds"]
        found.append(grade)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "does not exist"),
        ("def softmax(x:\n", "line 1: this is not Python"),
        ("", "defines none of the contract's names"),
        ("raise RuntimeError('no')", "raised RuntimeError: no"),
        ("import sys\nsys.exit(0)", "raised SystemExit: 0"),
        ("raise RuntimeError('[/x] [bold]no')", "raised RuntimeError: [/x] [bold]no"),
        ("raise RuntimeError('\\x1b[31m')", "raised RuntimeError: \\x1b[31m"),
        ("\0", "mine.py: this is not Python"),
        ("while True:\n    pass", "was not imported after 2 seconds"),
    ],
    ids=["missing", "syntax", "empty", "raises", "exits", "markup", "control", "null", "loops"],
)
def test_a_submission_that_cannot_be_examined_gives_one_line_and_two(text, says, tmp_path, capsys):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    data = tmp_path / "grade.json"
    assert main(["grade", str(path), "--seconds", "2", "--json", str(data)]) == UNUSABLE
    printed = capsys.readouterr()
    assert says in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""
    grade = json.loads(data.read_text())
    assert grade["score"] == 0
    assert grade["max_score"] > 0
    assert {c["status"] for c in grade["components"].values()} == {"broken"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--only", "ATT-99"], "no claim, property or component has this name"),
        (["--properties", "nowhere"], "this is not a folder"),
        (["--json", "nowhere/at/all.json"], "does not exist"),
        (["--device", "warp"], "--device warp"),
    ],
)
def test_a_request_that_cannot_be_carried_out_gives_one_line_and_two(options, says, capsys):
    assert main(["verify", *options]) == UNUSABLE
    printed = capsys.readouterr()
    assert says in printed.err
    assert len(printed.err.strip().splitlines()) == 1


def test_a_name_is_all_that_changes_in_what_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["grade", "m", "--only", "softmax", "--name", "Kim"]) == UNUSABLE
    said = " ".join(capsys.readouterr().err.split())
    assert said == "attest: Kim does not exist; a submission is one .py file or a module"


def test_nothing_is_a_command_for_github(submission, monkeypatch, capsys):
    options = ["--only", "causal_mask", "--examples", "5"]
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert main(["grade", str(submission), *options]) == WELL
    assert "::" not in capsys.readouterr().out
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert main(["grade", str(submission), *options]) == WELL
    first, *_, last = capsys.readouterr().out.splitlines()
    word = first.removeprefix("::stop-commands::")
    assert len(word) == 32
    assert last == f"::{word}::"


def test_a_module_is_graded_by_its_name(capsys):
    assert main(["grade", "reference", "--only", "causal_mask", "--examples", "10"]) == WELL
    assert "7 of 7 points" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_data_are_written_and_a_report_shown_whatever_the_encoding(encoding, submission, tmp_path):
    data = tmp_path / "grade.json"
    options = ["--only", "causal_mask", "--examples", "5", "--json", str(data)]
    command = [sys.executable, "-m", "attest", "grade", str(submission), *options]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    run = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert run.returncode == WELL, run.stderr
    assert b"7 of 7 points" in run.stdout
    assert json.loads(data.read_text())["score"] == 7


def test_data_are_written_when_nobody_reads_the_report(submission, tmp_path, monkeypatch):
    def nobody(*_):
        raise BrokenPipeError

    monkeypatch.setattr("attest.terminal.show", nobody)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    data = tmp_path / "grade.json"
    options = ["--only", "causal_mask", "--examples", "5", "--json", str(data)]
    assert main(["grade", str(submission), *options]) == UNREAD
    assert json.loads(data.read_text())["score"] == 7


def test_a_reader_that_goes_away_is_no_failure():
    command = [sys.executable, "-m", "attest", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        run.stdout.close()
        assert run.wait() == UNREAD
        assert run.stderr.read() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_full_disk_is_said_and_not_traced(submission):
    command = [sys.executable, "-m", "attest", "list", "--only", "causal_mask"]
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert run.returncode == UNUSABLE
    assert run.stderr == "attest: the report cannot be written: No space left on device\n"


def test_what_does_not_apply_is_said_where_nothing_else_is(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text("from torch import nn\nclass LayerNorm(nn.LayerNorm): pass\n")
    law = "LayerNorm.gain_and_bias_act_entry_by_entry"
    assert main(["grade", str(file), "--only", law, "--examples", "5"]) == WELL
    out = capsys.readouterr().out
    assert "0 of 0 points" in out
    assert "does not apply: its parameters differ from the reference's" in " ".join(out.split())


def test_a_file_is_read_anew_though_it_was_changed_within_a_second(submission, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for diagonal in (0, 1):
        text = f"import torch\ndef causal_mask(n): return torch.ones(n, n).tril({diagonal})\n"
        submission.write_text(text)
        os.utime(submission, (10**9, 10**9))
        mask = load_submission(str(submission)).raw("causal_mask")(2)
        assert mask[0, 1] == diagonal
    assert not (submission.parent / "__pycache__").exists()


def test_a_package_that_does_not_import_is_not_called_missing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "their_package").mkdir()
    (tmp_path / "their_package" / "__init__.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(SubmissionError, match="No module named 'nothing_of_this_name'"):
        load_submission("their_package.attention")
    with pytest.raises(SubmissionError, match=r"nowhere\.at\.all does not exist"):
        load_submission("nowhere.at.all")


@pytest.mark.parametrize("name", ["folder", "./folder/", ".", "file", ""])
def test_what_is_no_module_is_called_what_it_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    said = {"": "'' does not exist", "file": "file is a file, not a .py file"}
    with pytest.raises(SubmissionError) as error:
        load_submission(name)
    assert str(error.value).startswith(said.get(name, f"{name} is a folder, not a .py file"))


def test_a_component_of_which_claims_have_more_evidence_is_verified_without_them(capsys):
    options = ["--only", "AdditiveAttention", "--examples", "5"]
    assert main(["verify", *options]) == WELL
    assert "expected" not in capsys.readouterr().out


def test_verifying_one_claim_gives_its_verdict_as_data(tmp_path, capsys):
    data = tmp_path / "ledger.json"
    options = ["--only", "ATT-04", "--only", "SA-05", "--examples", "10", "--json", str(data)]
    assert main(["verify", *options]) == WELL
    ledger = json.loads(data.read_text())
    assert ledger["schema"] == 1
    verdicts = {claim["id"]: claim["verdict"] for claim in ledger["claims"]}
    assert verdicts == {"ATT-04": "refuted", "SA-05": "conditional"}
    refuted, conditional = ledger["claims"]
    assert {
        "id", "section", "quote", "statement", "formal", "verdict", "conditions", "evidence",
        "references", "as_expected",
    } <= set(refuted)  # fmt: skip
    assert {"method": "counterexample", "outcome": "counterexample found"}.items() <= next(
        e for e in refuted["evidence"] if e["method"] == "counterexample"
    ).items()
    assert [part["verdict"] for part in conditional["parts"]] == [
        "proved",
        "conditional",
        "refuted",
    ]
    assert "ATT-04" in capsys.readouterr().out


def test_an_interrupt_ends_quietly(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("attest.running.examine_all", interrupt)
    assert main(["verify", "--only", "ATT-02"]) == INTERRUPTED
    assert "interrupted" in capsys.readouterr().err


def test_a_narrow_terminal_cuts_no_word_of_a_claim(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "50")
    main(["verify", "--only", "SA-02", "--examples", "5"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "Nothing is processed one after another: the whole sequence is taken at once." in printed


def as_seen(monkeypatch, capsys, width, *options):
    monkeypatch.setenv("COLUMNS", str(width))
    code = main(["verify", *options])
    return code, capsys.readouterr().out


@pytest.fixture
def nothing_is_examined(monkeypatch):
    """All properties hold, as if examined, but for those that are named."""

    def let_fail(*names):
        def examined(properties, *_):
            return [
                Evidence(p, "refuted", 3, 3, message="no", counterexample=odd(p))
                if p.function.__name__ in names
                else Evidence(p, "holds", 3, 3)
                for p in properties
            ]

        monkeypatch.setattr("attest.running.examine_all", examined)

    def odd(prop):
        given = (("x", f"[{prop.id}]"),)
        return Counterexample(
            prop.component, prop.sentence, "Why.", "x = y", None, given, "the x", "1", "2",
            "off by 1", "print('again')\n",
        )  # fmt: skip

    let_fail()
    return let_fail


@pytest.mark.parametrize("width", [40, 80, 160])
@pytest.mark.parametrize("verbose", [[], ["--verbose"]], ids=["short", "verbose"])
def test_a_report_keeps_to_its_width_and_has_no_colours_in_a_file(
    width, verbose, nothing_is_examined, monkeypatch, capsys
):
    _, printed = as_seen(monkeypatch, capsys, width, *verbose)
    assert max(map(cell_len, printed.splitlines())) <= width
    assert "\x1b" not in printed
    assert all(c.isprintable() for c in printed.replace("\n", ""))


@pytest.mark.parametrize("width", [40, 80])
def test_claims_take_a_line_or_two_under_the_headings_of_their_sections(
    width, nothing_is_examined, monkeypatch, capsys
):
    ledger = load_ledger()
    _, printed = as_seen(monkeypatch, capsys, width)
    lines, words = printed.splitlines(), " ".join(printed.split())
    sections = list(dict.fromkeys(claim.section for claim in ledger.claims.values()))
    headings = [line.rstrip("─ ") for line in lines if line.endswith("──")]
    assert [line for line in headings if line in sections] == sections
    for claim in ledger.claims.values():
        if claim.verdict == Verdict.PROVED:
            assert f"{claim.id} " in words
            assert claim.quote not in words
            assert claim.formal not in words
    assert "attest verify -v" in words


def test_a_statement_is_whole_beside_its_verdict(monkeypatch, capsys):
    for width in (40, 80):
        options = ["--only", "causal_mask", "--only", "ATT-02", "--examples", "5"]
        _, printed = as_seen(monkeypatch, capsys, width, *options)
        assert "ATT-02 proved Attention selects by weights: a distribution whose" in " ".join(
            printed.split()
        )


@pytest.mark.parametrize(
    ("options", "named"),
    [([], set()), (["-v"], None), (["--only", "ATT-04", "--only", "SA-05"], {"ATT-04", "SA-05"})],
    ids=["short", "verbose", "named"],
)
def test_reasons_are_given_of_claims_that_are_named_and_of_all_where_asked_for(
    options, named, nothing_is_examined, monkeypatch, capsys
):
    _, printed = as_seen(monkeypatch, capsys, 80, *options)
    words, claims = " ".join(printed.split()), load_ledger().claims
    for claim in claims.values():
        explained = named is None or claim.id in named
        assert (f"«{claim.quote}»" in words) == explained
        assert " ".join(claim.formal.split()) in words or not explained
    assert ("attest verify -v" in words) == (named == set())


@pytest.mark.parametrize("width", [40, 80])
def test_what_failed_is_shown_whole(width, nothing_is_examined, monkeypatch, capsys):
    laws = [p for p in load_ledger().laws if p.claims][:5]
    nothing_is_examined(*(law.function.__name__ for law in laws))
    code, printed = as_seen(monkeypatch, capsys, width)
    assert code == FAILED
    for law in laws:
        assert f"x = [{law.id}]" in printed
    assert printed.count("print('again')") >= len(laws)
    words = " ".join(printed.split())
    for claim in {claim.id: claim for law in laws for claim in law.claims}.values():
        assert "✗ expected" in words
        assert claim.formal in words


def test_a_listing_for_another_program_has_a_whole_line_for_everything(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["list"]) == WELL
    claims, properties, experiments = capsys.readouterr().out.strip().split("\n\n")
    ledger = load_ledger()
    assert [line.split()[0] for line in claims.splitlines()] == list(ledger.claims)
    assert [line.split()[0] for line in properties.splitlines()] == [
        p.id for p in ledger.properties
    ]
    assert all(claim.statement in claims for claim in ledger.claims.values())
    for prop, line in zip(ledger.properties, properties.splitlines(), strict=True):
        assert all(claim.id in line for claim in prop.claims)
    for one, line in zip(ledger.experiments, experiments.splitlines(), strict=True):
        assert line.startswith(one.id)


def test_a_listing_at_a_terminal_fits_it_and_loses_nothing():
    console = Console(file=io.StringIO(), width=40)
    ledger = load_ledger().only(["causal_mask"])
    show(console, listing(ledger))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 40
    assert "".join(line.split(" ")[0] for line in lines).count("causal_mask.") == len(
        ledger.properties
    )


def test_the_list_names_claims_and_properties(capsys):
    assert main(["list"]) == WELL
    printed = capsys.readouterr().out
    assert "ATT-02" in printed
    assert "softmax.entries_along_the_axis_sum_to_one" in printed


def folder_of_properties(tmp_path, name, check):
    folder = tmp_path / "mine"
    folder.mkdir()
    decorated = (
        "from attest import law, identical\n"
        "from attest.strategies import softmax_inputs\n"
        "from words_of_mine import FORMULA\n\n"
        "@law('softmax', inputs=softmax_inputs(), formula=FORMULA)\n"
        f"def {name}(softmax, x, dim):\n"
        "    '''A law of mine.'''\n"
        "    result = softmax(x, dim)\n"
        f"    {check}\n"
    )
    (folder / "extra.py").write_text(decorated)
    (folder / "words_of_mine.py").write_text("FORMULA = 'f(x) = f(x)'\n")
    return ["--properties", str(folder), "--only", name, "--examples", "5"]


def test_properties_come_from_a_folder_too(tmp_path, capsys):
    check = "identical(result, softmax(x, dim), 'the result')"
    options = folder_of_properties(tmp_path, "nothing_is_random", check)
    path = tmp_path / "theirs.py"
    path.write_text("import torch\ndef softmax(x, dim=-1): return torch.rand_like(x)\n")
    assert main(["grade", "reference", *options]) == WELL
    assert main(["grade", str(path), *options]) == FAILED
    assert "A law of mine." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "says"),
    [
        ("identical(result, result * 0, 'the result')", "the result: off by 1"),
        ("result.no_such_thing()", "AttributeError: 'Tensor' object has no attribute"),
        ("assert bool((result >= 0).all())", "no check could have failed"),
    ],
    ids=["false", "broken", "without a check"],
)
def test_nobody_is_graded_by_a_law_that_the_reference_fails(check, says, tmp_path, capsys):
    options = folder_of_properties(tmp_path, "it_is_so", check)
    assert main(["grade", "reference", *options]) == UNUSABLE
    printed = capsys.readouterr().err.strip()
    assert "nobody can be graded by softmax.it_is_so, which fails on the reference" in printed
    assert says in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "error"),
    [("import nothing_of_this_name\n", "ModuleNotFoundError"), ("raise SystemExit", "SystemExit")],
)
def test_a_folder_of_properties_that_does_not_load_is_named(text, error, tmp_path, capsys):
    (tmp_path / "broken.py").write_text(text)
    assert main(["list", "--properties", str(tmp_path)]) == UNUSABLE
    assert f"broken.py does not load: {error}" in capsys.readouterr().err


def test_the_properties_of_installed_distributions_are_found(monkeypatch):
    from types import ModuleType

    from attest import ledger
    from attest.claims import Claim, Verdict

    module = ModuleType("a_course")
    module.claim = Claim("X-01", "1", "셋 이상 낱말", "It is so.", "x = x", Verdict.PENDING)

    class Entry:
        name = "a_course"

        @staticmethod
        def load():
            return module

    monkeypatch.setattr(ledger, "entry_points", lambda group: [Entry()])
    assert "X-01" in ledger.load_ledger().claims


def test_a_foreign_package_in_the_way_is_named(monkeypatch):
    from types import ModuleType

    from attest.ledger import LedgerError, own_package

    foreign = ModuleType("reference")
    foreign.__file__ = "/somewhere/else/reference/__init__.py"
    monkeypatch.setitem(sys.modules, "reference", foreign)
    with pytest.raises(LedgerError, match=r"another package named 'reference'.*/somewhere/else"):
        own_package("reference")


def test_our_own_package_is_found_before_a_folder_of_the_same_name(tmp_path, monkeypatch):
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    root = str(Path(__file__).parent.parent)
    code = (
        f"import sys; sys.path.insert(0, {root!r}); sys.path.insert(0, {str(tmp_path)!r})\n"
        "from attest.ledger import own_package\n"
        "print(own_package('reference').softmax)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "function softmax" in run.stdout


@pytest.mark.slow
def test_a_thread_that_a_submission_leaves_behind_keeps_nobody_waiting(tmp_path):
    path = tmp_path / "mine.py"
    thread = "import threading, time\nthreading.Thread(target=time.sleep, args=(300,)).start()\n"
    path.write_text(thread + RIGHT)
    command = [sys.executable, "-m", "attest", "grade", str(path), "--only", "causal_mask"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == WELL
    assert "(100%)" in run.stdout


def test_what_the_parser_knows_without_importing_is_what_there_is():
    assert tuple(WRITTEN) == tuple(FORMATS)
    assert LANGUAGES == feedback.LANGUAGES
