"""Any network in groups: stochastic filter groups on the graph of a plain module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from sfgsearch.allocation import Allocation, LayerAllocation, group_names
from sfgsearch.errors import AllocationError, BackboneError
from sfgsearch.graph import Analysis, DenseNetwork, HeadedNetwork, StreamsNetwork, analyse, as_map, bake, compact
from sfgsearch.nn._groups import FilterGroups, GateSampling
from sfgsearch.nn._network import TaskLike

Execution = Literal["dense", "streams"]


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
        self._executed: DenseNetwork | StreamsNetwork = (
            DenseNetwork(network, analysis) if execution == "dense" else StreamsNetwork(network, analysis, self.tasks)
        )

    @property
    def network(self) -> nn.Module:
        """The plain network."""
        return self._executed.network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the predictions by task name for images of shape (B, C, *space), with the gates of this pass."""
        predictions: dict[str, Tensor] = self._executed(images, self.groups())
        return predictions

    def assignment(self) -> dict[str, Tensor]:
        """Return the most probable group of every filter, int64 of shape (K,) by channel space."""
        return self.by_space(self.groups.assignment().cpu())

    def probabilities(self) -> dict[str, Tensor]:
        """Return the probabilities of every filter, shape (K, T+1) by channel space."""
        return self.by_space(self.groups.probs.detach().cpu())

    def by_space(self, rows: Tensor) -> dict[str, Tensor]:
        """Return rows of all filters by channel space."""
        sizes = list(self.analysis.filters.values())
        return dict(zip(self.analysis.filters, torch.split(rows, sizes), strict=True))

    def allocation(self) -> Allocation:
        """Return the most probable allocation, with mean probabilities and entropies, by channel space.

        Raises:
            AllocationError: If a task would read nothing in a channel space.
        """
        entropies = self.by_space(self.groups.entropy().detach().double().cpu())
        probabilities = self.probabilities()
        layers = (
            LayerAllocation(
                name,
                tuple(assignment.bincount(minlength=self.analysis.num_tasks + 1).tolist()),
                tuple(probabilities[name].double().mean(0).tolist()),
                float(entropies[name].mean()),
            )
            for name, assignment in self.assignment().items()
        )
        return Allocation(group_names(self.tasks), tuple(layers))

    def compact(self, assignment: Mapping[str, Tensor] | None = None) -> nn.Module:
        """Return the plain network of an assignment: one small layer per group, and no zeros multiplied.

        Its batch-norm statistics are those of training, which average over gates that were drawn: re-estimate them with
        :func:`~sfgsearch.nn.reestimate_statistics` unless gates have stood still.

        Args:
            assignment: Group of every filter by channel space; the most probable ones if None.

        Raises:
            AllocationError: If it does not fit the network.
        """
        return compact(self.network, self.analysis, self._rows(assignment))

    def bake(self, assignment: Mapping[str, Tensor] | None = None) -> nn.Module:
        """Return a copy of the plain network with the weights of an assignment, zeros included; see :meth:`compact`."""
        return bake(self.network, self.analysis, self._rows(assignment))

    def _rows(self, assignment: Mapping[str, Tensor] | None) -> Tensor:
        """Return the groups of all filters."""
        if assignment is None:
            return self.groups.assignment().cpu()
        if list(assignment) != list(self.analysis.filters):
            raise AllocationError(f"an assignment needs the channel spaces {', '.join(self.analysis.filters)}")
        rows = torch.cat([torch.as_tensor(groups, dtype=torch.int64).cpu() for groups in assignment.values()])
        sizes = [len(groups) for groups in assignment.values()]
        in_range = bool(((rows >= 0) & (rows <= self.analysis.num_tasks)).all())
        if sizes != list(self.analysis.filters.values()) or not in_range:
            raise AllocationError(
                f"an assignment is one group 0..{self.analysis.num_tasks} per filter; there are "
                + ", ".join(f"{number} in {name}" for name, number in self.analysis.filters.items())
            )
        return rows


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
        ValueError: If the prior is off the simplex.
    """
    names = [task if isinstance(task, str) else task.name for task in tasks]
    group_names(names)
    heads = [task for task in tasks if not isinstance(task, str)]
    network = _with_heads(model, example, heads) if heads else _Named(model, names)
    analysis = analyse(network, example, names)
    if analysis.num_tasks != len(names):
        raise BackboneError(f"the model returns {analysis.num_tasks} predictions for {len(names)} tasks")
    groups = FilterGroups(
        analysis.num_filters, len(names), prior, sampling=sampling or GateSampling(hard=execution == "dense")
    )
    device = next(model.parameters()).device
    return GroupedNetwork(network, analysis, names, groups.to(device), execution).to(device).train(model.training)


class _Named(nn.Module):
    """A model with heads of its own, its predictions by name."""

    def __init__(self, model: nn.Module, tasks: Sequence[str]) -> None:
        super().__init__()
        self.backbone, self._tasks = model, tuple(tasks)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the predictions by task name."""
        predictions = self.backbone(images)
        if isinstance(predictions, Mapping):
            return {task: predictions[task] for task in self._tasks}
        several = (predictions,) if isinstance(predictions, Tensor) else predictions
        return dict(zip(self._tasks, several, strict=True))


def _with_heads(model: nn.Module, example: Tensor, tasks: Sequence[TaskLike]) -> HeadedNetwork:
    was_training = model.training
    with torch.no_grad():
        features = as_map(model.eval()(example), example.ndim)
    model.train(was_training)
    heads: dict[str, nn.Module] = {task.name: task.head(features.shape[1], example.ndim - 2) for task in tasks}
    return HeadedNetwork(model, heads).to(example.device, example.dtype).train(was_training)
