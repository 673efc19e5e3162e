"""Networks whose shortcuts widen, and those that mask one set of filters for all tasks, as ONNX files."""

import functools

import pytest
import torch

from sfgsearch.backbones import backbones
from sfgsearch.export import FORMATS
from sfgsearch.export._verify import verify
from sfgsearch.methods import manual_methods
from sfgsearch.methods._method import Randomness
from sfgsearch.nn import NetworkSpec
from sfgsearch.tasks import task_to_dict

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("hard_sharing", functools.partial(backbones["resnet"], depth=8, width=0.25)),
        ("task_routing", functools.partial(backbones["vgg_small"], plan=(4, 5))),
    ],
    ids=["widened", "masked"],
)
def test_networks_predict_the_same_as_onnx(tiny, tmp_path, name, backbone):
    spec = NetworkSpec(backbone, tiny.tasks(2), (1, 8, 8))
    system = manual_methods[name](spec).build(spec, Randomness.from_seed(0, CPU), CPU)
    images = tiny.images(spec, 4)
    network = system.predictor(lambda: [images]).eval()
    description = {"image_shape": spec.image_shape, "tasks": [task_to_dict(task) for task in spec.tasks]}
    output = tmp_path / "net.onnx"
    FORMATS[".onnx"].write(network, description, output)
    assert verify(FORMATS[".onnx"].read(output), network, spec.image_shape) <= 1e-5
