"""The tables of a trial: its allocation by layer, its tasks, its metrics and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sfgsearch._stages import by_stage, layers_below, selected
from sfgsearch.allocation import Allocation
from sfgsearch.comparison._formats import MetricFormat, class_names
from sfgsearch.records import ArchitectureRecord
from sfgsearch.reporting._table import Column, Table, text
from sfgsearch.reporting._trial_note import is_proportion

_BAR_WIDTH = 12


def trial_tables(description: Mapping[str, Any], record: ArchitectureRecord, path: str | None = None) -> list[Table]:
    """Return a trial as tables.

    Args:
        description: What :func:`describe_trial` returns.
        record: The trial's record.
        path: The module whose layers are shown one by one, ``""`` for all; by stage, where there are many, if None.

    Raises:
        StudyError: If there is no layer in it.
    """
    return [
        _allocation_table(description["trial"], record, path),
        _tasks_table(record),
        _metrics_table(record),
        _params_table(description["params"], is_short=path is None and _is_by_stage(record.allocation)),
    ]


def _allocation_table(trial: int, record: ArchitectureRecord, path: str | None) -> Table:
    names, groups = [layer.name for layer in record.allocation.layers], record.allocation.groups
    is_staged = path is None and _is_by_stage(record.allocation)
    if path is None:
        layers = by_stage(record.allocation).layers
    else:
        layers = selected(record.allocation, layers_below(names, path)).layers
    is_learned = any(layer.mean_probs for layer in layers)
    columns = [text("stage" if is_staged else "layer"), *map(Column, groups), Column("shared part")]
    if is_learned:
        columns += [Column(("mean", "probabilities")), Column("entropy", "nats")]
    rows = []
    for layer in layers:
        cells = [layer.name, *map(str, layer.counts), _bar(layer.shared / layer.num_filters)]
        if is_learned:
            cells.append(" ".join(f"{prob:.2f}" for prob in layer.mean_probs or ()))
            cells.append("" if layer.mean_entropy is None else f"{layer.mean_entropy:.2f}")
        rows.append(cells)
    note = (
        f"{record.parameters:,} parameters, {record.macs:,} multiply-adds, "
        f"trained in {record.training_seconds:.0f} s with seed {record.seed}"
    )
    if is_staged:
        note += f"; {len(names)} layers by stage: --layers STAGE shows those of one, --layers all every one"
    return Table(f"trial {trial}: {record.name} ({record.kind})", columns, rows, note)


def _is_by_stage(allocation: Allocation) -> bool:
    return len(by_stage(allocation).layers) < len(allocation.layers)


def _bar(share: float) -> str:
    filled = round(share * _BAR_WIDTH)
    return f"{'█' * filled}{'░' * (_BAR_WIDTH - filled)} {100 * share:3.0f}%"


def _tasks_table(record: ArchitectureRecord) -> Table:
    rows = [(task["name"], task["type"], class_names(task) or task.get("unit", "")) for task in record.tasks]
    return Table("tasks", [*map(text, ("task", "type", "classes or unit"))], rows)


def _metrics_table(record: ArchitectureRecord) -> Table:
    form = MetricFormat(record.units)
    measured = [("network", record.metrics["validation"], record.scores["validation"])]
    if record.monte_carlo:
        measured[0] = ("derived", *measured[0][1:])
        sampled = record.monte_carlo
        name = f"Monte Carlo ({sampled.samples})"
        measured.append((name, sampled.metrics["validation"], sampled.scores["validation"]))
    keys = [key for key in record.units if any(key in metrics for _, metrics, _ in measured)]
    rows = [
        [key, *(form.value(key, metrics[key]) if key in metrics else "-" for _, metrics, _ in measured), form.unit(key)]
        for key in keys
    ]
    rows.append(["relative error", *(form.value("", score) for _, _, score in measured), "%"])
    return Table("validation", [text("metric"), *(Column(name) for name, _, _ in measured), text("unit")], rows)


def _params_table(params: Mapping[str, Any], *, is_short: bool) -> Table:
    shown = {name: value for name, value in params.items() if not (is_short and is_proportion(name))}
    rows = [(name, f"{value:.4g}" if isinstance(value, float) else str(value)) for name, value in shown.items()]
    left_out = len(params) - len(shown)
    note = f"{left_out} proportions of layers are left out; --layers all shows them" if left_out else ""
    return Table("parameters", [text("parameter"), Column("value")], rows, note)
