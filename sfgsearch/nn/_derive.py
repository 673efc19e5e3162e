"""From a trained SFG network to the compact network of one assignment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from sfgsearch.allocation import Allocation, LayerAllocation, group_names
from sfgsearch.errors import BackboneError
from sfgsearch.nn._allocated_builder import AllocatedBuilder
from sfgsearch.nn._conv import SFGConv
from sfgsearch.nn._network import MultiTaskNetwork, NetworkSpec, sfg_layers


@dataclass(frozen=True)
class Derived:
    """A compact network and where each of its filters came from.

    Args:
        network: The compact network with the weights of the trained one.
        assignments: Group of every filter in every layer, int64 of shape (K,), as built.
        allocation: The counts of these, with the trained layers' mean probabilities and entropies.
        repairs: One sentence for every filter group that could not be built as assigned.
    """

    network: MultiTaskNetwork
    assignments: dict[str, Tensor]
    allocation: Allocation
    repairs: tuple[str, ...]


@torch.no_grad()
def derive(trained: MultiTaskNetwork, spec: NetworkSpec, assignments: Mapping[str, Tensor] | None = None) -> Derived:
    """Build the compact network of an assignment, with the trained network's weights.

    It computes what the trained network computes with the one-hot gates of that assignment. Its batch-norm
    statistics are the running ones, which average over gates and fit no single assignment: re-estimate them with
    :func:`~sfgsearch.nn.reestimate_statistics` before predicting.

    Args:
        trained: A network that ``spec`` built with an SFG builder.
        spec: What built it.
        assignments: Group of every filter in every layer; the most probable ones if None. Filters that would read
            nothing are repaired: they go to their most probable task.

    Raises:
        AllocationError: If an assignment does not fit its layer.
        BackboneError: If the backbone has weights outside its allocatable layers.

    Returns:
        The compact network, on the device of the trained one and in its mode, and what it was built from.
    """
    layers = sfg_layers(trained)
    if assignments is None:
        assignments = {name: layer.groups.assignment() for name, layer in layers.items()}
    builder = AllocatedBuilder(
        {name: assignment.cpu() for name, assignment in assignments.items()},
        len(spec.tasks),
        spec.dimensions,
        spec.norm,
        repair=True,
        preferences={name: layer.groups.log_probs for name, layer in layers.items()},
        separate=True,
    )
    device = next(trained.parameters()).device
    compact = spec.build(builder).to(device)
    _copy_weights(compact, trained)
    compact.train(trained.training)
    counted = builder.allocation(spec.task_names)
    allocation = Allocation(
        group_names(spec.task_names), tuple(_describe(layers[layer.name], layer) for layer in counted.layers)
    )
    return Derived(compact, builder.assignments, allocation, tuple(builder.repairs))


def _describe(layer: SFGConv, counted: LayerAllocation) -> LayerAllocation:
    return LayerAllocation(
        counted.name,
        counted.counts,
        tuple(layer.groups.probs.double().mean(0).tolist()),
        float(layer.groups.entropy().double().mean()),
    )


def _copy_weights(compact: MultiTaskNetwork, trained: MultiTaskNetwork) -> None:
    _copy_module(compact.backbone, trained.backbone)
    heads = zip(compact.heads.values(), trained.heads.values(), strict=True)
    for task, (head, source) in enumerate(heads):
        reader, wide = cast(nn.Linear, head.reader), cast(nn.Linear, source.reader)  # or a convolution
        channels = torch.tensor(compact.backbone.layout.members[task], device=wide.weight.device)
        reader.weight.copy_(wide.weight[:, channels])
        if reader.bias is not None:
            reader.bias.copy_(wide.bias)
        for part in ("before", "after"):
            getattr(head, part).load_state_dict(getattr(source, part).state_dict())


def _copy_module(target: nn.Module, source: nn.Module) -> None:
    """Copy the layers of a module tree into its compact twin; what does not know how to may have no weights."""
    load_trained = getattr(target, "load_trained", None)
    if load_trained is not None:
        load_trained(source)
        return
    if [*target.parameters(recurse=False), *_state(target)]:
        raise BackboneError(
            f"the backbone has a {type(target).__name__} with weights of its own, of which only some channels would be "
            "left in the compact network; ask the layer builder for layers with weights"
        )
    for name, child in target.named_children():
        _copy_module(child, source.get_submodule(name))


def _state(module: nn.Module) -> list[str]:
    """Return the names of a module's own buffers that are part of its state."""
    return [name for name, _ in module.named_buffers(recurse=False) if name not in module._non_persistent_buffers_set]
