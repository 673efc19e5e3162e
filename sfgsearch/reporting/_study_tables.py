"""The tables of a study: finalists, tests, hypervolumes, allocations, labels, trials, and what failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sfgsearch._choices import SPLIT_NAMES
from sfgsearch._stages import by_stage, stages_of
from sfgsearch.allocation import Allocation
from sfgsearch.comparison._comparison import Comparison, Spent
from sfgsearch.comparison._formats import TEST_TITLES, MetricFormat, cells_of_test, class_names, duration, thousands
from sfgsearch.comparison._groups import RowGroup, row_groups, width_text
from sfgsearch.comparison._hypervolume import hypervolumes
from sfgsearch.comparison._paired import CAVEAT
from sfgsearch.comparison._status import StudyStatus
from sfgsearch.data import DataIdentity
from sfgsearch.reporting._table import Column, Table, text


def report_tables(
    comparison: Comparison,
    status: StudyStatus,
    allocations: Sequence[tuple[str, Allocation]],
    data: DataIdentity | None = None,
) -> Iterator[Table]:
    """Yield the tables of a report: finalists, tests, hypervolumes, allocations, data, trials, what is missing.

    Args:
        comparison: The finalists; without any there is no table of them.
        status: How far the study is.
        allocations: Name and allocation of the best of each kind.
        data: Which data the study saw, where that is known.
    """
    yield from comparison_tables(comparison)
    if comparison.tests:
        yield tests_table(comparison)
    if comparison.rows:
        yield _hypervolumes(comparison)
    yield from _allocations(allocations)
    if data is not None:
        yield _labels(data)
    yield _trials(comparison, status)
    if comparison.shortfall.missing:
        yield _missing(comparison)
    if status.failures:
        yield failures_table(status)


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Return the finalists with the tasks' main metrics: at equal multiply-adds, then at the study's width."""
    return [_finalists(group) for group in row_groups(comparison)]


def _finalists(group: RowGroup) -> Table:
    first = group.rows[0]
    form, keys = MetricFormat(first.units), first.headline
    metrics = [Column(tuple(key.rsplit("/", 1)), form.unit(key)) for key in keys]
    sizes = [Column("relative error", "%"), Column("parameters"), Column("multiply-adds")]
    rows = [
        [
            row.kind,
            row.name,
            str(row.seeds),
            *(form.interval(key, row.metrics[key], row.seeds) if key in row.metrics else "-" for key in keys),
            form.interval("", row.error, row.seeds),
            thousands(row.parameters),
            group.macs(row),
            *([width_text(row)] if group.is_scaled else []),
        ]
        for row in group.rows
    ]
    return Table(
        f"{group.title[0].upper()}{group.title[1:]}",
        [
            *(text("kind"), text("name"), Column("seeds"), *metrics, *sizes),
            *([Column("width")] if group.is_scaled else []),
        ],
        rows,
        note="Mean ± half the 95 % interval over seeds. Relative error: 0 perfect, 100 a constant prediction. "
        f"{group.note}{group.remark.removeprefix(';')}".strip(),
        keys=3,
        is_grouped=True,
    )


def tests_table(comparison: Comparison) -> Table:
    """Return the paired tests of the best learned and the best searched finalist.

    Args:
        comparison: A comparison with tests.
    """
    return Table(
        "The best learned and searched against others",
        [text("pair"), *map(text, TEST_TITLES)],
        [(test.pair, *cells_of_test(test)) for test in comparison.tests],
        note=f"Test data; the first one's value minus the second one's. {CAVEAT}",
        is_grouped=True,
    )


def _hypervolumes(comparison: Comparison) -> Table:
    macs, found = hypervolumes(comparison.rows)
    return Table(
        "Hypervolume in relative error and multiply-adds",
        [text("kind"), Column("networks"), Column("hypervolume")],
        [(one.kind, str(one.networks), f"{one.value:.3f}") for one in found],
        note="The part of the plane that the retrained finalists of a kind dominate, at all widths, up to the "
        f"reference point: a relative error of 100 % and {thousands(macs)} multiply-adds, 1.1 times the dearest "
        "finalist's. More is better, and more networks have more.",
    )


