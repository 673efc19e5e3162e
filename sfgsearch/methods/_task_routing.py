"""Task routing: every task uses a random part of each layer's filters, fixed before training."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sfgsearch._registry import manual_methods
from sfgsearch.functional import random_masks
from sfgsearch.methods._between import check_between
from sfgsearch.methods._fixed import FixedSystem
from sfgsearch.methods._method import Method, Randomness
from sfgsearch.nn import NetworkSpec, RoutedNetwork, routed_allocation, routed_structure


@dataclass(frozen=True)
class TaskRouting(Method):
    r"""Train one set of filters, of which each task uses those of a fixed random mask (Strezoski et al., ICCV 2019).

    .. math:: y_t = f_t(x;\, W \odot M_t), \qquad (M_t)_{kc} = m_{tc}

    See :class:`~sfgsearch.nn.RoutedNetwork`. Masks come from :func:`~sfgsearch.functional.random_masks`: sharing 0
    splits every channel space among the tasks, 1 lets all tasks use all filters. The authors' code draws the masks of
    the tasks independently, each without a fixed number of filters; that leaves some filters to no task, and little to
    anyone where little is to be shared. The proportion of filters that a task lacks, which is what that code asks for,
    is :math:`(1 - \sigma)(1 - 1/T)` here.

    The network predicts as it trains: complexity counts all its parameters, the norms of every task included, and
    the multiply-adds of one pass at full width per task.

    Args:
        sharing: The sharing ratio sigma, from 0 to 1.
    """

    sharing: float = 0.5

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> FixedSystem:
        """Draw the masks and build the network."""
        num_tasks = len(spec.tasks)
        masks = {
            name: random_masks(num_filters, num_tasks, self.sharing, randomness.weights)
            for name, num_filters in spec.plain_analysis.filters.items()
        }
        network = RoutedNetwork(spec.build(randomness.weights), spec.plain_analysis, masks)
        allocation = routed_allocation(masks, spec.task_names)
        return FixedSystem(network.to(device), spec, allocation, routed_structure(masks))


@manual_methods.register("task_routing")
def task_routing(spec: NetworkSpec, *, sharing: float = 0.5) -> Method:
    """Train one set of filters, of which each task uses a fixed random part.

    Args:
        spec: The network.
        sharing: The sharing ratio: 0 splits filters among tasks, 1 shares them all.

    Raises:
        ValueError: If the sharing ratio is outside [0, 1].
    """
    del spec
    check_between("sharing", sharing, 0, 1)
    return TaskRouting(sharing)
