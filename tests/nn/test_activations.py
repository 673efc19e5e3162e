"""What masked networks send into their streams."""

import pytest
import torch

from sfgsearch.errors import BackboneError
from sfgsearch.nn import EachStream, sfg_layers, stream_activations


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_layer_sends_what_its_expected_gates_let_through(tiny, num_tasks, dimensions):
    """The first layer against the definition, convolved and normalised one group at a time in float64."""
    spec = tiny.spec(num_tasks, dimensions)
    network, images = tiny.masked(spec).double().eval(), tiny.images(spec).double()
    name, layer = next(iter(sfg_layers(network).items()))
    convolve = torch.nn.functional.conv2d if dimensions == 2 else torch.nn.functional.conv3d
    response = convolve(images, layer.weight, layer.bias, padding=layer.padding)
    channelwise = (1, -1, *[1] * dimensions)
    features = [
        probs.view(channelwise) * layer.activation(norm(response))
        for probs, norm in zip(layer.groups.probs.unbind(1), layer.norms, strict=True)
    ]
    expected = torch.stack([*(feature + features[-1] for feature in features[:-1]), features[-1]], dim=1)
    torch.testing.assert_close(stream_activations(network, images)[name], expected)


def test_with_certain_filters_it_is_what_the_network_computes(tiny):
    """With probabilities near 0 and 1 expected gates are those of evaluation, in every layer."""
    spec = tiny.spec(2)
    network, images = tiny.masked(spec).eval(), tiny.images(spec)
    with torch.no_grad():
        for layer in sfg_layers(network).values():
            layer.groups.logits.mul_(1000)
    found = stream_activations(network, images)
    assert list(found) == list(spec.filters)
    streams = EachStream(torch.nn.Identity())(network.backbone((images,) * 3))
    torch.testing.assert_close(found[list(found)[-1]], torch.stack(streams, dim=1))


def test_the_network_stays_as_it_was(tiny):
    spec = tiny.spec(2)
    network, images = tiny.masked(spec).train(), tiny.images(spec)
    network.backbone.eval()
    groups = [layer.groups for layer in sfg_layers(network).values()]
    network(images)
    gates, state = [group.gates for group in groups], {k: v.clone() for k, v in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    stream_activations(network, images)
    assert [module.training for module in network.modules()] == modes
    assert all(group.gates is before for group, before in zip(groups, gates, strict=True))
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_only_layers_that_are_asked_for_are_kept(tiny):
    spec = tiny.spec(2)
    name = list(spec.filters)[1]
    found = stream_activations(tiny.masked(spec), tiny.images(spec), [name])
    assert list(found) == [name]
    assert found[name].shape[:3] == (4, 3, spec.filters[name])


def test_other_networks_are_refused(tiny):
    spec = tiny.spec(2)
    with pytest.raises(BackboneError, match="no stochastic filter groups"):
        stream_activations(torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3)), tiny.images(spec))
