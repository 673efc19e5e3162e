"""One colour per task, group and kind, the same in every figure, and how figures are headed.

Tasks have the colours of Okabe and Ito (Color Universal Design, 2008), which people with any common colour vision tell
apart; shared is grey everywhere. Kinds have other colours, and a marker each, so that none is taken for a task's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from sfgsearch.comparison._rows import DERIVED, INFERENCES, MONTE_CARLO, RETRAINED, REVERSED, SHUFFLED
from sfgsearch.records import STRATEGIES
from sfgsearch.visualization._description import Marker
from sfgsearch.visualization._layout import shortened
from sfgsearch.visualization._trial_review import TrialReview

SHARED = "#8c8c8c"

_TASKS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")

_BRIGHT = 150
"""Grey level, of 255, from which letters are dark."""

KINDS: Mapping[str, str] = MappingProxyType(
    {"learned": "#882255", "searched": "#117733", "refined": "#999933", "manual": "#5566aa"}
)
"""The colour of each kind, and of refined trials."""

KINDS_AND_INFERENCES = tuple((kind, inference) for kind in STRATEGIES for inference in INFERENCES)
"""All pairs of kind and inference, in the order of legends."""

_Symbol = Literal["circle", "diamond", "triangle-up", "square"]
_SYMBOLS: Mapping[str, _Symbol] = MappingProxyType(
    {"learned": "circle", "searched": "diamond", "refined": "triangle-up", "manual": "square"}
)
_LABELS = {
    RETRAINED: "",
    DERIVED: ", derived",
    MONTE_CARLO: ", Monte Carlo",
    REVERSED: ", reversed",
    SHUFFLED: ", shuffled",
}
_LONGEST_STUDY = 30


def task_colours(tasks: Sequence[str]) -> dict[str, str]:
    """Return the colour of every task, as ``#rrggbb``; from the eighth task on they repeat.

    Args:
        tasks: Task names, in the order of the data set.
    """
    return {task: _TASKS[index % len(_TASKS)] for index, task in enumerate(tasks)}


def group_colours(tasks: Sequence[str]) -> dict[str, str]:
    """Return the colour of every group: the tasks in order, then ``"shared"``."""
    return {**task_colours(tasks), "shared": SHARED}


def ink_on(colour: str) -> str:
    """Return the colour of letters that can be read on a colour, both as ``#rrggbb``."""
    red, green, blue = _channels(colour)
    return "#222222" if 0.3 * red + 0.59 * green + 0.11 * blue > _BRIGHT else "#ffffff"


def on_white(colour: str, strength: float) -> str:
    """Return a colour so thinned that 0 is white and 1 the colour itself, all as ``#rrggbb``."""
    return "#" + "".join(f"{round(255 + strength * (channel - 255)):02x}" for channel in _channels(colour))


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def kind_marker(kind: str, inference: str = RETRAINED, *, size: float = 8, opacity: float = 1.0) -> Marker:
    """Return the marker of a kind: hollow for derived networks and controls, dotted for Monte-Carlo prediction.

    Args:
        kind: The kind; unknown ones are grey crosses.
        inference: That of a row of a comparison.
        size: Pixels.
        opacity: From 0 to 1.
    """
    if kind not in KINDS:
        return Marker(SHARED, "cross", size=size, opacity=opacity)
    if inference in (REVERSED, SHUFFLED):
        return Marker(KINDS[kind], "triangle-down" if inference == REVERSED else "triangle-up", "open", size, opacity)
    fills: dict[str, Literal["open", "dotted"]] = {DERIVED: "open", MONTE_CARLO: "dotted"}
    return Marker(KINDS[kind], _SYMBOLS[kind], fills.get(inference, "full"), size, opacity)


def kind_label(kind: str, inference: str = RETRAINED) -> str:
    """Return what the legend calls a kind and how it predicts."""
    return kind + _LABELS[inference] if kind in KINDS else "other"


def study_title(study: str, what: str) -> str:
    """Return the title of a figure of a study, where the study's name leaves room for it."""
    return f"{shortened(study, _LONGEST_STUDY)}: {what}"


def trial_title(trial: object, what: str) -> str:
    """Return the title of a figure of a trial: the trial, where it is one, and what is shown."""
    return f"{trial.title}: {what}" if isinstance(trial, TrialReview) else what[0].upper() + what[1:]
