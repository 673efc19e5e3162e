"""Branched networks against a reference written by hand, and compact ones against those they are pruned from."""

import copy
import itertools

import pytest
import torch
from torch import nn

from sfgsearch.errors import AllocationError, BackboneError, SFGSearchError
from sfgsearch.nn import (
    Backbone,
    BranchingBuilder,
    DrawnRoute,
    EachStream,
    GateSampling,
    NetworkSpec,
    StreamBlock,
    Structure,
    Tree,
    TreeBuilder,
    branched_structure,
    complexity,
    likely_tree,
    prune,
    reestimate_statistics,
)

KERNEL = 3


class Residual(StreamBlock):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, KERNEL, padding=1, bias=False)

    def forward(self, stream, gate=None):
        gate = 1 if gate is None else gate
        return stream + gate * self.conv(gate * torch.relu(self.norm(stream)))


class ResidualNet(Backbone):
    """Shortcuts around one layer and two, into a wider layer, through a projection and from the image; and blocks."""

    def __init__(self, layers, image_shape):
        super().__init__()
        image = layers.image(image_shape[0])
        self.stem, stem = layers.conv("stem", image, 4, KERNEL)
        self.blocks, stem = layers.per_stream(stem, Residual)
        self.first, low = layers.conv("first", stem, 4, KERNEL)
        self.second, low = layers.conv("second", low, 4, KERNEL, activation=None)
        self.add, total = layers.add(stem, low)
        self.relu = EachStream(nn.ReLU())
        self.wide, wide = layers.conv("wide", total, 6, KERNEL, activation=None)
        self.add_wide, wide = layers.add(total.shifted(2), wide)
        self.last, last = layers.conv("last", wide, 6, KERNEL)
        self.projection, beside = layers.conv("projection", wide, 6, 1)
        self.add_projection, last = layers.add(beside, last)
        self.add_stem, last = layers.add(last, stem)
        self.add_image, self.layout = layers.add(image, last)

    def forward(self, image):
        stem = self.blocks(self.stem(image))
        total = self.relu(self.add(stem, self.second(self.first(stem))))
        wide = self.add_wide(total, self.wide(total))
        last = self.add_stem(self.add_projection(self.projection(wide), self.last(wide)), stem)
        return self.add_image(image, last)


def spec_of(tiny, num_tasks, backbone=None):
    return NetworkSpec(backbone, tiny.tasks(num_tasks), (2, 6, 6)) if backbone else tiny.spec(num_tasks)


def build(tiny, spec, seed=0, branches=None):
    """Build a network of all nodes with everything drawn at random, logits included."""
    num_tasks = len(spec.tasks)
    sampling = GateSampling(generator=tiny.seeded(seed))
    builder = BranchingBuilder(branches or num_tasks, num_tasks, spec.dimensions, spec.norm, sampling)
    network = spec.build(builder)
    tiny.randomise(network, seed)
    return network


def routes_of(network):
    return [module for module in network.modules() if isinstance(module, DrawnRoute)]


def predict(network, images):
    with torch.no_grad():
        return network(images)


def assert_same(first, second):
    assert list(first) == list(second)
    for name, prediction in first.items():
        torch.testing.assert_close(prediction, second[name], rtol=1e-5, atol=1e-6)


def test_the_draws_follow_the_probabilities_whatever_the_temperature(tiny):
    children = 4000
    route = DrawnRoute(children, 3, children, GateSampling(temperature=5.0, generator=tiny.seeded(0))).train()
    probs = torch.tensor([0.6, 0.3, 0.1])
    route.logits.data.copy_(probs.log())
    draws = torch.stack(route((*torch.eye(3).unbind(), *[None] * (children - 3))))
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(draws.mean(0).detach(), probs, atol=0.03, rtol=0)


