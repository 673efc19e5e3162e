"""In large: ``python -m tests.fuzz --cases 300``."""

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch

from . import _data_sets, _studies
from ._runner import Case, run_all


def make_cases(seed: int, numbers, root: Path, kinds: str):
    """Yield the cases of some numbers, which are the same whenever they are made; every second one is a data set."""
    for number in numbers:
        key = f"{seed}/{number}"
        draw = random.Random(key)
        makers = {"studies": _studies, "data": _data_sets}
        maker = makers[kinds] if kinds in makers else (_studies, _data_sets)[number % 2]
        folder = root / str(number)
        folder.mkdir()
        what, study, options = maker.make(draw, folder)
        yield Case(key, what, study, options)


def main() -> int:
    """Run the cases, print how they ended, and return whether any ended as it should not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=300, help="how many (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="what they come from (default 0)")
    parser.add_argument("--only", type=int, action="append", help="a number of a case, to repeat it; its folder stays")
    parser.add_argument("--kind", choices=("both", "studies", "data"), default="both")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (default 2)")
    parser.add_argument("--all", action="store_true", help="print how every case ended")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds after which a case hangs (default 120)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    _import_everything()
    root = Path(tempfile.mkdtemp(prefix="sfgsearch-fuzz-"))
    numbers = options.only if options.only is not None else range(options.cases)
    cases = make_cases(options.seed, numbers, root, options.kind)
    statuses, offenders = Counter(), 0
    for outcome in run_all(cases, jobs=options.jobs, timeout=options.timeout, keep=options.only is not None):
        statuses[outcome.status] += 1
        offenders += bool(outcome.problems)
        if outcome.problems or options.only is not None or options.all:
            print(f"{outcome.case.key} {outcome.case.what!a}: {', '.join(outcome.problems) or outcome.status}")
            print("".join(f"    {line!a}\n" for line in outcome.error.splitlines()[-30:]), flush=True)
            again = f"--seed {options.seed} --kind {options.kind} --only {outcome.case.key.split('/')[1]}"
            print(f"    {outcome.seconds:.1f} s in {outcome.case.study.parent}; again: {again}")
    if options.only is None:
        shutil.rmtree(root)
    print(", ".join(f"{count} ended with {status}" for status, count in sorted(statuses.items())))
    print(f"{offenders} of {statuses.total()} ended as they should not")
    return int(offenders > 0)


def _import_everything() -> None:
    """Import what commands import late, once for all children."""
    import nibabel  # noqa: F401
    import PIL.Image

    import sfgsearch.cli
    import sfgsearch.reporting
    import sfgsearch.search  # noqa: F401

    PIL.Image.init()


if __name__ == "__main__":
    sys.exit(main())
