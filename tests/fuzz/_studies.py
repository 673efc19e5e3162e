"""Mutated study files: a nasty value for a key, broken structure, broken bytes, strange names and options."""

import inspect
import random
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ValidationError

from sfgsearch.backbones import backbones
from sfgsearch.config import Config
from sfgsearch.data import data_sets
from sfgsearch.methods import manual_methods

BASE = {
    "data.name": '"digit_pairs"',
    "data.pairs_per_digit": "1",
    "backbone.name": '"vgg_small"',
    "backbone.plan": '[4, "pool", 6]',
    "training.epochs": "1",
    "training.batch_size": "256",
    "training.device": '"cpu"',
    "training.threads": "1",
    "training.monte_carlo_samples": "2",
    "quota.learned": "1",
    "quota.searched": "1",
    "manual.methods": '["hard_sharing"]',
    "comparison.seeds": "1",
    "comparison.as_learned": "false",
    "comparison.match": '"none"',
    "review.pictures": "false",
}

NUMBERS = (
    *("0", "-0.0", "-1", "1", "2", "3", "0.5", "1.0", "1_0", "+7", "0o17", "1e-9", "5e-324", "1e-300", "nan", "inf"),
    *("1e30", "1e308", "-1e308", "1e400", "-inf", "4294967295", "4294967296", "9223372036854775807", "1e", "00"),
    *("9223372036854775808", "1" + "0" * 400, "1" * 5000, "0x" + "f" * 20, "0x" + "f" * 6000, "\u0663", "\uff11\uff12"),
)
BOUNDS = (
    *("1e-12", "1e-6", "1e-4", "0.001", "0.999999", "0.9999999999", "10.0", "100.0", "1000.0", "1e4", "1e6", "86400"),
    *("7", "15", "16", "99", "100", "1000", "1024", "99999", "100000", "1000000", "180", "181", "65536"),
)
TEXTS = (
    *('""', '" "', '"a"', '"none"', '"auto"', '"cpu"', '"../x"', '"/"', '"."', '".."', '"~nobody/x"', '"a/b"'),
    *('"a\\nb"', '"\\u0000"', '"\\u001b[31mred"', '"\\u202eabc"', '"%s{0}"', '"[bold]x[/bold]"', '"\U0001f600"'),
    *(
        '"\u0663"',
        '"cuda:\u0663"',
        '"cuda:99999999999999999999"',
        f'"{"x" * 300}"',
        f'"{"x" * 300_000}"',
        '"sqlite://x"',
    ),
    *('"postgresql://u:s3cret@s3cret2@h/d"', '"postgresql://u:s3cret#x@127.0.0.1:1/d"', '"foo://u:s3cret@h/d"'),
    *('"postgresql://u:s3cret@127.0.0.1:1/d"', '"mysql://u:s3cret@127.0.0.1:1/d"', '"sqlite:////proc/no/x.db"'),
)
OTHERS = (
    *("true", "false", "[]", "{}", "[[]]", "[0]", '["a"]', "[1, 1]", "[0.2, 0.3, 0.5]", "[0.5, 0.5]", "[true, false]"),
    *("{low = 0.1, high = 1.0}", "{low = 1.0, high = 0.1}", "{low = 0.0, high = 1.0, log = true}", "{low = 1}"),
    *("{low = nan, high = 1}", "{low = 1e-300, high = 1e300, log = true}", "{a = 1}", "[0.1, 0.2]", '[["a"], 1]'),
    *("[[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]", "[1e308, 1e308, 1e308]", "[1e-6, 1e-6, 1e6]", "{x = {y = {z = 1}}}"),
    *(
        "1979-05-27",
        "1979-05-27T07:32:00Z",
        "07:32:00",
        "2024-13-45",
        "[" * 500 + "]" * 500,
        "[" * 20_000 + "]" * 20_000,
    ),
    *("[" + "0," * 50_000 + "]", "[" + "0," * 9_000 + "]", '[4, "pool", 0]', '[4, "pool", 6, "pol"]', "[65536, 65536]"),
    *("[" + "4," * 150 + "]", '["pool", "pool", 4]', "[4, 6]", "[1, 1, 2]", '["single_task", "cross_stitch", "equal"]'),
)
COSTLY = re.compile(
    r"quota|seeds|epochs|pairs|rotations|samples|blocks|depth|width|per_volume|retries|threads|comparison|hidden|path|every"
)
"""Keys by which a study is allowed to ask for hours of work: no number from 4 to a million for them."""


