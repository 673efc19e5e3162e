"""Trainings that a study asks for and does not have: given up for good, or not there yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_VERBS = {
    "finalist": "retrained",
    "matched": "retrained at equal multiply-adds",
    "reversed": "retrained with its layers reversed",
    "shuffled": "retrained with its layers shuffled",
    "relearned": "learned again",
}
_MOST_NAMES = 4
"""Names in a sentence; lists name everything."""


@dataclass(frozen=True)
class Missing:
    """A training that failed for good, or a candidate that no trial is left for.

    Args:
        kind: Its kind; None if a trial died before it drew one.
        name: Its name.
        trial: The trial that it is, or retrains; None for a candidate.
        seed: The seed of the retraining; None for a trial.
        role: That of a record, see :class:`sfgsearch.records.ArchitectureRecord`; or ``"candidate"`` for a finalist
            that the comparison asks for and that too many pruned trials leave out.
        reason: Why it failed the last time.
    """

    kind: str | None
    name: str
    trial: int | None
    seed: int | None
    role: str
    reason: str

    @property
    def may_be_retried(self) -> bool:
        """Whether another chance can bring it."""
        return self.role != "candidate"

    def __str__(self) -> str:
        if self.trial is None:
            return f"{self.name}: {self.reason}"
        verb = _VERBS.get(self.role)
        how = f", {verb} with seed {self.seed}" if verb else ""
        return f"{self.name} ({self.kind or 'no kind yet'}), trial {self.trial}{how}: {' '.join(self.reason.split())}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Shortfall:
    """Trainings that a study asks for and does not have.

    Args:
        missing: What will not come by itself.
        trials: How many trials are still to be trained.
        finalists: How many retrainings are still to be done, as trials stand now.
    """

    missing: tuple[Missing, ...] = ()
    trials: int = 0
    finalists: int = 0

    @property
    def is_unfinished(self) -> bool:
        """Whether anything is still to be trained."""
        return bool(self.trials or self.finalists)

    @property
    def not_there_yet(self) -> str:
        """Trainings that are still to be done, in words; empty if there are none."""
        counts = (self.trials, "trial"), (self.finalists, "retraining of finalists")
        parts = [f"{number} {_plural(what, number)}" for number, what in counts if number]
        return " and ".join(parts)

    def without(self, kinds: Collection[str | None], compared: Collection[int]) -> str:
        """Return in words what a comparison of kinds lacks, such as ``"without single_task, which failed"``.

        Candidates that were pruned away are among it.

        Args:
            kinds: The kinds that are compared.
            compared: The trials of which there are retrainings.

        Returns:
            Empty if nothing is missing.
        """
        missing = [one for one in self.missing if one.kind in kinds and one.role != "relearned"]
        parts, failed = _names(missing, compared), all(one.may_be_retried for one in missing)
        if len(parts) > _MOST_NAMES:
            parts = [*parts[: _MOST_NAMES - 1], f"{len(parts) - _MOST_NAMES + 1} more"]
        return f"without {_listed(parts)}, which {'failed' if failed else 'failed or were pruned'}" if parts else ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "missing": [one.to_dict() for one in self.missing],
            "unfinished": {"trials": self.trials, "finalists": self.finalists},
        }


def _names(missing: Sequence[Missing], compared: Collection[int]) -> list[str]:
    """Return the candidates that are missing whole, and the seeds of those that are missing in part."""
    seeds = defaultdict[tuple[str, int | None], dict[int | None, None]](dict)
    for one in missing:
        seeds[one.name, one.trial][one.seed] = None  # which several retrainings of one name may lack
    return [
        f"{_plural('seed', len(found))} {_listed([str(seed) for seed in found])} of {name}"
        if trial in compared and None not in found
        else name
        for (name, trial), found in seeds.items()
    ]


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))) if parts else ""


def _plural(noun: str, number: int) -> str:
    first, *rest = noun.split(" ", 1)
    return " ".join((first if number == 1 else f"{first}s", *rest))
