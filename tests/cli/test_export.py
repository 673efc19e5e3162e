"""``sfgsearch export``, and its files in fresh processes that know nothing of sfgsearch."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.numpy import save_file

from sfgsearch import load_config, load_exported
from sfgsearch.export import load_network
from sfgsearch.search import load_study, records_of
from sfgsearch.search._transfer import copy_study

LEARNED, SEARCHED = 2, 3


def recorded(path, role, trial):
    """Return the network of a record, from the artifact folder itself."""
    config = load_config(path)
    (record,) = records_of(load_study(config)).all(role, trial)
    return record, load_network(record, config.folder / "artifacts" / record.weights_artifact)


def images(record, batch=3):
    return torch.randn(batch, *record.image_shape, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def same(ours, network, inputs):
    predictions, expected = ours(inputs), network(inputs)
    return all(torch.equal(predictions[name], expected[name]) for name in ("first", "second"))


@pytest.mark.parametrize(
    ("options", "role"),
    [
        ([], "trial"),
        (["--seed", "1"], "finalist"),
        (["--relearned"], "relearned"),
        (["--relearned", "--seed", "1"], "relearned"),
    ],
)
def test_the_options_choose_the_training(trained_study, call, tmp_path, options, role):
    output = tmp_path / "net.safetensors"
    status, out, err = call("export", trained_study, "--trial", LEARNED, "--output", output, *options, "--json")
    assert (status, err) == (0, "")
    record, network = recorded(trained_study, role, LEARNED)
    written = json.loads(out)
    assert (written["trial"], written["role"], written["seed"], written["kind"]) == (2, role, record.seed, "learned")
    assert written["files"] == [str(output), str(tmp_path / "net.json")]
    assert (written["format"], written["largest_difference"]) == ("safetensors", 0.0)
    assert [task["name"] for task in written["tasks"]] == ["first", "second"]
    assert same(load_exported(output), network, images(record))


def test_a_finalist_of_a_study_that_moved_to_a_server_is_exported(trained_study, postgres, call, tmp_path):
    url, output = postgres(), tmp_path / "net.safetensors"
    config = load_config(trained_study)
    copy_study(config.storage, url, config.name)
    status, out, err = call(
        "export", trained_study, "--trial", LEARNED, "--seed", 1, "--output", output, "--storage", url, "--json"
    )
    assert (status, err, json.loads(out)["role"]) == (0, "", "finalist")
    record, network = recorded(trained_study, "finalist", LEARNED)
    assert same(load_exported(output), network, images(record))


@pytest.mark.parametrize("trial", [0, 1, SEARCHED])
def test_every_kind_is_exported_and_a_line_says_so(trained_study, call, tmp_path, trial):
    output = tmp_path / "net.safetensors"
    status, out, err = call("export", trained_study, "--trial", trial, "--output", output)
    assert (status, err) == (0, "")
    record, network = recorded(trained_study, "trial", trial)
    assert f"wrote {output} and {tmp_path / 'net.json'}: {record.name}, trial, seed 0" in out
    assert "largest difference from the network on random images: 0" in out
    assert same(load_exported(output), network, images(record))


def test_the_data_set_is_not_loaded(trained_study, call, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the data set was loaded")

    monkeypatch.setattr("sfgsearch.config._build.load_data", refuse)
    assert call("export", trained_study, "--trial", 0, "--output", tmp_path / "net.safetensors")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--trial", 9, "--output", "net.pt2"], ["--trial 9", "its trials: 0 to 3"]),
        (["--trial", 0, "--output", "net.pth"], ["net.pth", ".pt2, .onnx, .safetensors"]),
        (["--trial", 0, "--output", "absent/net.pt2"], ["no folder", "absent"]),
        (["--trial", 0, "--output", "taken.pt2"], ["taken.pt2 exists", "--force"]),
        (["--trial", 0, "--output", "net.pt2", "--seed", 7], ["--seed 7", "other seeds: 1"]),
        (["--trial", 0, "--output", "net.pt2", "--relearned"], ["--trial 0", "not learned again"]),
        (["--output", "net.pt2"], ["--trial"]),
        (["--trial", 0], ["--output"]),
    ],
)
def test_bad_input_is_one_line_and_status_two(trained_study, call, tmp_path, monkeypatch, arguments, parts):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.pt2").write_text("mine")
    status, out, err = call("export", trained_study, *arguments)
    assert (status, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    for part in parts:
        assert part in err
    assert [file.name for file in tmp_path.iterdir()] == ["taken.pt2"]


def test_weights_that_are_gone_are_named(trained_study, call, tmp_path):
    record, _ = recorded(trained_study, "trial", SEARCHED)
    weights = load_config(trained_study).folder / "artifacts" / record.weights_artifact
    content = weights.read_bytes()
    weights.unlink()
    try:
        status, _, err = call("export", trained_study, "--trial", SEARCHED, "--output", tmp_path / "net.pt2")
    finally:
        weights.write_bytes(content)
    assert status == 2
    assert f"its weights {record.weights_artifact} are missing" in err


def run_fresh(script, *arguments):
    """Run a script in a process of its own, whose path has neither this folder nor the package."""
    command = [sys.executable, "-I", "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


def save_expected(record, network, path):
    """Write images and what the network predicts for them."""
    inputs = images(record)
    with torch.no_grad():
        expected = {name: values.numpy() for name, values in network(inputs).items()}
    save_file({"images": inputs.numpy(), **expected}, path)


PT2 = """
import sys
import torch
from safetensors.torch import load_file

stored = load_file(sys.argv[2])
network = torch.export.load(sys.argv[1]).module()
predictions = network(stored["images"])
for name in ("first", "second"):
    assert (predictions[name] - stored[name]).abs().max() <= 1e-5
assert "sfgsearch" not in sys.modules
print(*predictions)
"""

ONNX = """
import sys
import onnxruntime
from safetensors.numpy import load_file

stored = load_file(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
names = [value.name for value in session.get_outputs()]
for name, values in zip(names, session.run(names, {"images": stored["images"]})):
    assert abs(values - stored[name]).max() <= 1e-5
assert "sfgsearch" not in sys.modules and "torch" not in sys.modules
print(*names)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "script"), [(".pt2", PT2), (".onnx", ONNX)])
def test_files_run_in_a_fresh_process_without_sfgsearch(trained_study, call, tmp_path, suffix, script):
    output, expected = tmp_path / f"net{suffix}", tmp_path / "expected.safetensors"
    status, out, err = call("export", trained_study, "--trial", LEARNED, "--seed", 1, "--output", output, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["largest_difference"] <= 1e-5
    save_expected(*recorded(trained_study, "finalist", LEARNED), expected)
    finished = run_fresh(script, output, expected)
    assert (finished.returncode, finished.stdout.split()) == (0, ["first", "second"]), finished.stderr
