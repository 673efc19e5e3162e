"""Feature maps of a network in groups, as its streams carry them."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor

from sfgsearch.errors import BackboneError
from sfgsearch.graph import evaluating, feature_map
from sfgsearch.nn._grouped import GroupedNetwork


@torch.no_grad()
def stream_activations(
    network: GroupedNetwork, images: Tensor, layers: Collection[str] | None = None
) -> dict[str, Tensor]:
    r"""Return the feature maps that the streams carry of every channel space, with expected gates.

    In place of drawn gates every filter k has its probabilities, in all channel spaces:

    .. math:: x_t[k] = p_{kt}\, a_t[k] + p_{ks}\, a_s[k], \qquad x_s[k] = p_{ks}\, a_s[k]

    A filter that has committed itself to a group is carried by that group's streams only, an undecided one softly by
    all. Maps are those after norms and activations; see :func:`~sfgsearch.graph.feature_map`. Norms use their running
    statistics, which average over gates as well. Modes and gates are left as they were.

    Args:
        network: A network of stochastic filter groups, however it is executed.
        images: Shape (B, C, *space), on any device.
        layers: Names of the channel spaces that are asked for; all that have maps if None.

    Returns:
        By channel space in depth order, shape (B, T+1, K, *space), on the CPU: streams of the tasks in order, then
        shared.

    Raises:
        BackboneError: If the network has no maps of these names.
    """
    there = mapped_layers(network)
    if not there:
        raise BackboneError("the network has no layer whose features are maps of several pixels")
    unknown = [name for name in layers or () if name not in there]
    if unknown:
        raise BackboneError(f"there are feature maps of {', '.join(there)}, not of {', '.join(unknown)}")
    features = [
        feature_map(network.analysis, space)
        for space in network.analysis.spaces
        if space.name in (there if layers is None else layers)
    ]
    with evaluating(network.network):
        gates = network.groups.probs
        found = network.in_streams().feature_maps(images.to(gates.device), gates, features)
    return {feature.space.name: found[feature.space.name].cpu() for feature in features}


def mapped_layers(network: GroupedNetwork) -> list[str]:
    """Return the channel spaces that have maps of more than one pixel, in depth order."""
    features = [feature_map(network.analysis, space) for space in network.analysis.spaces]
    return [feature.space.name for feature in features if math.prod(feature.size) > 1]
