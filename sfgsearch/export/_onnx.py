"""The ``.onnx`` format: a graph for ONNX Runtime and other engines."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sfgsearch.errors import ExportError
from sfgsearch.export._description import KEY
from sfgsearch.export._formats import Format
from sfgsearch.export._program import INPUT, trace
from sfgsearch.export._verify import Predict
from sfgsearch.graph import quiet

if TYPE_CHECKING:
    from torch.export import ExportedProgram


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
        program = trace(network, tuple(description["image_shape"]))
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
