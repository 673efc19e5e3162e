"""A backbone of one's own: thirty lines that serve stochastic, compact and plain networks alike."""

import pytest
import torch
from torch import nn

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import backbones
from sfgsearch.config import build_experiment
from sfgsearch.data import InMemory, MultiTaskData
from sfgsearch.errors import ConfigError
from sfgsearch.methods import FixedAllocation, StochasticFilterGroups
from sfgsearch.nn import AllocatedBuilder, Backbone, EachStream, NetworkSpec, SFGBuilder, derive, initialise
from sfgsearch.tasks import Classification, Regression
from sfgsearch.training import Experiment, TrainingSettings


class MyNet(Backbone):
    """A stem, a pool, two convolutions with a shortcut around them, and a wider last layer."""

    def __init__(self, layers, image_shape, *, filters: int = 16):
        super().__init__()
        # Ask the builder for every convolution. It returns the layer (with norm and activation) and a layout, which
        # says what the streams carry then; the next layer wants it. Names are those in allocations and study files.
        image = layers.image(image_shape[0])
        self.stem, trunk = layers.conv("stem", image, filters, 3)
        # What has no weights (pooling, dropout, activations) is put on every stream, and leaves the layout alone.
        pool = nn.MaxPool2d if layers.dimensions == 2 else nn.MaxPool3d
        self.pool = EachStream(pool(2))
        self.conv1, branch = layers.conv("conv1", trunk, filters, 3)
        self.conv2, branch = layers.conv("conv2", branch, filters, 3, activation=None)
        # Layers with different allocations carry different channels: the builder makes additions, too.
        self.add, trunk = layers.add(trunk, branch)
        self.relu = EachStream(nn.ReLU())
        self.last, self.layout = layers.conv("last", trunk, 2 * filters, 3)  # the tasks' heads read self.layout

    def forward(self, streams):
        trunk = self.pool(self.stem(streams))
        branch = self.conv2(self.conv1(trunk))
        return self.last(self.relu(self.add(trunk, branch)))


# In a script, `@backbones.register("my_net")` above the class does this; here other tests would see it.
@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(backbones, "_parts", dict(backbones))
    backbones.register("my_net")(MyNet)


TASKS = (Classification("bright", num_classes=2), Regression("mean"))
FILTERS = {"stem": 16, "conv1": 16, "conv2": 16, "last": 32}


def make_split(number, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(number, 1, 8, 8, generator=generator) + torch.randn(number, 1, 1, 1, generator=generator)
    mean = images.mean((1, 2, 3))
    return InMemory(images, {"bright": (mean > 0.5).long(), "mean": mean - 0.5})


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_the_stochastic_and_the_compact_network_agree(tiny, num_tasks, dimensions):
    spec = NetworkSpec(MyNet, tiny.tasks(num_tasks), (2, *[6] * dimensions))
    assert spec.filters == FILTERS
    masked, assignments = spec.build(SFGBuilder(num_tasks, dimensions)), tiny.assignments(spec)
    initialise(masked, tiny.seeded(0))
    compact = derive(masked, spec, assignments).network
    tiny.fix(masked, assignments)
    images = tiny.images(spec)
    for name, prediction in masked.eval()(images).items():
        torch.testing.assert_close(compact.eval()(images)[name], prediction)


def test_any_allocation_can_be_built(tiny):
    spec = NetworkSpec(MyNet, TASKS, (1, 8, 8))
    counts = {"stem": (4, 0, 12), "conv1": (3, 5, 8), "conv2": (0, 6, 10), "last": (16, 16, 0)}
    groups = torch.arange(3)
    assignments = {name: groups.repeat_interleave(torch.tensor(numbers)) for name, numbers in counts.items()}
    network = spec.build(AllocatedBuilder(assignments, 2, 2))
    assert [tuple(value.shape) for value in network(tiny.images(spec)).values()] == [(4, 2), (4,)]


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
    assert experiment.spec.filters == {"stem": 4, "conv1": 4, "conv2": 4, "last": 8}


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(("option", "reason"), [({"filters": "many"}, "integer"), ({"filter": 4}, "filters")])
def test_its_options_are_checked(study, option, reason):
    with pytest.raises(ConfigError, match=reason):
        build_experiment(study(backbone={"name": "my_net", "plan": None, **option}))
