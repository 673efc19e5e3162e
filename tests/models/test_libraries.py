"""Backbones of timm, torchvision and MONAI in study files: where features are read, and what is allocated."""

import re
from importlib import import_module
from pathlib import Path

import pytest
import torch

from sfgsearch.backbones import backbones
from sfgsearch.config._network import specify_network
from sfgsearch.config._sections import BackboneSection
from sfgsearch.config._validation import check_options
from sfgsearch.errors import BackboneError
from sfgsearch.tasks import Classification, DenseRegression, Regression, Segmentation

WHOLE = Classification("kind", num_classes=3), Regression("age")
DENSE = Segmentation("organ", num_classes=3), DenseRegression("depth")
UNET = {"out_channels": 8, "channels": [8, 16, 32], "strides": [2, 2]}


def specify(tasks, shape, folder=None, **section):
    """Specify the network of a section of the backbone, if its library can be imported."""
    try:
        import_module(section["name"])
    except Exception as error:  # a torchvision may be there that was built for another torch
        pytest.skip(f"needs {section['name']}: {error}")
    read = BackboneSection(**section)
    options = check_options(backbones[read.name], read.options, Path(), "backbone")
    return specify_network(read, options, tasks, shape, folder or Path())


@pytest.mark.parametrize(
    ("section", "tasks", "shape", "spaces", "features"),
    [
        ({"name": "timm", "model": "resnet18"}, WHOLE, (3, 64, 64), 12, (512, 2, 2)),
        ({"name": "timm", "model": "mobilenetv3_small_050"}, WHOLE, (1, 64, 64), 26, (1024, 2, 2)),
        ({"name": "timm", "model": "test_vit", "arguments": {"img_size": 64}}, WHOLE, (3, 64, 64), None, (64,)),
        ({"name": "timm", "model": "resnet18", "features": ["layer1", "layer3"]}, DENSE, (3, 64, 64), 9, (320, 16, 16)),
        ({"name": "torchvision", "model": "resnet18"}, WHOLE, (1, 64, 64), 12, (512, 2, 2)),
        ({"name": "torchvision", "model": "mobilenet_v3_small"}, WHOLE, (3, 64, 64), 26, (576, 2, 2)),
        ({"name": "torchvision", "model": "vgg11_bn", "cut": "features.10"}, WHOLE, (3, 32, 32), 3, (256, 8, 8)),
        ({"name": "torchvision", "model": "resnet18", "allocate": ["layer4"]}, WHOLE, (3, 64, 64), 3, (512, 2, 2)),
        ({"name": "monai", "model": "UNet", "arguments": UNET}, DENSE, (1, 16, 16), 5, (8, 16, 16)),
        ({"name": "monai", "model": "UNet", "arguments": UNET}, DENSE, (1, 8, 8, 8), 5, (8, 8, 8, 8)),
        (
            {"name": "monai", "model": "DenseNet", "arguments": {"out_channels": 2, "block_config": [2, 2]}},
            WHOLE,
            (1, 32, 32),
            None,
            (128, 4, 4),
        ),
    ],
    ids=lambda value: value["model"] if isinstance(value, dict) else "",
)
def test_features_are_those_of_the_last_layers_and_filters_are_found(section, tasks, shape, spaces, features):
    spec = specify(tasks, shape, **section)
    if spaces:
        assert len(spec.filters) == spaces
    else:
        assert len(spec.filters) > 3
    network = spec.build().eval()
    images = torch.rand(2, *shape)
    with torch.no_grad():
        assert network.backbone(images).shape == (2, *features)
        first, second = network(images).values()
    assert first.shape == ((2, 3) if tasks is WHOLE else (2, 3, *shape[1:]))
    assert second.shape == ((2,) if tasks is WHOLE else (2, *shape[1:]))


@pytest.mark.parametrize(
    ("section", "shape", "message"),
    [
        ({"name": "timm", "model": "resnet19"}, (3, 32, 32), "timm has no model 'resnet19'; did you mean 'resnet1"),
        (
            {"name": "torchvision", "model": "resnet19"},
            (3, 32, 32),
            "torchvision has no model 'resnet19'; did you mean",
        ),
        ({"name": "monai", "model": "Unett"}, (3, 32, 32), "MONAI has no model 'Unett'; did you mean 'U"),
        ({"name": "monai", "model": "UNet"}, (3, 32, 32), "UNet of MONAI needs out_channels, channels, strides"),
    ],
)
def test_a_model_that_is_not_there_is_named(section, shape, message):
    with pytest.raises(BackboneError, match=re.escape(message)):
        specify(WHOLE, shape, **section).build()


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_weights_of_a_file_are_those_of_the_library(library, tmp_path):
    section = {"name": library, "model": "resnet18"}
    spec = specify(WHOLE, (3, 32, 32), **section)
    model = import_module("timm" if library == "timm" else "torchvision.models")
    whole = (model.create_model if library == "timm" else model.get_model)("resnet18").eval()
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    spec = specify(WHOLE, (3, 32, 32), tmp_path, **section, pretrained="weights.pth", input_norm="imagenet")
    images = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        features = spec.build().backbone.eval()(images)
        x = whole.maxpool(torch.relu(whole.bn1(whole.conv1((images - mean) / std))))
        torch.testing.assert_close(features, whole.layer4(whole.layer3(whole.layer2(whole.layer1(x)))))
