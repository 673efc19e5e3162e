"""One colour per task, group and kind, the same in every picture.

Tasks have the colours of Okabe and Ito (Color Universal Design, 2008), which people with any common colour vision tell
apart; shared is grey everywhere. Kinds have other colours, and a marker each, so that none is taken for a task's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

SHARED = "#8c8c8c"

_TASKS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")

_BRIGHT = 150
"""Grey level, of 255, from which letters are dark."""

KINDS: Mapping[str, str] = MappingProxyType(
    {"learned": "#882255", "searched": "#117733", "refined": "#999933", "manual": "#5566aa"}
)
"""The colour of each kind, and of refined trials."""

KIND_MARKERS: Mapping[str, str] = MappingProxyType(
    {"learned": "circle", "searched": "diamond", "refined": "triangle-up", "manual": "square"}
)
"""The marker of each kind, by plotly's names."""


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
