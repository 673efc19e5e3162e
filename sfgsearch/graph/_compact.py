"""Compact execution: a network of a fixed assignment with one plain layer per group, and no zeros multiplied."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from sfgsearch.graph._analysis import Analysis, Layer
from sfgsearch.graph._dense import bake
from sfgsearch.graph._kernels import kernel_of
from sfgsearch.graph._kinds import CONVOLUTIONS, TRANSPOSED
from sfgsearch.graph._masking import MaskedKernel
from sfgsearch.graph._masks import Masks, hard_gates
from sfgsearch.graph._nodes import operation, owner

_PADS = ("pad", "constant_pad_nd")
"""Operations that a convolution may run on its input beside."""


_LINEAR = ("in_features", "out_features")
_CONVOLUTION = "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"
"""Arguments of layers, by which they keep them."""


class GroupedLayer(nn.Module):
    """A convolution or linear layer as one small layer per group.

    Every group's layer reads the channels that its group may read and writes the filters of its group; channels keep
    their places. Filters that nothing reads are left out: their channels are zeros.

    Args:
        plain: The layer, with its weight unmasked.
        parts: For every group its filters and the channels that it reads, int64.
    """

    order: Tensor | None

    def __init__(self, plain: nn.Module, parts: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self._dim = -1 if isinstance(plain, nn.Linear) else 1
        is_transposed = isinstance(plain, TRANSPOSED)
        width, self._inputs = cast(Tensor, plain.weight).shape[:2][:: -1 if is_transposed else 1]
        self.parts = nn.ModuleList(_narrowed(plain, filters, channels, is_transposed) for filters, channels in parts)
        self._runs = [_run(channels) for _, channels in parts]
        for index, (_, channels) in enumerate(parts):
            self.register_buffer(f"channels{index}", channels, persistent=False)
        written = torch.cat([filters for filters, _ in parts])
        self._missing = width - len(written)
        absent = torch.ones(width, dtype=torch.bool)
        absent[written] = False
        order = torch.cat([written, absent.nonzero().flatten()]).argsort()
        in_order = torch.equal(order, torch.arange(width))
        self.register_buffer("order", None if in_order else order, persistent=False)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return what the plain layer returns under its mask."""
        responses = []
        for index, (part, run) in enumerate(zip(self.parts, self._runs, strict=True)):
            channels: Tensor = getattr(self, f"channels{index}")
            read = x.narrow(self._dim, *run) if run else x.index_select(self._dim, channels)
            responses.append(part(read, *args, **kwargs))
        if self._missing:
            shape = list(responses[0].shape)
            shape[self._dim] = self._missing
            responses.append(responses[0].new_zeros(shape))
        joined = torch.cat(responses, self._dim) if len(responses) > 1 else responses[0]
        return joined if self.order is None else joined.index_select(self._dim, self.order)

    def align(self, multiple: int) -> None:
        """Make every part read a multiple of so many channels, where there are such.

        The weights of those that are added, the nearest ones, are zero. Engines run such convolutions in blocks.
        """
        for index, part in enumerate(self.parts):
            channels: Tensor = getattr(self, f"channels{index}")
            wider = _widened(channels, multiple, self._inputs)
            _pad(part, channels, wider)
            self._runs[index] = _run(wider)
            self.register_buffer(f"channels{index}", wider, persistent=False)


def align_reads(network: nn.Module, multiple: int) -> nn.Module:
    """Return a copy of a network whose grouped layers read multiples of so many channels; see there."""
    found = copy.deepcopy(network)
    for module in found.modules():
        if isinstance(module, GroupedLayer):
            module.align(multiple)
    return found


def _widened(channels: Tensor, multiple: int, width: int) -> Tensor:
    """Return channels and the nearest ones of so many that make their number a multiple, in order."""
    others = torch.ones(width, dtype=torch.bool)
    others[channels] = False
    spare = others.nonzero().flatten()
    missing = -len(channels) % multiple
    if len(spare) < missing:
        return channels
    distances = (spare[:, None] - channels).abs().min(1).values
    return torch.cat([channels, spare[distances.argsort(stable=True)[:missing]]]).sort().values


def _pad(part: Any, channels: Tensor, wider: Tensor) -> None:
    """Make a part read more channels, with zeros for those that it did not read."""
    dim = 0 if isinstance(part, TRANSPOSED) else 1
    shape = list(part.weight.shape)
    shape[dim] = len(wider)
    weight = part.weight.detach()
    part.weight = nn.Parameter(weight.new_zeros(shape).index_copy(dim, torch.searchsorted(wider, channels), weight))
    setattr(part, "in_features" if isinstance(part, nn.Linear) else "in_channels", len(wider))


def _run(channels: Tensor) -> tuple[int, int] | None:
    """Return the first of channels that are neighbours, and their number; None if they are not."""
    first = int(channels[0])
    are_neighbours = torch.equal(channels, torch.arange(first, first + len(channels)))
    return (first, len(channels)) if are_neighbours else None


def _narrowed(plain: nn.Module, filters: Tensor, channels: Tensor, is_transposed: bool) -> nn.Module:
    """Return a layer of the same kind with some of the filters and channels."""
    part: Any = copy.deepcopy(plain)  # keeps stride, padding and the like
    weight = cast(Tensor, plain.weight).detach()
    selected = weight[channels][:, filters] if is_transposed else weight[filters][:, channels]
    part.weight = nn.Parameter(selected.clone())
    if plain.bias is not None:
        part.bias = nn.Parameter(cast(Tensor, plain.bias).detach()[filters].clone())
    inputs, outputs = (
        ("in_features", "out_features") if isinstance(plain, nn.Linear) else ("in_channels", "out_channels")
    )
    setattr(part, inputs, len(channels))
    setattr(part, outputs, len(filters))
    return cast(nn.Module, part)


