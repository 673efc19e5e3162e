"""Data sets: real images with targets for several tasks, split into training, validation and test."""

from sfgsearch.data._brain_slices import brain_slices
from sfgsearch.data._digit_pairs import digit_pairs
from sfgsearch.data._mr_ct import mr_ct
from sfgsearch.data._patches import RandomPatches, WholeImages
from sfgsearch.data._registry import data_sets
from sfgsearch.data._splits import InMemory, MultiTaskData, Split, batches, largest_batch
from sfgsearch.data._window import SlidingWindow

__all__ = [
    "InMemory",
    "MultiTaskData",
    "RandomPatches",
    "SlidingWindow",
    "Split",
    "WholeImages",
    "batches",
    "brain_slices",
    "data_sets",
    "digit_pairs",
    "largest_batch",
    "mr_ct",
]
