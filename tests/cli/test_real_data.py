"""Whole runs on the user's own files, some of them broken, with the shipped study files on a small scale."""

import copy
import csv
import json
import tomllib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tomlkit
from PIL import Image

STUDIES = Path(__file__).parents[2] / "studies"
SMALL = {
    "training": {"epochs": 1, "batch_size": 8, "calibration_batches": 1, "monte_carlo_samples": 2, "threads": 1},
    "quota": {"learned": 1, "searched": 1},
    "comparison": {"seeds": 1},
}
PLAIN = {
    "backbone": {"name": "vgg_small", "plan": [4, "pool", 4]},
    "manual": {"methods": ["hard_sharing", "equal"]},
    **SMALL,
}
ORGANS = 6


def merge(settings, changes):
    for key, value in changes.items():
        if isinstance(value, dict):
            merge(settings.setdefault(key, {}), value)
        else:
            settings[key] = value
    return settings


def write_study(path, settings):
    path.write_text(tomlkit.dumps(settings))
    return path


def shrink(name, folder, **changes):
    """Write a shipped study file on a small scale: fewer and shorter trainings of a narrower network."""
    settings = merge(tomllib.loads((STUDIES / name).read_text()), copy.deepcopy(SMALL))
    settings["manual"].setdefault("options", {})["constant_probabilities"] = {"samples": 2}
    return write_study(folder / name, merge(settings, changes))


def check_run(call, study, metrics, *options):
    """Run a study to its end; check table, ``compare`` and ``show``; return what was on standard error."""
    settings = tomllib.loads(study.read_text())
    methods, finalists = settings["manual"]["methods"], settings["comparison"].get("manual")
    status, out, err = call("run", study, *options)
    assert status == 0, err
    assert "failed" not in err, "a trial or finalist failed"
    names = [*methods, f"learned-{len(methods)}", f"searched-{len(methods) + 1}"]
    for name in names:
        assert name in err, "its trial"
        assert name in out or (finalists and name in methods)
    status, printed, _ = call("compare", study, "--json")
    rows = json.loads(printed)["rows"]
    assert status == 0
    assert {row["kind"] for row in rows} == {"learned", "searched", "manual"}
    assert len({row["name"] for row in rows if row["kind"] == "manual"}) == (finalists or len(methods))
    for row in rows:
        assert set(row["metrics"]) >= metrics
        assert row["parameters"] > 0
        assert row["macs"] > 0
    status, printed, _ = call("show", study, "--trial", len(methods), "--json")
    trial = json.loads(printed)
    assert (status, trial["kind"]) == (0, "learned")
    assert set(trial["metrics"]) == metrics
    assert trial["allocation"]["groups"] == [
        *dict.fromkeys(metric.split("/")[0] for metric in trial["metrics"]),
        "shared",
    ]
    status, printed, _ = call("show", study, "--trial", 0)
    assert status == 0
    assert all(metric in printed for metric in metrics), "none is cut"
    return err


def of_two_classes(task):
    """Return the metrics of a classification of two classes."""
    return {f"{task}/{metric}" for metric in ("accuracy", "balanced_accuracy", "f1", "auroc")}


def check_refused(call, study, *options):
    """Check that a study ends at once, with status 2 and one line; return the line."""
    status, out, err = call("run", study, *options)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert not study.with_suffix("").exists(), "the database was touched"
    return err


def write_faces(folder, number=40):
    """Write faces as UTKFace names them, and six files that cannot be used."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(number):
        age, gender, race = (index * 7) % 117, index % 2, index % 5
        pixels = random.integers(256, size=(40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{age}_{gender}_{race}_2017011617{index:07}.jpg.chip.jpg")
    whole = (folder / "0_0_0_20170116170000000.jpg.chip.jpg").read_bytes()
    broken = {
        "30_1_2_20170109150557335.jpg": whole[: len(whole) // 2],
        "31_1_2_20170109150557335.jpg": b"no photograph, whatever the name says",
        "32_1_2_20170109150557335.jpg": b"",
        "61_1_20170109142408075.jpg.chip.jpg": whole,
        "117_0_0_20170109150557335.jpg": whole,
        "thumbnail.jpg": whole,
    }
    for name, content in broken.items():
        (folder / name).write_bytes(content)
    return folder


def write_subject(folder, seed, shape):
    """Write a body with organs as layers of its MRI, and its CT."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    labels = np.clip(np.hypot(x, y) * -ORGANS + ORGANS, 0, ORGANS - 1).astype(np.uint8)
    volumes = {
        "mr": (100 + 80.0 * labels + random.normal(0, 5, shape)).astype(np.int16),
        "ct": (300.0 * labels - 1000 + random.normal(0, 20, shape)).astype(np.int16),
        "labels": labels,
    }
    for name, volume in volumes.items():
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([1.0, 1.0, 3.0, 1.0])), folder / f"{name}.nii.gz")


