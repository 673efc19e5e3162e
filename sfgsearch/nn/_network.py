"""Multi-task networks: a backbone over streams and one head per task."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sfgsearch.errors import BackboneError
from sfgsearch.nn._builder import LayerBuilder, SurveyBuilder
from sfgsearch.nn._conv import SFGConv
from sfgsearch.nn._streams import StreamLayout, Streams


class Backbone(nn.Module, ABC):
    """Base of backbones: maps T+1 streams of images to T+1 streams of features.

    A subclass takes ``(layers: LayerBuilder, image_shape: tuple[int, ...], **options)``, asks ``layers`` for its
    allocatable layers, and sets :attr:`layout`.

    Attributes:
        layout: Which channels each of the returned streams carries.
    """

    layout: StreamLayout

    @abstractmethod
    def forward(self, streams: Streams) -> Streams:
        """Return the feature streams."""


class Head(nn.Module):
    """What turns a task's stream into its prediction.

    Args:
        reader: The layer that reads the stream's channels: a linear layer or convolution.
        before: Applied to the stream before the reader, without channel parameters; pooling, say.
        after: Applied to the reader's output.
        resize: Whether predictions have space, (B, *space) or (B, numbers, *space), which is interpolated linearly to
            that of the images where the backbone has reduced it.
    """

    def __init__(
        self,
        reader: nn.Module,
        before: nn.Module | None = None,
        after: nn.Module | None = None,
        *,
        resize: bool = False,
    ) -> None:
        super().__init__()
        self.before, self.reader, self.after = before or nn.Identity(), reader, after or nn.Identity()
        self.resize = resize

    def forward(self, stream: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Return the task's prediction from its stream of shape (B, channels, *space).

        Args:
            stream: What the backbone returns for the task.
            size: Space of the images; that of the stream if None.
        """
        prediction: Tensor = self.after(self.reader(self.before(stream)))
        if not self.resize or size is None or tuple(size) == tuple(stream.shape[2:]):
            return prediction
        with_channels = prediction.unsqueeze(1) if prediction.ndim < stream.ndim else prediction
        mode = "bilinear" if len(size) == 2 else "trilinear"
        resized = functional.interpolate(with_channels, list(size), mode=mode, align_corners=False)
        return resized.squeeze(1) if prediction.ndim < stream.ndim else resized


class TaskLike(Protocol):
    """A task, as far as networks need to know it."""

    @property
    def name(self) -> str:
        """The task's name."""

    def head(self, in_channels: int, dimensions: int) -> Head:
        """Build a head that reads a stream of so many channels."""

    def average(self, predictions: Tensor) -> Tensor:
        """Average S predictions, shape (S, B, ...), into one (B, ...)."""


class MultiTaskNetwork(nn.Module):
    """A backbone and the heads of its tasks; maps images to one prediction per task.

    Args:
        backbone: The backbone.
        heads: Heads by task name, in task order.
        readout: Maps the backbone's streams to those that the heads read; the identity if None.
    """

    def __init__(self, backbone: Backbone, heads: dict[str, Head], readout: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone, self.readout = backbone, readout or nn.Identity()
        self.tasks = tuple(heads)
        self.ordered_heads = nn.ModuleList(heads.values())  # by position: a task may be called what a module may not

    @property
    def heads(self) -> dict[str, Head]:
        """The heads by task name."""
        return dict(zip(self.tasks, cast("Iterable[Head]", self.ordered_heads), strict=True))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the predictions by task name for images of shape (B, C, *space)."""
        streams = self.readout(self.backbone((images,) * (len(self.tasks) + 1)))
        size = images.shape[2:]
        return {name: head(streams[task], size) for task, (name, head) in enumerate(self.heads.items())}


@dataclass(frozen=True)
class NetworkSpec:
    """Everything about a network but its allocation; equal for all methods of a study.

    Args:
        backbone: Builds the backbone from a layer builder and the image shape.
        tasks: The tasks, in order.
        image_shape: (C, *space) of one image.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
    """

    backbone: Callable[[LayerBuilder, tuple[int, ...]], Backbone]
    tasks: tuple[TaskLike, ...]
    image_shape: tuple[int, ...]
    norm: str = "batch"

    @property
    def dimensions(self) -> int:
        """Spatial dimensions: 2 for images, 3 for volumes."""
        return len(self.image_shape) - 1

    @property
    def task_names(self) -> tuple[str, ...]:
        """The names of the tasks, in order."""
        return tuple(task.name for task in self.tasks)

    @cached_property
    def filters(self) -> dict[str, int]:
        """Filters of every allocatable layer at full width, in depth order.

        Raises:
            BackboneError: If the backbone does not fit the image shape.
        """
        if self.dimensions not in (2, 3):
            raise BackboneError(
                f"images must be (channels, *space) with 2 or 3 dimensions of space, got {self.image_shape}"
            )
        survey = SurveyBuilder(len(self.tasks), self.dimensions)
        with torch.device("meta"):
            self.backbone(survey, self.image_shape)
        return survey.filters

    def build(self, layers: LayerBuilder) -> MultiTaskNetwork:
        """Build the network with the layers of one method; the state of torch's generator stays as it is.

        Raises:
            BackboneError: If the backbone does not fit the image shape.
            AllocationError: If the builder's allocation does not fit the backbone.
        """
        with torch.random.fork_rng(devices=[]):
            return self._build(layers)

    def _build(self, layers: LayerBuilder) -> MultiTaskNetwork:
        backbone = self.backbone(layers, self.image_shape)
        if not isinstance(getattr(backbone, "layout", None), StreamLayout):
            raise BackboneError(f"{type(backbone).__name__} must set self.layout to the layout of its last layer")
        readout, layout = layers.readout(backbone.layout)
        layers.check_complete()
        heads = {
            task.name: task.head(layout.num_channels(index), self.dimensions) for index, task in enumerate(self.tasks)
        }
        network = MultiTaskNetwork(backbone, heads, readout)
        layers.finish(network, self.image_shape)
        return network


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights anew from an explicit generator (He et al., ICCV 2015), so that a seed fixes a network.

    Convolutions get normal weights for ReLU, linear layers torch's default uniform ones; biases become zero.

    Args:
        network: The network, on the generator's device.
        generator: Source of randomness.
    """
    for module in network.modules():
        if isinstance(module, SFGConv | nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def sfg_layers(network: nn.Module) -> dict[str, SFGConv]:
    """Return the stochastic layers of a network by their names in allocations, in depth order."""
    layers = [module for module in network.modules() if isinstance(module, SFGConv)]
    return {layer.name or str(index): layer for index, layer in enumerate(layers)}
