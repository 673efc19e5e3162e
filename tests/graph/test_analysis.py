"""What an analysis finds in a network: channel spaces and their names, ties, heads, and what it cannot allocate."""

import copy

import pytest
import torch
from awkward_networks import Attention, Heads, OptionA, UNet, build, conv
from torch import nn

from sfgsearch.errors import BackboneError
from sfgsearch.graph import analyse

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class WithHeads(nn.Module):
    """A body, and predictions that a function makes of its pooled features."""

    def __init__(self, predict, parts):
        super().__init__()
        self.body, self.parts, self.predict = conv(3, 8), nn.ModuleList(parts), predict

    def forward(self, images):
        return self.predict(self.parts, self.body(images).mean((2, 3)))


def spaces(network):
    return {name.removeprefix("body."): number for name, number in analyse(network, IMAGES).filters.items()}


def test_a_space_is_named_after_the_first_module_that_writes_it():
    assert spaces(Heads(nn.Sequential(conv(3, 6), conv(6, 8)), 8, 2)) == {"0.0": 6, "1.0": 8}


def test_the_name_of_a_parameter_serves_without_a_module():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3, 1, 1))
            self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(2))

        def forward(self, images):
            features = nn.functional.conv2d(images, self.weight).mean((2, 3))
            return [head(features) for head in self.heads]

    assert spaces(Bare()) == {"weight": 4}


def test_what_is_added_is_one_space():
    analysis = analyse(build("residual", 2), IMAGES)
    first = analysis.spaces[0]
    assert first.layers == ("body.0.0.weight", "body.1.inner.0.weight", "body.2.inner.0.weight")
    assert (first.num_filters, first.channels) == (6, 6)


def test_a_shortcut_into_the_middle_splits_a_layer():
    """Six filters go through both blocks, four more through the last one; two are the last block's own."""
    analysis = analyse(Heads(nn.Sequential(conv(3, 6), OptionA(6, 10), OptionA(10, 12)), 12, 2), IMAGES)
    trunk = [(space.num_filters, len(space.layers)) for space in analysis.spaces if "inner.0" not in space.layers[0]]
    assert trunk == [(6, 3), (4, 2), (2, 1)]


def test_what_a_convolution_reads_and_writes():
    analysis = analyse(Heads(UNet(), 5, 2), IMAGES)
    rows = {space.name: torch.arange(space.rows.start, space.rows.stop) for space in analysis.spaces}
    layers = {layer.weight: layer for layer in analysis.layers}
    out, up = layers["body.out.0.weight"], layers["body.up.weight"]
    assert torch.equal(out.reads[0], torch.cat([rows["body.down.0"], rows["body.up"]]))
    assert torch.equal(out.writes[0], rows["body.out.0"])
    assert torch.equal(up.reads[0], rows["body.middle.0"])
    assert up.transposed
    assert not out.transposed
    assert not layers["body.down.0.weight"].is_masked  # everybody reads the image


def test_a_depthwise_layer_has_the_filters_that_it_reads():
    analysis = analyse(build("depthwise", 2), IMAGES)
    depthwise = next(layer for layer in analysis.layers if layer.weight == "body.1.0.weight")
    assert torch.equal(depthwise.reads, depthwise.writes)
    assert not depthwise.is_masked


def test_filters_of_heads_are_fixed_to_their_tasks():
    analysis = analyse(build("deep_heads", 3), IMAGES)
    assert analysis.num_tasks == 3
    assert sorted(analysis.heads) == [task for task in range(3) for _ in range(6 + 2)]
    assert analysis.head_gates.shape == (24, 4)
    assert list(analysis.filters) == ["body.0"]


def test_predictions_by_name_are_in_the_order_of_the_tasks():
    network = build("deep_heads", 2)
    forwards, backwards = (analyse(network, IMAGES, names) for names in (["task0", "task1"], ["task1", "task0"]))
    assert [node.name for node in forwards.trace.outputs] == [node.name for node in backwards.trace.outputs][::-1]


