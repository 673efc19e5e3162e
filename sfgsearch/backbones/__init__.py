"""Backbones: the convolutional networks that allocations apply to."""

from sfgsearch.backbones._registry import backbones
from sfgsearch.backbones._vgg import VGG, vgg11, vgg_small

__all__ = ["VGG", "backbones", "vgg11", "vgg_small"]
