"""Splits and their batches."""

import torch

from sfgsearch.data import InMemory, MultiTaskData, Split, batches, largest_batch
from sfgsearch.tasks import Classification

CPU = torch.device("cpu")


class Ramp(Split):
    """Images of different sizes that hold random numbers of their epoch."""

    def __init__(self, number, max_batch=None):
        self.number, self._max_batch = number, max_batch
        self.drawn = torch.zeros(number)

    def __len__(self):
        return self.number

    def __getitems__(self, indices):
        size = 2 + indices[0] if self._max_batch == 1 else 2
        return self.drawn[indices].view(-1, 1, 1, 1).expand(-1, 1, size, size), {"a": torch.tensor(indices)}

    @property
    def image_shape(self):
        return (1, 2, 2)

    def target(self, name):
        assert name == "a"
        return torch.arange(self.number)

    @property
    def max_batch(self):
        return self._max_batch

    def begin_epoch(self, generator):
        self.drawn = torch.rand(self.number, generator=generator)


def test_bytes_stay_bytes_in_memory_and_come_out_as_fractions():
    images = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)
    split = InMemory(images, {"a": torch.arange(4)})
    fetched, targets = split.__getitems__([3, 1])
    assert split.images.dtype == torch.uint8
    torch.testing.assert_close(fetched, images[[3, 1]].float() / 255)
    assert targets["a"].tolist() == [3, 1]
    assert split.image_shape == (1, 8, 8)
    assert torch.equal(split.target("a"), torch.arange(4))
    assert torch.equal(split[3][0], fetched[0])


def test_batches_hold_no_more_images_than_a_split_allows():
    shapes = [tuple(images.shape) for images, _ in batches(Ramp(4, max_batch=1), 3, CPU)]
    assert shapes == [(1, 1, side, side) for side in (2, 3, 4, 5)]
    assert largest_batch(Ramp(4, max_batch=1), 3) == 1
    assert largest_batch(Ramp(4), 3) == 3
    assert largest_batch(Ramp(4, max_batch=8), 3) == 3


def test_shuffled_batches_of_one_are_kept_where_all_are_of_one():
    split = Ramp(3, max_batch=1)
    seen = [int(targets["a"]) for _, targets in batches(split, 4, CPU, torch.Generator().manual_seed(0))]
    assert sorted(seen) == [0, 1, 2]


def test_an_epoch_begins_when_batches_are_shuffled_only():
    split, generator = Ramp(4), torch.Generator().manual_seed(1)
    assert next(batches(split, 4, CPU))[0].max() == 0
    first = next(batches(split, 4, CPU, generator))[0]
    second = next(batches(split, 4, CPU, generator))[0]
    assert not torch.equal(first.sort(0).values, second.sort(0).values)
    again = next(batches(split, 4, CPU, torch.Generator().manual_seed(1)))[0]
    assert torch.equal(first, again)


def test_the_image_shape_is_that_of_the_training_split():
    large = InMemory(torch.zeros(2, 1, 9, 9), {"a": torch.arange(2)})
    data = MultiTaskData((Classification("a"),), Ramp(2), large, large)
    assert data.image_shape == (1, 2, 2)
    assert data.window is None
    assert data.notes == ()
