"""Paired tests over seeds: is one finalist better than another, and by how much?

How far such intervals can be trusted depends on the number of seeds. Share of 95 % intervals that cover the true mean
difference, in 2,000 simulated comparisons each (differences drawn from a normal and from an exponential distribution;
standard error of a share about 0.005 to 0.01):

========  ===========  ======================  ================
seeds     Student's t  bootstrap (percentile)  bootstrap (BCa)
========  ===========  ======================  ================
3         .95 / .88    .76 / .70               .74 / .68
5         .95 / .89    .84 / .78               .84 / .80
10        .94 / .90    .89 / .87               .89 / .88
========  ===========  ======================  ================

Of three numbers no resampling can tell how far a fourth may lie, so Student's t decides here, and the bootstrap
stands beside it for what it is: a check that needs no normal distribution, and too narrow for few seeds. It is the
percentile one, since the correction of BCa gains nothing, and with few seeds, where many resamples have the same mean,
depends on how these ties are rounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sfgsearch.comparison._statistics import Interval, interval

RESAMPLES = 10_000
FEW_SEEDS = 10
"""Below so many seeds the bootstrap interval is said to be too narrow."""

CAVEAT = (
    "Of relative errors the p of Student's t-test decides, paired by seed and corrected by Holm for all tests of the "
    "candidate, at 0.05; of metrics the 95 % interval, for itself. The bootstrap is too narrow below about "
    f"{FEW_SEEDS} seeds, and with n seeds all differences have one sign by mere chance with probability 2^(1-n)."
)

_DIGITS = 12
"""Decimals of a difference that are not mere rounding of the two values."""

_LEVEL = 0.05

BETTER, WORSE, UNRESOLVED = "better", "worse", "unresolved"


@dataclass(frozen=True)
class PairedBootstrap:
    """Bootstrap distribution of the mean of paired differences.

    Args:
        interval: The mean difference with its 95 % percentile interval (Efron, 1979); the mean alone where all
            differences are equal.
        reversed: The share of resampled means with the sign opposite to the mean's, those of zero counted half: small
            where the sign is certain, about one half where it is not. No p-value, but read like a one-sided one.
    """

    interval: Interval
    reversed: float


def paired_bootstrap(differences: Sequence[float], seed: int = 0) -> PairedBootstrap:
    """Bootstrap the mean of differences that are paired by seed.

    Args:
        differences: One per seed, at least two.
        seed: Of the resampling.

    Raises:
        ValueError: If there are fewer than two differences.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        raise ValueError(f"a bootstrap needs at least two differences, got {len(values)}")
    mean = round(float(values.mean()), _DIGITS)
    if np.ptp(values) == 0:
        return PairedBootstrap(Interval(mean, mean, mean), 0.0 if mean else 0.5)

    from scipy.stats import bootstrap  # takes a second to load

    found = bootstrap((values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(seed))
    means = np.round(found.bootstrap_distribution, _DIGITS)
    low, high = (float(end) for end in found.confidence_interval)
    opposite = np.mean(np.sign(means) == -np.sign(mean)) if mean else 0.0
    return PairedBootstrap(Interval(mean, low, high), float(opposite + 0.5 * np.mean(means == 0)) if mean else 0.5)


@dataclass(frozen=True)
class PairedTest:
    """One finalist against another in one quantity, paired by seed.

    Differences are the first one's value minus the second one's.

    Args:
        first: Kind and name of the first.
        second: Kind and name of the second.
        quantity: ``"relative_error"``, or a metric ``"<task>/<metric>"``.
        unit: Its unit; ``"fraction"`` for shares.
        higher_is_better: Whether large values are good.
        seeds: Common seeds.
        difference: The mean difference with Student's 95 % interval; None below two seeds.
        bootstrap: The paired bootstrap of it; None below two seeds.
        p: The two-sided p-value of Student's paired t-test; None where all differences are equal, or below two seeds.
        holm: The same, corrected for a family of tests; None for a test that is in none.
    """

    first: tuple[str, str]
    second: tuple[str, str]
    quantity: str
    unit: str
    higher_is_better: bool
    seeds: int
    difference: Interval | None
    bootstrap: PairedBootstrap | None
    p: float | None = None
    holm: float | None = None

    @property
    def pair(self) -> str:
        """Both names."""
        return f"{self.first[1]} against {self.second[1]}"

    @property
    def outcome(self) -> str:
        """``"better"`` or ``"worse"`` for the first, or ``"unresolved"`` where p is not below 0.05.

        In a family the corrected p counts. Uncorrected, it is not where the 95 % interval holds zero. Where all seeds
        have the same difference, there is nothing to estimate from: unresolved.
        """
        found, p = self.difference, self.p if self.holm is None else self.holm
        if found is None or p is None or p >= _LEVEL:
            return UNRESOLVED
        return BETTER if (found.mean > 0) == self.higher_is_better else WORSE

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        winner = {BETTER: self.first, WORSE: self.second}.get(self.outcome)
        if winner is None:
            return "too few seeds" if self.difference is None else "no difference is resolved"
        return f"{winner[1]} is better"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        found, resampled = self.difference, self.bootstrap
        return {
            "first": {"kind": self.first[0], "name": self.first[1]},
            "second": {"kind": self.second[0], "name": self.second[1]},
            "quantity": self.quantity,
            "unit": self.unit,
            "higher_is_better": self.higher_is_better,
            "seeds": self.seeds,
            "difference": None if found is None else {"mean": found.mean, "ci95": [found.low, found.high]},
            "bootstrap": None
            if resampled is None
            else {"ci95": [resampled.interval.low, resampled.interval.high], "reversed": resampled.reversed},
            "p": self.p,
            "p_holm": self.holm,
            "outcome": self.outcome,
        }


def paired_test(
    first: tuple[str, str],
    second: tuple[str, str],
    quantity: str,
    values: tuple[Mapping[int, float], Mapping[int, float]],
    *,
    unit: str,
    higher_is_better: bool,
) -> PairedTest:
    """Test two finalists against each other in one quantity.

    Args:
        first: Kind and name of the first.
        second: Kind and name of the second.
        quantity: What is compared.
        values: Its value by seed, of either; pairs with a value that is not finite are left out.
        unit: Its unit.
        higher_is_better: Whether large values are good.
    """
    mine, theirs = values
    seeds = sorted(mine.keys() & theirs.keys())
    differences = [round(mine[seed] - theirs[seed], _DIGITS) for seed in seeds]
    differences = [difference for difference in differences if np.isfinite(difference)]
    enough = len(differences) >= 2
    return PairedTest(
        first,
        second,
        quantity,
        unit,
        higher_is_better,
        len(differences),
        interval(differences) if enough else None,
        paired_bootstrap(differences) if enough else None,
        _p_value(differences),
    )


def _p_value(differences: Sequence[float]) -> float | None:
    """Return the two-sided p-value of Student's t-test of differences; None where they have no deviation."""
    if len(differences) < 2 or min(differences) == max(differences):
        return None

    from scipy.stats import ttest_1samp  # takes a second to load

    return float(ttest_1samp(differences, 0.0).pvalue)


def corrected(tests: Sequence[PairedTest]) -> list[PairedTest]:
    """Return tests as a family, with p-values corrected by Holm (Scandinavian Journal of Statistics, 1979).

    The k-th smallest of m p-values becomes the largest of (m - j + 1) p_j over j up to k, at most one. It keeps the
    probability that any of the differences resolved is none below the level of a single test.
    """
    by_p = sorted((test.p, index) for index, test in enumerate(tests) if test.p is not None)
    found, highest = list(tests), 0.0
    for rank, (p, index) in enumerate(by_p):
        highest = max(highest, min((len(by_p) - rank) * p, 1.0))
        found[index] = replace(tests[index], holm=highest)
    return found
