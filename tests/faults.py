"""A study under fire: workers and database servers killed at random, and what must hold at the end.

Then another one, with a baseline that kills its workers: it is given up, named, and complete after another chance.

In large: ``python -m tests.faults --kills 100``.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

import tomlkit
from epoch_hook import EpochHook

from sfgsearch import Objective, create_study, load_config
from sfgsearch.comparison import read_comparison
from sfgsearch.search import load_study, records_of, study_storage
from sfgsearch.search._attributes import strategy_of_trial
from sfgsearch.storage import EmbeddedPostgres
from sfgsearch.workers import LocalWorkers, Worker, WorkerListener, WorkerOrder

JOURNAL = "journal.jsonl"
EPOCHS = 6
LEARNED, SEARCHED, MANUAL = 16, 18, 6
METHODS = ["hard_sharing", "equal", "cross_stitch", "task_routing", "maximum_roaming", "learning_to_branch"]


def write_study(folder, trials, epochs=EPOCHS, grace=4.0):
    """Write a study whose suggestions depend on the seed and the trial's number only, so that it has a twin."""
    manual = min(MANUAL, trials // 3)
    learned, refined = (trials - manual) // 2, trials // 6
    study = {
        "data": {"name": "digit_pairs", "pairs_per_digit": 1},
        "backbone": {"name": "vgg_small", "plan": [4, "pool", 6]},
        "training": {
            "epochs": epochs,
            "batch_size": 540,
            "lr": 0.01,
            "device": "cpu",
            "threads": 1,
            "calibration_batches": 1,
            "monte_carlo_samples": 2,
        },
        "quota": {"learned": learned, "searched": trials - manual - learned - refined, "refined": refined},
        "manual": {"methods": METHODS[:manual]},
        "learned": {"lr": {"low": 0.01, "high": 0.1, "log": True}, "kl_weight": [0.1, 1.0]},
        "sampler": {"name": "random"},
        "pruner": {"name": "none"},
        "comparison": {"seeds": 2, "manual": 1, "as_learned": False, "match": "none"},
        "execution": {"checkpoint_every": 0.0, "grace": grace, "retries": 20},
    }
    path = Path(folder) / "faults.toml"
    path.write_text(tomlkit.dumps(study))
    return path


class SlowObjective(Objective):
    """Writes every epoch into a journal that all workers share, and takes its time."""

    def __init__(self, config):
        super().__init__(config, [EpochHook(self._end_epoch)])
        config.folder.mkdir(parents=True, exist_ok=True)

    def _end_epoch(self, number, _name, report):
        line = json.dumps({"trial": number, "epoch": report.epoch, "pid": os.getpid()}) + "\n"
        with (self.config.folder / JOURNAL).open("a") as journal:
            journal.write(line)
        pause = pause_file(self.config.path)
        time.sleep(float(pause.read_text()) if pause.exists() else 0.0)


def pause_file(path):
    """Return the file that says how many seconds an epoch takes longer; workers do not get our environment."""
    return path.with_suffix(".pause")


def be_slow_worker(path, url):
    config = load_config(path).with_overrides(storage=url)
    objective = SlowObjective(config)
    try:
        sys.exit(Worker(create_study(config, objective=objective, join=True), objective).run())
    except KeyboardInterrupt:
        sys.exit(130)


def optimize_one_trial(path, url):
    config = load_config(path).with_overrides(storage=url)
    create_study(config).optimize(SlowObjective(config), n_trials=1)


def start_slow_worker(path, url, work=be_slow_worker):
    """Start a worker that takes its time after every epoch, in a process forked from one that has imported torch."""
    process = multiprocessing.get_context("forkserver").Process(target=work, args=(path, url))
    process.start()
    return process


def read_journal(config):
    """Return the epochs that all workers have finished so far."""
    journal = config.folder / JOURNAL
    return [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []


def quiet(_name):
    return WorkerListener()


class Fire:
    """Kills a random worker every so often, and restarts the database now and then.

    Args:
        workers: Whose processes to kill.
        journal: The file that says that training has begun.
        kills: How many in all.
        every: Seconds between kills.
        restart: Restarts the database.
        seed: Of the choice.
        restarts: How often, spread evenly: once after half of the kills.
    """

    def __init__(self, workers, journal, kills, every, restart, seed, restarts=1):
        self._journal = journal
        self._workers, self._wanted, self._every, self._restart = workers, kills, every, restart
        self._restarts = restarts
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._burn)
        self.killed, self.restarts = 0, 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _burn(self):
        while not self._journal.exists() and not self._over.wait(0.1):
            pass  # a kill before there is anything to kill proves little
        while self.killed < self._wanted and not self._over.wait(self._every):
            alive = self._workers.processes
            if alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._random.choice(alive), signal.SIGKILL)
                    self.killed += 1
            if self.restarts < self._restarts and self.killed * (self._restarts + 1) >= self._wanted * (
                self.restarts + 1
            ):
                self.restarts += 1
                self._restart()


