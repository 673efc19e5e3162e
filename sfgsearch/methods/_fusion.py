"""One network per task, whose features are mixed: cross-stitch networks and NDDR-CNN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from sfgsearch._registry import manual_methods
from sfgsearch.allocation import Allocation
from sfgsearch.graph import LockstepNetwork
from sfgsearch.methods._fixed import FixedSystem
from sfgsearch.methods._method import LEARNING_RATES, Method, Randomness, check_in
from sfgsearch.nn import (
    Granularity,
    NetworkSpec,
    Structure,
    build_cross_stitch,
    build_nddr,
    cross_stitch_structure,
    nddr_structure,
)


class MixedSystem(FixedSystem):
    """One network per task and what mixes their features; complexity counts all of it.

    Args:
        network: The networks.
        spec: What built them.
        structure: What rebuilds them.
        lr: Learning rate of what mixes, which does not decay; that of the weights if None.
        lr_factor: Factor on the learning rate of the weights.
    """

    network: LockstepNetwork

    def __init__(
        self,
        network: LockstepNetwork,
        spec: NetworkSpec,
        structure: Structure,
        lr: float | None = None,
        lr_factor: float = 1.0,
    ) -> None:
        super().__init__(network, spec, Allocation.single_task(spec.filters, spec.task_names), structure)
        self._lr, self._lr_factor = lr, lr_factor

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return the weights, and apart from them what mixes features, if there are several tasks."""
        mixing = self.network.reading.parameters()
        own = lr * self._lr_factor if self._lr is None else self._lr
        return self.split_parameters(lr, mixing, own, scheduled=self._lr is None)


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
        own: The initial coefficient of a task's own features, from 0 to 1; the other tasks share the rest evenly.
        lr: Learning rate of the coefficients, which does not decay and which no regularisation accompanies; the paper's
            is 10 to 1000 times that of the network.
    """

    per: Granularity = "channel"
    own: float = 0.9
    lr: float = 1e-2

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> MixedSystem:
        """Build the networks and their units."""
        network = build_cross_stitch(spec, self.per, self.own, randomness.weights)
        return MixedSystem(network.to(device), spec, cross_stitch_structure(self.per), self.lr)


@manual_methods.register("cross_stitch")
def cross_stitch(spec: NetworkSpec, *, per: Granularity = "channel", own: float = 0.9, lr: float = 1e-2) -> Method:
    """Train one full-width network per task with cross-stitch units; see :class:`CrossStitchNetworks` for the options.

    Raises:
        ValueError: If ``own`` is outside [0, 1], or ``lr`` not from 1e-12 to 100.
    """
    del spec
    check_in((0, 1), own=own)
    check_in(LEARNING_RATES, lr=lr)
    return CrossStitchNetworks(per, own, lr)


@dataclass(frozen=True)
class NDDRNetworks(Method):
    r"""Train T full-width networks whose features are fused where stages end (Gao et al., CVPR 2019).

    .. math:: \tilde{x}_t = \mathrm{ReLU}(\mathrm{BN}_t(W_t * [x_1, \ldots, x_T]))

    See :class:`~sfgsearch.nn.FusionLayer`. The paper fuses after the pools of a VGG and the stages of a ResNet; here
    that is found in any backbone, see :func:`~sfgsearch.graph.stage_ends`, and the last stage ends before the heads.
    All networks start from random weights: the paper's start from networks that were trained on one task each.

    Args:
        own: The initial coefficient alpha of a task's own features, from 0 to 1; the other tasks share the rest evenly.
        lr_factor: Of the fusing layers' learning rate, which decays as that of the weights, from 0.001 to 1000. The
            paper's is 100, for stochastic gradient descent; Adam's steps do not shrink with the gradient, and need no
            such factor.
    """

    own: float = 0.9
    lr_factor: float = 1.0

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> MixedSystem:
        """Build the networks and the layers that fuse them."""
        network = build_nddr(spec, self.own, randomness.weights)
        return MixedSystem(network.to(device), spec, nddr_structure(), lr_factor=self.lr_factor)


@manual_methods.register("nddr")
def nddr(spec: NetworkSpec, *, own: float = 0.9, lr_factor: float = 1.0) -> Method:
    """Train one full-width network per task with fusing 1x1 convolutions; see :class:`NDDRNetworks` for the options.

    Raises:
        ValueError: If an option is out of its range.
    """
    del spec
    check_in((0, 1), own=own)
    check_in((1e-3, 1e3), lr_factor=lr_factor)
    return NDDRNetworks(own, lr_factor)
