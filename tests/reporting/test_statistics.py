"""Intervals and tests against values that were computed by hand, and against scipy's own tests."""

import random

import pytest
from scipy import stats

from research.reporting.groups.statistics import Mean, difference, holm, mean

# Student's own data (1908): hours of sleep that two drugs gave to ten patients.
FIRST = dict(enumerate([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]))
SECOND = dict(enumerate([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]))


def test_a_mean_has_a_standard_error_and_one_value_has_none():
    assert mean([1.0, 2.0, 3.0, 4.0]) == Mean(2.5, pytest.approx(0.6454972), 4)  # √(5/3) / √4
    assert mean([2.0]) == (2.0, None, 1)


def test_pairs_by_hand():
    """Mean 1.58, deviation 1.23, t = 4.06 at 9 degrees of freedom, p = 0.0028; t(0.975, 9) = 2.262157."""
    found = difference(SECOND, FIRST)
    assert (found.mean, found.n, found.paired) == (pytest.approx(1.58), 10, True)
    assert (found.low, found.high) == pytest.approx(
        (1.58 - 2.262157 * 0.388961, 1.58 + 2.262157 * 0.388961), rel=1e-5
    )
    assert found.p == pytest.approx(0.00283289, rel=1e-5) and found.holds_zero is False


def test_without_pairs_it_is_welch_s():
    """The same numbers of other patients: t = 1.8608 at 17.776 degrees of freedom, p = 0.07939."""
    found = difference(SECOND, {key + 100: value for key, value in FIRST.items()})
    assert (found.low, found.high) == pytest.approx((-0.2054832, 3.3654832), rel=1e-5)
    assert found.p == pytest.approx(0.07939414, rel=1e-5)
    assert (found.n, found.paired, found.holds_zero) == (20, False, True)


@pytest.mark.parametrize("paired", [True, False])
def test_as_scipy_computes_it(paired):
    draw = random.Random(0)
    for n in (2, 3, 5, 20):
        one = {key: draw.gauss(3, 1) for key in range(n)}
        other = {key + (0 if paired else 50): draw.gauss(3.1, 2) for key in range(n + (not paired))}
        found = difference(one, other)
        a, b = list(one.values()), list(other.values())
        expected = stats.ttest_rel(a, b) if paired else stats.ttest_ind(a, b, equal_var=False)
        interval = expected.confidence_interval(0.95)
        assert (found.p, found.low, found.high) == pytest.approx(
            (expected.pvalue, interval.low, interval.high)
        )


def test_pairs_leave_out_values_of_one_side_only_and_one_seed_has_no_interval():
    found = difference({0: 3.0, 1: 4.0, 2: 100.0}, {0: 1.0, 1: 1.0})
    assert (found.mean, found.n, found.paired) == (2.5, 2, True)
    found = difference({0: 3.0, 1: 4.0, 2: 5.0, 3: 4.0}, {2: 1.0, 3: 1.0, 4: 2.0, 5: 2.0})  # few match
    assert (found.mean, found.n, found.paired) == (2.5, 8, False)
    alone = difference({0: 3.0}, {0: 1.0, 1: 2.0})
    assert alone == (1.5, None, None, None, 3, False) and alone.holds_zero is None


def test_equal_differences():
    same = difference({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0})
    assert (same.low, same.high, same.p, same.holds_zero) == (0.0, 0.0, 1.0, True)
    assert difference({0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0}).p == 0.0


def test_holm_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1; none below the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == [] and holm([0.2]) == [0.2]


def test_an_interval_holds_the_truth_as_often_as_it_says():
    """2,000 comparisons of five pairs of equal means: zero lies in 95% of the intervals, ± 1.5%."""
    draw = random.Random(1)
    held = 0
    for _ in range(2_000):
        common = [draw.gauss(0, 3) for _ in range(5)]
        one, other = ({key: value + draw.gauss(0, 1) for key, value in enumerate(common)} for _ in range(2))
        held += bool(difference(one, other).holds_zero)
    assert held / 2_000 == pytest.approx(0.95, abs=0.015)
