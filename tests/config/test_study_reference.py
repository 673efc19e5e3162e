"""The reference of study files and their JSON schema, held against the models, the registries and each other."""

import json
import re
import tomllib
from typing import get_args

import jsonschema
import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from study_reference import PARTS, SCHEMA, STUDIES, options_schema, reference_keys, reference_tables, study_schema

from sfgsearch import load_config
from sfgsearch.config import Config, build_experiment, manual_candidates
from sfgsearch.config._sections import BackboneSection
from sfgsearch.errors import ConfigError

MINIMAL = '[data]\nname = "digit_pairs"\n[backbone]\nname = "vgg_small"\n'


def model_defaults(model=Config, prefix=""):
    """Return the defaults of all keys as study files write them, by dotted names."""
    found = {}
    for name, field in model.model_fields.items():
        section = next((kind for kind in (field.annotation, *get_args(field.annotation)) if is_section(kind)), None)
        if section:
            found |= model_defaults(section, f"{prefix}{name}.")
        else:
            value = getattr(field.default, "value", field.default)
            found[prefix + name] = list(value) if isinstance(value, tuple) else value
    return found


def is_section(kind):
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def as_value(cell):
    """Return the TOML value of a cell in backticks; None where a cell describes a default in words."""
    written = re.fullmatch("`(.+)`", cell)
    return tomllib.loads(f"value = {written[1]}")["value"] if written else None


def test_the_reference_has_every_key_with_its_default():
    written = {key: as_value(default) for key, (default, _) in reference_keys().items()}
    models = model_defaults()
    in_words = {key for key, default in models.items() if default in (None, {}, PydanticUndefined)}
    assert written == {key: None if key in in_words else default for key, default in models.items()}


@pytest.mark.parametrize("heading", PARTS)
def test_the_reference_has_every_part_with_its_options(heading):
    rows = {name.strip("`"): options for name, options, *_ in reference_tables()[heading]}
    assert set(rows) == set(PARTS[heading])
    for name, options in rows.items():
        own = options_schema(PARTS[heading][name]).keys() - BackboneSection.model_fields.keys()
        assert {option for option in own if f"`{option}`" not in options} == set()


def test_the_schema_is_up_to_date():
    assert json.loads(SCHEMA.read_text()) == study_schema(), "run: python -m tests.study_reference"


@pytest.mark.parametrize("study", sorted(STUDIES.rglob("*.toml")), ids=lambda path: path.name)
def test_shipped_studies_name_the_schema_and_pass_it(study):
    first_line, _, text = study.read_text().partition("\n")
    assert (study.parent / first_line.removeprefix("#:schema ")).resolve() == SCHEMA
    jsonschema.validate(tomllib.loads(text), json.loads(SCHEMA.read_text()))


def load_and_build(path):
    config = load_config(path)
    manual_candidates(config, build_experiment(config).spec)


@pytest.mark.parametrize(
    "wrong",
    [
        MINIMAL.replace("digit_pairs", 'digit_pairs"\nshifts = 3 # "'),
        MINIMAL + "[training]\nepoch = 3\n",
        MINIMAL + "[training]\nepochs = 0\n",
        MINIMAL + "[learned]\nlr = { low = 0.1, hight = 1.0 }\n",
        MINIMAL + "[learned]\noff = 3\n",
        MINIMAL + '[learned.prior]\nfamily = ["sharing", "flat"]\n',
        MINIMAL + '[manual]\nmethods = ["nddr"]\noptions.nddr.samples = 3\n',
        MINIMAL.replace("[backbone]", "[spine]"),
    ],
)
def test_schema_and_loader_refuse_the_same(wrong, tmp_path):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(wrong), json.loads(SCHEMA.read_text()))
    path = tmp_path / "study.toml"
    path.write_text(wrong)
    with pytest.raises(ConfigError):
        load_and_build(path)
