"""Tables for terminals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from sfgsearch.records import ArchitectureRecord
from sfgsearch.reporting._comparison import Comparison
from sfgsearch.reporting._statistics import Interval
from sfgsearch.tasks import FRACTION

_BAR_WIDTH = 30


class MetricFormat:
    """How metrics are written: fractions in percent, others in their unit.

    Args:
        units: Units by ``"<task>/<metric>"``.
    """

    def __init__(self, units: Mapping[str, str]) -> None:
        self._units = units

    def header(self, key: str) -> str:
        """Return a column title."""
        unit = self._units.get(key, FRACTION)
        return f"{escape(key)}\n[dim]{'%' if unit == FRACTION else escape(unit)}[/dim]"

    def value(self, key: str, value: float) -> str:
        """Return one value."""
        return f"{100 * value:.1f}" if self._units.get(key, FRACTION) == FRACTION else f"{value:.3g}"

    def interval(self, key: str, value: Interval, seeds: int) -> str:
        """Return a mean and half its interval; a dash for the interval of a single seed."""
        margin = self.value(key, value.half_width) if seeds > 1 else "-"
        return f"{self.value(key, value.mean)} ± {margin}"


def comparison_table(comparison: Comparison) -> Table:
    """Return the finalists as a table.

    Args:
        comparison: The comparison.
    """
    units = comparison.rows[0].units if comparison.rows else {}
    form, keys = MetricFormat(units), list(units)
    table = Table(
        title=f"{escape(comparison.study)}: retrained finalists on test data",
        caption="mean ± half the 95 % interval over seeds; relative error: 0 perfect, 100 a constant prediction",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("kind")
    table.add_column("name")
    table.add_column("seeds", justify="right")
    for key in keys:
        table.add_column(form.header(key), justify="right")
    table.add_column("relative error\n[dim]%[/dim]", justify="right")
    table.add_column("parameters", justify="right")
    table.add_column("multiply-adds", justify="right")
    table.add_column("trials", justify="right")
    table.add_column("search\n[dim]s[/dim]", justify="right")
    for index, row in enumerate(comparison.rows):
        first_of_kind = index == 0 or comparison.rows[index - 1].kind != row.kind
        last_of_kind = index + 1 == len(comparison.rows) or comparison.rows[index + 1].kind != row.kind
        spent = comparison.spent[row.kind]
        table.add_row(
            row.kind if first_of_kind else "",
            escape(row.name),
            str(row.seeds),
            *(form.interval(key, row.metrics[key], row.seeds) for key in keys),
            form.interval("", row.error, row.seeds),
            f"{row.parameters:,}",
            f"{row.macs:,}",
            str(spent.trials) if first_of_kind else "",
            f"{spent.seconds:.0f}" if first_of_kind else "",
            end_section=last_of_kind,
        )
    return table


def trial_tables(description: Mapping[str, Any], record: ArchitectureRecord) -> list[RenderableType]:
    """Return a trial as tables: its allocation by layer, its metrics and its parameters.

    Args:
        description: What :func:`describe_trial` returns.
        record: The trial's record.
    """
    return [_allocation_table(description, record), _metrics_table(record), _params_table(description["params"])]


def _allocation_table(description: Mapping[str, Any], record: ArchitectureRecord) -> Table:
    groups = record.allocation.groups
    table = Table(
        title=f"trial {description['trial']}: {escape(record.name)} ({record.kind})",
        caption=f"{record.parameters:,} parameters, {record.macs:,} multiply-adds, trained in "
        f"{record.training_seconds:.0f} s with seed {record.seed}",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("layer")
    for group in groups:
        table.add_column(escape(group), justify="right")
    table.add_column("shared part")
    is_learned = any(layer.mean_probs for layer in record.allocation.layers)
    if is_learned:
        table.add_column("mean probabilities", justify="right")
        table.add_column("entropy\n[dim]nats[/dim]", justify="right")
    for layer in record.allocation.layers:
        cells = [escape(layer.name), *map(str, layer.counts), _bar(layer.shared / layer.num_filters)]
        if is_learned:
            cells.append(" ".join(f"{prob:.2f}" for prob in layer.mean_probs or ()))
            cells.append("" if layer.mean_entropy is None else f"{layer.mean_entropy:.2f}")
        table.add_row(*cells)
    return table


def _bar(share: float) -> str:
    filled = round(share * _BAR_WIDTH)
    return f"[cyan]{'█' * filled}[/cyan][dim]{'░' * (_BAR_WIDTH - filled)}[/dim] {100 * share:3.0f} %"


def _metrics_table(record: ArchitectureRecord) -> Table:
    form = MetricFormat(record.units)
    table = Table(title="validation", box=box.SIMPLE_HEAD)
    for key in record.metrics["validation"]:
        table.add_column(form.header(key), justify="right")
    table.add_column("relative error\n[dim]%[/dim]", justify="right")
    values = [form.value(key, value) for key, value in record.metrics["validation"].items()]
    table.add_row(*values, form.value("", record.scores["validation"]))
    return table


def _params_table(params: Mapping[str, Any]) -> Table:
    table = Table(title="parameters", box=box.SIMPLE_HEAD)
    table.add_column("parameter")
    table.add_column("value", justify="right")
    for name, value in params.items():
        table.add_row(escape(name), f"{value:.4g}" if isinstance(value, float) else escape(str(value)))
    return table
