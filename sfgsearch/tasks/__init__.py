"""Tasks: the prediction of a head, its loss and its metrics."""

from sfgsearch._choices import FRACTION
from sfgsearch._registry import task_types
from sfgsearch.tasks._classification import Classification
from sfgsearch.tasks._regression import DenseRegression, Regression
from sfgsearch.tasks._segmentation import Segmentation, soft_dice_loss
from sfgsearch.tasks._serial import task_from_dict, task_to_dict
from sfgsearch.tasks._task import MISSING, Task, is_present, select_present

__all__ = [
    "FRACTION",
    "MISSING",
    "Classification",
    "DenseRegression",
    "Regression",
    "Segmentation",
    "Task",
    "is_present",
    "select_present",
    "soft_dice_loss",
    "task_from_dict",
    "task_to_dict",
    "task_types",
]
