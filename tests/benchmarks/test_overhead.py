import math

import pytest

from sfgsearch import Objective, create_study
from sfgsearch.errors import BenchmarkError
from tests.benchmarks.overhead import Overhead, OverheadOptions, Pair, added, calibrate
from tests.benchmarks.pair import Timing, Work, first_method, run_pair, train_bare
from tests.benchmarks.timed import Account


def pair(bare, trial, outside=0.0):
    return Pair(Timing(bare, bare, 0.5), Timing(trial, trial, 0.5, shares={"all": outside}))


def test_slowing_both_by_turns_cancels_in_the_geometric_mean():
    assert added([1.2, 1 / 1.2]).mean == pytest.approx(0.0)
    found = added([1.01, 1.02, 1.03])
    assert found.mean == pytest.approx((1.01 * 1.02 * 1.03) ** (1 / 3) - 1)
    margin = 4.302653 * math.sqrt(sum((math.log(r) - math.log1p(found.mean)) ** 2 for r in (1.01, 1.02, 1.03)) / 2 / 3)
    assert found.high == pytest.approx(math.exp(math.log1p(found.mean) + margin) - 1)


@pytest.mark.parametrize(
    ("ratios", "is_met"),
    [([1.010, 1.011, 1.010], True), ([1.03, 1.031, 1.03], False), ([0.95, 1.05, 1.02], None), ([1.01], True)],
)
def test_an_interval_that_holds_the_goal_decides_nothing(ratios, is_met):
    found = Overhead(OverheadOptions(), 20, tuple(pair(60.0, 60.0 * ratio) for ratio in ratios))
    wall, cpu, _ = found.goals()
    assert (wall.is_met, cpu.is_met) == (is_met, is_met)
    assert str(wall).endswith({True: "met", False: "MISSED", None: "not resolved"}[is_met])


def test_time_outside_of_training_is_a_part_of_that_within():
    found = Overhead(OverheadOptions(), 20, (pair(60.0, 61.0, outside=1.0), pair(60.0, 62.0, outside=2.0)))
    assert found.accounted == pytest.approx((1 / 60 + 2 / 60) / 2)
    assert found.to_dict()["pairs"][1]["accounted"] == pytest.approx(2 / 60)


def test_the_first_epoch_and_what_surrounds_epochs_are_no_part_of_an_epoch():
    short = Timing(12.0, 12.0, 0.5, epoch_ends=(4.0, 6.0, 8.0, 10.0))
    assert calibrate([short, short], 60.0) == 28, "28 epochs of 2 s, and 4 s around them"
    assert calibrate([short], 0.1) == 1


def test_an_account_shares_out_all_that_is_no_training():
    account = Account()
    account.training = 50.0
    account.spent["epoch reports and pruning"] = 2.0
    assert sum(account.shares(55.0).values()) == 7.0


def test_the_bare_training_is_that_of_the_first_trial(study):
    config = study(manual={"methods": []}, quota={"learned": 1, "searched": 0})
    objective = Objective(config)
    created = create_study(config, objective=objective)
    created.optimize(objective, n_trials=1)
    params = created.trials[0].params
    settings = first_method(objective).settings
    assert (settings.lr, settings.kl_weight) == (params["learned.lr"], params["learned.kl_weight"])


@pytest.mark.slow
def test_a_training_that_fails_is_said_and_leaves_no_process(study_file):
    broken = study_file(data={"name": "folder", "path": "nowhere"})
    with pytest.raises(BenchmarkError, match="a training of the benchmark failed: ConfigError"):
        run_pair(Work(broken, broken, ""), [train_bare, train_bare])
