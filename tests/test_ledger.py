"""The ledger is found by walking packages and folders; what stands twice is refused in words."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from attest import ledger
from attest.ledger import LedgerError, load_ledger, own_package

LAW = """
from attest import law
from attest.strategies import softmax_inputs


@law("softmax", inputs=softmax_inputs(), formula="p = p")
def it_is_itself(softmax, x, dim):
    '''It is what it is.'''
"""
CLAIM = """
from attest import Claim, Verdict

MINE = Claim("MINE-01", "Mine", "a b c", "A.", "a", Verdict.NO_CONTENT, reason="there is none")
"""


def folder_of(tmp_path, **texts):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("text", "message"),
    [(LAW, "the property softmax.it_is_itself is defined twice"), (CLAIM, "MINE-01 is defined tw")],
)
def test_what_stands_in_two_files_is_refused(tmp_path, text, message):
    with pytest.raises(LedgerError, match=message):
        load_ledger([folder_of(tmp_path, one=text, two=text)])


def test_what_is_imported_from_another_file_is_there_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    imported = "from attest_properties_mine_one import MINE, it_is_itself\n"
    found = load_ledger([folder_of(tmp_path, one=LAW + CLAIM, two=imported)])
    assert list(found.claims)[-1] == "MINE-01"
    assert [p.id for p in found.properties].count("softmax.it_is_itself") == 1


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(LedgerError, match="there is no Python file in this folder"):
        load_ledger([folder_of(tmp_path)])


def test_an_entry_point_names_a_module(monkeypatch):
    def entry(value):
        return [SimpleNamespace(name="mine", load=lambda: value)]

    monkeypatch.setattr(ledger, "entry_points", lambda group: entry(5))
    with pytest.raises(LedgerError, match="the entry point mine names 5, which is not a module"):
        load_ledger()
    module = ModuleType("mine")
    exec(CLAIM, module.__dict__)  # noqa: S102 - as importing it does
    monkeypatch.setattr(ledger, "entry_points", lambda group: entry(module))
    assert "MINE-01" in load_ledger().claims


def test_a_package_that_is_not_there_is_missing():
    with pytest.raises(LedgerError, match=r"Attest's package 'elsewhere' is not installed"):
        own_package("elsewhere")
    assert "elsewhere" not in sys.modules
