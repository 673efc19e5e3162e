import functools

import pytest
import torch

from sfgsearch.backbones import vgg_small
from sfgsearch.functional import TemperatureSchedule
from sfgsearch.methods import FixedTree, LearningToBranch, Randomness, manual_methods
from sfgsearch.nn import DrawnRoute, NetworkSpec, Structure, prune
from sfgsearch.tasks import Regression

CPU = torch.device("cpu")
TWO_REGRESSIONS = (Regression("low"), Regression("high"))
METHOD = LearningToBranch(warmup=0.25, settle=0.25)


def start(spec, method=METHOD, seed=0):
    return method.build(spec, Randomness.from_seed(seed, CPU), CPU)


def routes_of(system):
    return [module for module in system.network.modules() if isinstance(module, DrawnRoute)]


def fix(system, *parents):
    for route, numbers in zip(routes_of(system), parents, strict=True):
        route.fix(numbers)


def train(tiny, system, steps):
    """Train on one batch; return for every step whether the logits moved."""
    optimiser = torch.optim.Adam(system.parameter_groups(0.01))
    images, targets = tiny.images(system.spec), tiny.targets(system.spec)
    system.network.train()
    moved = []
    for step in range(steps):
        before = [route.logits.detach().clone() for route in routes_of(system)]
        system.begin_step(step, steps)
        predictions = system.network(images)
        loss = sum(
            task.negative_log_likelihood(predictions[task.name], targets[task.name]) for task in system.spec.tasks
        )
        optimiser.zero_grad()
        (loss + system.kl()).backward()
        optimiser.step()
        after = [route.logits for route in routes_of(system)]
        moved.append(any(not torch.equal(old, new) for old, new in zip(before, after, strict=True)))
    return moved


def test_draws_start_uniform(tiny):
    for route in routes_of(start(tiny.spec(3))):
        torch.testing.assert_close(route.probs, torch.full_like(route.probs, 1 / 3))


@pytest.mark.parametrize(("num_tasks", "routes"), [(1, 0), (2, 3), (3, 3)])
def test_logits_have_a_learning_rate_of_their_own(tiny, num_tasks, routes):
    system = start(tiny.spec(num_tasks))
    weights, *rest = system.parameter_groups(0.5)
    assert (weights["lr"], weights["scheduled"]) == (0.5, True)
    assert [(len(group["params"]), group["lr"], group["scheduled"]) for group in rest] == (
        [(routes, METHOD.lr, False)] if routes else []
    )


def test_the_temperature_follows_its_schedule(tiny):
    schedule = TemperatureSchedule("linear", 3.0, 1.0)
    system = start(tiny.spec(2), LearningToBranch(temperature=schedule))
    found = []
    for step in range(5):
        system.begin_step(step, 5)
        found.append({route.sampling.temperature for route in routes_of(system)})
    assert found == [{3.0}, {2.5}, {2.0}, {1.5}, {1.0}]


def test_branching_waits_for_the_weights_and_settles(tiny):
    moved = train(tiny, start(tiny.spec(2)), 8)
    assert moved == [False, False, True, True, True, True, False, False]


def test_a_settled_tree_is_the_one_that_was_found_and_is_not_drawn_anew(tiny):
    system = start(tiny.spec(2))
    for route in routes_of(system):
        route.logits.data.copy_(torch.randn(route.logits.shape, generator=tiny.seeded(1)))
    tree = system.tree()
    system.network.train()
    system.begin_step(7, 8)
    images = tiny.images(system.spec)
    first, second = system.network(images), system.network(images)
    assert all(torch.equal(prediction, second[name]) for name, prediction in first.items())
    assert system.tree() == tree
    system.begin_step(2, 8)
    drawn = [system.network(images) for _ in range(8)]
    assert any(not torch.equal(drawn[0][name], later[name]) for later in drawn for name in first)


