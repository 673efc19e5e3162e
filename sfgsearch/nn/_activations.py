"""What flows in the streams of a masked network."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from sfgsearch.errors import BackboneError
from sfgsearch.nn._groups import FilterGroups
from sfgsearch.nn._network import MultiTaskNetwork, sfg_layers


@torch.no_grad()
def stream_activations(
    network: MultiTaskNetwork, images: Tensor, layers: Collection[str] | None = None
) -> dict[str, Tensor]:
    r"""Return what the layers of a masked network send into every stream, with expected gates.

    In place of drawn gates every filter k has its probabilities, in all layers:

    .. math:: x_t[k] = p_{kt}\, a_t[k] + p_{ks}\, a_s[k], \qquad x_s[k] = p_{ks}\, a_s[k]

    A filter that has committed itself to a group speaks in that group's streams only, an undecided one softly in all.
    Norms use their running statistics, which average over gates as well. Modes and gates are left as they were.

    Args:
        network: A network of stochastic filter groups, such as :class:`~sfgsearch.nn.SFGBuilder` builds.
        images: Shape (B, C, *space), on any device.
        layers: Names of the layers that are asked for; all if None.

    Returns:
        By layer in depth order, shape (B, T+1, K, *space), on the CPU: streams of the tasks in order, then shared.

    Raises:
        BackboneError: If the network has no layers of filter groups.
    """
    asked = {name: layer for name, layer in sfg_layers(network).items() if layers is None or name in layers}
    if not asked:
        raise BackboneError("the network has no stochastic filter groups that are asked for; give one in training")
    found: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, args: object, streams: tuple[Tensor, ...]) -> None:
        del module, args
        found[name] = torch.stack(streams, dim=1).cpu()

    hooks = [layer.register_forward_hook(partial(keep, name)) for name, layer in asked.items()]
    try:
        with _expected_gates(network), _evaluation(network):
            network(images.to(next(network.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: found[name] for name in asked}


@contextmanager
def _expected_gates(network: nn.Module) -> Iterator[None]:
    """Let filter groups return their probabilities inside."""
    groups = [module for module in network.modules() if isinstance(module, FilterGroups)]
    before = [group._gates for group in groups]

    def expect(module: FilterGroups, args: object, gates: Tensor) -> Tensor:
        del args, gates
        module._gates = module.probs  # blocks between layers read them there
        return module._gates

    hooks = [group.register_forward_hook(expect) for group in groups]
    try:
        yield
    finally:
        for hook, group, gates in zip(hooks, groups, before, strict=True):
            hook.remove()
            group._gates = gates


@contextmanager
def _evaluation(network: nn.Module) -> Iterator[None]:
    """Put all modules into evaluation mode inside."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
