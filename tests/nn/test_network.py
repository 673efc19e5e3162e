import functools

import pytest
import torch

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import vgg_small
from sfgsearch.errors import BackboneError
from sfgsearch.nn import (
    AllocatedBuilder,
    Backbone,
    NetworkSpec,
    SFGBuilder,
    StreamLayout,
    SurveyBuilder,
    initialise,
    sfg_layers,
)
from sfgsearch.tasks import Classification, Regression


def build_hard_sharing(spec, norm="batch"):
    allocation = Allocation.hard_sharing(spec.filters, spec.task_names)
    return spec.build(AllocatedBuilder.from_allocation(allocation, spec.dimensions, norm))


class Forgetful(Backbone):
    """A backbone that does not say what its streams carry."""

    def __init__(self, layers, image_shape):
        super().__init__()
        self.conv, _ = layers.conv("conv1", layers.image(image_shape[0]), 4, 3)

    def forward(self, streams):
        return streams


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_spec_describes_its_network(tiny, dimensions):
    spec = tiny.spec(2, dimensions)
    assert spec.dimensions == dimensions
    assert spec.task_names == ("digit", "angle")
    assert spec.filters == {"conv1": 7, "conv2": 6, "conv3": 5}
    assert list(sfg_layers(tiny.masked(spec))) == list(spec.filters)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_predictions_by_task(tiny, num_tasks, dimensions):
    spec = tiny.spec(num_tasks, dimensions)
    shapes = {"digit": (4, 3), "angle": (4,), "colour": (4, 4)}
    for network in (tiny.masked(spec), build_hard_sharing(spec)):
        predictions = network(tiny.images(spec))
        assert {name: tuple(value.shape) for name, value in predictions.items()} == {
            name: shapes[name] for name in spec.task_names
        }


def test_task_heads_read_their_own_stream(tiny):
    spec = tiny.spec(2)
    network = tiny.masked(spec).eval()
    streams = network.backbone((tiny.images(spec),) * 3)
    predictions = network(tiny.images(spec))
    for task, name in enumerate(spec.task_names):
        assert torch.equal(network.heads[name](streams[task]), predictions[name])


@pytest.mark.parametrize("name", ["type", "train", "values", "face.age"])
def test_any_name_will_do_for_a_task(name):
    spec = NetworkSpec(functools.partial(vgg_small, plan=(4,)), (Classification(name), Regression("angle")), (1, 4, 4))
    assert list(spec.build(SFGBuilder(2, 2))(torch.randn(3, 1, 4, 4))) == [name, "angle"]


def test_a_backbone_must_set_its_layout(tiny):
    spec = NetworkSpec(Forgetful, tiny.tasks(1), (1, 4, 4))
    with pytest.raises(BackboneError, match=r"Forgetful must set self\.layout"):
        spec.build(SFGBuilder(1, 2))


def test_the_survey_touches_no_random_state(tiny):
    before = torch.random.get_rng_state()
    assert tiny.spec(2).filters
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_survey_passes_full_layouts(tiny):
    backbone = tiny.spec(2).backbone(SurveyBuilder(2, 2), (2, 6, 6))
    assert backbone.layout == StreamLayout.full(5, 3)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("masked", [True, False])
def test_initial_weights_are_fixed_by_the_generator(tiny, masked, dimensions, norm):
    spec = tiny.spec(2, dimensions, norm, hidden=3)
    states = []
    for global_seed in (0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(global_seed)
            network = spec.build(SFGBuilder(2, dimensions, norm)) if masked else build_hard_sharing(spec, norm)
            state = torch.random.get_rng_state()
            initialise(network, tiny.seeded(5))
            assert torch.equal(torch.random.get_rng_state(), state)
        states.append(network.state_dict())
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


def test_initial_weights_have_the_variance_for_relu(tiny):
    spec = tiny.spec(2, plan=(64, 64))
    for network in (spec.build(SFGBuilder(2, 2)), build_hard_sharing(spec)):
        initialise(network, tiny.seeded(0))
        weights = [parameter for parameter in network.parameters() if parameter.shape == (64, 64, 3, 3)]
        assert len(weights) == 1
        assert weights[0].std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)


def test_biases_start_at_zero(tiny):
    spec = tiny.spec(2, norm="none")
    network = tiny.masked(spec)
    initialise(network, tiny.seeded(0))
    assert not any(layer.bias.any() for layer in sfg_layers(network).values())
    assert not any(head.reader.bias.any() for head in network.heads.values())
