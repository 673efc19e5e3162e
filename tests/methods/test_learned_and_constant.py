"""What is particular to systems that sample gates."""

import dataclasses
import math

import pytest
import torch

from sfgsearch.allocation import Allocation
from sfgsearch.functional import TemperatureSchedule
from sfgsearch.methods import (
    ConstantProbabilities,
    FixedAllocation,
    InitialSettings,
    PriorSettings,
    Randomness,
    SFGSettings,
    StochasticFilterGroups,
    manual_methods,
)
from sfgsearch.nn import MonteCarloEnsemble, reestimate_statistics

CPU = torch.device("cpu")


def build(tiny, method, num_tasks=2, seed=0):
    return method.build(tiny.spec(num_tasks), Randomness.from_seed(seed, CPU), CPU)


def build_learned(tiny, num_tasks=2, **settings):
    return build(tiny, StochasticFilterGroups(SFGSettings(**settings)), num_tasks)


def test_the_temperature_follows_the_schedule_until_gates_settle(tiny):
    system = build_learned(tiny, temperature=TemperatureSchedule("linear", start=2.0, end=1.0), settle=0.5)
    for step, expected in ((0, 2.0), (5, 1.5), (10, 1.0), (11, 1.0), (21, 1.0)):
        system.begin_step(step, 22)
        assert system.network.groups.sampling.temperature == pytest.approx(expected)


def test_gates_settle_at_the_derived_assignment_and_probabilities_stand_still(tiny):
    system = build_learned(tiny, settle=0.4)
    tiny.randomise(system.network)
    system.network.train()
    groups = system.network.groups
    system.begin_step(5, 10)
    assert len({tuple(groups().argmax(1).tolist()) for _ in range(5)}) > 1, "gates are drawn"
    assert system.kl().requires_grad
    system.begin_step(6, 10)
    expected = torch.cat(list(system.network.derive()[0].values()))
    assert torch.equal(groups().argmax(1), expected)
    predictions = system.network(tiny.images(system.spec))
    (sum(value.square().sum() for value in predictions.values()) + system.kl()).backward()
    assert groups.logits.grad is None
    system.begin_step(5, 10)
    assert not groups.is_fixed, "as when a training goes on from an earlier checkpoint"


def test_the_rate_of_weights_holds_until_gates_settle(tiny):
    assert build_learned(tiny, settle=0.3).hold == pytest.approx(0.7)


@pytest.mark.parametrize("hard", [False, True])
def test_gates_are_relaxed_or_hard_as_set(tiny, hard):
    system = build_learned(tiny, hard=hard)
    system.begin_step(0, 10)
    gates = system.network.groups.train()()
    assert (set(gates.unique().tolist()) == {0.0, 1.0}) is hard


def test_kl_is_the_sum_over_layers(tiny):
    system = build_learned(tiny, prior=PriorSettings("uniform"), initial=InitialSettings("near_vertex"))
    one = 0.99 * math.log(0.99 * 3) + 2 * 0.005 * math.log(0.005 * 3)
    assert system.kl().item() == pytest.approx(one * (7 + 6 + 5), rel=1e-4)


def test_kl_weight_and_learning_rates_are_those_of_the_settings(tiny):
    system = build_learned(tiny, kl_weight=3.0, lr=0.07, prior=PriorSettings("learned"))
    weights, logits = system.parameter_groups(0.001)
    assert system.kl_weight == 3.0
    assert (weights["lr"], weights["scheduled"]) == (0.001, True)
    assert (logits["lr"], logits["scheduled"]) == (0.07, False)
    assert len(logits["params"]) == 2


def test_a_linear_prior_reaches_the_layers_in_depth_order(tiny):
    system = build_learned(tiny, prior=PriorSettings("linear", first=0.9, last=0.1))
    shared = system.network.groups.log_prior.exp()[:, -1].tolist()
    assert shared == pytest.approx([0.9, 0.5, 0.1], rel=1e-4)
    assert [float(probs[0, -1]) for probs in system.probabilities().values()] == pytest.approx(shared)


def test_a_learned_prior_is_trained(tiny):
    system = build_learned(tiny, prior=PriorSettings("learned"), initial=InitialSettings("dirichlet"))
    system.kl().backward()
    assert bool((system.network.groups.prior_logits.grad != 0).all())


