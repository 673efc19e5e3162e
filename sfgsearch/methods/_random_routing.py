"""Task routing and Maximum Roaming: every task uses a random part of each layer's filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sfgsearch._registry import manual_methods
from sfgsearch.allocation import Allocation
from sfgsearch.functional import random_masks, roam
from sfgsearch.methods._fixed import FixedSystem
from sfgsearch.methods._method import Method, Randomness, check_in
from sfgsearch.nn import NetworkSpec, RoutedNetwork, Structure, routed_allocation, routed_structure


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
        sharing: The sharing ratio sigma: 0 splits filters among tasks, 1 shares them all.
    """

    sharing: float = 0.5

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> FixedSystem:
        """Draw the masks and build the network."""
        masks = _draw_masks(spec, self.sharing, randomness)
        network = RoutedNetwork(spec.build(randomness.weights), spec.plain_analysis, masks)
        allocation = routed_allocation(masks, spec.task_names)
        return FixedSystem(network.to(device), spec, allocation, routed_structure(masks))


def _draw_masks(spec: NetworkSpec, sharing: float, randomness: Randomness) -> dict[str, Tensor]:
    """Draw which filters each task holds, bool of shape (T, K) by channel space."""
    return {
        name: random_masks(num_filters, len(spec.tasks), sharing, randomness.weights)
        for name, num_filters in spec.plain_analysis.filters.items()
    }


@manual_methods.register("task_routing")
def task_routing(spec: NetworkSpec, *, sharing: float = 0.5) -> Method:
    """Train one set of filters, of which each task uses a fixed random part.

    Raises:
        ValueError: If the sharing ratio is outside [0, 1].
    """
    del spec
    check_in((0, 1), sharing=sharing)
    return TaskRouting(sharing)


_ROAMING = "roaming/"
_GENERATOR, _MASKS, _VISITED = _ROAMING + "generator", _ROAMING + "masks/", _ROAMING + "visited/"


@dataclass(frozen=True)
class MaximumRoaming(Method):
    r"""Train filters among which the masks of the tasks roam (Pascal, Michiardi, Bost, Huet & Zuluaga, AAAI 2021).

    Training starts from the masks of task routing, :func:`~sfgsearch.functional.random_masks`. After every
    :math:`\Delta` steps each task drops a random one of the filters that it holds and takes a random one that it has
    never held, until it has held every filter for at least :math:`\Delta` steps, see
    :func:`~sfgsearch.functional.roam`:

    .. math::
        m_{i^-t} \leftarrow 0, \quad m_{i^+t} \leftarrow 1, \qquad
        i^- \sim \mathcal{U}\{i : m_{it} = 1\}, \quad i^+ \sim \mathcal{U}\{i : i \text{ was never in } m_t\}

    The paper's code exchanges after the same :math:`\Delta` in all layers, so that wide layers roam longer, and takes
    an optimiser step for each task in turn. Here all tasks are trained in one step and, as in later code of its
    authors, all channel spaces finish together: a task that lacks R filters of one at the start exchanges one after
    every :math:`\Delta = \text{finish} \cdot \text{steps} / (R + 1)` steps, and several at once where that is less
    than a step.

    The paper's sharing ratio p is the proportion of filters that a task holds, :math:`p = \sigma + (1 - \sigma) / T`.
    The network predicts as it trains, with the masks of the last step; complexity is that of
    :class:`~sfgsearch.methods.TaskRouting`.

    Args:
        sharing: The sharing ratio sigma: 0 splits filters among tasks, 1 shares them all.
        finish: The part of training that filters roam in, 0.001 to 1.
    """

    sharing: float = 0.5
    finish: float = 0.5

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> RoamingSystem:
        """Draw the masks to start from and build the network."""
        masks = _draw_masks(spec, self.sharing, randomness)
        seed = int(torch.randint(2**62, (), generator=randomness.weights))
        network = RoutedNetwork(spec.build(randomness.weights), spec.plain_analysis, masks)
        return RoamingSystem(network.to(device), spec, masks, self.finish, torch.Generator().manual_seed(seed))


class RoamingSystem(FixedSystem):
    """A routed network whose masks change in training.

    Args:
        network: The routed network.
        spec: What built it.
        masks: The masks to start from by channel space, in depth order, bool of shape (T, K) on the CPU.
        finish: As in :class:`MaximumRoaming`.
        generator: Draws what tasks exchange, on the CPU.
    """

    network: RoutedNetwork

    def __init__(
        self,
        network: RoutedNetwork,
        spec: NetworkSpec,
        masks: dict[str, Tensor],
        finish: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__(network, spec, routed_allocation(masks, spec.task_names), routed_structure(masks))
        self._finish, self._generator = finish, generator
        self._masks, self._visited = dict(masks), dict(masks)
        self._lacking = {name: (~mask).sum(1) for name, mask in masks.items()}

    def begin_step(self, step: int, steps: int) -> None:
        """Exchange the filters of all tasks that are due."""
        has_changed = False
        for name, lacking in self._lacking.items():
            due = (step * (lacking + 1) / (self._finish * steps)).floor().long().minimum(lacking)
            taken = lacking - (~self._visited[name]).sum(1)
            if bool((due > taken).any()):
                swaps = (due - taken).clamp_min(0)
                self._masks[name], self._visited[name] = roam(
                    self._masks[name], self._visited[name], swaps, self._generator
                )
                has_changed = True
        if has_changed:
            self.network.set_masks(self._masks)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the network's state, the masks, which filters each task has held, and the state of the draws."""
        roaming = {_GENERATOR: self._generator.get_state()}
        for name in self._masks:
            roaming |= {_MASKS + name: self._masks[name].clone(), _VISITED + name: self._visited[name].clone()}
        return super().state_dict() | roaming

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state; the masks as the network reads them are part of its own."""
        self._generator.set_state(state[_GENERATOR])
        self._masks = {name: state[_MASKS + name].clone() for name in self._masks}
        self._visited = {name: state[_VISITED + name].clone() for name in self._visited}
        super().load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith(_ROAMING)})

    def allocation(self) -> Allocation:
        """Describe the masks as of now."""
        return routed_allocation(self._masks, self.spec.task_names)

    def structure(self) -> Structure:
        """Return the structure with the masks as of now."""
        return routed_structure(self._masks)


@manual_methods.register("maximum_roaming")
def maximum_roaming(spec: NetworkSpec, *, sharing: float = 0.5, finish: float = 0.5) -> Method:
    """Train one set of filters, of which each task uses a part that changes until it has used them all.

    Raises:
        ValueError: If an option is out of its range.
    """
    del spec
    check_in((0, 1), sharing=sharing)
    check_in((0.001, 1), finish=finish)
    return MaximumRoaming(sharing, finish)
