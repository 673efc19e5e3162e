"""Augmentation: against numpy and scipy, alike for images and masks, reproducible, and off by default."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from sfgsearch.data import Augmentation
from sfgsearch.data._augmentation import flip, shift, turn, turn_target
from sfgsearch.errors import DataError
from sfgsearch.tasks import MISSING

ALL = Augmentation(flips=("horizontal", "vertical"), crop=2, padding="zero", rotation=30.0)
SPACES = [(6, 9), (4, 6, 9)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make(number, space, channels=1):
    return torch.rand(number, channels, *space, generator=seeded())


def batch_with_mask(space, number=8):
    """Return images that show a mask of whole numbers, the mask itself, and targets for whole images."""
    mask = torch.randint(1, 6, (number, *space), generator=seeded(1))
    return mask[:, None].float(), {"organs": mask, "age": torch.rand(number), "pair": torch.rand(number, 2)}


@pytest.mark.parametrize(("axis", "dimension"), [("horizontal", -1), ("vertical", -2), ("depth", -3)])
def test_flip_reverses_the_chosen_images(axis, dimension):
    images, chosen = make(3, (4, 5, 6), 2), torch.tensor([True, False, True])
    flipped = flip(images, axis, chosen)
    for before, after, turned in zip(images, flipped, chosen, strict=True):
        np.testing.assert_array_equal(after, np.flip(before.numpy(), dimension) if turned else before)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("padding", "mode"), [("reflect", "reflect"), ("zero", "constant")])
def test_shift_is_a_crop_of_the_padded_image(space, padding, mode):
    images = make(20, space, 2)
    offsets = torch.randint(7, (20, len(space)), generator=seeded()) - 3
    for image, offset, crop in zip(images, offsets, shift(images, offsets, padding), strict=True):
        padded = np.pad(image, [(0, 0), *[(3, 3)] * len(space)], mode)
        window = [slice(3 + int(first), 3 + int(first) + size) for first, size in zip(offset, space, strict=True)]
        np.testing.assert_array_equal(crop, padded[(slice(None), *window)])


def test_turn_is_that_of_scipy_in_every_axial_slice():
    volumes, degrees = make(3, (4, 7, 7), 2), torch.tensor([-40.0, 0.0, 25.0])
    for volume, angle, turned in zip(volumes, degrees, turn(volumes, degrees, "zero"), strict=True):
        expected = ndimage.rotate(
            volume.numpy().astype(np.float64), float(angle), axes=(-2, -1), reshape=False, order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(turned, expected, atol=1e-4)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(flips=("horizontal", "vertical")),
        Augmentation(crop=3),
        Augmentation(crop=3, padding="zero"),
    ],
)
def test_image_and_mask_move_together(space, augmentation):
    images, targets = batch_with_mask(space)
    changed, moved = augmentation(images, targets, seeded())
    assert not torch.equal(changed, images)
    labels = moved["organs"].float()
    hidden = labels == MISSING
    assert bool(hidden.any()) == augmentation.hides_targets
    torch.testing.assert_close(changed[:, 0], labels.masked_fill(hidden, 0))


@pytest.mark.parametrize("padding", ["zero", "reflect"])
@pytest.mark.parametrize("space", [(32, 32), (3, 32, 32)])
def test_image_and_mask_turn_together(space, padding):
    mask = torch.zeros(6, *space, dtype=torch.long)
    mask[..., 8:24, 12:28] = 7
    changed, moved = Augmentation(rotation=40.0, padding=padding)(mask[:, None].float(), {"organs": mask}, seeded())
    assert not torch.equal(moved["organs"], mask)
    agree = ((changed[:, 0] > 3.5) == (moved["organs"] == 7)).double().mean()
    assert agree > 0.98, "they differ at the border only, by the interpolation"
    assert bool((moved["organs"] == MISSING).any()) == (padding == "zero")


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int64])
def test_labels_stay_whole_numbers_of_their_type(kind):
    images, targets = batch_with_mask((12, 12))
    _, moved = ALL(images, {"organs": targets["organs"].to(kind)}, seeded())
    assert moved["organs"].dtype == (torch.int64 if kind == torch.uint8 else kind), "bytes cannot hold a missing class"
    assert set(moved["organs"].unique().tolist()) == {MISSING, *range(1, 6)}


def with_holes(space, number=8):
    """Return a quantity and classes, both with missing pixels at random."""
    hidden = torch.rand(number, *space, generator=seeded(2)) < 0.2
    quantity = make(number, space)[:, 0].masked_fill(hidden, torch.nan)
    classes = torch.randint(0, 5, (number, *space), generator=seeded(3)).masked_fill(hidden, MISSING)
    return quantity, classes


def bilinear(image, degrees, outside):
    """Rotate a plane in float64, pixel by pixel, and return it with the weight of missing pixels in each.

    A pixel beyond the border is one of ``outside`` if that is given, and else that of the mirror.
    """
    height, width = image.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    y, x = rows - (height - 1) / 2, columns - (width - 1) / 2
    angle = np.deg2rad(degrees)
    source_y = np.sin(angle) * x + np.cos(angle) * y + (height - 1) / 2
    source_x = np.cos(angle) * x - np.sin(angle) * y + (width - 1) / 2
    mode = {"mode": "grid-constant", "cval": 0.0} if outside == "zero" else {"mode": "reflect"}
    sample = {"coordinates": [source_y, source_x], "order": 1, **mode}
    present = ~np.isnan(image)
    weight = ndimage.map_coordinates(present.astype(np.float64), **sample)
    return ndimage.map_coordinates(np.where(present, image, 0.0), **sample), 1 - weight


@pytest.mark.parametrize("space", [(9, 9), (7, 12), (3, 8, 8)])
@pytest.mark.parametrize("padding", ["zero", "reflect"])
def test_a_turned_quantity_is_missing_where_a_missing_pixel_has_a_weight(space, padding):
    quantity, _ = with_holes(space, 6)
    degrees = torch.tensor([-75.0, -20.0, 0.0, 10.0, 90.0, 133.0])
    turned = turn_target(quantity[:, None], degrees, padding)[:, 0]
    number_missing = 0
    for before, angle, after in zip(quantity, degrees.tolist(), turned, strict=True):
        planes = zip(before.view(-1, *space[-2:]).numpy(), after.view(-1, *space[-2:]).numpy(), strict=True)
        for plane, result in planes:
            expected, missing = bilinear(plane.astype(np.float64), angle, padding)
            clear = (missing < 1e-5) | (missing > 1e-2)  # neither rounding nor a part of the mean
            np.testing.assert_array_equal(np.isnan(result)[clear], missing[clear] > 1e-2)
            np.testing.assert_allclose(result[missing < 1e-5], expected[missing < 1e-5], atol=1e-4)
            number_missing += int((missing[clear] > 1e-2).sum())
    assert number_missing > 0


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("padding", ["zero", "reflect"])
def test_shifts_hide_what_was_beyond_the_border_or_missing(space, padding):
    quantity, classes = with_holes(space, 20)
    offsets = torch.randint(7, (20, len(space)), generator=seeded()) - 3
    for target, beyond in ((quantity, np.nan), (classes, MISSING)):
        crops = shift(target[:, None], offsets, padding, beyond)[:, 0]
        mode = {"mode": "reflect"} if padding == "reflect" else {"constant_values": beyond}
        for plane, offset, crop in zip(target, offsets.tolist(), crops, strict=True):
            padded = np.pad(plane.numpy(), 3, **mode)
            window = tuple(slice(3 + first, 3 + first + size) for first, size in zip(offset, space, strict=True))
            np.testing.assert_array_equal(crop, padded[window])


@pytest.mark.parametrize("padding", ["zero", "reflect"])
@pytest.mark.parametrize("space", [(24, 20), (4, 24, 20)])
def test_nothing_leaks_between_present_and_missing_pixels(space, padding):
    """All that is present is one value far from zero, and so it is after every change."""
    hidden = torch.rand(16, *space, generator=seeded(4)) < 0.1
    targets = {
        "dose": torch.full(hidden.shape, 1000.0).masked_fill(hidden, torch.nan),
        "organs": torch.full(hidden.shape, 3).masked_fill(hidden, MISSING),
        "absent": torch.full(hidden.shape, torch.nan),
        "whole": torch.full(hidden.shape, -7.0),
        "age": torch.tensor([torch.nan, 1.0] * 8),
    }
    everything = Augmentation(flips=("horizontal", "vertical"), crop=3, padding=padding, rotation=180.0)
    images, moved = everything(make(16, space), targets, seeded())
    assert images.isfinite().all()
    present = moved["dose"][~moved["dose"].isnan()]
    torch.testing.assert_close(present, torch.full_like(present, 1000.0), rtol=1e-5, atol=0)
    assert 0.2 < len(present) / hidden.numel() < 0.8
    assert set(moved["organs"].unique().tolist()) == {MISSING, 3}
    assert moved["absent"].isnan().all()
    assert bool(moved["whole"].isnan().any()) == (padding == "zero")
    assert torch.equal(moved["age"].isnan(), targets["age"].isnan())


@pytest.mark.parametrize("padding", ["zero", "reflect"])
def test_no_angle_changes_no_hole(padding):
    """Rounding in the coordinates of a large image hides nothing."""
    quantity, classes = with_holes((500, 300), 2)
    for target in (quantity, classes):
        torch.testing.assert_close(
            turn_target(target[:, None], torch.zeros(2), padding)[:, 0], target, equal_nan=True, rtol=1e-3, atol=1e-3
        )


def test_targets_of_whole_images_stay():
    images, targets = batch_with_mask((6, 9))
    _, moved = ALL(images, targets, seeded())
    assert torch.equal(moved["age"], targets["age"])
    assert torch.equal(moved["pair"], targets["pair"])


def test_the_generator_fixes_the_changes():
    images, targets = batch_with_mask((6, 9))
    one, same, other = (ALL(images, targets, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(one[0], same[0])
    assert torch.equal(one[1]["organs"], same[1]["organs"])
    assert not torch.equal(one[0], other[0])


def test_by_default_nothing_changes():
    images, targets = batch_with_mask((6, 9))
    generator = seeded()
    changed, moved = Augmentation()(images, targets, generator)
    assert not Augmentation()
    assert torch.equal(changed, images)
    assert all(torch.equal(moved[name], targets[name]) for name in targets)
    assert torch.equal(generator.get_state(), seeded().get_state())


def test_half_of_the_images_are_flipped():
    images = torch.arange(2.0).expand(4000, 1, 1, 2)
    changed, _ = Augmentation(flips=("horizontal",))(images, {}, seeded())
    assert float(changed[:, 0, 0, 0].mean()) == pytest.approx(0.5, abs=0.03)


def test_crops_begin_everywhere_alike():
    images = torch.arange(25.0).view(1, 1, 5, 5).expand(5000, 1, 5, 5)
    changed, _ = Augmentation(crop=2)(images, {}, seeded())
    centres = changed[:, 0, 2, 2].long()
    share = centres.bincount(minlength=25) / 5000
    assert share == pytest.approx(np.full(25, 0.04), abs=0.012)


def test_angles_are_uniform_up_to_the_largest():
    """A dot at the right edge shows the angle by its place."""
    images = torch.zeros(3000, 1, 65, 65)
    images[..., 31:34, 55:58] = 1
    changed, _ = Augmentation(rotation=40.0)(images, {}, seeded())
    place = torch.arange(65.0) - 32
    mass = changed.sum((1, 2, 3))
    across = (changed.sum((1, 2)) * place).sum(1) / mass
    up = -(changed.sum((1, 3)) * place).sum(1) / mass
    degrees = torch.rad2deg(torch.atan2(up, across))
    assert degrees.abs().max() < 40.5
    assert float(degrees.mean()) == pytest.approx(0, abs=1.5)
    assert float(degrees.std()) == pytest.approx(40 / np.sqrt(3), abs=1)


@pytest.mark.parametrize(
    ("augmentation", "reason"),
    [
        (Augmentation(flips=("depth",)), "flips must be some of 'horizontal', 'vertical' here"),
        (Augmentation(flips=("vertical", "vertical")), "flips must be"),
        (Augmentation(crop=6), "below the 6 pixels"),
        (Augmentation(crop=-1), "at least 0"),
        (Augmentation(rotation=181.0), "0 to 180"),
        (Augmentation(padding="edge"), "'reflect' or 'zero'"),
    ],
)
def test_what_images_cannot_go_through_is_refused(augmentation, reason):
    with pytest.raises(DataError, match=reason):
        augmentation.check((3, 6, 9))


def test_volumes_have_a_depth_to_flip():
    Augmentation(flips=("depth",)).check((1, 4, 6, 9))
