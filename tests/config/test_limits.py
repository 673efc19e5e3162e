"""Study files with values that cannot work: one error that names the key, before anything else happens."""

import os

import pytest

from sfgsearch.cli import main
from sfgsearch.config import build_experiment, load_config
from sfgsearch.errors import ConfigError, SFGSearchError

START = '[data]\nname = "digit_pairs"\npairs_per_digit = 1\n[backbone]\nname = "vgg_small"\nplan = [4, "pool", 6]\n'


@pytest.fixture
def write(tmp_path):
    def write(content, name="study.toml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refusal(path):
    """Return the error that reading a study file and building its experiment ends with."""
    with pytest.raises(ConfigError) as error:
        build_experiment(load_config(path))
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 1000
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("encode", [lambda text: b"\xef\xbb\xbf" + text.encode(), lambda text: text.encode()])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_byte_order_mark_changes_nothing(write, encode, newline):
    text = START.replace("\n", newline) + "# für\n"
    assert load_config(write(encode(text))).backbone.options == {"plan": [4, "pool", 6]}


@pytest.mark.parametrize(
    ("addition", "key"),
    [
        ("[execution]\ngrace = 1e308", "execution.grace"),
        ("[execution]\ncheckpoint_every = 1e308", "execution.checkpoint_every"),
        ("[execution]\nretries = 1001", "execution.retries"),
        ("[training]\nlr = 1e30", "training.lr"),
        ("[training]\nlr = 5e-324", "training.lr"),
        ("[training]\nlength_scale = 1e200", "training.length_scale"),
        ("[training]\nmonte_carlo_samples = 1000000", "training.monte_carlo_samples"),
        ("[training]\nthreads = 1000000", "training.threads"),
        ("[training]\ndevice = 'cuda:99999999999999999999'", "training.device"),
        ("[training]\ndevice = 'cuda:\u0663'", "training.device"),
        ("[training]\ndevice = 'cuda:0\\n'", "training.device"),
        ("[training]\nepochs = true", "training.epochs"),
        ("[training]\nepochs = 2020-01-01", "training.epochs"),
        ("[training]\nepochs = 0x" + "f" * 6000, "training.epochs"),
        ("[learned]\nlr = 1e30", "learned.lr"),
        ("[learned]\nlr = 1" + "0" * 400, "learned.lr"),
        ("[learned]\nlr = [0.1, 0.1]", "learned.lr"),
        ("[learned]\nlr = {low = 0.1, high = 1e300, log = true}", "learned.lr"),
        ("[learned]\nkl_weight = 1e300", "learned.kl_weight"),
        ("[learned.temperature]\nend = 5e-324", "learned.temperature.end"),
        ("[learned.temperature]\nrate = 1e300", "learned.temperature.rate"),
        ("[learned.prior]\nfirst = 5e-324", "learned.prior.first"),
        ("[learned.prior]\ntask_ratio = [1e308, 1e308]", "learned.prior.task_ratio"),
        ("[learned.initial]\nconcentration = 1e-300", "learned.initial.concentration"),
        ("[searched]\nconcentration = 1e300", "searched.concentration"),
        ("[searched]\nconcentration = [" + "1.0, " * 9000 + "]", "searched.concentration"),
        ("[searched]\nconcentration = [" + "1.0, " * 50_000 + "]", "searched.concentration"),
        ("[quota]\nlearned = 10001", "quota.learned"),
        ("[comparison]\nseeds = 1000000", "comparison.seeds"),
        ("[tasks.first]\nweight = 5e-324", "tasks.first.weight"),
        ("[tasks.first]\nhidden = 4294967296", "tasks.first.hidden"),
        ('[study]\nname = "a\\u0000b"', "study.name"),
        ('[study]\nname = "a\\nb"', "study.name"),
        ('[study]\nname = "a\\u202eb"', "study.name"),
        ('[study]\nname = " a"', "study.name"),
        (f'[study]\nname = "{"x" * 201}"', "study.name"),
        ('[study]\nfolder = "a\\u001bb"', "study.folder"),
        ('[study]\nimports = ["study.toml"]', "study.imports"),
        ('[manual.options.cross_stitch]\nlr = 1e30\n[manual]\nmethods = ["cross_stitch"]', None),
        ("[manual.allocations.a]\n'*' = [" + "1, " * 20_000 + "]", "manual.allocations.a.*"),
        ("x = " + "[" * 50 + "]" * 50, "backbone.x"),
        ("x = " + "[" * 100_000, None),
        ("x = " + "{a = " * 50_000, None),
        (".".join("a" * 2000) + " = 1", "backbone.a.a"),
        ("# " + "x" * 1_000_000, None),
    ],
    ids=lambda value: str(value)[:40].encode("unicode_escape").decode(),
)
def test_values_that_cannot_work_name_their_key(write, addition, key):
    path = write(START + addition + "\n")
    if key is not None:
        assert refusal(path).startswith(key)
        return
    with pytest.raises(SystemExit) as stop:
        main(["run", str(path)])
    assert stop.value.code == 2


@pytest.mark.parametrize(
    ("backbone", "key"),
    [
        ('name = "vgg_small"\nplan = [65536, 65536]', "backbone.plan: needs at least 1,152.0 GiB"),
        ('name = "resnet"\nwidth = 100.0\ndepth = 110', "backbone.width, depth: needs at least"),
        ('name = "vgg_small"\nwidth = 1e300', "backbone.name = 'vgg_small': width must be from 0.001 to 100"),
        ('name = "vgg_small"\nwidth = 5e-324', "backbone.name = 'vgg_small': width must be from"),
        (f'name = "vgg_small"\nplan = [{"4, " * 201}]', "backbone.name = 'vgg_small': plan has 201 steps"),
        ('name = "vgg_small"\nplan = [9223372036854775807]', "backbone.name = 'vgg_small': plan must list filters"),
        ('name = "resnet"\ndepth = 9223372036854775802', "backbone.name = 'resnet': a ResNet"),
        ('name = "highresnet"\nblocks = 1000000', "backbone.name = 'highresnet': blocks must be 0 to 100"),
    ],
)
def test_networks_beyond_memory_are_refused_before_they_are_built(write, backbone, key):
    path = write(f'[data]\nname = "digit_pairs"\npairs_per_digit = 1\n[backbone]\n{backbone}\n')
    assert refusal(path).startswith(key)


def test_heads_and_batches_beyond_memory_are_named_as_such(write, monkeypatch):
    monkeypatch.setattr("sfgsearch.config._memory._device_memory", lambda _device: 20_000_000)
    path = write(START + "[tasks.first]\nhidden = 1000000\n")
    assert refusal(path).startswith("tasks: needs at least")
    path = write(START.replace("[4,", "[512,") + "[training]\nbatch_size = 1000\n")
    assert refusal(path).startswith("training.batch_size: needs at least")
    build_experiment(load_config(write(START)))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("study", "study.folder: {folder}/study is a file"),
        ("a\nb.toml", "study.name: the file's name"),
        ("\udcff.toml", "study.name: the file's name"),
        (f"{'x' * 201}.toml", "study.name: the file's name"),
    ],
)
def test_a_file_whose_name_cannot_name_its_study_is_refused(write, tmp_path, name, key):
    with pytest.raises(ConfigError) as error:
        load_config(write(START, name))
    assert f": {key.format(folder=tmp_path)}" in str(error.value)


