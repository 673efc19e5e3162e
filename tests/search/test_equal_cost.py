"""Whole studies that compare at equal multiply-adds."""

import json

import pytest
import tomlkit
import torch
from study_fixtures import TINY, merge
from torch.utils.flop_counter import FlopCounterMode

from sfgsearch import Objective, create_study, load_config, load_exported
from sfgsearch.backbones import backbones
from sfgsearch.cli import main
from sfgsearch.comparison import read_comparison, read_status
from sfgsearch.errors import ConfigError
from sfgsearch.export import load_network
from sfgsearch.search import current_finalists, load_study, missing_finalists, records_of, retrain_finalists
from sfgsearch.workers import StopRequest, Worker, WorkerListener

pytestmark = pytest.mark.slow

EQUAL = {
    "backbone": {"name": "vgg_small", "plan": [12, "pool", 16, 16]},
    "training": {"epochs": 1, "batch_size": 128},
    "quota": {"learned": 1, "searched": 1},
    "learned": {"prior": {"family": "uniform"}},
    "searched": {"warm_starts": []},
    "manual": {"methods": ["single_task", "hard_sharing", "equal"], "options": None},
    "comparison": {"seeds": 2, "match": "macs", "controls": True},
}


def call(*arguments):
    """Run a command and return its exit status."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code or 0
    return 0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run a study with controls to its end, and return its file."""
    path = tmp_path_factory.mktemp("equal") / "equal.toml"
    path.write_text(tomlkit.dumps(merge(TINY, EQUAL)))
    assert call("run", path) == 0
    return path


@pytest.fixture
def records(run):
    return [record for record in records_of(load_study(load_config(run))).all() if record.role != "trial"]


def test_every_finalist_is_trained_at_equal_cost_and_at_its_own_width(records):
    roles = {}
    for record in records:
        roles.setdefault(record.name, set()).add(record.role)
    both = {"matched", "finalist"}
    assert roles == {
        "single_task": both,
        "hard_sharing": {"finalist"},
        "equal": both,
        "searched-4": both,
        "learned-3": roles["learned-3"],
    }
    # Where everything is shared, what was learned costs what hard sharing does already.
    assert roles["learned-3"] - {"matched"} == {"finalist", "reversed", "shuffled", "relearned"}
    assert {(record.seed, record.data_seed) for record in records} == {(1, 1), (2, 2)}


def test_scaled_networks_are_rebuilt_from_their_records_and_cost_what_these_say(run, records):
    folder = load_config(run).folder / "artifacts"
    goal = next(record.macs for record in records if record.name == "hard_sharing")
    scaled = [record for record in records if record.role in ("matched", "reversed", "shuffled")]
    assert len(scaled) >= 10
    for record in scaled:
        network = load_network(record, folder / record.weights_artifact)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, *record.image_shape))
        assert counter.get_total_flops() / 2 == record.macs
        assert record.macs == pytest.approx(goal, rel=0.02)
        assert record.backbone["width"] != 1.0 or record.kind == "learned"


def test_controls_have_the_learned_shares_in_another_order(records):
    trial = next(record for record in records if record.role == "finalist" and record.kind == "learned")
    for role in ("reversed", "shuffled"):
        controls = [record for record in records if record.role == role]
        assert {record.trial for record in controls} == {trial.trial}
        for control in controls:
            shared = [layer.shared / layer.num_filters for layer in control.allocation.layers]
            learned = [layer.shared / layer.num_filters for layer in trial.allocation.layers]
            assert sorted(shared) == pytest.approx(sorted(learned), abs=0.2)
            if role == "reversed":
                assert shared == pytest.approx(learned[::-1], abs=0.2)


