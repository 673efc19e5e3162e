"""Writing a recorded network into a file: whole and verified, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from sfgsearch._files import drafts_of
from sfgsearch.errors import ExportError, SFGSearchError
from sfgsearch.export._description import describe_network
from sfgsearch.export._formats import Format, OnnxFormat, Pt2Format, WeightsFormat
from sfgsearch.export._program import verify
from sfgsearch.export._rebuild import load_network
from sfgsearch.records import ArchitectureRecord

FORMATS: dict[str, Format] = {".pt2": Pt2Format(), ".onnx": OnnxFormat(), ".safetensors": WeightsFormat()}
"""The formats by the suffix of the output."""


@dataclass(frozen=True)
class Exported:
    """The files that were written.

    Args:
        files: The files, the asked-for one first.
        largest_difference: The largest absolute difference, on random images, between outputs of the network and of
            what was read back from the files.
        free_space: Whether what was written takes images of other sizes than in training; None if it was not tried.
    """

    files: tuple[Path, ...]
    largest_difference: float
    free_space: bool | None


def check_output(output: Path, *, force: bool = False) -> Format:
    """Return the format of an output, once nothing stands in its way.

    Raises:
        ExportError: If the suffix is unknown, a library or the folder is missing, or a file exists.
    """
    if output.suffix not in FORMATS:
        raise ExportError(f"{output}: the suffix must be one of {', '.join(FORMATS)}, got {output.suffix!r}")
    if not output.parent.is_dir():
        raise ExportError(f"{output}: there is no folder {output.parent}; create it first")
    chosen = FORMATS[output.suffix]
    for file in chosen.files(output):
        if file.is_dir():
            raise ExportError(f"{file} is a folder; choose another name")
        if file.exists() and not force:
            raise ExportError(f"{file} exists; choose another name or overwrite it with --force")
    chosen.require()
    return chosen


def export_network(
    record: ArchitectureRecord, weights_file: str | Path, output: str | Path, *, force: bool = False
) -> Exported:
    """Write the network of a recorded training, in the format that the output's suffix names.

    ``.pt2`` and ``.onnx`` files run without sfgsearch, for any batch size; :func:`~sfgsearch.load_exported` reads
    ``.safetensors``. What was written is read back and compared before it takes its place.

    Args:
        record: The recorded training.
        weights_file: Its weights, as safetensors.
        output: The file to write; for ``.safetensors`` also its stem with ``.json``.
        force: Whether files that exist are overwritten.

    Raises:
        ExportError: If it cannot be written or does not predict what the network predicts; no file is left then.
    """
    output = Path(output)
    chosen = check_output(output, force=force)
    network = load_network(record, weights_file)
    description = describe_network(record)
    targets = chosen.files(output)
    try:
        with drafts_of(*targets) as (draft, *_):
            free_space = chosen.write(network, description, draft)
            difference = _verify(chosen, draft, network, record.image_shape)
    except OSError as error:
        raise ExportError(f"{output}: cannot be written: {error.strerror or error}") from error
    return Exported(targets, difference, free_space)


def _verify(chosen: Format, draft: Path, network: nn.Module, image_shape: tuple[int, ...]) -> float:
    """Read a file back and return its largest difference from the network."""
    try:
        return verify(chosen.read(draft), network, image_shape)
    except SFGSearchError:
        raise
    except Exception as error:  # whatever the engine of the format raises
        raise ExportError(f"{draft.name} cannot be read back: {type(error).__name__}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")
