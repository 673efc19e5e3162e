"""Whatever operation is between layers: either all executions are one network, or it is refused by name."""

import re

import pytest
import torch
from awkward_networks import Heads, conv
from executions import Case, assert_dense_is_streams, assert_derived_are_dense, assert_tasks_keep_apart
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from sfgsearch.errors import BackboneError
from sfgsearch.graph import analyse

pytestmark = pytest.mark.slow


class Written(nn.Module):
    """A module with a forward of its own."""

    def __init__(self, forward, parts):
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, images):
        return self.function(self, images)


class ResidualConv(nn.Conv2d):
    """A convolution that adds its input."""

    def forward(self, x):
        return x + super().forward(x)


class SamePadded(nn.Conv2d):
    """A convolution that pads by itself."""

    def forward(self, x):
        return functional.conv2d(functional.pad(x, (1, 1, 1, 1)), self.weight, self.bias)


class Standardised(nn.Conv2d):
    """A convolution with weight standardisation by hand."""

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True)
        return self._conv_forward(x, (self.weight - mean) * (variance + 1e-5).rsqrt(), self.bias)


class StandardisedByNorm(nn.Conv2d):
    """A convolution with scaled weight standardisation by a batch norm, as timm has it, that pads by itself."""

    def __init__(self, inputs, outputs, size=3, **options):
        super().__init__(inputs, outputs, size, **options)
        self.gain = nn.Parameter(torch.ones(outputs, 1, 1, 1))

    def forward(self, x):
        rows = self.weight.reshape(1, self.out_channels, -1)
        gain = (self.gain * 0.3).view(-1)
        weight = functional.batch_norm(rows, None, None, weight=gain, training=True, momentum=0.0)
        return functional.conv2d(functional.pad(x, [1, 1, 1, 1]), weight.reshape_as(self.weight), self.bias)


