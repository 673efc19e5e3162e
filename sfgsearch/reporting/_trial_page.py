"""The page of a trial in optuna-dashboard: pictures, a table of its layers and a note."""

from __future__ import annotations

import csv
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import dropwhile
from typing import TYPE_CHECKING

import numpy as np
import optuna
import torch
from torch import Tensor

from sfgsearch.allocation import Allocation
from sfgsearch.data import Split
from sfgsearch.nn import GroupedNetwork, mapped_layers
from sfgsearch.reporting._note import NoteLine, note_markdown
from sfgsearch.reporting._trial_note import pruned_note, trial_note
from sfgsearch.search._artifacts import TrialArtifacts
from sfgsearch.search._hooks import PrunedTrial, TrainedTrial, TrialHooks
from sfgsearch.training import Experiment, Trained
from sfgsearch.visualization import matplotlib
from sfgsearch.visualization.data import TrialReview, activation_maps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAYERS_FILE = "layers.csv"

_MOST_COLUMNS, _MOST_IMAGES = 10, 3
_PICTURE = "![picture: "
_NOTE_WIDTH = 800
"""Pixels of a note in the dashboard, in a window of 1,200."""

_logger = logging.getLogger(__name__)

Drawings = Mapping[str, Callable[[], "Figure"]]


class TrialPages(TrialHooks):
    """Attaches pictures, the table of layers and a note to trials, in the place of those of an earlier attempt.

    A picture that cannot be drawn is worth a warning in the log, not the trial.

    Args:
        has_pictures: Whether there shall be pictures.
    """

    def __init__(self, *, has_pictures: bool = True) -> None:
        self._has_pictures = has_pictures

    def on_trained(self, trial: optuna.Trial, end: TrainedTrial) -> None:
        """Show what there is to look at of a trial that came to its end."""
        record, trained = end.record, end.trained
        probabilities = {name: probs.numpy() for name, probs in trained.system.probabilities().items()}
        learned = any(np.ptp(probs, axis=0).max() > 1e-6 for probs in probabilities.values())
        review = TrialReview.of_record(record, trained.history, probabilities)
        files = _pictures(review, trained, end.experiment, learned=learned) if self._has_pictures else {}
        files[LAYERS_FILE] = layers_csv(record.allocation).encode()
        shown = _upload_files(trial, files, end.artifacts)
        _save_note(trial, trial_note(record, trial.params, trained.system.repairs(), list(files)), shown)

    def on_pruned(self, trial: optuna.Trial, end: PrunedTrial) -> None:
        """Show what there is of a pruned trial: pictures of its history and a note."""
        tasks, history = end.experiment.data.tasks, end.history
        units = {f"{task.name}/{metric}": unit for task in tasks for metric, unit in task.units.items()}
        headline = tuple(f"{task.name}/{metric}" for task in tasks for metric in task.headline)
        names = tuple(task.name for task in tasks)
        review = TrialReview(trial.number, end.name, names, history=history, units=units, headline=headline)
        drawings: dict[str, Callable[[], Figure]] = {"history.png": partial(matplotlib.plot_history, review)}
        if history[-1].mean_probs:
            drawings["probabilities.png"] = partial(matplotlib.plot_probabilities, review)
        files = _drawn(drawings, trial.number) if self._has_pictures else {}
        shown = _upload_files(trial, files, end.artifacts)
        _save_note(trial, pruned_note(end.name, end.kind, trial.params, history, list(files)), shown)


def _pictures(review: TrialReview, trained: Trained, experiment: Experiment, *, learned: bool) -> dict[str, bytes]:
    """Return the pictures of a trial as PNG files; those of probabilities only where filters differ in them."""
    network = trained.system.network

    def plot_activations(network: GroupedNetwork) -> Figure:
        images = _examples(experiment.data.validation, experiment.spec.image_shape, len(review.tasks))
        figure: Figure = matplotlib.plot_activations(activation_maps(network, images), trial=review)
        return figure

    drawings: dict[str, Callable[[], Figure]] = {"allocation.png": partial(matplotlib.plot_allocation, review)}
    if learned:
        drawings["probabilities.png"] = partial(matplotlib.plot_probabilities, review)
        drawings["simplex.png"] = partial(matplotlib.plot_simplex, review)
    drawings["history.png"] = partial(matplotlib.plot_history, review)
    if learned and isinstance(network, GroupedNetwork) and mapped_layers(network):
        drawings["activations.png"] = partial(plot_activations, network)
    return _drawn(drawings, review.number)


