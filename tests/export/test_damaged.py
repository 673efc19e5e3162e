"""Exported and stored weights that were damaged, exchanged or made up: one kind of error, whatever is in the files."""

import json
import random
import shutil
import struct
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from sfgsearch import load_config, load_exported
from sfgsearch.errors import ExportError
from sfgsearch.export import export_network, load_network
from sfgsearch.search import artifact_folder, load_study, records_of
from sfgsearch.search._artifacts import stored_weights

ROUNDS = 20
DEEP = 100_000
HUGE = 10**30


@pytest.fixture
def exported(recorded, tmp_path):
    """Export a case, and return the two files."""

    def export(name):
        case = recorded(name)
        files = export_network(case.record, case.weights, tmp_path / "net.safetensors", force=True).files
        return case, files

    return export


def places(value, path=()):
    """Yield the path of every value inside a JSON document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def put(document, path, value):
    """Return a document with another value at a path."""
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = put(document[path[0]], path[1:], value)
    return copy


STRANGE = [
    *(None, True, -1, 0, 3, HUGE, -HUGE, 1e308, float("inf"), float("nan"), 0.5, 10**9, 10**12),
    *("", "x", "☃" * 50, "vgg_small", "allocated"),
    *([], {}, [1], [[[]]], {"a": {}}, [0] * 1000),
]
NESTED = ["[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "9" * 5000]
NO_JSON = [b"", b"\x00", b"\xff\xfe\x00\x01", b"null", b"{}", b"[" * DEEP, b"1e999", b'"\xc3']


def mutate_text(draw, text):
    """Return a description with one damage: of its characters, or of its structure."""
    kind, document = draw.randrange(8), json.loads(text)
    if kind == 0:
        return text[: draw.randrange(len(text))]
    if kind == 1:
        where = draw.randrange(len(text))
        return text[:where] + chr(draw.randrange(1, 300)) + text[where + 1 :]
    if kind == 2:
        where = draw.choice(list(places(document)))
        return json.dumps(put(document, where, "@")).replace('"@"', draw.choice(NESTED))
    keys = ("backbone", "image_shape", "tasks", "structure")
    path = draw.choice([path for path in places(document) if path and path[0] in keys])
    if kind == 3 and isinstance(path[-1], str):
        parent = document
        for key in path[:-1]:
            parent = parent[key]
        del parent[path[-1]]
        return json.dumps(document)
    return json.dumps(put(document, path, draw.choice(STRANGE)))


def mutate_weights(draw, content):
    """Return weights with one damage."""
    kind = draw.randrange(5)
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    if kind == 0:
        return content[: draw.randrange(len(content))]
    if kind == 1:
        where = draw.randrange(8 + length)
        return content[:where] + bytes([draw.randrange(256)]) + content[where + 1 :]
    if kind == 2:
        return struct.pack("<Q", draw.choice([0, 1, 2**31, 2**62, 2**64 - 1])) + content[8:]
    if kind == 3:
        return bytes(draw.randrange(256) for _ in range(draw.randrange(200)))
    name = draw.choice([name for name in header if name != "__metadata__"])
    key = draw.choice(["dtype", "shape", "data_offsets"])
    header[name][key] = draw.choice([[], [1], [0, 0], [HUGE], [2**40] * 3, "I64", "BF16", "F8_E4M3", "BOOL", None, {}])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def attempt(path):
    """Load a network; return whether there is one, and let everything but ExportError pass."""
    try:
        network = load_exported(path)
    except ExportError as error:
        message = str(error)
    else:
        assert isinstance(network, torch.nn.Module)
        return True
    assert "\n" not in message
    assert path.stem in message
    return False


@pytest.mark.parametrize(
    "name", ["two tasks with gaps", *(pytest.param(name, marks=pytest.mark.slow) for name in ("dense", "ensemble"))]
)
def test_whatever_is_in_the_two_files_is_one_kind_of_error(exported, name):
    _, (weights, text) = exported(name)
    good_text, good_weights = text.read_text(), weights.read_bytes()
    without_digest = json.dumps({**json.loads(good_text), "weights_digest": None})
    draw, loaded = random.Random(name), 0
    for _ in range(ROUNDS):
        text.write_text(mutate_text(draw, good_text), encoding="utf-8")
        loaded += attempt(weights)
    assert loaded < ROUNDS / 2, "few keys can change without a difference"
    text.write_text(without_digest)
    loaded = 0
    for _ in range(ROUNDS):
        weights.write_bytes(mutate_weights(draw, good_weights))
        loaded += attempt(weights)
    assert loaded < ROUNDS / 2
    weights.write_bytes(good_weights)
    assert attempt(weights)


def test_files_that_are_no_description(exported):
    _, (weights, text) = exported("one task")
    for file in (text, weights):
        good = file.read_bytes()
        for content in NO_JSON:
            file.write_bytes(content)
            assert not attempt(weights), (file.name, content[:10])
        file.write_bytes(good)
    assert attempt(weights)


def test_sizes_beyond_memory_are_refused_before_memory_is_taken(exported):
    _, (weights, text) = exported("one task")
    good = json.loads(text.read_text())
    for path, value in (
        (("tasks", 0, "num_classes"), 10**15),
        (("tasks", 0, "hidden"), 10**9),
        (("tasks", 0), {"type": "segmentation", "name": "digit", "num_classes": 10**9}),
        (("image_shape", 0), 10**12),
        (("backbone", "plan"), [10**9]),
        (("backbone", "width"), 1e9),
    ):
        text.write_text(json.dumps(put(good, path, value)))
        assert not attempt(weights), path


def test_weights_of_another_network_are_told_by_their_digest(exported, tmp_path):
    case, (weights, text) = exported("one task")
    other = {name: torch.zeros_like(tensor) for name, tensor in load_file(weights).items()}
    save_file(other, weights)
    with pytest.raises(ExportError, match=r"net\.safetensors are not those that were recorded.*exchanged"):
        load_exported(weights)
    text.write_text(json.dumps({**json.loads(text.read_text()), "weights_digest": None}))
    assert attempt(weights), "whoever changed them on purpose"
    stored = tmp_path / "stored"
    save_file(other, stored)
    assert load_network(case.record, stored)
    with pytest.raises(ExportError, match="stored are not those that were recorded"):
        load_network(replace(case.record, weights_digest="0" * 64), stored)
    with pytest.raises(ExportError, match="stored are not those that were recorded"):
        export_network(replace(case.record, weights_digest="0" * 64), stored, tmp_path / "new.pt2")
    assert not (tmp_path / "new.pt2").exists()


@pytest.mark.parametrize(("role", "damage"), [("trial", "cut"), ("finalist", "exchanged"), ("relearned", "bit")])
def test_stored_weights_are_checked_by_their_record(trained_study, tmp_path, role, damage):
    config = load_config(trained_study)
    records = records_of(load_study(config)).all()
    record = next(record for record in records if record.role == role)
    other = next(other for other in records if other.weights_artifact != record.weights_artifact)
    folder = shutil.copytree(artifact_folder(config), tmp_path / "artifacts")
    with stored_weights(record, folder) as file:
        assert load_network(record, file)
    file = folder / record.weights_artifact
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    damaged = {"cut": content[:-5], "exchanged": (folder / other.weights_artifact).read_bytes(), "bit": content}
    file.write_bytes(damaged[damage])
    with pytest.raises(ExportError) as error, stored_weights(record, folder):
        pass
    assert str(file) in str(error.value)
    assert f"trial {record.trial} ({record.name}, {role}" in str(error.value)


def test_a_path_that_names_no_file_is_refused():
    with pytest.raises(ExportError, match="names no file"):
        load_exported("")
