"""Finding the filters, channel spaces and masked weights of a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, fx, nn

from sfgsearch.errors import BackboneError
from sfgsearch.graph._analysis import Analysis, ChannelSpace, Layer, Norm, name_in_backbone
from sfgsearch.graph._layers import FoundLayer
from sfgsearch.graph._propagation import Propagation, StreamPart
from sfgsearch.graph._trace import Trace, trace


def analyse(
    network: nn.Module,
    example: Tensor,
    tasks: Sequence[str] | None = None,
    *,
    any_size: bool = False,
    per_stream: bool = True,
    is_allocated: Callable[[str], bool] = lambda _weight: True,
) -> Analysis:
    """Find a network's filters, channel spaces, and what every weight reads and writes.

    A filter is a class of channels that operations such as additions tie: they must be in one group. Filters that only
    one task's prediction depends on, such as those of its head, are that task's.

    Args:
        network: Maps images (B, C, *space) to one prediction (B, ...) per task, by name or in a sequence.
        example: At least two images of the size that it is for, on the network's device.
        tasks: Names of the tasks in order, where predictions have names.
        any_size: Whether the graph should fit images of other sizes, too, if it can.
        per_stream: Whether parts in a :class:`PerStream` are every stream's own, instead of the plain network's.
        is_allocated: Whether the filters that a weight writes may be allocated, by its name in the backbone; others
            are shared for good, and so is what they read.

    Raises:
        BackboneError: If the network cannot be traced, has an operation that filters cannot be followed through, or
            one task's prediction reaches that of another; or if nothing is left to allocate.
    """
    found = trace(network, example, tasks, any_size=any_size)
    run = Propagation(found, network, example, per_stream)
    reach = _reach(found)
    fixed = _fixed_classes(run, reach)
    shared = _shared_classes(run, fixed, is_allocated)
    return _Table(run, {**fixed, **dict.fromkeys(shared, len(found.outputs))}, len(found.outputs)).analysis()


def _reach(found: Trace) -> dict[fx.Node, frozenset[int]]:
    """Return for every node the tasks whose predictions depend on it."""
    reach: dict[fx.Node, set[int]] = {node: set() for node in found.nodes}
    for task, output in enumerate(found.outputs):
        reach[output].add(task)
    for node in reversed(found.nodes[:-1]):
        for user in node.users:
            if user.op != "output":
                reach[node] |= reach[user]
    return {node: frozenset(tasks) for node, tasks in reach.items()}


def _fixed_classes(run: Propagation, reach: Mapping[fx.Node, frozenset[int]]) -> dict[int, int]:
    """Return the classes of filters that are one task's, with the task."""
    find = run.ids.find
    reached: dict[int, set[int]] = {}
    for layer in run.layers.values():
        for identity in torch.unique(layer.writes).long().tolist():
            reached.setdefault(find(identity), set()).update(reach[layer.nodes[0]])
    num_tasks = len(run.outputs)
    fixed = {root: min(tasks) for root, tasks in reached.items() if len(tasks) == 1 and num_tasks > 1}
    for task, shadow in enumerate(run.outputs):
        if shadow is None or not shadow.any():
            raise BackboneError(f"the prediction of task {task} (counted from 0) does not depend on any filter")
        for identity in torch.unique(shadow).long().tolist():
            root = find(identity)
            if identity and reached.get(root, {task}) != {task}:
                raise BackboneError(
                    f"the prediction of task {task} (counted from 0) is also read by, or added to, that of another "
                    "task; give every task a last layer of its own"
                )
            if identity:
                fixed[root] = task
    return fixed


def _shared_classes(run: Propagation, fixed: Mapping[int, int], is_allocated: Callable[[str], bool]) -> set[int]:
    """Return the classes of filters that are shared for good.

    Some layer that writes them may not be allocated, or is read by a filter that is shared for good: what is shared
    reads nothing else.
    """
    writes, reads = (
        {
            layer.weight: {*map(run.ids.find, torch.unique(rows).long().tolist())} - fixed.keys() - {run.ids.find(0)}
            for layer in run.layers.values()
            for rows in [getattr(layer, side)]
        }
        for side in ("writes", "reads")
    )
    shared = set[int]().union(*(roots for name, roots in writes.items() if not is_allocated(name_in_backbone(name))))
    while more := set[int]().union(*(reads[name] for name, roots in writes.items() if roots & shared)) - shared:
        shared |= more
    return shared