def _drawn(drawings: Drawings, number: int) -> dict[str, bytes]:
    """Return the pictures that can be drawn, by file name."""
    pictures = {}
    for name, draw in drawings.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # letters that matplotlib's font has not, for one
                pictures[name] = matplotlib.as_png(draw(), _NOTE_WIDTH)
        except Exception as error:  # whatever there is in networks and names of other people's
            _logger.warning("trial %d: no %s: %s: %s", number, name, type(error).__name__, error)
    return pictures


def _examples(split: Split, image_shape: tuple[int, ...], tasks: int) -> Tensor:
    """Return a few images from all over a split, the middle of those that are larger than in training."""
    number = min(max(_MOST_COLUMNS // (tasks + 2), 1), _MOST_IMAGES, len(split))
    indices = np.linspace(0, len(split) - 1, number).round().astype(int)
    images = [_middle(split.__getitems__([int(index)])[0], image_shape[1:]) for index in indices]
    return torch.cat([image for image in images if image.shape == images[0].shape])


def _middle(images: Tensor, space: Iterable[int]) -> Tensor:
    for dimension, size in enumerate(space, start=2):
        extra = images.shape[dimension] - size
        if extra > 0:
            images = images.narrow(dimension, extra // 2, size)
    return images


def _upload_files(trial: optuna.Trial, files: Mapping[str, bytes], artifacts: TrialArtifacts) -> list[str]:
    """Attach files to a trial, and return Markdown that shows the pictures among them."""
    from optuna_dashboard.artifact import get_artifact_path  # takes two seconds to load

    shown = []
    for name, content in files.items():
        file = artifacts.tmpdir / name
        file.write_bytes(content)
        path = get_artifact_path(trial, artifacts.upload(file))
        if file.suffix == ".png":
            shown.append(f"{_PICTURE}{file.stem}]({path})")
    return shown


def _save_note(trial: optuna.Trial, lines: list[NoteLine], shown: list[str]) -> None:
    """Write the note in the place of an earlier attempt's, above what people have written.

    The pictures are in it, since the dashboard shows the artifacts themselves no larger than a stamp.
    """
    from optuna_dashboard import get_note, save_note

    note = note_markdown(lines)
    below = _without(get_note(trial), note)
    save_note(trial, "\n\n".join([note, *shown, *([below] if below else [])]))


def _without(present: str, note: str) -> str:
    """Return what stands below an earlier note that begins and ends with lines about the same, or all of a text."""
    rows, (first, *_, last) = present.split("\n"), note.split("\n")
    if rows[0] != first:
        return present
    label = last.split(":", 1)[0]
    ends = [index for index, row in enumerate(rows) if row.startswith(label)]
    left = rows[ends[0] + 1 :] if ends else []
    return "\n".join(dropwhile(lambda row: not row or row.startswith(_PICTURE), left))


def layers_csv(allocation: Allocation) -> str:
    """Return a table with one row per layer, as comma-separated values.

    Its columns are the layer, its filters, the count of every group, and for learned allocations the mean over
    filters of every group's probability and of the entropy in nats.

    Args:
        allocation: The allocation.
    """
    is_learned = any(layer.mean_probs for layer in allocation.layers)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    titles = ["layer", "filters", *(f"count {group}" for group in allocation.groups)]
    if is_learned:
        titles += [*(f"mean probability {group}" for group in allocation.groups), "mean entropy (nats)"]
    table.writerow(titles)
    for layer in allocation.layers:
        row: list[object] = [layer.name, layer.num_filters, *layer.counts]
        if is_learned:
            row += [f"{prob:.6g}" for prob in layer.mean_probs or [float("nan")] * len(allocation.groups)]
            row.append("" if layer.mean_entropy is None else f"{layer.mean_entropy:.6g}")
        table.writerow(row)
    return text.getvalue()
