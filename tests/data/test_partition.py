"""Dividing rows by shares, by groups and by name; classes keep their shares."""

import numpy as np
import pytest
from scipy.sparse import csr_array, hstack

from sfgsearch.data._partition import Division, partition
from sfgsearch.errors import DataError

SHARES = (0.7, 0.15, 0.15)


def divide(number, seed=0, images=None, classes=(), **options):
    """Divide rows whose classes are given by task, -1 where one is missing."""
    columns = [csr_array(np.ones((number, 1)))]
    columns += [csr_array((one[:, None] == np.arange(one.max() + 1)).astype(float)) for one in classes]
    rows = [f"row {index}" for index in range(number)]
    return partition(
        Division(seed, **{"shares": SHARES, **options}),
        np.arange(number) if images is None else images,
        hstack(columns, format="csr"),
        rows,
    )


@pytest.mark.parametrize("number", [3, 10, 101])
def test_every_row_is_in_one_split_of_about_its_share(number):
    parts = divide(number)
    assert sorted(np.concatenate(parts)) == list(range(number))
    for part, share in zip(parts, SHARES, strict=True):
        assert abs(len(part) - share * number) <= 1.1


def test_the_seed_fixes_the_division():
    one, same, other = (divide(50, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one[1], same[1])
    assert set(one[1]) != set(other[1])


def test_rows_of_a_group_stay_together():
    groups = np.random.default_rng(0).integers(40, size=400)
    parts = divide(400, 5, groups=groups)
    train, validation, test = (set(groups[part]) for part in parts)
    assert len(train) + len(validation) + len(test) == len(train | validation | test)
    for part, share in zip(parts, SHARES, strict=True):
        assert len(part) == pytest.approx(share * 400, abs=10)


@pytest.mark.parametrize("kind", ["U", "S", object])
def test_a_group_is_one_however_its_number_is_written(kind):
    """Rows of patient 3 as a program writes them that has once read the column with holes, and with blanks."""
    patients = np.arange(90) // 3
    groups = np.array([f" {patient}{('', '.0', ' ')[row % 3]}" for row, patient in enumerate(patients)]).astype(kind)
    for seed in range(3):
        assert [len(np.unique(patients[part])) * 3 for part in divide(90, seed, groups=groups)] == [63, 15, 12]
    names = np.array(["train", "validation", "test"])[np.minimum(np.arange(90) // 31, 2)]
    with pytest.raises(DataError, match="the group 10 is in more than one split"):
        divide(90, groups=groups, names=names)


def test_three_groups_fill_three_splits():
    groups = np.array(["ann"] * 8 + ["bea"] + ["cid"])
    for seed in range(5):
        assert all(len(set(groups[part])) == 1 for part in divide(10, seed, groups=groups))


def test_names_say_the_split():
    names = np.array(["test", "train", "validation", "train"])
    for kind in ("U", "S", object):
        parts = divide(4, names=names.astype(kind))
        assert [part.tolist() for part in parts] == [[1, 3], [2], [0]]


@pytest.mark.parametrize("seed", range(3))
def test_classes_of_several_tasks_keep_their_shares(seed):
    random = np.random.default_rng(seed)
    first, second = random.choice(3, 400, p=[0.9, 0.08, 0.02]), random.integers(-1, 5, 400)
    parts = divide(400, seed, classes=(first, second))
    for part, share in zip(parts, SHARES, strict=True):
        assert abs(len(part) - share * 400) <= 1
        for classes in (first, second):
            for one in range(classes.max() + 1):
                assert abs((classes[part] == one).sum() - share * (classes == one).sum()) <= 1.5


@pytest.mark.parametrize(("occurrences", "expected"), [(1, [1, 0, 0]), (2, [1, 1]), (3, [1, 1, 1]), (4, [2, 1, 1])])
def test_rare_classes_are_in_training_and_then_in_the_others(occurrences, expected):
    for seed in range(5):
        classes = np.zeros(60, dtype=int)
        classes[np.random.default_rng(seed).permutation(60)[:occurrences]] = 1
        counts = [int(classes[part].sum()) for part in divide(60, seed, classes=(classes,))]
        assert counts[0] == expected[0]
        assert sorted(counts[1:], reverse=True)[: len(expected) - 1] == expected[1:]


def test_every_class_is_in_training_whatever_other_tasks_want():
    """Classes of two rows each that overlap in a chain: no order of serving may send both rows elsewhere."""
    for seed in range(20):
        random = np.random.default_rng(seed)
        tasks = [np.where(random.random(40) < 0.1, random.integers(1, 9, 40), 0) for _ in range(4)]
        train, _, _ = divide(40, seed, classes=tasks)
        assert all(set(one[train]) == set(one) for one in tasks)


def test_groups_of_few_classes_are_divided_by_class():
    groups = np.repeat(np.arange(60), 5)
    classes = np.repeat(np.random.default_rng(0).integers(2, size=60), 5)
    for part, share in zip(divide(300, groups=groups, classes=(classes,)), SHARES, strict=True):
        assert abs(classes[part].sum() - share * classes.sum()) <= 5
        assert set(np.bincount(groups[part])) <= {0, 5}


def test_equal_images_stay_together_with_their_groups():
    images = np.arange(60)
    images[50:] = images[:10]
    groups = np.arange(60) // 2
    for seed in range(3):
        parts = divide(60, seed, images=images, groups=groups)
        for keys in (images, groups):
            sets = [set(keys[part]) for part in parts]
            assert sum(map(len, sets)) == len(set.union(*sets))
        assert [len(part) for part in parts] == pytest.approx([42, 9, 9], abs=3)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"shares": (0.7, 0.2, 0.2)}, "sum to one"),
        ({"shares": (1.0, 0.0, 0.0)}, "three numbers > 0"),
        ({"groups": np.array([1, 1, 2, 2])}, "split is empty; give it groups"),
        ({"images": np.array([1, 1, 2, 2])}, "split is empty; give it images.*Copies of one image stay together"),
        ({"names": np.array(["train", "val", "test", "train"])}, "split 'val' is unknown; allowed: 'train', 'valid"),
        ({"names": np.array(["train", "test", "test", "train"])}, "the validation split is empty"),
        (
            {"names": np.array(["train", "test", "validation", "train"]), "groups": np.array([7, 7, 8, 9])},
            "group 7 is in more than one split",
        ),
        (
            {"names": np.array(["train", "test", "validation", "train"]), "images": np.array([0, 1, 2, 1])},
            "1 bad row: row 1 in test equals row 3 in train; put copies of an image, byte for byte, into one split",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused(options, reason):
    with pytest.raises(DataError, match=reason):
        divide(4, **options)
