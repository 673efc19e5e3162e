"""Tasks: what a head predicts, how it is trained and measured."""

from sfgsearch._choices import FRACTION
from sfgsearch._registry import task_types
from sfgsearch.tasks._classification import Classification
from sfgsearch.tasks._dense_regression import DenseRegression
from sfgsearch.tasks._missing import MISSING, is_present, select_present
from sfgsearch.tasks._regression import Regression
from sfgsearch.tasks._segmentation import Segmentation, soft_dice_loss
from sfgsearch.tasks._serial import task_from_dict, task_to_dict
from sfgsearch.tasks._task import Task

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