@dataclass
class Study:
    """A study file in the making: raw TOML by dotted key, what is put before and after, options of the command."""

    values: dict[str, str] = field(default_factory=lambda: dict(BASE))
    head: bytes = b""
    tail: str = ""
    name: str = "study.toml"
    options: tuple[str, ...] = ()

    def text(self) -> str:
        return "".join(f"{key} = {value}\n" for key, value in self.values.items()) + self.tail

    def set(self, key: str, value: str) -> None:
        """Set a key, in place of whatever stands in its way."""
        for other in list(self.values):
            if other.startswith(f"{key}."):
                del self.values[other]
        self.values[key] = value


def keys() -> list[str]:
    """Return every key that a study file may have, options of data sets, backbones and methods included."""
    found = list(_keys_of(Config, ""))
    for name, parts in (("data", data_sets), ("backbone", backbones)):
        found += [f"{name}.{option}" for part in parts.values() for option in _options(part)]
    for name, method in manual_methods.items():
        found += [f"manual.options.{name}", *(f"manual.options.{name}.{option}" for option in _options(method))]
    found += ["tasks.first.weight", "tasks.second.hidden", "tasks.first.loss", "tasks.other", "nonsense", "a.b.c.d"]
    return sorted({*found, "manual.allocations.mine", 'manual.allocations.mine."*"', "manual.allocations.mine.conv1"})


def _keys_of(section: type[BaseModel], prefix: str):
    for name, info in section.model_fields.items():
        yield f"{prefix}{name}"
        kinds = [kind for kind in (info.annotation, *get_args(info.annotation)) if inspect.isclass(kind)]
        for kind in kinds:
            if issubclass(kind, BaseModel):
                yield from _keys_of(kind, f"{prefix}{name}.")


def _options(part) -> list[str]:
    parameters = inspect.signature(part).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY]


KEYS = keys()


def mutate_value(study: Study, random: random.Random) -> str:
    """Give one or two keys a nasty value; where an option belongs to another part, choose that part."""
    changed = []
    for _ in range(random.choice((1, 1, 1, 2))):
        key = random.choice(KEYS)
        value = _draw(study, key, random)
        _choose_part(study, key, random)
        study.set(key, value)
        changed.append(f"{key} = {value[:60]}")
    return ", ".join(changed)


def _draw(study: Study, key: str, random: random.Random) -> str:
    """Draw a value; two times in three one that the sections of a study file take, if twenty draws find one."""
    is_taken = random.random() < 0.67
    value = "0"
    for _ in range(20):
        value = random.choice(random.choice((NUMBERS, BOUNDS, BOUNDS, TEXTS, OTHERS)))
        while COSTLY.search(key) and re.fullmatch(r"[0-9]+(\.[0-9]+)?(e[0-9]+)?", value) and 3 < float(value) <= 1e6:
            value = random.choice(random.choice((NUMBERS, BOUNDS)))
        if not is_taken or _is_taken(study, key, value):
            break
    return value


def _is_taken(study: Study, key: str, value: str) -> bool:
    trial = Study(dict(study.values))
    trial.set(key, value)
    try:
        Config.model_validate(tomllib.loads(trial.text()))
    except (ValidationError, ValueError, RecursionError):
        return False
    return True


def _choose_part(study: Study, key: str, random: random.Random) -> None:
    section, _, option = key.partition(".")
    for name, parts in (("data", data_sets), ("backbone", backbones)):
        offering = [part for part in parts if option in _options(parts[part])]
        chosen = study.values.get(f"{name}.name", "").strip('"')
        if section == name and offering and (chosen not in parts or option not in _options(parts[chosen])):
            for other in [other for other in study.values if other.startswith(f"{name}.")]:
                del study.values[other]
            study.values[f"{name}.name"] = f'"{random.choice(offering)}"'
    if key.startswith("manual.options."):
        study.values["manual.methods"] = f'["hard_sharing", "{key.split(".")[2]}"]'
    if key.startswith("learned.") and random.random() < 0.5:
        study.values |= {"learned.prior.family": '"linear"', "learned.initial.family": '"dirichlet"'}


def mutate_structure(study: Study, random: random.Random) -> str:
    """Break the form of the file."""
    change = random.choice(tuple(_STRUCTURES))
    _STRUCTURES[change](study, random)
    return change


def _drop(study: Study, random: random.Random) -> None:
    del study.values[random.choice(list(study.values))]


def _tail(text: str):
    def change(study: Study, _random: random.Random) -> None:
        study.tail = text

    return change


