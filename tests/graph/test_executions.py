"""Dense, streams and compact are one network, and groups keep to themselves, whatever the module."""

import pytest
import torch
from awkward_networks import NAMES, build, image_shape
from executions import (
    Case,
    assert_dense_is_streams,
    assert_derived_are_dense,
    assert_tasks_keep_apart,
    in_order,
    one_hot,
)

from sfgsearch.graph import DenseNetwork, StreamsNetwork, compact

CASES = [
    *((name, 3, 0.3) for name in NAMES),
    *((name, num_tasks, 0.0) for name in ("plain", "residual", "attention") for num_tasks in (1, 2)),
]


@pytest.fixture(params=CASES, ids=str, scope="module")
def case(request):
    name, num_tasks, off = request.param
    return Case(build(name, num_tasks), image_shape(name), off=off)


@pytest.mark.parametrize("training", [False, True])
def test_dense_and_streams_agree_in_outputs_and_gradients(case, training):
    assert_dense_is_streams(case, training)


def test_compact_and_baked_networks_predict_the_same(case):
    assert_derived_are_dense(case)


def test_all_shared_is_the_network_itself(case):
    case.network.eval()
    assignment = torch.full((case.analysis.num_filters,), case.num_tasks)
    dense = DenseNetwork(case.network, case.analysis)
    exact = 1e-12 if case.analysis.norms else 0  # a norm over groups sums in another order
    with torch.no_grad():
        expected = in_order(case.network(case.images))
        for found in (
            in_order(dense(case.images, one_hot(assignment, case.num_tasks))),
            in_order(compact(case.network, case.analysis, assignment)(case.images)),
        ):
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=exact, atol=exact)


@pytest.mark.parametrize("execution", [DenseNetwork, StreamsNetwork])
@pytest.mark.parametrize("name", ["layer_norm", "group_norm", "attention"])
def test_norms_by_group_are_precise_under_autocast(name, execution):
    case = Case(build(name, 2), image_shape(name))
    network, images, gates = case.network.float(), case.images.float(), case.gates.float()
    executed = execution(network, case.analysis)
    with torch.no_grad():
        expected = executed(images, gates)
        with torch.autocast("cpu", torch.bfloat16):
            found = executed(images, gates)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.float(), other, rtol=0, atol=0.05 * float(other.abs().max()))


def test_a_task_does_not_touch_filters_of_another(case):
    assert_tasks_keep_apart(case)
