"""Dividing rows by shares, by groups and by name."""

import numpy as np
import pytest

from sfgsearch.data._partition import partition
from sfgsearch.errors import DataError

SHARES = (0.7, 0.15, 0.15)


@pytest.mark.parametrize("number", [3, 10, 101])
def test_every_row_is_in_one_split_of_about_its_share(number):
    parts = partition(number, 0, SHARES)
    assert sorted(np.concatenate(parts)) == list(range(number))
    for part, share in zip(parts, SHARES, strict=True):
        assert abs(len(part) - share * number) <= 1.1


def test_the_seed_fixes_the_division():
    one, same, other = (partition(50, seed, SHARES) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one[1], same[1])
    assert set(one[1]) != set(other[1])


def test_rows_of_a_group_stay_together():
    groups = np.random.default_rng(0).integers(40, size=400)
    parts = partition(400, 5, SHARES, groups)
    train, validation, test = (set(groups[part]) for part in parts)
    assert len(train) + len(validation) + len(test) == len(train | validation | test)
    for part, share in zip(parts, SHARES, strict=True):
        assert len(part) == pytest.approx(share * 400, abs=20)


def test_three_groups_fill_three_splits():
    groups = np.array(["ann"] * 8 + ["bea"] + ["cid"])
    for seed in range(5):
        assert all(len(set(groups[part])) == 1 for part in partition(10, seed, SHARES, groups))


def test_names_say_the_split():
    names = np.array(["test", "train", "validation", "train"])
    for kind in ("U", "S", object):
        parts = partition(4, 0, SHARES, names=names.astype(kind))
        assert [part.tolist() for part in parts] == [[1, 3], [2], [0]]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"shares": (0.7, 0.2, 0.2)}, "sum to one"),
        ({"shares": (1.0, 0.0, 0.0)}, "three numbers > 0"),
        ({"groups": np.array([1, 1, 2, 2])}, "split is empty; give it groups"),
        ({"names": np.array(["train", "val", "test", "train"])}, "split 'val' is unknown; allowed: 'train', 'valid"),
        ({"names": np.array(["train", "test", "test", "train"])}, "the validation split is empty"),
        (
            {"names": np.array(["train", "test", "validation", "train"]), "groups": np.array([7, 7, 8, 9])},
            "group 7 is in more than one split",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused(options, reason):
    with pytest.raises(DataError, match=reason):
        partition(4, 0, **{"shares": SHARES, **options})