class DyingObjective(Objective):
    """Kills its process at the beginning of every training, as long as a file says so."""

    def train(self, trial, session=None, lease=None):
        if dying_file(self.config.path).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train(trial, session, lease)


def dying_file(path):
    """Return the file that lets workers die."""
    return path.with_suffix(".dying")


def given_up(path, url, workers):
    """Launch a study with a baseline that kills its workers, then again without that; return what was said of it."""
    from faulty_study import (
        TRIALS_DIE,  # beside this file, which a command has to be told first
        sections,
    )

    switch = path.with_suffix(".switch")
    path.write_text(tomlkit.dumps({**tomlkit.parse(path.read_text()), **sections(switch)}))
    switch.write_text(TRIALS_DIE)
    first = launch(path, url, workers)
    config = load_config(path).with_overrides(storage=url)
    missing = read_comparison(load_study(config), config).shortfall.missing
    switch.unlink()
    again = launch(path, url, workers, "--retry-failed")
    return {
        "status": first.returncode,
        "named": "faulty (manual)" in first.stdout and "its worker died" in first.stdout,
        "missing": [one.to_dict() for one in missing],
        "status after another chance": again.returncode,
        "rows after another chance": len(read_comparison(load_study(config), config).rows),
    }


def launch(path, url, workers, *options):
    """Launch a study in a process of its own."""
    command = [sys.executable, "-m", "sfgsearch", "launch", str(path), "--workers", str(workers), *options]
    environment = {**os.environ, "SFGSEARCH_STORAGE": url}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)


def under_fire(path, url, *, workers, kills, every, restart, seed=0):
    """Run a study to its end with workers that are killed, and return what happened."""
    config = load_config(path).with_overrides(storage=url)
    study = create_study(config, objective=Objective(config))
    orders = [WorkerOrder(path, url, f"worker-{number}") for number in range(workers)]
    notes = []
    crew = LocalWorkers(study, orders, quiet, notes.append, SlowObjective)
    started = time.monotonic()
    with Fire(crew, config.folder / JOURNAL, kills, every, restart, seed) as fire:
        status = crew.run()
    return {
        "status": status,
        "seconds": round(time.monotonic() - started, 1),
        "kills": fire.killed,
        "restarts": fire.restarts,
        "deaths noticed": sum("died" in note for note in notes),
    }


class Launch:
    """``sfgsearch launch``, or another command, as a process; killed at the end of a block if it has not ended.

    Args:
        path: The study file.
        workers: How many; none for other commands.
        command: The command.
    """

    def __init__(self, path, workers=None, command="launch"):
        self.log = path.with_suffix(".log")
        options = [] if workers is None else ["--workers", str(workers)]
        command = [sys.executable, "-m", "sfgsearch", command, str(path), *options]
        environment = {key: value for key, value in os.environ.items() if key != "SFGSEARCH_STORAGE"}
        with self.log.open("w") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    @property
    def fork_server(self):
        """The process that workers are forked from, None if there is none."""
        return next((child for child in _children(self._process.pid) if "forkserver" in _command(child)), None)

    @property
    def processes(self):
        """The process ids of the workers that live."""
        return [child for child in _children(self.fork_server) if _leads_group(child)]

    def wait(self, seconds):
        """Return the exit status when it has ended."""
        return self._process.wait(seconds)


def _leads_group(pid):
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


def _children(pid):
    """Return the children of a process that work."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(child) for child in children.read_text().split()] if children.exists() else []
    return [child for child in found if _command(child)]


def _command(pid):
    """Return the command of a process; nothing of one that only waits to be asked how it ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def write_launch_study(folder, trials, epochs=EPOCHS):
    """Write a study without a database, whose pauses a command finds in its data."""
    path = write_study(folder, trials, epochs)
    study = tomlkit.parse(path.read_text()).unwrap()
    study["study"] = {"imports": [str(Path(__file__).with_name("slow_digits.py"))]}
    study["data"] = {"name": "slow_digits", "pause": str(pause_file(path))}
    path.write_text(tomlkit.dumps(study))
    return path


