"""Limits on what a submission may take while it runs in this process."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = [
    "Ended",
    "TimeLimit",
    "WorkerError",
    "end_with_parent",
    "limited",
    "ours",
    "strangers_run",
    "undisturbed",
]


class TimeLimit(BaseException):
    """The time for one property is over. Not an Exception, so that few submissions catch it."""


class Ended(BaseException):
    """The process that a submission runs in is gone. Not an Exception, since laws catch those."""


class WorkerError(BaseException):
    """A worker that does not start, or is gone, which tells nothing of what it holds."""


def ours(error: BaseException) -> bool:
    """Say whether an exception that came out of a submission ends the examination.

    A time limit does, the end of the process that it runs in, the loss of its worker, and an
    interrupt, except where interrupts are ignored: there the submission has raised it.
    """
    if isinstance(error, KeyboardInterrupt):
        return signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    return isinstance(error, TimeLimit | Ended | WorkerError)


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
        with undisturbed():
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let a time limit that is reached inside wait until what is done here is whole."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent(how: signal.Signals) -> None:
    """Let this process get a signal once the one that has forked it is gone, where the system can.

    What no handler sees, as when a process is killed, leaves nothing behind in this way.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(how), 0, 0, 0)  # PR_SET_PDEATHSIG


def strangers_run() -> bool:
    """Say whether threads that a submission has started would keep this process from ending."""
    return any(
        not thread.daemon
        for thread in threading.enumerate()
        if thread is not threading.main_thread()
    )