def test_a_file_with_any_name_is_read_when_it_names_the_study(write):
    config = load_config(write(START + '[study]\nname = "s"\nfolder = "s"\n', "\udcff.toml"))
    assert config.folder.name == "s"


def test_places_that_no_url_can_name_are_refused(write, tmp_path, capsys):
    folder = tmp_path / "\udcff"
    folder.mkdir()
    (folder / "study.toml").write_text(START)
    with pytest.raises(ConfigError, match=r"study\.folder: .*no UTF-8"):
        load_config(folder / "study.toml")
    with pytest.raises(SystemExit):
        main(["run", str(write(START.replace("digit_pairs", "utkface"))), "--data", str(folder)])
    assert "--data: its name is no UTF-8" in capsys.readouterr().err


def test_special_files_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path / "pipe.toml", tmp_path, "/dev/zero"):
        with pytest.raises(ConfigError, match="a folder or a special file"):
            load_config(path)


def test_an_import_that_ends_the_process_is_refused(write):
    write("raise SystemExit(0)\n", "leave.py")
    assert refusal(write(START + '[study]\nimports = ["leave.py"]\n')).startswith("study.imports: cannot import")


@pytest.mark.parametrize(
    "options",
    [
        ["--seed", "\u0663"],
        ["--seed", "1_0"],
        ["--seed", "4294967296"],
        ["--trials", "9" * 30],
        ["--trials", "10001"],
        ["--storage", ""],
        ["--storage", "postgresql://u:hunter2@more@h/d"],
    ],
)
def test_options_that_cannot_work_are_one_line(write, capsys, options):
    path = write(START)
    with pytest.raises(SystemExit) as stop:
        main(["run", str(path), *options])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert options[0] in line
    assert "hunter2" not in line
    assert not path.with_suffix("").exists()


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("worker", ["--device", "cuda:99999999999999999999"]),
        ("launch", ["--workers", "2", "--cpus-per-worker", "nan"]),
        ("launch", ["--workers", "2", "--gpus-per-worker", "5e-324"]),
        ("launch", ["--workers", "\uff12"]),
        ("launch", ["--workers", "1", "--engine", "ray", "--address", "u:hunter2@127.0.0.1:1"]),
        ("show", ["--trial", "\u0663"]),
        ("dashboard", ["--port", "\u0668080"]),
    ],
)
def test_options_of_other_commands_are_checked_alike(write, capsys, command, options):
    with pytest.raises(SystemExit) as stop:
        main([command, str(write(START)), *options])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "hunter2" not in line


def test_an_error_is_one_line_of_bounded_length(write, capsys):
    path = write(START + f'[augmentation]\npadding = "{"x" * 100_000}"\n"a\\u001b[31m" = 1\n')
    with pytest.raises(SystemExit):
        main(["run", str(path)])
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) < 5000
    assert line.isprintable()


def test_overrides_from_python_are_checked_alike(write):
    config = load_config(write(START))
    for changes in ({"trials": 0}, {"trials": 10**30}, {"seed": -1}, {"device": "cuda:\u0663"}, {"storage": "u:p@h"}):
        with pytest.raises((ValueError, SFGSearchError)):
            config.with_overrides(**changes)


@pytest.mark.parametrize("kind", ["learned", "searched", "manual"])
def test_more_finalists_than_trials_are_refused(write, kind):
    quota = "[quota]\nlearned = 2\nsearched = 2\n[manual]\nmethods = ['equal', 'hard_sharing']\n[comparison]\n"
    assert refusal(write(f"{START}{quota}{kind} = 3\n")) == (
        f"comparison.{kind}: asks for 3 finalists, and the study has 2 {kind} trials; lower it, or ask for more trials"
    )
    load_config(write(f"{START}{quota}{kind} = 2\n"))
