"""The residual network, against one written without streams."""

import functools
import itertools
import tomllib

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import resnet
from sfgsearch.errors import BackboneError
from sfgsearch.nn import AllocatedBuilder, NetworkSpec, SFGBuilder, SurveyBuilder, complexity, derive, sfg_layers
from sfgsearch.tasks import Classification


def survey(image_shape=(3, 8, 8), **options):
    builder = SurveyBuilder(2, len(image_shape) - 1)
    with torch.device("meta"):
        resnet(builder, image_shape, **options)
    return builder.filters


def hard_sharing(spec):
    allocation = Allocation.hard_sharing(spec.filters, spec.task_names)
    return spec.build(AllocatedBuilder.from_allocation(allocation, spec.dimensions, spec.norm))


class PlainBlock(nn.Module):
    def __init__(self, before, after, dimensions):
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        norm = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d
        self.stride, self.extra = 1 if before == after else 2, after - before
        self.first = convolution(before, after, 3, stride=self.stride, padding=1, bias=False)
        self.norm1 = norm(after)
        self.second = convolution(after, after, 3, padding=1, bias=False)
        self.norm2 = norm(after)

    def forward(self, x):
        shortcut = x
        if self.stride == 2:
            shortcut = x[:, :, ::2, ::2] if x.ndim == 4 else x[:, :, ::2, ::2, ::2]
            low = self.extra // 2
            zeros = [torch.zeros_like(shortcut[:, :1]).repeat_interleave(n, 1) for n in (low, self.extra - low)]
            shortcut = torch.cat([zeros[0], shortcut, zeros[1]], 1)
        y = self.norm1(self.first(x)).relu()
        return (self.norm2(self.second(y)) + shortcut).relu()


