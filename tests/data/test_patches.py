"""Patches of large images, and whole images of different sizes."""

import pytest
import torch

from sfgsearch.data import InMemory, RandomPatches, WholeImages, batches
from sfgsearch.errors import DataError
from sfgsearch.tasks import MISSING

CPU = torch.device("cpu")


def numbered(*spaces):
    """Images whose voxels are all different, with themselves and their parity as targets."""
    images, start = [], 0
    for space in spaces:
        count = int(torch.tensor(space).prod())
        images.append((torch.arange(count) + start).float().view(1, *space))
        start += count
    values = [image[0] for image in images]
    return images, {"value": values, "parity": [(value % 2).to(torch.uint8) for value in values]}


@pytest.mark.parametrize(("spaces", "size"), [(((9, 7), (6, 8)), (4, 3)), (((6, 5, 7), (4, 9, 5)), (3, 4, 5))])
def test_patches_are_parts_of_their_image_with_their_own_targets(spaces, size):
    images, targets = numbered(*spaces)
    split = RandomPatches(images, targets, size, per_image=3)
    assert len(split) == 6
    assert split.image_shape == (1, *size)
    seen = list(batches(split, 4, CPU, torch.Generator().manual_seed(0)))
    assert [tuple(patches.shape) for patches, _ in seen] == [(4, 1, *size), (2, 1, *size)]
    for patches, found in seen:
        assert torch.equal(patches[:, 0], found["value"])
        assert torch.equal(found["value"].long() % 2, found["parity"])
        for patch in patches[:, 0]:
            steps = [patch.diff(dim=axis).unique() for axis in range(len(size))]
            assert all(len(step) == 1 for step in steps), "neighbours in the patch are neighbours in the image"
    first = len(images[0].flatten())
    owners = torch.cat([(found["value"].flatten(1)[:, 0] >= first) for _, found in seen])
    assert owners.sum() == 3


def test_positions_are_uniform_and_new_in_every_shuffled_epoch():
    images, targets = numbered((5, 3))
    split = RandomPatches(images, targets, (4, 1), per_image=3000)
    generator = torch.Generator().manual_seed(0)
    split.begin_epoch(generator)
    corners = split.__getitems__(list(range(3000)))[0][:, 0, 0, 0].long()
    counts = corners.bincount(minlength=15)
    assert counts.nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert counts[:6].min() > 420
    split.begin_epoch(generator)
    assert not torch.equal(split.__getitems__(list(range(3000)))[0][:, 0, 0, 0].long(), corners)


def test_the_order_and_positions_come_from_the_generator_alone():
    images, targets = numbered((9, 9), (8, 8))
    one, other = (RandomPatches(images, targets, (3, 3), 2) for _ in range(2))
    list(batches(one, 4, CPU, torch.Generator().manual_seed(5)))
    epochs = [
        torch.cat([patches for patches, _ in batches(split, 4, CPU, torch.Generator().manual_seed(1))])
        for split in (one, other)
    ]
    assert torch.equal(*epochs)


def test_images_smaller_than_a_patch_are_padded_with_their_border():
    images, targets = numbered((2, 5))
    split = RandomPatches(images, targets, (4, 5))
    patches, found = split.__getitems__([0])
    assert torch.equal(patches[0, 0, :2], images[0][0])
    assert torch.equal(patches[0, 0, 2:], images[0][0, 1:].expand(2, 5))
    assert torch.equal(found["parity"][0], patches[0, 0].long() % 2)
    assert split.target("value").tolist() == list(range(10)), "padding is no data"


def test_targets_cover_all_voxels_wherever_patches_lie():
    images, targets = numbered((4, 5), (3, 2))
    for split in (RandomPatches(images, targets, (2, 2)), WholeImages(images, targets)):
        assert split.target("value").tolist() == list(range(26))
        assert split.target("parity").tolist() == [value % 2 for value in range(26)]


@pytest.mark.parametrize("kind", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_holes_come_out_as_they_are(kind):
    """Classes of any type; images that are padded repeat a hole at their border, and no hole is counted twice."""
    images, _ = numbered((2, 5), (6, 5))
    value = [image[0].where(image[0] % 3 > 0, torch.nan) for image in images]
    classes = [(image[0] % 3).to(kind).masked_fill(image[0] % 3 == 0, MISSING) for image in images]
    absent = [torch.full(image.shape[1:], torch.nan) for image in images]
    targets = {"value": value, "class": classes, "absent": absent}
    for split in (RandomPatches(images, targets, (3, 4), 8), WholeImages(images, targets)):
        for patches, found in batches(split, 4, CPU):
            hidden = patches[:, 0] % 3 == 0
            torch.testing.assert_close(
                found["value"], patches[:, 0].masked_fill(hidden, torch.nan), equal_nan=True, rtol=0, atol=0
            )
            assert found["class"].dtype == torch.int64
            assert torch.equal(found["class"], (patches[:, 0] % 3).long().masked_fill(hidden, MISSING))
            assert found["absent"].isnan().all()
        assert int(split.target("value").isnan().sum()) == 14
        assert int((split.target("class") == MISSING).sum()) == 14


def test_splits_in_memory_have_classes_of_any_type():
    for kind in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        split = InMemory(torch.zeros(2, 1, 3, 3), {"class": torch.tensor([1, 0], dtype=kind)})
        ((_, targets),) = batches(split, 4, CPU)
        assert targets["class"].dtype == torch.int64


def test_whole_images_of_different_sizes_come_one_at_a_time():
    images, targets = numbered((4, 5), (3, 2))
    shapes = [tuple(batch.shape) for batch, _ in batches(WholeImages(images, targets), 8, CPU)]
    assert shapes == [(1, 1, 4, 5), (1, 1, 3, 2)]
    images, targets = numbered((4, 5), (4, 5))
    ((batch, found),) = batches(WholeImages(images, targets), 8, CPU)
    assert batch.shape == (2, 1, 4, 5)
    assert found["parity"].dtype == torch.int64
    assert torch.equal(found["value"], batch[:, 0])


def test_volumes_come_one_at_a_time_even_of_one_size():
    images, targets = numbered((2, 4, 5), (2, 4, 5))
    shapes = [tuple(batch.shape) for batch, _ in batches(WholeImages(images, targets), 8, CPU)]
    assert shapes == [(1, 1, 2, 4, 5)] * 2


def test_splits_that_cannot_be_are_refused():
    images, targets = numbered((4, 5), (3, 2))
    for build in (WholeImages, lambda *parts: RandomPatches(*parts, (2, 2))):
        with pytest.raises(DataError, match="'value' differ in number or size"):
            build(images, {"value": targets["value"][::-1]})
        with pytest.raises(DataError, match="at least one image"):
            build([], {})
    with pytest.raises(DataError, match=r"patches of size \(2, 2, 2\)"):
        RandomPatches(images, targets, (2, 2, 2))
