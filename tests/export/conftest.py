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
from sfgsearch.methods import FixedAllocation, Randomness, StochasticFilterGroups, manual_methods
from sfgsearch.nn import AssignedNetwork, NetworkSpec, allocated_structure, plain_state
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
CPU = torch.device("cpu")


def convolution(dimensions, *args, **options):
    return (nn.Conv2d if dimensions == 2 else nn.Conv3d)(*args, **options)


class Residual(nn.Module):
    """Additions, one of them into the middle of a wider layer.

    With a stride of 2, sides must be even: pooling rounds down, the strided convolution up.
    """

    def __init__(self, image_shape, width, stride):
        super().__init__()
        dimensions = len(image_shape) - 1
        conv = functools.partial(convolution, dimensions, kernel_size=3, padding=1)
        self.stem = conv(image_shape[0], width)
        self.norm = (nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d)(width)
        self.first, self.second = conv(width, width), conv(width, width)
        self.wide = conv(width, width + 4, stride=stride)
        self.pool = (nn.MaxPool2d if dimensions == 2 else nn.MaxPool3d)(stride)

    def forward(self, images):
        trunk = torch.relu(self.norm(self.stem(images)))
        trunk = torch.relu(trunk + self.second(torch.relu(self.first(trunk))))
        space = [0, 0] * (trunk.ndim - 2)
        return self.wide(trunk) + nn.functional.pad(self.pool(trunk), (*space, 2, 2))