def test_the_gradient_is_that_of_the_relaxed_draw(tiny):
    temperature, upstream = 0.7, torch.tensor([[0.5, -1.0, 2.0]])
    route = DrawnRoute(1, 3, 4, GateSampling(temperature=temperature, generator=tiny.seeded(1))).double().train()
    logits = torch.tensor([[0.3, -0.2, 0.5]], dtype=torch.float64)
    route.logits.data.copy_(logits)
    above = route((*torch.eye(3, dtype=torch.float64).unbind(), None))[0]
    (above * upstream).sum().backward()

    noise = torch.empty(1, 3, dtype=torch.float64).exponential_(generator=tiny.seeded(1)).log().neg()
    reference = logits.clone().requires_grad_()
    relaxed = torch.softmax((reference.log_softmax(-1) + noise) / temperature, dim=-1)
    (relaxed * upstream).sum().backward()
    torch.testing.assert_close(route.logits.grad, reference.grad)
    assert above.argmax() == relaxed.argmax()


def test_what_does_not_learn_yet_is_drawn_but_gets_no_gradient(tiny):
    route = DrawnRoute(2, 2, 3, GateSampling(generator=tiny.seeded(0))).train()
    route.learning = False
    streams = tuple(torch.ones(2, 1, requires_grad=True).unbind())
    sum(route((*streams, None))[:2]).sum().backward()
    assert route.logits.grad is None


@pytest.mark.parametrize("draws", list(itertools.product([(0, 0), (0, 1), (1, 0), (1, 1)], repeat=2)))
def test_two_layers_compute_what_a_person_would_write(tiny, draws):
    spec = tiny.spec(2, norm="none", plan=(3, 4))
    network = build(tiny, spec).eval()
    inner, heads = routes_of(network)
    inner.fix(draws[0])
    heads.fix(draws[1])
    images = tiny.images(spec)
    first, second = (list(layer.nodes.groups.values()) for layer in network.backbone.stages)
    features = [convolve(first[node], images.double()) for node in range(2)]
    features = [convolve(second[node], features[draws[0][node]]) for node in range(2)]
    predictions = predict(network, images)
    for task, head in zip(range(2), network.heads.values(), strict=True):
        pooled = features[draws[1][task]].mean((2, 3))
        expected = (pooled @ head.reader.weight.double().T + head.reader.bias.double()).squeeze(-1)
        torch.testing.assert_close(predictions[network.tasks[task]].double(), expected, rtol=1e-4, atol=1e-5)


def convolve(node, images):
    convolution = node[0]
    weight, bias = convolution.weight.detach().double(), convolution.bias.detach().double()
    return torch.relu(nn.functional.conv2d(images, weight, bias, padding=1))


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
@pytest.mark.parametrize("backbone", [None, ResidualNet])
def test_a_compact_network_predicts_what_the_one_of_all_nodes_does(tiny, num_tasks, backbone):
    spec = spec_of(tiny, num_tasks, backbone)
    images = tiny.images(spec)
    for seed in range(8):
        network = build(tiny, spec, seed).eval()
        assert_same(predict(network, images), predict(prune(network, spec), images))


def test_fewer_branches_than_tasks(tiny):
    spec = spec_of(tiny, 3, ResidualNet)
    network = build(tiny, spec, branches=2).eval()
    assert_same(predict(network, tiny.images(spec)), predict(prune(network, spec), tiny.images(spec)))
    assert {tuple(route.logits.shape) for route in routes_of(network)} == {(2, 2), (3, 2)}


class TwoHops(Backbone):
    """A shortcut around two layers of one-pixel filters."""

    def __init__(self, layers, image_shape):
        super().__init__()
        self.stem, stem = layers.conv("stem", layers.image(image_shape[0]), 1, 1, activation=None)
        self.first, low = layers.conv("first", stem, 1, 1, activation=None)
        self.second, low = layers.conv("second", low, 1, 1, activation=None)
        self.add, self.layout = layers.add(stem, low)

    def forward(self, image):
        stem = self.stem(image)
        return self.add(stem, self.second(self.first(stem)))


