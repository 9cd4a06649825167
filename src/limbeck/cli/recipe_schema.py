"""The JSON Schema (draft 7) of recipes, for editors.

Pydantic writes the schema of the stages. Here each place that names a component gets the names that
are installed, and each stage the keys of the component that it names.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from limbeck.cli import catalogue
from limbeck.core import registry
from limbeck.recipe.model import LossKeys, Recipe

Schema = dict[str, Any]


def recipe_schema() -> Schema:
    """The schema of a recipe, with every component that is installed here."""
    recipe = Recipe.model_json_schema(by_alias=True)
    stages: dict[str, Schema] = recipe["$defs"]

    # 1. The names that a key may have.
    recipe["properties"]["task"]["enum"] = registry.names("tasks")
    recipe["properties"]["export"]["items"] = {"enum": registry.names("exporters")}
    _allow(stages["Data"], "source", "sources")
    _allow(stages["Augment"], "method", "augmenters")
    _allow(stages["Quantize"], "range", "ranges")
    surgeries = [*registry.names("surgeries"), None]
    stages["Student"]["properties"]["surgery"]["enum"] = surgeries

    # 2. The keys that the component brings which a stage names.
    stages["Data"] |= branches(stages["Data"], {"source": "sources"})
    stages["Augment"] |= branches(stages["Augment"], {"method": "augmenters"})
    stages["Teacher"] |= branches(stages["Teacher"], {"model": "networks"})
    stages["Student"] |= branches(stages["Student"], {"model": "networks", "surgery": "surgeries"})
    stages["Quantize"] |= branches(stages["Quantize"], {"rounding": "roundings"})

    # 3. Components that are named by a key of their own.
    weight = TypeAdapter(LossKeys).json_schema()["properties"]["weight"]
    shared = {"weight": weight | {"default": 1.0}}
    stages["Distill"]["properties"]["losses"] |= _by_name("losses", shared)
    stages["Quantize"]["properties"]["equalize"] |= _by_name("equalizers", {})

    header = {"$schema": "http://json-schema.org/draft-07/schema#"}
    return header | recipe | {"title": "limbeck recipe"}


def branches(stage: Schema, named_by: Mapping[str, str]) -> Schema:
    """What to add to a stage's schema, so that the component it names decides the further keys.

    `named_by`: the key that names a component, and its family. For each component there is a rule:
    where the key names it, the component's keys are allowed beside the stage's, and no others.
    """
    stage_keys = stage["properties"]
    conditions: list[Schema] = []
    rules: list[Schema] = []
    for key, family in named_by.items():
        for name in registry.names(family):
            condition = {"properties": {key: {"const": name}}, "required": [key]}
            component_keys, required = keys(family, name)
            allowed = {
                "properties": stage_keys | component_keys,
                "required": required,
                "additionalProperties": False,
            }
            conditions.append(condition)
            rules.append({"if": condition, "then": allowed})
    # Where none of ours is named (a hub id, a folder), the stage's own keys are all there are.
    plain = {"properties": stage_keys, "additionalProperties": False}
    rules.append({"if": {"not": {"anyOf": conditions}}, "then": plain})
    return {"allOf": rules, "additionalProperties": True}


def keys(family: str, name: str) -> tuple[dict[str, Schema], list[str]]:
    """(the schema of each of a component's keys, the keys without a default)."""
    properties: dict[str, Schema] = {}
    required: list[str] = []
    try:
        parameters = registry.keys(family, name)
    except ValueError:
        # A plug-in that is broken: a recipe that names it is told, and no other.
        return properties, required
    for key, parameter in parameters.items():
        properties[key] = TypeAdapter(parameter.annotation).json_schema()
        if parameter.default is parameter.empty:
            required.append(key)
        else:
            properties[key]["default"] = to_jsonable_python(parameter.default)
    return properties, required


def component(family: str, name: str, shared: Schema) -> Schema:
    """The schema of a component that stands under its name: its keys, beside those of `shared`."""
    properties, required = keys(family, name)
    return {
        "description": catalogue.summary_of(family, name),
        "type": ["object", "null"],
        "properties": shared | properties,
        "required": required,
        "additionalProperties": False,
    }


def _allow(stage: Schema, key: str, family: str) -> None:
    """Let a key name the components of a family alone."""
    stage["properties"][key]["enum"] = registry.names(family)


def _by_name(family: str, shared: Schema) -> Schema:
    """A mapping from the names of a family's components to their keys."""
    properties = {name: component(family, name, shared) for name in registry.names(family)}
    return {"properties": properties, "additionalProperties": False}
