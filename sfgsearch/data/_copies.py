"""Images that occur more than once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from sfgsearch.data._digests import row_hashes


def identify(images: Tensor) -> NDArray[np.int64]:
    """Return a number for every image, the same for images that are equal byte for byte.

    Args:
        images: Shape (N, C, *space).
    """
    array = images.numpy()
    _, firsts, members = np.unique(row_hashes(array), return_index=True, return_inverse=True)
    like, others = firsts[members], dict[bytes, int]()
    for row in np.flatnonzero(like != np.arange(len(like))).tolist():
        content = array[row].tobytes()
        if content != array[like[row]].tobytes():
            like[row] = others.setdefault(content, row)
    return number(like)


def number(keys: ArrayLike) -> NDArray[np.int64]:
    """Return a number for every key, the same for equal ones; from 0 on, in the order in which they first occur."""
    _, firsts, members = np.unique(np.asarray(keys), return_index=True, return_inverse=True)
    return np.unique(firsts[members], return_inverse=True)[1].astype(np.int64)


def join(*columns: NDArray[Any]) -> NDArray[np.int64]:
    """Return the groups in which rows are together that have an equal value in any column, directly or through others.

    Args:
        *columns: Shape (N,) each.

    Returns:
        A number for every row, of shape (N,).
    """
    rows = np.arange(len(columns[0]))
    edges, nodes = [], len(rows)
    for column in columns:
        members = np.unique(column, return_inverse=True)[1].reshape(-1)
        edges.append(members + nodes)
        nodes += len(rows)
    graph = coo_array(
        (np.ones(len(rows) * len(columns)), (np.tile(rows, len(columns)), np.concatenate(edges))), shape=(nodes, nodes)
    )
    _, groups = connected_components(graph, directed=False)
    return groups[: len(rows)].astype(np.int64)


def describe_copies(images: NDArray[np.int64], rows: Sequence[str]) -> str | None:
    """Return a sentence that counts images which are copies of others; None if there is none.

    Args:
        images: What :func:`identify` returns.
        rows: What each image is called.
    """
    numbers, counts = np.unique(images, return_counts=True)
    if (counts == 1).all():
        return None
    copied = numbers[counts > 1]
    example = " and ".join(rows[index] for index in np.flatnonzero(images == copied[0])[:2])
    return (
        f"{len(images) - len(numbers)} of {len(images)} images are copies of others, byte for byte, such as {example}; "
        "each stays in the split of the other"
    )
