"""The checks: what passes, what does not, and what they tell whoever listens."""

from __future__ import annotations

import math

import pytest
import torch

from attest import checks
from attest.checks import (
    Crash,
    Observer,
    Violation,
    above,
    at_least,
    at_most,
    close,
    finite,
    identical,
    observing,
    refused,
    sometimes,
    sometimes_differs,
)

NAN, INF = math.nan, math.inf


def t(*entries):
    return torch.tensor(entries, dtype=torch.float64)


COMPARISONS = {
    "close": lambda a, b: close(a, b, 1.0, "it"),
    "close, whatever the distance": lambda a, b: close(a, b, INF, "it"),
    "identical": lambda a, b: identical(a, b, "it"),
    "at_most": lambda a, b: at_most(a, b, INF, "it"),
    "at_least": lambda a, b: at_least(a, b, INF, "it"),
    "above": lambda a, b: above(a, b, "it"),
}
EACH = pytest.mark.parametrize("check", COMPARISONS.values(), ids=COMPARISONS)


@EACH
@pytest.mark.parametrize("side", ["actual", "expected", "both"])
def test_nan_passes_no_comparison(check, side):
    odd, plain = t(1.0, NAN), t(0.0, 0.0)
    with pytest.raises(Violation):
        check(plain if side == "expected" else odd, plain if side == "actual" else odd)


def test_nan_is_not_identical_to_itself():
    value = t(NAN)
    with pytest.raises(Violation):
        identical(value, value, "it")


def test_nan_is_within_no_bound_that_is_nan():
    with pytest.raises(Violation):
        close(t(1.0), t(1.0), NAN, "it")


@pytest.mark.parametrize("entry", [NAN, INF, -INF])
def test_only_finite_numbers_are_finite(entry):
    finite(t(0.0, -1e308), "it")
    with pytest.raises(Violation) as caught:
        finite(t(0.0, entry), "it")
    assert (caught.value.relation, caught.value.what) == ("finite", "it")


def test_infinities_of_one_sign_are_identical_and_not_close():
    identical(t(INF), t(INF), "it")
    with pytest.raises(Violation):
        close(t(INF), t(INF), 1.0, "it")


def test_close_allows_the_bound_itself_and_no_more():
    close(t(1.5), t(1.0), 0.5, "it")
    close(t(0.5), t(1.0), 0.5, "it")
    for actual in (1.5 + 1e-15, 0.5 - 1e-15):
        with pytest.raises(Violation):
            close(t(actual), t(1.0), 0.5, "it")


def test_a_bound_holds_entry_by_entry():
    close(t(1.0, 20.0), t(0.0, 0.0), t(1.0, 20.0), "it")
    with pytest.raises(Violation) as caught:
        close(t(2.0, 0.0), t(0.0, 0.0), t(1.0, 20.0), "it")
    assert torch.equal(caught.value.bound, t(1.0, 20.0))


def test_a_number_as_bound_is_shown_for_every_entry():
    with pytest.raises(Violation) as caught:
        close(t(2.0, 0.0), t(0.0, 0.0), 1, "it")
    violation = caught.value
    assert (violation.what, violation.relation, str(violation)) == ("it", "close", "it")
    assert torch.equal(violation.actual, t(2.0, 0.0))
    assert torch.equal(violation.expected, t(0.0, 0.0))
    assert torch.equal(violation.bound, t(1.0, 1.0))


def test_low_precision_is_compared_in_float64():
    one = torch.tensor([1.0], dtype=torch.bfloat16)
    close(one, torch.tensor([1.0078125], dtype=torch.bfloat16), 0.0078125, "it")
    with pytest.raises(Violation):
        close(one, torch.tensor([1.0078125], dtype=torch.bfloat16), 0.0078, "it")


@pytest.mark.parametrize("shapes", [((2,), (3,)), ((2,), (1, 2)), ((1,), (3,)), ((), (1,))])
def test_tensors_of_different_shapes_are_a_mistake_of_the_law(shapes):
    actual, expected = torch.zeros(shapes[0]), torch.zeros(shapes[1])
    for compare in (
        lambda: close(actual, expected, 1.0, "it"),
        lambda: identical(actual, expected, "it"),
    ):
        with pytest.raises(ValueError, match="it: compared shapes") as caught:
            compare()
        assert str(shapes[0]) in str(caught.value)
        assert str(shapes[1]) in str(caught.value)


def test_the_smallest_difference_is_not_identical():
    identical(t(1.0, 2.0), t(1.0, 2.0), "it")
    with pytest.raises(Violation) as caught:
        identical(t(1.0, 2.0), t(1.0, math.nextafter(2, 3)), "it")
    assert caught.value.relation == "identical"


@pytest.mark.parametrize(
    ("check", "inside", "outside"),
    [
        (at_most, 1.25, 1.25 + 1e-9),
        (at_least, 0.75, 0.75 - 1e-9),
    ],
)
def test_a_limit_holds_with_its_slack_and_not_beyond(check, inside, outside):
    check(t(1.0, inside), t(1.0, 1.0), 0.25, "it")
    check(t(1.0, inside), t(1.0), t(0.25), "it")
    with pytest.raises(Violation) as caught:
        check(t(1.0, outside), t(1.0, 1.0), 0.25, "it")
    assert caught.value.relation == check.__name__


