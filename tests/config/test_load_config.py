"""Study files: what they may say, and the one line that a bad one gets."""

from pathlib import Path

import pytest

from sfgsearch import load_config
from sfgsearch.config import Choices, Fixed, Range
from sfgsearch.config._models import split_trials
from sfgsearch.errors import ConfigError

MINIMAL = '[data]\nname = "digit_pairs"\n[backbone]\nname = "vgg_small"\n'


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "study.toml"
        path.write_text(text)
        return path

    return write


def test_a_minimal_file_has_defaults_beside_it(write, tmp_path):
    config = load_config(write(MINIMAL))
    assert config.name == "study"
    assert config.folder == tmp_path / "study"
    assert config.storage == f"sqlite:///{tmp_path / 'study' / 'study.db'}"
    assert config.budget == {"learned": 10, "searched": 10, "refined": 0, "manual": 4}


def test_settings_are_values_choices_or_ranges(write):
    text = MINIMAL + "[learned]\nlr = 0.1\nkl_weight = {low = 0.1, high = 10, log = true}\nhard = [true, false]\n"
    learned = load_config(write(text)).learned
    assert learned.lr == Fixed(0.1)
    assert learned.kl_weight == Range(0.1, 10.0, log=True)
    assert learned.hard == Choices((True, False))


@pytest.mark.parametrize("study", sorted(Path(__file__).parents[2].glob("studies/*.toml")), ids=lambda path: path.name)
def test_shipped_studies_load(study):
    assert load_config(study).budget["learned"] >= 3


@pytest.mark.parametrize(
    ("addition", "key", "remedy"),
    [
        ("[training]\nepoch = 3", "training.epoch", "did you mean 'epochs'"),
        ("[trainings]\nepochs = 3", "trainings", "did you mean 'training'"),
        ("[training]\nepochs = 'three'", "training.epochs", "integer"),
        ("[training]\nepochs = 0", "training.epochs", "greater than or equal to 1"),
        ("[training]\nepochs = 2.5", "training.epochs", "integer"),
        ("[training]\ndevice = 'gpu'", "training.device", "cuda"),
        (
            "[learned]\nlr = 'fast'",
            "learned.lr",
            "from 1e-12 to 100, a list of choices, or a range {low, high, log}",
        ),
        ("[learned]\nlr = -1.0", "learned.lr", "a number from 1e-12 to 100"),
        ("[learned]\nlr = [0.1, -1.0]", "learned.lr", "a number from 1e-12 to 100"),
        ("[learned]\nlr = {low = 1.0, high = 0.1}", "learned.lr", "low must be below high"),
        ("[learned]\nlr = {low = 0.1}", "learned.lr", "keys low, high"),
        ("[learned]\nkl_weight = {low = 0.0, high = 1.0, log = true}", "learned.kl_weight", "needs low > 0"),
        ("[learned]\nhard = 'yes'", "learned.hard", "true or false"),
        ("[learned]\nexecution = 'sparse'", "learned.execution", "one of 'dense', 'streams'"),
        ("[learned]\nsettle = 1.0", "learned.settle", "a number from 0 to 0.95"),
        ("[training]\nnesterov = true", "training", 'nesterov is a kind of momentum; set optimiser = "sgd"'),
        ("[training]\noptimiser = 'sgd'\nnesterov = true\nmomentum = 0.0", "training", "nesterov is a kind of"),
        ("[training]\nlr_schedule = 'one_cycle'\nwarmup = 1.0", "training", "leave warmup out"),
        ("[training]\nepochs = 3\nwarmup = 3.0", "training", "warmup must be shorter than the training"),
        ("[training]\noptimiser = 'lion'", "training.optimiser", "'adam', 'adamw' or 'sgd'"),
        ("[learned.temperature]\nschedule = 'stepwise'", "learned.temperature.schedule", "'cosine'"),
        ("[learned.prior]\nfirst = 1.5", "learned.prior.first", "from 1e-06 to 0.999999"),
        ("[manual]\nmethods = ['soft_sharing']", "manual.methods", "hard_sharing"),
        ("[manual.allocations.mine]\nconv1 = 'all'", "manual.allocations.mine.conv1", "list"),
        ("[manual.allocations.equal]\n'*' = [1, 1, 1]", "manual.allocations", "another name"),
        ("[study]\nobjective = 'sum'", "study.objective", "'per_task'"),
        ("[tasks.first]\nwieght = 2.0", "tasks.first.wieght", "did you mean 'weight'"),
        ("[training]\nlr = inf", "training.lr", "finite"),
        ("[study]\nseed = 4294967296", "study.seed", "less than"),
        ("[quota]\nlearned = 1180591620717411303424", "quota.learned", "beyond 64 bits"),
        ("[tasks.first]\nweight = 0.0", "tasks.first.weight", "greater than or equal to 0.000001"),
        ("[comparison]\nmanual = 'some'", "comparison.manual", "'all'"),
    ],
)
def test_bad_values_name_file_key_and_remedy(write, addition, key, remedy):
    path = write(MINIMAL + addition)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    message = str(error.value)
    assert message.startswith(f"{path}: {key}: ")
    assert remedy in message
    assert "\n" not in message