class Normed(nn.Module):
    """Norms over channels, a depthwise, a grouped and a transposed convolution, and a linear layer on channels."""

    def __init__(self, image_shape, width):
        super().__init__()
        self.stem, self.group_norm = nn.Conv2d(image_shape[0], width, 3, padding=1), nn.GroupNorm(2, width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.layer_norm, self.linear = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.grouped = nn.Conv2d(2 * width, width, 1, groups=2)
        self.up = nn.ConvTranspose2d(width, width, 2, stride=2)

    def forward(self, images):
        x = torch.relu(self.depthwise(self.group_norm(self.stem(images)))).movedim(1, -1)
        return self.up(torch.relu(self.grouped(torch.relu(self.linear(self.layer_norm(x))).movedim(-1, 1))))


@backbones.register("export_residual")
def export_residual(image_shape, *, width: int = 6, stride: int = 1):
    return Residual(image_shape, width, stride)


@backbones.register("export_normed")
def export_normed(image_shape, *, width: int = 8):
    return Normed(image_shape, width)


@dataclass(frozen=True)
class Case:
    """A sort of network to rebuild and export.

    Args:
        tasks: The tasks.
        space: Of the images, which have two channels.
        backbone: Name and options.
        method: A manual method by name, ``"learned"``, ``"searched"``, or ``"gaps"``: nothing is shared above the
            first layer, and the first task has nothing of its own in it.
        options: Of the manual method.
    """

    tasks: tuple
    space: tuple
    backbone: dict = field(default_factory=lambda: {"width": 1.0, "plan": [5, "pool", 4]})
    method: str = "learned"
    options: dict = field(default_factory=dict)

    @property
    def named(self):
        return {"name": "vgg_small", **self.backbone}

    @functools.cached_property
    def spec(self):
        name, *options = self.named
        build = functools.partial(backbones[self.named[name]], **{key: self.named[key] for key in options})
        return NetworkSpec(build, self.tasks, (2, *self.space))


VGG, RESIDUAL, NORMED = {"plan": [5, "pool", 4]}, {"name": "export_residual"}, {"name": "export_normed"}
INSTANCE = {"width": 1.0, **VGG, "norm": "instance"}
CASES = {
    "one task": Case(ALLOCATED[:1], (6, 6)),
    "two tasks with gaps": Case(ALLOCATED[:2], (6, 6), method="gaps"),
    "three tasks in 3D": Case(ALLOCATED, (6, 4, 4), INSTANCE),
    "no norm": Case(ALLOCATED[1:], (6, 6), {**VGG, "norm": "none"}, method="searched"),
    "dense": Case(DENSE, (6, 8)),
    "dense in 3D with gaps": Case(DENSE[:2], (4, 6, 6), INSTANCE, method="gaps"),
    "residual": Case(ALLOCATED[:2], (6, 6), RESIDUAL, method="searched"),
    "residual dense in 3D": Case(DENSE[:2], (4, 6, 6), RESIDUAL),
    "residual dense of even sides": Case(DENSE[:2], (6, 4), {**RESIDUAL, "stride": 2}),
    "residual with gaps": Case(ALLOCATED, (6, 6), RESIDUAL, method="gaps"),
    "normed": Case(ALLOCATED[:2], (6, 6), NORMED),
    "normed dense": Case(DENSE[:2], (6, 8), {**NORMED, "width": 16}, method="searched"),
    "single task": Case(DENSE[1:], (6, 6), method="single_task"),
    "hard sharing": Case(ALLOCATED[:2], (8, 8), {"name": "resnet", "depth": 8, "width": 0.25}, method="hard_sharing"),
    "equal": Case(DENSE[:2], (6, 6), {"name": "highresnet", "width": 0.25, "blocks": 1}, method="equal"),
    "ensemble": Case(ALLOCATED[:2], (6, 6), method="constant_probabilities", options={"samples": 2}),
    "dense ensemble in 3D": Case(DENSE, (4, 6, 6), method="constant_probabilities", options={"samples": 2}),
    "cross_stitch": Case(ALLOCATED, (6, 6), RESIDUAL, method="cross_stitch"),
    "nddr": Case(ALLOCATED, (6, 6), RESIDUAL, method="nddr"),
    "task_routing": Case(DENSE[:2], (6, 8), RESIDUAL, method="task_routing"),
    "learned_routing": Case(ALLOCATED[:2], (6, 6), RESIDUAL, method="learned_routing"),
    "maximum_roaming": Case(ALLOCATED[:2], (6, 6), method="maximum_roaming"),
    "adashare": Case(ALLOCATED, (6, 6), {"name": "highresnet", "width": 0.25, "blocks": 1}, method="adashare"),
    "learning_to_branch": Case(ALLOCATED, (6, 6), RESIDUAL, method="learning_to_branch"),
}


@dataclass(frozen=True)
class Recorded:
    """A network, its record and its weights."""

    record: ArchitectureRecord
    network: nn.Module
    weights: object
    images: Callable


def _gaps(case, tiny):
    spec, last = case.spec, len(case.tasks)
    assignment = {name: torch.arange(count) % last for name, count in spec.filters.items()}
    first = next(iter(assignment))
    assignment[first] = torch.where(assignment[first] == 0, last, assignment[first])
    network = AssignedNetwork(spec.build(), spec.analysis, assignment, spec.task_names)
    tiny.randomise(network)
    return network.compact().eval(), allocated_structure(assignment)


def _build(case, tiny):
    """Return a network of random weights and its structure."""
    spec = case.spec
    if case.method == "gaps":
        return _gaps(case, tiny)
    if case.method == "learned":
        method = StochasticFilterGroups()
    elif case.method == "searched":
        shares = {name: [0.3, *[0.5 / (len(case.tasks) - 1)] * (len(case.tasks) - 1), 0.2] for name in spec.filters}
        method = FixedAllocation(Allocation.from_proportions(spec.filters, spec.task_names, shares), repair=True)
    else:
        method = manual_methods[case.method](spec, **case.options)
    system = method.build(spec, Randomness.from_seed(0, CPU), CPU)
    tiny.randomise(system.network)
    return system.predictor(lambda: [tiny.images(spec)]).eval(), system.structure()


@pytest.fixture
def recorded(tiny, tmp_path):
    """Return a case's network with its record and the file of its weights."""

    def build(name):
        case = CASES[name]
        spec = case.spec
        network, structure = _build(case, tiny)
        weights = tmp_path / "stored-weights"
        save_file(plain_state(network), weights)
        record = ArchitectureRecord(
            trial=3,
            role="finalist",
            kind="manual",
            name="mine",
            backbone=case.named,
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
