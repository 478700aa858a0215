"""The JSON Schema of a suite file, by which an editor completes and checks one while it is written.

    python -m kdbench.runs.schema > suite.schema.json

It is made of the facts that `kdbench.runs.suite` checks: fields, settings and options, with their
types, bounds and choices. In the file, the first line `#:schema suite.schema.json` names it.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

from kdbench.base.options import VARIANTS
from kdbench.base.registry import METHODS, TASKS, Registry
from kdbench.data.answer_options import AnswerOptions
from kdbench.runs.suite import DATA, FIELDS, FIGURE, RESOURCES
from kdbench.train.spec import Settings

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}
SEEDS: Schema = {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}],
                 "description": "a number of seeds, or a list of them"}


def suite_schema() -> Schema:
    """The schema of a whole file. This imports every method and task, for their options."""
    entry = {**fields(), **options_schema(Settings, axes=True)["properties"]}
    top = {
        "about": TEXT, "cpu_hours": NUMBER, "gpu_hours": NUMBER, "data": {"enum": list(DATA)},
        "trials": {"type": "integer", "minimum": 1}, "trial_seconds": NUMBER,
        "seeds": SEEDS, "controls": {"type": "boolean"}, "defaults": table(entry),
        "cells": {"type": "array", "minItems": 1, "items": table(entry)},
    }
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "a suite of kdbench",
            **table(top), "required": ["cells"]}


def fields() -> dict[str, Schema]:
    """The fields of a request, and what stands beside them."""
    options: dict[str, Schema] = {}
    for entry in METHODS.entries():
        of_method = options_schema(entry.load().Options, axes=True)
        options.update(dict.fromkeys((entry.name, *entry.aliases), of_method))
    task_options: dict[str, Schema] = {}
    for name in TASKS.names():
        if (cls := TASKS.get(name).options) is not None:
            task_options.update(options_schema(cls)["properties"])
    # what a figure belongs to is matched by value, so that the schema leaves it open
    figure: dict[str, Schema] = {name: {} for name in sorted(FIELDS | FIGURE)}
    return {
        "method": or_list(name_in(METHODS)), "task": or_list(name_in(TASKS)),
        "teacher": or_list(TEXT), "student": or_list(TEXT),
        "variant": or_list({"enum": list(VARIANTS)}),
        "recipe": or_list({"enum": ["default", "paper"]}), "unlabelled": or_list(TEXT),
        "teacher_labels": or_list(TEXT), "teacher_weights": or_list(TEXT),
        "teacher_options": options_schema(AnswerOptions),
        "options": table(options), "task_options": table(task_options),
        "seeds": SEEDS, "controls": {"type": "boolean"},
        "resources": table(dict.fromkeys(sorted(RESOURCES), NUMBER)),
        "published": {"type": "array",
                      "items": {**table(figure), "required": ["metric", "value"]}},
    }


def name_in(registry: Registry) -> Schema:
    """A name of a registry, or an alias."""
    entries = registry.entries()
    return {"enum": [name for entry in entries for name in (entry.name, *entry.aliases)]}


def options_schema(cls: type, axes: bool = False) -> Schema:
    """The schema of a class of options.

    axes  a list of values is an axis of the grid
    """
    hints = typing.get_type_hints(cls)
    found = {}
    for field in dataclasses.fields(cls):
        one = value_schema(hints[field.name], field.metadata)
        found[field.name] = {**(or_list(one) if axes else one),
                             "description": field.metadata.get("help", "")}
    return table(found)


def value_schema(hint: Any, facts: Mapping[str, Any]) -> Schema:
    """The schema of one value. Several values in one option are text with commas."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    found: Schema = {"type": TYPES.get(hint, "string")}
    if facts.get("choices") and hint in TYPES:
        found["enum"] = list(facts["choices"])
    for bound in ("minimum", "maximum"):
        if facts.get(bound) is not None:
            found[bound] = facts[bound]
    return found


def or_list(schema: Schema) -> Schema:
    """A value, or a list of values."""
    return {"anyOf": [schema, {"type": "array", "items": schema}]}


def table(properties: dict[str, Schema]) -> Schema:
    """A table of these keys and no other."""
    return {"type": "object", "additionalProperties": False, "properties": properties}


if __name__ == "__main__":
    print(json.dumps(suite_schema(), indent=1))
