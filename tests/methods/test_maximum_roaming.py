import pytest
import torch

from sfgsearch.methods import MaximumRoaming, Randomness, TaskRouting, manual_methods
from sfgsearch.nn import Structure

CPU = torch.device("cpu")
STEPS = 60


def build(spec, method=MaximumRoaming(), seed=0):  # noqa: B008
    return method.build(spec, Randomness.from_seed(seed, CPU), CPU)


def masks(system):
    return system.network.masks.clone().split(list(system.spec.filters.values()), 1)


def roam(system, steps=STEPS):
    """Return the masks that every step of a training of so many steps trains with, by layer (steps, T, K)."""
    history = []
    for step in range(steps):
        system.begin_step(step, steps)
        history.append(masks(system))
    return [torch.stack(layer).bool() for layer in zip(*history, strict=True)]


@pytest.mark.parametrize("sharing", [0.0, 0.5])
@pytest.mark.parametrize("finish", [0.5, 1.0])
@pytest.mark.parametrize("num_tasks", [2, 3])
def test_every_task_holds_every_filter_for_its_interval(tiny, num_tasks, finish, sharing):
    for layer in roam(build(tiny.spec(num_tasks), MaximumRoaming(sharing, finish))):
        lacking = int((~layer[0]).sum(1).max())
        interval = finish * STEPS / (lacking + 1)
        assert int(layer.sum(0).min()) >= int(interval)
        assert bool((layer.sum(2) == layer[0].sum(1)).all())


@pytest.mark.parametrize("finish", [0.5, 1.0])
def test_one_filter_is_exchanged_at_a_time_and_none_after_the_end(tiny, finish):
    for layer in roam(build(tiny.spec(2), MaximumRoaming(0.5, finish))):
        taken = layer[1:] & ~layer[:-1]
        assert torch.equal(taken.sum(2), (layer[:-1] & ~layer[1:]).sum(2))
        assert int(taken.sum(2).max()) == 1
        assert torch.equal(taken.sum((0, 2)), (~layer[0]).sum(1))
        assert not bool(taken[int(finish * STEPS) :].any())
        visited = layer[:-1].cumsum(0) > 0
        assert not bool((taken & visited).any())


def test_exchanges_are_evenly_spaced(tiny):
    """A task that lacks R filters exchanges one after every finish * steps / (R + 1) steps."""
    layer = roam(build(tiny.spec(2), MaximumRoaming(0.0, 1.0)), steps=100)[0]
    changed = (layer[1:] != layer[:-1]).any(2)
    for task, lacking in enumerate((~layer[0]).sum(1).tolist()):
        expected = [-(-index * 100 // (lacking + 1)) for index in range(1, lacking + 1)]
        assert [step + 1 for step in torch.nonzero(changed[:, task]).flatten().tolist()] == expected


def test_short_trainings_exchange_several_filters_at_once(tiny):
    for layer in roam(build(tiny.spec(2), MaximumRoaming(0.0, 0.5)), steps=4):
        assert bool(layer.any(0).all())
        assert bool((layer.sum(2) == layer[0].sum(1)).all())


@pytest.mark.parametrize(("num_tasks", "sharing"), [(1, 0.0), (2, 1.0)])
def test_nothing_roams_where_tasks_hold_everything(tiny, num_tasks, sharing):
    assert all(bool(layer.all()) for layer in roam(build(tiny.spec(num_tasks), MaximumRoaming(sharing))))


def test_structure_and_allocation_are_those_of_the_last_masks(tiny):
    spec = tiny.spec(2)
    system = build(spec)
    before = system.structure()
    roam(system)
    tiny.randomise(system.network)
    assert system.structure() != before
    for layer, mask in zip(system.allocation().layers, masks(system), strict=True):
        held = mask.sum(0)
        assert layer.counts == (*(mask * (held == 1)).sum(1).int().tolist(), int((held == 2).sum()))
    again = Structure.from_dict(system.structure().to_dict()).build(spec)
    again.load_state_dict(system.predictor(lambda: []).state_dict())
    expected, found = system.network.eval()(tiny.images(spec)), again(tiny.images(spec))
    assert all(torch.equal(found[name], expected[name]) for name in spec.task_names)


def test_a_loss_reaches_the_filters_of_the_masks_as_of_now(tiny):
    spec = tiny.spec(2)
    system = build(spec)
    reached = torch.zeros(2, 7, dtype=torch.bool)
    for step in range(STEPS):
        system.begin_step(step, STEPS)
        for index, task in enumerate(spec.tasks):
            system.network.zero_grad()
            predictions = system.network(tiny.images(spec, 8))
            task.negative_log_likelihood(predictions[task.name], tiny.targets(spec, 8)[task.name]).backward()
            gradient = system.network.network.backbone.conv1.weight.grad
            rows = (gradient != 0).flatten(1).any(1)
            assert not bool((rows & ~masks(system)[0][index].bool()).any())
            reached[index] |= rows
    assert bool(reached.all())


def test_a_seed_fixes_where_filters_roam(tiny):
    first, again, other = (
        torch.cat([layer.flatten() for layer in roam(build(tiny.spec(2), seed=s))]) for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_it_starts_from_the_masks_of_task_routing(tiny):
    spec = tiny.spec(3)
    routed, roaming = masks(build(spec, TaskRouting(0.3))), masks(build(spec, MaximumRoaming(0.3)))
    assert all(torch.equal(mask, same) for mask, same in zip(routed, roaming, strict=True))


@pytest.mark.parametrize("options", [{"sharing": -0.1}, {"sharing": 1.1}, {"finish": 0.0}, {"finish": 1.1}])
def test_impossible_options_are_refused(tiny, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        manual_methods["maximum_roaming"](tiny.spec(2), **options)
