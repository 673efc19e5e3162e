"""Structures: what a plain network is, as JSON, so that it can be built again for its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from sfgsearch._registry import Registry
from sfgsearch.errors import SFGSearchError
from sfgsearch.graph import FixedStreams, StreamsNetwork, compact
from sfgsearch.nn._assignments import Assignment, assignment_rows
from sfgsearch.nn._network import NetworkSpec, SingleTaskNetworks
from sfgsearch.nn._prediction import MonteCarloEnsemble


@dataclass(frozen=True)
class Structure:
    """The make of a network that predicts, beside its backbone and tasks.

    Args:
        kind: Which of :data:`structures` builds it.
        details: Plain data for JSON, as that one needs it.
    """

    kind: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"kind": self.kind, **self.details}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Structure:
        """Read what :meth:`to_dict` returned."""
        return cls(data["kind"], {key: value for key, value in data.items() if key != "kind"})

    def build(self, spec: NetworkSpec) -> nn.Module:
        """Build the network, in evaluation mode, for :meth:`torch.nn.Module.load_state_dict`.

        Raises:
            RegistryError: If nothing builds this kind.
            SFGSearchError: If the details do not fit the network.
        """
        try:
            return structures[self.kind](spec, self.details).eval()
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, SFGSearchError):
                raise
            raise SFGSearchError(f"the structure {self.kind!r} cannot be built: {error!r}") from error


structures: Registry[Callable[[NetworkSpec, Mapping[str, Any]], nn.Module]] = Registry(
    "structure", "@sfgsearch.nn.structures.register('my_structure')"
)
"""Functions of ``(spec, details)`` that build the network of a recorded structure."""


def allocated_structure(assignment: Assignment, *, in_streams: bool = False) -> Structure:
    """Return the structure of the compact network of an assignment."""
    assignments = {name: groups.tolist() for name, groups in assignment.items()}
    return Structure("allocated", {"assignments": assignments, **({"execution": "streams"} if in_streams else {})})


@structures.register("allocated")
def _build_allocated(spec: NetworkSpec, details: Mapping[str, Any]) -> nn.Module:
    assignment = {name: torch.tensor(groups) for name, groups in details["assignments"].items()}
    rows = assignment_rows(spec.analysis, assignment)
    if details.get("execution") == "streams":
        return FixedStreams(StreamsNetwork(spec.build(), spec.analysis, spec.task_names), rows)
    return compact(spec.build(), spec.analysis, rows)


def single_task_structure() -> Structure:
    """Return the structure of one full network per task."""
    return Structure("single_task")


@structures.register("single_task")
def _build_single_task(spec: NetworkSpec, _details: Mapping[str, Any]) -> nn.Module:
    return SingleTaskNetworks.of(spec)


def monte_carlo_structure(members: list[Structure]) -> Structure:
    """Return the structure of an ensemble of networks."""
    return Structure("monte_carlo", {"members": [member.to_dict() for member in members]})


@structures.register("monte_carlo")
def _build_monte_carlo(spec: NetworkSpec, details: Mapping[str, Any]) -> nn.Module:
    members = [Structure.from_dict(member).build(spec) for member in details["members"]]
    return MonteCarloEnsemble(members, {task.name: task.average for task in spec.tasks})
