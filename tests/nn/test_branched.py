"""Branched networks against loops written by hand, and compact ones against those they are pruned from."""

import copy
import itertools
import json

import pytest
import torch
from lockstep_references import BACKBONES, SIZES, branched, spec_of
from torch import nn

from sfgsearch.errors import AllocationError, SFGSearchError
from sfgsearch.nn import (
    DrawnRoute,
    GateSampling,
    NetworkSpec,
    Structure,
    Tree,
    branched_structure,
    build_branching,
    build_tree,
    complexity,
    draw_tree_cost,
    likely_tree,
    prune,
    reestimate_statistics,
    tree_readers,
)
from sfgsearch.tasks import Classification, DenseRegression, Segmentation

KERNEL = 3


def build(tiny, spec, seed=0, branches=None):
    """Build a network of all copies with everything drawn at random, logits included."""
    sampling = GateSampling(generator=tiny.seeded(seed))
    network = build_branching(spec, branches or len(spec.tasks), sampling, tiny.seeded(seed))
    tiny.randomise(network, seed)
    return network


def routes_of(network):
    return [module for module in network.modules() if isinstance(module, DrawnRoute)]


def fix(network, *parents):
    for route, numbers in zip(routes_of(network), parents, strict=True):
        route.fix(numbers)


def predict(network, images):
    with torch.no_grad():
        return network(images)


def assert_same(first, second, tolerance=1e-10):
    assert list(first) == list(second)
    for name, prediction in first.items():
        torch.testing.assert_close(prediction, second[name], rtol=tolerance, atol=tolerance)


def test_the_draws_follow_the_probabilities_whatever_the_temperature(tiny):
    children = 4000
    route = DrawnRoute(children, 3, GateSampling(temperature=5.0, generator=tiny.seeded(0))).train()
    probs = torch.tensor([0.6, 0.3, 0.1])
    route.logits.data.copy_(probs.log())
    draws = route()
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(draws.mean(0).detach(), probs, atol=0.03, rtol=0)


def test_the_gradient_is_that_of_the_relaxed_draw(tiny):
    temperature, upstream = 0.7, torch.tensor([[0.5, -1.0, 2.0]])
    route = DrawnRoute(1, 3, GateSampling(temperature=temperature, generator=tiny.seeded(1))).double().train()
    logits = torch.tensor([[0.3, -0.2, 0.5]], dtype=torch.float64)
    route.logits.data.copy_(logits)
    draw = route()
    (draw * upstream).sum().backward()

    noise = torch.empty(1, 3, dtype=torch.float64).exponential_(generator=tiny.seeded(1)).log().neg()
    reference = logits.clone().requires_grad_()
    relaxed = torch.softmax((reference.log_softmax(-1) + noise) / temperature, dim=-1)
    (relaxed * upstream).sum().backward()
    torch.testing.assert_close(route.logits.grad, reference.grad)
    assert draw.argmax() == relaxed.argmax()


def test_what_does_not_learn_yet_is_drawn_but_gets_no_gradient(tiny):
    route = DrawnRoute(2, 2, GateSampling(generator=tiny.seeded(0))).train()
    route.learning = False
    assert not route().requires_grad


@pytest.mark.parametrize(("name", "num_tasks"), SIZES)
@pytest.mark.parametrize("training", [True, False])
def test_copies_read_what_their_draws_say(tiny, name, num_tasks, training):
    """The loops read by the draws that the same generator gives once more; gradients of weights included."""
    spec = spec_of(name, num_tasks)
    for seed in range(2):
        network = build(tiny, spec, seed).double().train(training)
        images = tiny.images(spec).double()
        found = list(network(images).values())
        network.reading.heads.sampling.generator.manual_seed(seed)
        parents = {weight: route().argmax(-1).tolist() for weight, route in network.reading.routes.items()}
        heads = network.reading.heads().argmax(-1).tolist()
        expected = branched(name, network, images, parents, heads)
        weights = [*network.copies.parameters(), *network.ordered_heads.parameters()]
        gradients = [
            torch.autograd.grad(sum(one.square().sum() for one in predictions), weights, materialize_grads=True)
            for predictions in (found, expected)
        ]
        for one, other in zip((*found, *gradients[0]), (*expected, *gradients[1]), strict=True):
            scale = max(1.0, float(other.detach().abs().max()))
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10 * scale)


