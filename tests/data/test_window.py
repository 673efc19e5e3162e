"""Sliding windows: a fully convolutional network must not notice them."""

import sys

import pytest
import torch

from sfgsearch.data import InMemory, MultiTaskData, SlidingWindow
from sfgsearch.errors import DataError
from sfgsearch.tasks import DenseRegression, Segmentation

SPACES = {2: ((17, 12), (8, 7)), 3: ((9, 7, 11), (4, 7, 5))}


class PerVoxel(torch.nn.Module):
    """Answers for every voxel by itself, so that no border can matter."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def forward(self, images):
        self.shapes.append(tuple(images.shape))
        return {"organs": torch.cat([images, images.square(), -images], 1), "ct": 2 * images[:, 0] + 1}


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("overlap", [0.0, 0.5])
@pytest.mark.parametrize("blending", ["gaussian", "constant"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_windows_do_not_change_what_is_said_about_single_voxels(dimensions, blending, overlap):
    space, size = SPACES[dimensions]
    network, images = PerVoxel(), draw(2, 1, *space)
    predictions = SlidingWindow(size, overlap, blending, 3).predict(network, images)
    assert {shape[2:] for shape in network.shapes} == {size}
    assert max(shape[0] for shape in network.shapes) == 3
    for name, expected in PerVoxel()(images).items():
        torch.testing.assert_close(predictions[name], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_convolutions_differ_near_window_borders_only(dimensions):
    """With windows that overlap by half, and trust their middle alone, borders hardly show."""
    space, size = {2: ((24, 24), (12, 12)), 3: ((16, 16, 16), (8, 8, 8))}[dimensions]
    kind = torch.nn.Conv2d if dimensions == 2 else torch.nn.Conv3d
    convolution = kind(1, 1, 3, padding=1, bias=False)
    torch.nn.init.ones_(convolution.weight)
    images = draw(1, 1, *space)

    def network(windows):
        return {"ct": convolution(windows)[:, 0]}

    with torch.no_grad():
        whole = network(images)["ct"]
        blended = SlidingWindow(size, overlap=0.5).predict(network, images)["ct"]
        apart = SlidingWindow(size, overlap=0.0).predict(network, images)["ct"]
    inside = (0, *([slice(1, side - 1) for side in size]))
    torch.testing.assert_close(apart[inside], whole[inside])
    assert (blended - whole).abs().mean() < 0.3 * (apart - whole).abs().mean()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_images_smaller_than_the_window_are_padded_and_cropped_back(dimensions):
    network, images = PerVoxel(), draw(2, 1, *[5, 12, 3][:dimensions])
    predictions = SlidingWindow((8,) * dimensions).predict(network, images)
    assert {shape[2:] for shape in network.shapes} == {(8,) * dimensions}
    for name, expected in PerVoxel()(images).items():
        torch.testing.assert_close(predictions[name], expected, rtol=1e-5, atol=1e-5)


def test_images_of_the_windows_size_go_through_at_once():
    network, images = PerVoxel(), draw(5, 1, 8, 7)
    predictions = SlidingWindow((8, 7), windows_per_pass=2).predict(network, images)
    assert network.shapes == [(5, 1, 8, 7)]
    assert torch.equal(predictions["ct"], 2 * images[:, 0] + 1)


def test_a_windowed_network_passes_its_mode_on():
    network = torch.nn.Dropout(0.5)
    windowed = SlidingWindow((4, 4)).over(network)
    assert not windowed.eval().network.training
    assert windowed.train().network.training


def test_windows_that_cannot_be_are_refused(monkeypatch):
    for options in ({"size": ()}, {"size": (0, 3)}, {"size": (3,), "windows_per_pass": 0}):
        with pytest.raises(DataError, match="positive size"):
            SlidingWindow(**options)
    with pytest.raises(DataError, match="below 1, got 1"):
        SlidingWindow((3, 3), overlap=1.0)
    with pytest.raises(DataError, match="'linear'"):
        SlidingWindow((3, 3), blending="linear")
    with pytest.raises(DataError, match="3 dimensions cannot slide over 2"):
        SlidingWindow((3, 3, 3)).predict(PerVoxel(), draw(1, 1, 6, 6))
    for name in ("monai.inferers.utils", "monai.inferers"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match=r"pip install 'sfgsearch\[volumes\]'"):
        SlidingWindow((3, 3)).predict(PerVoxel(), draw(1, 1, 6, 6))


def test_experiments_evaluate_through_the_window_of_their_data():
    from sfgsearch.nn import NetworkSpec
    from sfgsearch.training import Experiment, TrainingSettings

    tasks = (Segmentation("organs", num_classes=3), DenseRegression("ct"))

    def split(*space):
        images = draw(3, 1, *space)
        answers = PerVoxel()(images)
        return InMemory(images, {"organs": answers["organs"].argmax(1), "ct": answers["ct"]})

    data = MultiTaskData(tasks, split(4, 4), split(9, 6), split(5, 3), window=SlidingWindow((4, 4)))
    spec = NetworkSpec(lambda *_: None, tasks, data.image_shape)
    experiment = Experiment(data, spec, TrainingSettings(device="cpu"))
    network = PerVoxel().eval()
    metrics = experiment.evaluate(network, "validation")
    assert not network.training
    assert metrics["organs/dice"] == 1
    assert metrics["ct/mae"] == pytest.approx(0, abs=1e-6)
    assert {shape[2:] for shape in network.shapes} == {(4, 4)}