class Scaled(nn.Conv2d):
    """A convolution with one more parameter."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, 1)
        self.scale = nn.Parameter(torch.ones(outputs, 1, 1))

    def forward(self, x):
        return self.scale * super().forward(x)


def stem(filters=8):
    """A plain convolution of the image, which may be changed in place."""
    return nn.Conv2d(3, filters, 3, padding=1)


def tokens(x):
    """(B, C, H, W) to (B, H W, C)."""
    return x.flatten(2).transpose(1, 2)


def as_map(x, size=(8, 8)):
    """(B, H W, C) to (B, C, H, W)."""
    return x.transpose(1, 2).unflatten(2, size)


def last(x):
    """(B, C, H, W) to (B, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def first(x):
    """(B, H, W, C) to (B, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def between(operation, filters=8, channels=8, **parts):
    """Return a network with an operation between a stem of so many filters and a layer that reads so many channels."""

    def forward(module, images):
        return module.out(operation(module, module.stem(images)))

    return lambda: Written(forward, {"stem": stem(filters), "out": conv(channels, 8), **_built(parts)})


def whole(forward, **parts):
    """Return a network with a forward of its own and a last layer ``out`` of 8 channels, unless it is given."""
    return lambda: Written(forward, {"out": conv(8, 8), **_built(parts)})


def _built(parts):
    return {name: part() for name, part in parts.items()}


def written_in_place(module, images):
    x = module.stem(images)
    x += module.branch(x + 0)
    x.mul_(2)
    return module.out(x)


def maximum_and_index(_, x):
    top, index = x.max(1, keepdim=True)
    return torch.cat([x, top, index.to(x.dtype)], 1)


def spatial_attention(module, x):
    pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
    return x * module.attend(pooled).sigmoid()


def channel_attention(module, x):
    return x * module.attend(x.mean((2, 3))[:, None]).sigmoid().transpose(1, 2)[..., None]


def attention_with_bias(module, images):
    x = tokens(module.patches(images))
    heads = x.unflatten(2, (2, 4)).transpose(1, 2)
    mixed = functional.scaled_dot_product_attention(heads, heads, heads, module.bias(x).unsqueeze(1))
    return module.out(as_map(mixed.transpose(1, 2).flatten(2), (2, 2)))


def normalised_image(module, images):
    return module.out(first(module.norm(last(torch.cat([images, module.stem(images)], 1)))))


def without_gradient(module, images):
    with torch.no_grad():
        x = module.stem(images)
    return module.out(x)


def tied(make):
    """Return two layers that share one weight."""
    layers = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1), make(8, 8, 3, padding=1)])
    layers[1].weight = layers[0].weight
    return layers


ONE = torch.ones((), dtype=torch.float64)
PARTS = {"stem": stem, "branch": lambda: conv(8, 8)}
EXACT = {
    "pad_value": between(lambda _, x: functional.max_pool2d(functional.pad(x, (1, 1, 1, 1), value=-3.0), 3, 1)),
    "pad_channels": between(lambda _, x: functional.pad(x, (0, 0, 0, 0, 1, 1), value=2.0), channels=10),
    "pad_reflect": between(lambda _, x: functional.pad(x, (1, 1, 1, 1), mode="reflect")),
    "pad_circular": between(lambda _, x: functional.pad(x, (1, 1, 1, 1), mode="circular")),
    "pad_replicate": between(lambda _, x: functional.pad(x, (1, 1, 1, 1), mode="replicate")),
    "masked_fill": between(lambda _, x: x.masked_fill(x.flip(1) > 0.3, 1.5)),
    "where": between(lambda _, x: torch.where(x.roll(1, 1) > 0, x, -x)),
    "index": between(lambda _, x: x[:, [3, 1, 0, 2, 7, 6, 5, 4]]),
    "roll": between(lambda _, x: x.roll(3, 1)),
    "maximum_and_index": between(maximum_and_index, channels=10),
    "max_of_two": whole(lambda m, x: m.out(torch.max(m.one(x), m.two(x))), one=stem, two=stem),
    "maximum": whole(lambda m, x: m.out(torch.maximum(m.one(x), m.two(x))), one=stem, two=stem),
    **{
        f"interpolate_{mode}": between(lambda _, x, mode=mode: functional.interpolate(x, scale_factor=2, mode=mode))
        for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area")
    },
    "antialias": between(lambda _, x: functional.interpolate(x, (4, 4), mode="bilinear", antialias=True)),
    "image_and_features": whole(lambda m, x: m.out(torch.cat([x, m.stem(x)], 1)), stem=stem, out=lambda: conv(11, 8)),
    "image_times_features": whole(lambda m, x: m.out(m.stem(x) * x), stem=lambda: stem(3), out=lambda: conv(3, 8)),
    "image_and_features_layer_norm": whole(
        normalised_image, stem=stem, norm=lambda: nn.LayerNorm(11), out=lambda: conv(11, 8)
    ),
    "image_and_features_group_norm": whole(
        lambda m, x: m.out(m.norm(torch.cat([x, m.stem(x)], 1))),
        **{"stem": lambda: stem(9), "norm": lambda: nn.GroupNorm(3, 12), "out": lambda: conv(12, 8)},
    ),
    "group_norm_of_the_image": whole(lambda m, x: m.out(m.stem(m.norm(x))), stem=stem, norm=lambda: nn.GroupNorm(1, 3)),
    "layer_norm_without_bias": between(lambda m, x: first(m.norm(last(x))), norm=lambda: nn.LayerNorm(8, bias=False)),
    "layer_norm_without_scale": between(
        lambda m, x: first(m.norm(last(x))), norm=lambda: nn.LayerNorm(8, elementwise_affine=False)
    ),
    "layer_norm_of_maps": between(lambda m, x: m.norm(x), norm=lambda: nn.LayerNorm([8, 8, 8])),
    "group_norm_without_scale": between(lambda m, x: m.norm(x), norm=lambda: nn.GroupNorm(2, 8, affine=False)),
    "rms_norm": between(lambda m, x: first(m.norm(last(x))), norm=lambda: nn.RMSNorm(8)),
    "batch_norm_without_statistics": between(
        lambda m, x: m.norm(x), norm=lambda: nn.BatchNorm2d(8, track_running_stats=False)
    ),
    "instance_norm_with_statistics": between(
        lambda m, x: m.norm(x), norm=lambda: nn.InstanceNorm2d(8, affine=True, track_running_stats=True)
    ),
    "local_response_norm": between(lambda _, x: functional.local_response_norm(x, 3)),
    "normalize": between(lambda _, x: functional.normalize(x, dim=1)),
    "standardise": between(lambda _, x: x / (1 + torch.var_mean(x, (2, 3), keepdim=True)[0])),
    "expand": between(lambda m, x: m.one(x).expand(-1, 8, -1, -1), one=lambda: nn.Conv2d(8, 1, 1)),
    "spatial_attention": between(spatial_attention, attend=lambda: nn.Conv2d(2, 1, 3, padding=1)),
    "channel_attention": between(channel_attention, attend=lambda: nn.Conv1d(1, 1, 3, padding=1)),
    "attention_with_bias": whole(
        attention_with_bias, patches=lambda: nn.Conv2d(3, 8, 4, stride=4), bias=lambda: nn.Linear(8, 4)
    ),
    "encoder": whole(
        lambda m, x: as_map(m.encoder(tokens(m.out(x))), (2, 2)),
        out=lambda: nn.Conv2d(3, 8, 4, stride=4),
        encoder=lambda: nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True),
    ),
    "shapes_of_the_batch": between(
        lambda _, x: x.reshape(x.shape[0], 2, 4, 8, 8).transpose(1, 2).reshape(x.shape[0], 8, 8, 8)
    ),
    "pool_over_channels": between(
        lambda _, x: as_map(functional.max_pool1d(tokens(x), 3, 1, 1)),
    ),
    "pool_without_channels": between(lambda _, x: functional.max_pool2d(x.flatten(2), 3, 1, 1).unflatten(2, (8, 8))),
    "lp_pool": between(lambda _, x: functional.lp_pool2d(x.abs() + 1, 2, 2)),
    "unfold": between(lambda _, x: functional.unfold(x, 2, stride=2).unflatten(2, (4, 4)), channels=32),
    "gated_linear_unit": between(lambda _, x: functional.glu(x, 1), channels=4),
    "softmax_over_channels": between(lambda _, x: x.softmax(1)),
    "softmax_over_space": between(lambda _, x: x.flatten(2).softmax(2).unflatten(2, (8, 8))),
    "gram": between(lambda _, x: (x.flatten(2) @ x.flatten(2).mT)[..., None].expand(-1, -1, -1, 8)),
    "in_place": whole(written_in_place, **PARTS),
    "tied_weights": between(lambda m, x: m.layers[1](m.layers[0](x).relu()), layers=lambda: tied(nn.Conv2d)),
    "depthwise_twice": whole(
        lambda m, x: m.out(m.depthwise(m.inner(m.depthwise(x))).relu()),
        depthwise=lambda: nn.Conv2d(3, 3, 3, padding=1, groups=3),
        inner=lambda: nn.Conv2d(3, 3, 1),
        out=lambda: conv(3, 8),
    ),
    "depthwise_multiplier": between(
        lambda m, x: m.depthwise(x), channels=16, depthwise=lambda: nn.Conv2d(8, 16, 3, padding=1, groups=8)
    ),
    "transposed_grouped": between(lambda m, x: m.up(x), up=lambda: nn.ConvTranspose2d(8, 8, 2, stride=2, groups=2)),
    "transposed_depthwise": between(lambda m, x: m.up(x), up=lambda: nn.ConvTranspose2d(8, 8, 2, stride=2, groups=8)),
    "transposed_to_a_size": between(
        lambda m, x: m.up(x, output_size=[16, 16]), up=lambda: nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1)
    ),
    "circular_convolution": between(
        lambda m, x: m.inner(x), inner=lambda: nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular")
    ),
    "padding_by_name": between(lambda m, x: m.inner(x), inner=lambda: nn.Conv2d(8, 8, 3, padding="same")),
    "convolution_that_pads": between(lambda m, x: m.inner(x), inner=lambda: SamePadded(8, 8, 3)),
    "convolution_that_adds": between(lambda m, x: m.inner(x), inner=lambda: ResidualConv(8, 8, 3, padding=1)),
    "convolution_that_scales": between(lambda m, x: m.inner(x), inner=lambda: Scaled(8, 8)),
    "flatten": whole(
        lambda m, x: m.out(m.stem(x).flatten(1))[..., None, None], stem=stem, out=lambda: nn.Linear(512, 8)
    ),
    "aliases": between(
        lambda _, x: torch.multiply(torch.subtract(x, 1), torch.negative(torch.divide(x.absolute(), 2)))
    ),
    "one_slope": between(lambda m, x: m.slope(x), slope=nn.PReLU),
    "slopes": between(lambda m, x: m.slope(x), slope=lambda: nn.PReLU(8)),
    "position_embedding": between(
        lambda m, x: x + m.position(torch.arange(8)).T[None, ..., None], position=lambda: nn.Embedding(8, 8)
    ),
    "fourier_transform_of_the_image": whole(lambda m, x: m.out(torch.fft.rfft2(x).abs()), out=lambda: conv(3, 8)),
    "filter_of_the_image": whole(
        lambda m, x: m.out(torch.cat([x, functional.conv2d(x, ONE.expand(2, 3, 3, 3), padding=1)], 1)),
        out=lambda: conv(5, 8),
    ),
    "blur": between(lambda _, x: functional.conv2d(x, ONE.expand(8, 1, 3, 3), padding=1, groups=8)),
    **{
        f"standardised_{name}": between(lambda m, x: m.out(m.inner(x).relu()), inner=make)
        for name, make in (
            ("by_hand", lambda: Standardised(8, 8, 3, padding=1)),
            ("by_a_norm", lambda: StandardisedByNorm(8, 8)),
            ("in_groups", lambda: Standardised(8, 8, 3, padding=1, groups=2)),
            ("depthwise", lambda: Standardised(8, 8, 3, padding=1, groups=8)),
            ("weight_norm", lambda: parametrizations.weight_norm(nn.Conv2d(8, 8, 3, padding=1))),
        )
    },
    "autocast_disabled": between(lambda m, x: precise(m, x), inner=lambda: conv(8, 8)),
    "standardised_linear": between(
        lambda m, x: first(m.inner(last(x))), inner=lambda: parametrizations.weight_norm(nn.Linear(8, 8))
    ),
    "standardised_image": whole(
        lambda m, x: m.out(m.stem(x)),
        stem=lambda: parametrizations.weight_norm(stem()),
        out=lambda: Standardised(8, 8, 3),
    ),
    "standardised_twice": between(lambda m, x: m.inner(m.inner(x).relu()), inner=lambda: Standardised(8, 8, 1)),
    "matrix": between(lambda m, x: as_map(tokens(x) @ m.matrix), matrix=lambda: nn.Parameter(torch.ones(8, 8))),
}


ACTIVATIONS = (
    *("relu6", "hardtanh", "hardswish", "hardsigmoid", "mish", "celu", "selu", "gelu", "silu", "elu", "leaky_relu"),
    *("softplus", "softshrink", "hardshrink", "tanhshrink", "logsigmoid", "softsign", "rrelu"),
)


def test_activations_leave_channels_alone():
    def activate(_, x):
        for name in ACTIVATIONS:
            x = getattr(functional, name)(x)
        return x

    network = Heads(between(activate)(), 8, 2)
    assert analyse(network, torch.randn(2, 3, 8, 8)).filters == {"body.stem": 8, "body.out.0": 8}


@pytest.fixture(params=EXACT, scope="module")
def case(request):
    return Case(Heads(EXACT[request.param](), 8, 2), (3, 8, 8))


@pytest.mark.parametrize("training", [False, True])
def test_dense_is_streams(case, training):
    assert_dense_is_streams(case, training)


def test_derived_networks_are_dense_ones(case):
    assert_derived_are_dense(case)


def test_tasks_keep_apart(case):
    assert_tasks_keep_apart(case)


def write_into_a_part(_, x):
    x[:, 0] = x[:, 1]
    return x


def read_a_part_later(module, x):
    part = x[:, :4]
    x.mul_(module.branch(x))
    return torch.cat([part, x[:, 4:]], 1)


def write_into_a_buffer(module, x):
    module.norm.running_mean.add_(1)
    return module.norm(x) * module.norm.running_mean.sum()


def branch_on_values(module, images):
    x = module.stem(images)
    return module.out(x if images.sum() > 0 else -x)


def with_autocast(module, images):
    with torch.autocast("cpu", torch.bfloat16):
        x = module.stem(images)
    return module.out(x.to(images.dtype))


def precise(module, x):
    with torch.autocast("cpu", enabled=False):
        y = module.inner(x) * 2
        with torch.autocast("cpu", enabled=False):
            z = y.relu()
    return y + z


def weight_in_two_shapes(module, x):
    weight = module.inner.weight
    return functional.conv2d(functional.conv2d(x, weight, groups=2)[:, :4], weight)


REFUSED = {
    "lstm": (
        between(lambda m, x: as_map(m.inner(tokens(x))[0]), inner=lambda: nn.LSTM(8, 8, batch_first=True)),
        r"filters cannot be followed through body.inner \(LSTM\); write that part with",
    ),
    "lstm_of_the_image": (
        whole(lambda m, x: m.out(as_map(m.inner(tokens(x))[0])), inner=lambda: nn.LSTM(3, 8, batch_first=True)),
        r"filters cannot be followed through body.inner \(LSTM\); write that part with",
    ),
    "embedding": (
        whole(lambda m, x: m.out(first(m.inner((x[:, 0] > 0).long()))), inner=lambda: nn.Embedding(2, 8)),
        r"filters cannot be followed through body.inner \(embedding\); write that part with",
    ),
    "fourier_transform": (
        between(lambda _, x: torch.fft.rfft2(x).abs()),
        r"filters cannot be followed through body \(fft_rfft2\); write that part with",
    ),
    "spectral_norm": (
        between(lambda m, x: m.inner(x), inner=lambda: parametrizations.spectral_norm(nn.Conv2d(8, 8, 1))),
        r"the weight of body.inner \(conv2d\) is no parameter, .* remove spectral normalisation",
    ),
    "weight_normalised_elsewhere": (
        between(lambda m, x: m.inner(x) * m.inner.weight.mean(), inner=lambda: Standardised(8, 8, 1)),
        r"body \(mean\) reads body.inner.weight otherwise than the layer that has it",
    ),
    "dynamic_convolution": (
        between(
            lambda m, x: functional.conv2d(x, m.inner(x.mean((2, 3)))[0].view(8, 8, 1, 1)),
            inner=lambda: nn.Linear(8, 64),
        ),
        r"the weight of body \(conv2d\) is no parameter",
    ),
    "cumsum": (between(lambda _, x: x.cumsum(1)), r"body \(cumsum\); write"),
    "einsum": (
        between(lambda _, x: torch.einsum("bchw,bdhw->bcdhw", x[:, :2], x[:, :4]).flatten(1, 2)),
        r"body \(einsum\); write",
    ),
    "cdist": (
        between(lambda _, x: torch.cdist(x.flatten(2), x.flatten(2)).unflatten(2, (2, 4))),
        r"body \(cdist\); write",
    ),
    "sort": (between(lambda _, x: x.sort(1)[0]), r"body \(sort\); write"),
    "fold": (
        between(lambda _, x: functional.fold(functional.unfold(x, 3, padding=1), (8, 8), 3, padding=1)),
        r"body \(col2im\); write",
    ),
    "unpool": (
        between(lambda _, x: functional.max_unpool2d(*functional.max_pool2d(x, 2, return_indices=True), 2)),
        r"body \(max_unpool2d\); write",
    ),
    "bilinear": (
        between(lambda m, x: first(m.inner(last(x), last(x))), inner=lambda: nn.Bilinear(8, 8, 8)),
        r"body.inner \(bilinear\); write",
    ),
    "index_by_values": (
        between(lambda _, x: x.index_select(1, (x.amax((0, 2, 3)) > 0).long())),
        r"body \(index_select\) moves numbers by what filters say; choose by torch.where",
    ),
    "index_of_the_maximum": (
        between(lambda _, x: x[:, x.max(1)[1].flatten()[:8]]),
        r"body \(index\) moves numbers by what filters say; choose by torch.where",
    ),
    "values": (
        whole(branch_on_values, stem=stem),
        r"torch.export cannot trace .* must not depend on the values of images",
    ),
    "chance": (
        between(lambda _, x: x + torch.randn(8, 8, dtype=x.dtype)),
        r"its forward depends on chance or on the values of images",
    ),
    "loop_over_images": (
        between(lambda m, x: torch.stack([m.inner(image) for image in x]), inner=lambda: nn.Conv2d(8, 8, 1)),
        r"the network's graph does not compute what the network computes",
    ),
    "auxiliary_head": (
        between(lambda _, x: x, auxiliary=lambda: nn.Linear(3, 4)),
        r"no prediction depends on body.auxiliary.weight, body.auxiliary.bias.* remove what is not used",
    ),
    "write_into_a_part": (
        between(write_into_a_part),
        r"body \(copy_\) writes into a tensor of which a part .* use torch.cat",
    ),
    "read_a_part_later": (
        between(read_a_part_later, branch=lambda: conv(8, 8)),
        r"body \(mul_\) writes into a tensor of which a part is read elsewhere; use torch.cat",
    ),
    "write_into_a_buffer": (
        between(write_into_a_buffer, norm=lambda: nn.BatchNorm2d(8)),
        r"body \(add_\) writes into a parameter or buffer",
    ),
    "weight_in_two_shapes": (
        between(weight_in_two_shapes, inner=lambda: nn.Conv2d(4, 8, 1, bias=False)),
        r"body \(conv2d\) uses body.inner.weight a second time with other channels",
    ),
    "weight_in_two_directions": (
        between(lambda m, x: m.layers[1](m.layers[0](x).relu()), layers=lambda: tied(nn.ConvTranspose2d)),
        r"body.layers.1 \(conv_transpose2d\) uses body.layers.0.weight a second time with other channels",
    ),
    "weight_read_elsewhere": (
        between(lambda m, x: x * m.out[0].weight.mean()),
        r"body \(mean\) reads body.out.0.weight otherwise than the layer that has it",
    ),
    "no_grad": (whole(without_gradient, stem=stem), r"autocast, no_grad or control flow inside forward"),
    "autocast": (whole(with_autocast, stem=stem), r"autocast, no_grad or control flow inside forward"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_one_line_with_module_operation_and_remedy(name):
    make, expected = REFUSED[name]
    with pytest.raises(BackboneError) as caught:
        Case(Heads(make(), 8, 2), (3, 8, 8))
    message = str(caught.value)
    assert re.search(expected, message), message
    assert "\n" not in message
    assert len(message) < 400
