"""From images and targets of all rows to a data set with its splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.sparse import csr_array, hstack
from torch import Tensor

from sfgsearch.data._copies import describe_copies, identify
from sfgsearch.data._labels import check_seen
from sfgsearch.data._partition import Division, partition
from sfgsearch.data._splits import InMemory, MultiTaskData
from sfgsearch.tasks import MISSING, Task, is_present


def assemble(
    images: Tensor,
    tasks: Sequence[Task],
    targets: Mapping[str, Tensor],
    division: Division,
    rows: Sequence[str],
    notes: Sequence[str] = (),
) -> MultiTaskData:
    """Divide images with their targets into splits.

    Images that are equal byte for byte stay in one split. A division by shares gives every class, and the images
    that have a target of a task at all, about the same shares, and puts every class into training.

    Args:
        images: Shape (N, C, *space).
        tasks: The tasks, in order.
        targets: By task, shape (N,) or (N, *space); missing ones are NaN or -1.
        division: How rows are divided.
        rows: What to call each row in errors and notes.
        notes: Sentences that a user should read.

    Raises:
        DataError: If rows cannot be divided so, or a class is in validation or test but not in training.
    """
    equal = identify(images)
    held = {task.name: _held(targets[task.name]) for task in tasks}
    labels = hstack([column for one in held.values() for column in (one, _has_any(one))], format="csr")
    parts = partition(division, equal, labels, rows)
    train, validation, test = (
        InMemory(images[part], {name: target[part] for name, target in targets.items()})
        for part in map(torch.from_numpy, parts)
    )
    copies = describe_copies(equal, rows)
    data = MultiTaskData(
        tuple(tasks),
        train,
        validation,
        test,
        (*notes, *([copies] if copies else [])),
        is_fixed=division.names is not None,
    )
    check_seen(data, [task for task in tasks if not targets[task.name].is_floating_point()])
    return data


def _held(target: Tensor) -> csr_array:
    """Return as ones which classes a row has, shape (N, classes); of quantities, whether it has any, shape (N, 1)."""
    if target.is_floating_point():
        present = is_present(target).flatten(1).any(1) if target.ndim > 1 else is_present(target)
        return csr_array(present.numpy().astype(float)[:, None])
    classes = target.numpy()
    if classes.ndim == 1:
        rows = np.flatnonzero(classes != MISSING)
        columns = classes[rows]
    else:
        found = [np.flatnonzero(np.bincount(one[one != MISSING])) for one in classes]
        rows, columns = np.repeat(np.arange(len(classes)), [len(one) for one in found]), np.concatenate(found)
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(target), int(columns.max(initial=0)) + 1))


def _has_any(held: csr_array) -> csr_array:
    return csr_array((held.sum(axis=1) > 0).astype(float)[:, None])
