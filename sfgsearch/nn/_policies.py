"""Networks whose tasks select residual blocks: one set of weights, run once per task."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from sfgsearch.errors import AllocationError, BackboneError
from sfgsearch.functional import gumbel_softmax
from sfgsearch.graph import (
    Analysis,
    Copies,
    Junction,
    LockstepNetwork,
    Reading,
    ResidualBlock,
    Run,
    residual_blocks,
)
from sfgsearch.nn._groups import GateSampling
from sfgsearch.nn._network import NetworkSpec
from sfgsearch.nn._structure import Structure, structures

Policy = Mapping[str, tuple[bool, ...]]
"""For every residual block, by name, whether each task selects it."""


class BlockGate(nn.Module, Junction):
    r"""Draws for every task how much of a residual block's branch it adds to the shortcut.

    .. math:: y_t = x_t + u_t\, f(x_t), \qquad (u_t, 1 - u_t) = \mathrm{softmax}\Big(\frac{
        (\log\alpha_t + g_1,\ \log(1 - \alpha_t) + g_2)}{\tau}\Big), \qquad g \sim \mathrm{Gumbel}(0, 1)

    with :math:`\alpha_t = \mathrm{sigmoid}(\text{logits}_t)` (Sun et al., NeurIPS 2020). In evaluation, and once the
    policy has settled, u is 1 where the block is selected with a probability of at least one half, and 0 elsewhere.

    Attributes:
        learning: Whether the block has a policy yet; without one all tasks select it.
        settled: Whether training, too, takes the most probable policy instead of drawing.
    """

    def __init__(self, block: ResidualBlock, num_tasks: int, sampling: GateSampling) -> None:
        super().__init__()
        self.block, self.sampling = block, sampling
        self.learning, self.settled = True, False
        self.logits = nn.Parameter(torch.zeros(num_tasks))

    @property
    def selected(self) -> tuple[bool, ...]:
        """Whether each task most probably selects the block."""
        return tuple((self.logits >= 0).tolist())

    def forward(self) -> Tensor:
        """Return u, shape (T,)."""
        if not self.learning:
            return torch.ones_like(self.logits)
        if self.settled or not self.training:
            return (self.logits >= 0).to(self.logits.dtype)
        log_probs = nn.functional.logsigmoid(torch.stack([self.logits, -self.logits], -1))
        return gumbel_softmax(log_probs, self.sampling.temperature, generator=self.sampling.generator)[:, 0]

    def sources(self, node: fx.Node, copy: int) -> dict[fx.Node, tuple[int]]:
        """Return the task's own copies."""
        return dict.fromkeys(node.all_input_nodes, (copy,))

    def join(self, run: Run, values: Mapping[fx.Node, Copies], copies: Sequence[int]) -> Copies:
        """Return shortcuts and gated branches, added."""
        gates, branches = self(), values[self.block.branch]
        return run({**values, self.block.branch: {copy: gates[copy] * branches[copy] for copy in copies}}, copies)


class DrawnPolicy(Reading):
    """Draws for every task how much it adds of each residual block's branch; see :class:`BlockGate`.

    Raises:
        BackboneError: If the backbone has no residual blocks.
    """

    def __init__(self, analysis: Analysis, sampling: GateSampling) -> None:
        super().__init__()
        self.gates = nn.ModuleList(
            BlockGate(block, analysis.num_tasks, sampling) for block in blocks_to_select(analysis)
        )

    @property
    def junctions(self) -> dict[str, Junction]:
        """The residual blocks."""
        return {gate.block.node.name: gate for gate in cast("Iterable[BlockGate]", self.gates)}

    @property
    def likely(self) -> Policy:
        """The most probable policy."""
        return {gate.block.name: gate.selected for gate in cast("Iterable[BlockGate]", self.gates)}


def blocks_to_select(analysis: Analysis) -> tuple[ResidualBlock, ...]:
    """Return the residual blocks of a backbone.

    Raises:
        BackboneError: If there are none.
    """
    blocks = residual_blocks(analysis)
    if not blocks:
        raise BackboneError(
            "adashare selects residual blocks, and this backbone has none; choose one with shortcuts, such as resnet "
            "or highresnet"
        )
    return blocks


@dataclass(frozen=True)
class _Selection(Junction):
    """A residual block that some tasks skip."""

    block: ResidualBlock
    selected: tuple[bool, ...]

    def sources(self, node: fx.Node, copy: int) -> dict[fx.Node, tuple[int]]:
        """Return the task's own copies, of the shortcut alone where it skips the block."""
        return dict.fromkeys(node.all_input_nodes if self.selected[copy] else (self.block.shortcut,), (copy,))

    def join(self, run: Run, values: Mapping[fx.Node, Copies], copies: Sequence[int]) -> Copies:
        """Return sums where the block is selected, and shortcuts elsewhere."""
        shortcuts = values[self.block.shortcut]
        selected = [copy for copy in copies if self.selected[copy]]
        skipping = {copy: shortcuts[copy] for copy in copies if not self.selected[copy]}
        passed = {id(x): x.clone() for x in skipping.values()}  # what follows may write into it
        results = run(values, selected) if selected else {}
        return {copy: passed[id(skipping[copy])] if copy in skipping else results[copy] for copy in copies}


