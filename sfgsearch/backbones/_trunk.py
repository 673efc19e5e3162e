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

from sfgsearch.backbones._features import Place, last_map, leave_out_unread, watching
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
        places: Where the features are; none for what the network returns.
        normalisation: What images are normalised with; None to read them as they are.
        frozen: Paths of modules and parameters that keep their weights, modules also their statistics.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        places: Sequence[Place],
        normalisation: Normalisation | None = None,
        frozen: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.trunk, self.places, self.frozen = network, tuple(places), tuple(frozen)
        self._is_normalising = normalisation is not None
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
        if self._is_normalising:
            shape = (-1, *[1] * (images.ndim - 2))
            images = (images - self.mean.view(shape)) / self.std.view(shape)
        if not self.places:
            return self.trunk(images)
        with watching(self.trunk, self.places) as found:
            self.trunk(images)
        return _joined([found[place] for place in self.places])


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
    """

    build: Callable[..., nn.Module]
    pretrained: bool | Path = False
    freeze: tuple[str, ...] = ()
    input_norm: str | Normalisation = "auto"
    cut: str | None = None
    features: tuple[str, ...] = ()
    is_whole: bool = False
    _places: dict[tuple[int, ...], tuple[Place, ...]] = field(default_factory=dict, compare=False, repr=False)

    def __call__(self, image_shape: tuple[int, ...], **options: Any) -> nn.Module:
        """Build a trunk for images (C, *space) with options of the registered function.

        Raises:
            BackboneError: If weights, modules or the normalisation do not fit the network.
        """
        starts = self.pretrained if torch.get_default_device().type != "meta" else False
        own = {"pretrained": True} if starts is True else {}
        if own and "pretrained" not in inspect.signature(self.build).parameters:
            raise BackboneError("the backbone has no weights of its own; set pretrained to a file of weights")
        network = self.build(image_shape, **options, **own)
        if isinstance(starts, Path):
            load_weights(network, starts)
        parameter = next(network.parameters(), torch.zeros(0))
        example = torch.rand(2, *image_shape, device=parameter.device)
        if image_shape not in self._places:
            self._places[image_shape] = self._find_places(network, example)
        places = self._places[image_shape]
        leave_out_unread(network, places, example)
        frozen = matching("freeze", self.freeze, paths_in(network))
        return Trunk(network, places, self._normalisation(network, image_shape[0]), frozen)

    def _find_places(self, network: nn.Module, example: Tensor) -> tuple[Place, ...]:
        option, paths = ("features", self.features) if self.features else ("cut", (self.cut,) if self.cut else ())
        if paths:
            return tuple(map(Place, matching(option, paths, paths_in(network))))
        return last_map(network, example) if self.is_whole else ()

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