@pytest.mark.parametrize(("name", "num_tasks"), SIZES)
def test_a_compact_network_predicts_what_the_one_of_all_copies_does(tiny, name, num_tasks):
    spec = spec_of(name, num_tasks)
    images = tiny.images(spec).double()
    for seed in range(2):
        network = build(tiny, spec, seed).double().eval()
        assert_same(predict(network, images), predict(prune(network), images))


@pytest.mark.parametrize(("name", "branches"), [("vgg", 1), ("resnet", 2), ("concatenation", 2)])
def test_fewer_branches_than_tasks(tiny, name, branches):
    spec = spec_of(name, 3)
    network = build(tiny, spec, branches=branches).double().eval()
    images = tiny.images(spec).double()
    assert_same(predict(network, images), predict(prune(network), images))
    assert {tuple(route.logits.shape) for route in routes_of(network)} == {(branches, branches), (3, branches)}


def test_dense_tasks_predict_images_of_any_size(tiny):
    tasks = (Segmentation("organs", num_classes=3), DenseRegression("ct", hidden=4), Classification("sex"))
    spec = NetworkSpec(BACKBONES["resnet"][0], tasks, (2, 8, 8))
    network = build(tiny, spec, branches=2).double().eval()
    images = torch.randn(1, 2, 9, 11, generator=tiny.seeded(1), dtype=torch.float64)
    found = predict(prune(network), images)
    assert_same(predict(network, images), found)
    assert found["ct"].shape == (1, 9, 11)


def test_a_settled_network_is_its_tree(tiny):
    spec = spec_of("concatenation", 2)
    network = build(tiny, spec).double().train()
    images = tiny.images(spec).double()
    for route in routes_of(network):
        route.settled = True
    compact = prune(network).train()
    assert_same(predict(network, images), predict(compact, images))


def test_a_copy_learns_from_the_tasks_that_descend_from_it(tiny):
    spec = tiny.spec(2, plan=(3, 4, 4))
    network = build(tiny, spec).train()
    images, targets = tiny.images(spec), tiny.targets(spec)
    for first, second, heads in itertools.product([(0, 0), (0, 1), (1, 0)], [(0, 1), (1, 1)], [(0, 0), (0, 1), (1, 0)]):
        fix(network, first, second, heads)
        for index, task in enumerate(spec.tasks):
            network.zero_grad()
            task.negative_log_likelihood(network(images)[task.name], targets[task.name]).backward()
            third = heads[index]
            reached = [first[second[third]], second[third], third]
            for layer, ancestor in zip(("conv1", "conv2", "conv3"), reached, strict=True):
                weights = [own.get_submodule(layer).weight for own in network.copies]
                assert [bool(weight.grad.abs().sum() > 0) for weight in weights] == [ancestor == 0, ancestor == 1]


@pytest.mark.parametrize("name", BACKBONES)
def test_the_loss_reaches_all_logits(tiny, name):
    spec = spec_of(name, 3)
    network = build_branching(spec, 3, GateSampling(generator=tiny.seeded(0)), tiny.seeded(0)).train()
    targets = tiny.targets(spec)
    for _ in range(20):
        predictions = network(tiny.images(spec))
        sum(task.negative_log_likelihood(predictions[task.name], targets[task.name]) for task in spec.tasks).backward()
    assert all(bool((route.logits.grad != 0).any()) for route in routes_of(network))


def test_a_tree_holds_just_what_heads_reach(tiny):
    spec = tiny.spec(3, plan=(3, 4, 5))
    network = build(tiny, spec)
    fix(network, (2, 0, 0), (1, 1, 0), (2, 0, 0))
    tree = likely_tree(network)
    assert tree.heads == (2, 0, 0)
    assert tree.parents == {"backbone.conv2.weight": (2, 0, None), "backbone.conv3.weight": (1, None, 0)}
    assert tree_readers(spec.analysis, tree) == {
        "conv1": ((1, 2), (), (0,)),
        "conv2": ((0,), (1, 2), ()),
        "conv3": ((1, 2), (), (0,)),
    }


