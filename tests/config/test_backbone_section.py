"""The section of the backbone: functions by name, starting weights, what of it is allocated, libraries that lack."""

import re
import shutil
import sys

import pytest
import torch
from study_fixtures import write_study

from sfgsearch import load_config
from sfgsearch.backbones import vgg_small
from sfgsearch.cli import main
from sfgsearch.config import build_experiment
from sfgsearch.errors import ConfigError
from sfgsearch.export import load_network
from sfgsearch.search import load_study, records_of

MODULE = """
from torch import nn


def net(image_shape, *, filters: int = 6):
    return nn.Sequential(
        nn.Conv2d(image_shape[0], filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU(),
        nn.Conv2d(filters, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU(),
        nn.Conv2d(filters, 8, 3, padding=1), nn.ReLU(),
    )



def known(image_shape, *, pretrained: bool = False):
    model = net(image_shape)
    if pretrained:
        model.pretrained_cfg = {"mean": (0.25,), "std": (0.5,)}
    return model


number = 3
"""


@pytest.fixture
def nets(tmp_path):
    (tmp_path / "nets.py").write_text(MODULE)
    return tmp_path


def test_a_backbone_can_be_a_function_in_a_file_or_module(study, nets, monkeypatch):
    shutil.copy(nets / "nets.py", nets / "nets_on_path.py")
    monkeypatch.syspath_prepend(nets)
    for name in ("nets.py:net", "nets_on_path:net"):
        config = study(backbone={"name": name, "plan": None, "filters": 5})
        assert build_experiment(config).spec.filters == {"0": 5, "3": 5, "6": 8}
    sys.modules.pop("nets_on_path")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nets.py:nets", "backbone.name: 'nets.py' has no function 'nets'"),
        ("nets.py:number", "backbone.name: 'nets.py' has no function 'number'"),
        ("net.py:net", "backbone.name: cannot import 'net.py'"),
        ("no_such_package.nets:net", "backbone.name: cannot import 'no_such_package.nets'"),
        ("nets", "no backbone is called 'nets'"),
    ],
)
@pytest.mark.usefixtures("nets")
def test_a_function_that_is_not_there_is_named(study, name, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        build_experiment(study(backbone={"name": name, "plan": None}))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"cut": "3", "features": ["0"]}, "backbone.features: stands for cut where several features are read"),
        ({"features": ["0", "0"]}, "names a module twice"),
        ({"allocate": ["9"]}, "allocate: the network has no '9'"),
        ({"allocate": []}, "backbone.allocate"),
        ({"freeze": ["9"]}, "freeze: the network has no '9'"),
        ({"freeze": ["0", "1", "3", "4", "6"]}, "nothing to allocate"),
        ({"pretrained": True}, "the backbone has no weights of its own; set pretrained to a file of weights"),
        ({"pretrained": "missing.pt"}, "missing.pt are missing"),
        ({"input_norm": "image"}, "backbone.input_norm"),
        ({"input_norm": [[0.5, 0.5], [1.0, 1.0]]}, "for images of 1 channels; give one per channel"),
        ({"input_norm": [[0.5], [0.0]]}, "backbone.input_norm"),
        ({"frozen": ["0"]}, "backbone.frozen: unknown key, did you mean 'freeze'? allowed: filters, allocate, cut"),
    ],
)
@pytest.mark.usefixtures("nets")
def test_what_does_not_fit_is_one_line(study, section, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        build_experiment(study(backbone={"name": "nets.py:net", "plan": None, **section}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("library", "extra"), [("timm", "timm"), ("torchvision", "torchvision"), ("monai", "volumes")])
def test_a_library_that_is_not_installed_is_named_with_its_extra(study, monkeypatch, library, extra):
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=re.escape(f"pip install 'sfgsearch[{extra}]'")) as caught:
        build_experiment(study(backbone={"name": library, "plan": None, "model": "resnet18"}))
    assert "\n" not in str(caught.value)


@pytest.fixture
def pretrained(study, nets):
    """Return the section of the network that starts from a file of weights, and these weights."""
    section = {"name": "nets.py:net", "plan": None}
    state = build_experiment(study(backbone=section)).spec.build(torch.Generator().manual_seed(5)).backbone.state_dict()
    torch.save({**state, "fc.weight": torch.rand(10, 8)}, nets / "weights.pt")
    return {**section, "pretrained": "weights.pt", "freeze": ["0", "1"]}, state


def test_a_study_from_weights_is_trained_exported_and_rebuilt_without_the_file(study_file, nets, pretrained):
    section, state = pretrained
    path = study_file(
        backbone=section,
        training={"backbone_lr": 1e-4},
        quota={"learned": 1, "searched": 0},
        manual={"methods": ["equal"]},
        comparison={"seeds": 1, "searched": 0},
    )
    main(["run", str(path)])
    (nets / "weights.pt").unlink()
    records = records_of(load_study(load_config(path)))
    assert {(record.role, record.kind) for record in records.all()} >= {("trial", "learned"), ("finalist", "manual")}
    for record in records.all():
        file = load_config(path).folder / "artifacts" / record.weights_artifact
        network = load_network(record, file)
        frozen = [value for name, value in network.state_dict().items() if name.endswith("trunk.0.weight")]
        assert frozen
        assert all(torch.equal(value, state["0.weight"]) for value in frozen)


@pytest.mark.usefixtures("nets")
def test_a_network_is_rebuilt_with_the_normalisation_of_its_weights(study_file):
    section = {"name": "nets.py:known", "plan": None, "pretrained": True}
    path = study_file(backbone=section, quota={"learned": 0, "searched": 0}, manual={"methods": ["hard_sharing"]})
    main(["run", str(path)])
    config = load_config(path)
    for record in records_of(load_study(config)).all():
        backbone = load_network(record, config.folder / "artifacts" / record.weights_artifact).backbone
        images = torch.rand(2, *record.image_shape)
        assert torch.equal(backbone(images), backbone.trunk((images - 0.25) / 0.5))


def test_widths_are_not_matched_where_weights_fix_them(study_file, nets, capsys):
    section = {"name": "vgg_small", "plan": [4, 4], "pretrained": "weights.pt"}
    build_experiment(load_config(study_file(backbone={**section, "pretrained": None})))
    torch.save(vgg_small((1, 10, 10), plan=(4, 4)).state_dict(), nets / "weights.pt")
    with pytest.raises(SystemExit):
        main(["run", str(study_file(backbone=section, comparison={"match": "macs"}))])
    assert "starting weights fix the width, so multiply-adds cannot be matched" in capsys.readouterr().err


def test_files_of_the_same_name_in_two_folders_are_two_backbones(tmp_path):
    found = []
    for number, folder in enumerate(("one", "two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "nets.py").write_text(MODULE.replace("filters: int = 6", f"filters: int = {5 + number}"))
        path = write_study(tmp_path / folder, backbone={"name": "nets.py:net", "plan": None})
        found.append(build_experiment(load_config(path)).spec.filters["0"])
    assert found == [5, 6]


def test_a_study_does_not_go_on_with_other_weights(study_file, nets, pretrained, capsys):
    path = study_file(backbone=pretrained[0], quota={"learned": 0, "searched": 0}, manual={"methods": ["equal"]})
    main(["run", str(path), "--trials", "1"])
    torch.save({name: value + 1 for name, value in pretrained[1].items()}, nets / "weights.pt")
    with pytest.raises(SystemExit):
        main(["run", str(path)])
    assert (
        "the network changed since the study 'tiny' was created: it has other starting weights"
        in capsys.readouterr().err
    )