def test_the_allocation_describes_the_tree(tiny):
    system = start(tiny.spec(3, plan=(4, 5, 6)))
    fix(system, (1, 0, 2), (1, 0, 0), (1, 0, 0))
    layers = {layer.name: layer.counts for layer in system.allocation().layers}
    # The first task goes 1 -> 0 -> 1 and the others 0 -> 1 -> 0, from head to image.
    assert layers == {"conv1": (4, 0, 0, 4), "conv2": (5, 0, 0, 5), "conv3": (6, 0, 0, 6)}
    fix(system, (0, 0, 0), (0, 1, 1), (0, 1, 2))
    layers = {layer.name: layer.counts for layer in system.allocation().layers}
    assert layers == {"conv1": (0, 0, 0, 4), "conv2": (5, 0, 0, 5), "conv3": (6, 6, 6, 0)}


def test_a_tree_that_was_found_can_be_trained_from_scratch(tiny):
    system = start(tiny.spec(3))
    fix(system, (1, 0, 2), (1, 0, 0), (1, 0, 0))
    again = start(system.spec, FixedTree(system.tree()))
    assert again.structure() == system.structure()
    assert again.allocation() == system.allocation()
    assert again.structure() == system.structure()
    assert again.complexity() == system.complexity()
    assert again.predictor(list) is again.network
    before = [parameter.detach().clone() for parameter in again.network.parameters()]
    train(tiny, again, 2)
    assert all(not torch.equal(old, new) for old, new in zip(before, again.network.parameters(), strict=True))


def test_the_comparison_retrains_the_tree_that_was_found(tiny):
    system = start(tiny.spec(2))
    fix(system, (0, 0), (0, 1), (1, 0))
    structure = Structure.from_dict(system.structure().to_dict())
    again = start(system.spec, METHOD.retraining(structure), seed=1)
    assert again.structure() == system.structure()
    assert again.complexity() == system.complexity()
    other = FixedTree(system.tree())
    assert other.retraining(structure) is other


def test_one_task_owns_its_only_copies(tiny):
    system = start(tiny.spec(1, plan=(4, 5)))
    assert [layer.counts for layer in system.allocation().layers] == [(4, 0), (5, 0)]


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_a_structure_and_a_state_rebuild_the_predictor(tiny, num_tasks):
    system = start(tiny.spec(num_tasks))
    train(tiny, system, 6)
    images = tiny.images(system.spec)
    predictor = system.predictor(lambda: [images, images + 1]).eval()
    rebuilt = Structure.from_dict(system.structure().to_dict()).build(system.spec)
    rebuilt.load_state_dict(predictor.state_dict())
    with torch.no_grad():
        first, second = predictor(images), rebuilt(images)
    assert all(torch.equal(prediction, second[name]) for name, prediction in first.items())


def test_statistics_are_those_of_the_tree(tiny):
    system = start(tiny.spec(2))
    train(tiny, system, 6)
    images = tiny.images(system.spec)
    predictor = system.predictor(lambda: [images]).eval()
    system.network.train()
    fix(system, *(route.parents for route in routes_of(system)))
    with torch.no_grad():
        expected, found, stale = (
            system.network(images),
            predictor(images),
            prune(system.network).eval()(images),
        )
    for name, prediction in expected.items():
        # Running variances are unbiased, those within a batch are not.
        torch.testing.assert_close(found[name], prediction, rtol=0.1, atol=0.1)
        assert not torch.allclose(stale[name], prediction, rtol=0.1, atol=0.1)


def test_the_network_that_predicts_is_what_is_counted(tiny):
    system = start(tiny.spec(2, norm="none"))
    fix(system, (0, 0), (0, 0), (1, 1))
    predictor = system.predictor(list)
    assert system.complexity().parameters == sum(parameter.numel() for parameter in predictor.parameters())
    fix(system, (0, 1), (0, 1), (0, 1))
    assert system.complexity().macs > 1.9 * start(tiny.spec(1, norm="none")).complexity().macs


