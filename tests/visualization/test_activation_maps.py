"""Activation maps of single filters."""

import functools
import io
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from sfgsearch.backbones import vgg_small
from sfgsearch.nn import NetworkSpec, stream_activations
from sfgsearch.visualization import activation_maps
from sfgsearch.visualization.figures import describe
from sfgsearch.visualization.matplotlib import as_png, plot_activations


def test_filters_are_chosen_by_entropy(tiny):
    spec = tiny.spec(2, plan=(12, 9, 8, 7))
    network, images = tiny.grouped(spec), tiny.images(spec)
    found = activation_maps(network, images)
    layers = list(spec.filters)
    assert [one.layer for one in found.low] == [layers[0]] * 2 + [layers[2]] * 2 + [layers[3]] * 2
    entropies = network.by_space(network.groups.entropy().detach())
    for name in dict.fromkeys(one.layer for one in found.low):
        entropy = entropies[name]
        low = [one for one in found.low if one.layer == name]
        high = [one for one in found.high if one.layer == name]
        speaking = [
            index for index, maps in enumerate(stream_activations(network, images)[name].unbind(2)) if maps.any()
        ]
        assert low[0].entropy == pytest.approx(float(entropy[speaking].min()))
        assert high[0].entropy == pytest.approx(float(entropy[speaking].max()))
        assert np.argmax(low[0].probs) != np.argmax(low[1].probs), "there are filters for different groups"
        assert len({one.filter for one in low + high}) == 4


def test_maps_are_what_goes_into_the_streams(tiny):
    spec = tiny.spec(2)
    network, images = tiny.grouped(spec), tiny.images(spec)
    streams = stream_activations(network, images)
    for one in (found := activation_maps(network, images)).low + found.high:
        np.testing.assert_array_equal(one.maps, streams[one.layer][:, :, one.filter].numpy())
    assert found.groups == ("digit", "angle", "shared")


def test_of_volumes_the_middle_slice_is_shown(tiny):
    spec = tiny.spec(2, dimensions=3)
    network, images = tiny.grouped(spec), tiny.images(spec)
    found = activation_maps(network, images)
    first = images[0, 0, 3]
    expected = (first - first.min()) / (first.max() - first.min())
    np.testing.assert_allclose(found.images[0], expected, atol=1e-6)
    streams = stream_activations(network, images)
    one = found.low[-1]
    depth = streams[one.layer].shape[3]
    np.testing.assert_array_equal(one.maps, streams[one.layer][:, :, one.filter, depth // 2].numpy())


def test_narrow_layers_show_what_they_have(tiny):
    spec = tiny.spec(1, plan=(1, 2, 3))
    found = activation_maps(tiny.grouped(spec), tiny.images(spec))
    assert Counter(one.layer for one in found.low) == dict.fromkeys(spec.filters, 1)
    assert Counter(one.layer for one in found.high) == dict(zip(list(spec.filters)[1:], (1, 2), strict=True))


@pytest.mark.parametrize(("num_tasks", "images"), [(1, 3), (3, 1), (12, 3), (100, 4)])
def test_the_brightest_spot_of_every_row_is_drawn(tiny, num_tasks, images):
    spec = tiny.spec(num_tasks)
    found = activation_maps(tiny.grouped(spec), tiny.images(spec, batch=images))
    picture = describe("activations", found).panels[0].marks[0]
    brightest = picture.pixels[(picture.pixels == (252, 253, 191)).all(-1)]  # the last colour
    assert len(brightest) >= len(found.low) + len(found.high)


def test_another_resolution_scales_the_picture(tiny):
    spec = tiny.spec(2)
    figure = plot_activations(activation_maps(tiny.grouped(spec), tiny.images(spec, batch=2)))
    once = Image.open(io.BytesIO(as_png(figure)))
    figure.set_dpi(200)
    twice = Image.open(io.BytesIO(as_png(figure)))
    assert (twice.width, twice.height) == (2 * once.width, 2 * once.height)
    shrunk = np.asarray(twice.convert("RGB").resize(once.size, Image.Resampling.BOX), float)
    difference = np.abs(shrunk - np.asarray(once.convert("RGB"), float))[:, 182:]  # beside the names of filters
    assert np.median(difference) < 3
    assert difference.mean() < 6


def test_colours_of_images_are_kept(tiny):
    spec = NetworkSpec(functools.partial(vgg_small, plan=(4, 4)), tiny.tasks(2), (3, 6, 6))
    images = tiny.images(spec)
    found = activation_maps(tiny.grouped(spec), images)
    picture = images[1].movedim(0, -1)
    expected = (picture - picture.min()) / (picture.max() - picture.min())
    np.testing.assert_allclose(found.images[1], expected, atol=1e-6)


def test_vector_formats_have_the_picture(tiny, tmp_path):
    spec = tiny.spec(2)
    figure = plot_activations(activation_maps(tiny.grouped(spec), tiny.images(spec, batch=2)))
    figure.savefig(tmp_path / "maps.svg")
    text = (tmp_path / "maps.svg").read_text()
    assert len(re.findall(r"<image[^>]*>", text)) == 1
