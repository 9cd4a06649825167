"""The document of the API laid out for a page: operations by what they are for, schemas as rows."""

import json
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

# A schema that names itself would never end; ours lie no deeper.
MOST_DEPTH = 6
# Of an enumeration, and of a pattern, which are shown.
MOST_CHOICES = 12
UNIONS = {"anyOf": "one of these", "oneOf": "one of these", "allOf": "all of these"}
BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "above",
    "exclusiveMaximum": "below",
    "minLength": "characters, at least",
    "maxLength": "characters, at most",
    "minItems": "items, at least",
    "maxItems": "items, at most",
}


def view(document: Json) -> Json:
    """What the page shows.

    `groups`: each with its operations; an operation has its parameters, its bodies and its answers,
    whose schemas are lists of rows (`rows_of`).
    """
    # In the order of the tags: what most people look for comes first.
    groups = []
    for tag in document["tags"]:
        found = [
            operation
            for path, methods in document["paths"].items()
            for operation in operations_of(document, path, methods)
            if tag["name"] in operation["tags"]
        ]
        # Without a further address the group of others is empty.
        if found:
            groups.append(tag | {"operations": found})
    return {"info": document["info"], "groups": groups}


def operations_of(document: Json, path: str, methods: Json) -> Iterator[Json]:
    """The operations of an address."""
    for method, operation in methods.items():
        parameters = [resolved(document, each) for each in operation.get("parameters", [])]
        # Bodies, parameters and responses may each stand below `components`.
        body = resolved(document, operation.get("requestBody", {}))
        yield {
            "anchor": f"{method}{path}".replace("/", "-").replace("{", "").replace("}", ""),
            "method": method.upper(),
            "path": path,
            "summary": operation["summary"],
            "description": operation.get("description", ""),
            "tags": operation["tags"],
            "needs_token": "security" in operation,
            "parameters": [parameter_of(document, each) for each in parameters],
            "bodies": list(contents_of(document, body)),
            "answers": list(answers_of(document, operation["responses"])),
        }


def parameter_of(document: Json, parameter: Json) -> Json:
    """A parameter of an operation."""
    return {
        "name": parameter["name"],
        "place": parameter["in"],
        "kind": kind_of(document, parameter["schema"]),
        "description": parameter.get("description", ""),
        "required": parameter.get("required", False),
    }


def answers_of(document: Json, responses: Json) -> Iterator[Json]:
    """The answers of an operation, by status."""
    for status, response in responses.items():
        response = resolved(document, response)
        yield {
            "status": status,
            "description": response["description"],
            "headers": list(response.get("headers", {})),
            "contents": list(contents_of(document, response)),
            # Sentences, which are all alike: the page tells their shape once.
            "is_refusal": status != "default" and int(status) >= 400,
        }


def contents_of(document: Json, holder: Json) -> Iterator[Json]:
    """The media types of a body or an answer, each with the rows of its schema."""
    for media_type, content in holder.get("content", {}).items():
        rows = list(rows_of(document, content["schema"], "", 0))
        yield {"type": media_type, "rows": rows}


def resolved(document: Json, part: Json) -> Json:
    """What a reference stands for; another part as it is."""
    found: Any = part
    while "$ref" in found:
        names = found["$ref"].removeprefix("#/").split("/")
        found = document
        for name in names:
            found = found[name]
    return dict(found)


def rows_of(document: Json, schema: Json, name: str, depth: int) -> Iterator[Json]:
    """A schema as rows: `name`, `kind`, `description`, `depth`, `required`; what lies in it follows
    a step deeper."""
    schema = resolved(document, schema)
    yield {
        "name": name,
        "kind": kind_of(document, schema),
        "description": schema.get("description", ""),
        "depth": depth,
        "required": True,
    }
    if depth >= MOST_DEPTH:
        return
    required = schema.get("required", [])
    for key, inner in schema.get("properties", {}).items():
        # The first row is the property itself.
        first, *others = rows_of(document, inner, key, depth + 1)
        yield first | {"required": key in required}
        yield from others
    # The choices of a union are rows without a name.
    for word in UNIONS:
        for inner in schema.get(word, []):
            yield from rows_of(document, inner, "", depth + 1)
    items = schema.get("items")
    # Of plain items the array's own row says all.
    if items and is_nested(resolved(document, items)):
        yield from rows_of(document, items, "each", depth + 1)
    values = schema.get("additionalProperties")
    if isinstance(values, dict) and is_nested(resolved(document, values)):
        yield from rows_of(document, values, "each", depth + 1)


def is_nested(schema: Json) -> bool:
    """Whether a schema has parts of its own."""
    return any(word in schema for word in ("properties", "items", *UNIONS))


def kind_of(document: Json, schema: Json) -> str:
    """A schema in a few words."""
    schema = resolved(document, schema)
    for word, words in UNIONS.items():
        if word in schema and "properties" not in schema:
            return words
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if "enum" in schema:
        shown = [json.dumps(each, ensure_ascii=False) for each in schema["enum"][:MOST_CHOICES]]
        hidden = len(schema["enum"]) - len(shown)
        return ", ".join(shown) + (f" and {hidden} more" if hidden else "")
    # Of several types `null` is mostly one.
    kinds = schema.get("type", "anything")
    told = kinds if isinstance(kinds, str) else " or ".join(kinds)
    if told == "array" and "items" in schema and not is_nested(resolved(document, schema["items"])):
        told = f"array of {kind_of(document, schema['items'])}"
    # An object of any keys is told by its values.
    values = schema.get("additionalProperties")
    if isinstance(values, dict) and not is_nested(resolved(document, values)):
        told = f"{told} of {kind_of(document, values)}"
    if schema.get("contentEncoding"):
        told = f"{told}, {schema['contentEncoding']}"
    bounds = [f"{words} {schema[key]:,}" for key, words in BOUNDS.items() if key in schema]
    return "; ".join([told, *bounds])
