"""What a trial leaves behind to look at: pictures, a table and a note."""

import csv
import io
import logging
import re

import optuna
import pytest
import tomlkit
import torch
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from optuna.trial import TrialState
from optuna_dashboard import get_note, save_note
from PIL import Image
from study_fixtures import TINY, merge

from sfgsearch import Objective, create_study, load_config
from sfgsearch.errors import StudyError
from sfgsearch.search import load_study, records_of
from sfgsearch.visualization import TrialReview, matplotlib

PICTURES = {"review": {"pictures": True}, "training": {"epochs": 1}}
OFTEN = ["allocation.png", "history.json", "history.png", "layers.csv", "weights.safetensors"]
LEARNED = ["activations.png", "probabilities.png", "probabilities.safetensors", "simplex.png"]


def files_of(created, number):
    """Return the names of a trial's artifacts, sorted."""
    trial = created.trials[number]
    return sorted(meta.filename for meta in get_all_artifact_meta(trial, storage=created._storage))


def content_of(created, number, name, config):
    store = FileSystemArtifactStore(config.folder / "artifacts")
    metas = get_all_artifact_meta(created.trials[number], storage=created._storage)
    (artifact,) = [meta.artifact_id for meta in metas if meta.filename == name]
    with store.open_reader(artifact) as content:
        return content.read()


def note_of(created, number):
    return get_note(optuna.Trial(created, created.trials[number]._trial_id))


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory):
    """Train a study of every kind with pictures once, for all that only read it."""
    methods = {"manual": {"methods": ["equal", "constant_probabilities"]}, "quota": {"learned": 1, "searched": 1}}
    path = tmp_path_factory.mktemp("reviewed") / "tiny.toml"
    path.write_text(tomlkit.dumps(merge(TINY, {**PICTURES, **methods})))
    config = load_config(path)
    created = create_study(config)
    created.optimize(Objective(config), n_trials=4)
    return config, created


def numbers(created):
    return {trial.user_attrs["name"]: trial.number for trial in created.trials}


def test_every_kind_leaves_what_it_has(reviewed):
    """Optuna attaches nothing to trials that are over, so all of it was there before."""
    _, created = reviewed
    number = numbers(created)
    assert files_of(created, number["learned-2"]) == sorted(OFTEN + LEARNED)
    assert files_of(created, number["searched-3"]) == OFTEN
    assert files_of(created, number["equal"]) == OFTEN
    assert files_of(created, number["constant_probabilities"]) == [*OFTEN[:4], "probabilities.safetensors", OFTEN[4]]


def test_pictures_fit_the_dashboard(reviewed):
    config, created = reviewed
    for name in files_of(created, 2):
        if name.endswith(".png"):
            content = content_of(created, 2, name, config)
            picture = Image.open(io.BytesIO(content))
            assert picture.width == 800
            assert len(content) < 150_000
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 10


def test_the_table_holds_the_recorded_allocation(reviewed):
    config, created = reviewed
    (record,) = records_of(created).all(trial=2)
    rows = list(csv.DictReader(io.StringIO(content_of(created, 2, "layers.csv", config).decode())))
    for row, layer in zip(rows, record.allocation.layers, strict=True):
        assert row["layer"] == layer.name
        assert int(row["filters"]) == layer.num_filters
        assert tuple(int(row[f"count {group}"]) for group in record.allocation.groups) == layer.counts
        probs = [float(row[f"mean probability {group}"]) for group in record.allocation.groups]
        assert probs == pytest.approx(layer.mean_probs, rel=1e-4)
        assert float(row["mean entropy (nats)"]) == pytest.approx(layer.mean_entropy, rel=1e-4)
    plain = content_of(created, numbers(created)["equal"], "layers.csv", config).decode()
    assert plain.splitlines()[0] == "layer,filters,count first,count second,count shared"


def test_the_note_says_what_it_is(reviewed):
    _, created = reviewed
    (record,) = records_of(created).all(trial=2)
    note = note_of(created, 2)
    labels = ["Candidate", "Validation", "Size", "Sharing", "Artifacts", "Caveat"]
    assert [label for label in re.findall(r"\*\*(\w+):\*\*", note) if label != "Repairs"] == labels
    trial = created.trials[2]
    assert "**Candidate:** learned-2 (learned): kl_weight " in note
    assert f"lr {trial.params['learned.lr']:.3g}" in note
    assert f"relative error {100 * record.scores['validation']:.1f} %" in note
    assert f"second accuracy {100 * record.metrics['validation']['second/accuracy']:.1f} %" in note
    assert "simplex.png: group probabilities of single filters" in note
    assert "One seed (0)" in note
    assert len(note) < 2046, "one piece in the database"
    assert "simplex.png" not in note_of(created, numbers(created)["equal"])


def test_attributes_do_not_grow(reviewed):
    assert all(len(trial.user_attrs) <= 16 for trial in reviewed[1].trials)


