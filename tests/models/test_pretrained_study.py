"""A study of a ResNet-18 that was trained on one digit a picture, for pictures of two: every kind gains from it."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from sfgsearch import load_config, load_exported
from sfgsearch.cli import main
from sfgsearch.config import build_experiment
from sfgsearch.data import batches
from sfgsearch.data._digits import mnist_digits
from sfgsearch.export import load_network
from sfgsearch.search import load_study, records_of

onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
timm = pytest.importorskip("timm", reason="needs timm", exc_type=Exception)
pytestmark = pytest.mark.slow

NARROW = [16, 32, 64, 128]
METHODS = ["single_task", "hard_sharing", "equal", "cross_stitch", "task_routing", "learning_to_branch"]
STUDY = """
[study]
folder = "{name}"

[data]
name = "digit_pairs"
pairs_per_digit = 1

[backbone]
name = "timm"
model = "resnet18"
arguments = {{ channels = {narrow} }}
{start}

[training]
epochs = 4
lr = 2e-3

[quota]
learned = 1
searched = 1

[manual]
methods = {methods}

[comparison]
match = "none"
seeds = 1
manual = "all"
as_learned = false

[review]
pictures = false
"""
RELOAD = """
import sys, torch
network = torch.export.load(sys.argv[1]).module()
predictions = network(torch.load(sys.argv[2]))
torch.save({name: value.detach() for name, value in predictions.items()}, sys.argv[3])
assert "sfgsearch" not in sys.modules
"""


def single_digits():
    """Return MNIST digits of 8 pixels a side, at one of the two places where pictures of two have theirs."""
    images, classes = (torch.tensor(np.asarray(array)) for array in mnist_digits())
    small = nn.functional.interpolate(images[:, None], size=(8, 8), mode="area")
    pictures = torch.zeros(len(small), 1, 10, 10)
    pictures[::2, :, :8, :8], pictures[1::2, :, 2:, 2:] = small[::2], small[1::2]
    return pictures, classes


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Train the network on one digit a picture, and return its file."""
    torch.manual_seed(0)
    pictures, classes = single_digits()
    model = timm.create_model("resnet18", num_classes=10, in_chans=1, channels=NARROW).train()
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(4):
        for members in torch.randperm(len(pictures)).split(64):
            loss = nn.functional.cross_entropy(model(pictures[members]), classes[members])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    file = tmp_path_factory.mktemp("weights") / "digits.pt"
    torch.save(model.state_dict(), file)
    return file


@pytest.fixture(scope="module")
def studies(tmp_path_factory, weights):
    """Run the study from these weights and from none, and return their configurations."""
    folder, found = tmp_path_factory.mktemp("studies"), {}
    for name, start in (("scratch", ""), ("pretrained", f"pretrained = {json.dumps(str(weights))}")):
        path = folder / f"{name}.toml"
        path.write_text(STUDY.format(name=name, narrow=NARROW, start=start, methods=json.dumps(METHODS)))
        main(["run", str(path)])
        found[name] = load_config(path)
    return found


def errors(config, role):
    """Return the mean relative error of every candidate, learned and searched ones by their kinds."""
    records = records_of(load_study(config)).all(role)
    split = "test" if role == "finalist" else "validation"
    return {
        record.name if record.kind == "manual" else record.kind: np.mean(
            [1 - record.metrics[split][f"{task}/accuracy"] for task in ("first", "second")]
        )
        for record in records
    }


@pytest.mark.parametrize("role", ["trial", "finalist"])
def test_every_kind_gains_from_weights(studies, role):
    scratch, pretrained = errors(studies["scratch"], role), errors(studies["pretrained"], role)
    assert set(scratch) == set(pretrained) == {"learned", "searched", *METHODS}
    assert {name: pretrained[name] < scratch[name] for name in scratch} == dict.fromkeys(scratch, True)


@pytest.fixture
def pictures(studies, tmp_path):
    """Return some test images, and the file that they are in."""
    experiment = build_experiment(studies["pretrained"])
    images, _ = next(iter(batches(experiment.data.test, 16, torch.device("cpu"))))
    torch.save(images, tmp_path / "images.pt")
    return images, tmp_path / "images.pt"


def export(config, record, file):
    """Export a finalist, and return the network that its record rebuilds."""
    finalist = ["--trial", str(record.trial), "--seed", str(record.seed)]
    main(["export", str(config.path), *finalist, "--output", str(file)])
    return load_network(record, config.folder / "artifacts" / record.weights_artifact)


@torch.no_grad()
def test_finalists_are_taken_home_without_the_package(studies, pictures, tmp_path):
    (images, file), config = pictures, studies["pretrained"]
    for record in records_of(load_study(config)).all("finalist"):
        network = export(config, record, tmp_path / f"{record.name}.pt2")
        told = tmp_path / f"{record.name}.pt"
        subprocess.run([sys.executable, "-c", RELOAD, tmp_path / f"{record.name}.pt2", file, told], check=True)
        predictions = torch.load(told)
        for task, expected in network(images).items():
            torch.testing.assert_close(predictions[task], expected)


def read_onnx(file, images):
    session = onnxruntime.InferenceSession(file)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, map(torch.tensor, session.run(None, {"images": images.numpy()})), strict=True))


@torch.no_grad()
@pytest.mark.parametrize(
    ("suffix", "read"), [(".onnx", read_onnx), (".safetensors", lambda file, images: load_exported(file)(images))]
)
def test_the_learned_finalist_is_exported_in_other_formats(studies, pictures, tmp_path, suffix, read):
    images, config = pictures[0], studies["pretrained"]
    (record,) = (one for one in records_of(load_study(config)).all("finalist") if one.kind == "learned")
    network = export(config, record, tmp_path / f"net{suffix}")
    predictions = read(tmp_path / f"net{suffix}", images)
    for task, expected in network(images).items():
        torch.testing.assert_close(predictions[task], expected, rtol=1e-3, atol=1e-3)
