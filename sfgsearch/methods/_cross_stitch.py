"""Cross-stitch networks: every task has a network, and each layer learns how much of the others' it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from sfgsearch._registry import manual_methods
from sfgsearch.allocation import Allocation
from sfgsearch.graph import LockstepNetwork
from sfgsearch.methods._between import LEARNING_RATES, check_between
from sfgsearch.methods._fixed import FixedSystem
from sfgsearch.methods._method import Method, Randomness
from sfgsearch.nn import Granularity, NetworkSpec, build_cross_stitch, cross_stitch_structure


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
