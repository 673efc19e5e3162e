import functools
import math

import pytest
import torch

from sfgsearch.backbones import resnet
from sfgsearch.functional import TemperatureSchedule
from sfgsearch.methods import AdaShare, Randomness, manual_methods
from sfgsearch.nn import NetworkSpec, Structure

CPU = torch.device("cpu")
METHOD = AdaShare(warmup=0.2, curriculum=0.3, settle=0.4)


@functools.cache
def spec_of(tiny, num_tasks):
    return NetworkSpec(functools.partial(resnet, depth=8, width=0.25), tiny.tasks(num_tasks), (2, 8, 8))


def build(tiny, num_tasks=2, method=METHOD, seed=0):
    return method.build(spec_of(tiny, num_tasks), Randomness.from_seed(seed, CPU), CPU)


def set_logits(system, *rows):
    with torch.no_grad():
        for gate, row in zip(system.network.reading.gates, rows, strict=True):
            gate.logits.copy_(torch.tensor(row))


def test_policies_are_learned_from_the_last_block_to_the_first_and_then_settle(tiny):
    system = build(tiny)
    found = []
    for step in range(10):
        system.begin_step(step, 10)
        found.append([gate.learning and not gate.settled for gate in system.network.reading.gates])
    none, last, two, all_of_them = [False] * 3, [False, False, True], [False, True, True], [True] * 3
    assert found == [none, none, last, two, all_of_them, all_of_them, none, none, none, none]
    assert all(gate.learning for gate in system.network.reading.gates)
    assert system.hold == 0.6


def test_all_tasks_run_all_blocks_without_a_policy(tiny):
    system = build(tiny)
    set_logits(system, *[[-9.0, -9.0]] * 3)
    system.network.train()
    system.begin_step(0, 10)
    assert all(torch.equal(gate(), torch.ones(2)) for gate in system.network.reading.gates)
    system.begin_step(9, 10)
    assert all(torch.equal(gate(), torch.zeros(2)) for gate in system.network.reading.gates)


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_the_penalty_is_sparsity_and_sharing(tiny, num_tasks):
    system = build(tiny, num_tasks, AdaShare(sparsity=0.3, sharing=0.7, warmup=0, curriculum=0))
    tiny.randomise(system.network)
    system.begin_step(0, 10)
    expected, num_blocks = 0.0, 3
    for depth, gate in enumerate(system.network.reading.gates):
        alpha = [1 / (1 + math.exp(-logit)) for logit in gate.logits.tolist()]
        expected += 0.3 * sum(map(math.log, alpha))
        pairs = [(one, other) for one in range(num_tasks) for other in range(one)]
        apart = sum(abs(alpha[one] - alpha[other]) for one, other in pairs)
        expected += 0.7 * (num_blocks - depth) / num_blocks * apart
    assert system.penalty().item() == pytest.approx(expected, rel=1e-5)
    system.begin_step(9, 10)
    assert system.penalty().item() == 0


def test_blocks_without_a_policy_have_no_penalty(tiny):
    system = build(tiny)
    system.begin_step(2, 10)
    system.penalty().backward()
    assert [gate.logits.grad is not None for gate in system.network.reading.gates] == [False, False, True]


def test_policies_have_a_constant_learning_rate_of_their_own(tiny):
    weights, policies = build(tiny, method=AdaShare(lr=0.3)).parameter_groups(0.5)
    assert (weights["lr"], weights["scheduled"], policies["lr"], policies["scheduled"]) == (0.5, True, 0.3, False)
    assert [parameter.shape for parameter in policies["params"]] == [(2,)] * 3


def test_the_allocation_lists_what_all_tasks_run(tiny):
    system = build(tiny, 3)
    set_logits(system, [1.0, 1.0, 1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, -1.0])
    counts = {layer.name: layer.counts for layer in system.allocation().layers}
    assert counts == {"stem": (0, 0, 0, 4), "stage1_block1.conv1": (0, 0, 0, 4)}
    assert [layer.counts for layer in build(tiny, 1).allocation().layers][:2] == [(4, 0), (4, 0)]


def test_the_comparison_retrains_the_blocks_that_were_selected(tiny):
    system = build(tiny)
    set_logits(system, [1.0, 1.0], [-1.0, 1.0], [1.0, -1.0])
    method = METHOD.retraining(Structure.from_dict(system.structure().to_dict()))
    again = build(tiny, method=method, seed=1)
    assert again.structure() == system.structure()
    assert again.allocation() == system.allocation()
    assert again.complexity() == system.complexity()
    assert again.predictor(list) is again.network
    assert method.retraining(again.structure()) is method


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": 0.0}, "lr must be from"),
        ({"sparsity": -1.0}, "sparsity must be from"),
        ({"sharing": -1.0}, "sharing must be from"),
        ({"warmup": -0.1}, "warmup, curriculum and settle"),
        ({"curriculum": 0.5, "settle": 0.6}, "warmup, curriculum and settle"),
        ({"start": 0.0}, "start must be from"),
        ({"end": 0.0}, "end must be from"),
    ],
)
def test_options_out_of_range_are_refused(tiny, options, words):
    with pytest.raises(ValueError, match=words):
        manual_methods["adashare"](spec_of(tiny, 2), **options)


def test_options_reach_the_method(tiny):
    parts = {"lr": 0.3, "sparsity": 0.1, "sharing": 0.2, "warmup": 0.0, "curriculum": 0.1, "settle": 0.2}
    method = manual_methods["adashare"](spec_of(tiny, 2), **parts, schedule="cosine", start=2.0, end=1.0)
    assert method == AdaShare(0.3, 0.1, 0.2, 0.0, 0.1, 0.2, TemperatureSchedule("cosine", 2.0, 1.0))
