"""Running a network with masked weights, those of computed kernels where layers read them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from sfgsearch.graph._masks import apply_mask, parameter_of

_FUNCTIONS = (functional.conv1d, functional.conv2d, functional.conv3d, functional.linear)
_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
"""Of all these functions, in order."""


class MasksKernels(TorchFunctionMode):
    """Multiplies kernels with masks where layers read them, inside.

    A kernel is known by what it comes from: every tensor that an operation returns that read the parameter, or another
    such tensor, until a layer takes one as its weight.

    Args:
        masks: Masks (first, second) by the identity of the parameter.
    """

    def __init__(self, masks: Mapping[int, Tensor]) -> None:
        super().__init__()
        self._masks = dict(masks)
        self._kept: list[Any] = []  # identities are of tensors that exist

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if func in _FUNCTIONS:
            given = {**dict(zip(_ARGUMENTS, args, strict=False)), **named}
            mask = self._masks.get(id(given["weight"]))
            if mask is None:
                return func(*args, **named)
            return func(**{**given, "weight": apply_mask(given["weight"], mask)})
        result = func(*args, **named)
        mask = next(
            (self._masks[id(one)] for one in _tensors((*args, *named.values())) if id(one) in self._masks), None
        )
        if mask is not None:
            for tensor in _tensors((result,)):
                self._masks.setdefault(id(tensor), mask)
                self._kept.append(tensor)
        return result


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from (one for one in value if isinstance(one, Tensor))


def call_masked(
    network: nn.Module,
    masks: Mapping[str, Tensor],
    computed: Container[str],
    images: tuple[Any, ...],
    state: Mapping[str, Tensor] | None = None,
) -> Any:
    """Run a network with masked weights.

    Args:
        network: The network.
        masks: Masks by the names of weights.
        computed: Names of weights of which kernels are computed, which are masked in their place.
        images: The network's arguments.
        state: Other parameters and buffers that stand for the network's own, by name.
    """
    weights, kernels = dict(state or {}), dict[int, Tensor]()
    for name, mask in masks.items():
        parameter = parameter_of(network, name)
        if name in computed:
            kernels[id(parameter)] = mask
        else:
            weights[name] = apply_mask(parameter, mask)
    with MasksKernels(kernels) if kernels else nullcontext():
        return functional_call(network, weights, images)


class MaskedKernel(nn.Module):
    """A layer whose computed kernel has a fixed mask.

    Args:
        layer: The layer, as the network has it.
        weight: Name in it of the parameter that its kernel comes from.
        mask: Shape (K, C / G).
    """

    mask: Tensor

    def __init__(self, layer: nn.Module, weight: str, mask: Tensor) -> None:
        super().__init__()
        self.layer, self._weight = layer, weight
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, *args: Any) -> Any:
        """Return what the layer returns, with its kernel masked."""
        with MasksKernels({id(parameter_of(self.layer, self._weight)): self.mask}):
            return self.layer(*args)
