"""The tables of a trial: its allocation by layer, its tasks, its metrics and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sfgsearch.comparison._formats import MetricFormat, class_names
from sfgsearch.records import ArchitectureRecord
from sfgsearch.reporting._table import Column, Table, text
from sfgsearch.visualization._stages import by_stage, layers_below, selected, stages_of

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
        _params_table(description["params"]),
    ]


def _allocation_table(trial: int, record: ArchitectureRecord, path: str | None) -> Table:
    names, groups = [layer.name for layer in record.allocation.layers], record.allocation.groups
    is_whole = path is None and len(stages_of(names)) == len(names)
    if path is None:
        layers = by_stage(record.allocation).layers
    else:
        layers = selected(record.allocation, layers_below(names, path)).layers
    is_learned = any(layer.mean_probs for layer in layers)
    columns = [text("layer" if is_whole or path is not None else "stage"), *map(Column, groups), Column("shared part")]
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
    if path is None and not is_whole:
        note += f"; {len(names)} layers by stage: --layers STAGE shows those of one, --layers all every one"
    return Table(f"trial {trial}: {record.name} ({record.kind})", columns, rows, note)


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


def _params_table(params: Mapping[str, Any]) -> Table:
    rows = [(name, f"{value:.4g}" if isinstance(value, float) else str(value)) for name, value in params.items()]
    return Table("parameters", [text("parameter"), Column("value")], rows)
