"""Classes from the labels of volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from sfgsearch.data._targets import distinct, find_gaps
from sfgsearch.data._task_tables import parse_number
from sfgsearch.errors import DataError
from sfgsearch.tasks import MISSING

_MOST_CLASSES = 64  # that nobody has named
_LISTED = 12

Classes = tuple[str, ...] | Mapping[str, str]
"""Names of the labels from 0 on, or names by label; the lowest label is the background."""

Labels = Mapping[str, NDArray[np.int32]]
"""By subject, the label of every voxel, MISSING where it is missing."""


@dataclass(frozen=True)
class Organs:
    """The classes of labels, the background first.

    Args:
        labels: The label of every class, in ascending order.
        names: Their names; none if empty.
    """

    labels: tuple[int, ...]
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, classes: Classes, labels: Labels, ignore: tuple[int, ...] = ()) -> Organs:
        """Return the meaning of labels.

        Args:
            classes: The user's names; none if empty.
            labels: The labels of all subjects, MISSING where they are ignored.
            ignore: The labels that are ignored.

        Raises:
            DataError: If a label has no class, it is not plain which numbers are classes, or there is no organ.
        """
        seen = {subject: _present(values) for subject, values in labels.items()}
        everywhere = sorted(set().union(*seen.values()))
        organs = _named(classes, ignore) if classes else _unnamed(everywhere)
        for subject, values in seen.items():
            if unknown := sorted(values.difference(organs.labels)):
                by_label = isinstance(classes, Mapping)
                named = f"the labels {_list(organs.labels)}" if by_label else f"{len(organs.labels)} labels from 0 on"
                raise DataError(
                    f"classes names {named}, but subject {subject!r} has the label {unknown[0]}; name it too, "
                    f"or set ignore = [{unknown[0]}] if it stands for a missing one"
                )
        if not set(everywhere) - {organs.labels[0]}:
            raise DataError(f"all labels are {organs.labels[0]}, the background; there is nothing to segment")
        return organs

    def indices(self, labels: NDArray[np.int32]) -> NDArray[np.int16]:
        """Return the class of every voxel, MISSING where the label is."""
        classes = np.searchsorted(self.labels, labels).astype(np.int16)
        classes[labels == MISSING] = MISSING
        return classes

    def untrained(self, labels: Labels) -> tuple[str, ...]:
        """Return the organs that no volume has."""
        seen = set().union(*map(_present, labels.values()))
        names = self.names or tuple(map(str, self.labels))
        return tuple(name for label, name in zip(self.labels[1:], names[1:], strict=True) if label not in seen)


def _named(classes: Classes, ignore: tuple[int, ...]) -> Organs:
    if not isinstance(classes, Mapping):
        for label, name in enumerate(classes):
            if parse_number(name) not in (None, label):
                raise DataError(
                    f"classes lists the names of the labels from 0 on, and {name!r} is that of {label}; if it is a "
                    f'label itself, name labels in a table, as in classes = {{ {name} = "prostate" }}'
                )
        return Organs(tuple(range(len(classes))), tuple(classes))
    wrong = [label for label in classes if not (label.isascii() and label.isdecimal() and len(label) < len(str(2**31)))]
    if wrong:
        raise DataError(f"classes must give names to labels, whole numbers from 0, got {wrong[0]!r}")
    by_label = {int(label): name for label, name in classes.items()}
    if len(by_label) < len(classes):
        raise DataError(f"classes names a label twice: {', '.join(classes)}")
    if both := by_label.keys() & set(ignore):
        raise DataError(f"the label {min(both)} is in classes and in ignore; leave out one")
    labels = tuple(sorted(by_label))
    return Organs(labels, tuple(by_label[label] for label in labels))


def _unnamed(labels: Sequence[int]) -> Organs:
    """Return classes without names, if labels can only be those from 0 to the greatest."""
    # The background may be nowhere, as where it is ignored.
    classes = sorted({0, *labels})
    gaps = find_gaps(labels if 0 in labels else classes)
    if not gaps and len(classes) <= _MOST_CLASSES:
        return Organs(tuple(classes))
    gap = next(label for label in count() if label not in classes)
    problem = f"there is no {gap}" if gaps else f"that makes more than {_MOST_CLASSES} classes"
    example = ", ".join(f'{label} = "{name}"' for label, name in zip(labels, ("background", "prostate"), strict=False))
    raise DataError(
        f"labels are {_list(labels)}, and {problem}; name those that are classes, as in classes = {{ {example} }}, and "
        f"set ignore = [{labels[-1]}] if that stands for a missing one"
    )


def _list(labels: Sequence[int]) -> str:
    shown = ", ".join(map(str, labels[:_LISTED]))
    return shown if len(labels) <= _LISTED else f"{shown}, ..., {labels[-1]}"


def _present(labels: NDArray[np.int32]) -> set[int]:
    """Return the labels in a volume, without MISSING."""
    return set(map(int, distinct(labels, labels == MISSING)))
