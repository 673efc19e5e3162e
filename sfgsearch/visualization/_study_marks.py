"""How figures of whole studies are headed, and mark kinds and ways to predict, in either drawing library."""

from __future__ import annotations

from dataclasses import dataclass

from sfgsearch.comparison._rows import DERIVED, INFERENCES, MONTE_CARLO, RETRAINED, REVERSED, SHUFFLED
from sfgsearch.records import STRATEGIES
from sfgsearch.visualization._colours import KIND_MARKERS
from sfgsearch.visualization._colours import KINDS as KIND_COLOURS

_MATPLOTLIB_MARKERS = {"circle": "o", "diamond": "D", "square": "s", "triangle-up": "^"}
_SYMBOL_ENDINGS = {RETRAINED: "", DERIVED: "-open", MONTE_CARLO: "-open-dot"}
_LABELS = {
    RETRAINED: "",
    DERIVED: ", derived",
    MONTE_CARLO: ", Monte Carlo",
    REVERSED: ", reversed",
    SHUFFLED: ", shuffled",
}
_CONTROLS = {REVERSED: ("triangle-down-open", "v"), SHUFFLED: ("triangle-up-open", "^")}

_LONGEST_NAME = 30

MARKS = tuple((kind, inference) for kind in STRATEGIES for inference in INFERENCES)
"""All pairs of kind and inference, in the order of legends."""


@dataclass(frozen=True)
class Mark:
    """A marker.

    Args:
        label: What the legend calls it.
        colour: As ``#rrggbb``.
        symbol: By plotly's names.
        marker: By matplotlib's names.
        face: Its filling: the colour, or white for what was not retrained.
        has_dot: Whether a dot stands in it.
    """

    label: str
    colour: str
    symbol: str
    marker: str
    face: str
    has_dot: bool


def mark(kind: str, inference: str = RETRAINED) -> Mark:
    """Return the marker of a kind, hollow for derived networks, dotted for Monte-Carlo prediction, else of controls.

    Args:
        kind: The kind; unknown ones are grey crosses.
        inference: That of a row of a comparison.
    """
    if kind not in KIND_COLOURS:
        return Mark("other", "#8c8c8c", "x-thin-open", "x", "#8c8c8c", False)
    colour, symbol = KIND_COLOURS[kind], KIND_MARKERS[kind]
    own = symbol + _SYMBOL_ENDINGS.get(inference, ""), _MATPLOTLIB_MARKERS[symbol]
    return Mark(
        kind + _LABELS[inference],
        colour,
        *_CONTROLS.get(inference, own),
        colour if inference == RETRAINED else "#ffffff",
        inference == MONTE_CARLO,
    )


def heading(study: str, what: str) -> str:
    """Return the title of a figure, where the study's name leaves room for it."""
    return f"{shortened(study, _LONGEST_NAME)}: {what}"


def shortened(text: str, longest: int) -> str:
    """Return a text, cut where it is longer."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