@pytest.mark.parametrize(("first", "second"), list(itertools.product([(0, 1), (1, 0), (1, 1)], repeat=2)))
def test_a_shortcut_delivers_the_own_ancestor(tiny, first, second):
    spec = NetworkSpec(TwoHops, tiny.tasks(2), (1, 2, 2), "none")
    network = build(tiny, spec).train()
    lower, upper, _ = routes_of(network)
    lower.fix(first)
    upper.fix(second)
    with torch.no_grad():
        for parameter in network.backbone.parameters():
            parameter.zero_()
        for node, value in enumerate([3.0, 5.0]):
            network.backbone.stem.nodes.groups[str(node)][0].bias.fill_(value)
    features = network.backbone((tiny.images(spec),) * 3)
    found = [features[node].unique().tolist() for node in range(2)]
    assert found == [[[3.0, 5.0][first[second[node]]]] for node in range(2)]


def test_drawn_shortcuts_follow_the_draw_of_the_pass(tiny):
    spec = spec_of(tiny, 2, ResidualNet)
    network = build(tiny, spec).train()
    images = tiny.images(spec)
    for _ in range(4):
        predictions = predict(network, images)
        twin = copy.deepcopy(network).train()
        for route, drawn in zip(routes_of(twin), routes_of(network), strict=True):
            route.fix(drawn.drawn.argmax(-1).tolist())
        compact = prune(twin, spec).train()
        assert_same(predictions, predict(compact, images))


def test_a_node_learns_from_the_tasks_that_descend_from_it(tiny):
    spec = tiny.spec(2, plan=(3, 4, 4))
    network = build(tiny, spec).train()
    images, targets = tiny.images(spec), tiny.targets(spec)
    for first, second, heads in itertools.product([(0, 0), (0, 1), (1, 0)], [(0, 1), (1, 1)], [(0, 0), (0, 1), (1, 0)]):
        for route, parents in zip(routes_of(network), (first, second, heads), strict=True):
            route.fix(parents)
        for index, task in enumerate(spec.tasks):
            network.zero_grad()
            task.negative_log_likelihood(network(images)[task.name], targets[task.name]).backward()
            third = heads[index]
            reached = [first[second[third]], second[third], third]
            layers = [layer.nodes.groups for layer in network.backbone.stages]
            for groups, ancestor in zip(layers, reached, strict=True):
                learning = [bool(groups[node][0].weight.grad.abs().sum() > 0) for node in ("0", "1")]
                assert learning == [ancestor == 0, ancestor == 1]


def test_the_loss_reaches_all_logits(tiny):
    spec = spec_of(tiny, 3, ResidualNet)
    network = build(tiny, spec).train()
    targets = tiny.targets(spec)
    for _ in range(20):
        predictions = network(tiny.images(spec))
        sum(task.negative_log_likelihood(predictions[task.name], targets[task.name]) for task in spec.tasks).backward()
    routes = routes_of(network)
    assert len(routes) == 6
    assert all(bool((route.logits.grad != 0).any()) for route in routes)


def test_a_tree_holds_just_what_heads_reach(tiny):
    spec = tiny.spec(3, plan=(3, 4, 5))
    network = build(tiny, spec)
    for route, parents in zip(routes_of(network), [(2, 0, 0), (1, 1, 0), (2, 0, 0)], strict=True):
        route.fix(parents)
    tree = likely_tree(network)
    assert tree.heads == (2, 0, 0)
    assert tree.parents == {"conv1": (0, None, 0), "conv2": (2, 0, None), "conv3": (1, None, 0)}
    assert tree.readers == {
        "conv1": ((1, 2), (), (0,)),
        "conv2": ((0,), (1, 2), ()),
        "conv3": ((1, 2), (), (0,)),
    }
    assert list(tree.parents) == ["conv1", "conv2", "conv3"]


