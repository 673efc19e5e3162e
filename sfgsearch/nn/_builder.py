"""Layer builders: a backbone is written once, and a builder decides what its layers are made of.

A backbone asks its builder for layers by name. What comes back maps streams to streams, whatever the method:
stochastic filter groups, plain convolutions of a fixed allocation, or what a new method brings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from sfgsearch.errors import BackboneError
from sfgsearch.nn._blocks import GatedBlocks, MakeBlock
from sfgsearch.nn._conv import SFGConv, SFGConv2d, SFGConv3d, Size
from sfgsearch.nn._groups import FilterGroups
from sfgsearch.nn._streams import AddStreams, StreamLayout

_SFG_CONVOLUTIONS: dict[int, type[SFGConv]] = {2: SFGConv2d, 3: SFGConv3d}


@dataclass(frozen=True)
class ConvRequest:
    """One allocatable layer as a backbone asks for it; sizes as in torch's convolutions."""

    name: str
    source: StreamLayout
    out_channels: int
    kernel_size: Size
    stride: Size
    padding: Size | str
    dilation: Size
    activation: Callable[[], nn.Module] | None

    @property
    def geometry(self) -> dict[str, Any]:
        """The arguments that every kind of convolution shares."""
        return {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "activation": self.activation,
        }


class LayerBuilder(ABC):
    """Builds the layers of one network for one method.

    Args:
        num_tasks: T >= 1.
        dimensions: Spatial dimensions of the data, 2 or 3.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
    """

    def __init__(self, num_tasks: int, dimensions: int, norm: str = "batch") -> None:
        self.num_tasks, self.dimensions, self.norm = num_tasks, dimensions, norm
        self._names: list[str] = []
        self._convolved: list[StreamLayout] = []

    def image(self, channels: int) -> StreamLayout:
        """Return the layout of the input: every stream is the whole image."""
        return StreamLayout.full(channels, self.num_tasks + 1)

    def conv(
        self,
        name: str,
        source: StreamLayout,
        out_channels: int,
        kernel_size: Size,
        *,
        stride: Size = 1,
        padding: Size | str = "same",
        dilation: Size = 1,
        activation: Callable[[], nn.Module] | None = nn.ReLU,
    ) -> tuple[nn.Module, StreamLayout]:
        """Build one allocatable layer: convolution, norm, activation and routing.

        Args:
            name: The layer's name in allocations, unique in the backbone.
            source: Layout of the streams that it reads.
            out_channels: K, its filters at full width.
            kernel_size: As in torch's convolutions; so are stride, padding and dilation.
            stride: See above.
            padding: See above.
            dilation: See above.
            activation: Builds the activation; None for the identity.

        Returns:
            The layer, which maps streams to streams, and the layout of what it returns.

        Raises:
            BackboneError: If the name is taken.
            AllocationError: If the method's allocation does not fit the layer.
        """
        if name in self._names:
            raise BackboneError(f"a backbone names two layers {name!r}; layer names must differ")
        self._names.append(name)
        request = ConvRequest(name, source, out_channels, kernel_size, stride, padding, dilation, activation)
        layer, layout = self._build_conv(request)
        self._convolved.append(layout)
        return layer, layout

    def add(self, first: StreamLayout, second: StreamLayout) -> tuple[nn.Module, StreamLayout]:
        """Build a residual addition.

        Args:
            first: Layout of the streams of the shortcut.
            second: Layout of the streams that are added to it.

        Returns:
            A module that maps two sets of streams to their sum, and the layout of the sum.
        """
        total = AddStreams(first, second)
        return total, total.layout

    def per_stream(self, source: StreamLayout, make: MakeBlock) -> tuple[nn.Module, StreamLayout]:
        """Build ordinary blocks, whose filters are not allocated, one for every stream that differs.

        Args:
            source: Layout of the streams that the blocks read and return, as :meth:`conv` returned it.
            make: Builds a :class:`~sfgsearch.nn.StreamBlock` of a number of channels.

        Returns:
            A module that maps streams to streams, and their layout, which is the source's.

        Raises:
            BackboneError: If the streams come from elsewhere than :meth:`conv` and blocks on top of it.
        """
        # Every builder refuses what the masked network could not gate, so that a backbone works for all or for none.
        if not any(source is layout for layout in self._convolved):
            raise BackboneError(
                "per_stream blocks must read what conv returned: only there a gate says which channels speak; "
                "build them before an addition, or after one more convolution"
            )
        return self._build_per_stream(source, make), source

    def readout(self, source: StreamLayout) -> tuple[nn.Module, StreamLayout]:
        """Build what turns the backbone's last streams into those that the heads of the tasks read.

        Args:
            source: Layout of the backbone's streams.
        """
        return nn.Identity(), source

    def check_complete(self) -> None:
        """Check, once the backbone stands, that it took everything the method brought.

        Raises:
            AllocationError: If the method's allocation has a layer that the backbone lacks.
        """

    def finish(self, network: nn.Module, image_shape: tuple[int, ...]) -> None:
        """Put the last hand to the network once it stands.

        Args:
            network: Backbone and heads.
            image_shape: (C, *space) of one image.
        """

    @abstractmethod
    def _build_conv(self, request: ConvRequest) -> tuple[nn.Module, StreamLayout]:
        """Build the layer; see :meth:`conv`."""

    @abstractmethod
    def _build_per_stream(self, source: StreamLayout, make: MakeBlock) -> nn.Module:
        """Build the blocks; see :meth:`per_stream`."""


class SFGBuilder(LayerBuilder):
    """Builds layers of stochastic filter groups.

    Args:
        groups: The filter groups of every layer, by name; new uniform ones for layers that are missing.
        num_tasks: T >= 1.
        dimensions: Spatial dimensions of the data, 2 or 3.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
    """

    def __init__(
        self, num_tasks: int, dimensions: int, norm: str = "batch", groups: Mapping[str, FilterGroups] | None = None
    ) -> None:
        super().__init__(num_tasks, dimensions, norm)
        self._groups = dict(groups or {})

    def _build_conv(self, request: ConvRequest) -> tuple[nn.Module, StreamLayout]:
        layer = _SFG_CONVOLUTIONS[self.dimensions](
            request.source.num_channels(0),
            request.out_channels,
            num_tasks=self.num_tasks,
            norm=self.norm,
            groups=self._groups.get(request.name),
            name=request.name,
            **request.geometry,
        )
        full = StreamLayout.full(request.out_channels, self.num_tasks + 1)
        return layer, StreamLayout(full.members, origin=layer.groups)

    def _build_per_stream(self, source: StreamLayout, make: MakeBlock) -> nn.Module:
        groups = cast("FilterGroups", source.origin)
        return GatedBlocks((make(source.num_channels(0)) for _ in source.members), groups)


class SurveyBuilder(LayerBuilder):
    """Builds nothing, but notes every allocatable layer of a backbone.

    Attributes:
        filters: Filters of every layer at full width, in depth order.
    """

    def __init__(self, num_tasks: int, dimensions: int) -> None:
        super().__init__(num_tasks, dimensions)
        self.filters: dict[str, int] = {}

    def _build_conv(self, request: ConvRequest) -> tuple[nn.Module, StreamLayout]:
        self.filters[request.name] = request.out_channels
        return nn.Identity(), StreamLayout.full(request.out_channels, self.num_tasks + 1)

    def _build_per_stream(self, source: StreamLayout, make: MakeBlock) -> nn.Module:
        del source, make
        return nn.Identity()