def test_a_seed_fixes_a_training(tiny):
    first, second, other = (start(tiny.spec(2), seed=seed) for seed in (4, 4, 5))
    for system in (first, second, other):
        train(tiny, system, 6)
    pairs = zip(first.network.parameters(), second.network.parameters(), other.network.parameters(), strict=True)
    same, different = zip(*((torch.equal(a, b), not torch.equal(a, c)) for a, b, c in pairs), strict=True)
    assert all(same)
    assert any(different)


def test_a_head_learns_to_read_the_copy_that_serves_it(tiny):
    """Of two copies that stand still, the one has what each head wants of it."""
    spec = NetworkSpec(functools.partial(vgg_small, plan=(1,), norm="none"), TWO_REGRESSIONS, (1, 2, 2))
    system = start(spec, LearningToBranch(warmup=0.0, settle=0.0))
    (heads,) = routes_of(system)
    with torch.no_grad():
        for own, value in zip(system.network.copies, (1.0, 3.0), strict=True):
            own.conv1.weight.zero_()
            own.conv1.bias.fill_(value)
        for head in system.network.ordered_heads:
            head.reader.weight.fill_(1.0)
            head.reader.bias.zero_()
    optimiser = torch.optim.Adam([heads.logits], lr=0.1)
    system.network.train()
    for step in range(60):
        system.begin_step(step, 60)
        predictions = system.network(tiny.images(spec))
        optimiser.zero_grad()
        ((predictions["low"] - 1).square() + (predictions["high"] - 3).square()).mean().backward()
        optimiser.step()
    assert system.tree().heads == (0, 1)
    assert bool((heads.probs.diagonal() > 0.8).all())


def test_a_price_makes_the_tree_one_trunk(tiny):
    system = start(tiny.spec(3), LearningToBranch(price=1.0, settle=0.2))
    routes = routes_of(system)
    for route in routes:
        route.logits.data.copy_(torch.randn(route.logits.shape, generator=tiny.seeded(1)))
    optimiser = torch.optim.Adam([route.logits for route in routes], 0.1)
    system.begin_step(5, 10)
    for _ in range(100):
        optimiser.zero_grad()
        system.penalty().backward()
        optimiser.step()
    assert len(set(system.tree().heads)) == 1
    system.network.eval()
    assert system.penalty().item() == pytest.approx(1.0)


@pytest.mark.parametrize(("step", "price"), [(0, 0.0), (1, 0.5), (4, 0.5), (5, 0.0)])
def test_trees_have_a_price_while_parents_learn(tiny, step, price):
    system = start(tiny.spec(1), LearningToBranch(price=0.5, warmup=0.1, settle=0.5))  # whose tree costs 1
    system.begin_step(step, 10)
    assert float(system.penalty()) == pytest.approx(price)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"price": -1.0}, "price must be from"),
        ({"branches": 0}, "branches must be 1 to 2"),
        ({"branches": 3}, "branches must be 1 to 2"),
        ({"lr": 0.0}, "lr must be from 1e-12 to 100"),
        ({"warmup": 1.0}, "warmup"),
        ({"warmup": -0.1}, "warmup"),
        ({"settle": -0.1}, "settle"),
        ({"warmup": 0.6, "settle": 0.4}, "warmup"),
        ({"start": 0.0}, "start must be from"),
        ({"end": -1.0}, "end must be from"),
    ],
)
def test_options_out_of_range_are_refused(tiny, options, words):
    with pytest.raises(ValueError, match=words):
        manual_methods["learning_to_branch"](tiny.spec(2), **options)


def test_options_reach_the_method(tiny):
    options = {"branches": 1, "lr": 0.3, "warmup": 0.2, "settle": 0.1, "schedule": "cosine", "start": 2.0, "end": 1.0}
    options["price"] = 0.25
    method = manual_methods["learning_to_branch"](tiny.spec(2), **options)
    assert method == LearningToBranch(1, 0.3, 0.2, 0.1, TemperatureSchedule("cosine", 2.0, 1.0), 0.25)
    assert start(tiny.spec(2), method).complexity() == start(tiny.spec(2), method, 1).complexity()
