"""Quality over data splits: learned allocations by execution and prior, beside hard sharing and one by hand.

Every split draws data, weights and gates anew. A learned allocation counts twice: as the network that it was learned
with, and retrained from scratch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import click
from rich.console import Console

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import vgg_small
from sfgsearch.comparison._statistics import interval
from sfgsearch.data import MultiTaskData, digit_pairs, fashion_digits, rotated_mnist
from sfgsearch.functional import TemperatureSchedule
from sfgsearch.methods import FixedAllocation, PriorSettings, SFGSettings, StochasticFilterGroups, manual_methods
from sfgsearch.nn import NetworkSpec
from sfgsearch.reporting import to_json
from sfgsearch.training import Experiment, TrainingSettings
from tests.benchmarks.result import json_option, new_table


@dataclass(frozen=True)
class Setting:
    """A data set, and what is trained on it."""

    data: Callable[[int], MultiTaskData]
    plan: tuple[int | str, ...]
    epochs: int
    lr: float


SETTINGS = {
    "digit_pairs": Setting(digit_pairs, (16, "pool", 32, 32, 64), 15, 5e-3),
    "rotated_mnist": Setting(rotated_mnist, (16, "pool", 32, "pool", 64, 64), 15, 3e-3),
    "fashion_digits": Setting(fashion_digits, (16, "pool", 32, "pool", 64, 64), 10, 3e-3),
}
REFERENCE = "soft streams"
_UNIFORM = PriorSettings("uniform")
LEARNED: dict[str, dict[str, Any]] = {
    REFERENCE: {"execution": "streams", "hard": False, "settle": 0.0, "prior": _UNIFORM},
    "dense, uniform prior": {"prior": _UNIFORM},
    "dense": {},
}


@dataclass(frozen=True)
class Row:
    """One trained network.

    Args:
        data: The data set.
        split: The seed of data, weights and gates.
        name: What was trained.
        error: Mean relative error on test data.
        shared: Mean probability of the shared group by layer, of learned networks.
    """

    data: str
    split: int
    name: str
    error: float
    shared: tuple[float, ...] = ()


def measure(data: str, split: int) -> Iterator[Row]:
    """Train everything on one split."""
    setting = SETTINGS[data]
    drawn = setting.data(split)
    spec = NetworkSpec(functools.partial(vgg_small, plan=setting.plan), drawn.tasks, drawn.image_shape)
    settings = TrainingSettings(epochs=setting.epochs, lr=setting.lr, device="cpu", threads=1)
    train = functools.partial(Experiment(drawn, spec, settings).train, seed=split, splits=("test",))
    yield Row(data, split, "hard sharing", train(manual_methods["hard_sharing"](spec)).scores["test"])
    yield Row(data, split, "late", train(FixedAllocation(late(spec))).scores["test"])
    for name, options in LEARNED.items():
        temperature = TemperatureSchedule("exponential", 2.0, 0.3)
        learned = train(StochasticFilterGroups(SFGSettings(temperature=temperature, **options)))
        allocation = learned.system.allocation()
        shared = tuple(layer.mean_probs[-1] for layer in allocation.layers if layer.mean_probs)
        yield Row(data, split, name, learned.scores["test"], shared)
        assignments = learned.system.structure().details["assignments"]
        again = train(FixedAllocation(allocation, repair=True, assignments=assignments))
        yield Row(data, split, f"{name}, retrained", again.scores["test"])


def late(spec: NetworkSpec) -> Allocation:
    """Return the allocation of two tasks that a thoughtful person would write: shared but for the last two layers."""
    first = dict.fromkeys(spec.filters, (0.0, 0.0, 1.0))
    last = dict(zip(list(spec.filters)[-2:], ((0.25, 0.25, 0.5), (0.5, 0.5, 0.0)), strict=True))
    return Allocation.from_proportions(spec.filters, spec.task_names, {**first, **last})


def tables(rows: list[Row]) -> Iterator[Any]:
    """Yield a table per data set."""
    for data in dict.fromkeys(row.data for row in rows):
        errors: dict[str, dict[int, float]] = {}
        for row in rows:
            if row.data == data:
                errors.setdefault(row.name, {})[row.split] = 100 * row.error
        number = len(next(iter(errors.values())))
        title = f"{data}, {number} splits: relative error on test data, %"
        table = new_table(title, "network", "mean", "to hard sharing", "to soft streams")
        for name, own in errors.items():
            streams = errors.get(f"{REFERENCE}, retrained" if name.endswith("retrained") else REFERENCE, {})
            mean = interval(list(own.values()))
            cells = (_difference(own, other) for other in (errors["hard sharing"], streams))
            table.add_row(name, f"{mean.mean:.1f} ±{mean.half_width:.1f}", *cells)
        yield table
        for row in rows:
            if row.data == data and row.shared:
                yield f"{row.name}, split {row.split}: shared {' '.join(f'{share:.2f}' for share in row.shared)}"


def _difference(own: Mapping[int, float], other: Mapping[int, float]) -> str:
    paired = [own[split] - other[split] for split in own if split in other]
    found = interval(paired) if len(paired) > 1 and own is not other else None
    return f"{found.mean:+.1f} ±{found.half_width:.1f}" if found else ""


@click.command()
@click.option("--data", type=click.Choice(list(SETTINGS)), multiple=True, default=list(SETTINGS), show_default=True)
@click.option("--splits", type=click.IntRange(1), default=5, show_default=True, help="Splits of every data set.")
@json_option
def main(data: tuple[str, ...], splits: int, as_json: bool) -> None:
    """Compare learned allocations by execution and prior over splits of the data."""
    rows = []
    for name in data:
        for split in range(splits):
            for row in measure(name, split):
                rows.append(row)
                click.echo(f"{row.data} {row.split} {row.name}: {100 * row.error:.1f} %", err=True)
    if as_json:
        click.echo(to_json({"rows": [asdict(row) for row in rows]}))
        return
    for table in tables(rows):
        Console().print(table, highlight=False)


if __name__ == "__main__":
    main()
