"""Networks rebuilt from their records alone."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sfgsearch.errors import ExportError
from sfgsearch.export import load_network, rebuild

NAMES = [
    "one task",
    "two tasks with gaps",
    "three tasks in 3D",
    "no norm",
    "dense",
    "dense in 3D with gaps",
    "residual",
    "residual dense in 3D",
    "residual dense of even sides",
    "residual with gaps",
    "normed",
    "normed dense",
    "single task",
    "hard sharing",
    "equal",
    "ensemble",
    "dense ensemble in 3D",
    "cross_stitch",
    "nddr",
    "task_routing",
    "learned_routing",
    "maximum_roaming",
    "learning_to_branch",
    "adashare",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_rebuilt_network_predicts_exactly_the_same(recorded, name):
    case = recorded(name)
    written = replace(case.record, structure=json.loads(json.dumps(case.record.structure)))
    network = load_network(written, case.weights)
    assert not any(module.training for module in network.modules())
    images = case.images(5)
    with torch.no_grad():
        ours, expected = network(images), case.network(images)
    assert list(ours) == [task["name"] for task in case.record.tasks]
    for task, prediction in expected.items():
        assert torch.equal(ours[task], prediction)
        assert prediction.abs().max() > 1e-3


def test_the_specification_is_that_of_the_training(recorded):
    case = recorded("dense in 3D with gaps")
    spec, _ = rebuild(case.record)
    assert (spec.task_names, spec.image_shape) == (("organs", "ct"), (2, 4, 6, 6))
    assert any(isinstance(module, nn.InstanceNorm3d) for module in spec.build().modules())
    assert spec.tasks[1].scale == 1000.0


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"backbone": {"name": "my_net"}}, ["'my_net' is not registered", "study.imports"]),
        ({"backbone": {"name": "vgg_small", "norm": "batch", "depth": 3}}, ["vgg_small.depth", "unknown key"]),
        ({"tasks": [{"type": "pose", "name": "digit"}]}, ["task type 'pose' is not registered", "study.imports"]),
        ({"structure": {"kind": "lattice"}}, ["structure 'lattice' is not registered", "study.imports"]),
        ({"structure": {"kind": "allocated", "assignments": {}}}, ["vgg_small", "cannot be rebuilt"]),
        (
            {"structure": {"kind": "allocated", "assignments": {"conv1": [0], "conv2": [0, 0, 0, 0]}}},
            ["cannot be rebuilt", "'conv1'", "shape (5,)"],
        ),
    ],
)
def test_what_cannot_be_rebuilt_is_named(recorded, changes, parts):
    record = replace(recorded("two tasks with gaps").record, **changes)
    with pytest.raises(ExportError) as raised:
        rebuild(record)
    for part in parts:
        assert part in str(raised.value)


def test_weights_must_be_there_and_fit(recorded, tmp_path):
    case = recorded("one task")
    with pytest.raises(ExportError, match=r"absent.* missing"):
        load_network(case.record, tmp_path / "absent")
    (tmp_path / "broken").write_bytes(b"no weights")
    with pytest.raises(ExportError, match=r"broken cannot be read"):
        load_network(case.record, tmp_path / "broken")
    weights = load_file(case.weights)
    lacking = {key: value for key, value in weights.items() if not key.endswith("running_var")}
    save_file(lacking, tmp_path / "lacking")
    with pytest.raises(ExportError, match=r"do not fit the network: missing are"):
        load_network(case.record, tmp_path / "lacking")
    wider = {key: torch.cat([value, value]) if value.ndim > 1 else value for key, value in weights.items()}
    save_file(wider, tmp_path / "wider")
    with pytest.raises(ExportError, match=r"do not fit the network: .* of shape .* instead of"):
        load_network(case.record, tmp_path / "wider")
