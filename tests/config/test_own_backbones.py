"""Backbones of the user's own: whatever is wrong with one is a line that names it, and what brings weights works."""

import pytest
import torch
from safetensors.torch import save_file

from sfgsearch.cli import main
from sfgsearch.config import build_experiment, load_config
from sfgsearch.errors import ConfigError
from sfgsearch.search._identity import NetworkSignature

CODE = '''
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from sfgsearch.backbones import backbones


def block(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


class Net(nn.Module):
    """Two blocks with something between them."""

    def __init__(self, between=lambda x: x, inputs=1):
        super().__init__()
        self.first, self.second, self.between = block(inputs, 6), block(6, 6), between

    def forward(self, images):
        return self.second(self.between(self.first(images)))


def register(name, between, **options):
    backbones.register(name)(lambda image_shape: Net(between, **options))


register("bad_key", lambda x: {}["features"])
register("bad_type", lambda x: torch.relu(x, 1, 2))
register("bad_sum", lambda x: x + x[:, :4])
register("bad_branch", lambda x: x if x.sum() > 0 else -x)
register("bad_chance", lambda x: x + torch.rand_like(x))
register("bad_sort", lambda x: x.sort(1).values)
register("bad_space", lambda x: nn.functional.max_pool2d(x, 100))
register("bad_channels", lambda x: x, inputs=3)
register("bad_cast", lambda x: x.double())


@backbones.register("bad_return")
def bad_return(image_shape):
    Net()


@backbones.register("bad_signature")
def bad_signature(layers, image_shape):
    return Net()


@backbones.register("bad_hint")
def bad_hint(image_shape, *, width: "Width" = 3):
    return Net()


@backbones.register("bad_flat")
def bad_flat(image_shape):
    return nn.Sequential(Net(), nn.Flatten(0))


@backbones.register("bad_unread")
def bad_unread(image_shape):
    net = Net()
    net.auxiliary = nn.Linear(6, 3)
    return net


@backbones.register("own_pretrained")
def own_pretrained(image_shape, *, weights: str):
    net = Net()
    net.load_state_dict(load_file(weights))
    scale = net.first[0].weight.detach().abs().mean().item()  # a value, which there is none of without memory
    net.second[0].weight.data.mul_(scale)
    return net
'''
KEYS = {
    "bad_key": r"KeyError: 'features' \(own_backbones.py, line 30\)",
    "bad_type": r"TypeError: .*relu.* \(own_backbones.py, line 31\)",
    "bad_sum": r"The size of tensor a \(6\) must match .* \(own_backbones.py, line 32\)",
    "bad_branch": "torch.export cannot trace the network: .* forward must not depend on the values of images",
    "bad_chance": "its forward depends on chance or on the values of images",
    "bad_sort": r"filters cannot be followed through backbone \(sort\); write that part with convolutions",
    "bad_space": r"Output size is too small \(own_backbones.py, line 36\)",
    "bad_channels": r"expected input\[2, 1, 10, 10\] to have 3 channels, but got 1 channels instead",
    "bad_cast": "(?i)double",
    "bad_return": "a backbone must return a torch.nn.Module, got NoneType",
    "bad_signature": "TypeError: .* missing 1 required positional argument: 'image_shape'",
    "bad_hint": "NameError: name 'Width' is not defined",
    "bad_flat": r"a backbone must return features of 4 dimensions .* got \(\d+,\)",
    "bad_unread": "no prediction depends on backbone.auxiliary.weight, backbone.auxiliary.bias",
}


@pytest.fixture
def own(study_file):
    """Return a function that writes a study with a backbone of CODE."""

    def write(name, **options):
        sections = {"study": {"imports": ["own_backbones.py"]}, "manual": {"methods": ["equal"]}}
        path = study_file(**sections, backbone={"name": name, "plan": None, **options})
        (path.parent / "own_backbones.py").write_text(CODE)
        return path

    return write


@pytest.fixture(autouse=True)
def _forgets(monkeypatch):
    from sfgsearch.backbones import backbones

    monkeypatch.setattr(backbones, "_parts", dict(backbones))


@pytest.mark.parametrize("name", KEYS)
def test_what_is_wrong_with_a_backbone_is_one_line_that_names_it(own, name):
    path = own(name)
    with pytest.raises(ConfigError, match=KEYS[name]) as raised:
        build_experiment(load_config(path))
    assert str(raised.value).startswith(f"{path}: backbone.name = '{name}': ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["bad_key", "bad_sum", "bad_branch"])
def test_commands_end_with_the_line_and_status_two(own, capsys, name):
    with pytest.raises(SystemExit) as stop:
        main(["run", str(own(name))])
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1
    assert f"backbone.name = '{name}'" in printed.err


def test_weights_of_a_file_stay_and_need_no_build_without_memory(own, tmp_path):
    namespace = {"__name__": "of_a_test"}
    exec(CODE.partition("def register")[0], namespace)
    brought = namespace["Net"]().state_dict()
    save_file(brought, tmp_path / "mine.safetensors")
    config = load_config(own("own_pretrained", weights=str(tmp_path / "mine.safetensors")))
    spec = build_experiment(config).spec
    assert torch.equal(spec.build().backbone.first[0].weight, brought["first.0.weight"])
    assert NetworkSignature.of(spec).parameters == sum(p.numel() for p in spec.build().parameters())
