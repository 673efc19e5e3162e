"""Reading what a study says of itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from optuna.storages._rdb.models import NOT_FOUND_MSG, StudyModel
from sqlalchemy import Connection, inspect, select

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


def read_attributes(connection: Connection, model: Any, study_id: int) -> dict[str, Any]:
    """Return all attributes of a study, in the order in which they were first set.

    Args:
        connection: A connection.
        model: The table, of user or of system attributes.
        study_id: The study.

    Raises:
        KeyError: If there is no such study.
    """
    (row_id,) = inspect(model).primary_key
    query = select(model.key, model.value_json).where(model.study_id == study_id).order_by(row_id)
    found = {key: json.loads(value) for key, value in connection.execute(query)}
    if not found and connection.execute(select(StudyModel.study_id).filter_by(study_id=study_id)).first() is None:
        raise KeyError(NOT_FOUND_MSG)
    return found