def test_a_storage_of_the_wrong_type_is_not_echoed(write):
    with pytest.raises(ConfigError) as error:
        load_config(write(MINIMAL + '[study]\nstorage = ["postgresql://u:hunter2@host/db"]\n'))
    assert "study.storage" in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_missing_section_is_named(write):
    with pytest.raises(ConfigError, match="backbone: is required"):
        load_config(write('[data]\nname = "digit_pairs"\n'))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot read the study file"):
        load_config(tmp_path / "absent.toml")


def test_broken_toml_names_the_place(write):
    with pytest.raises(ConfigError, match=r"not valid TOML.*line 1"):
        load_config(write("[data\n"))


def test_overrides_change_seed_storage_and_budget_only(write):
    config = load_config(write(MINIMAL))
    changed = config.with_overrides(trials=6, seed=3, storage="sqlite:///other.db")
    assert (changed.study.seed, changed.storage) == (3, "sqlite:///other.db")
    assert sum(changed.budget.values()) == 6
    assert changed.quota == config.quota
    assert config.budget["learned"] == 10
    with pytest.raises(ValueError, match=r"--trials: .* greater than or equal to 1"):
        config.with_overrides(trials=0)


@pytest.mark.parametrize(
    ("trials", "quotas", "expected"),
    [
        (1, (4, 4, 0, 4), (1, 0, 0, 0)),
        (3, (4, 4, 0, 4), (1, 1, 0, 1)),
        (12, (4, 4, 0, 4), (4, 4, 0, 4)),
        (100, (4, 4, 0, 4), (48, 48, 0, 4)),
        (5, (8, 0, 0, 4), (3, 0, 0, 2)),
        (4, (0, 0, 0, 2), (0, 0, 0, 2)),
        (3, (0, 0, 0, 0), (0, 0, 0, 0)),
        (3, (4, 4, 4, 4), (1, 1, 0, 1)),
        (4, (4, 4, 4, 4), (1, 1, 1, 1)),
        (16, (4, 4, 4, 4), (4, 4, 4, 4)),
        (49, (4, 4, 4, 4), (15, 15, 15, 4)),
    ],
)
def test_a_total_is_split_over_the_strategies(trials, quotas, expected):
    names = ("learned", "searched", "refined", "manual")
    assert split_trials(trials, dict(zip(names, quotas, strict=True))) == dict(zip(names, expected, strict=True))


def test_refined_trials_need_learned_ones(write):
    with pytest.raises(ConfigError, match=r"quota\.refined: .* start from learned ones; set quota\.learned"):
        load_config(write(MINIMAL + "[quota]\nlearned = 0\nrefined = 1\n"))
