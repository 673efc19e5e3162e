"""Networks in lockstep written by hand: plain loops over copies, with something at the places where layers read."""

import functools

import torch
from awkward_networks import build
from torch import nn

from sfgsearch.backbones import resnet, vgg_small
from sfgsearch.nn import NetworkSpec
from sfgsearch.tasks import Classification, Regression

TASKS = (Classification("digit", num_classes=3), Regression("angle"), Classification("colour", num_classes=4, hidden=3))


class Copies:
    """Copies of a backbone, and what their layers read.

    Args:
        backbones: The copies.
        read: Returns what the copies of a layer read, for the name of its weight and the copies of its input.
    """

    def __init__(self, backbones, read):
        self.backbones, self.read = backbones, read

    def each(self, path, inputs):
        return [copy.get_submodule(path)(x) for copy, x in zip(self.backbones, inputs, strict=True)]

    def layer(self, path, inputs, weight="weight"):
        return self.each(path, self.read(f"backbone.{path}.{weight}", inputs))


def vgg_features(copies, images):
    features = copies.each("conv1", images)
    for name, _ in list(copies.backbones[0].named_children())[1:]:
        features = copies.layer(name, features) if name.startswith("conv") else copies.each(name, features)
    return features


def resnet_features(copies, images):
    trunks = copies.each("relu", copies.each("norm", copies.each("stem", images)))
    for stage in (1, 2, 3):
        block = f"stage{stage}_block1"
        inner = copies.each(f"{block}.relu", copies.each(f"{block}.norm1", copies.layer(f"{block}.conv1", trunks)))
        branches = copies.each(f"{block}.norm2", copies.layer(f"{block}.conv2", inner))
        if stage > 1:
            extra = trunks[0].shape[1] // 2
            trunks = [nn.functional.pad(trunk[:, :, ::2, ::2], (0, 0, 0, 0, extra, extra)) for trunk in trunks]
        trunks = [torch.relu(trunk + branch) for trunk, branch in zip(trunks, branches, strict=True)]
    return trunks


def concatenated_features(copies, images):
    features = copies.each("0", images)
    for index in (1, 2):
        added = copies.layer(f"{index}.inner", features, "0.weight")
        features = [torch.cat(pair, 1) for pair in zip(features, added, strict=True)]
    return features


def vgg_coefficients(alphas):
    return {
        "backbone.conv2.weight": alphas["conv1"],
        "backbone.conv3.weight": alphas["conv2"],
        "heads": alphas["conv3"],
    }


def resnet_coefficients(alphas):
    found, trunk = {}, alphas["stem"]
    for stage in (1, 2, 3):
        found[f"backbone.stage{stage}_block1.conv1.weight"] = trunk
        found[f"backbone.stage{stage}_block1.conv2.weight"] = alphas[f"stage{stage}_block1.conv1"]
        if stage > 1:  # the shortcut's channels lie in the middle of the new ones
            before, after = alphas[f"stage{stage}_block1.conv2"].chunk(2, 2)
            trunk = torch.cat([before, trunk, after], 2)
    return {**found, "heads": trunk}


def concatenated_coefficients(alphas):
    first = alphas["0.0"]
    second = torch.cat([first, alphas["1.inner.0"]], 2)
    third = torch.cat([second, alphas["2.inner.0"]], 2)
    return {"backbone.1.inner.0.weight": first, "backbone.2.inner.0.weight": second, "heads": third}


FEATURES = {"vgg": vgg_features, "resnet": resnet_features, "concatenation": concatenated_features}
COEFFICIENTS = {"vgg": vgg_coefficients, "resnet": resnet_coefficients, "concatenation": concatenated_coefficients}
BACKBONES = {
    "vgg": (functools.partial(vgg_small, plan=(4, "pool", 5, 6)), (2, 6, 6)),
    "resnet": (functools.partial(resnet, depth=8, width=0.25), (2, 8, 8)),
    "concatenation": (lambda image_shape: build("concatenation", image_shape[0]).body, (3, 8, 8)),
}


SIZES = [("vgg", 1), ("vgg", 2), ("vgg", 3), ("resnet", 3), ("concatenation", 2)]


@functools.cache
def spec_of(name, num_tasks):
    backbone, image_shape = BACKBONES[name]
    return NetworkSpec(backbone, TASKS[:num_tasks], image_shape)


def cross_stitched(name, network, images):
    """Return the predictions of T networks whose layers read mixed features."""
    own = zip(network.analysis.filters.items(), network.reading.alphas, strict=True)
    alphas = {space: alpha.expand(-1, -1, filters) for (space, filters), alpha in own}
    coefficients = COEFFICIENTS[name](alphas)

    def read(weight, features):
        tasks = range(len(features))
        alpha = coefficients[weight].view(len(features), len(features), -1, 1, 1)
        return [sum(alpha[task, other] * features[other] for other in tasks) for task in tasks]

    copies = Copies(network.copies, read)
    features = read("heads", FEATURES[name](copies, [images] * len(network.copies)))
    return [head(own) for head, own in zip(network.ordered_heads, features, strict=True)]


def branched(name, network, images, parents, heads):
    """Return the predictions of a network whose every copy of a layer reads one of the copies below."""

    def read(weight, features):
        return [features[parent] for parent in parents[weight]]

    features = FEATURES[name](Copies(network.copies, read), [images] * len(network.copies))
    return [head(features[copy]) for head, copy in zip(network.ordered_heads, heads, strict=True)]
