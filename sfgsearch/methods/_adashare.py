"""AdaShare: every task learns which residual blocks of one network it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, cast

import torch
from torch import Tensor, nn

from sfgsearch._registry import manual_methods
from sfgsearch.allocation import Allocation, LayerAllocation, group_names
from sfgsearch.functional import ScheduleFamily, TemperatureSchedule
from sfgsearch.graph import LockstepNetwork, reached
from sfgsearch.methods._fixed import FixedSystem
from sfgsearch.methods._method import (
    LEARNING_RATES,
    TEMPERATURES,
    WEIGHTS,
    Method,
    Randomness,
    SearchingSystem,
    check_in,
)
from sfgsearch.nn import (
    BlockGate,
    DrawnPolicy,
    GateSampling,
    NetworkSpec,
    Policy,
    SelectedBlocks,
    Structure,
    blocks_to_select,
    build_shared,
    likely_policy,
    policy_of,
    policy_structure,
    select_blocks,
)


@dataclass(frozen=True)
class AdaShare(Method):
    r"""Learn for every task and residual block whether the task runs the block (Sun et al., NeurIPS 2020).

    .. math::
        L = \sum_t L_t + \lambda_{sp} \sum_{l,t} \log \alpha_{lt}
        + \lambda_{sh} \sum_{t < u} \sum_{l=0}^{L-1} \frac{L - l}{L}\, |\alpha_{lt} - \alpha_{lu}|

    with the probabilities :math:`\alpha_{lt}` that task t selects block l; see :class:`~sfgsearch.nn.BlockGate` for
    the draws. All tasks run all blocks at first; then policies are learned from the last block to the first, one after
    another (the paper's curriculum); for the last part of the steps they stay the most probable ones. The comparison
    trains the selected blocks from scratch, as the paper does.

    The paper learns policies and weights in turn, on different parts of the training data; here both learn at once,
    as those of all methods. The paper's code has one set of batch-norm statistics for all tasks; see
    :func:`~sfgsearch.nn.build_shared` for those here.

    Args:
        lr: Learning rate of the policies (Adam), constant over training.
        sparsity: lambda_sp, by which tasks skip blocks. The paper's code averages :math:`-\log(1 - \alpha)` over blocks
            instead, with a weight of 0.05 or 0.001; where steps are few, 0.05 on the paper's sum makes tasks skip
            nearly all blocks.
        sharing: lambda_sh, by which tasks select the same blocks, most of all the first ones.
        warmup: Part of the steps, from the first, in which all tasks run all blocks.
        curriculum: Part of the steps, after these, until all blocks have a policy.
        settle: Part of the steps, to the last, in which policies stand still.
        temperature: The schedule, per step.

    Raises:
        ValueError: If the parts are negative or above 1 together.
    """

    lr: float = 0.05
    sparsity: float = 0.01
    sharing: float = 0.05
    warmup: float = 0.1
    curriculum: float = 0.2
    settle: float = 0.5
    temperature: TemperatureSchedule = field(default_factory=lambda: TemperatureSchedule(start=5.0, end=0.5))

    def __post_init__(self) -> None:
        parts = self.warmup, self.curriculum, self.settle
        if min(parts) < 0 or sum(parts) > 1:
            raise ValueError(
                "warmup, curriculum and settle are parts of all steps, not negative and at most 1 together, "
                f"got {', '.join(map(str, parts))}"
            )

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> AdaShareSystem:
        """Build the network and its policies.

        Raises:
            BackboneError: If the backbone has no residual blocks.
        """
        sampling = GateSampling(generator=randomness.gates)
        network = build_shared(spec, DrawnPolicy(spec.plain_analysis, sampling), randomness.weights)
        return AdaShareSystem(network.to(device), spec, self, sampling)

    def retraining(self, structure: Structure) -> Method:
        """Return the training of the blocks that were selected."""
        return FixedPolicy(policy_of(structure))


class AdaShareSystem(SearchingSystem):
    """A network whose policies are being learned; all its gates draw by one ``sampling``."""

    network: LockstepNetwork

    def __init__(self, network: LockstepNetwork, spec: NetworkSpec, method: AdaShare, sampling: GateSampling) -> None:
        super().__init__(network, spec)
        self.method, self.sampling, self.hold = method, sampling, 1 - method.settle
        self._gates = [cast(BlockGate, gate) for gate in cast(DrawnPolicy, network.reading).gates]

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return the weights, and apart from them the policies."""
        return self.split_parameters(lr, self.network.reading.parameters(), self.method.lr)

    def begin_step(self, step: int, steps: int) -> None:
        """Set the temperature, which blocks have a policy yet, and whether policies have settled."""
        self.sampling.temperature = self.method.temperature(step, steps)
        first = len(self._gates) - self._count_learning(step, steps)
        for depth, gate in enumerate(self._gates):
            gate.learning, gate.settled = depth >= first, step >= self.hold * steps

    def _count_learning(self, step: int, steps: int) -> int:
        """Return how many of the last blocks have a policy."""
        since, length = step - self.method.warmup * steps, self.method.curriculum * steps
        if since < 0:
            return 0
        return len(self._gates) if since >= length else int(since / length * len(self._gates)) + 1

    def penalty(self) -> Tensor:
        """Return the sparsity and sharing losses of the blocks whose policy is being learned."""
        num_blocks, total = len(self._gates), torch.zeros((), device=next(self.network.parameters()).device)
        for depth, gate in enumerate(self._gates):
            if not gate.learning or gate.settled:
                continue
            probs = gate.logits.sigmoid()
            apart = [(probs[one] - probs[other]).abs() for one, other in combinations(range(len(probs)), 2)]
            total = total + self.method.sparsity * nn.functional.logsigmoid(gate.logits).sum()
            total = total + self.method.sharing * (num_blocks - depth) / num_blocks * sum(apart, total.new_zeros(()))
        return total

    def policy(self) -> Policy:
        """Return the most probable policy as of now."""
        return likely_policy(self.network)

    def derived(self) -> nn.Module:
        """Return the network of the most probable policy."""
        return select_blocks(self.network)

    def allocation(self) -> Allocation:
        """Return what the most probable policy amounts to."""
        return _allocation(self.spec, self.policy())

    def structure(self) -> Structure:
        """Return that of the network of the most probable policy."""
        return policy_structure(self.policy())


@dataclass(frozen=True)
class FixedPolicy(Method):
    """Train the blocks that a policy selects from scratch."""

    policy: Policy

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> FixedSystem:
        """Build the network.

        Raises:
            AllocationError: If the policy does not fit it.
        """
        network = build_shared(spec, SelectedBlocks(spec.plain_analysis, self.policy), randomness.weights)
        policy = likely_policy(network)
        return FixedSystem(network.to(device), spec, _allocation(spec, policy), policy_structure(policy))


def _allocation(spec: NetworkSpec, policy: Policy) -> Allocation:
    """Return how many filters serve one task, or several: these are shared.

    Channel spaces that a task has no part in, as it skips a block, are left out: an allocation gives every task
    something to read. The policy tells them.
    """
    analysis, tasks = spec.plain_analysis, range(len(spec.tasks))
    reading = SelectedBlocks(analysis, policy)
    used: list[set[str]] = []
    for task in tasks:
        found = reached(analysis, reading, [task])
        used.append({name for placeholder, name in analysis.trace.state.items() if found[placeholder]})
    layers = [
        LayerAllocation(space.name, (*[0] * len(tasks), space.num_filters))
        if len(tasks) > 1
        else LayerAllocation(space.name, (space.num_filters, 0))
        for space in analysis.spaces
        if all(any(weight in names for weight in space.layers) for names in used)
    ]
    return Allocation(group_names(spec.task_names), tuple(layers))


@manual_methods.register("adashare")
def adashare(
    spec: NetworkSpec,
    *,
    lr: float = 0.05,
    sparsity: float = 0.01,
    sharing: float = 0.05,
    warmup: float = 0.1,
    curriculum: float = 0.2,
    settle: float = 0.5,
    schedule: ScheduleFamily = "exponential",
    start: float = 5.0,
    end: float = 0.5,
) -> Method:
    """Learn which residual blocks each task runs (Sun et al., 2020), with the options of :class:`AdaShare`.

    Raises:
        BackboneError: If the backbone has no residual blocks.
        ValueError: If a number is out of range.
    """
    blocks_to_select(spec.plain_analysis)
    check_in(LEARNING_RATES, lr=lr)
    check_in(WEIGHTS, sparsity=sparsity, sharing=sharing)
    check_in(TEMPERATURES, start=start, end=end)
    return AdaShare(lr, sparsity, sharing, warmup, curriculum, settle, TemperatureSchedule(schedule, start, end))
