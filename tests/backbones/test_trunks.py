"""Trunks: where features are read, what images are normalised with, what weights networks start from."""

import re
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sfgsearch.backbones import TrunkBuilder
from sfgsearch.errors import BackboneError
from sfgsearch.nn import NetworkSpec
from sfgsearch.tasks import Classification, Regression

SHAPE = (3, 16, 16)
TASKS = (Classification("a", 3), Regression("b"))


class Classifier(nn.Module):
    """A whole model as other libraries have them: stages, a pool, a classifier, and a head that only training has."""

    def __init__(self, channels=3, classes=10):
        super().__init__()
        self.stem = self._stage(channels, 8)
        self.stage1, self.stage2 = self._stage(8, 8), self._stage(8, 12)
        self.auxiliary, self.pool, self.fc = nn.Linear(8, classes), nn.AdaptiveAvgPool2d(1), nn.Linear(12, classes)

    def _stage(self, inputs, outputs):
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, images):
        return self.fc(self.pool(self.stage2(self.stage1(self.stem(images)))).flatten(1))


class Inplace(Classifier):
    """A model that writes into what its first layer returns."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(inplace=True))


class Grouped(Classifier):
    """A model whose last features are in one module with its classifier."""

    def __init__(self):
        super().__init__()
        layers = {"relu": nn.LeakyReLU(), "pool": self.pool, "flatten": nn.Flatten(), "fc": self.fc}
        self.end = nn.Sequential(OrderedDict(layers))
        del self.pool, self.fc

    def forward(self, images):
        return self.end(self.stage2(self.stage1(self.stem(images))))


class Segmenter(Classifier):
    """A model for dense predictions that returns a mapping."""

    def __init__(self):
        super().__init__()
        del self.auxiliary, self.fc
        self.decode = nn.Sequential(nn.Conv2d(12, 6, 1), nn.ReLU(), nn.Conv2d(6, 21, 1))

    def forward(self, images):
        logits = self.decode(self.stage2(self.stage1(self.stem(images))))
        return {"out": nn.functional.interpolate(logits, images.shape[2:])}


def classifier(image_shape, *, pretrained: bool = False):
    model = Classifier(image_shape[0])
    if pretrained:
        model.pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1)}
    return model


def build(make=classifier, shape=SHAPE, **settings):
    return TrunkBuilder(make, **{"is_whole": True, **settings})(shape).eval()


def randomised(model):
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.1)
    return model.eval()


@pytest.fixture
def images():
    return torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("make", "settings", "expected"),
    [
        (classifier, {}, lambda m, x: m.stage2(m.stage1(m.stem(x)))),
        (lambda _: Grouped(), {}, lambda m, x: m.end.relu(m.stage2(m.stage1(m.stem(x))))),
        (classifier, {"cut": "stage1"}, lambda m, x: m.stage1(m.stem(x))),
        (classifier, {"is_whole": False, "cut": "pool"}, lambda m, x: m.pool(m.stage2(m.stage1(m.stem(x))))),
        (lambda _: Segmenter(), {}, lambda m, x: m.decode[1](m.decode[0](m.stage2(m.stage1(m.stem(x)))))),
        (lambda _: Segmenter().stem, {}, lambda m, x: m(x)),
    ],
    ids=["last map", "last map beside the classifier", "cut", "pooled", "dense", "returns a map"],
)
def test_features_are_read_where_they_should_be_and_the_rest_is_left_out(images, make, settings, expected):
    trunk = randomised(build(make, **settings))
    assert torch.equal(trunk(images), expected(trunk.trunk, images))
    loss = trunk(images).sum()
    assert all(gradient is not None for gradient in torch.autograd.grad(loss, list(trunk.parameters())))


def test_several_features_are_joined_at_the_size_of_the_first(images):
    trunk = randomised(build(features=("stem", "stage2")))
    fused = trunk(images)
    assert fused.shape == (2, 8 + 12, 8, 8)
    assert torch.equal(fused[:, :8], trunk.trunk.stem(images))
    small = trunk.trunk.stage2(trunk.trunk.stage1(fused[:, :8]))
    enlarged = nn.functional.interpolate(small, (8, 8), mode="bilinear", align_corners=False)
    assert torch.equal(fused[:, 8:], enlarged)


def test_channel_spaces_have_the_names_of_the_models_own_modules():
    spec = NetworkSpec(TrunkBuilder(classifier, is_whole=True), TASKS, SHAPE)
    assert list(spec.filters) == ["stem.0", "stage1.0", "stage2.0"]


@pytest.mark.parametrize("norm", ["imagenet", ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)), "auto"])
def test_images_are_normalised(images, norm):
    mean, std = {
        "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "auto": ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1)),
    }.get(norm, norm)
    trunk = build(input_norm=norm, pretrained=True)
    for module in trunk.children():
        randomised(module)
    shift, scale = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    x = (images - shift) / scale
    torch.testing.assert_close(trunk(images), trunk.trunk.stage2(trunk.trunk.stage1(trunk.trunk.stem(x))))


@pytest.mark.parametrize("classes", [None, 5])
def test_weights_need_not_fit_what_is_left_out(images, tmp_path, classes):
    model = randomised(Classifier(classes=classes or 3))
    state = {name: value for name, value in model.state_dict().items() if classes or not name.startswith("fc.")}
    torch.save(state, tmp_path / "weights.pt")
    trunk = build(pretrained=tmp_path / "weights.pt")
    torch.testing.assert_close(trunk(images), model.stage2(model.stage1(model.stem(images))))


@torch.no_grad()
def test_features_are_those_before_what_writes_into_them(images):
    trunk = build(lambda _: Inplace(), cut="stem.0")
    assert torch.equal(trunk(images), trunk.trunk.stem[0](images))
    assert trunk(images).min().item() < 0


def test_frozen_numbers_of_a_model_of_ones_own_are_no_obstacle(images):
    model = Classifier()
    model.stem.requires_grad_(False)
    trunk = build(lambda _: model)
    assert trunk(images).shape == (2, 12, 2, 2)
    assert not any(parameter.requires_grad for parameter in trunk.trunk.stem.parameters())


def test_networks_that_start_from_nothing_read_images_as_they_are():
    assert not list(build(pretrained=False).buffers(recurse=False))


def test_grey_images_are_normalised_as_equal_colours_are_on_average():
    trunk = build(shape=(1, 16, 16), input_norm="imagenet")
    assert trunk.mean.item() == pytest.approx((0.485 + 0.456 + 0.406) / 3)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.trunk."])
def test_weights_come_from_files_of_models_that_have_more(images, tmp_path, suffix, prefix):
    model = randomised(Classifier(classes=1000))
    state = {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}
    file = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save({"epoch": 3, "state_dict": state}, file)

    class Headless(Classifier):
        def __init__(self, _shape):
            super().__init__()
            del self.auxiliary, self.fc

        def forward(self, images):
            return self.stage2(self.stage1(self.stem(images)))

    trunk = build(Headless, pretrained=file)
    torch.testing.assert_close(trunk(images), model.stage2(model.stage1(model.stem(images))))


@pytest.mark.parametrize("channels", [1, 4])
def test_weights_for_colours_fit_images_of_other_channels(tmp_path, channels):
    model = randomised(Classifier())
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    trunk = build(shape=(channels, 16, 16), pretrained=tmp_path / "weights.pt")
    grey = torch.rand(2, 1, 16, 16)
    ours, theirs = trunk(grey.expand(-1, channels, -1, -1)), model.stem(grey.expand(-1, 3, -1, -1))
    if channels == 1:
        theirs = model.stage2(model.stage1(theirs))
        torch.testing.assert_close(ours, theirs)
    assert trunk.trunk.stem[0].weight.shape[1] == channels


def test_frozen_parts_keep_weights_and_statistics_and_the_others_do_not(images):
    trunk = build(freeze=("stem", "stage1.0.weight", "stage?.1"))
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}
    trunk.train()
    optimiser = torch.optim.Adam(trunk.parameters(), lr=0.1)
    trunk(images).square().sum().backward()
    optimiser.step()
    changed = {name for name, tensor in trunk.state_dict().items() if not torch.equal(tensor, before[name])}
    starts = ("trunk.stem.", "trunk.stage1.0.weight", "trunk.stage1.1.", "trunk.stage2.1.")
    frozen = {name for name in before if name.startswith(starts)}
    assert changed == set(before) - frozen


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cut": "stage3"}, "cut: the network has no 'stage3'; did you mean 'stage2'?"),
        ({"features": ("stem", "xyz")}, "features: the network has no 'xyz'; it has stem, stem.0"),
        ({"cut": "stage*"}, "cut names modules one by one, and stage* are 8"),
        ({"cut": "stem.0.weight"}, "cut: the network has no 'stem.0.weight'; did you mean 'stem"),
        ({"cut": "auxiliary"}, "the network does not run auxiliary, or that returns no tensor"),
        ({"freeze": ("stages",)}, "freeze: the network has no 'stages'; did you mean 'stage"),
        ({"input_norm": ((0.5,), (0.5,))}, "input_norm has 1 means and 1 standard deviations for images of 3"),
        ({"make": lambda _shape: Classifier(), "pretrained": True}, "no weights of its own; set pretrained to a file"),
    ],
)
def test_what_does_not_fit_is_named(settings, message):
    with pytest.raises(BackboneError, match=re.escape(message)):
        build(**settings)


def write(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    return path


STATE = Classifier().state_dict()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pt", None, "a.pt are missing"),
        ("a.safetensors", None, "a.safetensors are missing"),
        ("a.safetensors", b"nonsense", "a.safetensors cannot be read"),
        ("a.pt", b"nonsense", "cannot be read as a dict of tensors"),
        ("a.pt", Classifier, "cannot be read as a dict of tensors"),
        ("a.pt", [1, 2], "hold no tensors by name"),
        ("a.pt", {"epoch": 3}, "hold no tensors by name"),
        ("a.pt", {"weight": torch.zeros(3)}, "lack 18 of the network's 18, such as stem.0.weight"),
        ("a.pt", {**STATE, "stage1.0.weight": torch.zeros(8, 9, 3, 3)}, "stage1.0.weight has shape (8, 9, 3, 3) there"),
        ("a.pt", {**STATE, "stem.0.weight": torch.zeros(8, 5, 3, 3)}, "stem.0.weight has shape (8, 5, 3, 3) there"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path, name, content, message):
    with pytest.raises(BackboneError, match=re.escape(message)) as caught:
        build(pretrained=write(tmp_path / name, content))
    assert "\n" not in str(caught.value)


def test_only_what_may_be_allocated_is():
    make = TrunkBuilder(classifier, is_whole=True)
    assert list(NetworkSpec(make, TASKS, SHAPE, allocate=("stage2",)).filters) == ["stage2.0"]
    norms_only = NetworkSpec(make, TASKS, SHAPE, keep_shared=("*.1",))
    assert list(norms_only.filters) == ["stem.0", "stage1.0", "stage2.0"]
    assert NetworkSpec(make, TASKS, SHAPE, keep_shared=("stem",)).filters == {"stage1.0": 8, "stage2.0": 12}


@pytest.mark.parametrize(
    ("allocate", "message"),
    [
        (("stem",), "nothing to allocate"),
        (("stem", "stage2"), "allocate: all filters in 'stem' stay shared, since shared ones read them"),
        (("stage9",), "allocate: the network has no 'stage9'; did you mean 'stage"),
        (("pool",), "nothing to allocate"),
    ],
)
def test_parts_that_cannot_be_allocated_alone_are_refused(allocate, message):
    with pytest.raises(BackboneError, match=re.escape(message)):
        _ = NetworkSpec(TrunkBuilder(classifier, is_whole=True), TASKS, SHAPE, allocate=allocate).analysis
