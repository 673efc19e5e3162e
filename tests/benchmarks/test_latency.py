"""The benchmark of latencies, on a small network."""

import pytest
from torch import nn

pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install 'sfgsearch[onnx]'")
pytest.importorskip("onnxscript", reason="needs torch's exporter for ONNX: pip install 'sfgsearch[onnx]'")

from tests.benchmarks.latency import Latency, goal_of, measure_latency, specify


def test_latencies_stand_beside_multiply_adds():
    spec = specify(lambda shape: nn.Sequential(nn.Conv2d(shape[0], 12, 3), nn.ReLU(), nn.Conv2d(12, 12, 3)), 12)
    found = {one.method: one for one in measure_latency(spec, rounds=2)}
    assert list(found) == ["hard_sharing", "equal", "single_task"]
    assert found["hard_sharing"].ratio == found["hard_sharing"].macs == 1
    assert found["equal"].macs < 0.9
    assert found["single_task"].macs == pytest.approx(2, rel=0.05)
    assert all(one.ms > 0 for one in found.values())


@pytest.mark.parametrize(("ratio", "is_met"), [(0.7, True), (0.8, False)])
def test_the_goal_is_that_of_thirds(ratio, is_met):
    goal = goal_of([Latency("hard_sharing", 10, 1, 1), Latency("equal", 10 * ratio, ratio, 0.6)], "network")
    assert goal.is_met is is_met
    assert f"{ratio:.2f} of hard sharing's latency" in str(goal)
