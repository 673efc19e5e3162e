"""Reading attributes of studies and trials, and remembering what was read."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from optuna.storages._rdb.models import NOT_FOUND_MSG, StudyModel, TrialModel
from sqlalchemy import Connection, Select, bindparam, inspect, select

from sfgsearch.storage._writes import Model


@dataclass
class Memory:
    """What one thread has read in a block.

    Args:
        trials: Studies whose trials it has read.
        attributes: Attributes of studies, by their table and the study.
    """

    trials: set[int] = field(default_factory=set)
    attributes: dict[tuple[Model, int], dict[str, Any]] = field(default_factory=dict)


@cache
def _attributes(model: Any, owner: Any) -> Select[Any]:
    (row_id,) = inspect(model).primary_key
    return select(model.key, model.value_json).where(owner == bindparam("owner")).order_by(row_id)


def study_attributes(connection: Connection, model: Any, study_id: int) -> dict[str, Any]:
    """Return all attributes of a study, in the order in which they were first set.

    Args:
        connection: A connection.
        model: The table, of user or of system attributes.
        study_id: The study.

    Raises:
        KeyError: If there is no such study.
    """
    return _read(connection, model, (model.study_id, StudyModel.study_id), study_id)


def trial_attributes(connection: Connection, model: Any, trial_id: int) -> dict[str, Any]:
    """Return all attributes of a trial likewise.

    Raises:
        KeyError: If there is no such trial.
    """
    return _read(connection, model, (model.trial_id, TrialModel.trial_id), trial_id)


def _read(connection: Connection, model: Any, owners: tuple[Any, Any], owner: int) -> dict[str, Any]:
    rows = connection.execute(_attributes(model, owners[0]), {"owner": owner})
    found = {key: json.loads(value) for key, value in rows}
    if not found and connection.execute(select(owners[1]).where(owners[1] == owner)).first() is None:
        raise KeyError(NOT_FOUND_MSG)
    return found
