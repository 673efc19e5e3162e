"""What is written, in every format, predicts what the network predicts."""

import json
import sys
import zipfile

import onnx
import pytest
import torch

from sfgsearch import load_exported
from sfgsearch.errors import ExportError
from sfgsearch.export import FORMATS, export_network


def slow(*names):
    """Return cases whose export shows the same as those of others in most respects."""
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


EVERY_STRUCTURE = ["ensemble", "cross_stitch", "learned_routing", "learning_to_branch"]
PROGRAMS = ["two tasks with gaps", "residual dense in 3D"]
PROGRAMS += slow("residual dense of even sides", "normed dense", "single task", *EVERY_STRUCTURE)
ONNX_FILES = ["two tasks with gaps", *slow("residual dense in 3D", "normed dense", "ensemble", "adashare")]
FREE_SPACE = ["residual dense in 3D", "normed dense", "single task"]


def assert_same(predict, network, images):
    with torch.no_grad():
        ours, expected = predict(images), network(images)
    assert list(ours) == list(expected)
    for task, prediction in expected.items():
        tolerance = 1e-5 * max(1.0, float(prediction.abs().max()))
        torch.testing.assert_close(ours[task], prediction, rtol=0, atol=tolerance)


def larger(images):
    """Return images with other sizes, no multiple of the former ones."""
    return torch.cat([images, images[..., :3]], -1)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_predict_the_same_for_any_batch_and_dense_ones_for_any_size(recorded, tmp_path, name):
    case, output = recorded(name), tmp_path / "net.pt2"
    exported = export_network(case.record, case.weights, output)
    assert exported.files == (output,)
    assert exported.largest_difference <= 1e-5
    assert exported.free_space == (name in FREE_SPACE)
    reloaded = FORMATS[".pt2"].read(output)
    for batch in (1, 5):
        assert_same(reloaded, case.network, case.images(batch))
    if exported.free_space:
        assert_same(reloaded, case.network, larger(case.images(2)))


@pytest.mark.parametrize("name", ONNX_FILES)
def test_onnx_files_predict_the_same(recorded, tmp_path, name):
    case, output = recorded(name), tmp_path / "net.onnx"
    exported = export_network(case.record, case.weights, output)
    assert list(tmp_path.glob("net*")) == [output], "the weights are inside"
    reloaded = FORMATS[".onnx"].read(output)
    for batch in (1, 5):
        assert_same(reloaded, case.network, case.images(batch))
    if exported.free_space:
        assert_same(reloaded, case.network, larger(case.images(2)))


@pytest.mark.parametrize("name", ["two tasks with gaps", "normed dense", "dense ensemble in 3D"])
def test_safetensors_are_read_back(recorded, tmp_path, name):
    case, output = recorded(name), tmp_path / "net.safetensors"
    exported = export_network(case.record, case.weights, output)
    assert exported.files == (output, tmp_path / "net.json")
    assert exported.largest_difference == 0.0
    for path in (str(output), tmp_path / "net.json"):
        assert_same(load_exported(path), case.network, case.images(2))


def assert_describes(data, record):
    assert data["backbone"] == {"name": "vgg_small", "width": 1.0, "plan": [5, "pool", 4], "norm": "instance"}
    assert data["image_shape"] == [2, 4, 6, 6]
    assert data["tasks"][0]["classes"] == ["none", "liver", "bone"]
    assert (data["tasks"][1]["scale"], data["tasks"][1]["unit"]) == (1000.0, "HU")
    assert data["structure"]["kind"] == "allocated"
    assert data["allocation"] == record.allocation.to_dict()
    assert data["metrics"]["validation"] == {"digit/accuracy": 0.5, "ct/psnr": None}
    assert (data["package_version"], data["role"], data["seed"]) == (record.package_version, "finalist", 1)


def test_programs_say_what_is_in_them_and_hold_no_pickle(recorded, tmp_path):
    case, output = recorded("dense in 3D with gaps"), tmp_path / "net.pt2"
    export_network(case.record, case.weights, output)
    with zipfile.ZipFile(output) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    (text,) = (content for name, content in contents.items() if name.endswith("extra/sfgsearch.json"))
    assert_describes(json.loads(text), case.record)
    assert not any(content.startswith((b"PK", b"\x80\x02")) for content in contents.values())


