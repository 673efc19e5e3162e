"""An experiment: the data, network and settings that all methods of a study have in common."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice

import torch
from torch import Tensor, nn

from sfgsearch.data import Augmentation, MultiTaskData, batches
from sfgsearch.data._labels import check_images
from sfgsearch.errors import NonFiniteLossError
from sfgsearch.methods import Method, Randomness, System
from sfgsearch.nn import NetworkSpec, complexity
from sfgsearch.training._evaluate import Metrics, RelativeError, WithUncertainty, evaluate
from sfgsearch.training._results import EpochReport, MonteCarlo, StepLosses, Trained
from sfgsearch.training._run import OnEpoch, TrainingRun, fingerprint
from sfgsearch.training._session import TrainingSession
from sfgsearch.training._settings import TrainingSettings, lacks_bf16, resolve_device
from sfgsearch.training._trainer import Trainer


@contextmanager
def _kernels(settings: TrainingSettings) -> Iterator[None]:
    """Make CUDA choose the same deterministic kernels in every run, unless told otherwise; settings are restored."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.benchmark, cudnn.deterministic = settings.cudnn_benchmark, not settings.cudnn_benchmark
    cudnn.allow_tf32 = matmul.allow_tf32 = settings.tf32
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = before


@dataclass(frozen=True)
class Experiment:
    """Trains any method on the same data with the same network and settings.

    Args:
        data: The data set.
        spec: The network.
        settings: The training settings.
        augmentation: What training batches go through; statistics and metrics come from unchanged images.
    """

    data: MultiTaskData
    spec: NetworkSpec
    settings: TrainingSettings
    augmentation: Augmentation = field(default_factory=Augmentation)
    _errors: dict[str, RelativeError] = field(default_factory=dict, compare=False, repr=False)

    def on(self, data: MultiTaskData) -> Experiment:
        """Return the same experiment on data of the same tasks and shape that are divided in another way."""
        return self if data is self.data else replace(self, data=data, _errors={})

    @cached_property
    def device(self) -> torch.device:
        """The device that networks are trained on."""
        return resolve_device(self.settings.device)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Sentences about network and device that a user should read, such as on channels that are tied."""
        notes = self.spec.analysis.notes()
        if self.settings.precision == "bf16" and lacks_bf16(self.device):
            notes.append(f"precision: {self.device} has no instructions for bf16, which it is slower with than float32")
        return tuple(notes)

    @contextmanager
    def limited_threads(self) -> Iterator[None]:
        """Limit torch's CPU threads in the block to those of the settings, if these name a number."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.settings.threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def relative_error(self, split: str) -> RelativeError:
        """Return what turns the metrics of a split into scale-free errors."""
        if split not in self._errors:
            self._errors[split] = RelativeError(self.data, split)
        return self._errors[split]

    def evaluate(self, predictor: nn.Module, split: str) -> Metrics:
        """Return the metrics of a predictor on a split; a data set's window slides over images that are larger."""
        if self.data.window:
            predictor = self.data.window.over(predictor)
        examples = batches(getattr(self.data, split), self.settings.batch_size, self.device)
        return evaluate(predictor, self.data.tasks, examples, self.device)

    def train(
        self,
        method: Method,
        seed: int,
        *,
        on_epoch: OnEpoch | None = None,
        splits: tuple[str, ...] = ("validation",),
        session: TrainingSession | None = None,
        monte_carlo: bool = False,
    ) -> Trained:
        """Train a method from scratch, or go on from where the session has a checkpoint of this training.

        The same seed gives the same numbers on one machine and thread count, however often it was interrupted.

        Args:
            method: What is trained.
            seed: Fixes initial weights, order of the data and gates.
            on_epoch: Called after every epoch that is trained here; what it raises ends training.
            splits: On which splits the final predictor is measured.
            session: Saves checkpoints and gives them back, such as a :class:`FolderSession`.
            monte_carlo: Whether to measure Monte-Carlo prediction too, of methods that can.

        Raises:
            NonFiniteLossError: If the loss is NaN or infinite.
            DataError: If that comes from images that are.
        """
        started = time.perf_counter()
        with self.limited_threads(), _kernels(self.settings):
            system, run = self._begin(method, seed, started, session)
            try:
                run.run(partial(self._report, system), on_epoch, session)
            except NonFiniteLossError:
                check_images(self.data.train, "train")
                raise
            predictor = system.predictor(self._calibration).eval()
            metrics = {split: self.evaluate(predictor, split) for split in splits}
            sampled = self._monte_carlo(system, [s for s in splits if s != "train"]) if monte_carlo else None
        scores = {split: self._score(metrics[split], split) for split in splits}
        return Trained(self.data.tasks, system, predictor, seed, metrics, scores, run.history, run.seconds, sampled)

    def _begin(
        self, method: Method, seed: int, started: float, session: TrainingSession | None
    ) -> tuple[System, TrainingRun]:
        """Return a training at its start, or where the session's checkpoint has it."""
        system, run = self._build(method, seed, started)
        checkpoint = session.restore() if session else None
        if session and checkpoint:
            reason = run.restore(checkpoint)
            if reason is not None:
                session.rejected(reason)
                return self._build(method, seed, started)
        return system, run

    def _build(self, method: Method, seed: int, started: float) -> tuple[System, TrainingRun]:
        randomness = Randomness.from_seed(seed, self.device)
        system = method.build(self.spec, randomness, self.device)
        augment = partial(self.augmentation, generator=randomness.augmentation) if self.augmentation else None
        hides_targets = self.augmentation.hides_targets
        trainer = Trainer(system, self.data, self.settings, randomness, self.device, augment, hides_targets)
        known_by = partial(
            fingerprint, method, seed, self.spec, self.data, self.settings, self.augmentation, self.device
        )
        return system, TrainingRun(trainer, known_by, started)

    def _monte_carlo(self, system: System, splits: Iterable[str]) -> MonteCarlo | None:
        samples = self.settings.monte_carlo_samples
        ensemble = system.monte_carlo(samples, self._calibration) if samples else None
        if ensemble is None:
            return None
        predictor = WithUncertainty(ensemble, self.data.tasks).eval()
        metrics = {split: self.evaluate(predictor, split) for split in splits}
        scores = {split: self._score(values, split) for split, values in metrics.items()}
        parameters = sum(weight.numel() for weight in system.network.parameters())
        return MonteCarlo(samples, metrics, scores, parameters, complexity(ensemble, self.spec.image_shape).macs)

    def _report(self, system: System, epoch: int, losses: StepLosses) -> EpochReport:
        metrics = self.evaluate(system.snapshot(self._calibration), "validation")
        layers = [layer for layer in system.allocation().layers if layer.mean_probs is not None]
        return EpochReport(
            epoch=epoch,
            loss=losses.objective,
            task_losses=losses.tasks,
            metrics=metrics,
            score=self._score(metrics, "validation"),
            mean_probs={layer.name: list(layer.mean_probs or ()) for layer in layers},
            mean_entropy={layer.name: layer.mean_entropy or 0.0 for layer in layers},
            task_weights=losses.weights,
        )

    def _score(self, metrics: Metrics, split: str) -> float:
        errors = self.relative_error(split).per_task(metrics)
        score = self.relative_error(split).mean(metrics)
        if not math.isfinite(score):
            check_images(getattr(self.data, split), split)
            undefined = [task.name for task in self.data.tasks if not math.isfinite(errors[task.name])]
            raise NonFiniteLossError(
                f"predictions of {', '.join(undefined)} on the {split} split are not finite; lower the learning rate"
            )
        return score

    def _calibration(self) -> Iterable[Tensor]:
        """Yield some batches of training images in one fixed shuffled order."""
        order = torch.Generator().manual_seed(0)
        every = (images for images, _ in batches(self.data.train, self.settings.batch_size, self.device, order))
        return islice(every, self.settings.calibration_batches)
