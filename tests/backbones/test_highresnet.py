"""The high-resolution network: its blocks against MONAI's, itself against one without streams, and its memory."""

import functools
import subprocess
import sys

import pytest
import torch
from torch import nn

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import HighResBlock, highresnet
from sfgsearch.errors import BackboneError
from sfgsearch.nn import AllocatedBuilder, NetworkSpec, SFGBuilder, SurveyBuilder, complexity, derive, initialise

GIBIBYTE = 2**30
MEASURE = """
import resource
import torch
from sfgsearch.backbones import highresnet
from sfgsearch.nn import SFGBuilder

torch.set_num_threads(1)
kibibytes = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
backbone = highresnet(SFGBuilder(2, 3), (1, 32, 32, 32)).train()
before = kibibytes()
sum(stream.square().mean() for stream in backbone((torch.randn(1, 1, 32, 32, 32),) * 3)).backward()
assert all(parameter.grad is not None for parameter in backbone.parameters())
print(1024 * (kibibytes() - before))
"""


def survey(image_shape=(1, 8, 8, 8), **options):
    builder = SurveyBuilder(2, len(image_shape) - 1)
    with torch.device("meta"):
        highresnet(builder, image_shape, **options)
    return builder.filters


def small_spec(tiny, num_tasks, dimensions=2, norm="batch", **options):
    backbone = functools.partial(highresnet, **{"width": 0.25, "blocks": 1, **options})
    return NetworkSpec(backbone, tiny.tasks(num_tasks), (2, *[9 if dimensions == 2 else 5] * dimensions), norm)


def hard_sharing(spec):
    allocation = Allocation.hard_sharing(spec.filters, spec.task_names)
    return spec.build(AllocatedBuilder.from_allocation(allocation, spec.dimensions, spec.norm))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_block_is_that_of_monai(tiny, dimensions, dilation, training):
    nets = pytest.importorskip("monai.networks.nets")
    ours = HighResBlock(6, dimensions, dilation=dilation)
    theirs = nets.HighResBlock(dimensions, 6, 6, dilation=dilation)
    tiny.randomise(ours)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    images = torch.randn(2, 6, *[7] * dimensions, generator=tiny.seeded(1))
    torch.testing.assert_close(ours.train(training)(images), theirs.train(training)(images), rtol=1e-4, atol=1e-4)


def test_a_gated_block_is_the_narrow_block_of_its_channels(tiny):
    wide, narrow, present = HighResBlock(6, 2).double(), HighResBlock(3, 2).double(), (1, 3, 4)
    tiny.randomise(wide)
    narrow.load_channels(wide, present)
    gate = torch.zeros(1, 6, 1, 1, dtype=torch.float64)
    gate[:, present] = 1
    images = torch.randn(2, 6, 5, 5, generator=tiny.seeded(1), dtype=torch.float64) * gate
    gated = wide.eval()(images, gate)
    torch.testing.assert_close(gated[:, present], narrow.eval()(images[:, present]))
    assert not gated[:, [0, 2, 5]].any()


def test_filters_of_the_authors():
    assert survey() == {"conv1": 16, "conv2": 32, "conv3": 64, "conv4": 64, "conv5": 64}
    assert list(survey(width=0.5).values()) == [8, 16, 32, 32, 32]


def plain_network(channels, filters, blocks, dimensions):
    """Write the network down without streams, as a list of modules."""
    convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
    norm = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d
    modules = []
    for index, (before, after) in enumerate(zip([channels, *filters[:-1]], filters, strict=True)):
        modules += [convolution(before, after, 3, padding=1, bias=False), norm(after), nn.ReLU()]
        if index < 3:
            modules += [HighResBlock(after, dimensions, dilation=2**index) for _ in range(blocks)]
    return nn.Sequential(*modules)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_hard_sharing_is_the_plain_network(tiny, num_tasks, dimensions):
    spec = small_spec(tiny, num_tasks, dimensions, blocks=2)
    network = hard_sharing(spec)
    tiny.randomise(network)
    plain = plain_network(2, [4, 8, 16, 16, 16], 2, dimensions)
    plain.load_state_dict(dict(zip(plain.state_dict(), network.backbone.state_dict().values(), strict=True)))
    assert complexity(network.backbone, spec.image_shape) == complexity(plain, spec.image_shape)
    images = tiny.images(spec)
    with torch.no_grad():
        streams = network.eval().backbone((images,) * (num_tasks + 1))
        torch.testing.assert_close(streams[0], plain.eval()(images), rtol=1e-4, atol=1e-4)
    assert streams[0].shape[2:] == images.shape[2:]


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_compact_equals_masked(tiny, num_tasks, dimensions, norm):
    spec = small_spec(tiny, num_tasks, dimensions, norm)
    masked, assignments = tiny.masked(spec), tiny.assignments(spec)
    initialise(masked, tiny.seeded(2))
    derived = derive(masked, spec, assignments)
    assert derived.repairs == ()
    tiny.fix(masked, assignments)
    images = tiny.images(spec)
    with torch.no_grad():
        ours, theirs = derived.network.eval()(images), masked.eval()(images)
    for name, prediction in theirs.items():
        torch.testing.assert_close(ours[name], prediction, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_tasks", [2, 3])
def test_nothing_shared(tiny, num_tasks):
    """Without a shared stream there is none to compute."""
    spec = small_spec(tiny, num_tasks)
    network = spec.build(
        AllocatedBuilder.from_allocation(Allocation.single_task(spec.filters, spec.task_names), 2, "batch")
    )
    streams = network.backbone((tiny.images(spec),) * (num_tasks + 1))
    assert streams[-1] is None
    assert [stream.shape[1] for stream in streams[:-1]] == [16] * num_tasks


def test_blocks_are_optional():
    with_blocks, without = (highresnet(SFGBuilder(1, 2), (1, 4, 4), width=0.25, blocks=blocks) for blocks in (1, 0))
    assert [sum(isinstance(module, HighResBlock) for module in net.modules()) for net in (with_blocks, without)] == [
        6,
        0,
    ]


def test_a_step_on_a_volume_fits_into_memory():
    """Forward and backward of the masked network, two tasks, one patch of 32x32x32; about 1.1 GiB."""
    result = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert 0.1 * GIBIBYTE < int(result.stdout) < 4 * GIBIBYTE


@pytest.mark.parametrize("width", [0, -1.0, float("nan")])
def test_bad_widths_are_refused(width):
    with pytest.raises(BackboneError, match=r"width must be from 0\.001 to 100"):
        survey(width=width)


def test_a_negative_number_of_blocks_is_refused():
    with pytest.raises(BackboneError, match="blocks must be 0 to 100, got -1"):
        survey(blocks=-1)
