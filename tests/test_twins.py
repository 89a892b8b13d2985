"""A chapter of properties is read beside the file of the reference that it speaks of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TWINS = sorted(
    path.name
    for path in (ROOT / "properties").glob("*.py")
    if (ROOT / "reference" / path.name).exists() and path.name != "__init__.py"
)


def headings(text):
    """Give each heading with the lines of code that are cited under it."""
    found = re.findall(r"^# --- (.*?) -+\n((?:# » .*\n)*)", text, re.MULTILINE)
    return {name: [line[4:].strip() for line in lines.splitlines()] for name, lines in found}


def read(room, name):
    return (ROOT / room / name).read_text(encoding="utf-8")


def test_most_chapters_have_a_twin():
    assert {"softmax.py", "transformer.py", "transformer_layers.py", "seq2seq.py"} <= set(TWINS)


@pytest.mark.parametrize("name", TWINS)
def test_a_line_that_a_heading_cites_is_there(name):
    code = [line.strip() for line in read("reference", name).splitlines()]
    for heading, lines in headings(read("properties", name)).items():
        for line in lines:
            assert line in code, f"{heading}: {line}"


@pytest.mark.parametrize("name", ["transformer.py", "transformer_layers.py"])
def test_every_group_of_laws_says_which_lines_it_speaks_of(name):
    text = read("properties", name)
    for heading, lines in headings(text).items():
        body = re.split(r"^# --- ", text.partition(f"# --- {heading} -")[2], flags=re.MULTILINE)[0]
        assert lines or "@law(" not in body, heading
