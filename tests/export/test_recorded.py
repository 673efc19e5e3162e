"""Recorded trainings, rebuilt from record and weights alone, measure what was recorded."""

import pytest

from sfgsearch import Objective, load_config
from sfgsearch.export import load_network
from sfgsearch.search import load_study, records_of
from sfgsearch.search._artifacts import artifact_folder, stored_weights


@pytest.mark.parametrize("role", ["trial", "finalist", "relearned"])
def test_rebuilt_networks_measure_what_was_recorded(trained_study, role):
    config = load_config(trained_study)
    objective = Objective(config)
    records = records_of(load_study(config)).all(role)
    assert records
    for record in records:
        with stored_weights(record, artifact_folder(config)) as weights:
            network = load_network(record, weights)
        experiment = objective.experiment_on(record.data_seed)
        for split, metrics in record.metrics.items():
            assert experiment.evaluate(network, split) == pytest.approx(metrics, abs=1e-6)
