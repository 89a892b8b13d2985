"""Long work goes on where it ended, and starts anew where its sources have changed."""

from __future__ import annotations

import json
from concurrent.futures.process import BrokenProcessPool
from os import _exit, getpid

import pytest

from attest.sweeping import BusyError, apart, carried_out, sweep
from tests import sources
from tests.power.matrix import STYLES, rewritten
from tests.sources import fingerprint
from tests.stability import SEEDS, dealt

NAMES = ["a", "b", "c", "d"]


def double(index):
    return 2 * index


def test_every_task_is_done_once_and_in_order(tmp_path):
    assert sweep("test", NAMES, double, tmp_path / "p", mark="m", jobs=2) == dict(
        zip(NAMES, (0, 2, 4, 6), strict=True)
    )


def test_what_is_done_apart_is_done_in_another_process():
    assert apart(getpid) != getpid()
    with pytest.raises(KeyError, match="'c'"):
        apart(lambda: {}["c"])


def test_what_was_done_is_not_done_again(tmp_path):
    sweep("test", NAMES, double, tmp_path / "p", mark="m", jobs=1)
    assert sweep("test", NAMES, lambda _: -1, tmp_path / "p", mark="m", jobs=1)["c"] == 4


def test_an_interrupted_run_goes_on(tmp_path):
    def stumbles(index):
        if index == 2:
            raise KeyError(index)
        return 2 * index

    with pytest.raises(KeyError):
        sweep("test", NAMES, stumbles, tmp_path / "p", mark="m", jobs=1)
    kept = [json.loads(line)[0] for line in (tmp_path / "p").read_text().splitlines()[1:]]
    assert kept[:2] == ["a", "b"]
    assert sweep("test", NAMES, double, tmp_path / "p", mark="m", jobs=1)["d"] == 6


def test_a_line_that_was_half_written_is_done_again(tmp_path):
    sweep("test", NAMES, double, tmp_path / "p", mark="m", jobs=1)
    text = (tmp_path / "p").read_text()
    (tmp_path / "p").write_text(text.rstrip()[:-3])
    assert sweep("test", NAMES, lambda _: 7, tmp_path / "p", mark="m", jobs=1) == {
        "a": 0,
        "b": 2,
        "c": 4,
        "d": 7,
    }


def test_what_depends_on_something_else_begins_anew(tmp_path):
    sweep("test", NAMES, double, tmp_path / "p", mark="m", jobs=1)
    assert sweep("test", NAMES, lambda _: -1, tmp_path / "p", mark="n", jobs=1)["a"] == -1


def test_other_sources_are_something_else(monkeypatch):
    before = fingerprint("a"), fingerprint("b")
    monkeypatch.setattr(sources, "SOURCES", ("reference",))
    assert len({*before, fingerprint("a"), fingerprint("b")}) == 4


def test_what_a_smaller_run_does_not_ask_for_stays(tmp_path):
    sweep("test", NAMES, double, tmp_path / "p", mark="m", jobs=1)
    sweep("test", ["e"], lambda _: 9, tmp_path / "p", mark="m", jobs=1)
    assert sweep("test", NAMES, lambda _: -1, tmp_path / "p", mark="m", jobs=1)["d"] == 6


def test_without_processes_it_is_the_same(tmp_path):
    found = sweep("test", NAMES, double, tmp_path / "p", mark="m", jobs=0)
    assert found == dict(zip(NAMES, (0, 2, 4, 6), strict=True))


def test_two_runs_do_not_write_into_each_other(tmp_path):
    def again(_):
        return sweep("test", NAMES, double, tmp_path / "p", mark="m", jobs=0)

    with pytest.raises(BusyError, match="another run"):
        sweep("test", NAMES, again, tmp_path / "p", mark="m", jobs=0)


def test_a_task_that_ends_its_process_is_no_silent_loss(tmp_path):
    with pytest.raises(BrokenProcessPool):
        sweep("test", NAMES, lambda _: _exit(3), tmp_path / "p", mark="m", jobs=1)


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "the same command goes on"),
        (BusyError("another run is at it"), 2, "another run is at it"),
    ],
)
def test_a_command_that_cannot_go_on_ends_with_a_line(raised, code, said, capsys):
    def main():
        raise raised

    assert carried_out(main) == code
    assert capsys.readouterr().err.count("\n") == 1
    assert carried_out(lambda: 3) == 3


def test_seeds_are_dealt_out_over_all_styles():
    work = {style: len(rewritten(style)) for style in STYLES}
    given = dealt(work)
    assert [seed for seed, _ in given] == list(range(1, SEEDS + 1))
    count = {style: sum(s == style for _, s in given) for style in STYLES}
    assert min(count.values()) >= 2
    for one in STYLES:
        for other in STYLES:
            assert work[one] <= work[other] or count[one] <= count[other]