def test_the_learned_predictor_is_the_compact_network_with_new_statistics(tiny):
    system = build_learned(tiny, initial=InitialSettings("dirichlet"))
    tiny.randomise(system.network)
    images = tiny.images(system.spec, batch=8)
    predictor, stale = system.predictor(lambda: [images]).eval(), system.network.compact().eval()
    assert not torch.allclose(predictor(images)["digit"], stale(images)["digit"], atol=1e-3)
    reestimate_statistics(stale, [images])
    torch.testing.assert_close(predictor(images), stale(images))


def test_statistics_of_settled_gates_are_those_of_training(tiny):
    system = build_learned(tiny, settle=0.5)
    system.begin_step(199, 200)
    system.predictor(lambda: pytest.fail("no data is needed"))


def test_predicting_leaves_the_learned_network_alone(tiny):
    system = build_learned(tiny)
    tiny.randomise(system.network)
    state = {name: value.clone() for name, value in system.network.state_dict().items()}
    system.network.train()
    system.predictor(lambda: [tiny.images(system.spec)])
    assert system.network.training
    assert all(torch.equal(system.network.state_dict()[name], value) for name, value in state.items())


def test_the_learned_allocation_carries_its_probabilities(tiny):
    system = build_learned(tiny)
    tiny.randomise(system.network, seed=3)
    assignment, repairs = system.network.derive()
    assert system.repairs() == tuple(repairs)
    for layer in system.allocation().layers:
        probs = system.probabilities()[layer.name]
        assert layer.counts == tuple(assignment[layer.name].bincount(minlength=3).tolist())
        assert layer.mean_probs == pytest.approx(probs.mean(0).tolist(), rel=1e-4)


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_constant_probabilities_learn_no_gates(tiny, num_tasks):
    system = build(tiny, ConstantProbabilities(), num_tasks)
    assert not [name for name, _ in system.network.named_parameters() if "logits" in name]
    assert system.kl().item() == 0
    for probs in system.probabilities().values():
        torch.testing.assert_close(probs, torch.full_like(probs, 1 / (num_tasks + 1)))


def test_constant_gates_are_soft_cool_down_and_are_new_at_every_pass(tiny):
    system = build(tiny, ConstantProbabilities())
    groups, sharpest = system.network.groups.train(), []
    for step in (0, 99):
        system.begin_step(step, 100)
        draws = torch.stack([groups() for _ in range(20)])
        torch.testing.assert_close(draws.sum(-1), torch.ones(draws.shape[:-1]))
        assert len(draws.unique(dim=0)) == 20
        sharpest.append(float(draws.amax(-1).mean()))
    assert 1 / 3 < sharpest[0] < 0.7 < sharpest[1] < 1


def test_constant_probabilities_predict_by_an_ensemble_that_stays_the_same(tiny):
    system = build(tiny, ConstantProbabilities(3))
    images = tiny.images(system.spec, batch=8)
    first, second = (system.predictor(lambda: [images]).eval() for _ in range(2))
    assert isinstance(first, MonteCarloEnsemble)
    assert len(first.members) == 3
    assert len(system.snapshot(lambda: [images]).members) == 2
    for name, prediction in first(images).items():
        torch.testing.assert_close(prediction, second(images)[name])


def test_the_ensemble_is_the_average_of_its_members(tiny):
    system = build(tiny, ConstantProbabilities(3))
    images = tiny.images(system.spec, batch=8)
    ensemble = system.predictor(lambda: [images]).eval()
    members = [member(images) for member in ensemble.members]
    probs = torch.stack([prediction["digit"].softmax(1) for prediction in members]).mean(0)
    torch.testing.assert_close(ensemble(images)["digit"].softmax(1), probs)
    torch.testing.assert_close(ensemble(images)["angle"], torch.stack([p["angle"] for p in members]).mean(0))


def test_every_member_of_the_ensemble_has_statistics_of_its_own(tiny):
    system = build(tiny, ConstantProbabilities(3))
    images = tiny.images(system.spec, batch=8)
    for member in system.predictor(lambda: [images]).members:
        first = member.backbone.conv1(images)
        torch.testing.assert_close(member.backbone.norm1.running_mean, first.mean((0, 2, 3)))


def test_constant_probabilities_cost_all_their_samples(tiny):
    one, three = (build(tiny, ConstantProbabilities(samples)).complexity() for samples in (1, 3))
    assert one.parameters == three.parameters
    assert three.macs > 2 * one.macs


def test_constant_probabilities_expect_equal_parts(tiny):
    system = build(tiny, ConstantProbabilities())
    assert system.allocation() == Allocation.equal(system.spec.filters, system.spec.task_names)
    assert system.allocation().layer("conv1").mean_entropy == pytest.approx(math.log(3), rel=1e-5)


