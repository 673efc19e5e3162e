"""Lockstep: several copies of one network, run node by node, that read each other where layers read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

from torch import Tensor, fx, nn

from sfgsearch.graph._analysis import BACKBONE, Analysis, Layer
from sfgsearch.graph._kinds import BATCH_NORMS
from sfgsearch.graph._nodes import call, mode_of, operation

Copies = dict[int, Any]
"""The values of one node by copy; the same object where copies cannot differ."""

Read = Callable[[Layer, Copies, Sequence[int]], Copies]
"""Returns what some copies of a layer read, given all copies of its input that they may read."""


Run = Callable[[Mapping[fx.Node, Any], Iterable[int]], Copies]
"""Runs a node in some copies, given the copies of what it reads."""


class Junction(ABC):
    """Base of what happens at a node that is not run copy by copy."""

    @abstractmethod
    def sources(self, node: fx.Node, copy: int) -> Mapping[fx.Node, Iterable[int]]:
        """Return the copies of what the node reads that a copy of its value depends on; none of what is left out."""

    @abstractmethod
    def join(self, run: Run, values: Mapping[fx.Node, Copies], copies: Sequence[int]) -> Copies:
        """Return the copies of the node's value that are wanted, in this pass."""


class Reading(nn.Module):
    """Base of what copies read of each other; they do not, unless it is overridden.

    It decides for every layer among :attr:`Analysis.readers` what its copies read of the copies of its input, and may
    run other nodes in its own way. The copies of a head's layers are tasks.
    """

    @property
    def junctions(self) -> Mapping[str, Junction]:
        """The nodes, by name, that are not run copy by copy."""
        return {}

    def sources(self, layer: Layer, copy: int) -> Iterable[int]:
        """Return the copies of the input that a copy of a layer may read."""
        del layer
        return (copy,)

    def forward(self) -> Read:
        """Return how layers read in this pass."""
        return lambda _layer, values, _copies: values


class LockstepNetwork(nn.Module):
    """Several copies of a backbone, run node by node, and one head per task.

    Everything runs copy by copy, shortcuts and additions included, except that a layer reads what a :class:`Reading`
    makes of the copies of its input, and that a :class:`Junction` runs a node in its own way. The parts of copies that
    no prediction depends on are removed.

    Operations are those of evaluation, put into the mode of the network: what vanishes in evaluation, such as
    stochastic depth, does in training as well.

    Args:
        analysis: Of a network whose backbone and heads are called ``backbone`` and ``ordered_heads``.
        copies: The copies of the backbone, which become the network's own.
        heads: The heads, in the order of the tasks.
        tasks: Names of the tasks, in order.
        reading: What layers read.
    """

    def __init__(
        self,
        analysis: Analysis,
        copies: Iterable[nn.Module],
        heads: Iterable[nn.Module],
        tasks: Sequence[str],
        reading: Reading,
    ) -> None:
        super().__init__()
        self.analysis, self.tasks = analysis, tuple(tasks)
        self.copies, self.ordered_heads, self.reading = nn.ModuleList(copies), nn.ModuleList(heads), reading
        self._reached = reached(analysis, reading)
        state = self._state()
        used = {id(state[name]) for node in self._placeholders() for name in self._names(node).values()}
        for backbone in self.copies:
            _remove_unused(backbone, used)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the predictions by task name.

        Args:
            images: Shape (B, C, *space).

        Raises:
            ValueError: If they are of another size than those that were analysed.
        """
        trace = self.analysis.trace
        for own, given in zip(trace.image_shape, images.shape[1:], strict=True):
            if isinstance(own, int) and own != given:
                raise ValueError(f"images must be of the size that was analysed, got {tuple(images.shape)}")
        read, junctions = self.reading(), self.reading.junctions
        values = dict(self._inputs(images))
        for node in trace.operations:
            if copies := self._reached[node.name]:
                junction, run = junctions.get(node.name), partial(self._run, node, read)
                values[node] = junction.join(run, values, copies) if junction else run(values, copies)
            for other in trace.last_uses.get(node, ()):
                values.pop(other, None)
        return {name: values[trace.outputs[task]][task] for task, name in enumerate(self.tasks)}

    def _run(self, node: fx.Node, read: Read, values: Mapping[fx.Node, Copies], copies: Iterable[int]) -> Copies:
        copies = tuple(copies)
        layer, norms = self.analysis.readers.get(node.name), self._batch_norms(node)
        if layer:
            source = cast(fx.Node, node.args[0])
            values = {**values, source: read(layer, values[source], copies)}
        if norms:  # their forward, but not what subclasses add to it, counts batches and knows momentum
            return _each_norm(norms, values[cast(fx.Node, node.args[0])], copies)
        return each_copy(node, values, copies, **mode_of(node, self, lambda path: _path(path, copies[0])))

    def _batch_norms(self, node: fx.Node) -> dict[int, nn.Module]:
        """Return the modules whose running statistics a node reads, by copy; none for norms of a network's own."""
        if operation(node) != "batch_norm" or node.args[3] is None:
            return {}
        names = self._names(cast(fx.Node, node.args[3]))
        norms = {copy: self.get_submodule(name.rpartition(".")[0]) for copy, name in names.items()}
        return {copy: norm for copy, norm in norms.items() if isinstance(norm, BATCH_NORMS)}

    def _inputs(self, images: Tensor) -> Iterator[tuple[fx.Node, Copies]]:
        """Yield the copies of all placeholders."""
        trace, state = self.analysis.trace, self._state()
        for node in self._placeholders():
            if node.name in trace.state:
                yield node, {copy: state[name] for copy, name in self._names(node).items()}
            else:
                constant = trace.constants.get(node.name)
                value = images if constant is None else constant.to(images.device)
                yield node, dict.fromkeys(self._reached[node.name], value)

    def _placeholders(self) -> Iterator[fx.Node]:
        return (node for node in self.analysis.trace.nodes if node.op == "placeholder")

    def _names(self, node: fx.Node) -> dict[int, str]:
        """Return the names of the tensors that a placeholder stands for, by copy; none if it is no state."""
        name = self.analysis.trace.state.get(node.name)
        if name is None:
            return {}
        return {copy: _path(name, copy) for copy in self._reached[node.name]}

    def _state(self) -> dict[str, Tensor]:
        """Return all parameters and buffers under all their names."""
        return {
            **dict(self.named_parameters(remove_duplicate=False)),
            **dict(self.named_buffers(remove_duplicate=False)),
        }


