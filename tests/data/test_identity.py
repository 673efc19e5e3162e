"""What tells data that changed from data that are the same."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from sfgsearch.data import (
    DataIdentity,
    InMemory,
    MultiTaskData,
    RandomPatches,
    Split,
    SplitIdentity,
    WholeImages,
    _brain_slices,
    _digits,
    _mr_ct,
    _volumes,
    brain_slices,
    describe_change,
    digit_pairs,
    mr_ct,
    npz,
    rotated_mnist,
)
from sfgsearch.data._partition import identify
from sfgsearch.tasks import Classification, Regression, Segmentation

TASKS = (Classification("kind", num_classes=3), Regression("age", scale=100.0, unit="years"))
SIZES = {"train": 9, "validation": 4, "test": 5}


def make_rows(seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = sum(SIZES.values())
    images = torch.rand(rows, 1, 5, 5, generator=generator)
    return images, torch.arange(rows) % 3, torch.rand(rows, generator=generator)


def make(images, kind, age, order=None, sizes=SIZES, tasks=TASKS):
    """Divide rows, in an order, over the splits."""
    order = torch.arange(len(images)) if order is None else order
    parts = order.split(list(sizes.values()))
    splits = {
        name: InMemory(images[part], {"kind": kind[part], "age": age[part]})
        for name, part in zip(sizes, parts, strict=True)
    }
    return MultiTaskData(tasks, **splits)


def change(before, now):
    """Return what changed; wherever something did, and only there, the digests differ."""
    one, other = DataIdentity.of(before), DataIdentity.of(now)
    found = describe_change(one, other)
    assert (found is None) == (one.digest == other.digest)
    return found


def test_the_same_data_are_the_same_wherever_they_lie_in_memory():
    images, kind, age = make_rows()
    apart = torch.empty(len(images), 1, 5, 10)[..., ::2].copy_(images)
    identity, other = DataIdentity.of(make(images, kind, age)), DataIdentity.of(make(apart, kind.clone(), age))
    assert identity == other
    assert (identity.digest, len(identity.digest)) == (other.digest, 16)
    assert describe_change(identity, other) is None


def test_an_identity_is_plain_data():
    identity = DataIdentity.of(make(*make_rows()))
    read = DataIdentity.from_dict(json.loads(json.dumps(identity.to_dict())))
    assert (read, read.digest) == (identity, identity.digest)


def altered(number, values, value):
    changed = values.clone()
    changed[number] = value
    return changed


@pytest.mark.parametrize(
    ("alter", "expected"),
    [
        (lambda i, k, a: make(altered(0, i, 0.5), k, a), "other pixels in train images"),
        (lambda i, k, a: make(i * 2, k, a), "other pixels in train, validation and test images"),
        (lambda i, k, a: make(i.flip(2), k, a), "other pixels in train, validation and test images"),
        (lambda i, k, a: make(i, altered(10, k, 2), a), "other targets of task 'kind' in validation"),
        (lambda i, k, a: make(i, k, altered(17, a, float("nan"))), "other targets of task 'age' in test"),
        (
            lambda i, k, a: make(i, altered(0, k, 1), altered(17, a, 7.0)),
            "other targets of task 'kind' in train; other targets of task 'age' in test",
        ),
        (lambda i, k, a: make(i, k, a, torch.arange(18).flip(0)), "the same images are divided"),
        (lambda i, k, a: make(i, k, a, altered(9, altered(0, torch.arange(18), 9), 0)), "the same images are divided"),
        (
            lambda i, k, a: make(i[:17], k[:17], a[:17], sizes={**SIZES, "train": 8}),
            "8 train images instead of 9",
        ),
        (
            lambda i, k, a: make(i, k, a, sizes={"train": 8, "validation": 5, "test": 5}),
            "8 train images instead of 9; 5 validation images instead of 4; the same images are divided",
        ),
        (
            lambda i, k, a: make(i, k, a, tasks=(replace(TASKS[0], num_classes=4), TASKS[1])),
            "task 'kind' has 4 classes instead of 3",
        ),
        (
            lambda i, k, a: make(i, k, a, tasks=(TASKS[0], replace(TASKS[1], scale=90.0))),
            "scale of task 'age' is 90.0 instead of 100.0",
        ),
        (
            lambda i, k, a: make(i, k, a, tasks=(TASKS[0], replace(TASKS[1], scale=100))),
            "scale of task 'age' is 100 instead of 100.0",
        ),
        (lambda i, k, a: make(i, k, a, tasks=TASKS[:1]), "the tasks are 'kind' instead of 'kind', 'age'"),
    ],
)
def test_what_changed_is_said(alter, expected):
    rows = make_rows()
    found = change(make(*rows), alter(*rows))
    assert found.startswith(expected)
    assert "\n" not in found
    if "divided" not in expected:
        assert found == expected


def test_names_of_classes_belong_to_the_data():
    images, targets = torch.zeros(2, 1, 4, 4), {"organs": torch.zeros(2, 4, 4, dtype=torch.int64)}
    named = (Segmentation("organs", num_classes=2, classes=names) for names in (("air", "liver"), ("air", "bone"), ()))
    one, other, none = (MultiTaskData((task,), *[InMemory(images, targets)] * 3) for task in named)
    assert change(one, other) == "the classes of task 'organs' are 'air', 'bone' instead of 'air', 'liver'"
    assert change(one, none) == "the classes of task 'organs' are indices instead of 'air', 'liver'"


def test_changes_of_many_tasks_are_counted():
    tasks = tuple(Regression(f"t{index}") for index in range(40))

    def data(value):
        split = InMemory(torch.zeros(2, 1, 4, 4), {task.name: torch.full((2,), value) for task in tasks})
        return MultiTaskData(tasks, split, split, split)

    assert change(data(0.0), data(1.0)).endswith("; 37 more of this kind")


def test_type_and_shape_count():
    zeros = [torch.zeros(4, 1, 3, 3), torch.zeros(4, 3, 3), torch.zeros(4, 9), torch.zeros(4, 9, dtype=torch.int32)]
    assert len({SplitIdentity.of(4, [images], {}).images for images in zeros}) == len(zeros)
    assert len({SplitIdentity.of(4, [], {"a": [target]}).targets["a"] for target in zeros}) == len(zeros)


class Lazy(Split):
    """Reads images from files one by one."""

    def __init__(self, number, answers):
        self.number, self.answers = number, answers

    def __len__(self):
        return self.number

    def __getitems__(self, indices):
        raise AssertionError("digests must not read what is read lazily")

    @property
    def image_shape(self):
        return (1, 2, 2)

    def target(self, name):
        return {"age": self.answers}[name]


def test_a_split_of_ones_own_has_the_digests_of_its_targets():
    def data(number, value):
        splits = [Lazy(number, torch.full((number,), value)) for _ in SIZES]
        return MultiTaskData((Regression("age"),), *splits)

    assert change(data(3, 0.0), data(3, 0.0)) is None
    assert change(data(3, 0.0), data(3, 1.0)) == "other targets of task 'age' in train, validation and test"
    assert change(data(3, 0.0), data(4, 0.0)).startswith("4 train images instead of 3")


def test_patches_are_known_by_their_whole_images():
    images = [torch.rand(1, 6, side) for side in (5, 7)]
    targets = {"ct": [image[0] for image in images]}
    one, other = (RandomPatches(images, targets, (4, 4), seed=seed) for seed in (0, 1))
    one.begin_epoch(torch.Generator().manual_seed(3))
    assert one.identity(["ct"]) == other.identity(["ct"])
    assert one.identity(["ct"]) == WholeImages(images, targets).identity(["ct"])
    swapped = WholeImages(images[::-1], {"ct": targets["ct"][::-1]}).identity(["ct"])
    assert swapped.images != one.identity(["ct"]).images
    assert swapped.pool == one.identity(["ct"]).pool


def nudge(result):
    """Round the last bit otherwise, as another processor may."""
    return result * (1 + 2**-22) if isinstance(result, torch.Tensor) else (result * (1 + 2**-22)).astype(result.dtype)


def nudge_ties(resampled):
    """Round what is between two voxels otherwise: the last bit of a quantity, and the nearest voxel of a label."""
    return nudge(resampled) if resampled.dtype.kind == "f" else np.where(np.indices(resampled.shape)[0], resampled, -1)


def write_subjects(folder, shift=0.0, voxel=1.0):
    nibabel = pytest.importorskip("nibabel")
    for index in range(4):
        random = np.random.default_rng(index)
        (folder / f"s{index}").mkdir(parents=True, exist_ok=True)
        mr = random.uniform(0, 500, (8, 8, 3)).astype(np.float32)
        labels = (mr > 250).astype(np.uint8)
        for name, volume in (("mr", mr + shift), ("ct", mr * 2 - 500), ("labels", labels)):
            nibabel.save(
                nibabel.Nifti1Image(volume.astype(np.float32), np.diag([voxel, 1, 1, 1])),
                folder / f"s{index}" / f"{name}.nii",
            )
    return folder


@pytest.mark.parametrize(
    ("module", "name", "otherwise", "load"),
    [
        (_digits, "rotate", nudge, lambda _: rotated_mnist(0)),
        (_brain_slices, "_average", nudge, lambda _: brain_slices(0, spacing=6)),
        (_mr_ct, "_normalise", nudge, lambda path: mr_ct(0, path=path, patch=4)),
        (_volumes, "resample", nudge_ties, lambda path: mr_ct(0, path=path, patch=4, spacing=(0.7, 0.7, 0.7))),
    ],
)
def test_a_processor_that_rounds_otherwise_has_the_same_data(module, name, otherwise, load, tmp_path, monkeypatch):
    path = write_subjects(tmp_path / "subjects")
    here = load(path)
    plain = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *arguments: otherwise(plain(*arguments)))
    elsewhere = load(path)
    first, second = (data.test.__getitems__([0])[0] for data in (here, elsewhere))
    assert not torch.equal(first, second)
    assert change(here, elsewhere) is None


def test_class_weights_are_no_data():
    """Balanced ones are computed from the data, on each machine for itself; others stand in the study file."""
    plain, weighted = (replace(TASKS[0], class_weights=weights) for weights in ((), (1.0, 2.0, 1 / 3)))
    assert change(make(*make_rows(), tasks=(plain,)), make(*make_rows(), tasks=(weighted,))) is None


@pytest.mark.parametrize(
    "options",
    [{"max_angle": 59.0}, {"rotations": 2}, {"seed": 1}],
)
def test_sources_tell_rotations_apart(options):
    data = {"seed": 0, **options}
    before, now = (one.identity for one in (rotated_mnist(0), rotated_mnist(data.pop("seed"), **data)))
    assert before.splits["train"].images != now.splits["train"].images
    assert describe_change(before, now)


def test_sources_tell_volumes_and_slices_apart(tmp_path):
    one, other = write_subjects(tmp_path / "one"), write_subjects(tmp_path / "other", shift=1.0)
    assert change(mr_ct(0, path=one, patch=4), mr_ct(0, path=other, patch=4)).startswith("other pixels in train")
    assert change(mr_ct(0, path=one, patch=4), mr_ct(0, path=one, patch=4, ct_range=(-500.0, 500.0)))
    spaced = {"path": one, "patch": 4, "spacing": (1.0, 1.0, 1.0)}
    before = mr_ct(0, **spaced)
    for path in one.glob("*/*.nii"):
        path.unlink()
    write_subjects(one, voxel=2.0)
    assert change(before, mr_ct(0, **spaced)).startswith("other pixels in train, validation and test images")
    assert change(brain_slices(0, spacing=6), brain_slices(1, spacing=6)) is not None


def test_targets_of_tasks_that_are_not_learned_do_not_count():
    def data(value):
        source = SplitIdentity.of(2, [np.zeros(2)], {"age": [np.zeros(2)], "kind": [np.full(2, value)]})
        split = InMemory(torch.zeros(2, 1, 4, 4), {"age": torch.zeros(2)}, source)
        return MultiTaskData(TASKS[1:], split, split, split)

    assert change(data(0), data(1)) is None


def test_a_moved_copy_is_the_same(tmp_path):
    arrays = {"images": np.random.default_rng(0).random((30, 8, 8)), "age": np.arange(30.0)}
    tasks = {"age": {"type": "regression"}}
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "data.npz", **arrays)
    one, other = (npz(0, path=tmp_path / folder / "data.npz", tasks=tasks) for folder in ("here", "there"))
    assert change(one, other) is None
    assert change(digit_pairs(0), digit_pairs(0)) is None
    assert change(digit_pairs(0), digit_pairs(1))


@pytest.mark.parametrize("measure", [lambda split: split.identity(["a"]), lambda split: identify(split.images)])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64)])
def test_digests_and_the_search_for_copies_are_fast(measure, shape):
    number = 10_000_000 // int(np.prod(shape))
    split = InMemory(torch.randint(0, 256, (number, *shape), dtype=torch.uint8), {"a": torch.arange(number)})
    begin = time.process_time()
    measure(split)
    seconds = time.process_time() - begin
    assert seconds / (split.images.nbytes / 1e9) < 2, "seconds per gigabyte: 0.1 to 1 on a quiet machine"
