"""The tests that decide experiments, exact where that is possible.

Seeds are paired: every arm of an experiment is measured for the same ones, so that a comparison is
a test on one number for each seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from attest.experiments import Comparison, Control, Numbers

__all__ = ["Checked", "Tested", "check", "compare", "interval"]

# An exact signed-rank test runs through all signs up to so many seeds.
EXACT = 13

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
        interval: of the mean, 95 %, by the bootstrap over seeds.
        p: the probability of such numbers by chance, before the correction.
        otherwise: whether the numbers lie on the other side of what is expected.
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
    relation, than = comparison.relation, comparison.than
    if relation in {"rising", "falling"}:
        up = relation == "rising"
        k = values.shape[1]
        ranks = np.arange(1, k + 1) if up else np.arange(k, 0, -1)
        p = float(stats.page_trend_test(values, predicted_ranks=ranks).pvalue)
        effect = values[:, -1] - values[:, 0]
        return _tested(comparison, "Page's trend test", effect, p, (effect.mean() > 0) != up)
    if relation == "likelier":
        wins = int(values.sum())
        p = float(stats.binomtest(wins, len(values), than, alternative="greater").pvalue)
        return _tested(comparison, "binomial test", values, p, values.mean() <= than)
    if relation == "within":
        low = _signed_rank(values - (than - comparison.margin), "greater")
        high = _signed_rank(values - (than + comparison.margin), "less")
        test = f"two one-sided signed-rank tests, margin {comparison.margin:g}"
        outside = abs(float(np.median(values)) - than) > comparison.margin
        return _tested(comparison, test, values, max(low, high), outside)
    p = _signed_rank(values - than, "two-sided")
    wrong = (float(np.median(values)) > than) != (relation == "above")
    return _tested(comparison, "Wilcoxon's signed-rank test", values, p, wrong)


def _signed_rank(values: Array, alternative: str) -> float:
    """Give the p of Wilcoxon's test, exact by all 2^n signs where ties or zeros forbid tables."""
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
        p,
        bool(otherwise),
    )


def interval(values: Array) -> tuple[float, float]:
    """Give where the mean lies with a confidence of 95 %, by the bootstrap over seeds."""
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = stats.bootstrap(
        (values,), np.mean, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
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
