"""Limits on what a submission may take while it runs in this process."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["TimeLimit", "limited", "ours", "strangers_run"]


class TimeLimit(BaseException):
    """The time for one property is over. Not an Exception, so that few submissions catch it."""


def ours(error: BaseException) -> bool:
    """Say whether an exception that came out of a submission ends the examination.

    A time limit does, and an interrupt, except where interrupts are ignored: there the submission
    has raised it.
    """
    if isinstance(error, KeyboardInterrupt):
        return signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    return isinstance(error, TimeLimit)


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeLimit inside after this many seconds, where the system has timers.

    Python code is stopped between two instructions; a call that never returns to Python is not.
    """
    usable = hasattr(signal, "setitimer") and (
        threading.current_thread() is threading.main_thread()
    )
    if not usable:
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's signature
        raise TimeLimit

    previous: Callable[..., Any] | int | None = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def strangers_run() -> bool:
    """Say whether threads that a submission has started would keep this process from ending."""
    return any(
        not thread.daemon
        for thread in threading.enumerate()
        if thread is not threading.main_thread()
    )
