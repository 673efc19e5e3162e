"""Class weights in study files."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from sfgsearch.config import build_experiment
from sfgsearch.errors import ConfigError


@pytest.fixture
def holes(tmp_path, study):
    """Write images with an unbalanced class, a third of whose labels are missing, and return their study."""
    random = np.random.default_rng(0)
    kind = (random.random(90) < 0.2).astype(np.int64)
    kind[::3] = -1
    arrays = {"images": random.random((90, 8, 8)), "kind": kind, "size": random.random(90)}
    np.savez(tmp_path / "holes.npz", **arrays, split=np.repeat(["train", "validation", "test"], 30))
    tasks = {"kind": {"type": "classification", "missing": [-1]}, "size": {"type": "regression"}}
    data = {"name": "npz", "pairs_per_digit": None, "path": "holes.npz", "split": "split", "tasks": tasks}

    def read(**section):
        return study(data=data, tasks=section)

    return read, kind[:30][kind[:30] >= 0]


def test_balanced_weights_come_from_the_training_split(holes):
    read, train = holes
    task = build_experiment(read(kind={"class_weights": "balanced"})).data.tasks[0]
    assert task.class_weights == pytest.approx(compute_class_weight("balanced", classes=np.arange(2), y=train))
    assert task.headline == ("balanced_accuracy",)


def test_weights_may_be_given(holes):
    read, _ = holes
    assert build_experiment(read(kind={"class_weights": [1, 2.5]})).data.tasks[0].class_weights == (1.0, 2.5)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kind": {"class_weights": [1.0]}}, "tasks.kind: .*2 numbers from 1e-06"),
        ({"kind": {"class_weights": "even"}}, "tasks.kind.class_weights"),
        ({"kind": {"class_weights": [1.0, -1.0]}}, "tasks.kind.class_weights"),
        ({"size": {"class_weights": "balanced"}}, "tasks.size.class_weights: this task has no classes"),
    ],
)
def test_weights_that_cannot_be_are_refused(holes, section, message):
    read, _ = holes
    with pytest.raises(ConfigError, match=message):
        build_experiment(read(**section))