def _with_kernel(layer: nn.Module, kernel: Tensor) -> nn.Module:
    """Return torch's own layer with a kernel that another one computes; the same layer if it is of no such kind."""
    kind = next((kind for kind in (*CONVOLUTIONS, nn.Linear) if isinstance(layer, kind)), None)
    if kind is None:
        return layer
    names = _LINEAR if kind is nn.Linear else _CONVOLUTION
    options = {name: getattr(layer, name) for name in names}
    plain: Any = nn.utils.skip_init(kind, **options, bias=layer.bias is not None)  # type: ignore[no-untyped-call]
    plain.weight, plain.bias = nn.Parameter(kernel), layer.bias
    return cast(nn.Module, plain)


@torch.no_grad()
def compact(network: nn.Module, analysis: Analysis, assignment: Tensor) -> nn.Module:
    """Return a plain network that computes what the network of groups computes under an assignment.

    Where all filters of a layer are shared it is the layer itself; filters that are off are left out. Grouped
    convolutions, and layers that are no modules of torch, keep the zeros of their mask.

    Args:
        network: The plain network that was analysed.
        analysis: Its analysis.
        assignment: Group of every filter, int64 of shape (F,); T+1 where it is off.
    """
    groups = analysis.groups_by_row(assignment)
    used = used_rows(analysis, groups)
    plain = bake(network, analysis, assignment.cpu())
    computed: dict[str, list[str]] = {}
    chained = {node for layer in analysis.layers for node in layer.chain}
    for node in analysis.trace.operations:
        if node not in chained and isinstance(node.meta.get("val"), Tensor):
            computed.setdefault(owner(node), []).append(operation(node))
    for layer in analysis.layers:
        module = plain.get_submodule(layer.module)
        if layer.chain:
            computing = module.layer if isinstance(module, MaskedKernel) else module
            module = _with_kernel(computing, kernel_of(analysis.trace, network, layer.chain))
        if not _can_be_split(module, layer, computed.get(layer.module, [])):
            continue
        parts = _parts(layer, groups, used, analysis.num_tasks)
        whole = (layer.writes.numel(), layer.reads.numel())
        if parts and [(len(filters), len(channels)) for filters, channels in parts] != [whole]:
            device = cast(Tensor, module.weight).device
            split = GroupedLayer(module.cpu(), parts).to(device).train(module.training)
            plain.set_submodule(layer.module, split)
    return plain


def _can_be_split(module: nn.Module, layer: Layer, computed: Sequence[str]) -> bool:
    """Return whether a layer is a convolution or linear layer of a single group, and computes nothing beside.

    Args:
        module: The module that has its weight.
        layer: The layer.
        computed: The operations in the module's own forward: none, where another module only reads its weight.
    """
    is_plain = isinstance(module, (*CONVOLUTIONS, nn.Linear))
    is_own = bool(layer.chain) or layer.weight == f"{layer.module}.weight"
    is_one = len(layer.writes) == 1 and not (layer.reads.shape == layer.writes.shape == (1, 1))
    beside = () if layer.chain else _PADS  # a plain layer of the kernel does not pad as the one that computes it
    return is_plain and is_own and is_one and bool(computed) and {operation(layer.node), *beside}.issuperset(computed)


def _parts(layer: Layer, groups: Tensor, used: Tensor, num_tasks: int) -> list[tuple[Tensor, Tensor]]:
    """Return the filters of every group and the channels that it reads, where it has filters that are used."""
    writes, reads = groups[layer.writes[0]], groups[layer.reads[0]]
    is_used = used[layer.writes[0]]
    parts = []
    for group in range(num_tasks + 1):
        filters = ((writes == group) & is_used).nonzero().flatten()
        channels = ((reads == -1) | (reads == num_tasks) | (reads == group)).nonzero().flatten()
        if len(filters):
            parts.append((filters, channels if len(channels) else torch.tensor([0])))  # a masked one: zeros
    if len(parts) > 1 and all(len(channels) == len(reads) for _, channels in parts):  # all may read all
        filters = torch.cat([filters for filters, _ in parts]).sort().values
        parts = [(filters, torch.arange(len(reads)))]
    return parts


def used_rows(analysis: Analysis, groups: Tensor) -> Tensor:
    """Return which rows of the table of gates a prediction depends on."""
    used = torch.zeros(len(groups), dtype=torch.bool)
    used[1 + analysis.num_filters :] = True
    gates = hard_gates(groups[1 : 1 + analysis.num_filters], analysis.num_tasks).double()
    masks = Masks(analysis)(gates)
    by_weight = {layer.weight: layer for layer in analysis.layers}
    for norm in analysis.norms:  # the others' statistics depend on them
        used[norm.rows] = True
    for part in analysis.parts:
        used[part.reads] = True
    while True:
        before = int(used.sum())
        for weight, mask in masks.items():
            layer = by_weight[weight]
            parts = mask.view(len(layer.writes), -1, mask.shape[1])
            for writes, reads, part in zip(layer.writes, layer.reads, parts, strict=True):
                mask_of = part.mT if layer.transposed else part
                used[reads[(mask_of[used[writes]] > 0).any(0)]] = True
        if int(used.sum()) == before:
            return used
