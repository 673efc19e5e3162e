"""Coverage: ``python -m tests.models resnet hrnet --json``."""

import argparse
import fnmatch
import json
import sys
import traceback
import warnings
from collections.abc import Sequence

import torch

from ._catalogue import MODELS, Model
from ._examination import Examination, examine

_COLUMNS = "model", "", "channels", "filters", "spaces", "thirds", "shared", "compact", "streams", "apart", "s", "step"


def main() -> int:
    """Examine the models that are asked for, print a row each, and return whether any does not work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names, or patterns; all if none")
    parser.add_argument("--json", action="store_true", help="print one object per line")
    parser.add_argument("--steps", type=int, default=3, help="training steps that are timed (default 3); 0 for none")
    parser.add_argument("--list", action="store_true", help="print the names only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    chosen = [model for model in MODELS if _is_chosen(model, options.names)]
    if options.list:
        print("\n".join(model.key for model in chosen))
        return 0
    if not options.json:
        print(_row(_COLUMNS))
    works = 0
    for model in chosen:
        found = _examine(model, options.steps)
        works += found.works
        print(json.dumps(found.to_json()) if options.json else _describe(found), flush=True)
    print(f"{works} of {len(chosen)} work", file=sys.stderr)
    return int(works < len(chosen))


def _is_chosen(model: Model, names: Sequence[str]) -> bool:
    return not names or any(fnmatch.fnmatch(model.key, f"*{name}*") for name in names)


def _examine(model: Model, steps: int) -> Examination:
    """Examine a model; what its own code raises is an error like others."""
    try:
        return examine(model, steps=steps)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
        return Examination(model.key, " ".join(reason.split()))


def _describe(found: Examination) -> str:
    if found.error:
        return f"{found.model:<44} not allocated: {found.error}"
    differences = [f"{found.differences.get(name, float('nan')):.0e}" for name in _COLUMNS[6:10]]
    cells = [
        *(found.model, "ok" if found.works else "BAD", str(found.channels), str(found.filters), str(found.spaces)),
        *(f"{found.thirds:.2f}", *differences, f"{found.analysis_seconds:.1f}", f"{found.step_ratio:.2f}"),
    ]
    return "\n".join([_row(cells), *(f"    {note}" for note in found.ties)])


def _row(cells: Sequence[str]) -> str:
    return f"{cells[0]:<44} {cells[1]:<4}" + "".join(f"{cell:>9}" for cell in cells[2:])


if __name__ == "__main__":
    sys.exit(main())
