"""What is put together of words and numbers, in Korean: by patterns, since it comes in English."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from rich.cells import cell_len

from attest.counterexamples import AGREEMENT, EITHER, LATER
from attest.evidence import Counterexample
from attest.ledger import own_package

__all__ = ["MISTAKES", "counterexample", "mistake", "problem"]

MISTAKES = "mistakes_ko.json"
"""What is said of the nearest mistakes, beside the properties."""

_BY_HOW_MUCH = (
    (r"off by (\S+?)(?= at |,| \()", r"\1만큼 다름"),
    (r" at (\[.*?\])", r": \1"),
    (r" \((\S+) for (\S+)\)", r" (\2이어야 하는데 \1)"),
    (r", where rounding explains nothing", ", 반올림으로는 설명되지 않음"),
    (r", where rounding explains (\S+?)(?=;|$)", r", 반올림으로 설명되는 크기는 \1"),
    (f"; {EITHER}", "; 둘 중 어느 쪽이 틀렸는지는 알 수 없음"),
    (r"^the difference of (\S+) is rounding$", r"\1의 차이는 반올림"),
    (r"^it is not a finite number$", "유한한 수가 아님"),
)
_HOW = {
    AGREEMENT: "다음과 같은 값: ",
    "at most ": "최대 ",
    "at least ": "최소 ",
    "above ": "다음보다 큰 값: ",
    "anything but ": "다음이 아닌 값: ",
    "finite numbers": "유한한 수",
}
_PROBLEMS = (
    (r"^(.+), line (\d+): this is not Python: (.*)$", r"\1: Python 문법 오류 (\2행): \3"),
    (r"^(.+): this is not Python: (.*)$", r"\1: Python 문법 오류: \2"),
    (r"^(.+) raised (.*) when imported \(line (\d+)\)$", r"\1: import 도중 \2 발생 (\3행)"),
    (r"^(.+) raised (.*) when imported$", r"\1: import 도중 \2 발생"),
    (r"^(.+) was not imported after (\S+) seconds$", r"\1: \2초 안에 import되지 않음"),
    (r"^(.+) defines none of the contract's names: (.*)$", r"\1: 과제의 이름이 하나도 없음: \2"),
    (r"^(.+) ended its worker when imported$", r"\1: import 도중 프로세스를 끝냄"),
    (r"^the folder has no Python file$", "폴더에 Python 파일이 없음"),
    (r"^the folder has (\d+) Python files, .* is (\S+)$", r"Python 파일 \1개 중 \2가 없음"),
    (r"^it is a link to something else$", "다른 것을 가리키는 링크임"),
)


def counterexample(found: Counterexample) -> Counterexample:
    """Give a counterexample whose words around numbers are Korean."""
    what = re.sub(r" \(line (\d+)\)(?=$| \()", r" (\1행)", found.what)
    what = what.replace(LATER, " (이전 호출 뒤에만)")
    far = None if found.difference is None else _replaced(found.difference, _BY_HOW_MUCH)
    return replace(found, what=what, expected=_expected(found.expected), difference=far)


def problem(text: str) -> str:
    """Say in Korean why a submission could not be loaded; in English where it is a rare reason."""
    for pattern, wanted in _PROBLEMS:
        found, count = re.subn(pattern, wanted, text, count=1, flags=re.DOTALL)
        if count:
            return found
    return text


def mistake(text: str) -> str:
    """Say in Korean what a component behaves like."""
    kind, _, likely = text.partition("; most likely ")
    table = _mistakes()
    said = table.get(kind, kind)
    return f"{said}. 가장 그럴듯한 것: {table.get(likely, likely)}" if likely else said


@cache
def _mistakes() -> Mapping[str, str]:
    path = Path(str(own_package("properties").__file__)).parent / MISTAKES
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _replaced(text: str, patterns: tuple[tuple[str, str], ...]) -> str:
    for pattern, wanted in patterns:
        text = re.sub(pattern, wanted, text, count=1)
    return text


def _expected(text: str | None) -> str | None:
    for word, wanted in _HOW.items():
        if text is not None and text.startswith(word):
            rest = text.removeprefix(word).replace("\n" + " " * len(word), "\n")
            return wanted + rest.replace("\n", "\n" + " " * cell_len(wanted))
    return text
