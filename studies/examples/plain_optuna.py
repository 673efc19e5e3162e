"""A study of one's own: an objective of sfgsearch under a sampler, a pruner and a callback that one chooses."""

from pathlib import Path

import optuna

import sfgsearch

STUDY = Path(__file__).parents[1] / "quickstart.toml"


def report(_: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Print every trial."""
    print(f"trial {trial.number}: {trial.params['kind']}, {trial.state.name.lower()}, value {trial.value}")


def main(file: Path = STUDY, trials: int = 6) -> optuna.Study:
    """Let the sampler choose the kind of every trial and all that the file leaves to Optuna."""
    objective = sfgsearch.Objective(sfgsearch.load_config(file))
    sampler = optuna.samplers.TPESampler(multivariate=True, group=True, seed=1)
    study = optuna.create_study(sampler=sampler, pruner=optuna.pruners.HyperbandPruner())
    study.optimize(objective, n_trials=trials, callbacks=[report])
    return study


if __name__ == "__main__":
    best = main().best_trial
    print(best.value, best.params)
