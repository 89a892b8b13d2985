"""Pieces of Markdown: tables, links, and text that Markdown takes for nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["code", "escaped", "link", "plain", "table"]


def plain(word: str) -> str:
    """Write a name as words."""
    return word.replace("_", " ")


def escaped(text: str) -> str:
    """Write words so that Markdown takes none of them for its own."""
    return re.sub(r"([\\`*_<>|~$\[\]])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Write a formula or numbers as they are."""
    text = " ".join(text.split())
    fence = "``" if "`" in text else "`"
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}" if text else ""


def link(text: str, target: str) -> str:
    """Write a link."""
    return f"[{escaped(text)}]({target})"


def table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Give the lines of a table, and an empty one."""
    lines = [_row(titles), _row(["---"] * len(titles)), *(_row(row) for row in rows)]
    return [*lines, ""]


def _row(cells: Sequence[Any]) -> str:
    # In a table a bar ends a cell, in code as well; words have theirs escaped already.
    inside = (re.sub(r"(?<!\\)\|", r"\\|", str(cell)) for cell in cells)
    return f"| {' | '.join(inside)} |"
