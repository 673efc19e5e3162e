"""The note of a trial: its candidate and result in a few lines, with caveats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sfgsearch._stages import by_stage
from sfgsearch.comparison._formats import MetricFormat, duration, thousands
from sfgsearch.records import ArchitectureRecord
from sfgsearch.reporting._note import NoteLine
from sfgsearch.reporting._sharing import shared_parts, sharing_sentence

if TYPE_CHECKING:
    from sfgsearch.training import EpochReport

FILES: Mapping[str, str] = {
    "allocation.png": "filters of every group by layer",
    "probabilities.png": "mean probability of every group over training",
    "simplex.png": "group probabilities of single filters",
    "history.png": "losses and metrics over training",
    "activations.png": "activation maps of the least and most undecided filters",
    "layers.csv": "the numbers by layer",
}
"""Captions of the files of a trial, by name."""

_MOST_LAYERS, _MOST_REPAIRS = 12, 5
_PROPORTIONS = ("searched.", "refined.")
"""Beginnings of the names of parameters that the allocation tells better."""

_DESCRIBED = ("searched.space", "searched.curve.")
"""Those of them that say something all the same."""

_FORM = MetricFormat({})


def trial_note(
    record: ArchitectureRecord, params: Mapping[str, Any], repairs: Sequence[str], files: Sequence[str]
) -> list[NoteLine]:
    """Return the lines about a trial that came to its end.

    Args:
        record: What it trained.
        params: Its parameters in Optuna.
        repairs: What its allocation needed.
        files: The names of its artifacts.
    """
    lines = [
        NoteLine("Candidate", f"{record.name} ({record.kind}){_parameters(params)}"),
        NoteLine("Validation", _scores(record)),
        NoteLine("Size", _size(record)),
        NoteLine("Sharing", _sharing(record)),
    ]
    if repairs:
        more = len(repairs) - _MOST_REPAIRS
        shown = [*repairs[:_MOST_REPAIRS], *([f"{more} more, which sfgsearch show has"] if more > 0 else [])]
        lines.append(NoteLine("Repairs", "; ".join(shown)))
    return [*lines, NoteLine("Artifacts", _artifacts(files)), NoteLine("Caveat", _caveat(record))]


def pruned_note(
    name: str, kind: str, params: Mapping[str, Any], history: Sequence[EpochReport], files: Sequence[str]
) -> list[NoteLine]:
    """Return the lines about a trial that was pruned.

    Args:
        name: What it is called.
        kind: Its kind.
        params: Its parameters in Optuna.
        history: The reports of its epochs, at least one.
        files: The names of its artifacts.
    """
    last = history[-1]
    score = f"relative error {_FORM.value('', last.score)} % after {_epochs(last.epoch + 1)}, when it was pruned"
    return [
        NoteLine("Candidate", f"{name} ({kind}){_parameters(params)}"),
        NoteLine("Validation", score),
        NoteLine("Artifacts", _artifacts(files)),
        NoteLine("Caveat", "It is not trained to the end, so its score is no result, and it has no record."),
    ]


def _epochs(number: int) -> str:
    return f"{number} epoch{'' if number == 1 else 's'}"


def _parameters(params: Mapping[str, Any]) -> str:
    shown = [
        f"{name.split('.', 1)[-1]} {f'{value:.3g}' if isinstance(value, float) else value}"
        for name, value in sorted(params.items())
        if name != "kind" and not is_proportion(name)
    ]
    return f": {', '.join(shown)}" if shown else ""


def is_proportion(name: str) -> bool:
    """Return whether a parameter is a part of a layer's filters, which the allocation tells better."""
    return name.startswith(_PROPORTIONS) and not name.startswith(_DESCRIBED)


def _scores(record: ArchitectureRecord) -> str:
    form = MetricFormat(record.units)
    metrics = ", ".join(
        f"{key.replace('/', ' ')} {form.value(key, value)} {form.unit(key)}".rstrip()
        for key, value in record.metrics["validation"].items()
    )
    return (
        f"relative error {_FORM.value('', record.scores['validation'])} % (0 is perfect, 100 a constant prediction): "
        f"{metrics}"
    )


def _size(record: ArchitectureRecord) -> str:
    return (
        f"{thousands(record.parameters)} parameters, {thousands(record.macs)} multiply-adds for one image; "
        f"{_epochs(record.epochs)} in {duration(record.training_seconds)}"
    )


def _sharing(record: ArchitectureRecord) -> str:
    sentence, staged = sharing_sentence("It", record.allocation), by_stage(record.allocation)
    parts = [f"{100 * part:.0f}" for part in shared_parts(staged)]
    if len(parts) < len(record.allocation.layers):
        named = (f"{stage.name} {part}" for stage, part in zip(staged.layers, parts, strict=True))
        return f"{sentence} Shared part by stage: {', '.join(named)} %."
    if not 2 < len(parts) <= _MOST_LAYERS:
        return sentence
    return f"{sentence} Shared part by depth: {', '.join(parts)} %."


def _artifacts(files: Sequence[str]) -> str:
    return "; ".join(f"{name}: {FILES[name]}" for name in files if name in FILES)


def _caveat(record: ArchitectureRecord) -> str:
    text = f"One seed ({record.seed}), measured on the validation data that trials are chosen by."
    if record.kind == "learned":
        return f"{text} The network is the compact one of the most probable allocation, not retrained."
    return text
