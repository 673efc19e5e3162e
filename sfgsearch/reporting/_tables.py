"""Tables for terminals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from sfgsearch.records import ArchitectureRecord
from sfgsearch.reporting._comparison import Comparison
from sfgsearch.reporting._formats import TEST_TITLES, MetricFormat, cells_of_test, class_names, duration, thousands
from sfgsearch.reporting._groups import RowGroup, row_groups, width_text
from sfgsearch.reporting._paired import CAVEAT

_BAR_WIDTH = 12
WIDEST = 10_000
"""Columns of a console that shows every table whole."""

_RELATIVE_ERROR = "relative\nerror\n[dim]%[/dim]"


def _table(title: str, caption: str | None = None) -> Table:
    """Return an empty table that a narrow terminal folds rather than cuts."""
    return Table(title=title, caption=caption, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)


def _add_columns(table: Table, *titles: str) -> None:
    """Add columns of numbers, which stay whole; names fold where space is short."""
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)


def _add_name_column(table: Table, title: str) -> None:
    table.add_column(title, overflow="fold", min_width=min(8, len(title) + 4))


def _header(form: MetricFormat, key: str) -> str:
    """Return a column title in three short lines: task, metric, unit."""
    task, metric = key.rsplit("/", 1)
    return f"{escape(task)}\n{escape(metric)}\n[dim]{escape(form.unit(key))}[/dim]"


def comparison_tables(comparison: Comparison, console: Console) -> list[Table]:
    """Return the finalists with the tasks' main metrics: at equal multiply-adds, then at the study's width.

    Args:
        comparison: The comparison.
        console: Where the tables should fit; what is too wide becomes several.
    """
    return [table for group in row_groups(comparison) for table in _group_tables(group, console)]


def _group_tables(group: RowGroup, console: Console) -> list[Table]:

    def measure(table: Table) -> Measurement:
        return console.measure(table, options=console.options.update(width=WIDEST))

    keys = list(group.rows[0].headline)
    whole = _comparison_table(group, keys)
    if measure(whole).minimum <= console.width:
        return [whole]
    tables: list[Table] = []
    first = 0
    for last in range(1, len(keys) + 1):
        table = _comparison_table(group, keys[first:last], has_summary=False)
        if last - first == 1 or measure(table).maximum > console.width:
            first = last - 1
            tables.append(_comparison_table(group, [keys[first]], has_summary=False))
        else:
            tables[-1] = table
    return [*tables, _comparison_table(group, [])]


def _comparison_table(group: RowGroup, keys: Sequence[str], *, has_summary: bool = True) -> Table:
    """Return the finalists with some of their metrics, and on request with their relative error and size."""
    rows, form = group.rows, MetricFormat(group.rows[0].units)
    caption = "mean ± half the 95 % interval over seeds"
    if has_summary:
        caption += f"; relative error: 0 perfect, 100 a constant prediction{group.remark}"
    table = _table(escape(f"{group.study}: {group.title}"), caption)
    _add_name_column(table, "kind")
    _add_name_column(table, "name")
    _add_columns(table, "seeds", *(_header(form, key) for key in keys))
    if has_summary:
        _add_columns(table, _RELATIVE_ERROR, "param-\neters", "multiply-\nadds")
        if group.is_scaled:
            _add_columns(table, "width")
    for index, row in enumerate(rows):
        first_of_kind = index == 0 or rows[index - 1].kind != row.kind
        last_of_kind = index + 1 == len(rows) or rows[index + 1].kind != row.kind
        cells = [form.interval(key, row.metrics[key], row.seeds) for key in keys]
        if has_summary:
            cells += [form.interval("", row.error, row.seeds), thousands(row.parameters), group.macs(row)]
            cells += [width_text(row)] if group.is_scaled else []
        table.add_row(
            row.kind if first_of_kind else "", escape(row.name), str(row.seeds), *cells, end_section=last_of_kind
        )
    return table


def tests_table(comparison: Comparison) -> Table:
    """Return the paired tests of the best learned and the best searched finalist.

    Args:
        comparison: A comparison with tests.
    """
    table = _table("the best learned and searched against others, test data", CAVEAT)
    _add_name_column(table, "pair")
    for title in TEST_TITLES:
        table.add_column(title, overflow="fold")
    tests = comparison.tests
    for index, test in enumerate(tests):
        begins = index == 0 or tests[index - 1].pair != test.pair
        ends = index + 1 == len(tests) or tests[index + 1].pair != test.pair
        table.add_row(escape(test.pair) if begins else "", *map(escape, cells_of_test(test)), end_section=ends)
    return table


def search_cost(comparison: Comparison) -> str:
    """Return a line about the trials and the time that each strategy took."""
    return f"Search: {', '.join(comparison.costs())}."


def trial_tables(description: Mapping[str, Any], record: ArchitectureRecord) -> list[RenderableType]:
    """Return a trial as tables: its allocation by layer, its tasks, its metrics and its parameters.

    Args:
        description: What :func:`describe_trial` returns.
        record: The trial's record.
    """
    return [
        _allocation_table(description, record),
        _tasks_table(record),
        _metrics_table(record),
        _params_table(description["params"]),
    ]


def _allocation_table(description: Mapping[str, Any], record: ArchitectureRecord) -> Table:
    layers = record.allocation.layers
    table = _table(
        f"trial {description['trial']}: {escape(record.name)} ({record.kind})",
        f"{record.parameters:,} parameters, {record.macs:,} multiply-adds, "
        f"trained in {duration(record.training_seconds)} with seed {record.seed}",
    )
    _add_name_column(table, "layer")
    _add_columns(table, *map(escape, record.allocation.groups), "shared part")
    is_learned = any(layer.mean_probs for layer in layers)
    if is_learned:
        _add_columns(table, "mean\nprobabilities", "entropy\n[dim]nats[/dim]")
    for layer in layers:
        cells = [escape(layer.name), *map(str, layer.counts), _bar(layer.shared / layer.num_filters)]
        if is_learned:
            cells.append(" ".join(f"{prob:.2f}" for prob in layer.mean_probs or ()))
            cells.append("" if layer.mean_entropy is None else f"{layer.mean_entropy:.2f}")
        table.add_row(*cells)
    return table


def _bar(share: float) -> str:
    filled = round(share * _BAR_WIDTH)
    return f"[cyan]{'█' * filled}[/cyan][dim]{'░' * (_BAR_WIDTH - filled)}[/dim] {100 * share:3.0f}%"


def _tasks_table(record: ArchitectureRecord) -> Table:
    table = _table("tasks")
    _add_name_column(table, "task")
    table.add_column("type")
    table.add_column("classes or unit", overflow="fold")
    for task in record.tasks:
        table.add_row(escape(task["name"]), escape(task["type"]), escape(class_names(task) or task.get("unit", "")))
    return table


def _metrics_table(record: ArchitectureRecord) -> Table:
    form = MetricFormat(record.units)
    rows = [("network", record.metrics["validation"], record.scores["validation"])]
    if record.monte_carlo:
        rows[0] = ("derived", *rows[0][1:])
        sampled = record.monte_carlo
        rows.append((f"Monte Carlo ({sampled.samples})", sampled.metrics["validation"], sampled.scores["validation"]))
    keys = [key for key in record.units if any(key in metrics for _, metrics, _ in rows)]
    table = _table("validation")
    _add_name_column(table, "metric")
    _add_columns(table, *(name for name, _, _ in rows))
    table.add_column("[dim]unit[/dim]")
    for key in keys:
        values = [form.value(key, metrics[key]) if key in metrics else "-" for _, metrics, _ in rows]
        table.add_row(escape(key), *values, escape(form.unit(key)))
    table.add_row("relative error", *(form.value("", score) for _, _, score in rows), "%")
    return table


def _params_table(params: Mapping[str, Any]) -> Table:
    table = _table("parameters")
    _add_name_column(table, "parameter")
    _add_columns(table, "value")
    for name, value in params.items():
        table.add_row(escape(name), f"{value:.4g}" if isinstance(value, float) else escape(str(value)))
    return table
