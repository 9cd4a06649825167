"""What is expected in place of a value, by pydantic's kinds of mistakes, in the words of those who
write JSON or YAML and perhaps no Python."""

import json
from collections.abc import Mapping
from typing import Any

from limbeck.core.wording import json_kind

EXPECTED = {
    "none_required": "null",
    "string_type": "a text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a number that is finite",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "literal_error": "{expected}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "too_long": "a list of at most {max_length}",
    "missing": "a value",
}
# Characters of a value that a message repeats.
MOST_SHOWN = 40


def expected(mistake: Mapping[str, Any], words: Mapping[str, str] = EXPECTED) -> str:
    """What is expected where a mistake stands, as `words` have it; empty where they do not know."""
    facts = {key: figure(value) for key, value in mistake.get("ctx", {}).items()}
    return words.get(mistake["type"], "").format(**facts)


def figure(value: Any) -> Any:
    """A bound of numbers without `.0`, and choices as JSON writes them."""
    if isinstance(value, float):
        return f"{value:g}"
    return value.replace("'", '"') if isinstance(value, str) else value


def shown(value: Any) -> str:
    """A value as it was written, about."""
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    if isinstance(value, dict):
        return json_kind(value)
    return json.dumps(value, default=str)[:MOST_SHOWN]
