"""Trainings that a study asks for and does not have, and another chance for those that failed for good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import optuna
from optuna.trial import FrozenTrial, TrialState

from sfgsearch.comparison._comparison import Comparison, compare
from sfgsearch.comparison._shortfall import Missing, Shortfall
from sfgsearch.comparison._status import StudyStatus, study_status
from sfgsearch.config import Config
from sfgsearch.records import Job, strategy_of
from sfgsearch.search._attributes import strategy_of_trial
from sfgsearch.search._finalists import Finals, is_given_up, read_finals
from sfgsearch.search._identity import identity_of
from sfgsearch.search._outstanding import outstanding_trials, retry_given_up
from sfgsearch.search._queue import FAILURE, MANUAL_NAME, QuotaTracker
from sfgsearch.search._study import as_planned, planning, records_of
from sfgsearch.storage import redact


@dataclass(frozen=True)
class StudyProgress:
    """How far a study is, read at one time.

    Args:
        config: The study file, with the trials in all that the study was told.
        trials: All trials.
        jobs: All jobs by key.
        finals: The retrainings of the comparison.
    """

    config: Config
    trials: Sequence[FrozenTrial]
    jobs: Mapping[str, Job]
    finals: Finals

    def given_up(self) -> set[str]:
        """Return the keys of all jobs that failed for good, whether the study still asks for them or not."""
        retries = self.config.execution.retries
        tracker = QuotaTracker(self.trials, retries)
        trials = {f"trial/{trial.number}" for trial in self.trials if tracker.is_given_up(trial)}
        return trials | {key for key, job in self.jobs.items() if is_given_up(job, retries)}

    def shortfall(self) -> Shortfall:
        """Return what the study asks for and does not have.

        It is the one place that decides so, for commands, verdicts, notes and reports.
        """
        trials, finalists, lost = outstanding_trials(self.trials, self.config), self.finals.missing, self.given_up()
        given_up = [finalist for finalist in finalists if finalist.job in lost]
        missing = [_missing_trial(trial) for trial in trials.given_up]
        for one in given_up:
            reason = self.jobs[one.job].reason or "?"
            missing.append(Missing(strategy_of(one.kind, one.name), one.name, one.trial, one.seed, one.role, reason))
        if not trials.unfinished:
            missing += self._pruned_away(missing)
        shown = tuple(replace(one, reason=redact(one.reason, self.config.storage)) for one in missing)
        return Shortfall(shown, trials.unfinished, len(finalists) - len(given_up))

    def comparison(self, study: optuna.Study) -> Comparison:
        """Return the comparison of the finalists as far as they are recorded."""
        identity, matched = identity_of(study), self.config.comparison.match == "macs"
        macs = identity.network.macs if identity else None
        return compare(study.study_name, self.finals.current, self.trials, self.shortfall(), macs, matched=matched)

    def status(self) -> StudyStatus:
        """Return quotas, running trainings, failures and the time that is left."""
        recorded, missing = len(self.finals.current), self.finals.missing
        return study_status(self.config, self.trials, self.jobs, recorded, missing, self.given_up())

    def _pruned_away(self, failed: Sequence[Missing]) -> Iterator[Missing]:
        """Yield the candidates that the comparison asks for and that too few complete trials are left for.

        Args:
            failed: What is missing for another reason.
        """
        current, still = self.finals.current, self.finals.missing
        finalists = {(strategy_of(one.kind, one.name), one.trial) for one in current}
        finalists |= {(strategy_of(one.kind, one.name), one.trial) for one in still}
        there = Counter[str | None](strategy for strategy, _ in finalists)
        lost = Counter(one.kind for one in failed if one.role == "trial")
        pruned = Counter(strategy_of_trial(trial) for trial in self.trials if trial.state is TrialState.PRUNED)
        for kind, wanted in self.config.finalists.items():
            for number in range(there[kind] + lost[kind] + 1, wanted + 1):
                reason = (
                    f"{there[kind]} of {self.config.budget[kind]} {kind} trials are complete and {pruned[kind]} were "
                    "pruned; ask for more trials, or prune later"
                )
                yield Missing(kind, f"{kind} candidate {number} of {wanted}", None, None, "candidate", reason)


def read_progress(study: optuna.Study, config: Config) -> StudyProgress:
    """Read how far a study is."""
    records = records_of(study)
    jobs = records.jobs.all() if records and records.have_jobs else {}
    return StudyProgress(as_planned(study, config), study.get_trials(deepcopy=False), jobs, read_finals(study, config))


def read_comparison(study: optuna.Study, config: Config) -> Comparison:
    """Return the comparison of a study's finalists as far as they are recorded, and what is missing from it."""
    return read_progress(study, config).comparison(study)


def read_status(study: optuna.Study, config: Config) -> StudyStatus:
    """Return how far a study is."""
    return read_progress(study, config).status()


def _missing_trial(trial: FrozenTrial) -> Missing:
    kind = strategy_of_trial(trial)
    name = trial.user_attrs.get("name") or trial.user_attrs.get(MANUAL_NAME) or f"{kind or 'trial'}-{trial.number}"
    return Missing(kind, name, trial.number, None, "trial", str(trial.user_attrs[FAILURE]))


def retry_failed(study: optuna.Study, config: Config) -> int:
    """Give what failed for good another chance, trials and finalists, and return how much that is.

    Trials are enqueued again, with their parameters unless these were the reason; finalists may fail as often as new
    ones.
    """
    with planning(study):
        retried = retry_given_up(study, as_planned(study, config))
    progress, records = read_progress(study, config), records_of(study)
    retries = config.execution.retries
    for finalist in progress.finals.missing:
        if records and is_given_up(progress.jobs.get(finalist.job), retries):
            retried += records.jobs.forgive(finalist.job)
    return retried
