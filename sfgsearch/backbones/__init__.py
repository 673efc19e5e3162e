"""Backbones: the convolutional networks that allocations apply to."""

from sfgsearch._registry import backbones
from sfgsearch.backbones._highresnet import HighResBlock, HighResNet, highresnet
from sfgsearch.backbones._resnet import BasicBlock, ResNet, resnet
from sfgsearch.backbones._trunk import Trunk, TrunkBuilder
from sfgsearch.backbones._vgg import VGG, vgg11, vgg_small

__all__ = [
    "VGG",
    "BasicBlock",
    "HighResBlock",
    "HighResNet",
    "ResNet",
    "Trunk",
    "TrunkBuilder",
    "backbones",
    "highresnet",
    "resnet",
    "vgg11",
    "vgg_small",
]
