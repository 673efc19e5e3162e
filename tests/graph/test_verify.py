"""A network whose executions differ is refused before a study begins, with the place where they do."""

import copy
import re

import pytest
import torch
from awkward_networks import NAMES, Heads, build, conv, image_shape
from torch import nn

from sfgsearch.errors import BackboneError
from sfgsearch.graph import PerStream, analyse, verify

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Exported(nn.Module):
    """A skip connection that is left out while the network is exported."""

    def __init__(self):
        super().__init__()
        self.inner = conv(8, 8)

    def forward(self, x):
        return self.inner(x) if torch.compiler.is_exporting() else x + self.inner(x)


class ExportedBehindZero(nn.Module):
    """The same behind a scale of zero, as branches often begin with."""

    def __init__(self):
        super().__init__()
        self.inner, self.scale = conv(8, 8), nn.Parameter(torch.zeros(()))

    def forward(self, x):
        y = self.scale * self.inner(x)
        return x + y if torch.compiler.is_exporting() else x + 2 * y


class Typed(nn.Conv2d):
    """A convolution that treats parameters unlike other tensors."""

    def forward(self, x):
        return super().forward(x) * (1 if isinstance(self.weight, nn.Parameter) else 0.5)


class Inspecting(nn.Module):
    """What it returns depends on the type of the layer inside."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return self.inner(x) * (2 if isinstance(self.inner, nn.Conv2d) else 1)


class Reading(Inspecting):
    """It looks into the layer inside."""

    def forward(self, x):
        return self.inner(x.to(self.inner.weight.dtype))


class Counting(nn.Module):
    """What it returns depends on how often it was called."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x / self.calls


class Random(nn.Module):
    """Noise in evaluation, too."""

    def forward(self, x):
        return x + torch.randn(x.shape[1:])


def network(part):
    """Return a network in the middle of which something runs."""
    return Heads(nn.Sequential(conv(3, 8), part, conv(8, 8)), 8, 2)


def check(part):
    checked = network(part)
    verify(checked, analyse(checked, IMAGES), IMAGES)


@pytest.mark.parametrize("name", NAMES)
def test_networks_that_are_one_in_all_executions_pass(name):
    checked, images = build(name, 2), torch.rand(2, *image_shape(name))
    state = copy.deepcopy(checked.state_dict())
    verify(checked, analyse(checked, images), images)
    assert checked.training
    assert all(torch.equal(value, state[name]) for name, value in checked.state_dict().items())


def test_parts_per_stream_are_run_in_streams():
    checked = Heads(nn.Sequential(conv(3, 8), PerStream(conv(8, 6)), conv(6, 8)), 8, 2)
    verify(checked, analyse(checked, IMAGES), IMAGES)


def test_a_single_task_passes():
    checked = build("residual", 1)
    verify(checked, analyse(checked, IMAGES), IMAGES)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Exported, r"graph does not compute what the network computes, from body\.1 on: .* torch\.export runs it"),
        (Random, r"graph does not compute what the network computes, from body\.1 on: .* depends on chance"),
        (Counting, r"graph does not compute what the network computes, from body\.1 on: .* depends on chance"),
        (
            lambda: Typed(8, 8, 1),
            r"with all filters shared does not compute .* the network computes, from body\.1 on; ",
        ),
        (ExportedBehindZero, r"graph does not compute what the network computes, from body\.1 on"),
        (
            Inspecting,
            r"the compact network does not compute what the masked network .*, from body\.1 on; .* by calling",
        ),
        (Reading, r"the compact network fails: 'GroupedLayer' object has no attribute 'weight'; .* by calling"),
    ],
)
def test_a_refusal_names_the_place_and_the_remedy(part, message):
    with pytest.raises(BackboneError) as caught:
        check(part())
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
