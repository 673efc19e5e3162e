"""Fixtures that several folders use: tiny tasks, networks, images and assignments."""

import functools

import pytest
import torch

from sfgsearch.backbones import vgg_small
from sfgsearch.nn import GroupedNetwork, NetworkSpec, assignment_rows
from sfgsearch.tasks import Classification, Regression

TASKS = (
    functools.partial(Classification, "digit", num_classes=3),
    functools.partial(Regression, "angle"),
    functools.partial(Classification, "colour", num_classes=4),
)
PLAN = (7, "pool", 6, 5)
NORMS = (
    torch.nn.BatchNorm1d,
    torch.nn.BatchNorm2d,
    torch.nn.BatchNorm3d,
    torch.nn.InstanceNorm2d,
    torch.nn.InstanceNorm3d,
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tensors of a few hundred numbers lose more to the hand-over between threads than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def make_tasks(num_tasks, hidden=0):
    """Classification and regression in turn."""
    return tuple(task(hidden=hidden) for task in TASKS[:num_tasks])


@functools.cache
def make_spec(num_tasks, dimensions=2, norm="batch", hidden=0, plan=PLAN, side=6):
    """A small VGG; the same object for the same arguments, so that it is analysed once."""
    backbone = functools.partial(vgg_small, plan=plan, norm=norm)
    return NetworkSpec(backbone, make_tasks(num_tasks, hidden), (2, *[side] * dimensions))


def make_images(spec, batch=4, seed=0):
    return torch.randn(batch, *spec.image_shape, generator=seeded(seed))


def make_grouped(spec, seed=0, execution="dense"):
    """Build a network in groups whose every number is drawn at random, norms and their statistics included."""
    network = GroupedNetwork(spec.build(), spec.analysis, spec.task_names, execution=execution)
    randomise(network, seed)
    return network


@torch.no_grad()
def randomise(network, seed=0):
    generator = seeded(seed)
    for parameter in network.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    for module in network.modules():
        if isinstance(module, NORMS):
            module.weight.copy_(torch.rand(module.weight.shape, generator=generator) + 0.5)
            # A strongly negative offset would silence a filter for good, and with it what a test looks at.
            module.bias.copy_(torch.rand(module.bias.shape, generator=generator) * 0.7 - 0.2)
        if isinstance(module, NORMS[:3]):
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator) * 0.5)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)


def draw_assignments(spec, seed=0):
    """Draw the group of every filter such that every group has at least one filter."""
    generator, num_groups = seeded(seed), len(spec.tasks) + 1
    assignments = {}
    for name, num_filters in spec.filters.items():
        extra = torch.randint(num_groups, (num_filters - num_groups,), generator=generator)
        groups = torch.cat([torch.arange(num_groups), extra])
        assignments[name] = groups[torch.randperm(num_filters, generator=generator)]
    return assignments


def fix(network, assignments):
    network.groups.fix(assignment_rows(network.analysis, assignments))


def make_targets(spec, batch=4, seed=0):
    generator = seeded(seed)
    return {
        task.name: torch.randint(task.outputs, (batch,), generator=generator)
        if isinstance(task, Classification)
        else torch.randn(batch, generator=generator)
        for task in spec.tasks
    }


class Tiny:
    """What tests build small networks with."""

    seeded = staticmethod(seeded)
    tasks = staticmethod(make_tasks)
    spec = staticmethod(make_spec)
    images = staticmethod(make_images)
    targets = staticmethod(make_targets)
    grouped = staticmethod(make_grouped)
    randomise = staticmethod(randomise)
    assignments = staticmethod(draw_assignments)
    fix = staticmethod(fix)


@pytest.fixture(scope="session")
def tiny():
    return Tiny
