"""Stages: the layers of large networks by the beginnings of their paths, for all that people read of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from sfgsearch.allocation import Allocation, LayerAllocation
from sfgsearch.errors import StudyError

MOST_LAYERS = 20
"""Layers up to which a network is shown layer by layer, and most stages of a larger one."""

_FEWEST, _RUNS = 4, 10
"""Stages that a network should have at least, and those of one without a hierarchy, each a run of neighbours."""


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
