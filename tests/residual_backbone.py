"""A small backbone with all that builders offer: blocks per stream, additions and a shortcut into a wider layer."""

import torch
from torch import nn

from sfgsearch.nn import Backbone, EachStream, StreamBlock


class Block(StreamBlock):
    """A residual block before whose convolution and after which absent channels are silent."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, stream, gate=None):
        gate = 1 if gate is None else gate
        return stream + gate * self.conv(gate * torch.relu(self.norm(stream)))


class Residual(Backbone):
    """Four allocatable layers, of which two are added to what is below them."""

    def __init__(self, layers, image_shape):
        super().__init__()
        self.stem, layout = layers.conv("stem", layers.image(image_shape[0]), 8, 3)
        self.blocks, layout = layers.per_stream(layout, Block)
        self.first, inner = layers.conv("first", layout, 8, 3)
        self.second, inner = layers.conv("second", inner, 8, 3, activation=None)
        self.add, layout = layers.add(layout, inner)
        self.activation = EachStream(nn.ReLU())
        self.wide, inner = layers.conv("wide", layout, 12, 3, activation=None)
        self.add_wide, self.layout = layers.add(layout.shifted(2), inner)

    def forward(self, streams):
        streams = self.blocks(self.stem(streams))
        streams = self.activation(self.add(streams, self.second(self.first(streams))))
        return self.add_wide(streams, self.wide(streams))
