"""Parameters and multiply-adds of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sfgsearch.graph import GroupedNorm, evaluating


class Complexity(NamedTuple):
    """Size and cost of a network.

    Args:
        parameters: Trainable numbers.
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
    with evaluating(network), _Count() as count, _without_norms(network, count):
        functional_call(network, shapes, (image,), tie_weights=False)
    return Complexity(sum(p.numel() for p in network.parameters() if p.requires_grad), count.flops // 2)


def _tensors(network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the parameters and buffers of every module once, those that several modules share under all their names."""
    for prefix, module in network.named_modules():
        parameters = module.named_parameters(prefix, recurse=False, remove_duplicate=False)
        yield from (*parameters, *module.named_buffers(prefix, recurse=False, remove_duplicate=False))


@contextmanager
def _without_norms(network: nn.Module, count: _Count) -> Iterator[None]:
    """Leave out norms by group, whose moments are products of matrices."""

    def switch(is_on: bool) -> Callable[..., None]:
        return lambda *_: setattr(count, "is_on", is_on)

    norms = [module for module in network.modules() if isinstance(module, GroupedNorm)]
    hooks = [
        hook
        for norm in norms
        for hook in (norm.register_forward_pre_hook(switch(False)), norm.register_forward_hook(switch(True)))
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


_aten = torch.ops.aten
_KEEP_SHAPE = {
    *(_aten.relu, _aten.relu_, _aten.leaky_relu, _aten.leaky_relu_, _aten.elu, _aten.elu_, _aten.gelu, _aten.silu),
    *(_aten.silu_, _aten.hardtanh, _aten.hardtanh_, _aten.hardswish, _aten.sigmoid, _aten.tanh, _aten.softplus),
}
_NORMS = {_aten.native_batch_norm}


def _cat(tensors: Sequence[torch.Tensor], dim: int = 0) -> torch.Tensor:
    first = tensors[0]
    if any(tensor.dim() != first.dim() for tensor in tensors):
        return torch.cat(list(tensors), dim)
    shape = list(first.shape)
    shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    return first.new_empty(shape)


def _addmm(_bias: torch.Tensor, left: torch.Tensor, right: torch.Tensor, **_factors: Any) -> torch.Tensor:
    return left.new_empty(left.shape[0], right.shape[1])


_SHAPES: Mapping[Any, Callable[..., torch.Tensor]] = {_aten.cat: _cat, _aten.addmm: _addmm}


class _Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts floating-point operations by torch's own formulas, as ``FlopCounterMode`` does, for the whole only.

    Activations and norms, which do not count, are left out, and two shapes are inferred here: torch's own way to infer
    these takes longer than all else.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops, self.is_on = 0, True

    def __torch_dispatch__(
        self, operation: Any, _types: Any, arguments: Sequence[Any] = (), keywords: Mapping[str, Any] | None = None
    ) -> Any:
        packet = operation.overloadpacket
        if packet in _KEEP_SHAPE:
            return arguments[0]
        if packet in _NORMS:
            return (arguments[0],) * 3
        keywords = keywords or {}
        result = _SHAPES.get(packet, operation)(*arguments, **keywords)
        if self.is_on and packet in flop_registry:
            self.flops += flop_registry[packet](*arguments, **keywords, out_val=result)
        return result
