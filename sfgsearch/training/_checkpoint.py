"""Checkpoints of a training in a folder, written so that a process may die at any moment.

A checkpoint is two files: the tensors, then a JSON that commits them by their digest and holds the rest of the state,
with a digest of its own. Both get their names only when they are complete and on the disk, the JSON last. What does not
fit together was not finished or has been damaged, and does not count.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from sfgsearch._faults import remedy
from sfgsearch._files import drafts_of, remove_drafts
from sfgsearch.errors import CheckpointError

FORMAT = 1
_TENSORS, _COMMIT = ".safetensors", ".json"
_FILE = re.compile(r"(step-[0-9]{10,})(\.safetensors|\.json)")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after some step.

    Args:
        tensors: Tensors by name.
        state: Everything else, plain data for JSON; numbers come back exactly.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]


@dataclass
class CheckpointFolder:
    """The last two checkpoints of one training, in a folder of their own.

    Args:
        path: The folder; it is made when it is first needed.

    Attributes:
        problems: What the last :meth:`load` could not use and what it fell back to, as sentences for users.
    """

    path: Path
    problems: list[str] = field(default_factory=list, init=False)
    _broken: set[int] = field(default_factory=set, init=False, repr=False)

    def save(self, checkpoint: Checkpoint, position: int) -> None:
        """Write a checkpoint and remove those before it, except one.

        Those that are further stay: a process that was halted while another one went on with the training may save
        late. If two good ones are, the one that was written is of no use and goes too.

        Args:
            checkpoint: What to write.
            position: How far the training has come, in steps; of several checkpoints the one with the highest counts.

        Raises:
            CheckpointError: If it cannot be written; the checkpoints before stay as they are.
        """
        stem = _stem(position)
        tensors = save_tensors(_plain(checkpoint.tensors))
        commit = _sealed(
            {
                "format": FORMAT,
                "position": position,
                "tensors": {"size": len(tensors), "sha256": _digest(tensors)},
                "state": checkpoint.state,
            }
        )
        try:
            self._write({stem + _TENSORS: tensors, stem + _COMMIT: commit})
        except OSError as error:
            raise CheckpointError(self._cannot("save a checkpoint", error)) from error
        self._broken.discard(position)
        self._remove_superseded(position)

    def load(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, None without any; what is wrong with newer ones is a problem."""
        self.problems = []
        found = self._positions()
        for position in found:
            try:
                checkpoint = self._read(position)
            except _UNREADABLE as error:
                self._broken.add(position)
                self.problems.append(
                    f"the checkpoint {self.path / _stem(position)} cannot be used: {_reason(error)}; "
                    + self._remedy(position, found)
                )
            else:
                return checkpoint
        return None

    def clear(self) -> None:
        """Remove the checkpoints, and the folder unless something else is in it.

        Raises:
            CheckpointError: If what is there may not be removed.
        """
        self._broken.clear()
        try:
            remove_drafts(self.path)
            for name in self._names():
                if _FILE.fullmatch(name):
                    (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(self._cannot("remove the checkpoints", error)) from error
        with suppress(OSError):
            self.path.rmdir()

    def _read(self, position: int) -> Checkpoint:
        stem = self.path / _stem(position)
        commit = _unsealed(stem.with_suffix(_COMMIT).read_bytes())
        if commit["format"] != FORMAT:
            raise ValueError("another version of sfgsearch wrote it")
        data = stem.with_suffix(_TENSORS).read_bytes()
        written = commit["tensors"]
        if commit["position"] != position or len(data) != written["size"] or _digest(data) != written["sha256"]:
            raise ValueError(f"its {_TENSORS} file is damaged")
        # Copies: what safetensors returns may lie anywhere in memory, and kernels may add in another order there.
        return Checkpoint({name: tensor.clone() for name, tensor in load_tensors(data).items()}, commit["state"])

    def _remedy(self, position: int, found: list[int]) -> str:
        older = [other for other in found if other < position]
        return f"falling back to that of step {older[0]}" if older else "training starts anew"

    def _names(self) -> list[str]:
        """Return the names of the files, none if there is no folder."""
        try:
            return os.listdir(self.path)
        except FileNotFoundError:
            return []

    def _positions(self) -> list[int]:
        """Return the positions of which there is any file, the newest first."""
        try:
            matches = [_FILE.fullmatch(name) for name in self._names()]
        except OSError as error:
            self.problems.append(self._cannot("read the checkpoints", error))
            return []
        stems = {match[1] for match in matches if match}
        positions = {int(stem.removeprefix("step-")) for stem in stems}
        return sorted((position for position in positions if _stem(position) in stems), reverse=True)

    def _write(self, files: Mapping[str, bytes]) -> None:
        """Write files such that each is there whole or not at all, in order."""
        for is_last_try in (False, True):
            self.path.mkdir(parents=True, exist_ok=True)
            remove_drafts(self.path)
            try:
                with drafts_of(*(self.path / name for name in files), durable=True) as drafts:
                    for draft, data in zip(drafts, files.values(), strict=True):
                        draft.write_bytes(data)
            except FileNotFoundError:  # a late process took the drafts for what a killed one has left
                if is_last_try:
                    raise
            else:
                break

    def _remove_superseded(self, position: int) -> None:
        """Keep the two furthest good positions, and all that are further than the one that was written."""
        positions = self._positions()
        kept = [other for other in positions if other not in self._broken][:2]
        for other in positions:
            if other <= position and other not in kept:
                _remove((self.path / _stem(other)).with_suffix(suffix) for suffix in (_COMMIT, _TENSORS))

    def _cannot(self, what: str, error: OSError) -> str:
        helps = remedy(error) or "check that the folder can be written to"
        return f"{self.path}: cannot {what}: {error.strerror or error}; {helps}"


_UNREADABLE = (OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError, SafetensorError)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        suffix = Path(error.filename).suffix
        return f"its {suffix} file is missing" + (": it was not finished" if suffix == _COMMIT else "")
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) if type(error) is ValueError else f"its {_COMMIT} file is damaged"


def _stem(position: int) -> str:
    return f"step-{position:010d}"


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as safetensors takes them: contiguous, on the CPU, none sharing memory."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _seal(content: dict[str, Any]) -> str:
    return _digest(json.dumps(content, sort_keys=True).encode())


def _sealed(content: dict[str, Any]) -> bytes:
    """Return JSON with a digest over all of it; numbers are written such that they come back exactly."""
    return json.dumps({**content, "sha256": _seal(content)}).encode()


def _unsealed(data: bytes) -> dict[str, Any]:
    """Return the content of JSON with a digest.

    Raises:
        ValueError: If they do not belong together; other errors, too, if the data was never JSON of this kind.
    """
    content: dict[str, Any] = json.loads(data)
    if content.pop("sha256") != _seal(content):
        raise ValueError(f"its {_COMMIT} file is damaged")
    return content


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()
