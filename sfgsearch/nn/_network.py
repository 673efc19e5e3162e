"""Plain multi-task networks: a backbone and one head per task, what specifies one, and several side by side."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sfgsearch.errors import BackboneError
from sfgsearch.graph import BACKBONE, Analysis, LockstepNetwork, Reading, analyse, evaluating, name_in_backbone
from sfgsearch.nn._paths import is_within, matching, paths_in


class Head(nn.Module):
    """Turns features into a task's prediction.

    Args:
        reader: The layer that reads the features' channels: a linear layer or convolution.
        before: Applied to the features before the reader, without channel parameters; pooling, say.
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

    def forward(self, features: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Return the task's prediction from features of shape (B, channels, *space)."""
        prediction: Tensor = self.after(self.reader(self.before(features)))
        if not self.resize or size is None or tuple(size) == tuple(features.shape[2:]):
            return prediction
        with_channels = prediction.unsqueeze(1) if prediction.ndim < features.ndim else prediction
        mode = "bilinear" if len(size) == 2 else "trilinear"
        resized = functional.interpolate(with_channels, list(size), mode=mode, align_corners=False)
        return resized.squeeze(1) if prediction.ndim < features.ndim else resized


class TaskLike(Protocol):
    """A task, as far as networks need to know it."""

    @property
    def name(self) -> str:
        """The task's name."""

    def head(self, in_channels: int, dimensions: int) -> Head:
        """Build a head that reads so many channels."""

    def average(self, predictions: Tensor) -> Tensor:
        """Average S predictions, shape (S, B, ...), into one (B, ...)."""


class MultiTaskNetwork(nn.Module):
    """A backbone and the heads of its tasks; maps images to one prediction per task, by name.

    Args:
        backbone: Maps images (B, C, *space) to features (B, K, *space) or (B, K), or to several, of which the last
            are read.
        heads: Heads by task name, in task order.
    """

    def __init__(self, backbone: nn.Module, heads: dict[str, Head]) -> None:
        super().__init__()
        self.backbone, self.tasks = backbone, tuple(heads)
        self.ordered_heads = nn.ModuleList(heads.values())  # by position: a task may be called what a module may not

    @property
    def heads(self) -> dict[str, Head]:
        """The heads by task name."""
        return dict(zip(self.tasks, cast("Iterable[Head]", self.ordered_heads), strict=True))

    def forward(self, images: Tensor, tasks: Collection[str] | None = None) -> dict[str, Tensor]:
        """Return the predictions by task name.

        Args:
            images: Shape (B, C, *space).
            tasks: Names of the tasks that are predicted; all if None.
        """
        features = as_map(self.backbone(images), images.ndim)
        asked = self.tasks if tasks is None else tasks
        return {name: head(features, images.shape[2:]) for name, head in self.heads.items() if name in asked}

    @classmethod
    def of(cls, backbone: nn.Module, tasks: Sequence[TaskLike], example: Tensor) -> MultiTaskNetwork:
        """Put heads on a backbone.

        Args:
            backbone: See above.
            tasks: The tasks, which bring the heads.
            example: Images of the size that it is for, at least two, on the backbone's device.

        Raises:
            BackboneError: If the backbone returns no features.
        """
        with torch.no_grad(), evaluating(backbone):
            channels = as_map(backbone(example), example.ndim).shape[1]
        return cls(backbone, {task.name: task.head(channels, example.ndim - 2) for task in tasks})


def as_map(features: Any, ndim: int) -> Tensor:
    """Return the features of a backbone as a map (B, K, *space), with space of size one for a vector.

    Raises:
        BackboneError: If it is neither a map nor a vector, or a sequence of these.
    """
    last = features[-1] if isinstance(features, Sequence) and features else features
    if not isinstance(last, Tensor) or last.ndim not in (2, ndim):
        found = tuple(last.shape) if isinstance(last, Tensor) else type(last).__name__
        raise BackboneError(
            f"a backbone must return features of {ndim} dimensions (B, channels, *space) or 2 (B, channels), got "
            f"{found}"
        )
    return last[(..., *[None] * (ndim - 2))] if last.ndim == 2 else last


_analyses: deque[tuple[tuple[object, ...], Analysis]] = deque(maxlen=16)
"""The last analyses, which take seconds: a study, its objective and the rebuilding of its networks ask for the same."""


@dataclass(frozen=True)
class NetworkSpec:
    """Everything about a network but its allocation; equal for all methods of a study.

    Args:
        backbone: Builds the backbone for an image shape (C, *space): any module that returns features, see
            :class:`MultiTaskNetwork`. It draws weights from torch's own generator, or brings them.
        tasks: The tasks, in order.
        image_shape: (C, *space) of one image.
        allocate: The modules of the backbone whose filters are allocated; all if None.
        keep_shared: Those whose filters stay shared whatever is allocated.
        is_pretrained: Whether the backbone starts from weights that know something. Which filters go to which group
            then matters: see :func:`~sfgsearch.nn.deal_by_weight`.
    """

    backbone: Callable[[tuple[int, ...]], nn.Module]
    tasks: tuple[TaskLike, ...]
    image_shape: tuple[int, ...]
    allocate: tuple[str, ...] | None = None
    keep_shared: tuple[str, ...] = ()
    is_pretrained: bool = False

    @property
    def dimensions(self) -> int:
        """Spatial dimensions: 2 for images, 3 for volumes."""
        return len(self.image_shape) - 1

    @property
    def task_names(self) -> tuple[str, ...]:
        """The names of the tasks, in order."""
        return tuple(task.name for task in self.tasks)

    @cached_property
    def analysis(self) -> Analysis:
        """The analysis of the network: all that can be allocated; that of an equal specification, if it is cached.

        Raises:
            BackboneError: If the backbone does not fit the image shape, or filters cannot be followed through it.
        """
        structure = self._structure
        known = next((analysis for other, analysis in tuple(_analyses) if other == structure), None)
        if known is not None:
            return known
        analysis = self._analyse(per_stream=True)
        if structure is not None:
            _analyses.append((structure, analysis))
        return analysis

    @property
    def _structure(self) -> tuple[object, ...] | None:
        """All that the network's structure depends on; None unless all options of its backbone are plain values."""
        if not isinstance(self.backbone, partial) or self.backbone.args:
            return None
        try:
            options = json.dumps(self.backbone.keywords, sort_keys=True)
        except TypeError:
            return None
        return self.backbone.func, options, self.tasks, self.image_shape, self.allocate, self.keep_shared

    @cached_property
    def plain_analysis(self) -> Analysis:
        """The same for methods without streams, which have no parts per stream."""
        return self._analyse(per_stream=False) if self.analysis.parts else self.analysis

    def _analyse(self, *, per_stream: bool) -> Analysis:
        example = torch.rand(2, *self.image_shape, generator=torch.Generator().manual_seed(0))
        network = self.build()
        known = [name_in_backbone(f"{BACKBONE}.{path}") for path in paths_in(network.backbone)]
        asked = {pattern: matching("allocate", [pattern], known) for pattern in self.allocate or ()}
        shared = matching("freeze", self.keep_shared, known)

        def is_allocated(weight: str) -> bool:
            is_asked = self.allocate is None or any(is_within(weight, modules) for modules in asked.values())
            return is_asked and not is_within(weight, shared)

        any_size = any(head.resize for head in network.heads.values())
        analysis = analyse(
            network, example, self.task_names, any_size=any_size, per_stream=per_stream, is_allocated=is_allocated
        )
        allocated = [name_in_backbone(weight) for space in analysis.spaces for weight in space.layers]
        for pattern, modules in asked.items():
            if not any(is_within(weight, modules) for weight in allocated):
                raise BackboneError(f"allocate: all filters in {pattern!r} stay shared, since shared ones read them")
        return analysis

    @property
    def filters(self) -> dict[str, int]:
        """Filters of every channel space, in depth order."""
        return self.analysis.filters

    def build(
        self, generator: torch.Generator | None = None, tasks: Sequence[TaskLike] | None = None
    ) -> MultiTaskNetwork:
        """Build the plain network; the state of torch's own generator stays as it is.

        Raises:
            BackboneError: If the backbone does not fit the image shape.
        """
        if self.dimensions not in (2, 3):
            raise BackboneError(
                f"images must be (channels, *space) with 2 or 3 dimensions of space, got {self.image_shape}"
            )
        seed = int(torch.randint(2**62, (), generator=generator, device="cpu")) if generator else 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = self.backbone(self.image_shape)
            if not isinstance(backbone, nn.Module):
                raise BackboneError(f"a backbone must return a torch.nn.Module, got {type(backbone).__name__}")
            device = next((parameter.device for parameter in backbone.parameters()), torch.device("cpu"))
            example = torch.zeros(2, *self.image_shape, device=device)
            return MultiTaskNetwork.of(backbone, self.tasks if tasks is None else tasks, example)


class SingleTaskNetworks(nn.Module):
    """T networks side by side, each of which predicts one task."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    @classmethod
    def of(cls, spec: NetworkSpec, generator: torch.Generator | None = None) -> SingleTaskNetworks:
        """Build them."""
        return cls(spec.build(generator, [task]) for task in spec.tasks)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the predictions by task name for images of shape (B, C, *space)."""
        return {name: prediction for network in self.networks for name, prediction in network(images).items()}


def build_lockstep(
    spec: NetworkSpec, copies: int, reading: Reading, generator: torch.Generator | None = None
) -> LockstepNetwork:
    """Build copies of a backbone that start from different weights, and the heads of all tasks.

    Args:
        spec: The network.
        copies: Copies of the backbone.
        reading: What layers read of the copies.
        generator: Fixes the weights that are drawn; without one, all copies start alike.
    """
    networks = [spec.build(generator) for _ in range(copies)]
    heads = [networks[task % copies].ordered_heads[task] for task in range(len(spec.tasks))]
    backbones = [network.backbone for network in networks]
    return LockstepNetwork(spec.plain_analysis, backbones, heads, spec.task_names, reading)
