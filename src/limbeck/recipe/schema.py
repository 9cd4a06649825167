"""The JSON Schema (draft 7) of recipes, for editors: the stages, and under each stage the keys of the component that it names."""

from typing import Any

from pydantic import TypeAdapter

from limbeck.core import registry
from limbeck.recipe import catalogue
from limbeck.recipe.model import LossKeys, Recipe

Schema = dict[str, Any]


def schema() -> Schema:
    """The schema with every component that is installed here."""
    found = Recipe.model_json_schema(by_alias=True)
    stages: dict[str, Schema] = found["$defs"]
    found["properties"]["task"]["enum"] = registry.names("tasks")
    found["properties"]["export"]["items"] = {"enum": registry.names("exporters")}
    stages["Quantize"]["properties"]["range"]["enum"] = registry.names("ranges")
    stages["Data"]["properties"]["source"]["enum"] = registry.names("sources")
    stages["Student"]["properties"]["surgery"]["enum"] = [*registry.names("surgeries"), None]
    stages["Quantize"] |= branches(stages["Quantize"], {"rounding": "roundings"})
    rewrites = {name: component("equalizers", name) for name in registry.names("equalizers")}
    stages["Quantize"]["properties"]["equalize"] |= {
        "properties": rewrites,
        "additionalProperties": False,
    }
    stages["Data"] |= branches(stages["Data"], {"source": "sources"})
    stages["Augment"]["properties"]["method"]["enum"] = registry.names("augmenters")
    stages["Augment"] |= branches(stages["Augment"], {"method": "augmenters"})
    stages["Teacher"] |= branches(stages["Teacher"], {"model": "networks"})
    stages["Student"] |= branches(stages["Student"], {"model": "networks", "surgery": "surgeries"})
    weight = {
        "weight": TypeAdapter(LossKeys).json_schema()["properties"]["weight"] | {"default": 1.0}
    }
    losses = {name: component("losses", name, weight) for name in registry.names("losses")}
    stages["Distill"]["properties"]["losses"] |= {
        "properties": losses,
        "additionalProperties": False,
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **found,
        "title": "limbeck recipe",
    }


def branches(stage: Schema, named_by: dict[str, str]) -> Schema:
    """What a stage gains: for each component that the key of `named_by` may name, the keys that are then allowed; no others elsewhere."""
    own, rules, known = stage["properties"], [], []
    for key, family in named_by.items():
        for name in registry.names(family):
            here = {"properties": {key: {"const": name}}, "required": [key]}
            known.append(here)
            properties, required = keys(family, name)
            rules.append(
                {
                    "if": here,
                    "then": {
                        "properties": own | properties,
                        "required": required,
                        "additionalProperties": False,
                    },
                }
            )
    rules.append(
        {
            "if": {"not": {"anyOf": known}},
            "then": {"properties": own, "additionalProperties": False},
        }
    )
    return {"allOf": rules, "additionalProperties": True}


def keys(family: str, name: str) -> tuple[dict[str, Schema], list[str]]:
    """(the schema of each of a component's keys, those it needs)."""
    properties, required = {}, []
    for key, parameter in registry.keys(family, name).items():
        properties[key] = TypeAdapter(parameter.annotation).json_schema()
        if parameter.default is parameter.empty:
            required.append(key)
        else:
            properties[key] |= {"default": parameter.default}
    return properties, required


def component(family: str, name: str, more: Schema | None = None) -> Schema:
    """One of several components under their names: its own keys and those of `more`."""
    properties, required = keys(family, name)
    return {
        "description": catalogue.summary(catalogue.documentation(family, name)),
        "type": ["object", "null"],
        "properties": {**(more or {}), **properties},
        "required": required,
        "additionalProperties": False,
    }
