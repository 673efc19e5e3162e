import pytest
import torch

from sfgsearch.functional import random_masks, roam


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 5])
@pytest.mark.parametrize("num_filters", [5, 16, 31])
def test_without_sharing_every_filter_serves_one_task_in_equal_parts(num_filters, num_tasks):
    masks = random_masks(num_filters, num_tasks, 0, seeded())
    assert masks.shape == (num_tasks, num_filters)
    assert masks.sum(0).tolist() == [1] * num_filters
    assert max(masks.sum(1)) - min(masks.sum(1)) <= 1


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_full_sharing_gives_every_filter_to_all(num_tasks):
    assert bool(random_masks(9, num_tasks, 1, seeded()).all())


@pytest.mark.parametrize(("sharing", "both"), [(0.25, 4), (0.5, 8), (0.75, 12)])
def test_two_tasks_share_the_stated_proportion(sharing, both):
    for seed in range(20):
        masks = random_masks(16, 2, sharing, seeded(seed))
        assert int(masks.all(0).sum()) == both
        assert bool(masks.any(0).all())


def test_tasks_hold_their_part_and_a_proportion_of_the_rest():
    masks = random_masks(30, 3, 0.5, seeded())
    assert masks.sum(1).tolist() == [20, 20, 20]
    assert bool(masks.any(0).all())


def test_every_task_holds_a_filter_where_there_are_too_few():
    masks = random_masks(2, 4, 0, seeded())
    assert masks.sum(1).tolist() == [1, 1, 1, 1]


def test_masks_are_uniform():
    """Over many draws every filter serves every task equally often, within five standard deviations."""
    draws = torch.stack([random_masks(8, 2, 0.5, seeded(seed)) for seed in range(2000)]).double().mean(0)
    assert float((draws - 0.75).abs().max()) < 5 * (0.75 * 0.25 / 2000) ** 0.5


@pytest.mark.parametrize("sharing", [-0.1, 1.1])
def test_impossible_ratios_are_refused(sharing):
    with pytest.raises(ValueError, match="sharing must be from 0 to 1"):
        random_masks(4, 2, sharing, seeded())


def test_roaming_exchanges_a_filter_in_hand_for_one_never_held():
    generator = seeded()
    masks = visited = random_masks(12, 3, 0.2, generator)
    while not bool(visited.all()):
        roamed, seen = roam(masks, visited, torch.ones(3, dtype=torch.int64), generator)
        for task in range(3):
            dropped, taken = masks[task] & ~roamed[task], roamed[task] & ~masks[task]
            expected = int(not visited[task].all())
            assert (int(dropped.sum()), int(taken.sum())) == (expected, expected)
            assert not bool((taken & visited[task]).any())
        assert torch.equal(seen, visited | roamed)
        masks, visited = roamed, seen
    again, _ = roam(masks, visited, torch.ones(3, dtype=torch.int64), generator)
    assert torch.equal(again, masks)


def test_tasks_exchange_as_many_filters_as_asked_for():
    masks = random_masks(20, 2, 0, seeded())
    roamed, _ = roam(masks, masks, torch.tensor([3, 0]), seeded(1))
    assert (masks ^ roamed).sum(1).tolist() == [6, 0]
    roamed, visited = roam(masks, masks, torch.tensor([99, 99]), seeded(1))
    assert torch.equal(roamed, ~masks)
    assert bool(visited.all())


def test_roaming_leaves_its_arguments_alone():
    masks = random_masks(6, 2, 0, seeded())
    before = masks.clone()
    roam(masks, masks, torch.tensor([2, 2]), seeded())
    assert torch.equal(masks, before)
