"""The formats that networks are written in."""

from __future__ import annotations

import hashlib
import importlib
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from sfgsearch.errors import ExportError
from sfgsearch.export._description import FILE, KEY, WEIGHTS_DIGEST, NetworkDescription
from sfgsearch.export._program import INPUT, Predict, trace
from sfgsearch.export._rebuild import load_network
from sfgsearch.graph import align_reads, quiet
from sfgsearch.nn import plain_state

if TYPE_CHECKING:
    from torch.export import ExportedProgram


_BLOCK = 4
"""Channels of which ONNX Runtime wants a multiple to run a convolution in blocks, which is up to twice as fast."""


class Format(ABC):
    """A way to write a network; reading it back is part of it, for the verification."""

    def require(self) -> None:
        """Check that the libraries that it needs are there.

        Raises:
            ExportError: If one is missing; it names the extra that brings it.
        """

    def files(self, output: Path) -> tuple[Path, ...]:
        """Return the files that it writes, the output first."""
        return (output,)

    @abstractmethod
    def write(self, network: nn.Module, description: dict[str, Any], output: Path) -> bool | None:
        """Write a network in evaluation mode.

        Returns:
            Whether the written network takes images of other sizes than in training; None if it was not tried.

        Raises:
            ExportError: If the format cannot hold it.
        """

    @abstractmethod
    def read(self, output: Path) -> Predict:
        """Return what was written as a function of images."""


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


class OnnxFormat(Format):
    """One ONNX file with the weights inside; the input is ``images``, outputs have the names of the tasks."""

    def require(self) -> None:
        """Check for ONNX, torch's exporter for it, and ONNX Runtime, which verifies."""
        for library in ("onnx", "onnxscript", "onnxruntime"):
            try:
                importlib.import_module(library)
            except ImportError as error:
                raise ExportError(
                    f"an .onnx file needs {library}; install it with: pip install 'sfgsearch[onnx]'"
                ) from error

    def write(self, network: nn.Module, description: dict[str, Any], output: Path) -> bool:
        """Trace, translate and save the network."""
        names = [str(task["name"]) for task in description["tasks"]]
        if INPUT in names:
            raise ExportError(
                f"a task is called {INPUT!r}, which is the name of the input in ONNX files; write a .pt2 file"
            )
        program = trace(align_reads(network, _BLOCK), tuple(description["image_shape"]))
        axes = {0: "batch"}
        if program.free_space:
            axes |= {axis + 1: f"size_{axis}" for axis in range(1, len(description["image_shape"]))}
        translated = _translate(program.exported, names, axes)
        _rename_inner_values(translated.model.graph)
        translated.model.metadata_props[KEY] = json.dumps(description, allow_nan=False)
        translated.save(str(output), external_data=False)
        return program.free_space

    def read(self, output: Path) -> Predict:
        """Open the graph with ONNX Runtime on the CPU."""
        import onnxruntime

        session = onnxruntime.InferenceSession(str(output), providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]

        def predict(images: Tensor) -> dict[str, Tensor]:
            outputs = session.run(names, {INPUT: images.numpy()})
            return {name: torch.from_numpy(values) for name, values in zip(names, outputs, strict=True)}

        return predict


def _translate(program: ExportedProgram, names: list[str], axes: dict[int, str]) -> torch.onnx.ONNXProgram:
    """Translate a program, its outputs in the order of the tasks."""
    try:
        with quiet():
            translated = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[INPUT],
                output_names=names,
                dynamic_shapes={INPUT: axes},
                verbose=False,
            )
    except Exception as error:  # an operation that ONNX has not, say
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise ExportError(f"torch.onnx cannot translate the network: {reason}") from error
    assert translated is not None  # it is with dynamo=True
    return translated


def _rename_inner_values(graph: Any) -> None:
    """Give way to tasks that are called what the exporter calls a value inside the graph, such as ``relu``."""
    outer = [*graph.inputs, *graph.outputs]
    taken = {value.name for value in outer}
    inner = [value for node in graph for value in node.outputs] + list(graph.initializers.values())
    for value in inner:
        if value.name in taken and not any(value is other for other in outer):
            value.name = f"inner/{value.name}"


class WeightsFormat(Format):
    """Weights as safetensors and the description as JSON of the same stem."""

    def files(self, output: Path) -> tuple[Path, ...]:
        """Return the weights and the JSON."""
        return output, output.with_suffix(".json")

    def write(self, network: nn.Module, description: dict[str, Any], output: Path) -> None:
        """Save weights and description; the rebuilt network takes whatever the backbone does."""
        weights, text = self.files(output)
        content = save(plain_state(network), metadata={"format": "pt"})
        weights.write_bytes(content)  # save_file would bar other users
        description = {**description, WEIGHTS_DIGEST: hashlib.sha256(content).hexdigest()}
        lines = (f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in description.items())
        text.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")

    def read(self, output: Path) -> Predict:
        """Rebuild the network."""
        return load_exported(output)


def load_exported(path: str | Path) -> nn.Module:
    """Read a network that was exported as safetensors and JSON.

    A backbone, task type or structure of your own must be registered before, that is its module imported.

    Returns:
        The network on the CPU, in evaluation mode: images (B, C, *space) in, predictions by task name out.

    Raises:
        ExportError: If a file is missing or unreadable, the network cannot be rebuilt, or the weights are not those
            that were exported with the description; nothing else, whatever is in the files. Who changed the weights
            on purpose removes ``weights_digest`` from the JSON.
    """
    if not Path(path).name:
        raise ExportError(f"{str(path)!r} names no file; give the .safetensors file or the .json beside it")
    weights, text = Path(path).with_suffix(".safetensors"), Path(path).with_suffix(".json")
    try:
        description = NetworkDescription.from_json(text.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExportError(f"{text}: cannot read what describes the network: {error.strerror or error}") from error
    except (ExportError, UnicodeDecodeError) as error:
        raise ExportError(f"{text}: {error}") from error
    try:
        return load_network(description, weights)
    except ExportError as error:
        raise ExportError(f"{text}: {error}") from error
