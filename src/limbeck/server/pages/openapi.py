"""The document of the server (OpenAPI 3.1.0): `openapi.yaml`, with this server's models.

Each model has an address of its own in it, with what it reads and what it answers, its labels by
name. An address that the table has and the file does not (another room's) is told by its handler's
docstring.
"""

import copy
import functools
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import limbeck
from limbeck.artifact.predictor import Predictor
from limbeck.core import yaml12
from limbeck.server.chat.replies import PREFIX
from limbeck.server.hosting import Model
from limbeck.server.pages.described import labels_of, reads_pairs
from limbeck.server.requests.routes import OPEN, Routes
from limbeck.tasks.text_generation import TextGeneration

Json = dict[str, Any]

FILE = Path(__file__).with_name("openapi.yaml")
# More names are no help to who reads them, and a vocabulary has 30,000.
MOST_NAMED = 200
# What refusals in the form of OpenAI's API are called by.
V1 = "V1"
FREE = "/predict/{model}"
ONLY = "/predict"
JSON = "application/json"
OF_SETS = "Labels that hold the true one, as often as was promised."
# What a refusal of a status brings beside its sentence.
HEADERS = {
    "405": {"Allow": {"schema": {"type": "string"}}},
    "401": {"WWW-Authenticate": {"schema": {"const": "Bearer"}}},
    "429": {
        "Retry-After": {
            "description": "Seconds after which there may be room.",
            "schema": {"type": "integer", "minimum": 1},
        }
    },
}
SECURITY = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of the server's file.",
}


def document(routes: Routes, models: Sequence[Model] | None, *, needs_token: bool) -> Json:
    """The document.

    Args:
        routes: every address.
        models: those to be named; None to name none.
        needs_token: whether addresses that are not open ask for a token.
    """
    found: Json = copy.deepcopy(template())
    found["info"]["version"] = limbeck.__version__
    # Relative to the document: a proxy may have the server below an address of its own.
    found["servers"] = [{"url": "."}]
    # A sentence for each status, which no reader of OpenAPI would look for here.
    refusals = found.pop("x-refusals")
    add_others(found["paths"], routes)
    name_all(found["paths"])
    if models is not None:
        add_models(found, models)
        keep_writers(found["paths"], models)
    # Last: by then every address is there, with the statuses that it names itself.
    for path, operations in found["paths"].items():
        needed = needs_token and path not in OPEN
        for method, operation in operations.items():
            if "{" in path:
                operation.setdefault("x-errors", []).append(405)
            if not needs_token:
                # By a foreign name, or of a foreign page (`requests.hosts`).
                foreign = [421] if method == "get" else [403, 421]
                operation.setdefault("x-errors", []).extend(foreign)
            form = V1 if path.startswith(PREFIX) else ""
            add_refusals(operation, refusals, needs_token=needed, form=form)
    # One response for each status, which all operations refer to.
    responses = found["components"]["responses"]
    for status, why in refusals.items():
        responses[f"Refused{status}"] = refusal(status, why)
        responses[f"Refused{status}{V1}"] = refusal(status, why, f"Error{V1}")
    if needs_token:
        found["components"]["securitySchemes"] = {"token": SECURITY}
    return found


@functools.cache
def template() -> Json:
    """The file, read once."""
    _, content = yaml12.load(FILE.read_text(encoding="utf-8"), str(FILE))
    # Through JSON: what YAML has twice by an alias is changed at one place, and not at the other.
    apart: Json = json.loads(json.dumps(content))
    return apart


def refusal(status: str, why: str, form: str = "Error") -> Json:
    """The answer of a status that is a sentence, in the schema `form`."""
    return {
        "description": why,
        "content": {JSON: {"schema": ref(form)}},
        "headers": HEADERS.get(status, {}),
    }


def add_refusals(operation: Json, refusals: Json, *, needs_token: bool, form: str) -> None:
    """Name what an operation may be refused with, in which form, and the token that it asks for."""
    statuses = {str(status) for status in operation.pop("x-errors", [])}
    if needs_token:
        # Without a token, or with one that asks too often.
        statuses |= {"401", "429"}
        operation["security"] = [{"token": []}]
    for status in sorted(statuses & set(refusals)):
        operation["responses"][status] = {"$ref": f"#/components/responses/Refused{status}{form}"}


def add_others(paths: Json, routes: Routes) -> None:
    """Tell of addresses that the file does not have, by what their handlers say of themselves."""
    for method, path, handler in routes.all():
        operations = paths.setdefault(path, {})
        if method.lower() in operations:
            continue
        # Its first sentence is written for who reads the code, and true of the address.
        sentence = (inspect.getdoc(handler) or path).partition("\n\n")[0]
        names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        operations[method.lower()] = {
            "tags": ["others"],
            "summary": " ".join(sentence.split()),
            "parameters": [in_path(name) for name in names],
            "responses": {"default": {"description": "As its own protocol has it."}},
        }


def name_all(paths: Json) -> None:
    """Name the operations that have no name, and the versions in their addresses."""
    for path, operations in paths.items():
        for method, operation in operations.items():
            operation.setdefault("operationId", f"{method}{path}")
            names = [each.get("name") for each in operation.get("parameters", [])]
            # The file describes an address with a version as the one without.
            if "{version}" in path and "version" not in names:
                operation["parameters"] = [*operation["parameters"], in_path("version")]


