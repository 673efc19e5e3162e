"""Stages: the layers of large networks by the beginnings of their paths, for all that people read of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from sfgsearch.allocation import Allocation, LayerAllocation
from sfgsearch.errors import StudyError
from sfgsearch.visualization._description import INK, Axis, Line, row_axis
from sfgsearch.visualization._layout import shortened

MOST_LAYERS = 20
"""Layers up to which a network is shown layer by layer, and most stages of a larger one."""

_FEWEST, _RUNS = 4, 10
"""Stages that a network should have at least, and those of one without a hierarchy, each a run of neighbours."""

LABEL, _THINNEST = 13.0, 3.0
"""Pixels that the name of a row needs, and of a row without one."""


def stages_of(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the layers of every stage, in the order of the stages' first layers.

    Every layer is a stage of its own in networks of up to 20. In larger ones a stage is a module: beginning with the
    whole network, the module with the most layers is divided into its children while there are less than four stages
    or it holds more than half of all layers, and there will be 20 at most. A network that this leaves in one piece,
    such as a long sequence, is cut into runs of neighbours.

    Args:
        names: Paths of layers, distinct, in depth order.
    """
    if len(names) <= MOST_LAYERS:
        return {name: [name] for name in names}
    found = {"": list(names)}
    while True:
        largest = max(found, key=lambda stage: len(found[stage]))
        if len(found) >= _FEWEST and 2 * len(found[largest]) <= len(names):
            break
        children = _children(largest, found[largest])
        if len(found) - 1 + len(children) > MOST_LAYERS:
            break
        found = {stage: layers for stage, layers in found.items() if stage != largest} | children
    if len(found) == 1:
        found = _runs(names)
    first = {name: index for index, name in enumerate(names)}
    return dict(sorted(found.items(), key=lambda stage: first[stage[1][0]]))


def _children(module: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the layers of a module by its children; a layer that is the module itself stays so."""
    depth, found = module.count(".") + 2 if module else 1, dict[str, list[str]]()
    for name in names:
        found.setdefault(".".join(name.split(".")[:depth]), []).append(name)
    return found


def _runs(names: Sequence[str]) -> dict[str, list[str]]:
    length = -(-len(names) // _RUNS)
    runs = [list(names[start : start + length]) for start in range(0, len(names), length)]
    return {f"{run[0]} to {run[-1]}" if len(run) > 1 else run[0]: run for run in runs}


def layers_below(names: Iterable[str], path: str) -> list[str]:
    """Return the layers of a module, or of a run that :func:`stages_of` names; all of them if the path is empty.

    Raises:
        StudyError: If there is none.
    """
    every = list(names)
    stages = stages_of(every)
    found = stages.get(path) or [name for name in every if not path or f"{name}.".startswith(f"{path}.")]
    if not found:
        raise StudyError(f"no layer is in {path!r}; the network has {', '.join(stages)}")
    return found


def selected(allocation: Allocation, names: Collection[str]) -> Allocation:
    """Return an allocation with some of its layers."""
    return Allocation(allocation.groups, tuple(layer for layer in allocation.layers if layer.name in names))


def by_stage(allocation: Allocation, names: Sequence[str] | None = None) -> Allocation:
    """Return an allocation with one layer per stage, whose means are over all of its filters.

    Args:
        allocation: The allocation.
        names: All layers of the network, of which an allocation may leave some out; its own if None.
    """
    layers = {layer.name: layer for layer in allocation.layers}
    stages = stages_of(list(layers) if names is None else names)
    there = {stage: [layers[name] for name in names if name in layers] for stage, names in stages.items()}
    return Allocation(allocation.groups, tuple(_merged(stage, found) for stage, found in there.items() if found))


def _merged(stage: str, layers: Sequence[LayerAllocation]) -> LayerAllocation:
    if len(layers) == 1:
        return replace(layers[0], name=stage)
    counts = tuple(map(sum, zip(*(layer.counts for layer in layers), strict=True)))
    probs = [(layer.mean_probs, layer.num_filters) for layer in layers if layer.mean_probs]
    entropies = [(layer.mean_entropy, layer.num_filters) for layer in layers if layer.mean_entropy is not None]
    return LayerAllocation(
        stage,
        counts,
        tuple(_mean(probs).tolist()) if probs else None,
        float(_mean(entropies)) if entropies else None,
    )


def _mean(values: Collection[tuple[object, int]]) -> np.ndarray:
    """Return the mean of values by their weights."""
    numbers, weights = zip(*values, strict=True)
    return np.average(np.array(numbers, dtype=float), axis=0, weights=weights)


def rows_height(number: int, roomy: float, tight: float, few: int) -> float:
    """Return the height of the rows of so many layers, in pixels.

    Args:
        number: Layers.
        roomy: Height of a row where there are few.
        tight: Height of a row where there are more, up to those that have stages: then all together are as high as 20.
        few: Layers up to which rows are roomy.
    """
    if number <= MOST_LAYERS:
        return float(number * (roomy if number <= few else tight))
    return max(MOST_LAYERS * tight, number * _THINNEST)


def stage_rows(names: Sequence[str], height: float) -> dict[str, float]:
    """Return the middle rows of stages by name, of those that there is room to name.

    Args:
        names: The layers, in depth order, each of which is a row.
        height: Pixels of all rows together; where that is low, the smaller ones of two stages go without their names.
    """
    rows = {name: row for row, name in enumerate(names)}
    pitch, found = height / len(names) + 1e-6, dict[str, float]()
    for stage, layers in sorted(stages_of(names).items(), key=lambda stage: -len(stage[1])):
        row = sum(rows[name] for name in layers) / len(layers)
        if all(abs(row - other) * pitch >= LABEL for other in found.values()):
            found[stage] = row
    return found


def stage_borders(names: Sequence[str], left: float, right: float) -> tuple[Line, ...]:
    """Return the lines between stages of several layers, from one end of a panel to the other; none of small networks.

    Args:
        names: The layers, in depth order, each of which is a row.
        left: One end of the horizontal axis.
        right: The other one.
    """
    if len(names) <= MOST_LAYERS:
        return ()
    stage = {name: stage for stage, layers in stages_of(names).items() for name in layers}
    borders = [row - 0.5 for row in range(1, len(names)) if stage[names[row]] != stage[names[row - 1]]]
    gap = float("nan")
    return (Line([left, right, gap] * len(borders), [y for row in borders for y in (row, row, gap)], INK, width=0.6),)


def layer_axis(names: Sequence[str], height: float, *, has_labels: bool = True) -> Axis:
    """Return a vertical axis of layers from the top, which names stages in their middle; see :func:`stage_rows`."""
    ticks = sorted((row, shortened(stage)) for stage, row in stage_rows(names, height).items())
    return replace(row_axis(names, has_labels=has_labels), ticks=tuple(ticks))
