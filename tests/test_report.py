"""The report in files: its data, its pages, and how they are written."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from attest.claims import Claim, Verdict
from attest.command import FAILED, INTERRUPTED, UNUSABLE, WELL, main
from attest.counterexamples import plain
from attest.evidence import Counterexample, Evidence
from attest.examination import Settings, examine
from attest.laws import law, proof
from attest.ledger import Ledger, load_ledger, load_reference
from attest.markdown import HEADER, INDEX, UNASKED, pages
from attest.publishing import PublishingError, publish
from attest.report import as_json, report
from attest.strategies import softmax_inputs
from attest.verification import verify

FEW = Settings(examples=5)
ONLY = ["--only", "ATT-04", "--only", "SA-05", "--only", "causal_mask", "--examples", "5"]


def written(folder):
    return {path.name: path.read_bytes() for path in (folder / "claims").iterdir()}


def make(folder, *options):
    return main(["report", *ONLY, "--out", str(folder), *options])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    assert make(folder) == WELL
    return folder


@pytest.fixture(scope="module")
def data(folder):
    return json.loads((folder / "claims" / "claims.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def texts(folder):
    return {name: text.decode() for name, text in written(folder).items()}


# --- The same again -----------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_same_bytes_come_out_again_for_any_number_of_jobs(jobs, folder, tmp_path, capsys):
    assert make(tmp_path, "--jobs", jobs) == WELL
    assert written(tmp_path) == written(folder)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "claims").iterdir()}
    capsys.readouterr()
    assert make(tmp_path, "--jobs", jobs) == WELL
    assert "0 of them new or changed" in " ".join(capsys.readouterr().out.split())
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "claims").iterdir()} == before


def test_another_seed_gives_another_file(folder, tmp_path):
    assert make(tmp_path, "--seed", "1") == WELL
    assert written(tmp_path)["claims.json"] != written(folder)["claims.json"]


def test_nothing_in_the_files_depends_on_the_time_or_the_machine(texts, folder):
    for text in texts.values():
        assert "seconds" not in text
        assert not re.search(r"20\d\d-\d\d-\d\d", text)
        for name in (platform.node(), platform.machine(), str(Path.cwd()), str(folder)):
            assert name not in text


def test_versions_and_settings_are_there(data, texts):
    assert data["settings"] == {
        "examples": 5, "seed": 0, "dtype": "float64 and float32", "device": "cpu", "quick": False,
    }  # fmt: skip
    assert data["versions"]["torch"] == torch.__version__
    assert set(data["versions"]) >= {"python", "torch", "hypothesis", "sympy", "attest"}
    for name, value in data["versions"].items():
        assert f"| {name} | `{value}` |" in texts[INDEX]


# --- Data ---------------------------------------------------------------------------------------


def test_all_claims_are_there_with_all_their_evidence(data):
    ledger = load_ledger().only(["ATT-04", "SA-05", "causal_mask"])
    assert {claim["id"] for claim in data["claims"]} >= {"ATT-04", "SA-05"}
    assert [claim["id"] for claim in data["claims"]] == list(ledger.claims)
    assert set(data["properties"]) == {prop.id for prop in ledger.properties}
    named = {side["property"] for claim in data["claims"] for side in claim["evidence"]}
    unasked = {name for found in data["unasked"] for name in found["properties"]}
    assert named | unasked == set(data["properties"])
    assert not named & unasked
    for claim in data["claims"]:
        inside = {name for part in claim["parts"] for name in part["evidence"]}
        assert inside <= {side["property"] for side in claim["evidence"]}


def test_a_counterexample_is_kept_as_numbers(data):
    name = "scaled_dot_product_attention.what_is_not_needed_gets_no_weight"
    found = data["properties"][name]["counterexample"]
    assert found["given"] == {"query": [[0]], "key": [[0], [0]], "value": [[0], [1]], "mask": None}
    assert found["compared"] == {"came": [0.5], "word": "", "expected": [0], "difference": [0.5]}


def test_a_counterexample_is_the_same_from_a_worker_and_from_here():
    prop = next(
        p
        for p in load_ledger().properties
        if p.function.__name__ == "the_largest_weight_makes_the_largest_contribution"
    )
    here = examine(prop, load_reference(), FEW)
    there = Evidence.from_record(prop, json.loads(json.dumps(here.record())))
    assert there == here
    assert there.counterexample.compared["word"] == "at most"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (torch.tensor([1 / 3, float("nan"), -float("inf")]), [0.333333, "nan", "-inf"]),
        (torch.tensor([[True], [False]]), [[True], [False]]),
        (torch.tensor(2), 2),
        (torch.arange(100.0).view(4, 25), {"shape": [4, 25], "least": 0, "most": 99}),
        (torch.ones(65, dtype=torch.bool), {"shape": [65], "true": 65}),
        ({"a": torch.zeros(1)}, {"a": [0]}),
        (1 / 3, 0.333333),
        (True, True),
        (None, None),
        (torch.float32, "torch.float32"),
    ],
)
def test_values_become_json(value, expected):
    assert plain(value) == expected
    json.dumps(plain(value), allow_nan=False)


def test_json_is_as_wide_as_a_page_and_reads_back(folder, data):
    text = (folder / "claims" / "claims.json").read_text(encoding="utf-8")
    assert as_json(json.loads(text)) == text
    joined = [line for line in text.splitlines() if line.rstrip(",").endswith(("]", "}"))]
    assert max(map(len, joined)) <= 100
    assert json.loads(as_json({"a": ["[ 1,\n 2 ]"] * 30, "b": {}, "c": []})) == {
        "a": ["[ 1,\n 2 ]"] * 30, "b": {}, "c": [],
    }  # fmt: skip


# --- Pages --------------------------------------------------------------------------------------


def test_the_pages_come_from_the_data_alone(data, texts):
    rendered = pages(data)
    assert {**rendered, "claims.json": texts["claims.json"]} == texts
    assert all(text.startswith(HEADER) for text in rendered.values())


def test_the_index_names_every_claim_with_its_verdict(data, texts):
    for claim in data["claims"]:
        page, anchor = re.search(
            rf"^\| \[{claim['id']}\]\((.*?)#(.*?)\) \| \*\*{claim['verdict']}\*\* \| \w+",
            texts[INDEX],
            re.MULTILINE,
        ).groups()
        assert f"\n## {claim['id']}\n" in texts[page]
        assert anchor == claim["id"].lower()


def test_a_page_shows_all_there_is_to_say_of_a_claim(data, texts):
    page = texts["3-self-attention.md"]
    claim = next(claim for claim in data["claims"] if claim["id"] == "SA-05")
    for text in (claim["quote"], claim["statement"], claim["formal"], *claim["conditions"]):
        assert text in page
    for part in claim["parts"]:
        assert f"| {part['part']} | **{part['verdict']}** | {part['statement']} |" in page
    for reference in claim["references"]:
        assert f"- {reference}\n" in page
    for side in claim["evidence"]:
        prop = data["properties"][side["property"]]
        start = f"| `{prop['component']}` | {prop['sentence']} |"
        (row,) = [line for line in page.splitlines() if line.startswith(start)]
        assert f"| {prop['method']} |" in row
        assert f"| {side['side']} |" in row
        assert f"| {prop['outcome']} |" in row


def test_a_counterexample_is_two_small_tables(texts):
    assert (
        "“what is not needed gets no weight” fails. The least needed key would get weight zero; "
        "softmax gives it some.\n\n"
        "| name | value |\n| --- | --- |\n"
        "| `query` | `[[0]]` |\n| `key` | `[[0], [0]]` |\n| `value` | `[[0], [1]]` |\n"
        "| `mask` | `None` |\n\n"
        "| what | came out | should be | difference |\n| --- | --- | --- | --- |\n"
        "| the smallest weight of each row | `[0.5]` | `[0]` | `[0.5]` |\n\n"
    ) in texts["2-attention.md"]


def test_what_no_claim_names_is_counted_by_component_and_kind(data, texts):
    (found,) = [found for found in data["unasked"] if found["component"] == "causal_mask"]
    kinds = [data["properties"][name]["kind"] for name in found["properties"]]
    assert found["kinds"] == {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    page = texts[UNASKED]
    counts = " | ".join(str(n) for n in found["kinds"].values())
    assert f"| [causal\\_mask](#causal_mask) | {counts} | {len(kinds)} |" in page
    assert f"| together | {counts} | {len(kinds)} |" in page
    for name in found["properties"]:
        assert data["properties"][name]["sentence"] in page


def test_every_row_of_a_table_has_as_many_cells_as_its_head(texts):
    for name, text in texts.items():
        if name.endswith(".md"):
            for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
                cells = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
                assert len(cells) == 1, table


def small_ledger():
    claim = Claim(
        "X-01", "8 Odd | section", "a *quote* of", "a|b_c <d> `e`", "|x| = `y`", Verdict.PROVED
    )
    without = Claim(
        "X-02", "8 Odd  SECTION", "nothing said", "It is nice.", "", Verdict.NO_CONTENT,
        reason="nice is not defined",
    )  # fmt: skip

    @law("softmax", inputs=softmax_inputs(), formula="|f(x)| = x", claim=claim)
    def it_is_the_identity(softmax, x, dim):
        """What comes in comes out."""
        assert softmax(x, dim) is x

    @proof("softmax", method="structural", formula="0 = 1", claim=claim)
    def nothing_is_something(softmax):
        """Nothing is."""

    @law("softmax", inputs=softmax_inputs(), formula="f", kind="robustness")
    def it_never_crashes(softmax, x, dim):
        """It comes back."""

    functions = (it_is_the_identity, nothing_is_something, it_never_crashes)
    found = [f.__attest_properties__[0] for f in functions]
    return Ledger({"X-01": claim, "X-02": without}, tuple(found))


def test_what_went_wrong_is_said_with_its_message():
    ledger = small_ledger()
    first, second, third = ledger.properties
    evidence = [
        Evidence(first, "refuted", 3, 2, message="off by | one"),
        Evidence(second, "holds", 1, 1),
        Evidence(third, "crashed", 1, message="it raised *"),
    ]
    data = json.loads(as_json(report(verify(ledger, evidence, FEW))))
    assert not data["as_expected"]
    texts = pages(data)
    assert "Everything came out" not in texts[INDEX]
    assert "**Otherwise than the ledger says: X-01.**" in texts[INDEX]
    assert "`softmax.it_is_the_identity`, `softmax.it_never_crashes`" in texts[INDEX]
    assert "| **refuted** (✗ expected proved) |" in texts[INDEX]
    page = texts["8-odd-section.md"]
    assert "**`softmax`: it is the identity, refuted**: off by \\| one" in page
    assert "| `\\|f(x)\\| = x` | sampled | 3 examples, 2 telling | **refuted** | for |" in page
    assert "**`softmax`: it never crashes, crashed**: it raised \\*" in texts[UNASKED]


def refuted_with(script):
    (prop, *_) = small_ledger().properties
    found = Counterexample(
        "softmax", "it is so", "Why.", "x = y", None, (("x", "[1]"),), "the x", None, None, None,
        script,
    )  # fmt: skip
    evidence = Evidence(prop, "refuted", 3, 3, message="no", counterexample=found)
    data = report(verify(Ledger({}, ()), [evidence], FEW))
    return data, pages(data)[UNASKED]


def test_a_script_is_shown_unless_it_is_longer_than_a_page():
    data, page = refuted_with("print('again')\n" * 20)
    assert page.count("print('again')") == 20
    assert json.loads(as_json(data)) == data
    data, page = refuted_with("print('again')\n" * 2000)
    assert "again')" not in page + as_json(data)
    assert "too long to be shown" in page


def test_no_word_of_a_claim_is_taken_for_markup():
    texts = pages(json.loads(as_json(report(verify(small_ledger(), [], FEW)))))
    assert "a\\|b\\_c \\<d> \\`e\\`" in texts[INDEX].replace("\\>", ">")
    assert "`` |x| = `y` ``" in texts["8-odd-section.md"]
    assert "> a \\*quote\\* of" in texts["8-odd-section.md"]


def test_a_claim_without_evidence_says_why():
    texts = pages(json.loads(as_json(report(verify(small_ledger(), [], FEW)))))
    assert (
        "**no content**: It is nice.\n\nNo evidence: nice is not defined."
        in (texts["8-odd-section-2.md"])
    )


def test_sections_of_like_names_have_pages_of_their_own():
    texts = pages(report(verify(small_ledger(), [], FEW)))
    assert set(texts) == {INDEX, "8-odd-section.md", "8-odd-section-2.md"}


# --- Writing ------------------------------------------------------------------------------------


def test_a_failure_is_written_and_exits_with_one(tmp_path, monkeypatch, capsys):
    def fails(properties, *_):
        return [Evidence(prop, "crashed", message="no") for prop in properties]

    monkeypatch.setattr("attest.running.examine_all", fails)
    assert make(tmp_path) == FAILED
    assert "Not everything came out" in capsys.readouterr().out
    assert b'"as_expected": false' in written(tmp_path)["claims.json"]


@pytest.fixture
def old(tmp_path):
    """A folder with an old report, of which one page is no longer written, and with notes."""
    claims = tmp_path / "claims"
    claims.mkdir()
    (claims / "9-gone.md").write_text(f"{HEADER}\n\n# Gone\n")
    (claims / INDEX).write_text(f"{HEADER}\n\nOld.\n")
    (claims / "claims.json").write_text('{\n  "written_by": "attest report"\n}\n')
    (claims / "notes.md").write_text("Mine.\n")
    (claims / "mine.json").write_text('{"written_by": "me"}\n')
    (claims / "folder").mkdir()
    return tmp_path


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_old_pages_of_ours_go_and_other_files_stay(old, folder, capsys):
    assert make(old) == WELL
    assert "1 removed" in capsys.readouterr().out
    claims = old / "claims"
    assert (claims / "notes.md").read_text() == "Mine.\n"
    assert (claims / "mine.json").read_text() == '{"written_by": "me"}\n'
    assert (claims / "folder").is_dir()
    assert set(files_of(claims)) == {*written(folder), "notes.md", "mine.json"}


@pytest.mark.parametrize("name", [INDEX, "claims.json", "2-attention.md", UNASKED])
def test_no_file_of_somebody_else_is_overwritten(name, old, monkeypatch, capsys):
    (old / "claims" / name).write_text("Mine.\n")
    before = files_of(old / "claims")
    monkeypatch.setattr("attest.running.examine_all", lambda *_: pytest.fail("it was too late"))
    assert make(old) == UNUSABLE
    said = capsys.readouterr().err
    assert f"{name}: this is in the way" in said
    assert len(said.strip().splitlines()) == 1
    assert files_of(old / "claims") == before


def test_an_interrupt_leaves_the_old_report_whole(old, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = files_of(old / "claims")
    monkeypatch.setattr("attest.running.examine_all", interrupt)
    assert make(old) == INTERRUPTED
    assert "interrupted" in capsys.readouterr().err
    assert files_of(old / "claims") == before


def test_a_full_disk_leaves_the_old_report_whole(old, monkeypatch, capsys):
    write, before = Path.write_bytes, files_of(old / "claims")

    def full(path, data):
        if path.name == INDEX:
            raise OSError(28, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert make(old) == UNUSABLE
    assert "No space left on device" in capsys.readouterr().err
    assert files_of(old / "claims") == before
    assert [path.name for path in (old / "claims").iterdir() if path.is_dir()] == ["folder"]


def test_an_interrupt_among_old_and_new_files_waits_for_the_last(old, monkeypatch):
    move = Path.replace

    def interrupted(path, target):
        signal.raise_signal(signal.SIGINT)
        return move(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    new = {INDEX: f"{HEADER}\n\nNew.\n", "1-new.md": f"{HEADER}\n\nNew.\n"}
    with pytest.raises(KeyboardInterrupt):
        publish(old / "claims", new, (HEADER,))
    found = files_of(old / "claims")
    assert {name: found[name].decode() for name in new} == new
    assert "9-gone.md" not in found
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_file_is_no_folder(tmp_path, capsys):
    (tmp_path / "claims").write_text("")
    assert make(tmp_path) == UNUSABLE
    assert "claims: this is not a folder" in capsys.readouterr().err
    assert make(tmp_path / "claims") == UNUSABLE
    assert "Not a directory" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_named_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr("attest.running.examine_all", lambda *_: pytest.fail("it was too late"))
    assert make(tmp_path) == UNUSABLE
    assert "claims: this cannot be written" in capsys.readouterr().err


def test_a_link_is_not_followed(old, tmp_path):
    target = tmp_path / "elsewhere.md"
    target.write_text(f"{HEADER}\n")
    (old / "claims" / "linked.md").symlink_to(target)
    (old / "claims" / INDEX).unlink()
    (old / "claims" / INDEX).symlink_to(target)
    with pytest.raises(PublishingError, match="in the way"):
        publish(old / "claims", {INDEX: f"{HEADER}\n"}, (HEADER,))
    publish(old / "claims", {"1-new.md": f"{HEADER}\n"}, (HEADER,))
    assert (old / "claims" / "linked.md").is_symlink()


def test_a_part_of_the_ledger_does_not_replace_the_whole(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", "--only", "ATT-04"]) == UNUSABLE
    assert "say where with --out" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_reports_go_into_a_folder_of_this_name(tmp_path, monkeypatch):
    ledger = load_ledger().only(["causal_mask"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("attest.ledger.load_ledger", lambda _: replace(ledger))
    assert main(["report", "--examples", "5"]) == WELL
    assert set(written(tmp_path / "reports")) == {INDEX, UNASKED, "claims.json"}


def test_the_report_that_is_kept_is_of_this_ledger():
    kept = Path(__file__).parent.parent / "reports" / "claims" / "claims.json"
    data = json.loads(kept.read_text(encoding="utf-8"))
    ledger = load_ledger()
    assert data["as_expected"] is True
    everything = (*ledger.properties, *ledger.experiments)
    assert set(data["properties"]) == {prop.id for prop in everything}
    assert {c["id"]: c["verdict"] for c in data["claims"]} == {
        claim.id: claim.verdict for claim in ledger.claims.values()
    }
    said = {c["id"]: c["statement"] for c in data["claims"]}
    assert said == {claim.id: claim.statement for claim in ledger.claims.values()}
