"""Several attributes of a trial in one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialModel, TrialUserAttributeModel
from optuna.trial import BaseTrial
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session


def set_user_attrs(trial: BaseTrial, attributes: Mapping[str, Any]) -> None:
    """Set user attributes of a trial: at once where it is in a database and has none of them yet, else one by one.

    Optuna takes a transaction for each, and a dozen of those cost more than all else that the end of a trial writes.

    Args:
        trial: The trial.
        attributes: Plain data by key.

    Raises:
        optuna.exceptions.UpdateFinishedTrialError: If the trial is over.
    """
    if attributes and isinstance(trial, optuna.Trial) and _insert(trial, attributes):
        trial._cached_frozen_trial.user_attrs.update(attributes)
        return
    for key, value in attributes.items():
        trial.set_user_attr(key, value)


def _insert(trial: optuna.Trial, attributes: Mapping[str, Any]) -> bool:
    """Insert attributes that are all new; False if one is there already, or the trial is in no database."""
    storage = getattr(trial.storage, "_backend", trial.storage)
    if not isinstance(storage, RDBStorage) or not attributes.keys().isdisjoint(trial._cached_frozen_trial.user_attrs):
        return False
    number = trial._trial_id
    try:
        with Session(storage.engine) as session, session.begin():
            state = session.scalars(select(TrialModel.state).where(TrialModel.trial_id == number)).one()
            storage.check_trial_is_updatable(number, state)
            session.add_all(
                TrialUserAttributeModel(trial_id=number, key=key, value_json=json.dumps(value))
                for key, value in attributes.items()
            )
    except IntegrityError:  # an outage hid that they were inserted
        return False
    return True
