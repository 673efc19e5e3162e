"""Paired tests between kinds: the bootstrap against an independent one, and the verdicts that follow."""

import itertools
import json
import math

import numpy as np
import pytest
from made_up_studies import make_study
from scipy import stats

from sfgsearch.comparison import paired_bootstrap
from sfgsearch.comparison._formats import cells_of_test, percent
from sfgsearch.comparison._paired import corrected, paired_test
from sfgsearch.reporting import to_json

DIFFERENCES = [-0.03117, -0.00453, 0.00619, -0.02271, 0.01183, -0.01749]


def exhaustive(values):
    """Return the means of all resamples, which chance only samples from."""
    picks = np.array(list(itertools.product(range(len(values)), repeat=len(values))))
    return np.asarray(values, dtype=np.float64)[picks].mean(1)


def test_the_bootstrap_agrees_with_all_resamples():
    found, means = paired_bootstrap(DIFFERENCES), exhaustive(DIFFERENCES)
    assert found.interval.mean == pytest.approx(np.mean(DIFFERENCES))
    assert [found.interval.low, found.interval.high] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=1e-3)
    assert found.reversed == pytest.approx(np.mean(means > 0), abs=0.01)


def test_rounding_changes_nothing():
    """With three seeds many resamples have the same mean, which is rounded in several ways."""
    noisy = [0.1 + 0.2, 0.7 - 0.6, 0.3 - 0.1]
    exact = [0.3, 0.1, 0.2]
    assert noisy != exact
    there, here = paired_bootstrap(noisy), paired_bootstrap(exact)
    assert (there.interval.low, there.interval.high) == pytest.approx((here.interval.low, here.interval.high))
    assert paired_bootstrap([-0.1, 0.0, 0.1 + 1e-17]).reversed == 0.5


def test_the_bootstrap_depends_on_its_seed_alone():
    assert paired_bootstrap(DIFFERENCES) == paired_bootstrap(DIFFERENCES)
    assert paired_bootstrap(DIFFERENCES) != paired_bootstrap(DIFFERENCES, seed=1)


def test_a_sign_changes_everything_but_the_doubt():
    there, back = paired_bootstrap(DIFFERENCES), paired_bootstrap([-value for value in DIFFERENCES])
    assert back.interval.mean == -there.interval.mean
    assert back.interval.low == pytest.approx(-there.interval.high, abs=1e-3)
    assert back.reversed == pytest.approx(there.reversed, abs=0.01)


@pytest.mark.parametrize(("values", "doubt"), [([0.2, 0.2, 0.2], 0.0), ([0.0, 0.0], 0.5)])
def test_equal_differences_have_no_interval(values, doubt):
    found = paired_bootstrap(values)
    assert found.interval.low == found.interval.high == pytest.approx(values[0])
    assert found.reversed == doubt


def test_two_differences_are_the_fewest():
    assert math.isfinite(paired_bootstrap([0.1, 0.3]).interval.low)
    with pytest.raises(ValueError, match="at least two"):
        paired_bootstrap([0.1])


def test_below_ten_seeds_the_bootstrap_is_too_narrow_and_students_interval_is_not():
    """What the module's documentation says, on a smaller scale."""
    generator = np.random.default_rng(3)
    covered = {"student": 0, "bootstrap": 0}
    for _ in range(300):
        values = generator.normal(size=3)
        margin = stats.t.ppf(0.975, 2) * values.std(ddof=1) / math.sqrt(3)
        covered["student"] += abs(values.mean()) <= margin
        found = paired_bootstrap(values).interval
        covered["bootstrap"] += found.low <= 0 <= found.high
    assert covered["student"] / 300 > 0.92
    assert covered["bootstrap"] / 300 < 0.82


