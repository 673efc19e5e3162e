"""The reference of study files in ``studies/README.md``, and the JSON schema that editors read.

``python -m tests.study_reference`` writes ``studies/schema.json`` anew: structure and bounds from the pydantic models
of the package, options from the signatures of what is registered, descriptions from the reference.
"""

import inspect
import json
import re
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import create_model

from sfgsearch.backbones import backbones
from sfgsearch.config import Config
from sfgsearch.data import data_sets
from sfgsearch.methods import manual_methods

STUDIES = Path(__file__).parents[1] / "studies"
SCHEMA = STUDIES / "schema.json"


def own_parts(registry):
    """Return the parts of a registry by name, without those that others registered."""
    return {name: registry[name] for name in sorted(registry.built_in)}


PARTS = {
    "Data sets": own_parts(data_sets),
    "Backbones": own_parts(backbones),
    "Manual methods": own_parts(manual_methods),
}
"""Headings of the reference, and the parts that stand under them."""

_REQUIRED = {"data": {"name": "digit_pairs"}, "backbone": {"name": "vgg_small"}}
_HEADING = re.compile(r"^### `?\[?([\w.<> ]+?)\]?`?$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\.<\w+>")


def reference_tables():
    """Return the rows below every heading of the reference, as lists of cells."""
    _, *parts = _HEADING.split((STUDIES / "README.md").read_text())
    rows = {}
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        lines = [line for line in text.split("\n## ")[0].splitlines() if line.startswith("|")]
        rows[heading] = [
            [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]
        ]
    return rows


def reference_keys():
    """Return default and meaning of every key of the reference by its dotted name, without ``<task>`` and the like."""
    return {
        _PLACEHOLDER.sub("", f"{heading}.{re.search('`(.+?)`', key)[1]}"): (default, meaning)
        for heading, rows in reference_tables().items()
        if heading.split(".")[0] in Config.model_fields
        for key, default, meaning in rows
    }


def options_schema(part):
    """Return the JSON schemas of the options of a registered part, by name."""
    hints = get_type_hints(part.__init__ if inspect.isclass(part) else part)
    options = [p for p in inspect.signature(part).parameters.values() if p.kind is p.KEYWORD_ONLY]
    fields: dict[str, Any] = {
        option.name: (hints[option.name], ... if option.default is option.empty else option.default)
        for option in options
    }
    return create_model("Options", **fields).model_json_schema().get("properties", {})


def study_schema():
    """Return the JSON schema of study files."""
    schema = Config.model_json_schema()
    sections = schema["$defs"]
    for section, registry in (("DataSection", PARTS["Data sets"]), ("BackboneSection", PARTS["Backbones"])):
        _name_parts(sections[section], registry)
    manual = sections["ManualSection"]["properties"]
    manual["methods"]["items"] = _known(PARTS["Manual methods"])
    manual["options"]["properties"] = {
        name: {"type": "object", "properties": options_schema(method), "additionalProperties": False}
        for name, method in PARTS["Manual methods"].items()
    }
    defaults = Config.model_validate(_REQUIRED).model_dump(mode="json")
    for key, (_, meaning) in reference_keys().items():
        *path, name = key.split(".")
        properties, values = schema["properties"], defaults
        for part in path:
            properties, values = _section(properties[part], sections)["properties"], values.get(part, {})
        properties[name]["description"] = re.sub(r"\[(.+?)\]\(.+?\)", r"\1", meaning)
        if properties[name].get("default") is not None:
            properties[name]["default"] = values[name]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_cleaned(schema), "title": "A study file"}


def _known(registry):
    """Names of registered parts to complete; others may be the user's own."""
    return {"anyOf": [{"enum": sorted(registry)}, {"type": "string"}]}


def _name_parts(section, registry):
    section["properties"]["name"] = _known(registry)
    common = dict.fromkeys(section["properties"], True)
    section["allOf"] = [
        {
            "if": {"properties": {"name": {"const": name}}},
            "then": {"properties": {**options_schema(part), **common}, "additionalProperties": False},
        }
        for name, part in registry.items()
    ]


def _section(schema, sections):
    reference = schema.get("$ref") or schema.get("additionalProperties", {}).get("$ref")
    return sections[reference.rpartition("/")[2]] if reference else schema


def _cleaned(schema):
    """Leave out what study files cannot say (null), and titles and defaults that only repeat the structure."""
    if isinstance(schema, list):
        return [_cleaned(item) for item in schema if item != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _cleaned(value) for key, value in schema.items() if value is not None}
    if isinstance(kept.get("title"), str):
        del kept["title"]
    if "$ref" in kept:
        kept.pop("default", None)
    if "properties" in kept and "Args:" in kept.get("description", ""):
        kept["description"] = kept["description"].partition("\n\nArgs:")[0]
    return kept


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(study_schema(), indent=2, ensure_ascii=False) + "\n")
