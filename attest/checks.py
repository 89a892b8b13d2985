"""What a law says about tensors: close, identical, bounded, finite, and sometimes different.

Each check raises :class:`Violation` with what came out, what should have and by how much. NaN is
never close, never identical and never within a limit. Comparisons are made in float64, whatever
the dtype of the tensors.

A check also tells the engine, where one is listening, how near the bound the error came, whether
the bound was small enough beside the signal to test anything, and which changes were seen: a law
that says ``sometimes`` holds only if the change was seen in at least one example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from attest.estimates import Estimate
from attest.messages import exception_line

__all__ = [
    "Crash",
    "DoesNotApply",
    "Observer",
    "Violation",
    "above",
    "at_least",
    "at_most",
    "close",
    "finite",
    "identical",
    "observing",
    "refused",
    "sometimes",
    "sometimes_differs",
]

Relation = Literal[
    "close", "identical", "at_most", "at_least", "above", "finite", "differs", "is", "refused"
]

# A bound that is not well below what it bounds tests nothing.
SIGNAL_SHARE = 0.25

# An error that reaches this share of its bound is worth a search for a larger one. Below it, of
# what a bound is at least, the bound itself decides nothing.
NEAR = 0.2


class Violation(AssertionError):  # noqa: N818 - a report about a submission
    """A law that does not hold, with the evidence.

    Attributes:
        what: the quantity that is wrong, in words.
        relation: how actual and expected should have been related.
        actual: what came out.
        expected: what should have; None where the law says no more than a relation.
        bound: how far apart they may be.
    """

    def __init__(
        self,
        what: str,
        relation: Relation,
        actual: Tensor | None = None,
        expected: Tensor | None = None,
        bound: Tensor | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.relation: Relation = relation
        self.actual = actual
        self.expected = expected
        self.bound = bound


class DoesNotApply(Exception):  # noqa: N818 - a law's way out, not an error
    """This law says nothing about this implementation; it is absent from the result."""


class Crash(Exception):  # noqa: N818 - a report about a submission, not an error of ours
    """A component raised an exception.

    Args:
        component: what raised it.
        error: the exception.
        line: of the submission's file, where that is known.
    """

    def __init__(self, component: str, error: BaseException, line: int | None = None) -> None:
        where = "" if line is None else f" (line {line})"
        super().__init__(f"{component} raised {exception_line(error)}{where}")
        self.error = error


@dataclass
class Observer:
    """What the checks of one example told.

    Attributes:
        ratio: the largest error over its bound.
        informative: whether some check could have failed for a plausible mistake.
        witnesses: every change that a law says happens sometimes, and whether it was seen.
        unseen: the violation to report for a change that is never seen.
        settled: whether a check of an earlier example could have failed, so that a bound need not
            be found out where what it is at least decides. Then the ratio is taken over that, and
            may be larger than over the bound, up to NEAR; and this example does not say whether it
            is informative.
        seen: the changes that earlier examples have seen, for which the same holds.
        spared: whether some bound was not found out for that.
    """

    ratio: float = 0.0
    informative: bool = False
    compared: bool = False
    witnesses: dict[str, bool] = field(default_factory=dict)
    unseen: dict[str, Violation] = field(default_factory=dict)
    settled: bool = False
    seen: frozenset[str] = frozenset()
    spared: bool = False


_listening: list[Observer] = []


@contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """Let the observer hear the checks made inside."""
    _listening.append(observer)
    try:
        yield
    finally:
        _listening.pop()


def _tell(*, informative: bool) -> None:
    if _listening:
        _listening[-1].informative |= informative


def _settled() -> bool:
    return bool(_listening) and _listening[-1].settled


def _same_shape(actual: Tensor, expected: Tensor, what: str) -> None:
    if actual.shape != expected.shape:
        raise ValueError(
            f"{what}: compared shapes {tuple(actual.shape)} and {tuple(expected.shape)}"
        )


def close(actual: Tensor, expected: Tensor, bound: Tensor | float, what: str) -> None:
    """Require ``|actual - expected| <= bound`` in every entry.

    Args:
        actual: what came out.
        expected: what should have, in the same shape.
        bound: how far each entry may be off; broadcasts.
        what: the quantity, in words.

    Raises:
        Violation: some entry is further off, or NaN.
        ValueError: the shapes differ.
    """
    _same_shape(actual, expected, what)
    wide, target = actual.detach().double(), expected.detach().double()
    error = (wide - target).abs_()
    if isinstance(bound, Estimate):
        if _settled() and error.numel():
            most = float(error.max())
            if most < NEAR * bound.least or not most:
                observer, share = _listening[-1], most / bound.least if most else 0.0
                observer.compared, observer.ratio = True, max(observer.ratio, share)
                observer.spared = True
                return
        bound = bound.whole()
    limit = bound if isinstance(bound, Tensor) else torch.tensor(bound, dtype=torch.float64)
    if not bool((error <= limit).all()):
        raise Violation(what, "close", actual, expected, limit.expand_as(error))
    if error.numel() and _listening:
        largest = float(limit.max())
        ratio = float((error / limit).nan_to_num_(0.0).max()) if largest else 0.0
        observer = _listening[-1]
        observer.compared = True
        if not observer.informative:
            signal = float(torch.maximum(wide.abs(), target.abs()).max())
            observer.informative = largest < SIGNAL_SHARE * signal
        observer.ratio = max(observer.ratio, ratio)


def identical(actual: Tensor, expected: Tensor, what: str) -> None:
    """Require equality without any tolerance.

    Raises:
        Violation: some entry differs, or is NaN.
        ValueError: the shapes differ.
    """
    _same_shape(actual, expected, what)
    if not torch.equal(actual, expected):
        raise Violation(what, "identical", actual, expected)
    _tell(informative=True)


def at_most(actual: Tensor, limit: Tensor, bound: Tensor | float, what: str) -> None:
    """Require ``actual <= limit + bound`` in every entry.

    Raises:
        Violation: some entry is larger, or NaN.
    """
    _inequality(actual, limit, bound, what, "at_most")


def at_least(actual: Tensor, limit: Tensor, bound: Tensor | float, what: str) -> None:
    """Require ``actual >= limit - bound`` in every entry.

    Raises:
        Violation: some entry is smaller, or NaN.
    """
    _inequality(actual, limit, bound, what, "at_least")


def _inequality(
    actual: Tensor,
    limit: Tensor,
    bound: Tensor | float,
    what: str,
    relation: Literal["at_most", "at_least"],
) -> None:
    with torch.no_grad():
        wide, edge = actual.detach().double(), limit.detach().double().expand_as(actual)
        if isinstance(bound, Estimate):
            beyond = wide - edge if relation == "at_most" else edge - wide
            if _settled() and bool((beyond <= bound.least).all()):
                _listening[-1].spared = True
                return
            bound = bound.whole()
        slack = torch.as_tensor(bound, dtype=torch.float64)
        inside = wide <= edge + slack if relation == "at_most" else wide >= edge - slack
        if not bool(inside.all()):
            raise Violation(what, relation, actual, limit, slack.expand_as(wide))
        if wide.numel() and _listening:
            signal = float(torch.maximum(wide.abs(), edge.abs()).max())
            largest = float(slack.max())
            _tell(informative=not largest or largest < SIGNAL_SHARE * signal)


def above(actual: Tensor, limit: Tensor, what: str) -> None:
    """Require ``actual > limit`` in every entry, without any tolerance.

    Raises:
        Violation: some entry is not larger, or is NaN.
    """
    if not bool((actual > limit).all()):
        raise Violation(what, "above", actual, limit)
    _tell(informative=actual.numel() > 0)


def finite(actual: Tensor, what: str) -> None:
    """Require every entry to be a finite number.

    Raises:
        Violation: some entry is NaN or infinite.
    """
    if not bool(torch.isfinite(actual).all()):
        raise Violation(what, "finite", actual)
    _tell(informative=actual.numel() > 0)


def refused(call: Callable[[], object], what: str) -> None:
    """Require that a call of the component, or its construction, raises.

    Args:
        call: makes the call, and nothing after it.
        what: what should have been refused, in words.

    Raises:
        Violation: nothing was raised.
    """
    try:
        call()
    except Crash:
        _tell(informative=True)
        return
    raise Violation(f"{what} was accepted", "refused")


def sometimes(condition: bool, sentence: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Require that the condition is met in at least one example.

    This is how a law controls that its examples test anything at all. A change in what the
    component gives is better compared by :func:`sometimes_differs`, which can be run again.

    Args:
        condition: whether it is met in this example.
        sentence: what is sometimes so, for the report when it never is.
    """
    _witness(sentence, condition, Violation(sentence, "is"))


def sometimes_differs(
    actual: Tensor, before: Tensor, sentence: str, bound: Tensor | float = 0.0
) -> None:
    """Require that the two tensors differ in at least one example.

    This is how a law controls that its component does anything at all: a constant passes every
    invariance, and none of these.

    Args:
        actual: what came out.
        before: what it is to differ from, in the same shape.
        sentence: what is sometimes so, for the report when it never is.
        bound: what rounding alone can change; a difference has to be larger in some entry.
    """
    if isinstance(bound, Estimate):
        if _settled() and sentence in _listening[-1].seen:
            return
        bound = bound.whole()
    with torch.no_grad():
        change = (actual.detach().double() - before.detach().double()).abs()
        differs = bool((change > bound).any())
        limit = torch.as_tensor(bound, dtype=torch.float64).expand_as(change)
    _witness(sentence, differs, Violation(sentence, "differs", actual, before, limit))


def _witness(sentence: str, seen: bool, violation: Violation) -> None:  # noqa: FBT001
    if _listening:
        observer = _listening[-1]
        observer.witnesses[sentence] = observer.witnesses.get(sentence, False) or seen
        observer.unseen.setdefault(sentence, violation)
        observer.informative |= seen and not observer.compared