def _path(name: str, copy: int) -> str:
    """Return the name in a network in lockstep of a part of one of its copies, or of its heads."""
    first, dot, rest = name.partition(".")
    return f"copies.{copy}{dot}{rest}" if first == BACKBONE else name


def _each_norm(norms: Mapping[int, nn.Module], values: Copies, copies: Iterable[int]) -> Copies:
    """Run batch norms in every copy, once for copies that share norm and values."""
    known: dict[tuple[int, int], Any] = {}
    results = {}
    for copy in copies:
        key = id(norms[copy]), id(values[copy])
        if key not in known:
            known[key] = nn.BatchNorm1d.forward(cast(nn.BatchNorm1d, norms[copy]), values[copy])
        results[copy] = known[key]
    return results


def reached(analysis: Analysis, reading: Reading, tasks: Iterable[int] | None = None) -> dict[str, tuple[int, ...]]:
    """Return for every node, by name, the copies that predictions depend on."""
    outputs, junctions = analysis.trace.outputs, reading.junctions
    found: dict[fx.Node, set[int]] = {node: set() for node in analysis.trace.nodes}
    for task in range(len(outputs)) if tasks is None else tasks:
        found[outputs[task]].add(task)
    for node in reversed(list(analysis.trace.operations)):
        layer, junction = analysis.readers.get(node.name), junctions.get(node.name)
        if junction:
            for copy in found[node]:
                for other, copies in junction.sources(node, copy).items():
                    found[other].update(copies)
            continue
        for other in node.all_input_nodes if found[node] else ():
            if layer and other is node.args[0]:
                found[other].update(*(reading.sources(layer, copy) for copy in found[node]))
            else:
                found[other].update(found[node])
    return {node.name: tuple(sorted(copies)) for node, copies in found.items()}


def each_copy(node: fx.Node, values: Mapping[fx.Node, Any], copies: Iterable[int], **replaced: Any) -> Copies:
    """Run a node in every copy, once where all that it reads is the same object."""
    known: dict[tuple[int, ...], Any] = {}
    results = {}
    for copy in copies:
        own = {other: values[other][copy] for other in node.all_input_nodes}
        key = tuple(map(id, own.values()))
        if key not in known:
            known[key] = call(node, own, **replaced)
        results[copy] = known[key]
    return results


def are_one(values: Copies) -> bool:
    """Return whether all copies are the same object."""
    return len(set(map(id, values.values()))) == 1


def _remove_unused(module: nn.Module, used: set[int]) -> None:
    """Remove parameters that are not used, and parts whose parameters and buffers are all not used."""
    for name, part in list(module.named_children()):
        tensors = {*map(id, part.parameters()), *map(id, part.buffers())}
        if tensors and not tensors & used:
            delattr(module, name)
        else:
            _remove_unused(part, used)
    for name, parameter in list(module.named_parameters(recurse=False)):
        if id(parameter) not in used:
            delattr(module, name)
