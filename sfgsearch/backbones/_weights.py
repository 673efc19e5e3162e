"""Starting weights from files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sfgsearch.errors import BackboneError

_CONTAINERS = ("state_dict", "model_state_dict", "model", "state_dict_ema")
"""Keys under which training scripts keep the state of a model beside other things."""
_COUNTER = "num_batches_tracked"


def load_weights(network: nn.Module, file: Path) -> None:
    """Load weights and statistics that a network starts from.

    The file may hold more, such as a classifier, and its names may have a prefix, such as those of wrapped or exported
    models. A first convolution for three colours is changed for other numbers of channels, see :func:`adapt_channels`.

    Args:
        network: The network.
        file: A safetensors file, or a state dict as :func:`torch.save` writes it; only tensors are read.

    Raises:
        BackboneError: If it is missing, unreadable, or of another network.
    """
    wanted = network.state_dict()
    found = _without_prefix(_read(file), list(wanted))
    needed = [name for name in wanted if not name.endswith(_COUNTER)]
    missing = [name for name in needed if name not in found]
    if missing:
        raise BackboneError(
            f"the weights {file} lack {len(missing)} of the network's {len(needed)}, such as {missing[0]}; are they of "
            "another network?"
        )
    state = {name: adapt_channels(found[name], tensor.shape) for name, tensor in wanted.items() if name in found}
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise BackboneError(
                f"the weights {file} are of another network: {name} has shape {tuple(tensor.shape)} there, and "
                f"{tuple(wanted[name].shape)} in the network"
            )
    network.load_state_dict(state, strict=False)


def adapt_channels(weight: Tensor, wanted: torch.Size) -> Tensor:
    """Return a first convolution's weight for images of other channels, as timm does; others as they are.

    For one channel the weights of all colours are summed, which reads a grey image as equal colours; for more, the
    colours are repeated, and scaled so that responses keep their size.

    Args:
        weight: Shape (K, 3, *kernel).
        wanted: Shape of the weight that is wanted, (K, C, *kernel).
    """
    is_first = weight.ndim > 3 and weight.shape[1] == 3 and len(wanted) == weight.ndim
    if not is_first or weight.shape == wanted or (weight.shape[0], *weight.shape[2:]) != (wanted[0], *wanted[2:]):
        return weight
    channels = wanted[1]
    if channels == 1:
        red, green, blue = weight.unbind(1)
        return (red + green + blue)[:, None]  # in this order on every machine
    repeated = weight.repeat(1, -(-channels // 3), *[1] * (weight.ndim - 2))[:, :channels]
    return repeated * (3 / channels)


def _read(file: Path) -> Mapping[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise BackboneError(f"the weights {file} are missing") from error
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BackboneError(f"the weights {file} cannot be read: {reason}") from error
    except Exception as error:  # the unpickler raises many kinds, at length
        raise BackboneError(
            f"the weights {file} cannot be read as a dict of tensors ({type(error).__name__}); save "
            "model.state_dict() by torch.save or safetensors"
        ) from error
    tensors = _tensors(content)
    if not tensors:
        raise BackboneError(f"the weights {file} hold no tensors by name; save model.state_dict()")
    return tensors


def _tensors(content: Any) -> dict[str, Tensor]:
    """Return the tensors of a state dict, which may be inside a training script's checkpoint."""
    if not isinstance(content, Mapping):
        return {}
    inner = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
    if inner is not None:
        return _tensors(inner)
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _without_prefix(found: Mapping[str, Tensor], wanted: list[str]) -> Mapping[str, Tensor]:
    """Return tensors under the names of a network: without the prefix that fits most of them."""
    prefixes = {name.removesuffix(wanted[0]) for name in found if name.endswith(wanted[0])}
    best = max(sorted(prefixes), key=lambda prefix: sum(f"{prefix}{name}" in found for name in wanted), default="")
    return {name.removeprefix(best): tensor for name, tensor in found.items() if name.startswith(best)}