@pytest.mark.parametrize("samples", [0, -1])
def test_an_ensemble_needs_samples(tiny, samples):
    with pytest.raises(ValueError, match="samples must be from 1 to 1000"):
        manual_methods["constant_probabilities"](tiny.spec(2), samples=samples)


@pytest.mark.parametrize("method", [StochasticFilterGroups(), ConstantProbabilities(2)], ids=["learned", "constant"])
def test_volumes_work_too(tiny, method):
    spec = tiny.spec(2, dimensions=3)
    system = method.build(spec, Randomness.from_seed(0, CPU), CPU)
    predictor = system.predictor(lambda: [tiny.images(spec)]).eval()
    assert all(bool(value.isfinite().all()) for value in predictor(tiny.images(spec)).values())


def test_methods_are_values():
    assert StochasticFilterGroups() == StochasticFilterGroups(SFGSettings())
    with pytest.raises(dataclasses.FrozenInstanceError):
        StochasticFilterGroups().settings = SFGSettings(lr=1.0)


def test_what_is_told_of_a_learned_network_follows_its_weights(tiny):
    system = build_learned(tiny, prior=PriorSettings("uniform"))
    before = system.allocation(), system.structure().to_dict(), system.complexity()
    assert (system.allocation(), system.structure().to_dict(), system.complexity()) == before
    with torch.no_grad():
        system.network.groups.logits.zero_()
        system.network.groups.logits[:, -1] = 5.0
    assert all(layer.counts == (0, 0, sum(layer.counts)) for layer in system.allocation().layers)
    assert system.complexity() != before[2]
    assert system.structure().to_dict() != before[1]


def test_a_price_makes_multiply_adds_part_of_the_objective_until_gates_settle(tiny):
    system = build_learned(tiny, price=0.5, settle=0.5, initial=InitialSettings("dirichlet"))
    system.begin_step(0, 10)
    penalty = system.penalty()
    assert penalty.item() == pytest.approx(0.5 * system.network.expected_cost().item())
    penalty.backward()
    with torch.no_grad():
        system.network.groups.logits -= system.network.groups.logits.grad
    assert system.penalty().item() < penalty.item()
    system.begin_step(9, 10)
    assert system.penalty() == 0
    assert build_learned(tiny).penalty() == 0


def test_widths_are_learned_where_filters_may_be_off(tiny):
    system = build_learned(tiny, off=True, price=1.0, settle=0.5)
    groups, images = system.network.groups, tiny.images(system.spec)
    tiny.randomise(system.network)
    with torch.no_grad():
        groups.logits[:, -1] = -9
        groups.logits[[0, 1, 8], -1] = 9
    assignment, notes = system.network.derive()
    assert [int((of_space == 3).sum()) for of_space in assignment.values()] == [2, 1, 0]
    assert [note for note in notes if "off" in note] == [
        f"layer {name}: {number} filters are off" for name, number in zip(assignment, (2, 1), strict=False)
    ]
    allocation = system.allocation()
    assert [sum(layer.counts) for layer in allocation.layers] == [5, 5, 5]
    assert all(sum(layer.mean_probs) < 1 for layer in allocation.layers[:2])
    baked, compact = system.network.bake().eval(), system.network.compact().eval()
    torch.testing.assert_close(baked(images), compact(images))
    narrow, whole = system.complexity(), build(tiny, manual_methods["hard_sharing"](system.spec)).complexity()
    assert narrow.parameters < whole.parameters
    assert narrow.macs < whole.macs
    rebuilt = system.structure().build(system.spec)
    rebuilt.load_state_dict(compact.state_dict())
    torch.testing.assert_close(rebuilt(images), compact(images))
    again = FixedAllocation(allocation, assignments=system.structure().details["assignments"])
    assert build(tiny, again).complexity() == narrow
    assert len(system.monte_carlo(3, lambda: [images])(images)) == 2


def test_a_price_turns_filters_off(tiny):
    system = build_learned(tiny, off=True, price=1.0)
    optimiser = torch.optim.Adam(system.network.groups.parameters(), 0.1)
    for _ in range(60):
        optimiser.zero_grad()
        system.penalty().backward()
        optimiser.step()
    assert float(system.network.groups.choice_probs[:, -1].detach().min()) > 0.5
    counts = [sum(layer.counts) for layer in system.allocation().layers]
    assert counts == [2, 2, 2], "a filter is left to every task"