_STRUCTURES = {
    "drop a key": _drop,
    "a key twice": _tail("data.name = 'npz'\n"),
    "a table twice": _tail("[extra]\n[extra]\n"),
    "a section as a value": _tail("tasks = 5\n"),
    "unknown section": _tail("[trainig]\nepochs = 1\n"),
    "deep dotted key": _tail(".".join("a" * 3000) + " = 1\n"),
    "deep inline tables": _tail("x = " + "{a = " * 3000 + "1" + "}" * 3000 + "\n"),
    "deep table": _tail("[" + ".".join("ab" * 200) + "]\n"),
    "many tables": _tail("".join(f"[tasks.t{index}]\n" for index in range(20_000))),
    "many allocations": _tail("".join(f'manual.allocations.a{index}."*" = [1, 1, 2]\n' for index in range(11_000))),
    "array of tables": _tail("[[manual.allocations]]\nx = 1\n"),
    "open string": _tail('x = "abc\n'),
    "open multi-line string": _tail('x = """abc\n'),
    "no value": _tail("x =\n"),
    "large": _tail("# " + "x" * 2_000_000 + "\n"),
    "imports itself": _tail('study.imports = ["study.toml", "study.py"]\n'),
    "imports a module": _tail('study.imports = ["no_such_module"]\n'),
    "imports what ends": _tail('study.imports = ["leave.py"]\n'),
    "imports what recurses": _tail('study.imports = ["recurse.py"]\n'),
    "imports a folder": _tail('study.imports = ["folder.py"]\n'),
    "imports nothing": _tail('study.imports = [""]\n'),
}


def mutate_name(study: Study, random: random.Random) -> str:
    """Call the file something strange."""
    study.name = random.choice(
        (
            "study",
            ".toml",
            "a b.toml",
            "a\nb.toml",
            "é😀.toml",
            "\udcff.toml",
            "x" * 240 + ".toml",
            "-.toml",
            "a\x1b[31m.toml",
        )
    )
    return f"file {study.name!r}"


def mutate_options(study: Study, random: random.Random) -> str:
    """Give the command a nasty option."""
    option = random.choice(("--seed", "--trials", "--storage", "--data", "--device", "--nonsense"))
    value = random.choice(random.choice((NUMBERS, tuple(text.strip('"') for text in TEXTS))))[:3000]
    study.options = (option, value.replace("\\u0000", ""))
    return f"{option} {value[:60]}"


def mutate_bytes(content: bytes, random: random.Random) -> tuple[bytes, str]:
    """Break the bytes of the file."""
    change = random.choice(
        ("flip", "cut", "zero", "mark", "utf-16", "latin", "returns", "empty", "noise", "line", "swap")
    )
    place = random.randrange(len(content))
    if change == "flip":
        content = content[:place] + bytes([content[place] ^ (1 << random.randrange(8))]) + content[place + 1 :]
    elif change == "cut":
        content = content[:place]
    elif change == "zero":
        content = content[:place] + b"\0" * random.choice((1, 1000)) + content[place:]
    elif change == "mark":
        content = b"\xef\xbb\xbf" * random.choice((1, 2)) + content
    elif change == "utf-16":
        content = content.decode(errors="replace").encode("utf-16")
    elif change == "latin":
        content = content + "# für\n".encode("latin-1")
    elif change == "returns":
        content = content.replace(b"\n", random.choice((b"\r\n", b"\r")))
    elif change == "empty":
        content = random.choice((b"", b"\n", b"#", b"[]", b"{}", b"null"))
    elif change == "noise":
        content = content[:place] + random.randbytes(random.choice((1, 20))) + content[place:]
    else:
        lines = content.splitlines(keepends=True)
        one, other = random.randrange(len(lines)), random.randrange(len(lines))
        lines[one] = lines[other] if change == "line" else lines[one]
        lines[one], lines[other] = lines[other], lines[one]
        content = b"".join(lines)
    return content, f"bytes: {change}"


def write(study: Study, folder: Path, content: bytes | None = None) -> Path:
    """Write the study file and what imports may find beside it."""
    (folder / "leave.py").write_text("raise SystemExit(0)\n")
    (folder / "recurse.py").write_text("def again():\n    again()\n\n\nagain()\n")
    (folder / "folder.py").mkdir()
    path = folder / study.name
    path.write_bytes(study.text().encode(errors="surrogateescape") if content is None else content)
    return path


def make(random: random.Random, folder: Path) -> tuple[str, Path, tuple[str, ...]]:
    """Write a mutated study file of digits, and return what was changed, the file and the command's options."""
    study, content = Study(), None
    way = random.choices((mutate_value, mutate_structure, mutate_name, mutate_options, mutate_bytes), (12, 3, 1, 2, 2))[
        0
    ]
    if way is mutate_bytes:
        content, what = mutate_bytes(study.text().encode(), random)
    else:
        what = way(study, random)
    return what, write(study, folder, content), study.options