class PlainResNet(nn.Module):
    """Written from the paper's section 4.2: 2n layers per stage, option A, average pooling and a linear layer."""

    def __init__(self, depth, channels, classes, dimensions, filters=(16, 32, 64)):
        super().__init__()
        self.conv = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(channels, filters[0], 3, padding=1, bias=False)
        self.norm = (nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d)(filters[0])
        widths = [filters[0], *[width for width in filters for _ in range((depth - 2) // 6)]]
        self.blocks = nn.Sequential(
            *(PlainBlock(before, after, dimensions) for before, after in itertools.pairwise(widths))
        )
        self.linear = nn.Linear(filters[-1], classes)

    def forward(self, images):
        features = self.blocks(self.norm(self.conv(images)).relu())
        return self.linear(features.flatten(2).mean(2))


def cifar_spec(**options):
    return NetworkSpec(functools.partial(resnet, **options), (Classification("object", num_classes=10),), (3, 32, 32))


def test_resnet20_has_the_size_of_the_paper():
    """0.27 M parameters (He et al., Table 6) and 41 M multiply-adds."""
    network = hard_sharing(cifar_spec())
    assert complexity(network, (3, 32, 32)) == complexity(PlainResNet(20, 3, 10, 2), (3, 32, 32))
    assert complexity(network, (3, 32, 32)) == (269_722, 40_551_040)


@pytest.mark.parametrize(("depth", "millions"), [(32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_deeper_ones_have_the_sizes_of_the_paper(depth, millions):
    parameters = sum(parameter.numel() for parameter in hard_sharing(cifar_spec(depth=depth)).parameters())
    assert parameters / 1e6 == pytest.approx(millions, abs=0.05 if depth == 110 else 0.01)


@pytest.mark.parametrize("image_shape", [(3, 9, 12), (2, 8, 5, 6)], ids=["2D", "3D"])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_hard_sharing_is_the_plain_network(tiny, num_tasks, image_shape):
    spec = NetworkSpec(functools.partial(resnet, depth=14), tiny.tasks(num_tasks), image_shape)
    network = hard_sharing(spec)
    tiny.randomise(network)
    plain = PlainResNet(14, image_shape[0], 3, spec.dimensions)
    head = network.heads["digit"].reader
    own = [*network.backbone.state_dict().values(), head.weight, head.bias]
    plain.load_state_dict(dict(zip(plain.state_dict(), own, strict=True)))
    images = tiny.images(spec)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(images)["digit"], plain.eval()(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [0.5, 0.3])
def test_a_narrow_one_is_the_plain_network_too(tiny, width):
    spec = NetworkSpec(functools.partial(resnet, depth=8, width=width), tiny.tasks(1), (1, 8, 8))
    network = hard_sharing(spec)
    filters = tuple(round(width * count) for count in (16, 32, 64))
    plain = PlainResNet(8, 1, 3, 2, filters)
    plain.load_state_dict(dict(zip(plain.state_dict(), network.state_dict().values(), strict=True)))
    images = tiny.images(spec)
    torch.testing.assert_close(network(images)["digit"], plain(images))


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_compact_equals_masked(tiny, num_tasks, dimensions, norm):
    backbone = functools.partial(resnet, depth=8, width=0.5)
    spec = NetworkSpec(backbone, tiny.tasks(num_tasks), (2, *[8 if dimensions == 2 else 5] * dimensions), norm)
    masked = tiny.masked(spec).double()
    assignments = tiny.assignments(spec)
    derived = derive(masked, spec, assignments)
    assert derived.repairs == ()
    tiny.fix(masked, assignments)
    images = tiny.images(spec).double()
    with torch.no_grad():
        ours, theirs = derived.network.double().eval()(images), masked.eval()(images)
    for name, prediction in theirs.items():
        torch.testing.assert_close(ours[name], prediction, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("image_shape", [(3, 9, 12), (2, 8, 5, 6)])
def test_space_is_quartered(image_shape):
    network = resnet(SFGBuilder(1, len(image_shape) - 1), image_shape, depth=8, width=0.25)
    streams = network((torch.randn(2, *image_shape),) * 2)
    assert [stream.shape for stream in streams] == [(2, 16, *(-(-side // 4) for side in image_shape[1:]))] * 2


def test_every_convolution_is_allocatable_and_named_in_depth_order():
    filters = survey(depth=14)
    assert list(filters)[:6] == [
        "stem",
        "stage1_block1_conv1",
        "stage1_block1_conv2",
        "stage1_block2_conv1",
        "stage1_block2_conv2",
        "stage2_block1_conv1",
    ]
    assert list(filters.values()) == [16, *[16] * 4, *[32] * 4, *[64] * 4]
    assert len(survey()) == 19


def test_layer_names_are_bare_keys_of_study_files():
    """A dot would need quotes there, and means a nested table without them."""
    filters = survey(depth=8)
    text = "\n".join(f"{name} = [1, 2]" for name in filters)
    assert tomllib.loads(text) == {name: [1, 2] for name in filters}
    assert set(nn.ModuleDict({name: nn.Identity() for name in filters})) == set(filters)


def test_weights_survive_a_file(tiny, tmp_path):
    spec = NetworkSpec(functools.partial(resnet, depth=8, width=0.25), tiny.tasks(2), (1, 8, 8))
    masked = tiny.masked(spec)
    assert list(sfg_layers(masked)) == list(spec.filters)
    save_file(masked.state_dict(), tmp_path / "weights.safetensors")
    again = spec.build(SFGBuilder(2, 2)).eval()
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    images = tiny.images(spec)
    assert torch.equal(again(images)["digit"], masked.eval()(images)["digit"])


@pytest.mark.parametrize(("depth", "advice"), [(18, "14 or 20"), (21, "20 or 26"), (2, "8 or 14"), (0, "8 or 14")])
def test_other_depths_are_refused(depth, advice):
    with pytest.raises(BackboneError, match=rf"depth of 6n\+2 .* got {depth}; choose {advice}"):
        survey(depth=depth)


@pytest.mark.parametrize("width", [0, -1.0, float("nan"), float("inf")])
def test_bad_widths_are_refused(width):
    with pytest.raises(BackboneError, match=r"width must be from 0\.001 to 100"):
        survey(width=width)
