"""Plain multi-task networks: what a specification describes, builds and draws."""

import functools

import pytest
import torch
from torch import nn

from sfgsearch.backbones import vgg_small
from sfgsearch.errors import BackboneError
from sfgsearch.nn import NetworkSpec
from sfgsearch.tasks import Classification, DenseRegression, Regression, Segmentation


def spec_of(backbone, *tasks, image_shape=(2, 6, 8)):
    return NetworkSpec(backbone, tasks or (Classification("digit", num_classes=3), Regression("angle")), image_shape)


class Pyramid(nn.Module):
    """Returns features of two depths."""

    def __init__(self, image_shape, *, last=nn.Identity):
        super().__init__()
        self.low = nn.Conv2d(image_shape[0], 4, 3)
        self.high, self.last = nn.Conv2d(4, 5, 3), last()

    def forward(self, images):
        low = self.low(images)
        return [low, self.last(self.high(low))]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_spec_describes_its_network(tiny, dimensions):
    spec = tiny.spec(2, dimensions)
    assert spec.dimensions == dimensions
    assert spec.task_names == ("digit", "angle")
    assert spec.filters == {"conv1": 7, "conv2": 6, "conv3": 5}


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_predictions_by_task(tiny, num_tasks, dimensions):
    spec = tiny.spec(num_tasks, dimensions)
    shapes = {"digit": (4, 3), "angle": (4,), "colour": (4, 4)}
    predictions = spec.build()(tiny.images(spec))
    assert {name: tuple(value.shape) for name, value in predictions.items()} == {
        name: shapes[name] for name in spec.task_names
    }


@pytest.mark.parametrize("hidden", [0, 4])
@pytest.mark.parametrize("space", [(6, 8), (4, 6, 5)], ids=str)
def test_dense_predictions_have_the_size_of_the_images(space, hidden):
    tasks = Segmentation("organs", hidden=hidden, num_classes=3), DenseRegression("ct", hidden=hidden)
    spec = spec_of(functools.partial(vgg_small, plan=(4, "pool", 6)), *tasks, image_shape=(2, *space))
    network = spec.build()
    for size in (space, tuple(side + 3 for side in space)):
        predictions = network(torch.randn(2, 2, *size))
        assert predictions["organs"].shape == (2, 3, *size)
        assert predictions["ct"].shape == (2, *size)


@pytest.mark.parametrize("hidden", [0, 4])
@pytest.mark.parametrize("space", [(6, 8), (4, 6, 5)], ids=str)
def test_exported_programs_compute_the_same_for_any_batch(space, hidden):
    tasks = Segmentation("organs", hidden=hidden, num_classes=3), DenseRegression("ct", hidden=hidden)
    spec = spec_of(functools.partial(vgg_small, plan=(4, "pool", 6)), *tasks, image_shape=(2, *space))
    network, images = spec.build().eval(), torch.randn(3, 2, *space)
    program = torch.export.export(network, (images[:2],), dynamic_shapes={"images": {0: torch.export.Dim("batch")}})
    for name, prediction in program.module()(images).items():
        torch.testing.assert_close(prediction, network(images)[name])


@pytest.mark.parametrize("name", ["type", "train", "values", "face.age"])
def test_any_name_will_do_for_a_task(name):
    spec = spec_of(functools.partial(vgg_small, plan=(4,)), Classification(name), Regression("angle"))
    assert list(spec.build()(torch.randn(3, 2, 6, 8))) == [name, "angle"]


def test_heads_read_the_last_of_several_features():
    network = spec_of(Pyramid).build()
    assert network.heads["angle"].reader.in_features == 5
    assert list(spec_of(Pyramid).filters) == ["low", "high"]


def test_heads_read_a_vector():
    vectors = functools.partial(Pyramid, last=lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    spec = spec_of(vectors)
    assert spec.filters == {"low": 4, "high": 5}
    assert spec.build()(torch.randn(3, 2, 6, 8))["digit"].shape == (3, 3)


@pytest.mark.parametrize("last", [lambda: nn.Flatten(2), lambda: lambda features: {"features": features}])
def test_other_features_are_refused(last):
    class Odd(Pyramid):
        def forward(self, images):
            return last()(super().forward(images)[-1])

    with pytest.raises(BackboneError, match=r"must return features of 4 dimensions .* or 2"):
        spec_of(Odd).build()


@pytest.mark.parametrize("image_shape", [(3,), (3, 8), (1, 2, 2, 2, 2)], ids=str)
def test_images_have_two_or_three_dimensions_of_space(image_shape):
    with pytest.raises(BackboneError, match="with 2 or 3 dimensions of space"):
        spec_of(vgg_small, image_shape=image_shape).build()


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_weights_are_fixed_by_the_generator(tiny, dimensions, norm):
    spec = tiny.spec(2, dimensions, norm, hidden=3)
    states = []
    for global_seed in (0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(global_seed)
            state = torch.random.get_rng_state()
            states.append(spec.build(tiny.seeded(5)).state_dict())
            assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())
    other = spec.build(tiny.seeded(6)).state_dict()
    assert not torch.equal(other["backbone.conv1.weight"], states[0]["backbone.conv1.weight"])


def test_a_network_of_some_tasks_has_their_heads_only(tiny):
    spec = tiny.spec(3)
    assert list(spec.build(tasks=spec.tasks[1:2]).heads) == ["angle"]


def test_weights_have_the_variance_for_relu(tiny):
    network = tiny.spec(2, plan=(64, 64), norm="none").build(tiny.seeded(0))
    weight, bias = network.backbone.conv2.weight, network.backbone.conv2.bias
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
    assert not bias.any()


def test_equal_specifications_share_an_analysis_and_others_do_not(tiny):
    def spec(num_tasks=2, shape=(2, 6, 6), allocate=None, plan=(5, "pool", 4)):
        return NetworkSpec(functools.partial(vgg_small, plan=plan), tiny.tasks(num_tasks), shape, allocate)

    analysis = spec().analysis
    assert spec().analysis is analysis
    others = (spec(num_tasks=3), spec(shape=(1, 6, 6)), spec(allocate=("conv2",)), spec(plan=(5, "pool", 7)))
    assert all(other.analysis is not analysis for other in others)
    assert [other.filters for other in others] == [
        {"conv1": 5, "conv2": 4},
        {"conv1": 5, "conv2": 4},
        {"conv2": 4},
        {"conv1": 5, "conv2": 7},
    ]