def in_path(name: str) -> Json:
    """A part of an address."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
    }


def add_models(found: Json, models: Sequence[Model]) -> None:
    """Give each model an address with its own schemas, in the place of the one for all."""
    paths = found["paths"]
    # A tool that sends what the schema allows would else meet models that read other things.
    free = paths.pop(FREE)
    of_only = paths.pop(ONLY)
    # Before the other addresses, as they are what people look for.
    named: Json = {}
    for model in models:
        named[f"{ONLY}/{model.name}"] = operations_of(model, free, found["components"]["schemas"])
    if len(models) == 1:
        # The same of the address that names no model.
        (operations,) = copy.deepcopy(list(named.values()))
        for method, operation in operations.items():
            operation["operationId"] = of_only[method]["operationId"]
        named = {ONLY: operations} | named
    found["paths"] = named | paths
    names = [model.name for model in models]
    # A name that is none of them is one that the server does not have.
    found["components"]["parameters"]["model"]["schema"] = {"enum": names}


def keep_writers(paths: Json, models: Sequence[Model]) -> None:
    """Leave out what no model of the server answers: where none writes text, that is asked of
    none."""
    if any(model.live.writer for model in models):
        return
    for path in [path for path in paths if path.startswith(PREFIX)]:
        if "post" in paths[path]:
            del paths[path]


def operations_of(model: Model, free: Json, schemas: Json) -> Json:
    """The operations of a model's own address, made of those of the address for all."""
    operations = copy.deepcopy(free)
    for operation in operations.values():
        # Its name is in the address: the first parameter is none any more.
        del operation["parameters"][0]
        operation["operationId"] += f"-{model.name}"
    task = model.live.predictor.task_name
    operations["get"]["summary"] = f"What the model {model.name} reads and answers."
    operations["post"]["summary"] = f"Answers of the model {model.name}: {task}."
    operations["post"] |= asked_and_answered(model, schemas)
    return operations


def asked_and_answered(model: Model, schemas: Json) -> Json:
    """The body and the answers of a model, whose schemas are added to `schemas`."""
    answer = f"Answer-{model.name}"
    origin = f"Origin-{model.name}"
    schemas[answer] = answer_of(model.live.predictor, schemas)
    # Every answer says which model it is of.
    schemas[origin] = copy.deepcopy(schemas["Origin"])
    schemas[origin]["properties"]["model"] = {"const": model.name}
    # A list of answers names their origin once.
    listed = object_of(answers=list_of(ref(answer)))
    one = {"allOf": [ref(answer), ref(origin)]}
    several = {"allOf": [listed, ref(origin)]}
    response = {
        "description": "The answer, or a list of them.",
        "content": {JSON: {"schema": {"anyOf": [one, several]}}},
    }
    body = {
        "required": True,
        "content": bodies_of(model.live.predictor),
    }
    return {"requestBody": body, "responses": {"200": response}}


def bodies_of(predictor: Predictor) -> Json:
    """What may be sent to a model, by its Content-Type."""
    row = f"RowOf{kind_of(predictor).capitalize()}"
    reads_images = predictor.kind == "image"
    # A text, or an image's base64, may stand for its row.
    alone = ref("Base64" if reads_images else "Text")
    one = [ref(row)] if predictor.needs_pair else [ref(row), alone]
    several = list_of({"anyOf": one})
    # It holds all that is asked.
    listed = object_of(inputs=several) | {"additionalProperties": False}
    either = [*one, several, listed]
    bodies: Json = {JSON: {"schema": {"anyOf": either}}}
    if reads_images:
        # As files are sent: by itself, or as a field of a form.
        bodies["image/*"] = {"schema": ref("ImageFile")}
        bodies["multipart/form-data"] = {"schema": ref("ImageForm")}
    elif not predictor.needs_pair:
        bodies["text/plain"] = {"schema": ref("Text")}
    return bodies


def kind_of(predictor: Predictor) -> str:
    """What the rows of a model are of, as the file calls them."""
    if isinstance(predictor.task, TextGeneration):
        return "dialogues"
    if predictor.needs_pair:
        return "pair"
    return "texts" if reads_pairs(predictor) else predictor.kind


def answer_of(predictor: Predictor, schemas: Json) -> Json:
    """The schema of a model's answer: that of its task, with the model's labels by name."""
    decision = predictor.decision
    # The task of somebody else answers what its own documents say.
    found: Json = copy.deepcopy(schemas.get(predictor.task_name, {"type": "object"}))
    properties: Json = found.setdefault("properties", {})
    # A program that reads the document can be made to know every label.
    names = labels_of(predictor)
    label: Json = {"type": "string"}
    if 0 < len(names) <= MOST_NAMED:
        label = {"enum": names}
    if "label" in properties:
        properties["label"] |= label
    for plural in {"labels", "tags"} & set(properties):
        properties[plural]["items"] = label
    # What the artifact's decision.json adds to every answer.
    further: Json = {}
    if decision.sets is not None:
        further["set"] = list_of(label) | {"description": OF_SETS, "minItems": 0}
    if decision.threshold is not None:
        further["confidence"] = ref("Confidence")
        further["abstain"] = ref("Abstain")
    found["required"] = [*found.get("required", []), *further]
    properties |= further
    return found


def ref(name: str) -> Json:
    """A schema that the document has by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(item: Json) -> Json:
    """The schema of a list of one or more."""
    return {"type": "array", "minItems": 1, "items": item}


def object_of(**properties: Json) -> Json:
    """The schema of an object that has all of these."""
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
    }
