"""Reading Optuna's trials from its tables in two queries, whatever they hold."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages._rdb.models import (
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Select,
    String,
    bindparam,
    cast,
    literal,
    null,
    select,
    union_all,
)

_AT_ONCE = 512
"""Trials per query of their parts: databases limit the parameters of a statement."""

_SHORT = String(32)

_Parts = tuple[list[Any], list[Any], list[Any], list[Any], list[Any]]
"""What belongs to a trial besides its row: values, parameters, user and system attributes, and intermediate values.

Each is a list: the id of its row, a key, a number and a text.
"""


class TrialRow(NamedTuple):
    """What the table of trials says of one.

    Args:
        id: Optuna's id of it in the database.
        number: Its number in its study.
        state: Its state.
        begun: When it began to run last, in UTC.
        ended: When it ended, in UTC.
    """

    id: int
    number: int
    state: TrialState
    begun: datetime | None
    ended: datetime | None


_ROW = (
    *(TrialModel.trial_id, TrialModel.number, TrialModel.state),
    *(TrialModel._datetime_start_utc, TrialModel._datetime_complete_utc),
)


def rows_where(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Return the query for the rows of the trials for which all conditions hold, by id."""
    return select(*_ROW).where(*conditions).order_by(TrialModel.trial_id)


def read_rows(connection: Connection, query: Select[Any], values: Mapping[str, Any]) -> list[TrialRow]:
    """Return the rows that a query finds, with these values of its parameters."""
    return [TrialRow(*row) for row in connection.execute(query, values)]


def read_trials(connection: Connection, rows: Sequence[TrialRow]) -> list[FrozenTrial]:
    """Return trials, all that is known of them included, in the order of their rows.

    A trial that ends meanwhile is read as its row says, or more of it.
    """
    parts: dict[int, _Parts] = defaultdict(lambda: ([], [], [], [], []))
    for start in range(0, len(rows), _AT_ONCE):
        ids = [row.id for row in rows[start : start + _AT_ONCE]]
        # The last one fills the list up: few lengths are few statements, which drivers and databases keep.
        ids += ids[-1:] * ((1 << (len(ids) - 1).bit_length()) - len(ids))
        for kind, trial, *part in connection.execute(_query(), {"ids": ids}).all():
            parts[trial][kind].append(part)
    return [_trial(row, parts[row.id]) for row in rows]


@cache
def _query() -> Any:
    """Return one query for all that belongs to trials of ``ids`` besides their rows, as a table of one shape."""
    none = cast(null(), Double)
    value, param, user, system, step = (
        *(TrialValueModel, TrialParamModel, TrialUserAttributeModel, TrialSystemAttributeModel),
        TrialIntermediateValueModel,
    )
    columns: tuple[tuple[Any, ...], ...] = (
        (
            value.trial_id,
            value.trial_value_id,
            cast(value.objective, _SHORT),
            value.value,
            cast(value.value_type, _SHORT),
        ),
        (param.trial_id, param.param_id, param.param_name, param.param_value, param.distribution_json),
        (user.trial_id, user.trial_user_attribute_id, user.key, none, user.value_json),
        (system.trial_id, system.trial_system_attribute_id, system.key, none, system.value_json),
        (
            *(step.trial_id, step.trial_intermediate_value_id, cast(step.step, _SHORT)),
            *(step.intermediate_value, cast(step.intermediate_value_type, _SHORT)),
        ),
    )
    names = ("trial_id", "row", "key", "number", "text")
    return union_all(
        *(
            select(literal(kind, literal_execute=True).label("kind"), *map(_labelled, chosen, names)).where(
                chosen[0].in_(bindparam("ids", expanding=True))
            )
            for kind, chosen in enumerate(columns)
        )
    )


def _labelled(column: Any, name: str) -> Any:
    return column.label(name)


def _trial(row: TrialRow, parts: _Parts) -> FrozenTrial:
    """Put a trial together; its parts come in the order in which they were written."""
    values, params, user, system, steps = map(sorted, parts)
    distributions = {name: _distribution(text) for _, name, _, text in params}
    by_objective = {int(objective): _value(number, kind) for _, objective, number, kind in values}
    return FrozenTrial(
        number=row.number,
        state=row.state,
        value=None,
        values=[by_objective[objective] for objective in sorted(by_objective)] or None,
        datetime_start=_local(row.begun),
        datetime_complete=_local(row.ended),
        params={name: distributions[name].to_external_repr(number) for _, name, number, _ in params},
        distributions=distributions,
        user_attrs={key: json.loads(text) for _, key, _, text in user},
        system_attrs={key: json.loads(text) for _, key, _, text in system},
        intermediate_values={int(step): _intermediate(number, kind) for _, step, number, kind in steps},
        trial_id=row.id,
    )


@lru_cache(maxsize=1024)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def _value(stored: float, kind: str) -> float:
    return TrialValueModel.stored_repr_to_value(stored, TrialValueModel.TrialValueType[kind])


def _intermediate(stored: float, kind: str) -> float:
    kinds = TrialIntermediateValueModel.TrialIntermediateValueType
    return TrialIntermediateValueModel.stored_repr_to_intermediate_value(stored, kinds[kind])


def _local(time: datetime | None) -> datetime | None:
    """Return a time in UTC as local time, both without their zone, which is how Optuna keeps and shows them."""
    return None if time is None else time.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
