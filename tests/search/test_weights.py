"""Weights of recorded trainings: stored as safetensors, and enough to rebuild what was measured."""

import json
import logging

import optuna
import pytest
import torch
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from safetensors.torch import load_file
from torch import nn

from sfgsearch import Objective, create_study, load_config
from sfgsearch.errors import LeaseLostError
from sfgsearch.methods import Randomness
from sfgsearch.nn import plain_state
from sfgsearch.records import Lease
from sfgsearch.search import load_study, missing_finalists, records_of
from sfgsearch.search._artifacts import TrialArtifacts, read_artifact, upload_weights
from sfgsearch.search._retraining import retrain


@pytest.fixture(scope="module")
def recorded(trained_study):
    """Return the artifact folder and the study."""
    config = load_config(trained_study)
    return config.folder / "artifacts", load_study(config)


def test_every_recorded_training_keeps_the_weights_that_were_measured(recorded):
    folder, opened = recorded
    records = records_of(opened).all()
    assert [record.role for record in records] == ["trial"] * 4 + ["finalist", "relearned"] + ["finalist"] * 3
    for record in records:
        weights = load_file(folder / record.weights_artifact)
        assert any(name.endswith("running_var") for name in weights)
        if record.name != "constant_probabilities":  # its samples share the parameters of one masked network
            trainable = [tensor for name, tensor in weights.items() if "running" not in name and "num_b" not in name]
            assert sum(map(torch.numel, trainable)) == record.parameters


def file_names(opened, place):
    return {meta.filename for meta in get_all_artifact_meta(place, storage=opened._storage)}


def test_trials_list_their_weights_and_the_study_lists_none(recorded):
    """Dozens of finalists would crowd the study's page."""
    _, opened = recorded
    for trial in opened.trials:
        assert "weights.safetensors" in file_names(opened, trial)
    assert file_names(opened, opened) == set()


def files_in(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def retrained(study):
    """Retrain the finalists of a study, and return the study with what retrains them and its artifact folder."""
    sections = {"manual": {"methods": ["equal"]}, "quota": {"learned": 0, "searched": 0}, "training": {"epochs": 1}}
    config = study(**sections, comparison={"seeds": 1})
    objective, created = Objective(config), create_study(config)
    created.optimize(objective, n_trials=1)
    (finalist,) = missing_finalists(created, config)

    def retrain_again(**options):
        retrain(objective, records_of(created), finalist, study=created, **options)

    retrain_again()
    return created, retrain_again, config.folder / "artifacts"


def weights_of(created):
    (record,) = records_of(created).all("finalist")
    return record.weights_artifact


def test_a_finalist_that_is_trained_twice_leaves_one_file(retrained):
    created, again, folder = retrained
    first, before = weights_of(created), files_in(folder)
    again()
    second, after = weights_of(created), files_in(folder)
    assert before.keys() - after.keys() == {first}
    assert after.keys() - before.keys() == {second}
    assert after[second] == before[first]


def test_a_finalist_that_comes_too_late_leaves_none(retrained):
    created, again, folder = retrained
    before, jobs = files_in(folder), records_of(created).jobs
    assert jobs.claim("finalist/0/1", "another", "another", None)
    with pytest.raises(LeaseLostError):
        again(lease=Lease(jobs, "finalist/0/1", "me", 8.0))
    assert files_in(folder) == before


def test_weights_that_somebody_deletes_in_the_dashboard_are_attached_anew(study, tmp_path):
    trial = create_study(study()).ask()
    first = upload_weights(TrialArtifacts(trial, tmp_path, tmp_path), Tied())
    trial.storage.set_trial_system_attr(
        trial._trial_id, f"artifacts:{first.artifact}", "null"
    )  # what the dashboard does
    again = optuna.Trial(trial.study, trial._trial_id)
    assert upload_weights(TrialArtifacts(again, tmp_path, tmp_path), Tied()).artifact != first.artifact
    assert read_artifact(trial.study, trial.number, "weights.safetensors", tmp_path)


def test_no_stored_file_is_a_pickle(recorded):
    contents = [file.read_bytes() for file in recorded[0].iterdir()]
    pictures = [content for content in contents if content.startswith(b"\x89PNG\r\n")]
    tables = [content for content in contents if content.startswith(b"layer,filters,")]
    assert len(pictures) == 4 * 2 + 3, "allocation and history of trials, three more of the learned one"
    assert len(tables) == 4
    others = [content for content in contents if content not in pictures + tables]
    assert len(others) == 4 * 2 + 5 + 2, "history and weights of trials, weights of finalists, two with probabilities"
    for content in others:
        length = int.from_bytes(content[:8], "little")  # a safetensors file begins with the length of its JSON header
        text = content[8 : 8 + length] if length < len(content) else content
        assert isinstance(json.loads(text), dict)


class Tied(nn.Module):
    """Uses one matrix twice, and a slice of it as a buffer that is not contiguous."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("column", self.first.weight.detach()[:, 1])


def test_shared_and_strided_tensors_are_stored_whole(tmp_path, study):
    created = create_study(study())
    network = Tied()
    stored = upload_weights(TrialArtifacts(created.ask(), tmp_path / "artifacts", tmp_path), network)
    with FileSystemArtifactStore(tmp_path / "artifacts").open_reader(stored.artifact) as file:
        (tmp_path / "copy.safetensors").write_bytes(file.read())
    read = load_file(tmp_path / "copy.safetensors")
    assert read.keys() == plain_state(network).keys()
    assert torch.equal(read["second.weight"], network.first.weight)
    assert torch.equal(read["column"], network.first.weight[:, 1])


class Unsavable(nn.Module):
    """Has a state that is no tensor."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def get_extra_state(self):
        return {"opened": {1, 2}}

    def set_extra_state(self, state):
        pass

    def forward(self, images):
        return self.network(images)


def test_a_predictor_that_cannot_be_saved_does_not_lose_its_trial(study, monkeypatch, caplog):
    config = study(manual={"methods": ["equal"]}, quota={"learned": 0, "searched": 0}, training={"epochs": 1})
    objective, created = Objective(config), create_study(config)
    device = torch.device("cpu")
    system = type(objective.manual["equal"].build(objective.experiment.spec, Randomness.from_seed(0, device), device))
    predictor = system.predictor
    monkeypatch.setattr(system, "predictor", lambda self, calibration: Unsavable(predictor(self, calibration)))
    with caplog.at_level(logging.WARNING):
        created.optimize(objective, n_trials=1)
    (record,) = records_of(created).all()
    assert record.weights_artifact is None
    assert "cannot be stored" in caplog.text
