"""The ``.safetensors`` format: weights, and beside them the JSON from which sfgsearch rebuilds the network."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from sfgsearch.errors import ExportError
from sfgsearch.export._description import WEIGHTS_DIGEST, NetworkDescription
from sfgsearch.export._formats import Format
from sfgsearch.export._rebuild import load_network
from sfgsearch.export._verify import Predict
from sfgsearch.nn import plain_state


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

    Args:
        path: The ``.safetensors`` file, or the ``.json`` beside it.

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
