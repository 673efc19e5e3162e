"""Routed networks: one set of filters, of which every task reads those that its masks hold."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sfgsearch.allocation import Allocation, LayerAllocation, group_names
from sfgsearch.errors import AllocationError
from sfgsearch.functional import gumbel_softmax
from sfgsearch.graph import BATCH_NORMS, Analysis, Layer, NormsByGroup, call_masked, parameter_of
from sfgsearch.nn._assignments import rows_by_space
from sfgsearch.nn._groups import GateSampling
from sfgsearch.nn._network import MultiTaskNetwork, NetworkSpec
from sfgsearch.nn._structure import Structure, structures

_NORMS = (
    *BATCH_NORMS,
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.LayerNorm, nn.GroupNorm),
)


class RoutedNetwork(nn.Module):
    r"""Runs a plain network once per task, each time with the filters that the task holds.

    .. math:: y_t = f_t(x;\, W \odot M_t), \qquad (M_t)_{kc} = m_{tc}

    (Strezoski, van Noord & Worring, ICCV 2019, who multiply feature maps with the masks; here the weights that read
    them, so that a filter is masked wherever the graph leads.) Norms are per task: each task's maps are masked
    differently, so its statistics are its own, and all tasks are trained in one step. The public code of task routing
    has one batch norm for all tasks, whose running statistics mix them; that of Maximum Roaming keeps none and predicts
    with the statistics of the batch. Norms over channels cover those that the task holds.

    Every response is computed at full width, also of filters that a task masks.

    Args:
        network: The plain network; its norms become those of the first task.
        analysis: Its analysis.
        masks: Which filters each task holds, bool of shape (T, K) by channel space.

    Raises:
        AllocationError: If the masks do not fit the network, or a task holds no filter of a space.
    """

    masks: Tensor
    _rows: Tensor

    def __init__(self, network: MultiTaskNetwork, analysis: Analysis, masks: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network, self.analysis, self._layers = network, analysis, analysis.masked
        self._computed = {layer.weight for layer in self._layers if layer.chain}
        self.register_buffer("masks", self._joined(masks))
        self._paths = [
            path for path, module in network.backbone.named_modules(prefix="backbone") if isinstance(module, _NORMS)
        ]
        norms = [network.get_submodule(path) for path in self._paths]
        self.norms = nn.ModuleList(nn.ModuleList(map(copy.deepcopy, norms)) for _ in network.tasks[1:])
        rows = {layer.weight: layer.reads.flatten() for layer in self._layers}
        rows |= {norm.weight: norm.rows for norm in analysis.norms}
        self._sizes = {weight: len(channels) for weight, channels in rows.items()}
        self.register_buffer("_rows", torch.cat(list(rows.values())), persistent=False)

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Change which filters each task holds, bool of shape (T, K) by channel space."""
        self.masks.copy_(self._joined(masks))

    def _joined(self, masks: Mapping[str, Tensor]) -> Tensor:
        """Return the masks of all filters, shape (T, F)."""
        if set(masks) != set(self.analysis.filters):
            odd = next(iter(set(masks) ^ set(self.analysis.filters)))
            raise AllocationError(f"the backbone has layers {', '.join(self.analysis.filters)}; {odd!r} does not fit")
        for name, num_filters in self.analysis.filters.items():
            shape = (self.analysis.num_tasks, num_filters)
            if masks[name].shape != shape or not bool(masks[name].any(1).all()):
                raise AllocationError(f"layer {name!r} needs masks of shape {shape} in which every task holds a filter")
        return torch.cat([masks[name] for name in self.analysis.filters], 1).to(torch.get_default_dtype())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the predictions by task name for images of shape (B, C, *space)."""
        masks = self.current_masks()
        return {name: self._predict(task, name, images, masks[task]) for task, name in enumerate(self.network.tasks)}

    def current_masks(self) -> Tensor:
        """Return the masks of this pass, shape (T, F)."""
        return self.masks

    def _predict(self, task: int, name: str, images: Tensor, mask: Tensor) -> Tensor:
        held, state = self._held(mask), self._norm_state(task)
        tables, masks = {}, {layer.weight: _mask(layer, held[layer.weight]) for layer in self._layers}
        for norm in self.analysis.norms:
            scale = state.get(norm.weight, parameter_of(self.network, norm.weight))
            channels = held[norm.weight][:, None]
            tables[id(scale)] = torch.ones_like(channels), channels
        with NormsByGroup(tables) if tables else nullcontext():
            arguments = images, (name,)
            predictions: dict[str, Tensor] = call_masked(self.network, masks, self._computed, arguments, state)
        return predictions[name]

    def _held(self, mask: Tensor) -> dict[str, Tensor]:
        """Return by the name of a weight which of the channels that it reads a task holds, 0 or 1."""
        table = functional.pad(mask, (1, len(self.analysis.heads)), value=1.0)
        held = torch.split(table.index_select(0, self._rows), list(self._sizes.values()))
        return dict(zip(self._sizes, held, strict=True))

    def _norm_state(self, task: int) -> dict[str, Tensor]:
        """Return the parameters and buffers of a task's norms, by their names in the network."""
        if task == 0:
            return {}
        norms = cast("Iterable[nn.Module]", self.norms[task - 1])
        return {
            f"{path}.{name}": tensor
            for path, norm in zip(self._paths, norms, strict=True)
            for name, tensor in (*norm.named_parameters(), *norm.named_buffers())
        }


