"""A data set for study files of tests: digit pairs whose pixels are so large that losses are not finite."""

from dataclasses import replace

import torch

from sfgsearch.data import InMemory, MultiTaskData, data_sets, digit_pairs


@data_sets.register("wild_digits")
def wild_digits(seed: int, *, pairs_per_digit: int = 1) -> MultiTaskData:
    data = digit_pairs(seed, pairs_per_digit=pairs_per_digit)
    splits = {name: getattr(data, name) for name in ("train", "validation", "test")}
    bright = {name: InMemory(torch.full_like(split.images, 3e38), split.targets) for name, split in splits.items()}
    return replace(data, **bright)
