"""Small networks of every sort with random weights, each with the record that rebuilds it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import backbones
from sfgsearch.methods import manual_methods
from sfgsearch.methods._method import Randomness
from sfgsearch.nn import (
    AllocatedBuilder,
    Backbone,
    EachStream,
    MonteCarloEnsemble,
    NetworkSpec,
    StreamBlock,
    allocated_structure,
    derive,
    monte_carlo_structure,
    plain_state,
)
from sfgsearch.records import ArchitectureRecord
from sfgsearch.tasks import Classification, DenseRegression, Regression, Segmentation, task_to_dict

ALLOCATED = (
    Classification("digit", num_classes=3, hidden=4),
    Regression("angle", scale=180.0, unit="degrees"),
    Classification("colour", num_classes=4),
)
DENSE = (
    Segmentation("organs", num_classes=3, classes=("none", "liver", "bone")),
    DenseRegression("ct", hidden=4, scale=1000.0, unit="HU", span=4000.0),
    Classification("sex"),
)


class Block(StreamBlock):
    """A residual block of one convolution."""

    def __init__(self, channels, dimensions):
        super().__init__()
        convolution, norm = (nn.Conv2d, nn.BatchNorm2d) if dimensions == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.norm, self.conv = norm(channels), convolution(channels, channels, 3, padding=1, bias=False)

    def forward(self, stream, gate=None):
        gate = 1 if gate is None else gate
        return stream + gate * self.conv(gate * torch.relu(self.norm(stream)))


class Residual(Backbone):
    """Blocks per stream, an addition across different allocations, and one into the middle of a wider layer.

    With a stride of 2, sides must be even: pooling rounds down, the strided convolution up.
    """

    def __init__(self, layers, image_shape, width, stride):
        super().__init__()
        self.stem, own = layers.conv("stem", layers.image(image_shape[0]), width, 3)
        self.blocks, own = layers.per_stream(own, functools.partial(Block, dimensions=layers.dimensions))
        self.first, other = layers.conv("first", own, width, 3)
        self.second, other = layers.conv("second", other, width, 3, activation=None)
        self.add, own = layers.add(own, other)
        self.relu = EachStream(nn.ReLU())
        self.wide, other = layers.conv("wide", own, width + 4, 3, stride=stride, padding=1, activation=None)
        self.pool = EachStream(nn.MaxPool2d(stride) if layers.dimensions == 2 else nn.MaxPool3d(stride))
        self.add_wide, self.layout = layers.add(own.shifted(2), other)

    def forward(self, streams):
        streams = self.blocks(self.stem(streams))
        streams = self.relu(self.add(streams, self.second(self.first(streams))))
        return self.add_wide(self.pool(streams), self.wide(streams))


@backbones.register("export_residual")
def export_residual(layers, image_shape, *, width: int = 8, stride: int = 1):
    return Residual(layers, image_shape, width, stride)


@dataclass(frozen=True)
class Case:
    """A sort of network to rebuild and export."""

    tasks: tuple
    space: tuple
    norm: str = "batch"
    backbone: dict = field(default_factory=lambda: {"name": "vgg_small", "width": 1.0, "plan": [5, "pool", 4]})
    gaps: bool = False
    members: int = 0
    separate: bool = True
    method: str = ""

    @property
    def spec(self):
        options = {key: value for key, value in self.backbone.items() if key != "name"}
        build = functools.partial(backbones[self.backbone["name"]], **options)
        return NetworkSpec(build, self.tasks, (2, *self.space), self.norm)


RESIDUAL = {"name": "export_residual", "width": 6, "stride": 1}
CASES = {
    "one task": Case(ALLOCATED[:1], (6, 6)),
    "two tasks with gaps": Case(ALLOCATED[:2], (6, 6), gaps=True, separate=False),
    "three tasks in 3D": Case(ALLOCATED, (6, 4, 4), norm="instance"),
    "no norm": Case(ALLOCATED[1:], (6, 6), norm="none"),
    "dense": Case(DENSE, (6, 8)),
    "dense in 3D with gaps": Case(DENSE[:2], (4, 6, 6), norm="instance", gaps=True),
    "residual": Case(ALLOCATED[:2], (6, 6), backbone=RESIDUAL),
    "residual dense in 3D": Case(DENSE[:2], (4, 6, 6), backbone=RESIDUAL),
    "residual dense of even sides": Case(DENSE[:2], (6, 4), backbone={**RESIDUAL, "stride": 2}),
    "residual with gaps": Case(ALLOCATED, (6, 6), norm="instance", backbone=RESIDUAL, gaps=True, separate=False),
    "ensemble": Case((ALLOCATED[0], ALLOCATED[1]), (6, 6), members=2),
    "dense ensemble in 3D": Case(DENSE, (4, 6, 6), members=2),
    "cross-stitch": Case(ALLOCATED, (6, 6), backbone=RESIDUAL, method="cross_stitch"),
    "routed dense": Case(DENSE[:2], (6, 8), backbone=RESIDUAL, method="task_routing"),
    "branched": Case(ALLOCATED, (6, 6), backbone=RESIDUAL, method="learning_to_branch"),
    "highresnet": Case(DENSE[:2], (6, 6), backbone={"name": "highresnet", "width": 0.25, "blocks": 1}),
    "resnet": Case(ALLOCATED[:2], (8, 8), backbone={"name": "resnet", "depth": 8, "width": 0.5}),
}


@dataclass(frozen=True)
class Recorded:
    """A network, its record and its weights."""

    record: ArchitectureRecord
    network: nn.Module
    weights: object
    images: Callable


def _build(case, tiny, seed):
    """Return a network of random weights and its structure."""
    spec = case.spec
    if case.method:
        cpu = torch.device("cpu")
        system = manual_methods[case.method](spec).build(spec, Randomness.from_seed(seed, cpu), cpu)
        tiny.randomise(system.network, seed)
        return system.predictor(lambda: [tiny.images(spec)]).eval(), system.structure()
    if not case.gaps:
        derived = derive(tiny.masked(spec, seed), spec, tiny.assignments(spec, seed))
        assignments, network = derived.assignments, derived.network
        separate = True
    else:  # nothing is shared above the first layer, and the first task has nothing of its own in it
        last = len(spec.tasks)
        assignments = {name: torch.arange(count) % last for name, count in spec.filters.items()}
        first = next(iter(assignments))
        assignments[first] = torch.where(assignments[first] == 0, last, assignments[first])
        separate = case.separate
        builder = AllocatedBuilder(assignments, last, spec.dimensions, spec.norm, separate=separate)
        network = spec.build(builder)
        tiny.randomise(network, seed)
    return network.eval(), allocated_structure(assignments, separate=separate)


@pytest.fixture
def recorded(tiny, tmp_path):
    """Return a case's network with its record and the file of its weights."""

    def build(name):
        case = CASES[name]
        spec = case.spec
        network, structure = _build(case, tiny, 0)
        if case.members:
            members = [_build(case, tiny, seed) for seed in range(case.members)]
            averages = {task.name: task.average for task in spec.tasks}
            network = MonteCarloEnsemble([member for member, _ in members], averages).eval()
            structure = monte_carlo_structure([member for _, member in members])
        weights = tmp_path / "stored-weights"
        save_file(plain_state(network), weights)
        record = ArchitectureRecord(
            trial=3,
            role="finalist",
            kind="manual",
            name="mine",
            backbone={**case.backbone, "norm": case.norm},
            image_shape=spec.image_shape,
            tasks=[task_to_dict(task) for task in spec.tasks],
            structure=structure.to_dict(),
            allocation=Allocation.equal(spec.filters, spec.task_names),
            seed=1,
            epochs=2,
            parameters=10,
            macs=20,
            metrics={"validation": {"digit/accuracy": 0.5, "ct/psnr": float("inf")}},
            units={"digit/accuracy": "fraction", "ct/psnr": "dB"},
            scores={"validation": 0.25},
            training_seconds=1.0,
        )
        return Recorded(record, network, weights, functools.partial(tiny.images, spec))

    return build
