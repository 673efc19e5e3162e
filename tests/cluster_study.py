"""A study as workers of a cluster find it: a file on a shared disk, a database server on the network."""

import time
from collections import Counter
from functools import cached_property
from pathlib import Path

import tomlkit
from faults import pause_file
from optuna.trial import TrialState
from study_fixtures import TINY, merge

from sfgsearch import Objective, create_study, load_config
from sfgsearch.search import records_of

USER, PASSWORD = "cluster", "seven swans"
CLUSTER = Path(__file__).parents[1] / "studies" / "cluster"
"""What users copy."""

_SECTIONS = {
    "study": {"imports": [str(Path(__file__).with_name("slow_digits.py"))]},
    "manual": {"methods": ["equal", "cross_stitch"], "options": None},
    "quota": {"learned": 1, "searched": 1},
    "training": {"epochs": 10},
    "sampler": {"name": "random"},
    "pruner": {"name": "none"},
    "comparison": {"seeds": 1, "learned": 1, "searched": 0, "manual": 0, "as_learned": False, "match": "none"},
    "execution": {"checkpoint_every": 0.0},
}


class ClusterStudy:
    """Four trials and a finalist, whose numbers do not depend on who trains them.

    Args:
        folder: What the machines share.
        postgres: The server, which asks the user of the cluster for a password.
    """

    def __init__(self, folder, postgres):
        postgres.require_password(USER, PASSWORD)
        self.path, self._local_url = folder / "study.toml", postgres()
        self.url = postgres.over_network(self._local_url, USER)
        """As a user writes it into a script: without the password."""
        data = {"name": "slow_digits", "pause": str(pause_file(self.path)), "pairs_per_digit": None}
        self.path.write_text(tomlkit.dumps(merge(merge(TINY, _SECTIONS), {"data": data})))

    @cached_property
    def config(self):
        return load_config(self.path).with_overrides(storage=self._local_url)

    @cached_property
    def study(self):
        return create_study(self.config, objective=Objective(self.config), join=True)

    @property
    def jobs(self):
        """What workers have taken so far, by key."""
        return records_of(self.study).jobs.all()

    def hold_up(self, seconds):
        """Let every epoch take so much longer from the next one on."""
        pause_file(self.path).write_text(str(seconds))

    def go_on(self):
        pause_file(self.path).unlink()

    def wait_for_workers(self, number):
        """Wait until so many workers have finished an epoch of a trial that they are still at."""
        wait_for(lambda: sum(job.owner is not None and job.epoch > 0 for job in self.jobs.values()) == number)

    def checkpoints_of(self, key):
        return list((self.config.folder / "checkpoints" / key.replace("/", "-")).glob("*.safetensors"))

    def check_end(self):
        """Check that every trial and finalist is there once, complete, and nothing else."""
        assert {trial.state for trial in self.study.trials} == {TrialState.COMPLETE}
        assert Counter(trial.params["kind"] for trial in self.study.trials) == Counter(self.config.budget)
        assert Counter(record.role for record in records_of(self.study).all()) == {"trial": 4, "finalist": 1}
        assert not (self.config.folder / "checkpoints").exists()


def wait_for(condition, seconds=120):
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