def _mask(layer: Layer, held: Tensor) -> Tensor:
    """Return what to multiply a layer's weight with, of the size of its first two dimensions or 1."""
    if layer.transposed:
        return held[:, None]
    return held.view(layer.reads.shape).repeat_interleave(layer.writes.shape[1], 0)


def routed_allocation(masks: Mapping[str, Tensor], tasks: tuple[str, ...]) -> Allocation:
    """Describe masks (T, K) as an allocation.

    A filter that several tasks hold counts as shared, one that a single task holds as that task's, one that no task
    holds not at all.
    """
    layers = []
    for name, mask in masks.items():
        holders = mask.sum(0)
        own = (mask & (holders == 1)).sum(1).tolist()
        layers.append(LayerAllocation(name, (*own, int((holders > 1).sum()))))
    return Allocation(group_names(tasks), tuple(layers))


def routed_structure(masks: Mapping[str, Tensor]) -> Structure:
    """Return the structure of a :class:`RoutedNetwork` with these masks."""
    return Structure("routed", {"masks": {name: mask.int().tolist() for name, mask in masks.items()}})


def routed_masks(structure: Structure) -> dict[str, Tensor]:
    """Return the masks of a structure that :func:`routed_structure` returned, bool of shape (T, K)."""
    return {name: torch.tensor(mask, dtype=torch.bool) for name, mask in structure.details["masks"].items()}


@structures.register("routed")
def _build_routed(spec: NetworkSpec, details: Mapping[str, Any]) -> nn.Module:
    return RoutedNetwork(spec.build(), spec.plain_analysis, routed_masks(Structure("routed", details)))


class LearnedRouting(RoutedNetwork):
    r"""Runs a plain network once per task, each time with the filters that the task draws.

    .. math:: y_t = f_t(x;\, W \odot M_t), \qquad m_{tk} \sim \mathrm{Bernoulli}(p_{tk}), \qquad
        p_{tk} = \mathrm{sigmoid}(\text{logits}_{tk})

    anew at every pass in training, with the gradient of the relaxed draw (straight-through): the Gumbel-softmax of
    :math:`(\log p, \log(1 - p))`. (Maziarz et al., 2019, whose components are layers or blocks of filters; here they
    are filters.) In evaluation, and once routing has settled, masks are the most probable ones.

    Args:
        network: The plain network.
        analysis: Its analysis.
        initial: The initial probability p, above 0 and below 1.
        sampling: How draws are made; its ``hard`` is not asked. An object of its own if None.

    Attributes:
        settled: Whether training, too, takes the most probable masks instead of drawing.

    Raises:
        ValueError: If the initial probability is out of range.
    """

    def __init__(
        self, network: MultiTaskNetwork, analysis: Analysis, initial: float = 0.5, sampling: GateSampling | None = None
    ) -> None:
        if not 0 < initial < 1:
            raise ValueError(f"initial must be above 0 and below 1, got {initial}")
        shape = analysis.num_tasks, analysis.num_filters
        super().__init__(network, analysis, rows_by_space(analysis, torch.ones(shape, dtype=torch.bool), 1))
        self.sampling, self.settled = sampling or GateSampling(), False
        self.logits = nn.Parameter(torch.full(shape, initial).logit())

    @property
    def probs(self) -> Tensor:
        """Probabilities p, shape (T, F)."""
        return self.logits.sigmoid()

    def current_masks(self) -> Tensor:
        """Draw the masks of this pass, shape (T, F); the most probable ones in evaluation and once settled."""
        if self.settled or not self.training:
            return self.likely_masks().to(self.logits.dtype)
        log_probs = nn.functional.logsigmoid(torch.stack([self.logits, -self.logits], -1))
        return gumbel_softmax(log_probs, self.sampling.temperature, hard=True, generator=self.sampling.generator)[
            ..., 0
        ]

    @torch.no_grad()
    def likely_masks(self) -> Tensor:
        """Return the most probable masks, bool of shape (T, F).

        A task that would hold no filter of a channel space holds those that are the most probable there.
        """
        masks = []
        for logits in torch.split(self.logits, list(self.analysis.filters.values()), 1):
            mask = logits >= 0
            masks.append(torch.where(mask.any(1, keepdim=True), mask, logits >= logits.amax(1, keepdim=True)))
        return torch.cat(masks, 1)

    def masks_by_space(self) -> dict[str, Tensor]:
        """Return the most probable masks by channel space, bool of shape (T, K), on the CPU."""
        return rows_by_space(self.analysis, self.likely_masks().cpu(), 1)

    @torch.no_grad()
    def route(self) -> RoutedNetwork:
        """Return the network of the most probable masks, with copies of this network's weights and statistics."""
        device = self.logits.device
        routed = RoutedNetwork(copy.deepcopy(self.network), self.analysis, self.masks_by_space()).to(device)
        routed.norms.load_state_dict(self.norms.state_dict())
        return routed.train(self.training)
