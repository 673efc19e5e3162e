"""Convolutions whose filters are stochastically assigned to groups, and the streams between them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from sfgsearch.nn._groups import FilterGroups

Size = int | Sequence[int]
NormName = Literal["batch", "instance", "none"]
NormFactory = Callable[[int], nn.Module]

_NORMS: dict[tuple[str, int], NormFactory] = {
    ("batch", 2): nn.BatchNorm2d,
    ("batch", 3): nn.BatchNorm3d,
    ("instance", 2): lambda channels: nn.InstanceNorm2d(channels, affine=True),
    ("instance", 3): lambda channels: nn.InstanceNorm3d(channels, affine=True),
}


def norm_factory(name: str, dimensions: int) -> NormFactory:
    """Return what builds a norm for a number of channels.

    Raises:
        ValueError: If the name or the number of dimensions is unknown.
    """
    if name not in get_args(NormName):
        raise ValueError(f"norm must be one of {', '.join(get_args(NormName))}, got {name!r}")
    if dimensions not in (2, 3):
        raise ValueError(f"dimensions must be 2 or 3, got {dimensions}")
    return _NORMS.get((name, dimensions), lambda _channels: nn.Identity())


Streams = tuple[Tensor | None, ...]
"""T+1 tensors of shape (batch, channels, *space): one per task in order, then shared; None for an empty stream."""


def map_streams(function: Callable[[Tensor], Tensor], streams: Streams) -> Streams:
    """Apply a function to every stream, once for streams that are the same tensor."""
    results = {identity: function(stream) for identity, stream in _distinct(streams).items()}
    return tuple(None if stream is None else results[id(stream)] for stream in streams)


def _distinct(streams: Streams) -> dict[int, Tensor]:
    """Return the different tensors among the streams by identity, in the order in which they come."""
    return {id(stream): stream for stream in streams if stream is not None}


def apply_stacked(function: Callable[[Tensor], Tensor], tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Apply a function that treats images by themselves to several tensors at once, stacked along the batch.

    Args:
        function: Maps (B, ...) to (B, ...).
        tensors: At least one, all of one shape (B, C, *space).
    """
    if len(tensors) == 1:
        return [function(tensors[0])]
    results = function(torch.cat(list(tensors)))
    # Not chunk: ONNX cannot split a batch of unknown size.
    return results.reshape(len(tensors), tensors[0].shape[0], *results.shape[1:]).unbind()


def as_streams(inputs: Tensor | Sequence[Tensor | None], num_tasks: int) -> Streams:
    """Return T+1 streams from streams or from one image that all groups read.

    Raises:
        ValueError: If the number of streams is not T+1.
    """
    if isinstance(inputs, Tensor):
        return (inputs,) * (num_tasks + 1)
    if len(inputs) != num_tasks + 1:
        raise ValueError(f"a layer of {num_tasks} tasks reads {num_tasks + 1} streams, got {len(inputs)}")
    return tuple(inputs)


