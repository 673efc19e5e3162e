import pytest
import torch

from sfgsearch.functional import TemperatureSchedule
from sfgsearch.methods import GumbelRouting, Randomness, manual_methods
from sfgsearch.nn import Structure

CPU = torch.device("cpu")
METHOD = GumbelRouting(settle=0.5, initial=0.5)


def build(spec, method=METHOD, seed=0):
    return method.build(spec, Randomness.from_seed(seed, CPU), CPU)


def train(tiny, system, steps):
    """Train on one batch; return for every step whether the logits moved."""
    optimiser = torch.optim.Adam(system.parameter_groups(0.01))
    images, targets = tiny.images(system.spec), tiny.targets(system.spec)
    system.network.train()
    moved = []
    for step in range(steps):
        before = system.network.logits.detach().clone()
        system.begin_step(step, steps)
        predictions = system.network(images)
        losses = [
            task.negative_log_likelihood(predictions[task.name], targets[task.name]) for task in system.spec.tasks
        ]
        optimiser.zero_grad()
        (sum(losses) + system.penalty()).backward()
        optimiser.step()
        moved.append(not torch.equal(before, system.network.logits))
    return moved


def test_masks_learn_and_settle(tiny):
    system = build(tiny.spec(2), GumbelRouting(settle=0.5, budget=0.1))
    assert train(tiny, system, 6) == [True, True, True, False, False, False]
    assert system.hold == 0.5


def test_logits_have_a_constant_learning_rate_of_their_own(tiny):
    system = build(tiny.spec(2), GumbelRouting(lr=0.3))
    weights, logits = system.parameter_groups(0.5)
    assert (weights["lr"], weights["scheduled"], logits["lr"], logits["scheduled"]) == (0.5, True, 0.3, False)
    assert [parameter.shape for parameter in logits["params"]] == [(2, 18)]


def test_the_temperature_follows_its_schedule_until_masks_settle(tiny):
    system = build(tiny.spec(2), GumbelRouting(settle=0.5, temperature=TemperatureSchedule("linear", 3.0, 1.0)))
    found = []
    for step in range(6):
        system.begin_step(step, 6)
        found.append(system.network.sampling.temperature)
    assert found == [3.0, 2.0, 1.0, 1.0, 1.0, 1.0]


def test_the_penalty_is_on_what_goes_beyond_the_budget(tiny):
    system = build(tiny.spec(2), GumbelRouting(budget=0.5, penalty=3.0))
    tiny.randomise(system.network)
    system.begin_step(0, 10)
    probs = torch.sigmoid(system.network.logits.detach().double())
    excess = [max(0.0, float(part.mean()) - 0.5) for part in (probs[:, :7], probs[:, 7:13], probs[:, 13:])]
    assert max(excess) > 0
    assert system.penalty().item() == pytest.approx(3 * sum(excess) / 3, rel=1e-5)
    system.begin_step(9, 10)
    assert system.penalty() == 0


def test_a_budget_makes_tasks_use_less(tiny):
    used = []
    for budget in (1.0, 0.2):
        system = build(tiny.spec(2), GumbelRouting(lr=0.2, budget=budget, penalty=100.0, settle=0.0))
        train(tiny, system, 30)
        used.append(float(system.network.probs.detach().mean()))
    assert used[1] < 0.5 < used[0]


def test_the_comparison_retrains_the_masks_that_were_found(tiny):
    system = build(tiny.spec(2))
    tiny.randomise(system.network)
    again = build(system.spec, METHOD.retraining(Structure.from_dict(system.structure().to_dict())), seed=1)
    assert again.structure() == system.structure()
    assert again.allocation() == system.allocation()
    assert again.complexity() == system.complexity()
    assert torch.equal(again.network.masks.bool(), system.network.likely_masks())


def test_the_allocation_says_how_many_tasks_use_a_filter(tiny):
    system = build(tiny.spec(2))
    with torch.no_grad():
        system.network.logits.fill_(-1.0)
        system.network.logits[:, :4] = torch.tensor([[1.0, 1.0, 1.0, -1.0], [1.0, -1.0, 1.0, 1.0]])
    assert system.allocation().layers[0].counts == (1, 1, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": 0.0}, "lr must be from"),
        ({"initial": 1.0}, "initial must be from"),
        ({"budget": 1.1}, "budget must be from"),
        ({"penalty": -1.0}, "penalty must be from"),
        ({"settle": 1.0}, "settle must be a part"),
        ({"start": 0.0}, "start must be from"),
        ({"end": 0.0}, "end must be from"),
    ],
)
def test_options_out_of_range_are_refused(tiny, options, words):
    with pytest.raises(ValueError, match=words):
        manual_methods["learned_routing"](tiny.spec(2), **options)


def test_options_reach_the_method(tiny):
    options = {"lr": 0.3, "initial": 0.7, "budget": 0.4, "penalty": 2.0, "settle": 0.1}
    method = manual_methods["learned_routing"](tiny.spec(2), **options, schedule="cosine", start=2.0, end=1.0)
    assert method == GumbelRouting(0.3, 0.7, 0.4, 2.0, 0.1, TemperatureSchedule("cosine", 2.0, 1.0))
    torch.testing.assert_close(build(tiny.spec(2), method).network.probs, torch.full((2, 18), 0.7))