class _Table:
    """Rows of the table of gates, from the classes of a propagation."""

    def __init__(self, run: Propagation, fixed: Mapping[int, int], num_tasks: int) -> None:
        self._run, self._fixed, self._num_tasks = run, fixed, num_tasks
        self._roots = torch.tensor([run.ids.find(identity) for identity in range(len(run.ids))])
        writers = self._writers()
        spaces: dict[tuple[str, ...], list[int]] = {}
        for root, names in writers.items():
            if root not in fixed:
                spaces.setdefault(names, []).append(root)
        if not spaces:
            raise BackboneError(
                "the network has no filters that several tasks could share, besides those that stay shared (allocate, "
                "freeze): nothing to allocate"
            )
        self._spaces = spaces
        order = [root for roots in spaces.values() for root in roots] + list(fixed)
        self._rows = torch.zeros(len(run.ids), dtype=torch.int64)
        by_root = torch.zeros(len(run.ids), dtype=torch.int64)
        by_root[torch.tensor(order)] = torch.arange(1, len(order) + 1)
        self._rows = by_root[self._roots]

    def _writers(self) -> dict[int, tuple[str, ...]]:
        """Return for every class the weights that write it, in the order in which they run; classes by first writer."""
        writers: dict[int, list[str]] = {}
        for name, layer in self._run.layers.items():
            for root in dict.fromkeys(self._roots[layer.writes.flatten().long()].tolist()):
                writers.setdefault(root, []).append(name)
        return {root: tuple(names) for root, names in writers.items()}

    def rows(self, shadow: Tensor) -> Tensor:
        """Return the rows of ids."""
        return self._rows[shadow.long()]

    def analysis(self) -> Analysis:
        """Return the whole."""
        layers = tuple(map(self._layer, self._run.layers.values()))
        norms = tuple(Norm(norm.weight, self.rows(norm.column), norm.groups) for norm in self._run.norms.values())
        return Analysis(
            self._run.trace,
            self._num_tasks,
            self._channel_spaces({layer.weight: layer for layer in layers}),
            tuple(self._fixed.values()),
            layers,
            norms,
            tuple(StreamPart(path, source, self.rows(ids)) for path, (source, ids) in self._run.parts.items()),
        )

    def _layer(self, layer: FoundLayer) -> Layer:
        writes, reads = self.rows(layer.writes), self.rows(layer.reads)
        return Layer(layer.weight, writes, reads, layer.transposed, tuple(layer.nodes), tuple(layer.chain))

    def _channel_spaces(self, layers: Mapping[str, Layer]) -> tuple[ChannelSpace, ...]:
        found: list[ChannelSpace] = []
        first = 1
        ties: dict[int, Counter[str]] = {}
        for identity, why in self._run.ids.ties:
            ties.setdefault(int(self._rows[identity]), Counter())[why] += 1
        for names, roots in self._spaces.items():
            taken = [space.name for space in found]
            written = layers[names[0]].writes.flatten()
            channels = int(((written >= first) & (written < first + len(roots))).sum())
            tied = sum((ties.get(row, Counter()) for row in range(first, first + len(roots))), Counter[str]())
            tied_by = tied.most_common(1)[0][0] if tied else ""
            found.append(ChannelSpace(_name(names, taken), first, len(roots), names, channels, tied_by))
            first += len(roots)
        return tuple(found)


def _name(weights: Sequence[str], taken: Sequence[str]) -> str:
    """Return the path of the first module whose name is not taken yet, or that of the first one with a number."""
    paths = [name_in_backbone(weight.rpartition(".")[0] or weight) for weight in weights]
    free = [path for path in paths if path not in taken]
    if free:
        return free[0]
    return next(name for number in range(2, len(taken) + 3) if (name := f"{paths[0]}/{number}") not in taken)
