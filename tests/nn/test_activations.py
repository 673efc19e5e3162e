"""Feature maps of networks in groups, as their streams carry them."""

import pytest
import torch
from awkward_networks import OptionA, Residual, conv

from sfgsearch.errors import BackboneError
from sfgsearch.nn import NetworkSpec, from_model, mapped_layers, stream_activations


def carried(probs, responses):
    """Return what the streams carry of responses (T+1, B, K, *space), by the definition; shape (B, T+1, K, *space)."""
    gates = probs.T[:, None, :, *[None] * (responses.ndim - 3)]
    own = gates * responses
    return torch.stack([*(one + own[-1] for one in own[:-1]), own[-1]], dim=1)


def residual(image_shape):
    inner = torch.nn.Sequential(conv(6, 5), torch.nn.Conv2d(5, 6, 1))
    return torch.nn.Sequential(conv(image_shape[0], 6), Residual(inner), OptionA(6, 10))


@pytest.mark.parametrize(
    ("num_tasks", "dimensions", "execution"), [(1, 2, "dense"), (2, 3, "dense"), (2, 2, "streams"), (3, 2, "dense")]
)
def test_streams_carry_what_expected_gates_let_through(tiny, num_tasks, dimensions, execution):
    """Two layers against the definition, convolved and normalised one stream at a time in float64."""
    spec = tiny.spec(num_tasks, dimensions)
    network, images = tiny.grouped(spec, execution=execution).double().eval(), tiny.images(spec).double()
    backbone, probs = network.network.backbone, network.by_space(network.groups.probs)
    found = stream_activations(network, images)
    with torch.no_grad():
        first = backbone.norm1(backbone.conv1(images)).relu()
        expected = carried(probs["conv1"], first.expand(num_tasks + 1, *first.shape))
        torch.testing.assert_close(found["conv1"], expected)
        read = (backbone.pool1(backbone.norm1(backbone.conv1(images)).relu()) for _ in range(num_tasks + 1))
        streams = carried(probs["conv1"], torch.stack(list(read)))
        second = torch.stack([backbone.norm2(backbone.conv2(stream)).relu() for stream in streams.unbind(1)])
        torch.testing.assert_close(found["conv2"], carried(probs["conv2"], second))


def test_certain_filters_are_carried_by_their_group_alone(tiny):
    """With probabilities near 0 and 1, tasks carry the features of the masked network, and nothing of the others'."""
    spec = tiny.spec(2)
    network, images = tiny.grouped(spec).eval(), tiny.images(spec)
    with torch.no_grad():
        network.groups.logits.mul_(1000)
        assignment = network.by_space(network.groups.assignment())
        features = network.bake(assignment).backbone(images)
    maps = stream_activations(network, images)["conv3"]
    for stream, groups in enumerate([{0, 2}, {1, 2}, {2}]):
        is_carried = torch.tensor([int(group) in groups for group in assignment["conv3"]])
        expected = torch.where(is_carried[:, None, None], features, 0)
        torch.testing.assert_close(maps[:, stream], expected)


def test_of_layers_that_are_added_the_first_one_is_shown(tiny):
    """The trunk of a residual network after its stem; filters that a wider layer adds to it after the addition."""
    spec = NetworkSpec(residual, tiny.tasks(2), (2, 6, 6))
    assert spec.filters == {"0.0": 6, "1.inner.0.0": 5, "2.inner.0.0": 10, "2.inner.1": 4}
    network = tiny.grouped(spec).eval()
    with torch.no_grad():
        network.groups.logits[:, 2] = 1000  # all shared: the plain network's own features
    backbone, images = network.network.backbone, tiny.images(spec)
    found = stream_activations(network, images)
    with torch.no_grad():
        torch.testing.assert_close(found["0.0"][:, 0], backbone[0](images))
        torch.testing.assert_close(found["2.inner.1"][:, 0], backbone(images)[:, [0, 1, 8, 9]])


def test_channels_that_are_tied_are_one_map(tiny):
    body = torch.nn.Sequential(
        torch.nn.Conv2d(2, 8, 3, padding=1), torch.nn.PixelShuffle(2), torch.nn.Conv2d(2, 4, 3), torch.nn.ReLU()
    )
    images = torch.randn(2, 2, 6, 6, generator=tiny.seeded(0))
    network = from_model(body, images, tiny.tasks(2))
    assert network.analysis.filters["0"] == 2
    maps = stream_activations(network, images)["0"]
    response = body[0](images)[:, [0, 4]]  # four channels of a filter in turn
    probs = network.by_space(network.groups.probs)["0"]
    torch.testing.assert_close(maps, carried(probs, response.expand(3, *response.shape)).detach())


def test_the_network_stays_as_it_was(tiny):
    spec = tiny.spec(2)
    network, images = tiny.grouped(spec).train(), tiny.images(spec)
    network.network.backbone.eval()
    network(images)
    gates, state = network.groups.gates, {k: v.clone() for k, v in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    stream_activations(network, images)
    assert [module.training for module in network.modules()] == modes
    assert network.groups.gates is gates
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


def test_only_layers_that_are_asked_for_are_kept(tiny):
    spec = tiny.spec(2)
    name = list(spec.filters)[1]
    found = stream_activations(tiny.grouped(spec), tiny.images(spec), [name])
    assert list(found) == [name]
    assert found[name].shape[:3] == (4, 3, spec.filters[name])


def test_vectors_have_no_maps(tiny):
    body = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 5),
    )
    images = torch.randn(2, 2, 6, 6, generator=tiny.seeded(0))
    network = from_model(body, images, tiny.tasks(2))
    assert list(network.analysis.filters) == ["0", "4"]
    assert mapped_layers(network) == ["0"]
    for unknown in ("4", "conv9"):
        with pytest.raises(BackboneError, match=f"feature maps of 0, not of {unknown}"):
            stream_activations(network, images, [unknown])


def test_single_pixels_are_no_maps(tiny):
    images = torch.randn(2, 2, 6, 6, generator=tiny.seeded(0))
    network = from_model(torch.nn.Conv2d(2, 4, 6), images, tiny.tasks(2))
    with pytest.raises(BackboneError, match="no layer whose features are maps"):
        stream_activations(network, images)