def test_a_residual_trunk_is_one_node_that_layers_branch_from(tiny):
    """Copy 0 of the trunk is read by copy 1 of the second block's first layer, which adds to copy 1 in the end."""
    spec = spec_of("resnet", 2)
    network = build(tiny, spec)
    fix(network, (0, 0), (0, 1), (0, 0), (0, 1), (0, 0), (1, 1), (0, 1))
    readers = tree_readers(spec.analysis, likely_tree(network))
    assert readers == {
        "stem": ((0, 1), (1,)),
        "stage1_block1.conv1": ((0, 1), (1,)),
        "stage2_block1.conv1": ((0, 1), (1,)),
        "stage2_block1.conv2": ((0, 1), (1,)),
        "stage3_block1.conv1": ((), (0, 1)),
        "stage3_block1.conv2": ((0,), (1,)),
    }


def test_unreachable_copies_cost_nothing(tiny):
    spec = tiny.spec(3, plan=(3, 4, 5))
    network = build(tiny, spec)
    fix(network, (1, 1, 0), (0, 1, 1), (0, 2, 2))
    copies = {"conv1": 1, "conv2": 2, "conv3": 2}
    widths, pixels = [2, 3, 4, 5], 36
    outputs = sum(task.outputs for task in spec.tasks)
    kernels = [copies[f"conv{i}"] * widths[i - 1] * widths[i] * KERNEL**2 for i in (1, 2, 3)]
    norms = [copies[f"conv{i}"] * 2 * widths[i] for i in (1, 2, 3)]
    counted = complexity(prune(network), spec.image_shape)
    assert counted.parameters == sum(kernels) + sum(norms) + (5 + 1) * outputs
    assert counted.macs == sum(kernels) * pixels + 5 * outputs


@pytest.mark.parametrize(("name", "num_tasks"), SIZES)
def test_a_structure_rebuilds_the_compact_network(tiny, name, num_tasks):
    spec = spec_of(name, num_tasks)
    network = build(tiny, spec, seed=3)
    compact = prune(network)
    images = tiny.images(spec)
    reestimate_statistics(compact, [images, images + 1])
    written = json.loads(json.dumps(branched_structure(likely_tree(network)).to_dict()))
    rebuilt = Structure.from_dict(written).build(spec)
    rebuilt.load_state_dict(compact.state_dict())
    expected = predict(compact.eval(), images)
    assert all(torch.equal(prediction, expected[name]) for name, prediction in predict(rebuilt, images).items())


def test_programs_take_any_number_of_images(tiny):
    spec = spec_of("resnet", 3)
    compact = prune(build(tiny, spec).eval())
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(compact, (tiny.images(spec),), dynamic_shapes=dynamic).module()
    images = tiny.images(spec, 3, seed=1)
    assert_same(predict(program, images), predict(compact, images), 1e-5)


def test_statistics_of_a_compact_network_are_reestimated_exactly(tiny):
    spec = tiny.spec(2)
    compact = prune(build(tiny, spec)).double()
    images = tiny.images(spec).double()
    reestimate_statistics(compact, [images, images + 1])
    for own in compact.copies:
        if hasattr(own, "norm1"):
            means = [own.conv1(batch).mean((0, 2, 3)) for batch in (images, images + 1)]
            torch.testing.assert_close(own.norm1.running_mean, sum(means).detach() / 2)
            assert int(own.norm1.num_batches_tracked) == 2


