"""The tests that decide experiments, exact where that is possible.

Seeds are paired: every arm of an experiment is measured for the same ones, so that a comparison is
a test on one number for each seed. All tests are two-sided: of what is expected and its opposite,
each tested one-sided, the likelier is decided on, and its p is doubled. Wilcoxon's test takes
numbers to lie symmetrically about their median; where all twelve lie on one side, it says what the
sign test says, which takes nothing for granted. Up to thirteen seeds it runs through all signs, and
Page's test is exact up to twelve.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from attest.experiments import Comparison, Control, Numbers

__all__ = ["Checked", "Tested", "check", "compare", "interval"]

# An exact signed-rank test runs through all signs up to so many seeds.
EXACT = 13

# Differences of rounded numbers that are the same to so many places are ties.
DECIMALS = 12

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Tested:
    """What a comparison gave.

    Attributes:
        sentence: what is expected.
        test: the test's name.
        n: the number of seeds.
        estimate: the mean of the numbers; for a trend, the mean of the last condition less that
            of the first.
        interval: of the mean, 95 %, by Student's t; of a share, by Clopper and Pearson.
        p: the probability of such numbers by chance, before the correction.
        otherwise: whether p is that of the opposite of what is expected.
    """

    sentence: str
    test: str
    n: int
    estimate: float
    interval: tuple[float, float]
    p: float
    otherwise: bool


@dataclass(frozen=True)
class Checked:
    """What a control gave.

    Attributes:
        sentence: what must be so.
        least: the smallest of the numbers.
        median: their median.
        most: the largest.
        well: whether it is so.
    """

    sentence: str
    least: float
    median: float
    most: float
    well: bool


def compare(comparison: Comparison, numbers: Numbers) -> Tested:
    """Test what was measured.

    Raises:
        ValueError: the comparison gives no finite number for some seed.
    """
    values = _finite(comparison.sentence, comparison.values(numbers))
    match comparison.relation:
        case "rising" | "falling":
            return _trend(comparison, values)
        case "likelier":
            return _chance(comparison, values)
        case "within":
            return _equivalence(comparison, values)
        case _:
            return _location(comparison, values)


def _trend(comparison: Comparison, values: Array) -> Tested:
    places = np.arange(1, values.shape[1] + 1)
    up, down = (
        float(stats.page_trend_test(values, predicted_ranks=ranks).pvalue)
        for ranks in (places, places[::-1])
    )
    otherwise = (down < up) == (comparison.relation == "rising")
    p = 2 * min(up, down)
    return _tested(comparison, "Page's trend test", values[:, -1] - values[:, 0], p, otherwise)


def _chance(comparison: Comparison, values: Array) -> Tested:
    found = stats.binomtest(int(values.sum()), len(values), comparison.than)
    share, otherwise = found.proportion_ci(), values.mean() < comparison.than
    tested = _tested(comparison, "binomial test", values, float(found.pvalue), otherwise)
    return replace(tested, interval=(float(share.low), float(share.high)))


def _equivalence(comparison: Comparison, values: Array) -> Tested:
    low, high = comparison.than - comparison.margin, comparison.than + comparison.margin
    test = f"two one-sided signed-rank tests, margin {comparison.margin:g}"
    beyond = {
        "above": _signed_rank(values - high, "greater"),
        "below": _signed_rank(values - low, "less"),
    }
    beyond["either"] = min(beyond.values())
    outside = beyond[comparison.opposite]
    inside = max(_signed_rank(values - low, "greater"), _signed_rank(values - high, "less"))
    return _tested(comparison, test, values, 2 * min(inside, outside), outside < inside)


def _location(comparison: Comparison, values: Array) -> Tested:
    sides = ("greater", "less") if comparison.relation == "above" else ("less", "greater")
    expected = _signed_rank(values - comparison.than, sides[0])
    opposite = _signed_rank(values - comparison.nothing, sides[1])
    p = 2 * min(expected, opposite)
    return _tested(comparison, "Wilcoxon's signed-rank test", values, p, opposite < expected)


def _signed_rank(values: Array, alternative: str) -> float:
    """Give the p of Wilcoxon's test, exact by all 2^n signs where ties or zeros forbid tables."""
    values = values.round(DECIMALS)
    if not values.any():
        return 1.0
    sizes = np.abs(values)
    method: object = "exact"
    if not sizes.all() or len(np.unique(sizes)) < len(sizes):
        method = stats.PermutationMethod(n_resamples=2**EXACT, rng=np.random.default_rng(0))
    found = stats.wilcoxon(values, zero_method="pratt", alternative=alternative, method=method)
    return float(found.pvalue)


def _tested(
    comparison: Comparison,
    test: str,
    values: Array,
    p: float,
    otherwise: bool,  # noqa: FBT001 - a field of what is made
) -> Tested:
    return Tested(
        comparison.sentence,
        test,
        len(values),
        float(values.mean()),
        interval(values),
        min(1.0, p),
        bool(otherwise),
    )


def interval(values: Array) -> tuple[float, float]:
    """Give where the mean lies with a confidence of 95 %, by Student's t."""
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    return float(found.low), float(found.high)


def check(control: Control, numbers: Numbers) -> Checked:
    """See whether a control is as it must be; numbers that are not finite never are."""
    values = np.asarray(control.values(numbers), dtype=np.float64)
    judged = values if control.every else np.median(values, keepdims=True)
    well = bool(((judged >= control.least) & (judged <= control.most)).all())
    return Checked(
        control.sentence,
        float(values.min()),
        float(np.median(values)),
        float(values.max()),
        well,
    )


def _finite(sentence: str, values: Array) -> Array:
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"«{sentence}» has no number for some seed: {values.tolist()}")
    return values
