"""A data set of one's own: which digit is it, and how much ink was used?"""

import torch
from sklearn.datasets import load_digits

from sfgsearch.data import InMemory, MultiTaskData, data_sets
from sfgsearch.tasks import Classification, Regression


@data_sets.register("inked_digits")
def inked_digits(seed: int, *, images: int = 1797) -> MultiTaskData:
    """Return the tasks and three splits, which the seed draws; ``images`` becomes a key of the study file."""
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(seed))[:images]
    pixels = torch.tensor(digits.images, dtype=torch.float32)[order, None] / 16  # (N, 1, 8, 8)
    targets = {"digit": torch.tensor(digits.target)[order], "ink": pixels.mean(dim=(1, 2, 3))}

    parts = torch.arange(len(order)).tensor_split((len(order) * 6 // 10, len(order) * 8 // 10))
    splits = (InMemory(pixels[part], {name: target[part] for name, target in targets.items()}) for part in parts)
    return MultiTaskData((Classification("digit", num_classes=10), Regression("ink", scale=0.1)), *splits)