def _allocations(allocations: Sequence[tuple[str, Allocation]]) -> Iterator[Table]:
    if not allocations:
        return
    longest = max((allocation for _, allocation in allocations), key=lambda one: len(one.layers))
    names = [layer.name for layer in longest.layers]  # some methods leave some out
    stages = list(stages_of(names))
    if len(stages) < len(names):
        yield _counts("stage", stages, [(name, by_stage(one, names)) for name, one in allocations])
    yield replace(_counts("layer", names, allocations), is_detail=len(stages) < len(names))


def _counts(rows: str, names: Sequence[str], allocations: Sequence[tuple[str, Allocation]]) -> Table:
    """Return the filters of allocations by layer or stage."""
    counts = [{layer.name: " / ".join(map(str, layer.counts)) for layer in one.layers} for _, one in allocations]
    return Table(
        f"Filters of the best of each kind by {rows}",
        [text(rows), *(Column(name) for name, _ in allocations)],
        [(name, *(of_kind.get(name, "") for of_kind in counts)) for name in names],
        note=f"Filters of {' / '.join(allocations[0][1].groups)}.",
    )


def _labels(data: DataIdentity) -> Table:
    rows = [
        (
            str(task["name"]),
            str(task["type"]),
            class_names(task) or str(task.get("unit", "")),
            *(f"{count.present:,} of {count.total:,}" for count in (data.labels[s][task["name"]] for s in SPLIT_NAMES)),
        )
        for task in data.tasks
    ]
    images = ", ".join(f"{data.splits[split].number:,} for {split}" for split in SPLIT_NAMES)
    return Table(
        "Labels",
        [text("task"), text("type"), text("classes or unit"), *map(Column, SPLIT_NAMES)],
        rows,
        note=f"Images: {images}. Labels that are present, of dense tasks by pixel; losses and metrics leave out the "
        f"others. Digest of images, targets and classes: {data.digest}.",
    )


def _trials(comparison: Comparison, status: StudyStatus) -> Table:
    rows = []
    for kind in status.kinds:
        spent = comparison.spent.get(kind.kind, Spent(0, 0.0))
        counts = (kind.quota, kind.complete, kind.pruned, kind.unfinished, kind.failed)
        ratio = comparison.time_ratio(kind.kind) if spent.trials else None
        rows.append((kind.kind, *map(str, counts), duration(spent.seconds), "-" if ratio is None else f"{ratio:.2f}"))
    titles = ("quota", "complete", "pruned", "unfinished", "failed", "training time", "of the learned time")
    return Table(
        "Trials",
        [text("kind"), *map(Column, titles)],
        rows,
        note="Refined trials also cost the learned ones that they start from, which the last column counts."
        if "refined" in comparison.spent
        else "",
    )


def _missing(comparison: Comparison) -> Table:
    rows = [
        (
            one.kind or "?",
            one.name,
            one.role,
            one.reason,
            "-" if one.trial is None else str(one.trial),
            "-" if one.seed is None else str(one.seed),
        )
        for one in comparison.shortfall.missing
    ]
    return Table(
        "Missing for good",
        [*map(text, ("kind", "name", "role", "reason")), Column("trial"), Column("seed")],
        rows,
        note="What the study asks for and will not get. sfgsearch run --retry-failed tries again what failed.",
    )


def failures_table(status: StudyStatus) -> Table:
    """Return what failed, the last attempt of each."""
    rows = [
        (failure.job, failure.name, failure.reason, "tried again" if failure.retried else "given up")
        for failure in status.failures
    ]
    return Table("Failures", [*map(text, ("job", "what", "reason", "then"))], rows)
