"""Parameters and multiply-adds of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from sfgsearch.graph import GroupedNorm, evaluating

_NORMS = (functional.batch_norm, functional.group_norm, functional.instance_norm, functional.layer_norm)


class Complexity(NamedTuple):
    """Size and cost of a network.

    Args:
        parameters: Numbers that are learned, or that were and are frozen.
        macs: Multiply-adds of convolutions, linear layers and attention for one image; norms do not count.
    """

    parameters: int
    macs: int


@torch.no_grad()
def complexity(network: nn.Module, image_shape: tuple[int, ...]) -> Complexity:
    """Count a network's parameters, and its multiply-adds for one image without computing anything.

    Args:
        network: Maps images of shape (1, C, *space) to anything.
        image_shape: (C, *space).
    """
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in _tensors(network)}
    image = torch.empty(1, *image_shape, device="meta")
    with evaluating(network), _WithoutNorms(), FlopCounterMode(display=False) as counter:
        functional_call(network, shapes, (image,), tie_weights=False)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Complexity(parameters, (counter.get_total_flops() - _flops_of_norms(network, counter)) // 2)


class _WithoutNorms(TorchFunctionMode):
    """Skips norms, which do not count: torch decomposes them on the meta device, for half of the time that it takes."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        return args[0] if func in _NORMS else func(*args, **(kwargs or {}))


def _tensors(network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the parameters and buffers of every module once, those that several modules share under all their names."""
    for prefix, module in network.named_modules():
        parameters = module.named_parameters(prefix, recurse=False, remove_duplicate=False)
        yield from (*parameters, *module.named_buffers(prefix, recurse=False, remove_duplicate=False))


def _flops_of_norms(network: nn.Module, counter: FlopCounterMode) -> int:
    """Return the operations of norms by group, whose moments are products of matrices."""
    counts, root = counter.get_flop_counts(), type(network).__name__
    modules = network.named_modules(remove_duplicate=False)
    paths = [path for path, module in modules if isinstance(module, GroupedNorm)]
    return sum(sum(counts.get(f"{root}.{path}", {}).values()) for path in paths)