TREE = {"backbone.conv2.weight": (0, 0), "backbone.conv3.weight": (0, 1)}


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (Tree({"backbone.conv2.weight": (0, 0)}, (0, 0)), "no layer 'backbone.conv3.weight'"),
        (Tree({**TREE, "backbone.conv3.weight": (0, 2)}, (0, 1)), r"cannot read \[0, 2\]: the copies below are 0..1"),
        (Tree({**TREE, "backbone.conv3.weight": (0, -1)}, (0, 1)), r"cannot read \[0, -1\]"),
        (Tree({**TREE, "backbone.conv3.weight": (0, None)}, (0, 1)), "reads copy 1 of 'backbone.conv3.weight'"),
        (Tree({**TREE, "backbone.conv3.weight": (0,)}, (0, 1)), "reads copy 1 of 'backbone.conv3.weight'"),
        (Tree(dict.fromkeys(TREE, (0, 0, 0)), (0, 2)), "cannot read"),
        (Tree(TREE, (0,)), "1 heads"),
        (Tree({**TREE, "backbone.conv9.weight": (0, 0)}, (0, 0)), "no layer 'backbone.conv9.weight'"),
    ],
)
def test_a_tree_that_does_not_fit_is_refused(tiny, tree, words):
    spec = tiny.spec(2, plan=(3, 4, 4))
    with pytest.raises(AllocationError, match=words):
        build_tree(spec, tree)
    with pytest.raises(SFGSearchError):
        branched_structure(tree).build(spec)


@pytest.mark.parametrize("branches", [0, 3])
def test_more_branches_than_tasks_are_refused(tiny, branches):
    with pytest.raises(ValueError, match="branches must be 1 to 2"):
        build_branching(tiny.spec(2), branches)


def test_parents_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"2 numbers 0\.\.1"):
        DrawnRoute(2, 2).fix((0, 2))


def test_a_backbone_of_one_layer_has_heads_that_choose(tiny):
    spec = NetworkSpec(lambda _shape: nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU()), tiny.tasks(3), (2, 6, 6))
    network = build(tiny, spec).eval()
    fix(network, (2, 0, 2))
    compact = prune(network)
    assert likely_tree(network) == Tree({}, (2, 0, 2))
    assert [len(list(own.parameters())) for own in compact.copies] == [2, 0, 2]
    assert_same(predict(network, tiny.images(spec)), predict(compact, tiny.images(spec)), 1e-5)


def test_depthwise_layers_do_not_choose(tiny):
    layers = (nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 5, 1))
    spec = NetworkSpec(lambda _shape: copy.deepcopy(nn.Sequential(*layers)), tiny.tasks(2), (2, 6, 6))
    network = build(tiny, spec).double().eval()
    fix(network, (1, 0), (0, 1))
    assert likely_tree(network).parents == {"backbone.2.weight": (1, 0)}
    images = tiny.images(spec).double()
    first, second = network.copies
    for own, below, name, head in zip(
        (first, second), (second, first), network.tasks, network.ordered_heads, strict=True
    ):
        torch.testing.assert_close(network(images)[name], head(own[2](below[1](below[0](images)))))
    assert_same(predict(network, images), predict(prune(network), images))


def test_volumes(tiny):
    spec = tiny.spec(2, dimensions=3, norm="instance")
    network = build(tiny, spec).double().eval()
    images = tiny.images(spec).double()
    assert_same(predict(network, images), predict(prune(network), images))


@pytest.mark.parametrize(("name", "num_tasks"), SIZES)
def test_the_cost_of_a_tree_is_that_of_its_compact_network(tiny, name, num_tasks):
    spec = spec_of(name, num_tasks)
    network = build(tiny, spec).eval()
    shared = complexity(spec.build(), spec.image_shape).macs
    expected = complexity(prune(network), spec.image_shape).macs / shared
    assert draw_tree_cost(network).item() == pytest.approx(expected, rel=1e-6)


def test_the_mean_cost_of_drawn_trees_is_the_expected_one(tiny):
    spec = tiny.spec(3, plan=(4,))
    network = build(tiny, spec).train()
    (route,) = routes_of(network)
    number = 500
    drawn = torch.tensor([draw_tree_cost(network).item() for _ in range(number)])
    shared, mean = complexity(spec.build(), spec.image_shape).macs, 0.0
    for parents in itertools.product(range(3), repeat=3):
        probability = torch.stack([route.probs[task, parent] for task, parent in enumerate(parents)]).prod().item()
        route.fix(parents)
        mean += probability * complexity(prune(network), spec.image_shape).macs / shared
    assert abs(drawn.mean().item() - mean) < 4 * drawn.std().item() / number**0.5
