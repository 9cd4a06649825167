"""`limbeck schema`: every recipe here is valid by it, and what `limbeck check` refuses it refuses too."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from limbeck.cli import main
from limbeck.cli.recipe_schema import recipe_schema
from limbeck.core import registry
from limbeck.core.yaml12 import load
from limbeck.pipeline.preflight import compatibility
from limbeck.recipe.reading import parse, read
from limbeck.reports import shape

ROOT = Path(__file__).parent.parent
TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
}
WHOLE = recipe_schema()


def valid(value: Any, rule: dict[str, Any] | bool) -> bool:
    """Whether `value` satisfies a schema: the words of draft 7 that ours uses, straight from its specification."""
    if isinstance(rule, bool):
        return rule
    if "$ref" in rule:
        return valid(value, WHOLE["$defs"][rule["$ref"].rpartition("/")[2]])
    kinds = rule.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    good = not kinds or any(
        isinstance(value, TYPES[kind])
        and not (kind in ("number", "integer") and isinstance(value, bool))
        for kind in kinds
    )
    good &= "const" not in rule or value == rule["const"]
    good &= "enum" not in rule or value in rule["enum"]
    good &= all(valid(value, each) for each in rule.get("allOf", []))
    good &= "anyOf" not in rule or any(valid(value, each) for each in rule["anyOf"])
    good &= "not" not in rule or not valid(value, rule["not"])
    if "if" in rule and valid(value, rule["if"]):
        good &= valid(value, rule["then"])
    if isinstance(value, str):
        good &= re.search(rule.get("pattern", ""), value) is not None
    if isinstance(value, int | float):
        good &= rule.get("minimum", value) <= value <= rule.get("maximum", value)
        good &= "exclusiveMinimum" not in rule or value > rule["exclusiveMinimum"]
    if isinstance(value, list):
        good &= all(valid(each, rule.get("items", True)) for each in value)
    if isinstance(value, dict):
        own = rule.get("properties", {})
        good &= all(key in value for key in rule.get("required", []))
        good &= all(
            valid(each, own.get(key, rule.get("additionalProperties", True)))
            for key, each in value.items()
        )
    return bool(good)


def content(text: str) -> Any:
    return load(text, "recipe")[1]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_recipe_is_valid(path: Path) -> None:
    assert valid(content(path.read_text()), WHOLE)
    assert valid(compatibility.resolved(read(path)).dump(), WHOLE)


DIGITS = (ROOT / "recipes" / "image-classification-digits-joint.yaml").read_text()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("source: sklearn", "source: sklaern"),
        ("dataset: digits", "datasets: digits"),
        ("dataset: digits", "unlabelled: much"),
        ("width: 32", "widht: 32"),
        ("small_cnn, width: 12, depth: 1", "some/hub-id, width: 12"),
        ("task: image-classification", "task: image_classification"),
        ("temperature: 2.0", "temprature: 2.0"),
        ("kl:", "lk:"),
        ("kl: {temperature: 2.0}", "kl: {weight: linear(1.0)}"),
        ("epochs: 25", "epochs: -1"),
        ("temperature: 2.0", "temperature: 0"),
        ("temperature: 2.0", "temperature: warm"),
        ("epochs: 25", "epoch: 25"),
        ("range: lsq", "range: lqs"),
        ("[onnx]", "[onxn]"),
        ("joint]", "joined]"),
    ],
)
def test_what_is_refused_when_read_is_refused_by_the_schema(old: str, new: str) -> None:
    assert old in DIGITS
    wrong = DIGITS.replace(old, new)
    assert not valid(content(wrong), WHOLE)
    with pytest.raises(ValueError, match=r"."):
        compatibility.check_components(parse(wrong))


@pytest.mark.parametrize(
    "student",
    [
        "{from: teacher, surgery: drop_layers, layers: 3}",
        "{from: teacher, surgery: same}",
        "{model: some/hub-id}",
    ],
)
def test_every_form_of_a_student_is_valid(student: str) -> None:
    text = re.sub(r"student: .*", f"student: {student}", DIGITS)
    assert valid(content(text), WHOLE)


def test_a_schedule_of_temperatures_is_valid() -> None:
    scheduled = DIGITS.replace("temperature: 2.0", 'temperature: "linear(4, 1)"')
    assert valid(content(scheduled), WHOLE)
    compatibility.check_components(parse(scheduled))


def test_every_component_and_key_is_in_the_schema() -> None:
    text = json.dumps(WHOLE)
    for family in ("sources", "augmenters", "networks", "surgeries", "losses"):
        for name in registry.names(family):
            assert f'"{name}"' in text
            for key in registry.keys(family, name):
                assert f'"{key}"' in text


def test_the_schema_of_reports_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.exit_status(["schema", "report"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["title"] == "ReportFile"
    assert schema["$defs"]["Gain"]["properties"]["at_chance"] == {
        "title": "At Chance",
        "type": "boolean",
    }
    assert main.exit_status(["schema", "recipes"]) == 2


def test_a_report_with_a_key_too_many_is_none() -> None:
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        shape.check({"schema": 2, "colour": "red"})
