"""Checking, on random images, that all executions of an allocation are one network, before a study relies on it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sfgsearch.errors import BackboneError
from sfgsearch.graph._analysis import Analysis
from sfgsearch.graph._checks import check_graph, in_order, reason_of
from sfgsearch.graph._compact import compact
from sfgsearch.graph._dense import DenseNetwork
from sfgsearch.graph._masks import hard_gates
from sfgsearch.graph._places import are_equal, first_difference, values_by_module
from sfgsearch.graph._repair import repair_assignment
from sfgsearch.graph._streams import FixedStreams, StreamsNetwork
from sfgsearch.graph._trace import evaluating

_REMEDY = (
    "a forward must do the same whatever its parameters are made of, and use the weights of other layers by calling "
    "these layers only"
)
_SHARED = 0.4
"""The part of filters that is shared in what is tried out."""


def verify(network: nn.Module, analysis: Analysis, example: Tensor, tasks: Sequence[str] | None = None) -> None:
    """Check on random images that a network's graph, its masked and its compact network compute what they should.

    In evaluation mode, the exported graph must compute what the network does; so must the network in groups while all
    filters are shared; and the compact network must compute what the masked one does under an unequal assignment. It is
    a copy that is checked, whose constant parameters are drawn anew: a branch that starts at zero hides what is wrong.

    Args:
        network: The plain network that was analysed; it stays as it is.
        analysis: Its analysis.
        example: Two images of the size that it is for, on its device; their numbers do not matter.
        tasks: Names of the tasks in order, where predictions have names.

    Raises:
        BackboneError: If two differ or one fails, with the first module that does where it can be told, and a remedy.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(example.shape, generator=generator).to(example)
    checked = _varied(network, generator)
    with evaluating(checked), torch.no_grad():
        try:
            try:
                _compare(checked, analysis, images[:1], tasks)
            except RuntimeError:  # the graph is for one batch size only
                _compare(checked, analysis, images, tasks)
        except BackboneError as error:
            if images.dtype == torch.float64 or not _holds_in_float64(checked, analysis, images, tasks):
                raise error from error.__cause__


def _varied(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """Return a copy of a network whose constant parameters are drawn anew."""
    varied = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in varied.parameters():
            if bool((parameter == parameter.flatten()[0]).all()):
                parameter.add_((torch.rand(parameter.shape, generator=generator) - 0.5).to(parameter))
    return varied


def _holds_in_float64(network: nn.Module, analysis: Analysis, images: Tensor, tasks: Sequence[str] | None) -> bool:
    """Return whether what differed was rounding, which some networks amplify."""
    try:
        _compare(network.double(), analysis, images.double(), tasks)
    except Exception:  # it may be for one type of numbers only
        return False
    return True


def _compare(network: nn.Module, analysis: Analysis, images: Tensor, tasks: Sequence[str] | None) -> None:
    expected = check_graph(analysis.trace, network, images, tasks)
    shared = torch.full((analysis.num_filters,), analysis.num_tasks)
    plain = _Run("the network", network, lambda: network(images), expected)
    if analysis.parts:  # neither masked nor compact networks run parts of every stream
        streams = FixedStreams(StreamsNetwork(network, analysis), shared).eval()
        _check_same(plain, _Run("the network in streams", nn.Identity(), lambda: streams(images)), tasks)
        return
    masked = DenseNetwork(network, analysis).to(images.device)
    _check_same(plain, _under(masked, analysis, shared, images, "with all filters shared"), tasks)
    unequal = _unequal(analysis)
    small = compact(network, analysis, unequal).eval()
    with_masks = _under(masked, analysis, unequal, images, "under an unequal allocation")
    _check_same(with_masks, _Run("the compact network", small, lambda: small(images)), tasks)


@dataclass
class _Run:
    """A run of some execution.

    Args:
        name: What runs, in words.
        network: The network whose modules run.
        run: Runs it.
        known: What it predicts, where that is known.
    """

    name: str
    network: nn.Module
    run: Callable[[], Any]
    known: tuple[Tensor, ...] | None = None

    def predictions(self, tasks: Sequence[str] | None) -> tuple[Tensor, ...]:
        """Return the predictions in order.

        Raises:
            BackboneError: If it fails.
        """
        if self.known is not None:
            return self.known
        try:
            return in_order(self.run(), tasks)
        except Exception as error:  # whatever the network's own code raises
            raise BackboneError(f"{self.name} fails: {reason_of(error)}; {_REMEDY}") from error


def _under(masked: DenseNetwork, analysis: Analysis, assignment: Tensor, images: Tensor, how: str) -> _Run:
    gates = hard_gates(assignment, analysis.num_tasks).to(images)
    return _Run(f"the masked network {how}", masked.network, lambda: masked(images, gates))


def _unequal(analysis: Analysis) -> Tensor:
    """Return an assignment with filters of all groups, in other proportions in every layer."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(analysis.num_tasks, (analysis.num_filters,), generator=generator)
    drawn[torch.rand(analysis.num_filters, generator=generator) < _SHARED] = analysis.num_tasks
    return repair_assignment(analysis, drawn)[0]


def _check_same(expected: _Run, found: _Run, tasks: Sequence[str] | None) -> None:
    if not are_equal(expected.predictions(tasks), found.predictions(tasks)):
        place = first_difference(*(values_by_module(one.network, one.run) for one in (expected, found)))
        raise BackboneError(f"{found.name} does not compute what {expected.name} computes{place}; {_REMEDY}")
