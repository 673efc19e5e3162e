"""Optimisers, their options and schedules of learning rates, against torch's own used by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from sfgsearch.training import TrainingSettings
from sfgsearch.training._optimiser import Optimiser, rate_factor

STEPS, EPOCH = 20, 5


def make_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def kernels(net):
    return [net[0].weight, net[3].weight]


def losses(net, images):
    return (net(images) - images.flatten(1)[:, :2]).square().mean() * 10


def train(net, settings, gates=None, stop=None):
    """Train a network by an optimiser of ours; leave it for another one after some steps, if any are given."""
    images = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(1))

    def make():
        groups = [{"params": list(net.parameters()), "lr": settings.lr, "scheduled": True}]
        groups += [{"params": [gates], "lr": 0.3, "scheduled": False}] if gates is not None else []
        return Optimiser(groups, kernels(net), settings, STEPS, EPOCH, held=0)

    optimiser = make()
    for step in range(STEPS):
        if step == stop:
            state, rates = optimiser.state(), optimiser.learning_rates
            optimiser = make()
            optimiser.restore(state, rates, step)
        loss = losses(net, images)
        optimiser.step(loss if gates is None else loss + (gates - 1).square().sum())
    return net


@pytest.mark.parametrize(
    ("changes", "make"),
    [
        ({"optimiser": "adam"}, lambda groups: torch.optim.Adam(groups)),
        ({"optimiser": "adam", "weight_decay": 0.1}, lambda groups: torch.optim.Adam(groups)),
        ({"optimiser": "adamw", "weight_decay": 0.1}, lambda groups: torch.optim.AdamW(groups, weight_decay=0)),
        ({"optimiser": "sgd", "momentum": 0.0}, lambda groups: torch.optim.SGD(groups)),
        ({"optimiser": "sgd", "nesterov": True}, lambda groups: torch.optim.SGD(groups, momentum=0.9, nesterov=True)),
        ({"optimiser": "sgd", "clip": 0.05}, lambda groups: torch.optim.SGD(groups, momentum=0.9)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_weights_move_as_torch_moves_them(changes, make):
    settings = replace(TrainingSettings(lr=0.01, lr_schedule="constant"), **changes)
    ours, theirs = train(make_net(), settings), make_net()
    images = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    decaying = {"params": kernels(theirs), "weight_decay": settings.weight_decay}
    others = [parameter for parameter in theirs.parameters() if all(parameter is not one for one in kernels(theirs))]
    optimiser = make([{"params": others, "lr": 0.01}, {**decaying, "lr": 0.01}])
    for _ in range(STEPS):
        optimiser.zero_grad()
        losses(theirs, images).backward()
        if settings.clip:
            nn.utils.clip_grad_norm_(theirs.parameters(), settings.clip)
        optimiser.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.equal(ours[0].weight, make_net()[0].weight)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_what_has_a_rate_of_its_own_is_moved_by_adam_at_that_rate(optimiser):
    gates, alone = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    train(make_net(), TrainingSettings(lr=0.01, optimiser=optimiser, clip=1e-6, warmup=2), gates)
    adam = torch.optim.Adam([alone], lr=0.3)
    for _ in range(STEPS):
        adam.zero_grad()
        (alone - 1).square().sum().backward()
        adam.step()
    torch.testing.assert_close(gates, alone)


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "step", "one_cycle", "constant"])
def test_stops_change_nothing(optimiser, schedule):
    settings = TrainingSettings(lr=0.01, optimiser=optimiser, lr_schedule=schedule, weight_decay=0.01, clip=1.0)
    twins = [train(make_net(), settings, nn.Parameter(torch.zeros(3)), stop) for stop in (None, 7)]
    for one, other in zip(*(twin.parameters() for twin in twins), strict=True):
        assert torch.equal(one, other)


def factors(held=0, **settings):
    factor = rate_factor(TrainingSettings(**settings), STEPS, EPOCH, held)
    return [factor(step) for step in range(STEPS)]


def test_schedules_are_what_they_are_called():
    assert factors(lr_schedule="constant") == [1.0] * STEPS
    assert factors(lr_schedule="step") == pytest.approx([1.0] * 10 + [0.1] * 5 + [0.01] * 5)
    assert factors(lr_schedule="step", held=10) == pytest.approx([1.0] * 15 + [0.1] * 3 + [0.01] * 2)
    assert factors(lr_schedule="constant", warmup=2)[:11] == pytest.approx([*(k / 10 for k in range(1, 11)), 1.0])
    cosine = factors(lr_schedule="cosine", warmup=1)
    assert cosine[5] == 1.0
    assert sorted(cosine[5:], reverse=True) == cosine[5:]


def test_one_cycle_is_that_of_torch_where_both_are_defined():
    """Torch's ends a step earlier, at a rate of its own."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.0, total_steps=STEPS + 1, cycle_momentum=False)
    expected = []
    for _ in range(STEPS):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        theirs.step()
    assert factors(lr_schedule="one_cycle") == pytest.approx(expected, abs=0.12)
    assert factors(lr_schedule="one_cycle")[0] == pytest.approx(0.04)
    assert max(factors(lr_schedule="one_cycle")) == 1.0