def kill_server(config):
    """Kill the embedded PostgreSQL of a study, when it works."""
    deadline = time.monotonic() + 60
    while not EmbeddedPostgres(config.folder).running():
        assert time.monotonic() < deadline, "it does not come back"
        time.sleep(0.05)
    os.kill(int((config.folder / "postgres" / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)


def under_launch(path, *, workers, kills, every, server_kills, seed=0, seconds=900):
    """Let ``sfgsearch launch`` train a study while workers and its embedded PostgreSQL are killed."""
    config, started = load_config(path), time.monotonic()
    restart, journal = partial(kill_server, config), config.folder / "checkpoints"
    with (
        Launch(path, workers) as launched,
        Fire(launched, journal, kills, every, restart, seed, server_kills) as fire,
    ):
        status = launched.wait(seconds)
    said = launched.log.read_text()
    return {
        "status": status,
        "seconds": round(time.monotonic() - started, 1),
        "kills": fire.killed,
        "server kills": fire.restarts,
        "server started again": said.count("it has been started again"),
        "deaths noticed": said.count("another one takes its place"),
    }


def found_by_launch(path, place):
    """Return what a study that was launched came to: its findings, and how many trials equal their twins."""
    with study_storage(load_config(path)) as url:
        config = load_config(path).with_overrides(storage=url)
        study = create_study(config)
        found, came_to = findings(study, config), outcomes(study)
    peaceful, _ = twin(path, place)
    return found, sum(came_to[number] == outcome for number, outcome in outcomes(peaceful).items())


def twin(path, folder):
    """Run the same study with one worker and in peace, and return it."""
    config = load_config(path).with_overrides(storage=f"sqlite:///{folder}/twin.db")
    config = config.model_copy(update={"study": config.study.model_copy(update={"folder": str(folder / "twin")})})
    objective = Objective(config)
    study = create_study(config, objective=objective)
    Worker(study, objective).run()
    return study, config


def findings(study, config):
    """Return what the end of a study must show, and counts worth reporting."""
    trials = study.get_trials(deepcopy=False)
    finished = Counter(strategy_of_trial(trial) for trial in trials if trial.state.is_finished())
    records = records_of(study)
    recorded = Counter(record.trial for record in records.all("trial"))
    artifacts = {
        trial.number: Counter(
            json.loads(value)["filename"] for key, value in trial.system_attrs.items() if key.startswith("artifacts:")
        )
        for trial in trials
    }
    journal = read_journal(config)
    legs = _legs(journal)
    resumed = [leg for trial in legs.values() for leg in trial[1:]]
    handed = sum(job.claims - 1 for job in records.jobs.all().values())
    finalists = [(record.role, record.trial, record.seed) for record in records.all() if record.role != "trial"]
    return {
        "states": dict(Counter(trial.state.name for trial in trials)),
        "finished by kind": dict(finished),
        "quota": dict(config.budget),
        "recorded once": all(recorded[trial.number] == 1 for trial in trials),
        "artifacts once": all(set(files.values()) == {1} for files in artifacts.values()),
        "finalists": len(finalists),
        "finalists once": len(finalists) == len(set(finalists)),
        "epochs trained": len(journal),
        "epochs needed": len(trials) * config.training.epochs,
        "taken over": handed,
        "resumed in training": len(resumed),
        "resumed from the start": sum(leg["first"] == 0 and leg["before"] > 0 for leg in resumed),
        "resumed elsewhere than where it was": sum(leg["first"] - leg["before"] not in (0, 1) for leg in resumed),
        "trained by two at once": sum(_returns(trial) for trial in legs.values()),
        "checkpoints left": len(list((config.folder / "checkpoints").glob("*/*"))),
    }


def _legs(journal):
    """Return what each worker did of each trial in turn: its first and last epoch, and the epoch before."""
    legs = defaultdict(list)
    for entry in journal:
        trial = legs[entry["trial"]]
        if trial and trial[-1]["pid"] == entry["pid"]:
            trial[-1]["last"] = entry["epoch"]
            continue
        before = trial[-1]["last"] if trial else -1
        trial.append({"pid": entry["pid"], "first": entry["epoch"], "last": entry["epoch"], "before": before})
    return legs


def _returns(legs):
    return len(legs) != len({leg["pid"] for leg in legs})


def outcomes(study):
    """Return what every trial came to, bit for bit: parameters, value, metrics and allocation."""
    kept = ("name", "relative_error", "parameters", "macs", "seed")
    return {
        trial.number: (
            trial.params,
            trial.values,
            trial.intermediate_values,
            {key: value for key, value in trial.user_attrs.items() if key in kept or key.startswith("validation/")},
            trial.system_attrs["sfgsearch:allocation"],
        )
        for trial in study.get_trials(deepcopy=False)
    }


def check(found):
    """Return the sentences of what does not hold."""
    wrong = []
    if set(found["states"]) != {"COMPLETE"}:
        wrong.append(f"trials are not all complete: {found['states']}")
    if found["finished by kind"] != {strategy: quota for strategy, quota in found["quota"].items() if quota}:
        wrong.append(f"finished {found['finished by kind']}, quota {found['quota']}")
    wrong += [name for name in ("recorded once", "artifacts once", "finalists once") if not found[name]]
    for name in (
        "resumed from the start",
        "resumed elsewhere than where it was",
        "trained by two at once",
        "checkpoints left",
    ):
        if found[name]:
            wrong.append(f"{name}: {found[name]}")
    return wrong


def server_killed(place, arguments):
    """Return what a launched study came to whose PostgreSQL was killed, and the sentences of what does not hold."""
    path, kills = write_launch_study(place, arguments.trials, arguments.epochs), 3 * arguments.server_kills
    pause_file(path).write_text(str(_pause(arguments, kills)))
    happened = under_launch(
        path,
        workers=arguments.workers,
        kills=kills,
        every=arguments.every,
        server_kills=arguments.server_kills,
        seed=arguments.seed,
        seconds=3600,
    )
    pause_file(path).unlink()
    found, same = found_by_launch(path, place)
    wrong = check(found)
    if happened["status"] or happened["server started again"] != arguments.server_kills or same != arguments.trials:
        wrong.append(f"status {happened['status']}, {same} of {arguments.trials} trials equal their twins")
    kept = ("states", "finished by kind", "quota", "recorded once", "artifacts once", "finalists once", "taken over")
    told = {**happened, **{key: found[key] for key in kept}, "equal to the undisturbed twin": same}
    return told, [f"under launch: {line}" for line in wrong]  # the rest of the findings is from a journal


def _pause(arguments, kills):
    """Return the seconds that an epoch must take longer for the last kill to find a study to kill."""
    return 1.2 * kills * arguments.every * arguments.workers / (arguments.trials * arguments.epochs)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between kills")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=20, help="of a trial; a worker must live for one to get on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--server-kills", type=int, default=10, help="of the PostgreSQL of a launched study, with three of workers each"
    )
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    from postgres_fixtures import LocalPostgres

    with tempfile.TemporaryDirectory(prefix="sfgfaults-", dir="/tmp") as place:
        postgres = LocalPostgres(Path(place) / "postgres")
        try:
            url = postgres()
            path = write_study(place, arguments.trials, arguments.epochs)
            pause_file(path).write_text(str(_pause(arguments, arguments.kills)))
            happened = under_fire(
                path,
                url,
                workers=arguments.workers,
                kills=arguments.kills,
                every=arguments.every,
                restart=postgres.restart,
                seed=arguments.seed,
            )
            config = load_config(path).with_overrides(storage=url)
            study = create_study(config)
            found = findings(study, config)
            peaceful, _ = twin(path, Path(place))
            wrong = check(found)
            (Path(place) / "given_up").mkdir()
            lost = given_up(write_study(Path(place) / "given_up", 3, epochs=1), postgres(), arguments.workers)
            if (lost["status"], lost["status after another chance"]) != (1, 0) or not lost["named"]:
                wrong.append(f"a baseline that kills its workers: {lost}")
            (Path(place) / "launched").mkdir()
            launched, wrong_there = server_killed(Path(place) / "launched", arguments)
            wrong += wrong_there
            same = sum(outcomes(study)[number] == outcome for number, outcome in outcomes(peaceful).items())
            if same != arguments.trials:
                wrong.append(f"only {same} of {arguments.trials} trials equal their undisturbed twins")
            told = {**happened, **found, "given up": lost, "equal to the undisturbed twin": same}
            print(json.dumps({**told, "server killed under launch": launched, "wrong": wrong}, indent=2))
        finally:
            postgres.stop()
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
