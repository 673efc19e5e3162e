"""Data sets: real images with targets for several tasks, split into training, validation and test."""

from typing import TYPE_CHECKING

from sfgsearch._lazy import lazy_exports
from sfgsearch._registry import data_sets

if TYPE_CHECKING:
    from sfgsearch.data._augmentation import Augmentation
    from sfgsearch.data._brain_slices import brain_slices
    from sfgsearch.data._digits import digit_pairs, rotated_mnist
    from sfgsearch.data._fashion_digits import fashion_digits
    from sfgsearch.data._folder import folder
    from sfgsearch.data._identity import DataIdentity, LabelCount, SplitIdentity, describe_change
    from sfgsearch.data._mr_ct import mr_ct
    from sfgsearch.data._npz import npz
    from sfgsearch.data._patches import RandomPatches, WholeImages
    from sfgsearch.data._splits import InMemory, MultiTaskData, Split, batches, largest_batch
    from sfgsearch.data._utkface import utkface
    from sfgsearch.data._window import SlidingWindow

__all__ = [
    "Augmentation",
    "DataIdentity",
    "InMemory",
    "LabelCount",
    "MultiTaskData",
    "RandomPatches",
    "SlidingWindow",
    "Split",
    "SplitIdentity",
    "WholeImages",
    "batches",
    "brain_slices",
    "data_sets",
    "describe_change",
    "digit_pairs",
    "fashion_digits",
    "folder",
    "largest_batch",
    "mr_ct",
    "npz",
    "rotated_mnist",
    "utkface",
]

if not TYPE_CHECKING:  # which would take every name for one of the package
    __getattr__ = lazy_exports(
        __name__,
        {
            "Augmentation": "_augmentation",
            "DataIdentity": "_identity",
            "InMemory": "_splits",
            "LabelCount": "_identity",
            "MultiTaskData": "_splits",
            "RandomPatches": "_patches",
            "SlidingWindow": "_window",
            "Split": "_splits",
            "SplitIdentity": "_identity",
            "WholeImages": "_patches",
            "batches": "_splits",
            "brain_slices": "_brain_slices",
            "describe_change": "_identity",
            "digit_pairs": "_digits",
            "fashion_digits": "_fashion_digits",
            "folder": "_folder",
            "largest_batch": "_splits",
            "mr_ct": "_mr_ct",
            "npz": "_npz",
            "rotated_mnist": "_digits",
            "utkface": "_utkface",
        },
    )