def test_json_says_what_is_matched_and_at_which_width(run, capsys):
    assert call("compare", run, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    goal = next(row["macs"] for row in data["rows"] if row["name"] == "hard_sharing")
    for row in data["rows"]:
        assert row["matched"] is (abs(row["macs"] / goal - 1) <= 0.02)
    single = [(row["width"], row["matched"]) for row in data["rows"] if row["name"] == "single_task"]
    assert single[1] == (1.0, False)
    assert single[0][0] < 0.8
    assert single[0][1]
    names = [row["name"] for row in data["rows"]]
    assert {"learned-3 reversed", "learned-3 shuffled", "learned-3 derived"} <= set(names)
    tests = [test for test in data["tests"] if test["quantity"] == "relative_error"]
    pairs = {(test["first"]["kind"], test["second"]["name"]) for test in tests}
    rivals = {"searched-4", "learned-3 reversed", "learned-3 shuffled", "single_task", "hard_sharing", "equal"}
    assert {name for kind, name in pairs if kind == "learned"} == rivals
    assert {name for kind, name in pairs if kind == "searched"} >= {"single_task", "hard_sharing"}
    assert all(0 <= test["p"] <= test["p_holm"] <= 1 for test in tests)


def test_verdicts_are_about_rows_at_equal_cost(run):
    config = load_config(run)
    comparison = read_comparison(load_study(config), config)
    assert all(row.matched for row in comparison.compared)
    assert {row.is_scaled for row in comparison.compared} == {True, False}
    single = next(row for row in comparison.compared if row.name == "single_task")
    test = next(test for test in comparison.tests_of("learned") if test.second[1] == "single_task")
    learned = comparison.best["learned"].errors_by_seed
    differences = [learned[seed] - single.errors_by_seed[seed] for seed in (1, 2)]
    assert test.difference.mean == pytest.approx(sum(differences) / 2)
    assert f"at the multiply-adds of hard sharing, {comparison.matched_to / 1000:.3g}k" in comparison.verdicts()[-1]


def test_the_matched_table_comes_first_and_the_native_one_beside_it(run, capsys, tmp_path):
    assert call("compare", run, "--output", tmp_path / "report.md") == 0
    printed = capsys.readouterr().out
    assert 0 < printed.index("at equal multiply-adds") < printed.index("at the study's width")
    report = (tmp_path / "report.md").read_text()
    first, second = (report.index(f"## Retrained finalists on test data, at {what}") for what in ("equal", "the study"))
    assert first < second
    assert "learned-3 derived" not in report[first:second]


def test_a_finalist_at_equal_cost_is_exported(run, records, capsys, tmp_path):
    single = next(record for record in records if record.name == "single_task" and record.role == "matched")
    options = ("--matched", "--seed", single.seed)
    assert call("export", run, "--trial", single.trial, "--output", tmp_path / "net.safetensors", *options) == 0
    assert "single_task, matched, seed 1" in capsys.readouterr().out
    network = load_exported(tmp_path / "net.safetensors")
    assert sum(weight.numel() for weight in network.parameters()) == single.parameters


def test_status_counts_them(run):
    config = load_config(run)
    recorded, wanted = read_status(load_study(config), config).finalists
    assert recorded == wanted == len(current_finalists(load_study(config), config))


def test_without_matching_only_their_own_width_is_asked_for(run):
    config = load_config(run)
    section = config.comparison.model_copy(update={"match": "none", "controls": False})
    unmatched, study = config.model_copy(update={"comparison": section}), load_study(config)
    assert missing_finalists(study, unmatched) == []
    assert {record.role for record in current_finalists(study, unmatched)} == {"finalist", "relearned"}
    comparison = read_comparison(study, unmatched)
    assert not any(row.is_scaled for row in comparison.rows)
    assert [row.matched for row in comparison.rows if row.name == "single_task"] == [False]


def test_controls_need_equal_cost(study):
    with pytest.raises(ConfigError, match=r"comparison\.controls: compares at equal multiply-adds"):
        study(comparison={"controls": True, "match": "none"})


class Narrow(torch.nn.Module):
    """A backbone of one width."""

    def __init__(self, image_shape, *, filters: int = 6) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(image_shape[0], filters, 3, padding=1)

    def forward(self, images):
        return self.conv(images).relu()


def test_a_backbone_without_width_is_refused_and_the_remedy_named(study, monkeypatch):
    monkeypatch.setattr(backbones, "_parts", {**backbones, "narrow": Narrow})
    sections = {"backbone": {"name": "narrow", "plan": None}}
    with pytest.raises(ConfigError, match=r"comparison\.match: the backbone 'narrow' .*comparison\.match = \"none\""):
        Objective(study(**sections, comparison={"match": "macs"}))
    Objective(study(**sections, comparison={"match": "none"}))


class Epochs(WorkerListener):
    """Notes the epochs of finalists, and asks a worker to leave in the first."""

    def __init__(self, stop=None):
        self.stop, self.epochs = stop, []

    def finalist_epoch(self, finalist, report):
        self.epochs.append((finalist.job, report.epoch))
        if self.stop:
            self.stop.interrupt()


def test_an_interrupted_finalist_at_equal_cost_goes_on_with_the_same_numbers(study):
    config = study(
        **{
            **EQUAL,
            "training": {"epochs": 2, "batch_size": 128},
            "quota": {"learned": 0, "searched": 0},
            "manual": {"methods": ["equal"], "options": None},
            "comparison": {"seeds": 1, "learned": 0, "searched": 0, "match": "macs"},
            "execution": {"checkpoint_every": 0.0},
        }
    )
    objective = Objective(config)
    created, stop = create_study(config, objective=objective), StopRequest()
    leaving, going_on = Epochs(stop), Epochs()
    assert Worker(created, objective, stop=stop, listener=leaving).run() == 130
    assert leaving.epochs == [("matched/0/1", 0)]
    (matched, _) = missing_finalists(created, config)
    assert Worker(created, Objective(config), listener=going_on).run() == 0
    assert going_on.epochs[0] == ("matched/0/1", 1)
    (interrupted,) = records_of(created).all("matched")
    retrain_finalists(objective, records_of(created), [matched])
    (undisturbed,) = records_of(created).all("matched")
    assert undisturbed.metrics == interrupted.metrics