def test_a_limit_is_one_sided():
    at_most(t(-1e9), t(0.0), 0.0, "it")
    at_least(t(1e9), t(0.0), 0.0, "it")


def test_above_is_strict():
    above(t(5e-324), t(0.0), "it")
    for entry in (0.0, -0.0, -1.0):
        with pytest.raises(Violation):
            above(t(1.0, entry), t(0.0, 0.0), "it")


def test_every_check_works_on_tensors_that_are_differentiated():
    x = t(1.0, 2.0).requires_grad_()
    close(x, t(1.0, 2.0), 0.1, "it")
    identical(x, t(1.0, 2.0), "it")
    at_most(x, t(2.0), 0.0, "it")
    at_least(x, t(1.0), 0.0, "it")
    above(x, t(0.0), "it")
    finite(x, "it")
    with pytest.raises(Violation):
        close(x, t(1.0, 3.0), 0.1, "it")


def heard(*actions):
    observer = Observer()
    with observing(observer):
        for action in actions:
            action()
    return observer


@pytest.mark.parametrize(
    ("bound", "informative"),
    [(0.0, True), (0.9, True), (1.0, False), (1e6, False), (INF, False)],
)
def test_a_bound_not_well_below_the_signal_tests_nothing(bound, informative):
    assert heard(lambda: close(t(4.0), t(4.0), bound, "it")).informative is informative


def test_comparing_zeros_tests_nothing():
    assert not heard(lambda: close(t(0.0), t(0.0), 1e-9, "it")).informative


@pytest.mark.parametrize("check", ["close", "at_most", "at_least", "above", "finite"])
def test_checking_no_entries_tests_nothing(check):
    empty = torch.zeros(0, 3)
    arguments = {"close": (empty, 0.0), "at_most": (empty, 0.0), "at_least": (empty, 0.0)}
    rest = arguments.get(check, (empty,) if check == "above" else ())
    assert not heard(lambda: getattr(checks, check)(empty, *rest, "it")).informative


def test_what_is_exact_is_always_a_test():
    for action in (
        lambda: identical(t(0.0), t(0.0), "it"),
        lambda: at_most(t(0.0), t(0.0), 0.0, "it"),
        lambda: above(t(1.0), t(0.0), "it"),
        lambda: finite(t(0.0), "it"),
    ):
        assert heard(action).informative


def test_one_check_that_could_fail_is_enough():
    assert heard(
        lambda: close(t(4.0), t(4.0), 0.1, "it"), lambda: close(t(4.0), t(4.0), 9.0, "it")
    ).informative


def test_the_largest_share_of_a_bound_is_told():
    observer = heard(
        lambda: close(t(1.0, 2.5), t(1.0, 2.0), t(0.1, 2.0), "it"),
        lambda: close(t(1.1), t(1.0), 1.0, "it"),
    )
    assert observer.ratio == pytest.approx(0.25)


def test_equality_under_a_bound_of_zero_is_no_share():
    assert heard(lambda: close(t(1.0, 2.0), t(1.0, 2.0), t(0.0, 1.0), "it")).ratio == 0.0


def test_a_change_seen_once_was_seen():
    observer = heard(
        lambda: sometimes(False, "it moves"),
        lambda: sometimes(True, "it moves"),
        lambda: sometimes(False, "it moves"),
        lambda: sometimes_differs(t(1.0), t(1.0), "it differs"),
    )
    assert observer.witnesses == {"it moves": True, "it differs": False}
    assert observer.informative
    assert observer.unseen["it differs"].relation == "differs"
    assert observer.unseen["it moves"].relation == "is"


def test_a_change_within_rounding_is_not_seen():
    change = t(1.0, 2.0), t(1.0, 2.5), "it differs"
    assert heard(lambda: sometimes_differs(*change, 0.4)).witnesses == {"it differs": True}
    assert heard(lambda: sometimes_differs(*change, 0.6)).witnesses == {"it differs": False}
    assert heard(lambda: sometimes_differs(*change, t(0.1, 0.6))).witnesses == {"it differs": False}


def test_what_raises_in_the_component_is_refused():
    def crash():
        raise Crash("it", ValueError("no"))

    assert heard(lambda: refused(crash, "five")).informative
    with pytest.raises(Violation, match="five was accepted") as caught:
        refused(lambda: None, "five")
    assert caught.value.relation == "refused"


def test_an_error_of_ours_is_no_refusal():
    with pytest.raises(ZeroDivisionError):
        refused(lambda: 1 / 0, "five")


def test_a_change_that_is_not_seen_tests_nothing():
    assert not heard(lambda: sometimes_differs(t(1.0), t(1.0), "it differs")).informative


def test_an_observer_hears_nothing_after_its_example():
    observer = Observer()
    with pytest.raises(Violation), observing(observer):
        finite(t(NAN), "it")
    sometimes(True, "later")
    identical(t(1.0), t(1.0), "it")
    assert observer == Observer()


def test_a_violation_is_an_assertion_that_fails():
    assert issubclass(Violation, AssertionError)
