"""Trunks: any network up to the features that heads read, with starting weights, some of them frozen."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sfgsearch.backbones._features import FeatureSource, captured, last_map, prune, prune_unread
from sfgsearch.backbones._weights import load_weights
from sfgsearch.errors import BackboneError
from sfgsearch.graph import TRUNK
from sfgsearch.nn._paths import is_within, matching, paths_in

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of the colours of ImageNet, for images from 0 to 1, as torchvision and timm have them."""

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of every channel."""


class Trunk(nn.Module):
    """A network up to its features; several maps are brought to the size of the first and joined.

    Parts whose weights no feature depends on are left out of the network.

    Args:
        network: Maps images (B, C, *space) to anything.
        sources: Where the features are; none for what the network returns.
        normalisation: What images are normalised with; None to read them as they are.
        frozen: Paths of modules and parameters that keep their weights, modules also their statistics.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        sources: Sequence[FeatureSource],
        normalisation: Normalisation | None = None,
        frozen: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.trunk, self.sources, self.frozen = network, tuple(sources), tuple(frozen)
        self.normalisation = normalisation
        for name, values in zip(("mean", "std"), normalisation or (), strict=False):
            self.register_buffer(name, torch.tensor(values), persistent=False)
        for name, parameter in network.named_parameters():
            if is_within(name, frozen):
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> Trunk:
        """Set the mode of all parts but the frozen ones, which stay in evaluation."""
        super().train(mode)
        frozen = [f"{TRUNK}.{path}" for path in self.frozen]
        for path, module in self.named_modules() if frozen else ():
            if is_within(path, frozen):
                module.training = False
        return self

    def forward(self, images: Tensor) -> Any:
        """Return the features of images (B, C, *space)."""
        if self.normalisation is not None:
            shape = (-1, *[1] * (images.ndim - 2))
            images = (images - self.mean.view(shape)) / self.std.view(shape)
        if not self.sources:
            return self.trunk(images)
        with captured(self.trunk, self.sources) as found:
            self.trunk(images)
        return _joined([found[source] for source in self.sources])


def _joined(features: Sequence[Any]) -> Any:
    """Return several maps as one: all at the size of the first, their channels one after the other."""
    first, *others = features
    if not others:
        return first
    mode = "bilinear" if first.ndim == 4 else "trilinear"
    resized = [functional.interpolate(x, first.shape[2:], mode=mode, align_corners=False) for x in others]
    return torch.cat([first, *resized], 1)


@dataclass(frozen=True)
class TrunkBuilder:
    """Builds trunks of a registered backbone.

    Args:
        build: The registered function.
        pretrained: A file of weights, or whether the function loads weights of its own.
        freeze: Modules that keep their weights, as :func:`~sfgsearch.nn._paths.matching` reads them.
        input_norm: What images are normalised with: mean and standard deviation by channel, ``"imagenet"``, ``"none"``,
            or ``"auto"`` for what weights of the library's own were trained with.
        cut: The module whose output is the features; the last map by default.
        features: Modules whose outputs are the features, instead.
        is_whole: Whether the function builds whole models; otherwise, without ``cut``, it returns features.
        reads_weights: Whether weights are read; without, the network is the same but for its weights.
    """

    build: Callable[..., nn.Module]
    pretrained: bool | Path = False
    freeze: tuple[str, ...] = ()
    input_norm: str | Normalisation = "auto"
    cut: str | None = None
    features: tuple[str, ...] = ()
    is_whole: bool = False
    reads_weights: bool = True
    _found: dict[tuple[int, ...], tuple[tuple[FeatureSource, ...], tuple[str, ...]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def __call__(self, image_shape: tuple[int, ...], **options: Any) -> nn.Module:
        """Build a trunk for images (C, *space) with options of the registered function.

        Raises:
            BackboneError: If weights, modules or the normalisation do not fit the network.
        """
        starts = self.reads_weights and torch.get_default_device().type != "meta"
        takes_pretrained = "pretrained" in inspect.signature(self.build).parameters
        if self.pretrained is True and not takes_pretrained:
            raise BackboneError("the backbone has no weights of its own; set pretrained to a file of weights")
        own = {"pretrained": starts and self.pretrained is True} if takes_pretrained else {}
        network = self.build(image_shape, **options, **own)
        if image_shape in self._found:
            sources, pruned = self._found[image_shape]
            prune(network, pruned)
        else:
            parameter = next(network.parameters(), torch.zeros(0))
            example = torch.rand(2, *image_shape, device=parameter.device)
            sources = self._sources(network, example)
            pruned = prune_unread(network, sources, example) if sources else ()
            self._found[image_shape] = sources, pruned
        if starts and isinstance(self.pretrained, Path):
            load_weights(network, self.pretrained)
        frozen = matching("freeze", self.freeze, paths_in(network))
        return Trunk(network, sources, self._normalisation(network, image_shape[0]), frozen)

    def _sources(self, network: nn.Module, example: Tensor) -> tuple[FeatureSource, ...]:
        option, paths = ("features", self.features) if self.features else ("cut", (self.cut,) if self.cut else ())
        if not paths:
            return last_map(network, example) if self.is_whole else ()
        found = matching(option, paths, [path for path, _ in network.named_modules() if path])
        if len(found) != len(paths):
            raise BackboneError(f"{option} names modules one by one, and {', '.join(paths)} are {len(found)}")
        return tuple(map(FeatureSource, found))

    def _normalisation(self, network: nn.Module, channels: int) -> Normalisation | None:
        chosen = self.input_norm
        if chosen == "auto":
            known: Mapping[str, Any] = getattr(network, "pretrained_cfg", {}) if self.pretrained is True else {}
            chosen = (tuple(known["mean"]), tuple(known["std"])) if {"mean", "std"} <= known.keys() else "none"
        if chosen == "none":
            return None
        normalisation = IMAGENET if isinstance(chosen, str) else chosen
        lengths = {len(values) for values in normalisation}
        if channels == 1 and lengths == {3}:  # weights for colours read grey images as three equal colours
            mean, std = (sum(values) / len(values) for values in normalisation)
            return (mean,), (std,)
        if lengths != {channels}:
            raise BackboneError(
                f"input_norm has {len(normalisation[0])} means and {len(normalisation[1])} standard deviations for "
                f"images of {channels} channels; give one per channel"
            )
        return normalisation
