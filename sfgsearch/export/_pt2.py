"""The ``.pt2`` format: a program that torch alone runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sfgsearch.export._description import FILE
from sfgsearch.export._formats import Format
from sfgsearch.export._program import trace
from sfgsearch.export._verify import Predict
from sfgsearch.graph import quiet


class Pt2Format(Format):
    """Archives of :func:`torch.export.save`; the description is their extra file ``sfgsearch.json``."""

    def write(self, network: nn.Module, description: dict[str, Any], output: Path) -> bool:
        """Trace and save the network."""
        program = trace(network, tuple(description["image_shape"]))
        program.exported.example_inputs = None  # they would be stored as a pickle
        with quiet():
            torch.export.save(program.exported, output, extra_files={FILE: json.dumps(description, allow_nan=False)})
        return program.free_space

    def read(self, output: Path) -> Predict:
        """Load the program."""
        with quiet():
            return torch.export.load(output).module()
