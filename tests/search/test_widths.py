"""Studies in which widths are learned with the allocation."""

from sfgsearch import Objective, create_study
from sfgsearch.reporting import to_json
from sfgsearch.search import missing_finalists, records_of, retrain_finalists


def test_filters_are_let_go_recorded_retrained_and_pictured(study):
    learned = {"off": True, "price": 20.0, "lr": 0.3, "settle": 0.3, "kl_weight": 0.1}
    config = study(
        learned=learned,
        quota={"learned": 1, "searched": 0},
        manual={"methods": ["hard_sharing"], "options": None},
        training={"epochs": 6, "batch_size": 64},
        comparison={"seeds": 1},
        review={"pictures": True},
    )
    objective = Objective(config)
    created = create_study(config, objective=objective)
    created.optimize(objective, n_trials=2)
    records = records_of(created)
    (trial,) = (record for record in records.all("trial") if record.kind == "learned")
    kept = sum(layer.num_filters for layer in trial.allocation.layers)
    assert kept < sum(objective.experiment.spec.filters.values())
    retrain_finalists(objective, records, missing_finalists(created, config), study=created)
    (finalist,) = (record for record in records.all("finalist") if record.kind == "learned")
    assert finalist.allocation == trial.allocation
    assert (finalist.macs, finalist.parameters) == (trial.macs, trial.parameters)
    assert to_json(trial.allocation.to_dict())
