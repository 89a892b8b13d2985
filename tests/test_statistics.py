"""The tests that decide experiments, against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from attest.experiments import Comparison, Control
from attest.measurements import holm
from attest.statistics import check, compare, interval

TWELVE = np.arange(1.0, 13.0)


def compared(values, relation, than=0.0, margin=0.0, nothing=0.0, opposite="either"):
    values = np.asarray(values)
    comparison = Comparison("it is so", lambda _: values, relation, than, margin, nothing, opposite)
    return compare(comparison, {})


def test_twelve_pairs_reach_one_in_two_thousand():
    assert compared(TWELVE, "above").p == pytest.approx(2 / 2**12)
    assert not compared(TWELVE, "above").otherwise
    assert compared(TWELVE, "below").p == pytest.approx(2 / 2**12)
    assert compared(TWELVE, "below").otherwise


def test_the_signed_rank_test_is_that_of_the_tables():
    values = np.array([1.5, -0.3, 2.2, 0.7, -1.1, 3.0, 0.2, 1.9, -0.4, 2.6, 0.9, 1.2])
    assert compared(values, "above").p == pytest.approx(
        stats.wilcoxon(values, method="exact").pvalue
    )


def test_the_direction_is_that_of_the_test_and_not_of_the_median():
    values = np.concatenate([0.01 + 0.0001 * np.arange(21), -1 - 0.01 * np.arange(19)])
    assert np.median(values) > 0
    assert compared(values, "above").p < 0.05
    assert compared(values, "above").otherwise


def test_ties_and_zeros_are_no_obstacle():
    found = compared([0.0, 0.0, *[0.5] * 10], "above")
    assert 0 < found.p < 0.01
    assert compared(np.zeros(12), "above").p == 1
    assert compared([0.8 - 0.5 - 0.3] * 12, "above").p == 1  # 5.6e-17
    halves = [0.95 - 0.9, 0.85 - 0.9] * 6
    assert compared(halves, "above").p == 1


def test_no_difference_is_shown_by_two_tests_and_not_by_a_missing_one():
    close = 0.01 * np.sin(TWELVE)
    assert compared(close, "within", 0, 0.1).p < 0.001
    assert not compared(close, "within", 0, 0.1).otherwise
    for far in (close + 0.3, close - 0.3):
        assert compared(far, "within", 0, 0.1).p == pytest.approx(2 / 2**12)
        assert compared(far, "within", 0, 0.1).otherwise
    assert compared(close + 0.3, "within", 0, 0.1, opposite="above").otherwise
    found = compared(close - 0.3, "within", 0, 0.1, opposite="above")
    assert (found.p, found.otherwise) == (1, False)
    assert compared(close, "within", 0, 0.1).p == pytest.approx(2 / 2**12)
    wide = 10 * np.sin(TWELVE)  # no difference can be seen in it, and none excluded
    assert compared(wide, "above").p > 0.05
    assert compared(wide, "within", 0, 0.1).p > 0.05


def test_a_trend_has_its_direction():
    rising = np.arange(4) + np.zeros((12, 1))
    assert compared(rising, "rising").p < 1e-6
    assert not compared(rising, "rising").otherwise
    assert compared(rising, "falling").p == compared(rising, "rising").p
    assert compared(rising, "falling").otherwise
    level = np.tile([[0, 1, 2, 3], [3, 2, 1, 0]], (6, 1))
    assert compared(level, "rising").p > 0.5
    assert compared(rising, "rising").estimate == 3


def test_what_is_likelier_than_chance():
    assert compared(np.ones(12), "likelier", 1 / 28).p == pytest.approx((1 / 28) ** 12)
    assert compared(np.zeros(12), "likelier", 1 / 28).p > 0.5
    assert compared(np.zeros(12), "likelier", 0.9).p < 1e-6
    assert compared(np.zeros(12), "likelier", 0.9).otherwise


def test_an_effect_that_is_smaller_than_expected_decides_nothing():
    smaller = 0.05 + 0.001 * TWELVE
    assert compared(smaller, "above").p < 0.001
    found = compared(smaller, "above", 0.3)
    assert (found.p, found.otherwise) == (1, False)
    opposite = compared(-smaller, "above", 0.3)
    assert (opposite.p < 0.001, opposite.otherwise) == (True, True)
    worse_than_chance = compared(0.4 - smaller, "above", 0.9, nothing=0.5)
    assert (worse_than_chance.p < 0.001, worse_than_chance.otherwise) == (True, True)


def test_a_number_that_is_missing_is_no_number():
    with pytest.raises(ValueError, match="no number for some seed"):
        compared([1.0, np.nan], "above")


@pytest.mark.parametrize(
    ("values", "every", "well"),
    [
        ([1, 2, 3], True, True),
        ([0, 2, 3], True, False),
        ([0, 2, 3], False, True),
        ([0, 0, 3], False, False),
        ([np.nan, 2, 3], True, False),
    ],
)
def test_a_control_must_be_so_for_every_seed_or_for_the_median(values, every, well):
    control = Control("it is so", lambda _: np.asarray(values, float), least=1, every=every)
    assert check(control, {}).well is well


def test_an_interval_holds_the_mean_and_shrinks():
    low, high = interval(TWELVE)
    assert low < TWELVE.mean() < high
    lower, higher = interval(np.repeat(TWELVE, 10))
    assert higher - lower < high - low
    assert interval(np.ones(12)) == (1, 1)


def test_an_interval_of_a_mean_is_right_in_95_of_100_cases():
    generator = np.random.default_rng(0)
    drawn = [interval(generator.normal(size=12)) for _ in range(2000)]
    assert np.mean([low <= 0 <= high for low, high in drawn]) == pytest.approx(0.95, abs=0.015)
    share = compared(np.array([1.0] * 10 + [0.0] * 2), "likelier", 0.1).interval
    assert share == pytest.approx((0.516, 0.979), abs=1e-3)


def test_holm_corrects_for_the_number_of_tests():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "c": 0.06, "b": 0.06}
    )
    assert holm({"a": 0.9, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