def test_channels_of_an_attention_head_are_one_filter_and_are_noted():
    analysis = analyse(Heads(Attention(), 8, 2), IMAGES)
    assert analysis.filters == {"body.patches": 8, "body.attention": 2}
    (note,) = analysis.notes()
    assert note == ("body.attention: 24 channels are 2 filters, tied by body.attention (scaled_dot_product_attention)")


def test_notes_name_the_operation_that_ties_each_space():
    body = nn.Sequential(conv(3, 8), nn.Softmax(1), conv(8, 16), nn.LayerNorm([16, 8, 8]), conv(16, 4))
    assert analyse(Heads(body, 4, 2), IMAGES).notes() == [
        "body.0.0: 8 channels are one filter, tied by body.1 (softmax)",
        "body.2.0: 16 channels are one filter, tied by body.3 (layer_norm)",
    ]


@pytest.mark.parametrize("name", ["plain", "residual", "squeeze_excitation", "layer_norm", "group_norm"])
def test_nothing_is_noted_where_channels_are_filters(name):
    assert analyse(build(name, 2), IMAGES).notes() == []


def test_a_single_task_has_no_head_but_its_last_layer():
    assert list(analyse(build("deep_heads", 1), IMAGES).filters) == ["body.0", "heads.task0.0"]


def test_heads_that_are_added_are_refused():
    def added(parts, features):
        first, second = (part(features) for part in parts)
        return first, first + second

    with pytest.raises(
        BackboneError, match=r"task 0 .* is also read by, or added to, that of another task; give every"
    ):
        analyse(WithHeads(added, [nn.Linear(8, 2), nn.Linear(8, 2)]), IMAGES)


def test_a_common_last_layer_is_refused():
    for predict in (lambda prediction: (prediction,) * 2, lambda prediction: prediction.chunk(2, 1)):
        network = WithHeads(lambda parts, features, p=predict: p(parts[0](features)), [nn.Linear(8, 4)])
        with pytest.raises(BackboneError, match="give every task a last layer of its own"):
            analyse(network, IMAGES)


def test_a_prediction_without_filters_is_refused():
    network = WithHeads(lambda parts, features: (parts[0](features), torch.zeros_like(features)), [nn.Linear(8, 4)])
    with pytest.raises(BackboneError, match=r"prediction of task 1 .* does not depend on any filter"):
        analyse(network, IMAGES)


def test_a_network_of_heads_alone_is_refused():
    network = Heads(nn.Identity(), 3, 2)
    with pytest.raises(BackboneError, match="nothing to allocate"):
        analyse(network, IMAGES)


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(BackboneError, match=r"the network fails for images of \(2, 3, 8, 8\): .* to have 2 chan"):
        analyse(Heads(conv(2, 4), 4, 2), IMAGES)


@pytest.mark.parametrize("training", [True, False])
def test_modes_and_numbers_are_left_as_they_were(training):
    network = build("plain", 2).train(training)
    network.body[1].eval()
    state, modes = copy.deepcopy(network.state_dict()), [module.training for module in network.modules()]
    analyse(network, IMAGES)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())


def test_what_a_module_keeps_between_evaluations_does_not_go_stale():
    class Caching(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias, self.cache = nn.Parameter(torch.zeros(8, 1, 1)), {}

        def train(self, mode=True):
            if mode:
                self.cache.clear()
            return super().train(mode)

        def forward(self, x):
            if self.training:
                return x + self.bias.exp()
            if "bias" not in self.cache:
                self.cache["bias"] = self.bias.exp()
            return x + self.cache["bias"]

    network = Heads(nn.Sequential(conv(3, 8), Caching()), 8, 2).eval()
    expected = network(IMAGES)
    assert list(analyse(network, IMAGES).filters) == ["body.0.0"]
    for one, other in zip(network(IMAGES), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_copies_of_a_network_keep_its_analysis():
    analysis = analyse(build("plain", 2), IMAGES)
    assert copy.deepcopy({"analysis": analysis})["analysis"] is analysis
