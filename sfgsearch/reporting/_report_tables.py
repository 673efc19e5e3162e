"""The tables of a report, as plain text that either format lays out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sfgsearch._choices import SPLIT_NAMES
from sfgsearch.allocation import Allocation
from sfgsearch.data import DataIdentity
from sfgsearch.reporting._comparison import Comparison, Spent
from sfgsearch.reporting._formats import (
    TEST_TITLES,
    MetricFormat,
    cells_of_test,
    class_names,
    duration,
    quantity_name,
    thousands,
)
from sfgsearch.reporting._groups import RowGroup, row_groups, width_text
from sfgsearch.reporting._hypervolume import hypervolumes
from sfgsearch.reporting._paired import CAVEAT
from sfgsearch.reporting._status import StudyStatus


@dataclass(frozen=True)
class PlainTable:
    """A table.

    Args:
        title: What it shows.
        titles: Of its columns.
        rows: Cells as text, as many as titles.
        words: How many columns, from the left, hold words; the others hold numbers.
        note: What to know when reading it.
    """

    title: str
    titles: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: int = 1
    note: str = ""


def report_tables(
    comparison: Comparison,
    status: StudyStatus,
    allocations: Sequence[tuple[str, Allocation]],
    data: DataIdentity | None = None,
) -> Iterator[PlainTable]:
    """Yield the tables of a report: finalists, tests, hypervolumes, allocations, data, trials, what is missing.

    Args:
        comparison: The finalists; without any there is no table of them.
        status: How far the study is.
        allocations: Name and allocation of the best of each kind.
        data: Which data the study saw, where that is known.
    """
    yield from map(_finalists, row_groups(comparison))
    if comparison.tests:
        yield PlainTable(
            "The best learned and searched against others",
            ("pair", *TEST_TITLES),
            [(test.pair, *cells_of_test(test)) for test in comparison.tests],
            words=8,
            note=f"Test data; the first one's value minus the second one's. {CAVEAT}",
        )
    if comparison.rows:
        yield _hypervolumes(comparison)
    if allocations:
        yield _allocations(allocations)
    if data is not None:
        yield _data(data)
    yield _trials(comparison, status)
    if comparison.shortfall.missing:
        yield _missing(comparison)
    if status.failures:
        yield PlainTable(
            "Failures",
            ("job", "what", "reason", "then"),
            [
                (failure.job, failure.name, failure.reason, "tried again" if failure.retried else "given up")
                for failure in status.failures
            ],
            words=4,
        )


def _missing(comparison: Comparison) -> PlainTable:
    rows: list[tuple[str, ...]] = [
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
    return PlainTable(
        "Missing for good",
        ("kind", "name", "role", "reason", "trial", "seed"),
        rows,
        words=4,
        note="What the study asks for and will not get. sfgsearch run --retry-failed tries again what failed.",
    )


def _finalists(group: RowGroup) -> PlainTable:
    first = group.rows[0]
    form, keys = MetricFormat(first.units), first.headline
    rows = [
        (
            row.kind,
            row.name,
            str(row.seeds),
            *(form.interval(key, row.metrics[key], row.seeds) if key in row.metrics else "-" for key in keys),
            form.interval("", row.error, row.seeds),
            thousands(row.parameters),
            group.macs(row),
            *([width_text(row)] if group.is_scaled else []),
        )
        for row in group.rows
    ]
    titles = [", ".join(filter(None, (quantity_name(key), form.unit(key)))) for key in keys]
    return PlainTable(
        f"{group.title[0].upper()}{group.title[1:]}",
        (
            *("kind", "name", "seeds", *titles, "relative error, %", "parameters", "multiply-adds"),
            *(["width"] if group.is_scaled else []),
        ),
        rows,
        words=2,
        note="Mean ± half the 95 % interval over seeds. Relative error: 0 perfect, 100 a constant prediction. "
        f"{group.note}{group.remark.removeprefix(';')}".strip(),
    )


def _hypervolumes(comparison: Comparison) -> PlainTable:
    macs, found = hypervolumes(comparison.rows)
    return PlainTable(
        "Hypervolume in relative error and multiply-adds",
        ("kind", "networks", "hypervolume"),
        [(one.kind, str(one.networks), f"{one.value:.3f}") for one in found],
        note="The part of the plane that the retrained finalists of a kind dominate, at all widths, up to the "
        f"reference point: a relative error of 100 % and {thousands(macs)} multiply-adds, 1.1 times the dearest "
        "finalist's. More is better, and more networks have more.",
    )


def _allocations(allocations: Sequence[tuple[str, Allocation]]) -> PlainTable:
    groups = allocations[0][1].groups
    layers = max((allocation.layers for _, allocation in allocations), key=len)  # some methods leave some out
    counts = [
        {layer.name: " / ".join(map(str, layer.counts)) for layer in allocation.layers} for _, allocation in allocations
    ]
    rows = [(layer.name, *(of_kind.get(layer.name, "") for of_kind in counts)) for layer in layers]
    return PlainTable(
        "Filters of the best of each kind by layer",
        ("layer", *(name for name, _ in allocations)),
        rows,
        note=f"Filters of {' / '.join(groups)}.",
    )


def _data(data: DataIdentity) -> PlainTable:
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
    return PlainTable(
        "Labels",
        ("task", "type", "classes or unit", *SPLIT_NAMES),
        rows,
        words=3,
        note=f"Images: {images}. Labels that are present, of dense tasks by pixel; losses and metrics leave out the "
        f"others. Digest of images, targets and classes: {data.digest}.",
    )


def _trials(comparison: Comparison, status: StudyStatus) -> PlainTable:
    rows = []
    for kind in status.kinds:
        spent = comparison.spent.get(kind.kind, Spent(0, 0.0))
        counts = (kind.quota, kind.complete, kind.pruned, kind.unfinished, kind.failed)
        ratio = comparison.time_ratio(kind.kind) if spent.trials else None
        rows.append((kind.kind, *map(str, counts), duration(spent.seconds), "-" if ratio is None else f"{ratio:.2f}"))
    return PlainTable(
        "Trials",
        ("kind", "quota", "complete", "pruned", "unfinished", "failed", "training time", "of the learned time"),
        rows,
        note="Refined trials also cost the learned ones that they start from, which the last column counts."
        if "refined" in comparison.spent
        else "",
    )
