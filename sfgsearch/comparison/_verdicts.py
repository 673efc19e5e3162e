"""Verdicts: which finalists are tested against each other, and what comes of it in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sfgsearch.comparison._formats import p_value, thousands
from sfgsearch.comparison._paired import BETTER, UNRESOLVED, WORSE, PairedTest, corrected, paired_test
from sfgsearch.comparison._rows import CONTROLS, RELATIVE_ERROR, RETRAINED, Row
from sfgsearch.tasks import FRACTION

_BASELINES = ("hard_sharing", "single_task")
_SEARCHES = ("searched", "refined")
_PHRASES = {BETTER: "wins against", WORSE: "loses to", UNRESOLVED: "is not told apart from"}


def paired_tests(rows: Sequence[Row], best: Mapping[str, Row]) -> list[PairedTest]:
    """Return the tests of the best learned, searched and refined finalists, paired by seed.

    Learned is tested against the best searched and refined ones, its controls, and every manual one; these two against
    hard sharing, single task, and the best manual one. The tests of one candidate's relative error are a family,
    corrected by Holm. Between the best of two strategies the tasks' main metrics are tested besides, each for itself.

    Args:
        rows: The finalists that are compared with each other.
        best: The best of each strategy.
    """
    found: list[PairedTest] = []
    if "learned" in best:
        learned = best["learned"]
        controls = [row for row in rows if row.inference in CONTROLS and row.trial == learned.trial]
        searched = [best[strategy] for strategy in _SEARCHES if strategy in best]
        found += _family(learned, [*searched, *controls, *_manual(rows)], best)
    wanted = {*_BASELINES, best["manual"].name} if "manual" in best else set()
    for strategy in _SEARCHES:
        if strategy in best:
            found += _family(best[strategy], [row for row in _manual(rows) if row.name in wanted], best)
    return found


def _manual(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.kind == "manual" and row.inference == RETRAINED]


def _family(candidate: Row, others: Sequence[Row], best: Mapping[str, Row]) -> Iterator[PairedTest]:
    tests = corrected([_test_errors(candidate, other) for other in others])
    for other, test in zip(others, tests, strict=True):
        yield test
        if other is best.get(other.strategy):
            yield from _test_metrics(candidate, other)


def _test_errors(first: Row, second: Row) -> PairedTest:
    errors = first.errors_by_seed, second.errors_by_seed
    return paired_test(*_names(first, second), RELATIVE_ERROR, errors, unit=FRACTION, higher_is_better=False)


def _test_metrics(first: Row, second: Row) -> Iterator[PairedTest]:
    for key, higher_is_better in first.higher_is_better.items():
        if key in second.metrics_by_seed:
            values = first.metrics_by_seed[key], second.metrics_by_seed[key]
            unit = first.units[key]
            yield paired_test(*_names(first, second), key, values, unit=unit, higher_is_better=higher_is_better)


def _names(first: Row, second: Row) -> tuple[tuple[str, str], tuple[str, str]]:
    return (first.strategy, first.name), (second.strategy, second.name)


def verdict(tests: Sequence[PairedTest]) -> str:
    """Return in one sentence, without its full stop, how a candidate stands: whom it beats, and to whom it loses.

    Args:
        tests: Those of one candidate's relative error, at least one.
    """
    kind, name = tests[0].first
    who = "SFG" if kind == "learned" else kind
    decided = [test for test in tests if test.difference is not None]
    parts = [_against(outcome, [test for test in decided if test.outcome == outcome]) for outcome in _PHRASES]
    few = [f"{test.second[1]} ({test.seeds})" for test in tests if test.difference is None]
    parts.append(f"has too few seeds in common with {listed(few)}" if few else "")
    return f"{_headline(who, decided)}: {name} {'; '.join(filter(None, parts))}"


def _headline(who: str, decided: Sequence[PairedTest]) -> str:
    outcomes = {test.outcome for test in decided}
    if not outcomes:
        return "Nothing is decided"
    if len(outcomes) == 1:
        return {BETTER: f"{who} wins", WORSE: f"{who} loses"}.get(outcomes.pop(), "No winner")
    return f"{who} does not win" if WORSE in outcomes else f"{who} wins in part"


def _against(outcome: str, tests: Sequence[PairedTest]) -> str:
    return f"{_PHRASES[outcome]} {listed([_rival(test) for test in tests])}" if tests else ""


def _rival(test: PairedTest) -> str:
    found = test.difference
    if found is None:
        return test.second[1]
    return f"{test.second[1]} ({100 * found.mean:+.1f} ±{100 * found.half_width:.1f}, p {p_value(test)})"


def basis(rows: Sequence[Row], tests: Sequence[PairedTest], macs: int | None) -> str:
    """Return a sentence about what verdicts rest on.

    Args:
        rows: The finalists that are compared with each other.
        tests: Their tests.
        macs: Multiply-adds that all have; None where the study does not match them.
    """
    seeds = sorted({test.seeds for test in tests})
    number = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    cost = (
        "whatever networks cost"
        if macs is None
        else f"at the multiply-adds of hard sharing, {thousands(macs)}, within 2 %"
    )
    text = (
        f"Differences of the relative error in points, {cost}: lower is better, ± half the 95 % interval, paired over "
        f"{number} seeds, p of t-tests corrected by Holm for all of one candidate."
    )
    odd = [row.name for row in rows if macs is not None and not row.matched]
    return f"{text} Not within 2 %, for too few channels: {listed(odd)}." if odd else text


def listed(parts: Sequence[str]) -> str:
    """Return parts as people list them."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))) if parts else ""
