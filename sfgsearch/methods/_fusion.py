"""One network per task, whose features are mixed: cross-stitch networks and NDDR-CNN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from sfgsearch.allocation import Allocation
from sfgsearch.graph import LockstepNetwork
from sfgsearch.methods._fixed import FixedSystem
from sfgsearch.methods._method import LEARNING_RATES, Method, Randomness, check_between, manual_methods
from sfgsearch.nn import (
    Granularity,
    NetworkSpec,
    build_cross_stitch,
    build_nddr,
    cross_stitch_structure,
    nddr_structure,
)


@dataclass(frozen=True)
class CrossStitchNetworks(Method):
    r"""Train T full-width networks whose feature maps are mixed linearly (Misra et al., CVPR 2016).

    .. math:: \tilde{x}_t[k] = \sum_{u=1}^{T} \alpha_{tuk}\, x_u[k]

    The paper places a unit after every pooling and every fully connected layer of an AlexNet; here every convolution
    and every linear layer reads mixed features, after norm, activation and pool, so that all methods decide in the same
    places; see :class:`~sfgsearch.nn.CrossStitch`. All networks start from random weights: the paper also starts from
    networks that were trained on one task each.

    Args:
        per: ``"channel"`` (the paper) or ``"layer"``: how finely coefficients are learned.
        own: The initial coefficient of a task's own features; the other tasks share the rest evenly.
        lr: Learning rate of the coefficients, which does not decay and which no regularisation accompanies.
    """

    per: Granularity = "channel"
    own: float = 0.9
    lr: float = 1e-2

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> CrossStitchSystem:
        """Build the networks and their units."""
        network = build_cross_stitch(spec, self.per, self.own, randomness.weights)
        return CrossStitchSystem(network.to(device), spec, self)


class CrossStitchSystem(FixedSystem):
    """T networks and their cross-stitch units; complexity counts all of them, with the multiply-adds of the units.

    Args:
        network: The networks.
        spec: What built them.
        settings: Of the method.
    """

    network: LockstepNetwork

    def __init__(self, network: LockstepNetwork, spec: NetworkSpec, settings: CrossStitchNetworks) -> None:
        allocation = Allocation.single_task(spec.filters, spec.task_names)
        super().__init__(network, spec, allocation, cross_stitch_structure(settings.per))
        self._coefficients_lr = settings.lr

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return the weights, and apart from them the coefficients."""
        weights = [*self.network.copies.parameters(), *self.network.ordered_heads.parameters()]
        coefficients = list(self.network.reading.parameters())
        return [
            {"params": weights, "lr": lr, "scheduled": True},
            {"params": coefficients, "lr": self._coefficients_lr, "scheduled": False},
        ]


@manual_methods.register("cross_stitch")
def cross_stitch(spec: NetworkSpec, *, per: Granularity = "channel", own: float = 0.9, lr: float = 1e-2) -> Method:
    """Train one full-width network per task, with cross-stitch units between them.

    Args:
        spec: The network.
        per: ``"channel"`` or ``"layer"``: how finely coefficients are learned.
        own: The initial coefficient of a task's own features, from 0 to 1.
        lr: Learning rate of the coefficients; the paper's is 10 to 1000 times that of the network.

    Raises:
        ValueError: If ``own`` is outside [0, 1], or ``lr`` not from 1e-12 to 100.
    """
    del spec
    check_between("own", own, 0, 1)
    check_between("lr", lr, *LEARNING_RATES)
    return CrossStitchNetworks(per, own, lr)


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
