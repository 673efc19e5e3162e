"""The note of a study: its findings in five lines, with caveats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten

from optuna.trial import FrozenTrial, TrialState

from sfgsearch.allocation import Allocation
from sfgsearch.comparison._comparison import Comparison
from sfgsearch.comparison._formats import MetricFormat, thousands
from sfgsearch.comparison._paired import FEW_SEEDS
from sfgsearch.comparison._rows import DERIVED, MONTE_CARLO, RETRAINED, Row
from sfgsearch.comparison._status import StudyStatus
from sfgsearch.comparison._verdicts import verdict
from sfgsearch.records import STRATEGIES
from sfgsearch.reporting._sharing import sharing_sentence
from sfgsearch.reporting._table import escape_markdown
from sfgsearch.search._attributes import strategy_of_trial

_FORM = MetricFormat({})
_MOST_MISSING, _LONGEST_REASON = 5, 200


@dataclass(frozen=True)
class NoteLine:
    """One line of a note.

    Args:
        label: What it is about.
        text: What it says, as plain text.
    """

    label: str
    text: str


def study_note(
    comparison: Comparison,
    trials: Sequence[FrozenTrial],
    allocation: tuple[str, Allocation] | None = None,
    status: StudyStatus | None = None,
) -> list[NoteLine]:
    """Return five lines about a study: result, numbers, cost, what was learned, and caveats.

    Args:
        comparison: Its finalists, which may be none yet.
        trials: All of its trials.
        allocation: Name and allocation of its best learned trial, where there is one.
        status: How far it is.
    """
    return [
        NoteLine("Result", _result(comparison, trials)),
        NoteLine("Relative error", _numbers(comparison, trials)),
        NoteLine("Cost", _cost(comparison)),
        NoteLine("Learned sharing", _sharing(allocation)),
        NoteLine("Caveats", _sentence(_caveats(comparison, status))),
    ]


def note_markdown(lines: Iterable[NoteLine]) -> str:
    """Return a note as a list in Markdown, with names escaped."""
    return "\n".join(f"- **{line.label}:** {escape_markdown(line.text)}" for line in lines)


def _sentence(parts: Iterable[str]) -> str:
    text = "; ".join(parts) or "none"
    return text[0].upper() + text[1:] + "."


def _result(comparison: Comparison, trials: Sequence[FrozenTrial]) -> str:
    best = comparison.best
    if not best:
        complete = sum(trial.state is TrialState.COMPLETE for trial in trials)
        yet = " yet" if comparison.shortfall.is_unfinished or not comparison.shortfall.missing else ""
        return f"Nothing is decided: no finalist{yet}, {complete} of {len(trials)} trials are complete."
    if len(best) == 1:
        (row,) = best.values()
        alone = f"{row.name} ({row.kind}) has no finalist of another kind to be compared with"
        return f"Nothing is decided: {alone}{_lacking(comparison)}."
    kind = next(iter(best))
    none = "" if kind == "learned" else "No learned finalist; "
    return f"{none}{verdict(comparison.tests_of(kind))}{_lacking(comparison)}."


def _lacking(comparison: Comparison) -> str:
    """Return what failed for good and is missing from the verdicts, as the end of a sentence."""
    without = comparison.without(*STRATEGIES)
    return f"; {without}" if without else ""


def _numbers(comparison: Comparison, trials: Sequence[FrozenTrial]) -> str:
    best = comparison.best
    if not best:
        return _best_trials(trials)
    parts = (_number(best[kind]) if kind in best else f"{kind}: no finalist" for kind in comparison.strategies)
    seeds = sorted({row.seeds for row in best.values()})
    number = "one seed" if seeds == [1] else f"{'-'.join(map(str, seeds[:: max(len(seeds) - 1, 1)]))} seeds"
    what = f"test data, {number}" + ("" if seeds == [1] else ", ± half the 95 % interval")
    if comparison.matched_to is not None:
        what = f"at equal multiply-adds, {what}"
    return f"{'; '.join(parts)} ({what}; 0 is perfect, 100 a constant prediction)."


def _number(row: Row) -> str:
    return f"{row.strategy} {_FORM.interval('', row.error, row.seeds).replace(' ±-', '')} % ({row.name})"


def _best_trials(trials: Sequence[FrozenTrial]) -> str:
    parts = []
    for kind in STRATEGIES:
        judged = [
            (float(trial.user_attrs["relative_error"]), trial)
            for trial in trials
            if trial.state is TrialState.COMPLETE
            and strategy_of_trial(trial) == kind
            and "relative_error" in trial.user_attrs
        ]
        if judged:
            error, trial = min(judged, key=lambda pair: pair[0])
            parts.append(f"{kind} {_FORM.value('', error)} % ({trial.user_attrs.get('name', trial.number)})")
    if not parts:
        return "No trial is complete yet."
    return f"Best trials so far: {'; '.join(parts)} (validation data, one seed, chosen for being low)."


def _cost(comparison: Comparison) -> str:
    sizes = [f"{row.name} {thousands(row.macs)}" for row in comparison.best.values()]
    spent = list(comparison.costs())
    parts = []
    if sizes:
        parts.append(f"multiply-adds for one image: {', '.join(sizes)}")
    parts.append(f"search: {', '.join(spent)}" if spent else "no trial is over yet")
    return _sentence(parts)


def _sharing(found: tuple[str, Allocation] | None) -> str:
    return "No learned trial is complete yet." if found is None else sharing_sentence(*found)


def _caveats(comparison: Comparison, status: StudyStatus | None) -> Iterator[str]:
    best = comparison.best
    seeds = min((row.seeds for row in best.values()), default=0)
    if not best:
        yield "scores of trials that were chosen for being low are optimistic"
    elif seeds == 1:
        yield "a single seed has no interval"
    elif seeds < FEW_SEEDS:
        yield f"{seeds} seeds resolve only large differences"
    odd = [row.name for row in comparison.compared if comparison.matched_to is not None and not row.matched]
    if odd:
        yield f"with too few channels to match multiply-adds within 2 %: {', '.join(odd)}"
    yield from _as_learned(comparison.native, best)
    missing = [strategy for strategy in comparison.strategies if best and strategy not in best]
    if missing:
        yield f"no finalist is {' or '.join(missing)}"
    for lost in comparison.shortfall.missing[:_MOST_MISSING]:
        yield f"missing for good: {shorten(str(lost), _LONGEST_REASON)}"
    if more := len(comparison.shortfall.missing[_MOST_MISSING:]):
        yield f"missing for good: {more} more"
    if status is not None:
        yield from _unfinished(status)


def _as_learned(rows: Sequence[Row], best: Mapping[str, Row]) -> Iterator[str]:
    """Say where the network as it was learned is weaker than its allocation retrained, as it is compared."""
    own = [row for row in rows if "learned" in best and row.trial == best["learned"].trial]
    retrained = next((row for row in own if row.inference == RETRAINED), None)
    if retrained is None:
        return
    names = {DERIVED: "derived", MONTE_CARLO: "Monte Carlo"}
    weaker = [
        f"{names[row.inference]} {_FORM.value('', row.error.mean)} %"
        for row in own
        if row.inference in names and row.error.mean > retrained.error.mean
    ]
    if weaker:
        retrained_error = _FORM.value("", retrained.error.mean)
        yield f"as it was learned {retrained.name} is weaker ({', '.join(weaker)}) than retrained ({retrained_error} %)"


def _unfinished(status: StudyStatus) -> Iterator[str]:
    left = sum(kind.unfinished for kind in status.kinds)
    if left:
        yield f"{left} trial{'s are' if left > 1 else ' is'} still to be trained"
    recorded, wanted = status.finalists
    if not left and recorded < wanted:
        yield f"{wanted - recorded} of {wanted} retrainings of finalists are missing"
