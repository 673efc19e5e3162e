"""Tasks: what a head predicts, how it is trained and measured."""

from sfgsearch.tasks._classification import Classification
from sfgsearch.tasks._regression import Regression
from sfgsearch.tasks._task import FRACTION, Task

__all__ = ["FRACTION", "Classification", "Regression", "Task"]
