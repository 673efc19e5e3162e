"""Paired tests over seeds: is the best of one kind better than the best of another, and by how much?

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

Of three numbers no resampling can tell how far a fourth may lie, so Student's interval decides here, and the bootstrap
stands beside it for what it is: a check that needs no normal distribution, and too narrow for few seeds. It is the
percentile one, since the correction of BCa gains nothing, and with few seeds, where many resamples have the same mean,
depends on how these ties are rounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from sfgsearch.reporting._statistics import Interval, interval

RESAMPLES = 10_000
FEW_SEEDS = 10
"""Below so many seeds the bootstrap interval is said to be too narrow."""

CAVEAT = (
    "The 95 % interval (Student's, of differences paired by seed) decides. The bootstrap is too narrow below "
    f"about {FEW_SEEDS} seeds, and with n seeds all differences have one sign by mere chance with probability 2^(1-n). "
    "No test is corrected for the others beside it."
)

_DIGITS = 12
"""Decimals of a difference that are not mere rounding of the two values."""

BETTER, WORSE, UNRESOLVED = "better", "worse", "unresolved"


@dataclass(frozen=True)
class PairedBootstrap:
    """What resampling paired differences says about their mean.

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
    found = bootstrap((values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(seed))
    means = np.round(found.bootstrap_distribution, _DIGITS)
    low, high = (float(end) for end in found.confidence_interval)
    opposite = np.mean(np.sign(means) == -np.sign(mean)) if mean else 0.0
    return PairedBootstrap(Interval(mean, low, high), float(opposite + 0.5 * np.mean(means == 0)) if mean else 0.5)


@dataclass(frozen=True)
class PairedTest:
    """The best of one kind against the best of another, in one quantity, paired by seed.

    Differences are the first one's value minus the second one's. Several tests are made side by side and none is
    corrected for that.

    Args:
        first: Kind and name of the first.
        second: Kind and name of the second.
        quantity: ``"relative_error"``, or a metric ``"<task>/<metric>"``.
        unit: Its unit; ``"fraction"`` for shares.
        higher_is_better: Whether large values are good.
        seeds: Common seeds.
        difference: The mean difference with Student's 95 % interval, which decides; None below two seeds.
        bootstrap: The paired bootstrap of it; None below two seeds.
    """

    first: tuple[str, str]
    second: tuple[str, str]
    quantity: str
    unit: str
    higher_is_better: bool
    seeds: int
    difference: Interval | None
    bootstrap: PairedBootstrap | None

    @property
    def pair(self) -> str:
        """Both names."""
        return f"{self.first[1]} against {self.second[1]}"

    @property
    def outcome(self) -> str:
        """``"better"`` or ``"worse"`` for the first, or ``"unresolved"`` where the 95 % interval holds zero.

        Where all seeds have the same difference, there is nothing to estimate an interval from: unresolved.
        """
        found = self.difference
        if found is None or found.low == found.high or found.low <= 0 <= found.high:
            return UNRESOLVED
        return BETTER if (found.low > 0) == self.higher_is_better else WORSE

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
    )
