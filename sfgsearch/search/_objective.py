"""The objective that plain ``study.optimize`` accepts."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from contextlib import AbstractContextManager, nullcontext
from weakref import WeakSet

import optuna
from optuna.study import StudyDirection
from optuna.trial import BaseTrial

from sfgsearch._optuna import reported_steps, trial_id
from sfgsearch.config import Config, build_experiment, manual_candidates
from sfgsearch.errors import ConfigError, NonFiniteLossError, StudyError, TrainingInterrupted
from sfgsearch.methods import FixedAllocation, Method, StochasticFilterGroups
from sfgsearch.records import KIND, Lease
from sfgsearch.records._store import Kind
from sfgsearch.search._artifacts import (
    TrialArtifacts,
    artifact_folder,
    upload_history,
    upload_training,
    upload_weights,
)
from sfgsearch.search._attributes import ALLOCATION, START, allocation_attribute
from sfgsearch.search._description import Training, describe_training, explain_failure
from sfgsearch.search._divided import DividedData
from sfgsearch.search._hooks import PrunedTrial, TrainedTrial, TrialHooks
from sfgsearch.search._identity import StudyIdentity, check_identity
from sfgsearch.search._leasing import leased
from sfgsearch.search._matching import WidthSearch, width_of
from sfgsearch.search._proportions import AllocationSpace
from sfgsearch.search._queue import FAILURE, MANUAL_NAME, RETRY_WITH, enqueue_again, next_manual
from sfgsearch.search._refined import suggest_refined
from sfgsearch.search._space import suggest_learned
from sfgsearch.search._study import records_of
from sfgsearch.storage import is_outage, retry_on_outage
from sfgsearch.training import EpochReport, Experiment, RememberingSession, Trained, TrainingSession

_MOST_METRICS = 11
"""Attributes of a trial that are metrics: with all others that it may have, a trial stays within twenty."""


class PlainObjective:
    """Trains the candidate that a trial asks for and returns its relative error on the validation split.

    A trial in a study that is in a database is recorded there; :class:`sfgsearch.Objective` makes it a page in
    optuna-dashboard too.

    Args:
        config: The study file.
        hooks: Are called at the ends of epochs and trials, in this order.

    Raises:
        ConfigError: If data, network or manual candidates of the study file cannot be built.
    """

    def __init__(self, config: Config, hooks: Sequence[TrialHooks] = ()) -> None:
        self.config, self._hooks = config, tuple(hooks)
        self.experiment: Experiment = build_experiment(config)
        spec = self.experiment.spec
        self.manual: dict[str, Method] = manual_candidates(config, spec)
        self.space = AllocationSpace(config.searched, spec.filters, spec.task_names)
        self._data = DividedData(config, self.experiment.data)
        self.widths = WidthSearch(spec)
        self._checked: WeakSet[optuna.Study] = WeakSet()
        if not any(config.budget.values()):
            raise ConfigError("asks for no trial of any kind", file=config.path, key="quota")
        if config.comparison.match == "macs" and any(config.finalists.values()):
            self._check_width()

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks; one objective each if ``study.objective`` is ``"per_task"``."""
        return self.experiment.spec.task_names

    def _check_width(self) -> None:
        """Check that finalists can be scaled to equal multiply-adds."""
        if self.experiment.spec.is_pretrained:
            raise ConfigError(
                'starting weights fix the width, so multiply-adds cannot be matched; set comparison.match = "none"',
                file=self.config.path,
                key="comparison.match",
            )
        if width_of(self.experiment.spec) is None:
            raise ConfigError(
                f'the backbone {self.config.backbone.name!r} takes no option "width", a float that scales its filters, '
                'so multiply-adds cannot be matched; give it one, or set comparison.match = "none"',
                file=self.config.path,
                key="comparison.match",
            )

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about network, device and comparison that a user should read."""
        notes = self.experiment.notes
        if self.experiment.data.is_fixed and self.config.comparison.splits == "per_seed":
            notes += ("the data come with their splits, which all seeds share: intervals do not cover the data",)
        return notes

    def experiment_on(self, data_seed: int) -> Experiment:
        """Return the experiment on the data as a seed divides them: the study's own, or one of the comparison.

        Raises:
            ConfigError: If the data lack then what training or measuring needs.
        """
        return self.experiment.on(self._data.by(data_seed))

    def __call__(self, trial: BaseTrial) -> float | tuple[float, ...]:
        """Train one candidate.

        Returns:
            The mean relative error over tasks, or with ``objective = "per_task"`` those of all tasks; NaN, which
            Optuna counts as failed, if the loss was not finite.

        Raises:
            optuna.TrialPruned: If the study's pruner says so.
            StudyError: If the study maximises, has another number of objectives, or saw other data or another network
                before; what was enqueued is enqueued again then.
            Exception: Whatever else ends the training; its reason is kept as the attribute ``failure`` of the trial.
        """
        if isinstance(trial, optuna.Trial):
            try:
                self.check(trial.study)
            except StudyError:
                enqueue_again(trial.study, trial.study.get_trials(deepcopy=False)[trial.number])
                raise
        with leased(trial, self.config.execution.grace) as (session, lease):
            return self.train(trial, session, lease)

    def train(
        self, trial: BaseTrial, session: TrainingSession | None = None, lease: Lease | None = None
    ) -> float | tuple[float, ...]:
        """Train one candidate, as calling the objective does, under the eyes of a worker.

        Args:
            trial: The trial, which may have been trained for some epochs before.
            session: Gives and takes checkpoints, and may end the training.
            lease: The right to train it, without which nothing is recorded.

        Raises:
            TrainingInterrupted: If the session ends the training, or the job belongs to another worker by now.
        """
        try:
            with self.experiment.limited_threads():  # for the pictures too
                return self._train(trial, session, lease)
        except NonFiniteLossError as error:
            # The same numbers would come out again; new parameters may help, where there are any.
            is_manual = trial.params.get(KIND) == "manual"
            reason = explain_failure(error, self.experiment)
            self._explain(trial, reason, retry_with="nothing" if is_manual else "other")
            return math.nan if self._is_single else (math.nan,) * len(self.tasks)
        except (optuna.TrialPruned, TrainingInterrupted):
            raise
        except Exception as error:
            if not is_outage(error):
                self._explain(trial, explain_failure(error, self.experiment), retry_with="same")
            raise

    def check(self, study: optuna.Study) -> None:
        """Check, once for a study, its objectives, and that it goes on with the data and network it was begun with.

        Raises:
            StudyError: If it does not.
        """
        if study not in self._checked:
            self._check_directions(study)
            check_identity(study, self.config, StudyIdentity.of(self.experiment))
            self._checked.add(study)

    def _check_directions(self, study: optuna.Study) -> None:
        """Refuse a study that would rank errors the wrong way round, or cannot take as many."""
        wanted = 1 if self._is_single else len(self.tasks)
        directions = study.directions
        if directions == [StudyDirection.MINIMIZE] * wanted:
            return
        number = len(directions)
        found = "maximises" if number == wanted else f"has {number} objective{'' if number == 1 else 's'}"
        raise StudyError(
            f"the study {study.study_name!r} {found}; study.objective is {self.config.study.objective!r}, so it "
            f'needs directions=["minimize"]{f" * {wanted}" if wanted > 1 else ""}: create it so, or with '
            "sfgsearch.create_study"
        )

    @staticmethod
    def _explain(trial: BaseTrial, reason: str, retry_with: str) -> None:
        trial.set_user_attr(FAILURE, reason)
        trial.set_user_attr(RETRY_WITH, retry_with)

    def _train(
        self, trial: BaseTrial, session: TrainingSession | None, lease: Lease | None
    ) -> float | tuple[float, ...]:
        kind, name, method = self._candidate(trial)
        trial.set_user_attr("name", name)
        epochs: list[EpochReport] = []
        remembering = RememberingSession(session) if session else None

        def end_epoch(report: EpochReport) -> None:
            epochs.append(report)
            for hooks in self._hooks:
                hooks.on_epoch(trial.number, name, report)
            self._report(trial, kind, report)

        try:
            trained = self.experiment.train(method, self.config.study.seed, on_epoch=end_epoch, session=remembering)
        except optuna.TrialPruned:
            before = remembering.history if remembering else []
            retry_on_outage(lambda: self._keep_pruned(trial, kind, name, [*before, *epochs]))
            raise
        if lease is not None:  # the artifacts of whoever has the trial now must stay
            retry_on_outage(lease.confirm)
        retry_on_outage(lambda: self._keep(trial, kind, name, trained, lease))
        errors = self.experiment.relative_error("validation").per_task(trained.metrics["validation"])
        return trained.scores["validation"] if self._is_single else tuple(errors.values())

    @property
    def _is_single(self) -> bool:
        return self.config.study.objective == "mean"

    def _candidate(self, trial: BaseTrial) -> tuple[Kind, str, Method]:
        # Optuna wants the same choices in every run of a study, so quotas, which may change, cannot narrow them.
        kind = trial.suggest_categorical(KIND, ["learned", "searched", "manual"])
        if kind == "learned":
            settings = suggest_learned(trial, self.config.learned)
            return "learned", f"learned-{trial.number}", StochasticFilterGroups(settings)
        if kind == "searched" and START in trial.user_attrs:
            allocation = suggest_refined(trial, self.space, self.config.refined)
            return "searched", f"refined-{trial.number}", FixedAllocation(allocation, repair=True)
        if kind == "searched":
            return "searched", f"searched-{trial.number}", FixedAllocation(self.space.suggest(trial), repair=True)
        if not self.manual:
            raise optuna.TrialPruned("the study file lists no manual candidate")
        name = trial.user_attrs.get(MANUAL_NAME)
        if name not in self.manual:
            name = next_manual(getattr(trial, "study", None), list(self.manual))
            trial.set_user_attr(MANUAL_NAME, name)
        return "manual", name, self.manual[name]

    def _report(self, trial: BaseTrial, kind: str, report: EpochReport) -> None:
        """Report a score and prune, where Optuna can: in studies of one objective, and never a manual trial."""
        if not self._is_single:
            return
        is_last = report.epoch + 1 == self.config.training.epochs

        def report_and_ask() -> bool:
            if report.epoch not in _reported(trial):  # a resumed trial may repeat its last epoch
                trial.report(report.score, report.epoch)
            return kind != "manual" and not is_last and trial.should_prune()

        if retry_on_outage(report_and_ask):
            raise optuna.TrialPruned(f"relative error {report.score:.4f} after {report.epoch + 1} epochs")

    def _keep(self, trial: BaseTrial, kind: Kind, name: str, trained: Trained, lease: Lease | None) -> None:
        """Keep what there is to know of a trained trial, and record it where there are records."""
        _describe(trial, trained)
        with self._artifacts(trial) as artifacts:
            if artifacts is None or not isinstance(trial, optuna.Trial):
                return
            probabilities, weights = upload_training(artifacts, trained), upload_weights(artifacts, trained.predictor)
            own = Training(trial.number, "trial", kind, name, self.config.study.seed)
            record = describe_training(self.config, self.experiment, own, trained, probabilities, weights)
            for hooks in self._hooks:
                hooks.on_trained(trial, TrainedTrial(record, trained, self.experiment, artifacts))
            if (records := records_of(trial.study)) is not None:
                records.add(record, lease)

    def _keep_pruned(self, trial: BaseTrial, kind: Kind, name: str, epochs: list[EpochReport]) -> None:
        """Keep what there is to know of a pruned trial."""
        trial.set_user_attr("pruned_after_epochs", epochs[-1].epoch + 1)
        with self._artifacts(trial) as artifacts:
            if artifacts is not None and isinstance(trial, optuna.Trial):
                upload_history(artifacts, epochs)
                for hooks in self._hooks:
                    hooks.on_pruned(trial, PrunedTrial(kind, name, epochs, self.experiment, artifacts))

    def _artifacts(self, trial: BaseTrial) -> AbstractContextManager[TrialArtifacts | None]:
        """Provide the artifacts of a trial; None where there are no records beside it."""
        if not isinstance(trial, optuna.Trial) or records_of(trial.study) is None:
            return nullcontext()
        return TrialArtifacts.of(trial, artifact_folder(self.config))


def _describe(trial: BaseTrial, trained: Trained) -> None:
    """Set the short attributes that the dashboard shows, and the allocation as one that it does not."""
    attributes = {
        "seed": trained.seed,
        "parameters": trained.complexity.parameters,
        "macs": trained.complexity.macs,
        "training_seconds": round(trained.seconds, 3),
        "relative_error": trained.scores["validation"],
        **{f"validation/{key}": value for key, value in _main_metrics(trained).items()},
    }
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    if isinstance(trial, optuna.Trial):
        described = allocation_attribute(trained.system.allocation(), trained.system.repairs())
        trial.storage.set_trial_system_attr(trial_id(trial), ALLOCATION, described)


def _main_metrics(trained: Trained) -> dict[str, float]:
    """Return metrics on the validation split, those that a comparison shows first, as many as trials have room for.

    A segmentation has one more for every class, and the dashboard sends all attributes of all trials with every page.
    """
    metrics = trained.metrics["validation"]
    headline = [f"{task.name}/{metric}" for task in trained.tasks for metric in task.headline]
    keys = [*(key for key in headline if key in metrics), *(key for key in metrics if key not in headline)]
    shown = set(keys[:_MOST_METRICS])
    return {key: value for key, value in metrics.items() if key in shown}


def _reported(trial: BaseTrial) -> Container[int]:
    """Return the epochs that a trial has reported, as Optuna remembers them: only its worker adds any."""
    return reported_steps(trial) if isinstance(trial, optuna.Trial) else ()
