"""A backbone of one's own: any module that returns features."""

import pytest
import torch
from torch import nn

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import backbones
from sfgsearch.config import build_experiment
from sfgsearch.data import InMemory, MultiTaskData
from sfgsearch.errors import ConfigError
from sfgsearch.methods import FixedAllocation, StochasticFilterGroups
from sfgsearch.nn import NetworkSpec
from sfgsearch.tasks import Classification, Regression
from sfgsearch.training import Experiment, TrainingSettings


class MyNet(nn.Module):
    """A stem, a pool, two convolutions with a shortcut around them, and a wider last layer."""

    def __init__(self, image_shape, *, filters: int = 16):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(image_shape[0], filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.branch = nn.Sequential(
            nn.Conv2d(filters, filters, 3, padding=1), nn.ReLU(), nn.Conv2d(filters, filters, 3, padding=1)
        )
        self.last = nn.Conv2d(filters, 2 * filters, 3, padding=1)

    def forward(self, images):
        x = self.stem(images)
        return self.last((x + self.branch(x)).relu()).relu()


# In a script, `@backbones.register("my_net")` above the class does this; here other tests would see it.
@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(backbones, "_parts", dict(backbones))
    backbones.register("my_net")(MyNet)


TASKS = (Classification("bright", num_classes=2), Regression("mean"))


def make_split(number, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(number, 1, 8, 8, generator=generator) + torch.randn(number, 1, 1, 1, generator=generator)
    mean = images.mean((1, 2, 3))
    return InMemory(images, {"bright": (mean > 0.5).long(), "mean": mean - 0.5})


def test_what_is_added_is_one_channel_space():
    spec = NetworkSpec(MyNet, TASKS, (1, 8, 8))
    assert spec.filters == {"stem.0": 16, "branch.0": 16, "last": 32}


def test_every_kind_trains_it():
    data = MultiTaskData(TASKS, make_split(128, 0), make_split(64, 1), make_split(64, 2))
    spec = NetworkSpec(MyNet, TASKS, data.image_shape)
    experiment = Experiment(data, spec, TrainingSettings(epochs=4, batch_size=16, lr=0.01, device="cpu"))
    equal = FixedAllocation(Allocation.equal(spec.filters, spec.task_names))
    for method in (StochasticFilterGroups(), equal):
        trained = experiment.train(method, seed=0)
        assert trained.scores["validation"] < 0.8  # 1 has learned nothing
        assert trained.history[-1].loss < trained.history[0].loss


@pytest.mark.usefixtures("registered")
def test_a_study_file_can_name_it(study):
    experiment = build_experiment(study(backbone={"name": "my_net", "plan": None, "filters": 4}))
    assert experiment.spec.filters == {"stem.0": 4, "branch.0": 4, "last": 8}


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(("option", "reason"), [({"filters": "many"}, "integer"), ({"filter": 4}, "filters")])
def test_its_options_are_checked(study, option, reason):
    with pytest.raises(ConfigError, match=reason):
        build_experiment(study(backbone={"name": "my_net", "plan": None, **option}))
