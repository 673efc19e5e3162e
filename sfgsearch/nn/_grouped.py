"""Any network in groups: stochastic filter groups, or a fixed assignment, on the graph of a plain module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from sfgsearch._choices import Execution
from sfgsearch.allocation import Allocation, LayerAllocation, group_names
from sfgsearch.errors import BackboneError
from sfgsearch.graph import (
    Analysis,
    DenseNetwork,
    ExpectedCost,
    FixedStreams,
    StreamsNetwork,
    analyse,
    bake,
    compact,
    hard_gates,
    repair_assignment,
    unread_filters,
)
from sfgsearch.nn._assignments import Assignment, assignment_rows, count_assignment, rows_by_space
from sfgsearch.nn._groups import FilterGroups, GateSampling
from sfgsearch.nn._network import MultiTaskNetwork, TaskLike


class GroupedNetwork(nn.Module):
    """A plain network whose filters are in groups, drawn anew in every pass of training.

    Args:
        network: The plain network: images (B, C, *space) in, one prediction per task by name out.
        analysis: Its analysis.
        tasks: Names of the tasks, in order.
        groups: The gates of all filters, in the order of the analysis; new uniform ones if None.
        execution: ``"dense"``, one pass with masked weights, or ``"streams"``, the T+1 streams of the publication.
    """

    def __init__(
        self,
        network: nn.Module,
        analysis: Analysis,
        tasks: Sequence[str],
        groups: FilterGroups | None = None,
        execution: Execution = "dense",
    ) -> None:
        super().__init__()
        if execution not in get_args(Execution):
            raise ValueError(f"execution must be one of {', '.join(get_args(Execution))}, got {execution!r}")
        self.analysis, self.tasks, self.execution = analysis, tuple(tasks), execution
        self.groups = groups or FilterGroups(
            analysis.num_filters, analysis.num_tasks, sampling=GateSampling(hard=execution == "dense")
        )
        if analysis.parts and execution == "dense":
            raise BackboneError(
                f"{analysis.parts[0].path} is run per stream, which only the streams' execution can; set "
                "learned.execution (execution=) to 'streams'"
            )
        self._executed: DenseNetwork | StreamsNetwork = (
            DenseNetwork(network, analysis) if execution == "dense" else StreamsNetwork(network, analysis, self.tasks)
        )
        self._cost: ExpectedCost | None = None

    @property
    def network(self) -> nn.Module:
        """The plain network."""
        return self._executed.network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the predictions by task name for images of shape (B, C, *space), with the gates of this pass."""
        predictions: dict[str, Tensor] = self._executed(images, self.groups())
        return predictions

    def in_streams(self) -> StreamsNetwork:
        """Return the network's streams: those that it is run in, or streams of the same weights."""
        if isinstance(self._executed, StreamsNetwork):
            return self._executed
        return StreamsNetwork(self.network, self.analysis, self.tasks)

    def weights(self) -> list[nn.Parameter]:
        """Return what is learned beside the groups: the plain network's parameters, and those of parts per stream."""
        return list(self._executed.parameters())

    @property
    def runs_in_streams(self) -> bool:
        """Whether derived networks run in streams, too, since parts of the network are run per stream."""
        return bool(self.analysis.parts)

    def by_space(self, rows: Tensor) -> dict[str, Tensor]:
        """Return rows of all filters by channel space."""
        return rows_by_space(self.analysis, rows)

    def probabilities(self) -> dict[str, Tensor]:
        """Return the probabilities of every filter, shape (K, T+1) by channel space."""
        return self.by_space(self.groups.probs.detach().cpu())

    def expected_cost(self) -> Tensor:
        """Return the expected multiply-adds of a network drawn from the groups, as a part of the plain network's.

        A scalar in (0, 1] through which the groups' logits get gradients; see :class:`~sfgsearch.graph.ExpectedCost`.
        """
        if self._cost is None:
            self._cost = ExpectedCost(self.analysis).to(self.groups.logits.device)
        return self._cost(self.groups.probs)  # type: ignore[no-any-return]

    def settle(self, *, settled: bool = True) -> None:
        """Fix gates at the assignment that :meth:`derive` returns now, or have them drawn again."""
        self.groups.fix(assignment_rows(self.analysis, self.derive()[0]) if settled else None)

    def derive(self) -> tuple[dict[str, Tensor], list[str]]:
        """Return the most probable assignment, and a sentence for everything that had to be repaired in it.

        A filter that would read nothing, or that a task lacks to read anything, gets its next probable group.
        """
        rows, repairs = repair_assignment(self.analysis, self.groups.assignment().cpu(), self.groups.log_probs)
        assignment = self.by_space(rows)
        off = {name: int((groups > len(self.tasks)).sum()) for name, groups in assignment.items()}
        repairs += [f"layer {name}: {number} filters are off" for name, number in off.items() if number]
        return assignment, repairs + unread_filters(self.analysis, rows)

    def allocation(self, assignment: Assignment | None = None) -> Allocation:
        """Return an assignment as an allocation, with mean probabilities and entropies, by channel space."""
        probabilities = self.probabilities()
        entropies = self.by_space(self.groups.entropy().detach().double().cpu())
        layers = (
            LayerAllocation(
                layer.name,
                layer.counts,
                tuple(probabilities[layer.name].double().mean(0).tolist()),
                float(entropies[layer.name].mean()),
            )
            for layer in count_assignment(assignment or self.derive()[0], self.tasks).layers
        )
        return Allocation(group_names(self.tasks), tuple(layers))

    def compact(self, assignment: Assignment | None = None) -> nn.Module:
        """Return the plain network of an assignment: one small layer per group, and no zeros multiplied.

        Its batch-norm statistics are those of training, which average over gates that were drawn: re-estimate them with
        :func:`~sfgsearch.nn.reestimate_statistics` unless gates have stood still.

        Raises:
            AllocationError: If it does not fit the network.
        """
        return self._fixed(compact, assignment)

    def bake(self, assignment: Assignment | None = None) -> nn.Module:
        """Return a copy of the plain network with the weights of an assignment, zeros included; see :meth:`compact`."""
        return self._fixed(bake, assignment)

    def _fixed(
        self, make: Callable[[nn.Module, Analysis, Tensor], nn.Module], assignment: Assignment | None
    ) -> nn.Module:
        rows = assignment_rows(self.analysis, assignment or self.derive()[0])
        if isinstance(self._executed, StreamsNetwork) and self.runs_in_streams:
            return FixedStreams(copy.deepcopy(self._executed), rows)
        return make(self.network, self.analysis, rows)


