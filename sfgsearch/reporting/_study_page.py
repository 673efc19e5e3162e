"""The study's page in optuna-dashboard: graphs and a note that follow the study.

Both stand in the study's system attributes, cut into pieces of 2,045 characters under keys that stay the same, so that
saving them again replaces them. What has not changed is not written.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import optuna

from sfgsearch import visualization
from sfgsearch._optuna import engine_of, storage_of, study_id
from sfgsearch.config import Config
from sfgsearch.errors import StudyError
from sfgsearch.reporting._note import note_markdown
from sfgsearch.reporting._study_review import StudyReview, review_study
from sfgsearch.search._study import records_of
from sfgsearch.storage import database_lock
from sfgsearch.visualization import CARD
from sfgsearch.visualization.data import one_metric_each

if TYPE_CHECKING:
    import plotly.graph_objects as go

STATE = "sfgsearch:review"
"""System attribute of a study: when its page was refreshed last, in seconds since 1970, of what, and what it got."""

GRAPHS = ("comparison", "pareto", "allocations", "tuning", "budget")
"""The graphs on a study's page; optuna-dashboard knows them by these names after ``sfgsearch-``."""

INTERVAL = 30.0
"""Seconds between refreshes while a study goes on."""

_LOCK_SECONDS = 20.0
_SLICES = 2

_logger = logging.getLogger(__name__)


def refresh_study_review(
    study: optuna.Study, config: Config, *, interval: float = INTERVAL, only_news: bool = False
) -> bool:
    """Bring the graphs and the note on a study's page in optuna-dashboard up to date.

    Whoever finishes a trial may call this: of all workers together at most one in so many seconds does anything, and
    what fails costs a warning in the log, not the caller. A note that people have changed is left as it is; what they
    wrote below ours stays there.

    Args:
        study: The study.
        config: Its file.
        interval: Seconds that must have gone by since the last time, whoever it was; 0 to refresh at any time.
        only_news: Whether to leave the page as it is where no trial and no record has come to an end since.

    Returns:
        Whether the page was refreshed.
    """
    try:
        if not _is_due(_state(study), interval):
            return False
        with _lock(study, _LOCK_SECONDS if interval == 0 else 0.0):
            state = _state(study)
            if not _is_due(state, interval):
                return False
            of = _contents(study, config)
            if only_news and state.get("of") == of:
                return False
            _remember(study, state | {"at": time.time()})
            review = review_study(study, config)
            # What people write in the note is read as late as possible.
            _write(study, study_graphs(study, review), note_markdown(review.note), of)
        return True
    except StudyError:  # another worker is at it
        return False
    except Exception as error:  # a page is worth no trial
        _logger.warning("%s: its page was not refreshed: %s: %s", study.study_name, type(error).__name__, error)
        return False


def study_graphs(study: optuna.Study, review: StudyReview) -> dict[str, go.Figure]:
    """Return the graphs of a study's page, sized for it, by their names in :data:`GRAPHS`."""
    comparison = review.comparison
    return {
        "comparison": visualization.plot_comparison(comparison, metrics=one_metric_each(comparison), size=CARD),
        "pareto": visualization.plot_pareto(study, comparison, size=CARD),
        "allocations": visualization.plot_best_allocations(study, comparison, size=CARD),
        "tuning": visualization.plot_tuning_importances(study, slices=_SLICES, size=CARD),
        "budget": visualization.plot_budget(study, size=CARD),
    }


def _state(study: optuna.Study) -> dict[str, Any]:
    found = storage_of(study).get_study_system_attrs(study_id(study)).get(STATE)
    return json.loads(found) if isinstance(found, str) else {}


def _remember(study: optuna.Study, state: dict[str, Any]) -> None:
    storage_of(study).set_study_system_attr(study_id(study), STATE, json.dumps(state))


def _is_due(state: dict[str, Any], interval: float) -> bool:
    """Return whether so much time has gone by; also where another machine's clock was far ahead."""
    return not 0 <= time.time() - state.get("at", 0.0) < interval


def _contents(study: optuna.Study, config: Config) -> str:
    """Return a fingerprint of what a page is made of."""
    records = records_of(study)
    states = Counter(trial.state.name for trial in study.get_trials(deepcopy=False))
    parts = [sorted(states.items()), records.latest() if records else None, config.model_dump_json()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _lock(study: optuna.Study, timeout: float) -> AbstractContextManager[None]:
    """Exclude other processes from refreshing the page, where there can be others.

    Raises:
        StudyError: On entering, if another one does it for longer than the timeout.
    """
    engine = engine_of(study)
    return nullcontext() if engine is None else database_lock(engine, f"page of {study.study_name}", timeout=timeout)


def _write(study: optuna.Study, graphs: Mapping[str, go.Figure], note: str, of: str) -> None:
    from optuna_dashboard import save_plotly_graph_object  # takes two seconds to load

    state = _state(study)
    prints = dict(state.get("prints", {}))
    for name, figure in graphs.items():
        text = hashlib.sha256(figure.to_json().encode()).hexdigest()[:16]
        if prints.get(name) != text:
            save_plotly_graph_object(study, figure, graph_object_id=f"sfgsearch-{name}")
            prints[name] = text
    kept = _save_note(study, note, state.get("note", ""))
    _remember(study, {"at": time.time(), "prints": prints, "note": kept, "of": of})


def _save_note(study: optuna.Study, note: str, before: str) -> str:
    """Write a note in the place of the one before, unless people changed that; return what stands there of ours."""
    from optuna_dashboard import get_note, save_note

    present = get_note(study)
    if not present.startswith(before) or (present and not before):
        return before
    if note != before:
        save_note(study, note + present[len(before) :])
    return note