def test_a_trial_can_be_read_back_and_drawn(reviewed):
    config, created = reviewed
    review = TrialReview.load(config, 2)
    (record,) = records_of(created).all(trial=2)
    assert (review.number, review.name, review.tasks) == (2, "learned-2", ("first", "second"))
    assert list(review.probabilities) == [layer.name for layer in record.allocation.layers]
    for layer in record.allocation.layers:
        assert review.probabilities[layer.name].mean(0) == pytest.approx(layer.mean_probs, abs=1e-6)
    assert review.history[-1].mean_probs["conv1"] == pytest.approx(record.allocation.layers[0].mean_probs)
    assert review.headline == ("first/accuracy", "second/accuracy")
    again = TrialReview.load(load_study(config), 2, artifacts=config.folder / "artifacts")
    assert again.history == review.history
    assert matplotlib.plot_simplex(again).axes
    assert TrialReview.load(config, numbers(created)["equal"]).probabilities == {}


def test_what_cannot_be_read_is_an_error(reviewed):
    config, created = reviewed
    with pytest.raises(StudyError, match="no record of a trial 99"):
        TrialReview.load(config, 99)
    with pytest.raises(StudyError, match="give their folder"):
        TrialReview.load(created, 2)


@pytest.fixture
def asked(study):
    """Ask for a trial of a study with one manual candidate, and return it with its objective."""

    def ask(**sections):
        only = {"manual": {"methods": ["equal"]}, "quota": {"learned": 0, "searched": 0}}
        config = study(**{**PICTURES, **only, **sections})
        created = create_study(config)
        return created, created.ask(), Objective(config)

    return ask


def test_a_trial_that_is_trained_twice_has_everything_once(asked):
    created, trial, objective = asked()
    for _ in range(2):
        value = objective.train(trial)
    assert created.trials[0].state is TrialState.RUNNING
    created.tell(trial, value)
    assert files_of(created, 0) == OFTEN
    assert note_of(created, 0).count("Candidate") == 1


def test_what_people_wrote_stays_below(asked):
    _, trial, objective = asked()
    save_note(trial, "Look at this one.")
    for _ in range(2):
        objective.train(trial)
        assert re.fullmatch(r"- \*\*Candidate.*\n\nLook at this one\.", get_note(trial), re.DOTALL)
        assert get_note(trial).count("![picture: ") == 2


def test_the_note_shows_the_pictures(asked):
    created, trial, objective = asked()
    objective.train(trial)
    shown = re.findall(r"!\[picture: (\w+)\]\(/artifacts/(\d+)/(\d+)/([\w-]+)\)", get_note(trial))
    attached = {meta.filename: meta.artifact_id for meta in get_all_artifact_meta(trial)}
    place = (str(created._study_id), str(trial._trial_id))
    assert shown == [(name, *place, attached[f"{name}.png"]) for name in ("allocation", "history")]


def test_pictures_are_drawn_with_the_threads_that_training_may_use(asked, monkeypatch):
    _, trial, objective = asked(training={"threads": torch.get_num_threads() + 1, "epochs": 1})
    draw, seen = matplotlib.plot_allocation, []

    def plot_allocation(review):
        seen.append(torch.get_num_threads())
        return draw(review)

    monkeypatch.setattr(matplotlib, "plot_allocation", plot_allocation)
    before = torch.get_num_threads()
    objective.train(trial)
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_a_picture_that_cannot_be_drawn_costs_a_warning(asked, monkeypatch, caplog):
    created, trial, objective = asked()
    monkeypatch.setattr(matplotlib, "plot_history", lambda _: 1 / 0)
    with caplog.at_level(logging.WARNING):
        created.tell(trial, objective.train(trial))
    assert "trial 0: no history.png: ZeroDivisionError" in caplog.text
    assert files_of(created, 0) == [name for name in OFTEN if name != "history.png"]
    assert "history.png" not in note_of(created, 0)


def test_pictures_can_be_switched_off_at_any_time(study):
    on = study(**PICTURES, manual={"methods": ["equal", "hard_sharing"]}, quota={"learned": 0, "searched": 0})
    created = create_study(on)
    created.optimize(Objective(on), n_trials=1)
    off = study(
        review={"pictures": False},
        training={"epochs": 1},
        manual={"methods": ["equal", "hard_sharing"]},
        quota={"learned": 0, "searched": 0},
    )
    create_study(off).optimize(Objective(off), n_trials=1)
    assert files_of(created, 0) == OFTEN
    assert files_of(created, 1) == ["history.json", "layers.csv", "weights.safetensors"]


class PruneAll(optuna.pruners.BasePruner):
    def prune(self, *_):
        return True


def test_a_pruned_trial_keeps_its_course(study):
    config = study(review={"pictures": True}, manual={"methods": []}, quota={"learned": 1, "searched": 1})
    created = create_study(config)
    created.pruner = PruneAll()
    created.optimize(Objective(config), n_trials=2)
    assert [trial.state for trial in created.trials] == [TrialState.PRUNED] * 2
    assert files_of(created, 0) == ["history.json", "history.png", "probabilities.png"]
    assert files_of(created, 1) == ["history.json", "history.png"]
    assert "after 1 epoch, when it was pruned" in note_of(created, 0)


def test_a_study_outside_databases_keeps_nothing(study):
    config = study(**PICTURES, manual={"methods": ["equal"]}, quota={"learned": 0, "searched": 0})
    plain = optuna.create_study()
    plain.enqueue_trial({"kind": "manual"})
    plain.optimize(Objective(config), n_trials=1)
    assert files_of(plain, 0) == []
    assert not (config.folder / "artifacts").exists()
