"""Numbers as people read them."""

import math

import pytest
from made_up_studies import make_study

from sfgsearch.comparison._formats import MetricFormat, cells_of_test, decimals_beside
from sfgsearch.comparison._statistics import Interval

FORM = MetricFormat({"angle/mae": "degrees", "digit/accuracy": "fraction"})


def written(key, mean, margin, seeds=3):
    return FORM.interval(key, Interval(mean, mean - margin, mean + margin), seeds)


@pytest.mark.parametrize(
    ("mean", "margin", "shown"),
    [
        (10.2, 0.369, "10.20 ±0.37"),
        (9.6, 0.302, "9.60 ±0.30"),
        (11.2, 1.27, "11.2 ±1.3"),
        (1.0, 0.0996, "1.00 ±0.10"),
        (0.00431, 0.000582, "0.00431 ±0.00058"),
        (-3.14, 21.6, "-3 ±22"),
        (1234.5, 211.6, "1230 ±210"),
        (0.0, 0.51, "0.00 ±0.51"),
        (12.345, 0.0, "12.3 ±0.0"),
        (1234.5, 0.0, "1234 ±0"),
        (30.2, 1e-9, "30.2000 ±0.0000"),
        (12.345, math.inf, "12.3 ±inf"),
        (math.nan, math.nan, "nan ±nan"),
    ],
)
def test_a_mean_ends_where_its_margin_of_two_digits_ends(mean, margin, shown):
    assert written("angle/mae", mean, margin) == shown


@pytest.mark.parametrize(("mean", "margin", "shown"), [(0.955, 0.0071, "95.5 ±0.7"), (0.084, 0.1267, "8.4 ±12.7")])
def test_fractions_are_percent_of_one_decimal(mean, margin, shown):
    assert written("digit/accuracy", mean, margin) == shown


@pytest.mark.parametrize("margin", [10**power for power in (-4.2, -2.5, -0.9, 0.3, 1.0, 2.6)])
def test_the_margin_is_told_within_five_percent(margin):
    mean, shown = written("angle/mae", 7321.0987 * margin, margin).split(" ±")
    assert float(shown) == pytest.approx(margin, rel=0.05)
    assert len(mean.partition(".")[2]) == len(shown.partition(".")[2]), "as many decimals"
    assert float(mean) == pytest.approx(7321.0987 * margin, abs=0.05 * margin)


def test_one_seed_has_no_margin():
    assert written("angle/mae", 10.234, 0.0, seeds=1) == "10.2 ±-"


def test_large_numbers_have_no_power_of_ten():
    assert [FORM.value("angle/mae", value) for value in (12.345, 999.4, 999.6, 12345.6)] == [
        "12.3",
        "999",
        "1000",
        "12346",
    ]


def test_a_difference_and_its_intervals_have_equal_decimals():
    errors = {"learned": [0.10, 0.11, 0.13], "searched": [0.2, 0.24, 0.21], "manual": [0.3, 0.3, 0.31]}
    tests = make_study(errors).comparison.tests
    in_degrees = [test for test in tests if test.unit == "degrees"]
    assert in_degrees
    for test in in_degrees:
        _, difference, interval, _, resampled, *_ = cells_of_test(test)
        numbers = [difference.split()[0], *interval.split(" to "), *resampled.split(" to ")]
        decimals = decimals_beside(test.difference.mean, test.difference.half_width)
        assert {len(number.partition(".")[2]) for number in numbers} == {decimals}
        assert all(number[0] in "+-" for number in numbers)
