"""Latency: whether the multiply-adds that a compact network saves are saved in ONNX Runtime, on a single thread."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from torch import nn

from sfgsearch.export._formats import OnnxFormat
from sfgsearch.methods import Randomness, manual_methods
from sfgsearch.nn import NetworkSpec
from sfgsearch.reporting import to_json
from sfgsearch.tasks import Classification
from tests.benchmarks.result import Goal, new_table

GOAL = 0.75
"""Of hard sharing's latency, for equal thirds."""

REFERENCE, THIRDS = "hard_sharing", "equal"
METHODS = (REFERENCE, THIRDS, "single_task")


@dataclass(frozen=True)
class Latency:
    """What one image takes in one network.

    Args:
        method: The method whose allocation it has.
        ms: Median CPU time in milliseconds.
        ratio: Median over rounds of that time to hard sharing's in the same round.
        macs: Multiply-adds for one image, as a ratio to hard sharing's.
    """

    method: str
    ms: float
    ratio: float
    macs: float


def specify(backbone: Callable[[tuple[int, ...]], nn.Module], side: int) -> NetworkSpec:
    """Return a network with two tasks, for images of so many pixels a side."""
    tasks = tuple(Classification(name, num_classes=10) for name in ("first", "second"))
    return NetworkSpec(backbone, tasks, (3, side, side))


def measure_latency(spec: NetworkSpec, rounds: int) -> list[Latency]:
    """Measure hard sharing, equal thirds and single task by turns.

    Args:
        spec: The network.
        rounds: How often an image runs through each of them.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions, macs = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for method in METHODS:
            network, macs[method] = _predictor(spec, method)
            file = Path(folder) / f"{method}.onnx"
            tasks = [{"name": name} for name in spec.task_names]
            OnnxFormat().write(network, {"image_shape": list(spec.image_shape), "tasks": tasks}, file)
            sessions[method] = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    images = {"images": torch.rand(1, *spec.image_shape).numpy()}
    times: dict[str, list[float]] = {method: [] for method in METHODS}
    for _ in range(rounds + 1):
        for method, session in sessions.items():
            start = time.process_time()
            session.run(None, images)
            times[method].append(time.process_time() - start)
    taken = {method: found[1:] for method, found in times.items()}  # the first one allocates
    return [
        Latency(
            method,
            1000 * statistics.median(taken[method]),
            statistics.median(own / other for own, other in zip(taken[method], taken[REFERENCE], strict=True)),
            macs[method] / macs[REFERENCE],
        )
        for method in METHODS
    ]


def _predictor(spec: NetworkSpec, method: str) -> tuple[nn.Module, int]:
    """Return what predicts under a method before any training, and its multiply-adds."""
    cpu = torch.device("cpu")
    system = manual_methods[method](spec).build(spec, Randomness.from_seed(0, cpu), cpu)
    return system.predictor(_no_images).eval(), system.complexity().macs


def _no_images(*_: Any) -> Iterator[Any]:
    raise AssertionError("statistics of fixed allocations are those of training")


def goal_of(found: list[Latency], what: str) -> Goal:
    """Return the ratio of equal thirds beside its goal."""
    ratio = next(one.ratio for one in found if one.method == THIRDS)
    line = f"{what}: equal thirds take {ratio:.2f} of hard sharing's latency (goal: at most {GOAL})"
    return Goal(line, ratio, GOAL, ratio <= GOAL)


@click.command()
@click.option("--model", default="resnet18", help="A model of timm.")
@click.option("--side", "sides", type=int, multiple=True, default=(64, 224), help="Pixels a side; may be given twice.")
@click.option("--rounds", default=40, help="How often an image runs through each network.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(model: str, sides: tuple[int, ...], rounds: int, as_json: bool) -> None:
    """Compare latencies in ONNX Runtime, in CPU time of a single thread."""
    import timm

    def backbone(image_shape: tuple[int, ...]) -> nn.Module:
        network: nn.Module = timm.create_model(model, num_classes=0, global_pool="", in_chans=image_shape[0])
        return network

    for side in sides:
        found = measure_latency(specify(backbone, side), rounds)
        goal = goal_of(found, f"{model}, {side}x{side}")
        if as_json:
            click.echo(
                to_json({"model": model, "side": side, "rows": [asdict(one) for one in found], "met": goal.is_met})
            )
            continue
        table = new_table(f"{model}, {side}x{side}, two tasks", "method", "CPU ms", "of hard sharing", "multiply-adds")
        for one in found:
            table.add_row(one.method, f"{one.ms:.1f}", f"{one.ratio:.2f}", f"{one.macs:.2f}")
        Console().print(table)
        click.echo(str(goal))


if __name__ == "__main__":
    main()
