"""Trials that nobody trained, with numbers that tests can look for in figures."""

import numpy as np

from sfgsearch.allocation import Allocation, LayerAllocation, group_names
from sfgsearch.training import EpochReport
from sfgsearch.visualization import TrialReview

TASKS = ("age", "gender", "race", "smile", "hat")
UNITS = {"age/mae": "years", **{f"{task}/accuracy": "fraction" for task in TASKS[1:]}}
SHAPES = [(tasks, layers) for tasks in (1, 2, 3, 5) for layers in (4, 30)]


def sample_trial(num_tasks, num_layers, epochs=3, seed=0):
    """Return the review of a trial whose probabilities, counts and history are random."""
    rng = np.random.default_rng(seed)
    tasks = TASKS[:num_tasks]
    probs = {f"conv{layer + 1}": rng.dirichlet(np.ones(num_tasks + 1), 8) for layer in range(num_layers)}
    layers = tuple(
        LayerAllocation(name, (*map(int, rng.integers(0, 30, num_tasks)), int(rng.integers(1, 30)))) for name in probs
    )
    keys = [key for key in UNITS if key.split("/")[0] in tasks]
    history = [
        EpochReport(
            epoch=epoch,
            loss=float(rng.random() + 1),
            task_losses={task: float(rng.random() + 1) for task in tasks},
            metrics={key: float(rng.random()) for key in keys},
            score=float(rng.random()),
            mean_probs={name: rng.dirichlet(np.ones(num_tasks + 1)).tolist() for name in probs},
            mean_entropy=dict.fromkeys(probs, 0.5),
            task_weights=dict.fromkeys(tasks, 1.0),
        )
        for epoch in range(epochs)
    ]
    allocation = Allocation(group_names(tasks), layers)
    return TrialReview(7, "learned-7", tasks, allocation, history, probs, UNITS)