def test_unreachable_nodes_cost_nothing(tiny):
    spec = tiny.spec(3, plan=(3, 4, 5))
    network = build(tiny, spec)
    for route, parents in zip(routes_of(network), [(1, 1, 0), (0, 1, 1), (0, 2, 2)], strict=True):
        route.fix(parents)
    nodes = {"conv1": 1, "conv2": 2, "conv3": 2}
    compact = prune(network, spec)
    widths, pixels = [2, 3, 4, 5], 36
    outputs = sum(task.outputs for task in spec.tasks)
    kernels = [nodes[f"conv{i}"] * widths[i - 1] * widths[i] * KERNEL**2 for i in (1, 2, 3)]
    norms = [nodes[f"conv{i}"] * 2 * widths[i] for i in (1, 2, 3)]
    counted = complexity(compact, spec.image_shape)
    assert counted.parameters == sum(kernels) + sum(norms) + (5 + 1) * outputs
    assert counted.macs == sum(kernels) * pixels + 5 * outputs


def test_tasks_that_share_a_node_compute_it_once(tiny):
    spec = tiny.spec(2, plan=(3, 4))
    network = build(tiny, spec).eval()
    inner, heads = routes_of(network)
    inner.fix((0, 1))
    heads.fix((1, 1))
    compact = prune(network, spec)
    streams = compact.readout(compact.backbone((tiny.images(spec),) * 3))
    assert streams[0] is streams[1]
    assert streams[2] is None


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
@pytest.mark.parametrize("backbone", [None, ResidualNet])
def test_a_structure_rebuilds_the_compact_network(tiny, num_tasks, backbone):
    spec = spec_of(tiny, num_tasks, backbone)
    network = build(tiny, spec, seed=3)
    compact = prune(network, spec)
    images = tiny.images(spec)
    reestimate_statistics(compact, [images])
    rebuilt = Structure.from_dict(branched_structure(likely_tree(network)).to_dict()).build(spec)
    rebuilt.load_state_dict(compact.state_dict())
    expected = predict(compact.eval(), images)
    assert all(torch.equal(prediction, expected[name]) for name, prediction in predict(rebuilt, images).items())


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (Tree({"conv1": (0, 0)}, (0, 0)), "no layer 'conv2'"),
        (Tree({"conv1": (0, None), "conv2": (0, 1)}, (0, 1)), "'conv2' cannot read .*nodes below are \\[0\\]"),
        (Tree({"conv1": (0, None), "conv2": (0, None)}, (0, 1)), "a head cannot read"),
        (Tree({"conv1": (0, None), "conv2": (0, None)}, (0,)), "1 heads"),
        (Tree({"conv1": (0, None), "conv2": (0, None), "conv9": (0,)}, (0, 0)), "no layer 'conv9'"),
    ],
)
def test_a_tree_that_does_not_fit_is_refused(tiny, tree, words):
    spec = tiny.spec(2, plan=(3, 4))
    with pytest.raises(AllocationError, match=words):
        spec.build(TreeBuilder(tree, 2, 2))
    with pytest.raises(SFGSearchError):
        branched_structure(tree).build(spec)


@pytest.mark.parametrize("branches", [0, 3])
def test_more_branches_than_tasks_are_refused(branches):
    with pytest.raises(ValueError, match="branches must be 1 to 2"):
        BranchingBuilder(branches, 2, 2)


def test_parents_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"2 numbers 0\.\.1"):
        DrawnRoute(2, 2, 3).fix((0, 2))


def test_blocks_on_the_image_are_refused():
    builder = BranchingBuilder(2, 2, 2)
    with pytest.raises(BackboneError, match="what conv returned"):
        builder.per_stream(builder.image(2), Residual)


def test_volumes(tiny):
    spec = tiny.spec(2, dimensions=3, norm="instance")
    network = build(tiny, spec).eval()
    assert_same(predict(network, tiny.images(spec)), predict(prune(network, spec), tiny.images(spec)))