def test_students_interval_decides():
    def test(mine, theirs, *, higher_is_better):
        values = dict(enumerate(mine)), dict(enumerate(theirs))
        first, second = ("learned", "a"), ("manual", "b")
        return paired_test(first, second, "t/x", values, unit="fraction", higher_is_better=higher_is_better)

    low, high = [0.10, 0.11, 0.12], [0.20, 0.22, 0.21]
    assert test(low, high, higher_is_better=False).outcome == "better"
    assert test(low, high, higher_is_better=True).outcome == "worse"
    assert test(high, low, higher_is_better=True).sentence == "a is better"
    doubtful = test([0.10, 0.15, 0.19], [0.2, 0.2, 0.2], higher_is_better=False)
    assert doubtful.bootstrap.interval.high < 0, "the bootstrap would have it resolved"
    assert doubtful.outcome == "unresolved"
    alone = test([0.1], [0.2], higher_is_better=False)
    assert (alone.difference, alone.bootstrap, alone.sentence) == (None, None, "too few seeds")
    constant = test([0.3, 0.4, 0.7], [0.1, 0.2, 0.5], higher_is_better=False)
    assert constant.outcome == "unresolved", "equal in every seed but for rounding: there is no interval"
    infinite = test([0.1, math.inf, 0.1], [0.2, 0.3, 0.2], higher_is_better=False)
    assert infinite.seeds == 2


ERRORS = {"learned": [0.10, 0.12, 0.11], "searched": [0.2, 0.21, 0.22], "manual": [0.11, 0.11, 0.11]}


def test_all_pairs_are_tested_in_all_main_metrics():
    comparison = make_study(ERRORS).comparison
    quantities = ["relative_error", "task_0/accuracy", "task_1/mae"]
    pairs = [("learned", "searched"), ("learned", "manual"), ("searched", "manual")]
    found = [(test.first[0], test.second[0], test.quantity) for test in comparison.tests]
    assert found == [(*pair, quantity) for pair in pairs for quantity in quantities]
    assert [test.outcome for test in comparison.tests[:3]] == ["better"] * 3, "accuracy is higher, errors are lower"
    mae = comparison.tests[2]
    assert mae.difference.mean == pytest.approx(40 * -0.1)
    assert cells_of_test(mae)[:2] == ("task_1 mae", "-4.00 degrees")
    assert cells_of_test(comparison.tests[0])[1] == "-10.0 points"
    assert len(comparison.verdicts()) == 3


def test_json_carries_the_tests_beside_what_it_had():
    data = json.loads(to_json(make_study(ERRORS).comparison.to_dict()))
    assert {"study", "rows", "spent", "tests", "missing", "unfinished"} == set(data)
    test = data["tests"][0]
    assert test["first"] == {"kind": "learned", "name": "learned-3"}
    assert test["difference"]["mean"] == pytest.approx(-0.1)
    low, high = test["bootstrap"]["ci95"]
    assert low <= -0.1 <= high
    assert test["outcome"] == "better"


def test_small_and_large_shares_are_bounds():
    assert [percent(share) for share in (0.0, 0.004, 0.27, 0.999)] == ["< 1 %", "< 1 %", "27 %", "> 99 %"]


def errors_test(name, differences):
    values = dict(enumerate(differences)), dict.fromkeys(range(len(differences)), 0.0)
    return paired_test(("learned", "a"), ("manual", name), "relative_error", values, unit="x", higher_is_better=False)


def test_p_is_that_of_the_paired_t_test():
    found = errors_test("b", DIFFERENCES)
    assert found.p == pytest.approx(stats.ttest_rel(DIFFERENCES, [0.0] * len(DIFFERENCES)).pvalue)
    assert errors_test("b", [0.1, 0.1]).p is None


def test_the_correction_rejects_what_holms_procedure_does_at_every_level():
    generator = np.random.default_rng(5)
    families = [[errors_test(str(index), generator.normal(shift, 1, 6)) for index in range(7)] for shift in (0.5, 2.0)]
    for tests in families:
        adjusted = corrected(tests)
        for level in np.linspace(0.001, 0.999, 200):
            order, rejected = sorted(range(7), key=lambda index, tests=tests: tests[index].p), set()
            for step, index in enumerate(order):
                if tests[index].p > level / (7 - step):
                    break
                rejected.add(index)
            assert {index for index, test in enumerate(adjusted) if test.holm <= level} == rejected


def test_a_family_decides_by_its_corrected_p():
    close = [-0.02, -0.05, -0.02, -0.06]
    alone = errors_test("b", close)
    assert alone.p < 0.05 < 2 * alone.p
    assert alone.outcome == "better"
    (first, second, level) = corrected([alone, errors_test("c", [0.1, -0.1, 0.1, 0.0]), errors_test("d", [0.1, 0.1])])
    assert (first.outcome, second.outcome, level.outcome) == ("unresolved",) * 3
    assert first.holm == pytest.approx(2 * alone.p), "of two tests: the third has no deviation to be tested with"
    assert level.holm is None
