"""The note on a trial's page in optuna-dashboard, which people may write in too."""

from __future__ import annotations

import optuna

from sfgsearch.storage import SparingStorage


class TrialNote:
    """A trial's note: an attribute of its study, in pieces, as :func:`optuna_dashboard.save_note` keeps it.

    That function reads the notes of all trials of the study twice to write one; this reads what there is of one.

    Args:
        trial: The trial.
    """

    def __init__(self, trial: optuna.Trial) -> None:
        from optuna_dashboard._note import get_note_from_system_attrs, note_ver_key

        self._storage, self._study, self._trial = trial.storage, trial.study._study_id, trial._trial_id
        backend = getattr(trial.storage, "_backend", trial.storage)
        is_known_missing = isinstance(backend, SparingStorage) and not backend.has_study_system_attr(
            self._study, note_ver_key(self._trial)
        )
        attributes = {} if is_known_missing else trial.storage.get_study_system_attrs(self._study)
        self._present = get_note_from_system_attrs(attributes, self._trial)

    @property
    def body(self) -> str:
        """What stands there, in Markdown; empty if nothing does."""
        return str(self._present["body"])

    def write(self, body: str) -> None:
        """Replace what stands there.

        Args:
            body: Markdown.
        """
        from optuna_dashboard._note import note_str_key_prefix, note_ver_key, split_body

        pieces = split_body(body, self._trial)
        for number in range(len(pieces), len(split_body(self.body, self._trial))):
            pieces[f"{note_str_key_prefix(self._trial)}{number}"] = ""
        for key, piece in {note_ver_key(self._trial): self._present["version"] + 1, **pieces}.items():
            self._storage.set_study_system_attr(self._study, key, piece)
        self._present = {"version": self._present["version"] + 1, "body": body}
