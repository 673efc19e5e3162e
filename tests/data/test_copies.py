"""Images that occur more than once."""

import numpy as np
import pytest
import torch

from sfgsearch.data._identity import row_hashes
from sfgsearch.data._partition import identify


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 3), (3, 28, 28), (1, 5, 6, 7)])
def test_copies_have_one_number_and_others_have_others(dtype, shape):
    distinct = torch.randint(0, 256, (40, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    distinct[:, 0].view(40, -1)[:, 0] = torch.arange(40)
    which = torch.randint(0, 40, (100,), generator=torch.Generator().manual_seed(1))
    firsts = list(dict.fromkeys(which.tolist()))
    expected = [firsts.index(one) for one in which.tolist()]
    assert identify(distinct[which].to(dtype)).tolist() == expected
    assert identify(distinct[which].to(dtype).transpose(-1, -2)).tolist() == expected


def test_images_with_one_hash_are_told_apart():
    images = torch.zeros(6, 1, 4, 4, dtype=torch.uint8)
    images[[0, 3, 5], 0, 0, 0] = 3
    images[[1, 4], 0, 2, 0] = 1
    assert len(set(row_hashes(images.numpy()).tolist())) == 2, "the second word weighs three times what the first does"
    assert identify(images).tolist() == [0, 1, 2, 0, 1, 0]


def test_zero_and_minus_zero_are_two():
    assert identify(torch.tensor([0.0, -0.0, np.nan, np.nan]).reshape(4, 1, 1, 1)).tolist() == [0, 1, 2, 2]