def write_subjects(folder, number=5):
    """Write subjects of two sizes, two of whom lack a target, and three that cannot be used."""
    for index in range(number):
        write_subject(folder / f"p{index}", index, (24 + index % 2, 20, 6))
    for name in ("x-missing", "x-truncated", "x-mismatch"):
        write_subject(folder / name, 0, (24, 20, 6))
    (folder / "p1" / "ct.nii.gz").unlink()
    (folder / "p2" / "labels.nii.gz").unlink()
    (folder / "x-missing" / "mr.nii.gz").unlink()
    truncated = folder / "x-truncated" / "mr.nii.gz"
    truncated.write_bytes(truncated.read_bytes()[:-400])
    labels = nibabel.Nifti1Image(np.zeros((24, 20, 5), dtype=np.uint8), np.eye(4))
    nibabel.save(labels, folder / "x-mismatch" / "labels.nii.gz")
    return folder


@pytest.mark.slow
def test_faces(tmp_path, call):
    study = shrink("utkface.toml", tmp_path, data={"size": 16}, backbone={"width": 1 / 16})
    faces = write_faces(tmp_path / "elsewhere")
    err = check_run(call, study, {"age/mae", *of_two_classes("gender")}, "--data", faces)
    assert "skipped 6 of 46 files: 117_0_0_20170109150557335.jpg (age is '117', not 0 to 116), 30_1_2" in err
    assert "and 3 more" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "comparison"),
    [
        ({"mode": "slices", "patch": 16}, {}),
        ({"mode": "patches", "patch": [4, 12, 12], "patches_per_volume": 3}, {"manual": 2}),
    ],
)
def test_volumes(tmp_path, call, data, comparison):
    backbone = {"width": 0.125, "blocks": 1}
    study = shrink("prostate.toml", tmp_path, data=data, backbone=backbone, comparison=comparison)
    write_subjects(tmp_path / "data" / "prostate")
    organs = ("left_femur", "right_femur", "bladder", "rectum", "prostate")
    dice = {f"organs/dice_{organ}" for organ in organs}
    err = check_run(call, study, {"ct/mae", "ct/psnr", "organs/dice", "organs/accuracy"} | dice)
    assert "skipped 3 of 8 subjects" in err
    assert "of 5 subjects 1 without ct and 1 without labels" in err
    assert "x-missing: no mr.nii.gz" in err
    assert "x-truncated: mr.nii.gz cannot be read" in err
    assert "x-mismatch: shapes differ" in err


@pytest.mark.parametrize("name", ["utkface.toml", "prostate.toml"])
def test_wrong_and_empty_folders_are_refused_in_one_line(tmp_path, call, name):
    study = shrink(name, tmp_path)
    (tmp_path / "empty").mkdir()
    assert f"there is no folder {tmp_path / 'data'}" in check_refused(call, study)
    assert f"there is no folder {tmp_path / 'absent'}" in check_refused(call, study, "--data", tmp_path / "absent")
    assert f"{tmp_path / 'empty'} h" in check_refused(call, study, "--data", tmp_path / "empty")
    (tmp_path / "empty" / "subject").mkdir()
    (tmp_path / "empty" / "30_0_0_20170109150557335.jpg").write_bytes(b"")
    assert "usable" in check_refused(call, study, "--data", tmp_path / "empty")


NUMBER = 40
WHOLE = {
    "kind": {"type": "classification", "key": "label"},
    "size": {"type": "regression", "key": "radius", "unit": "mm", "scale": 10.0},
}
DENSE = {
    "shape": {"type": "segmentation", "key": "mask", "classes": ["outside", "disc"]},
    "dose": {"type": "dense_regression", "unit": "Gy", "scale": 50.0, "span": 100.0},
}


def draw_discs():
    """Return images of discs with what a user could ask of them."""
    random = np.random.default_rng(0)
    radius = random.uniform(2, 6, NUMBER)
    grid = np.hypot(*np.meshgrid(np.arange(-6, 6), np.arange(-6, 6)))
    mask = (grid < radius[:, None, None]).astype(np.uint8)
    images = (200 * mask + random.integers(50, size=mask.shape)).astype(np.uint8)
    dose = (mask * 80 + random.random(mask.shape)).astype(np.float32)
    return {
        "images": images,
        "radius": radius,
        "label": np.where(radius < 4, "small", "large"),
        "mask": mask,
        "dose": dose,
    }


def test_an_npz_file(tmp_path, call):
    np.savez(tmp_path / "discs.npz", **draw_discs())
    settings = {"data": {"name": "npz", "path": "discs.npz", "tasks": WHOLE}, **copy.deepcopy(PLAIN)}
    check_run(call, write_study(tmp_path / "discs.toml", settings), {*of_two_classes("kind"), "size/mae"})


@pytest.mark.slow
def test_a_folder_of_pictures(tmp_path, call):
    discs = draw_discs()
    place = tmp_path / "discs"
    place.mkdir()
    rows = []
    for index in range(NUMBER):
        row = {"file": f"{index}.png", "mask": f"mask{index}.png", "dose": f"dose{index}.tiff"}
        for column, key, value in (("file", "images", 1), ("mask", "mask", 255), ("dose", "dose", 1)):
            Image.fromarray(discs[key][index] * discs[key].dtype.type(value)).save(place / row[column])
        rows.append(row | {"radius": discs["radius"][index], "label": discs["label"][index]})
    with (place / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    settings = {"data": {"name": "folder", "path": "absent", "tasks": DENSE, "colours": "grey"}, **copy.deepcopy(PLAIN)}
    metrics = {"shape/dice", "shape/dice_disc", "shape/accuracy", "dose/mae", "dose/psnr"}
    check_run(call, write_study(tmp_path / "pictures.toml", settings), metrics, "--data", place)
