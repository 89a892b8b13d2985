"""What to say of an exception that a stranger's code raised."""

from __future__ import annotations

__all__ = ["exception_line", "printable"]


def printable(text: str) -> str:
    """Replace what no terminal and no file should take: half a surrogate pair, control codes."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def exception_line(error: BaseException) -> str:
    """Give an exception's type and the first line of its message.

    The exception may fail to print itself; then its type has to do.
    """
    try:
        text = str(error).strip().partition("\n")[0]
    except Exception:  # noqa: BLE001 - whatever a stranger's __str__ raises
        text = ""
    return printable(f"{type(error).__name__}: {text}" if text else type(error).__name__)
