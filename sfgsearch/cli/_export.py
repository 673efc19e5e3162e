"""``sfgsearch export``: a recorded network as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import click
import optuna

from sfgsearch.cli._options import Whole, existing_study, read_study, storage_option, study_file
from sfgsearch.cli._show import find_trial
from sfgsearch.errors import StudyError
from sfgsearch.export import Exported, export_network
from sfgsearch.export._export import check_output
from sfgsearch.records import ArchitectureRecord
from sfgsearch.search import records_of
from sfgsearch.search._artifacts import artifact_folder, stored_weights

_WHAT = {
    "finalist": "retrained as a finalist",
    "matched": "retrained at another width to match multiply-adds",
    "relearned": "learned again",
}


@click.command()
@study_file
@click.option("--trial", "number", type=Whole(0), metavar="N", required=True, help="The trial's number.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="The file to write: .pt2 (torch.export), .onnx, or .safetensors with .json beside it.",
)
@click.option("--seed", type=Whole(0), metavar="S", help="Export the finalist that retrained trial N with this seed.")
@click.option(
    "--matched",
    "role",
    flag_value="matched",
    help="Export the finalist at the multiply-adds of hard sharing; the best one on validation data without --seed.",
)
@click.option(
    "--relearned",
    "role",
    flag_value="relearned",
    help="Export the training that learned trial N's allocation again; the best one on validation data without --seed.",
)
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
@storage_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object that says what was written.")
def export(
    study_file: Path,
    number: int,
    output: Path,
    seed: int | None,
    role: Literal["matched", "relearned"] | None,
    force: bool,
    storage: str | None,
    as_json: bool,
) -> None:
    """Write a recorded network with its trained weights into a file.

    The default is what trial N itself trained. With --seed it is a finalist: the same architecture retrained from
    scratch, as the comparison measured it on test data. Prefer one for use: trials are selected among many. With
    --matched it is the finalist at the width at which verdicts compare.

    .pt2 and .onnx files run without sfgsearch. What is written is read back and compared first.
    """
    check_output(output, force=force)
    config = read_study(study_file, storage=storage)
    with existing_study(config) as study:
        record = _find_record(study, number, seed, role)
    with stored_weights(record, artifact_folder(config)) as weights:
        exported = export_network(record, weights, output, force=force)
    if as_json:
        click.echo(json.dumps(_describe(record, exported), allow_nan=False))
        return
    click.echo(f"wrote {' and '.join(map(str, exported.files))}: {record.name}, {record.role}, seed {record.seed}")
    click.echo(f"largest difference from the network on random images: {exported.largest_difference:.2g}")


def _find_record(
    study: optuna.Study, number: int, seed: int | None, role: Literal["matched", "relearned"] | None
) -> ArchitectureRecord:
    _, record = find_trial(study, number)
    records = records_of(study)
    if records is None or (role is None and seed is None):
        return record
    wanted = role or "finalist"
    return _choose(records.all(wanted, number), number, _WHAT[wanted], seed)


def _choose(found: Sequence[ArchitectureRecord], number: int, what: str, seed: int | None) -> ArchitectureRecord:
    """Return the training of a seed, or the best one on validation data.

    Raises:
        StudyError: If there is none.
    """
    if not found:
        raise StudyError(
            f"--trial {number}: it was not {what}; only trials of the comparison are (see sfgsearch compare). "
            "Leave --seed, --matched and --relearned out to export the trial itself"
        )
    fitting = [record for record in found if seed in (None, record.seed)]
    if not fitting:
        seeds = ", ".join(str(record.seed) for record in found)
        raise StudyError(f"--seed {seed}: trial {number} was {what} with other seeds: {seeds}")
    return min(fitting, key=lambda record: record.scores["validation"])


def _describe(record: ArchitectureRecord, exported: Exported) -> dict[str, Any]:
    return {
        "trial": record.trial,
        "role": record.role,
        "seed": record.seed,
        "kind": record.kind,
        "name": record.name,
        "format": exported.files[0].suffix.removeprefix("."),
        "files": [str(file) for file in exported.files],
        "largest_difference": exported.largest_difference,
        "image_shape": list(record.image_shape),
        "free_space": exported.free_space,
        "tasks": record.tasks,
    }