class AssignedNetwork(nn.Module):
    """A plain network in training under an assignment that stands still: its weights are masked where need be.

    Raises:
        AllocationError: If it does not fit the network.
    """

    def __init__(self, network: nn.Module, analysis: Analysis, assignment: Assignment, tasks: Sequence[str]) -> None:
        super().__init__()
        self.analysis, self.assignment = analysis, dict(assignment)
        self._rows = assignment_rows(analysis, assignment)
        self._is_plain = bool((self._rows == analysis.num_tasks).all())
        self._executed = _under_fixed_gates(network, analysis, self._rows, tasks)

    @property
    def network(self) -> nn.Module:
        """The plain network."""
        return self._executed.network

    def forward(self, images: Tensor) -> Any:
        """Return the predictions by task name for images of shape (B, C, *space)."""
        return self.network(images) if self._is_plain else self._executed(images)

    @property
    def runs_in_streams(self) -> bool:
        """Whether it is run in streams, since parts of it are run per stream and not all filters are shared."""
        return isinstance(self._executed, FixedStreams)

    def compact(self) -> nn.Module:
        """Return the compact network; see :meth:`GroupedNetwork.compact`."""
        if self.runs_in_streams:
            return copy.deepcopy(self._executed)
        return compact(self.network, self.analysis, self._rows)


def _under_fixed_gates(
    network: nn.Module, analysis: Analysis, rows: Tensor, tasks: Sequence[str]
) -> DenseNetwork | FixedStreams:
    if analysis.parts and not bool((rows == analysis.num_tasks).all()):
        return FixedStreams(StreamsNetwork(network, analysis, tasks), rows)
    executed = DenseNetwork(network, analysis)
    executed.fix(hard_gates(rows, analysis.num_tasks).to(torch.get_default_dtype()))
    return executed


def from_model(
    model: nn.Module,
    example: Tensor,
    tasks: Sequence[TaskLike] | Sequence[str],
    *,
    prior: Sequence[float] | Tensor | None = None,
    sampling: GateSampling | None = None,
    execution: Execution = "dense",
) -> GroupedNetwork:
    """Put the filters of any traceable CNN into stochastic groups, its weights and statistics included.

    The model's graph is analysed once: which channels must be in one group, and which weight reads and writes which.
    Nothing in the model is exchanged; it computes what it did as long as all filters are shared.

    Args:
        model: Returns features (B, K, *space) or (B, K), which a head per task reads; or, with heads of its own, one
            prediction per task, by name or in the order of the tasks.
        example: Images (B, C, *space) of the size that the network is for, at least two, on the model's device.
        tasks: Tasks of :mod:`sfgsearch.tasks`, which bring heads; or names, for a model that has heads.
        prior: Group prior of every filter, shape (T+1,); uniform if None. Probabilities start there.
        sampling: How gates are drawn in training; hard gates at temperature 1 if None.
        execution: ``"dense"``, one pass with masked weights, or ``"streams"``, the T+1 streams of the publication.

    Returns:
        The network, whose ``groups`` hold what is learned beside the weights.

    Raises:
        BackboneError: If filters cannot be followed through the model; the message names module, operation and remedy.
        ValueError: If the prior is off the simplex, or names and tasks are mixed.
    """
    names = [task if isinstance(task, str) else task.name for task in tasks]
    group_names(names)
    with_heads = [task for task in tasks if not isinstance(task, str)]
    if len(with_heads) not in (0, len(tasks)):
        raise ValueError("give either names of tasks or tasks, not some of each")
    was_training = model.training
    network = MultiTaskNetwork.of(model, with_heads, example) if with_heads else _Named(model, names)
    network = network.to(example.device, example.dtype)
    analysis = analyse(network, example, names)
    sampling = sampling or GateSampling(hard=execution == "dense")
    groups = FilterGroups(analysis.num_filters, len(names), prior, sampling=sampling)
    return GroupedNetwork(network, analysis, names, groups, execution).to(example.device).train(was_training)


class _Named(nn.Module):
    """A model with heads of its own, its predictions by name."""

    def __init__(self, model: nn.Module, tasks: Sequence[str]) -> None:
        super().__init__()
        self.backbone, self._tasks = model, tuple(tasks)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the predictions by task name.

        Raises:
            BackboneError: If they do not fit the tasks.
        """
        predictions = self.backbone(images)
        if not isinstance(predictions, Mapping):
            several = (predictions,) if isinstance(predictions, Tensor) else tuple(predictions)
            if len(several) != len(self._tasks):
                raise BackboneError(f"the model returns {len(several)} predictions for {len(self._tasks)} tasks")
            return dict(zip(self._tasks, several, strict=True))
        if not set(self._tasks) <= set(predictions):
            raise BackboneError(f"the model predicts {', '.join(predictions)}; tasks are {', '.join(self._tasks)}")
        return {task: predictions[task] for task in self._tasks}