def test_onnx_files_say_what_is_in_them(recorded, tmp_path):
    case = recorded("dense in 3D with gaps")
    for task, name in zip(case.record.tasks, ("conv3d", "val_0"), strict=True):
        task["name"] = name  # what the exporter calls values inside the graph
    export_network(case.record, case.weights, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    assert_describes(json.loads({prop.key: prop.value for prop in model.metadata_props}["sfgsearch"]), case.record)
    (images,) = model.graph.input
    axes = [axis.dim_param or axis.dim_value for axis in images.type.tensor_type.shape.dim]
    assert (images.name, axes) == ("images", ["batch", 2, "size_1", "size_2", "size_3"])
    assert [value.name for value in model.graph.output] == ["conv3d", "val_0"]


def test_json_says_what_is_beside_it(recorded, tmp_path):
    case = recorded("dense in 3D with gaps")
    export_network(case.record, case.weights, tmp_path / "net.safetensors")
    assert_describes(json.loads((tmp_path / "net.json").read_text()), case.record)


def test_no_task_may_be_called_as_the_input_of_onnx_files(recorded, tmp_path):
    case = recorded("one task")
    case.record.tasks[0]["name"] = "images"
    with pytest.raises(ExportError, match="a task is called 'images'"):
        export_network(case.record, case.weights, tmp_path / "net.onnx")


@pytest.mark.parametrize("suffix", [".pt2", ".safetensors"])
def test_a_difference_leaves_no_file_and_spares_the_old_one(recorded, tmp_path, suffix, monkeypatch):
    case, output = recorded("one task"), tmp_path / "out" / f"net{suffix}"
    output.parent.mkdir()
    kind = type(FORMATS[suffix])
    read = kind.read

    def shifted(self, path):
        network = read(self, path)
        return lambda images: {name: value + 1e-3 for name, value in network(images).items()}

    monkeypatch.setattr(kind, "read", shifted)
    with pytest.raises(ExportError, match=r"task 'digit': the exported network differs by 0.001"):
        export_network(case.record, case.weights, output)
    assert list(output.parent.iterdir()) == []
    output.write_text("old")
    with pytest.raises(ExportError, match="differs"):
        export_network(case.record, case.weights, output, force=True)
    assert output.read_text() == "old"
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("net.pth", r"suffix must be one of .pt2, .onnx, .safetensors, got '.pth'"),
        ("net", r"suffix must be one of"),
        ("absent/net.pt2", r"there is no folder"),
        ("taken.pt2", r"taken.pt2 exists; choose another name or overwrite it with --force"),
        ("taken.safetensors", r"taken.json exists"),
        ("folder.pt2", r"is a folder"),
    ],
)
def test_outputs_that_cannot_be_are_refused(recorded, tmp_path, name, reason):
    case = recorded("one task")
    for taken in ("taken.pt2", "taken.json"):
        (tmp_path / taken).write_text("mine")
    (tmp_path / "folder.pt2").mkdir()
    with pytest.raises(ExportError, match=reason):
        export_network(case.record, case.weights, tmp_path / name)
    assert (tmp_path / "taken.json").read_text() == "mine"


def test_existing_files_are_overwritten_if_asked(recorded, tmp_path):
    case = recorded("one task")
    for file in ("net.safetensors", "net.json"):
        (tmp_path / file).write_text("old")
    export_network(case.record, case.weights, tmp_path / "net.safetensors", force=True)
    assert_same(load_exported(tmp_path / "net.safetensors"), case.network, case.images(2))


def test_a_missing_library_names_its_extra(recorded, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    case = recorded("one task")
    with pytest.raises(ExportError, match=r"needs onnxscript.*sfgsearch\[onnx\]"):
        export_network(case.record, case.weights, tmp_path / "net.onnx")


def test_broken_descriptions_are_named(tmp_path, recorded):
    case, path = recorded("one task"), tmp_path / "net.safetensors"
    export_network(case.record, case.weights, path)
    text = tmp_path / "net.json"
    good = json.loads(text.read_text())
    for broken, reason in (
        ("[]", "not the description"),
        ("{", "not the description"),
        (json.dumps({**good, "version": 99}), "version 99"),
    ):
        text.write_text(broken)
        with pytest.raises(ExportError, match=rf"net.json: .*{reason}"):
            load_exported(path)
    text.unlink()
    with pytest.raises(ExportError, match="cannot read what describes the network"):
        load_exported(path)
