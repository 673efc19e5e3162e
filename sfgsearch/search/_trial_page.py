"""What there is to look at of a trial in optuna-dashboard: pictures, a table of its layers and a note."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from itertools import dropwhile
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import torch
from torch import Tensor

from sfgsearch.allocation import Allocation
from sfgsearch.data import Split
from sfgsearch.nn import GroupedNetwork, mapped_layers
from sfgsearch.records import ArchitectureRecord
from sfgsearch.reporting._layer_table import layers_csv
from sfgsearch.reporting._note import NoteLine, note_markdown
from sfgsearch.reporting._trial_note import pruned_note, trial_note
from sfgsearch.search._artifacts import Shelf, upload_history
from sfgsearch.search._trial_note import TrialNote
from sfgsearch.tasks import Task
from sfgsearch.training import EpochReport, Experiment, Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sfgsearch.visualization.data import TrialReview

LAYERS_FILE = "layers.csv"

_MOST_COLUMNS, _MOST_IMAGES = 10, 3
_PICTURE = "![picture: "
_logger = logging.getLogger(__name__)

Drawings = Mapping[str, Callable[[], "Figure"]]


@cache
def prepare_reviews(*, has_pictures: bool) -> None:
    """Load what reviews of trials need, and draw for the first time, so that no trial has to wait for it.

    Calling it again does nothing.

    Args:
        has_pictures: Whether there will be pictures.
    """
    # Imported when they are first needed: commands that review nothing do without.
    from optuna_dashboard import artifact  # noqa: F401

    matplotlib = _plots()
    if has_pictures:
        _drawn({"": lambda: matplotlib.plot_allocation(Allocation.equal({"layer": 2}, ("task",)))}, 0)


def review_trained(
    trial: optuna.Trial,
    record: ArchitectureRecord,
    trained: Trained,
    experiment: Experiment,
    shelf: Shelf,
    *,
    has_pictures: bool,
) -> None:
    """Attach pictures, the table of layers and a note to a trial that came to its end, in the place of earlier ones.

    A picture that cannot be drawn is worth a warning in the log, not the trial.

    Args:
        trial: The trial, still running.
        record: Its record.
        trained: What it trained.
        experiment: What trained it.
        shelf: Its artifacts.
        has_pictures: Whether there shall be pictures.
    """
    from sfgsearch.visualization.data import TrialReview

    probabilities = {name: probs.numpy() for name, probs in trained.system.probabilities().items()}
    learned = any(np.ptp(probs, axis=0).max() > 1e-6 for probs in probabilities.values())
    review = TrialReview.of_record(record, trained.history, probabilities)
    files = _pictures(review, trained, experiment, learned=learned) if has_pictures else {}
    files[LAYERS_FILE] = layers_csv(record.allocation).encode()
    shown = _upload_files(trial, files, shelf)
    _save_note(trial, trial_note(record, trial.params, trained.system.repairs(), list(files)), shown)


def review_pruned(
    trial: optuna.Trial,
    kind: str,
    name: str,
    tasks: tuple[Task, ...],
    history: list[EpochReport],
    shelf: Shelf,
    *,
    has_pictures: bool,
) -> None:
    """Attach what there is of a pruned trial: its history, pictures of it and a note.

    Args:
        trial: The trial, still running.
        kind: Its kind.
        name: What it is called.
        tasks: The tasks.
        history: Reports of all its epochs, at least one, those that it was trained for elsewhere included.
        shelf: Its artifacts.
        has_pictures: Whether there shall be pictures.
    """
    from sfgsearch.visualization.data import TrialReview

    matplotlib = _plots()
    units = {f"{task.name}/{metric}": unit for task in tasks for metric, unit in task.units.items()}
    headline = tuple(f"{task.name}/{metric}" for task in tasks for metric in task.headline)
    names = tuple(task.name for task in tasks)
    review = TrialReview(trial.number, name, names, history=history, units=units, headline=headline)
    drawings: dict[str, Callable[[], Figure]] = {"history.png": partial(matplotlib.plot_history, review)}
    if history[-1].mean_probs:
        drawings["probabilities.png"] = partial(matplotlib.plot_probabilities, review)
    files = _drawn(drawings, trial.number) if has_pictures else {}
    upload_history(shelf, history)
    shown = _upload_files(trial, files, shelf)
    _save_note(trial, pruned_note(name, kind, trial.params, history, list(files)), shown)


def _pictures(review: TrialReview, trained: Trained, experiment: Experiment, *, learned: bool) -> dict[str, bytes]:
    """Return the pictures of a trial as PNG files; those of probabilities only where filters differ in them."""
    from sfgsearch.visualization.data import activation_maps

    matplotlib = _plots()
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


def _plots() -> Any:
    """Return the module of matplotlib figures, whose functions are made from the list of figures."""
    from sfgsearch.visualization import matplotlib

    return matplotlib


def _drawn(drawings: Drawings, number: int) -> dict[str, bytes]:
    """Return the pictures that can be drawn, by file name."""
    matplotlib = _plots()
    pictures = {}
    for name, draw in drawings.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # letters that matplotlib's font has not, for one
                pictures[name] = matplotlib.as_png(draw())
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


def _upload_files(trial: optuna.Trial, files: Mapping[str, bytes], shelf: Shelf) -> list[str]:
    """Attach files to a trial, and return Markdown that shows the pictures among them."""
    from optuna_dashboard.artifact import get_artifact_path

    shown = []
    for name, content in files.items():
        file = shelf.desk / name
        file.write_bytes(content)
        path = get_artifact_path(trial, shelf.put(file))
        if file.suffix == ".png":
            shown.append(f"{_PICTURE}{file.stem}]({path})")
    return shown


def _save_note(trial: optuna.Trial, lines: list[NoteLine], shown: list[str]) -> None:
    """Write the note in the place of an earlier attempt's, above what people have written.

    The pictures are in it, since the dashboard shows the artifacts themselves no larger than a stamp.
    """
    note, place = note_markdown(lines), TrialNote(trial)
    below = _without(place.body, note)
    place.write("\n\n".join([note, *shown, *([below] if below else [])]))


def _without(present: str, note: str) -> str:
    """Return what stands below an earlier note that begins and ends with lines about the same, or all of a text."""
    rows, (first, *_, last) = present.split("\n"), note.split("\n")
    if rows[0] != first:
        return present
    label = last.split(":", 1)[0]
    ends = [index for index, row in enumerate(rows) if row.startswith(label)]
    left = rows[ends[0] + 1 :] if ends else []
    return "\n".join(dropwhile(lambda row: not row or row.startswith(_PICTURE), left))
