"""Where two runs of a network part: the first module that returns something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sfgsearch.graph._nodes import owners

if TYPE_CHECKING:
    from sfgsearch.graph._trace import Trace

_TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Of differences, relative to the largest number; what goes wrong is greater by far. Coarser types get 0.05."""


def are_equal(expected: Sequence[Tensor], found: Sequence[Tensor]) -> bool:
    """Return whether tensors are equal but for rounding."""
    return all(_is_equal(one, other) for one, other in zip(expected, found, strict=True))


def _is_equal(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    scale = float(torch.nan_to_num(one, 0, 0, 0).abs().max()) if one.numel() else 0.0
    tolerance = _TOLERANCES.get(one.dtype, 0.05) * max(scale, torch.finfo(torch.float32).tiny)
    return torch.allclose(one, other.to(one.dtype), rtol=0, atol=tolerance, equal_nan=True)


def values_by_module(network: nn.Module, run: Callable[[], Any]) -> dict[str, Tensor]:
    """Return the tensor that every module returns while something runs, by path; the last one of several."""
    found: dict[str, Tensor] = {}

    def note(path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            found.pop(path, None)  # the order is that of the last calls
            if isinstance(output, Tensor):
                found[path] = output.clone()

        return hook

    hooks = [module.register_forward_hook(note(path)) for path, module in network.named_modules()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def graph_by_module(trace: Trace, network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return the last value that a graph computes for every module, by path."""
    found: dict[str, Tensor] = {}
    for node, value in trace.values(network, images):
        if isinstance(value, Tensor):
            found.update(dict.fromkeys(owners(node), value))
    return found


def first_difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Return in words from which module on values differ; empty if that cannot be told."""
    differ = (path for path, value in expected.items() if path in found and not _is_equal(value, found[path]))
    place = next(differ, "")
    return f", from {place} on" if place else ""
