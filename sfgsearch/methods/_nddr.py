"""NDDR-CNN: every task has a network, and learned projections fuse their features at the ends of stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from sfgsearch._registry import manual_methods
from sfgsearch.allocation import Allocation
from sfgsearch.graph import LockstepNetwork
from sfgsearch.methods._between import check_between
from sfgsearch.methods._fixed import FixedSystem
from sfgsearch.methods._method import Method, Randomness
from sfgsearch.nn import NetworkSpec, build_nddr, nddr_structure


@dataclass(frozen=True)
class NDDRNetworks(Method):
    r"""Train T full-width networks whose features are fused where stages end (Gao et al., CVPR 2019).

    .. math:: \tilde{x}_t = \mathrm{ReLU}(\mathrm{BN}_t(W_t * [x_1, \ldots, x_T]))

    See :class:`~sfgsearch.nn.FusionLayer`. The paper fuses after the pools of a VGG and the stages of a ResNet; here
    that is found in any backbone, see :func:`~sfgsearch.graph.stage_ends`, and the last stage ends before the heads.
    All networks start from random weights: the paper's start from networks that were trained on one task each.

    Args:
        own: The initial coefficient alpha of a task's own features; the other tasks share the rest evenly.
        lr_factor: Of the fusing layers' learning rate, which decays as that of the weights. The paper's is 100, for
            stochastic gradient descent; Adam's steps do not shrink with the gradient, and need no such factor.
    """

    own: float = 0.9
    lr_factor: float = 1.0

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> NDDRSystem:
        """Build the networks and the layers that fuse them."""
        network = build_nddr(spec, self.own, randomness.weights)
        return NDDRSystem(network.to(device), spec, self)


class NDDRSystem(FixedSystem):
    """T networks and what fuses them; complexity counts all of it.

    Args:
        network: The networks.
        spec: What built them.
        settings: Of the method.
    """

    network: LockstepNetwork

    def __init__(self, network: LockstepNetwork, spec: NetworkSpec, settings: NDDRNetworks) -> None:
        super().__init__(network, spec, Allocation.single_task(spec.filters, spec.task_names), nddr_structure())
        self._factor = settings.lr_factor

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return the weights, and apart from them those of fusing layers, if there are several tasks."""
        weights = [*self.network.copies.parameters(), *self.network.ordered_heads.parameters()]
        fusing = list(self.network.reading.parameters())
        groups: list[dict[str, Any]] = [{"params": weights, "lr": lr, "scheduled": True}]
        if fusing:
            groups.append({"params": fusing, "lr": lr * self._factor, "scheduled": True})
        return groups


@manual_methods.register("nddr")
def nddr(spec: NetworkSpec, *, own: float = 0.9, lr_factor: float = 1.0) -> Method:
    """Train one full-width network per task, with 1x1 convolutions that fuse their features where stages end.

    Args:
        spec: The network.
        own: The initial coefficient of a task's own features, from 0 to 1.
        lr_factor: The learning rate of what fuses, as a multiple of that of the weights, from 0.001 to 1000.

    Raises:
        ValueError: If an option is out of its range.
    """
    del spec
    check_between("own", own, 0, 1)
    check_between("lr_factor", lr_factor, 1e-3, 1e3)
    return NDDRNetworks(own, lr_factor)