class EachStream(nn.Module):
    """Applies a module without channel parameters (pooling, dropout, padding) to every stream."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, streams: Streams) -> Streams:
        """Return the streams, each passed through the module."""
        return map_streams(self.module, streams)


class SFGConv(nn.Module, ABC):
    r"""A layer of filter groups: convolution, norm, activation, gates and routing.

    .. math::
        a_g = \phi(\mathrm{norm}_g(W * x_g + b)), \qquad F_g = z_{:,g}\, a_g, \qquad
        x'_t = F_t + F_s, \quad x'_s = F_s

    (Bragman et al., ICCV 2019.) The gates come after norm and activation: before them, batch norm would rescale
    the gates away and filters outside a group would emit the norm's offset instead of zero. Use the subclasses
    :class:`SFGConv2d` and :class:`SFGConv3d`.

    Args:
        in_channels: C.
        out_channels: K, the number of filters.
        kernel_size: One size or one per spatial dimension.
        num_tasks: T >= 1.
        stride: As in torch's convolutions.
        padding: Pixels, one number or one per dimension, or ``"same"`` / ``"valid"``.
        dilation: As in torch's convolutions.
        bias: Whether to learn b; None means only if there is no norm, which would cancel it.
        norm: ``"batch"``, ``"instance"`` or ``"none"``; one norm per group, with statistics and affine of its own.
        activation: Builds the activation phi; None for the identity.
        prior: Group prior of the layer's :class:`FilterGroups`, shape (T+1,); uniform if None.
        groups: The layer's groups, instead of new ones with ``prior``; give one or the other.
        name: The layer's name in allocations, where it is part of a backbone.

    Raises:
        ValueError: If groups do not have K filters and T tasks, or an option is unknown.
    """

    dimensions: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        num_tasks: int,
        *,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        bias: bool | None = None,
        norm: str = "batch",
        activation: Callable[[], nn.Module] | None = nn.ReLU,
        prior: Sequence[float] | Tensor | None = None,
        groups: FilterGroups | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.in_channels, self.out_channels, self.num_tasks = in_channels, out_channels, num_tasks
        self.kernel_size = self._per_dimension(kernel_size)
        self.stride, self.dilation = self._per_dimension(stride), self._per_dimension(dilation)
        self.padding = padding if isinstance(padding, str) else self._per_dimension(padding)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *self.kernel_size))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        has_bias = norm == "none" if bias is None else bias
        self.bias = nn.Parameter(torch.zeros(out_channels)) if has_bias else None
        if groups is not None and prior is not None:
            raise ValueError("give either prior or groups, which have a prior of their own")
        self.groups = groups or FilterGroups(out_channels, num_tasks, prior)
        if (self.groups.num_filters, self.groups.num_tasks) != (out_channels, num_tasks):
            raise ValueError(
                f"groups are for {self.groups.num_filters} filters and {self.groups.num_tasks} tasks, "
                f"the layer has {out_channels} and {num_tasks}"
            )
        new_norm = norm_factory(norm, self.dimensions)
        self.norms = nn.ModuleList(new_norm(out_channels) for _ in range(num_tasks + 1))
        self.activation = activation() if activation else nn.Identity()

    def forward(self, inputs: Tensor | Streams, gates: Tensor | None = None) -> Streams:
        """Return the streams x'_1 .. x'_T, x'_s, each of shape (B, K, *space).

        Args:
            inputs: An image (B, C, *space) that every group reads, or T+1 streams of that shape.
            gates: z of shape (K, T+1); those of ``groups()`` if None.

        Raises:
            ValueError: If there are not T+1 streams, or one is empty.
        """
        gates = self.groups() if gates is None else gates
        streams = as_streams(inputs, self.num_tasks)
        if any(stream is None for stream in streams):
            raise ValueError("a layer of stochastic filter groups reads every stream, but one of them is None")
        tensors = _distinct(streams)
        responses = dict(zip(tensors, apply_stacked(self._convolve, list(tensors.values())), strict=True))
        channelwise = (1, -1, *[1] * self.dimensions)
        features = [
            self.activation(norm(responses[id(stream)])) * gate.view(channelwise)
            for norm, stream, gate in zip(self.norms, streams, gates.unbind(1), strict=True)
        ]
        shared = features[-1]
        return (*(feature + shared for feature in features[:-1]), shared)

    @abstractmethod
    def _convolve(self, stacked: Tensor) -> Tensor:
        """Convolve distinct streams, stacked along the batch, with the layer's weight and bias."""

    def _per_dimension(self, value: Size) -> tuple[int, ...]:
        return (value,) * self.dimensions if isinstance(value, int) else tuple(value)

    def extra_repr(self) -> str:
        """Describe the layer in ``print(network)``."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, num_tasks={self.num_tasks}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}"
        )


class SFGConv2d(SFGConv):
    """:class:`SFGConv` over images; weight of shape (K, C, height, width)."""

    dimensions = 2

    def _convolve(self, stacked: Tensor) -> Tensor:
        return nn.functional.conv2d(stacked, self.weight, self.bias, self.stride, self.padding, self.dilation)


class SFGConv3d(SFGConv):
    """:class:`SFGConv` over volumes; weight of shape (K, C, depth, height, width)."""

    dimensions = 3

    def _convolve(self, stacked: Tensor) -> Tensor:
        return nn.functional.conv3d(stacked, self.weight, self.bias, self.stride, self.padding, self.dilation)
