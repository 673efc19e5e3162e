"""Filters at any width: whole numbers near their share, in steps that multiply-adds can be matched with."""

import numpy as np
import pytest

from sfgsearch.backbones._layers import widen

FILTERS = [16, 32, 32, 64, 64]


@pytest.mark.parametrize("width", [0.25, 0.5, 1.0, 1.5, 3.0])
def test_what_is_whole_stays_exact(width):
    assert widen(FILTERS, width) == [int(count * width) for count in FILTERS]


def test_filters_are_within_one_of_their_share_and_never_fall():
    before = [1] * len(FILTERS)
    for width in np.geomspace(0.01, 4, 500):
        found = widen(FILTERS, width)
        assert all(abs(count * width - number) < 1 or number == 1 for count, number in zip(FILTERS, found, strict=True))
        assert all(number >= last for number, last in zip(found, before, strict=True))
        before = found


def test_layers_do_not_grow_all_at_once():
    networks = {tuple(widen(FILTERS, width)) for width in np.linspace(0.5, 1.0, 5000)}
    assert len(networks) == sum(FILTERS) // 2 + 1, "one filter at a time"