class SelectedBlocks(Reading):
    """Runs for every task the residual blocks that a policy selects.

    Raises:
        BackboneError: If the backbone has no residual blocks.
        AllocationError: If the policy is not for its blocks and tasks.
    """

    def __init__(self, analysis: Analysis, policy: Policy) -> None:
        super().__init__()
        blocks = blocks_to_select(analysis)
        names = [block.name for block in blocks]
        if set(names) != set(policy):
            raise AllocationError(f"the backbone has residual blocks {', '.join(names)}, not {', '.join(policy)}")
        for name, selected in policy.items():
            if len(selected) != analysis.num_tasks:
                raise AllocationError(
                    f"{name!r} is selected or not by {len(selected)} tasks, the network has {analysis.num_tasks}"
                )
        self.policy = {name: tuple(policy[name]) for name in names}
        self._selections = {block.node.name: _Selection(block, self.policy[block.name]) for block in blocks}

    @property
    def junctions(self) -> Mapping[str, Junction]:
        """The residual blocks."""
        return self._selections


def likely_policy(network: LockstepNetwork) -> Policy:
    """Return the most probable policy of what this module builds."""
    reading = network.reading
    return reading.policy if isinstance(reading, SelectedBlocks) else cast(DrawnPolicy, reading).likely


def build_shared(spec: NetworkSpec, reading: Reading, generator: torch.Generator | None = None) -> LockstepNetwork:
    """Build a backbone that runs once per task with the same weights, and the heads.

    Tasks come to features of different statistics. So batch norms have the same scales and offsets for all tasks, and
    statistics of every task's own, but where tasks have selected the same blocks so far: what they have in common is
    then computed once.
    """
    network, analysis = spec.build(generator), spec.plain_analysis
    copies = [network.backbone, *(_sharing_weights(network.backbone) for _ in spec.tasks[1:])]
    if isinstance(reading, SelectedBlocks):
        _merge(analysis, copies, reading.policy)
    return LockstepNetwork(analysis, copies, network.ordered_heads, spec.task_names, reading)


def _sharing_weights(backbone: nn.Module) -> nn.Module:
    """Return a copy of a backbone with the same parameters, the same modules but for those with buffers."""
    same = {id(module): module for module in backbone.modules() if not any(True for _ in module.buffers())}
    return copy.deepcopy(backbone, {**same, **{id(parameter): parameter for parameter in backbone.parameters()}})


def _merge(analysis: Analysis, copies: Sequence[nn.Module], policy: Policy) -> None:
    """Give tasks the same module with buffers wherever they have selected the same blocks before it."""
    selecting = {block.node: block.name for block in residual_blocks(analysis)}
    before: dict[fx.Node, frozenset[str]] = {}
    for node in analysis.trace.operations:
        operands = [other for other in node.all_input_nodes if other in before]
        before[node] = frozenset({selecting[node]} if node in selecting else ()).union(
            *(before[other] for other in operands)
        )
        for path in _with_buffers(analysis, node, copies[0]):
            first: dict[tuple[bool, ...], nn.Module] = {}
            for task, backbone in enumerate(copies):
                seen = tuple(policy[name][task] for name in sorted(before[node]))
                parent, _, name = path.rpartition(".")
                module = first.setdefault(seen, backbone.get_submodule(path))
                setattr(backbone.get_submodule(parent), name, module)


def _with_buffers(analysis: Analysis, node: fx.Node, backbone: nn.Module) -> set[str]:
    """Return the paths in a backbone of the modules whose buffers a node reads."""
    buffers = {f"backbone.{name}" for name, _ in backbone.named_buffers(remove_duplicate=False)}
    names = {analysis.trace.state.get(other.name, "") for other in node.all_input_nodes} & buffers
    return {name.removeprefix("backbone.").rpartition(".")[0] for name in names}


@torch.no_grad()
def select_blocks(trained: LockstepNetwork) -> LockstepNetwork:
    """Return the network of the most probable policy, with copies of the trained network's weights.

    Its batch-norm statistics are those of drawn gates: re-estimate them before predicting.
    """
    analysis, policy = trained.analysis, likely_policy(trained)
    copies, heads = copy.deepcopy((trained.copies, trained.ordered_heads))
    _merge(analysis, list(copies), policy)
    network = LockstepNetwork(analysis, copies, heads, trained.tasks, SelectedBlocks(analysis, policy))
    return network.train(trained.training)


def policy_structure(policy: Policy) -> Structure:
    """Return the structure of the network of a policy."""
    return Structure("policy", {"policy": {name: list(selected) for name, selected in policy.items()}})


def policy_of(structure: Structure) -> Policy:
    """Return the policy of a structure that :func:`policy_structure` returned."""
    return {name: tuple(map(bool, selected)) for name, selected in structure.details["policy"].items()}


@structures.register("policy")
def _build(spec: NetworkSpec, details: Mapping[str, Any]) -> nn.Module:
    return build_shared(spec, SelectedBlocks(spec.plain_analysis, policy_of(Structure("policy", details))))
