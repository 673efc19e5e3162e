"""A training from its first epoch to its last, which a session may interrupt and resume."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cached_property
from typing import Any

import torch

from sfgsearch._version import __version__
from sfgsearch.data import Augmentation, MultiTaskData
from sfgsearch.methods import Method
from sfgsearch.nn import NetworkSpec
from sfgsearch.training._checkpoint import Checkpoint
from sfgsearch.training._results import EpochReport, StepLosses
from sfgsearch.training._session import TrainingSession
from sfgsearch.training._settings import TrainingSettings
from sfgsearch.training._trainer import Trainer

Fingerprint = dict[str, str]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_LONGEST_SHOWN = 60
# What these say is not of a course of training but of where it runs and what its result is used for.
_IRRELEVANT = {"device", "threads", "monte_carlo_samples"}


def fingerprint(
    method: Method,
    seed: int,
    spec: NetworkSpec,
    data: MultiTaskData,
    settings: TrainingSettings,
    augmentation: Augmentation,
    device: torch.device,
) -> Fingerprint:
    """Return everything that fixes the course of a training, in words.

    A method, task or backbone of your own counts as what its ``repr`` says, without addresses in memory.
    """
    relevant = [field.name for field in fields(settings) if field.name not in _IRRELEVANT]
    parts: dict[str, Any] = {
        "version of sfgsearch": __version__,
        "version of torch": torch.__version__,
        "type of device": device.type,
        "seed": seed,
        "method": method,
        "network": spec,
        "tasks": data.tasks,  # with class weights, and all that repr says of a task of one's own: digests lack these
        "digest of the data": data.identity.digest,
        "augmentation": augmentation,
        **{name: getattr(settings, name) for name in relevant},
    }
    return {name: _ADDRESS.sub("", str(value)) for name, value in parts.items()}


def difference(found: Mapping[str, Any], expected: Fingerprint) -> str | None:
    """Return what differs between the fingerprint of a checkpoint and of a training, None if nothing does."""
    differing = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    return "; ".join(_describe(name, found.get(name), expected.get(name)) for name in differing) or None


def _describe(name: str, found: Any, expected: str | None) -> str:
    short = all(value is None or len(str(value)) <= _LONGEST_SHOWN for value in (found, expected))
    return f"{name} was {found} and is {expected}" if short else f"{name} was another"


OnEpoch = Callable[[EpochReport], None]
"""Called after every epoch; what it raises ends training."""


class TrainingRun:
    """A training and its history.

    Args:
        trainer: Trains.
        fingerprint: Returns what a checkpoint must have in common with this training to be of it.
        started: When it started, by :func:`time.perf_counter`.

    Attributes:
        history: One report per epoch.
    """

    def __init__(self, trainer: Trainer, fingerprint: Callable[[], Fingerprint], started: float) -> None:
        self.history: list[EpochReport] = []
        self._trainer, self._take_fingerprint, self._started = trainer, fingerprint, started

    def run(
        self,
        report: Callable[[int, StepLosses], EpochReport],
        on_epoch: OnEpoch | None = None,
        session: TrainingSession | None = None,
    ) -> None:
        """Train to the end.

        Args:
            report: Returns the report of an epoch (from zero) from its losses.
            on_epoch: Gets it.
            session: Watches.

        Raises:
            NonFiniteLossError: If the loss is NaN or infinite.
        """

        def after_step() -> None:
            if session:
                session.after_step(self.capture)

        while not self._trainer.is_done:
            losses = self._trainer.train_epoch(after_step if session else None)
            epoch = self._trainer.epoch - 1
            self.history.append(report(epoch, losses))
            if on_epoch:
                on_epoch(self.history[-1])
            if session:
                session.after_epoch(epoch, self.capture)
        self._trainer.revisit_last_epoch()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds so far, over all the processes that the training took."""
        return time.perf_counter() - self._started

    @cached_property
    def _fingerprint(self) -> Fingerprint:
        """The fingerprint, for which all data are read: only where there are checkpoints."""
        return self._take_fingerprint()

    def capture(self) -> Checkpoint:
        """Return the state as of now; its ``"step"`` is the number of steps done."""
        captured = self._trainer.capture()
        more = {
            "fingerprint": self._fingerprint,
            "seconds": self.seconds,
            "history": [report.to_dict() for report in self.history],
        }
        return Checkpoint(captured.tensors, captured.state | more)

    def restore(self, checkpoint: Checkpoint) -> str | None:
        """Go on from a checkpoint; return why it does not fit, and then this run and its system are of no use."""
        try:
            reason = difference(checkpoint.state["fingerprint"], self._fingerprint)
            if reason is None:
                self.history = [EpochReport(**report) for report in checkpoint.state["history"]]
                self._trainer.restore(checkpoint)
                self._started -= checkpoint.state["seconds"]
        except torch.OutOfMemoryError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            return f"its content is not that of this training ({type(error).__name__}: {error})".replace("\n", " ")
        return reason
