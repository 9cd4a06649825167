"""`POST /predict`: what a body asks for, in every form that it may have.

- application/json: one row (`{"text": ...}`, with `text_b` for a pair, `{"words": [...]}`,
  `{"image": BASE64}`), or several: a list of rows or of texts, or `{"inputs": [...]}`.
- text/plain: a text. image/*, application/octet-stream: an image's bytes.
- multipart/form-data: files, which are images, or fields of a row.
"""

import base64
import binascii
from http import HTTPStatus
from typing import Any

import orjson

from limbeck.artifact.predictor import Predictor
from limbeck.server.requests.http import JSON, Request
from limbeck.server.requests.multipart import parts_of
from limbeck.server.requests.refusals import Refused, bad_request, too_large
from limbeck.server.settings import Limits

ROW_KEYS = ("text", "text_b", "words", "image")
FORMS = "application/json, text/plain, image/*, application/octet-stream or multipart/form-data"


def inputs_of(request: Request, body: bytes, predictor: Predictor) -> tuple[list[Any], bool]:
    """(raw inputs as `Predictor.predict` takes them, whether one alone was asked for).

    Raises Refused for a body that holds none, or too many.
    """
    kind = request.content_type or JSON
    if kind == JSON or kind.endswith("+json"):
        return of_json(json_of(body), predictor, request.limits)
    if kind == "text/plain":
        return [checked_text(decoded(body), request.limits)], True
    if kind == "multipart/form-data":
        fields = parts_of(body, request.header("content-type"))
        return of_form(fields, predictor, request.limits)
    if kind.startswith("image/") or kind == "application/octet-stream":
        require_images(predictor)
        return [body], True
    raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Type {kind[:60]}: send {FORMS}")


def json_of(body: bytes) -> Any:
    """A body as JSON. Raises Refused where it is none, or lies too deep."""
    # orjson reads UTF-8 alone, refuses NaN, and goes no deeper than 1,024.
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the body is no JSON: {error}") from None


def decoded(body: bytes) -> str:
    """A body as UTF-8. Raises Refused where it is not."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise bad_request(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None


def of_json(value: Any, predictor: Predictor, limits: Limits) -> tuple[list[Any], bool]:
    """(raw inputs, whether one alone was asked for) of a JSON body. Raises Refused."""
    # As others' servers have it; a bare list is one of inputs too.
    if isinstance(value, dict) and "inputs" in value:
        value = value["inputs"]
        if not isinstance(value, list):
            raise bad_request('"inputs": a list of rows or of texts is expected')
    if not isinstance(value, list):
        return [raw_input(value, predictor, limits)], True
    if not value:
        raise bad_request("the list of inputs is empty: send at least one")
    if len(value) > limits.rows:
        raise too_large(f"{len(value):,} inputs: at most {limits.rows:,} are answered at once")
    inputs = []
    for place, each in enumerate(value):
        try:
            inputs.append(raw_input(each, predictor, limits))
        except Refused as error:
            raise Refused(error.status, f"inputs[{place}]: {error.why}") from None
    return inputs, False


def raw_input(value: Any, predictor: Predictor, limits: Limits) -> Any:
    """One input of a JSON body, as `Predictor.predict` takes it. Raises Refused."""
    if isinstance(value, str):
        if predictor.reads_images:
            return image_of(value)
        return checked_text(value, limits)
    if not isinstance(value, dict):
        raise bad_request(f"a row is an object such as {example(predictor)}, or a text")
    # Other keys are the sender's own, such as an id, and are not read.
    row = {key: value[key] for key in ROW_KEYS if key in value}
    if not row:
        raise bad_request(f"a row is an object such as {example(predictor)}")
    # Here, and not by the task: what is wrong with a request is its sender's, status 400.
    for key, content in row.items():
        if key == "words":
            check_words(content, limits)
        elif not isinstance(content, str):
            raise bad_request(f"{key!r}: a text is expected")
        elif key == "image":
            row[key] = image_of(content)
        else:
            checked_text(content, limits)
    return row


def check_words(words: Any, limits: Limits) -> None:
    """Raise Refused for what is no list of words."""
    is_list = isinstance(words, list) and all(isinstance(word, str) for word in words)
    if not is_list or not words:
        raise bad_request("'words': a list of texts is expected, one for each word")
    checked_text(" ".join(words), limits)


def checked_text(text: str, limits: Limits) -> str:
    """A text. Raises Refused for one that is empty, or too long."""
    # The tokenizer would find nothing in it, and say so in words of its own.
    if not text.strip():
        raise bad_request("the text is empty")
    if len(text) > limits.text_characters:
        most = limits.text_characters
        raise too_large(f"a text of {len(text):,} characters: at most {most:,} are read")
    return text


def image_of(text: str) -> bytes:
    """An image's bytes of base64, with or without the head of a data URL. Raises Refused."""
    head, comma, content = text.partition(",")
    # As a browser reads a file.
    if not comma or not head.startswith("data:"):
        content = text
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise bad_request("'image': base64 is expected, or a data URL") from None


def of_form(
    fields: list[tuple[str, bytes, bool]], predictor: Predictor, limits: Limits
) -> tuple[list[Any], bool]:
    """(raw inputs, whether one alone was asked for) of a form's fields. Raises Refused."""
    # Browsers send a name with each file, curl with `-F image=@FILE` too.
    files = [content for name, content, is_file in fields if is_file or name == "image"]
    if files:
        require_images(predictor)
        if len(files) > limits.rows:
            raise too_large(f"{len(files):,} images: at most {limits.rows:,} are answered at once")
        return files, len(files) == 1
    row = {name: decoded(content) for name, content, _ in fields}
    return [raw_input(row, predictor, limits)], True


def require_images(predictor: Predictor) -> None:
    """Raise Refused where the model reads texts."""
    if not predictor.reads_images:
        raise bad_request(f"this model reads no images: send JSON such as {example(predictor)}")


def example(predictor: Predictor) -> str:
    """A row that the model reads, for a message."""
    examples = {
        "text": '{"text": "..."}',
        "words": '{"words": ["...", "..."]}',
        "image": '{"image": "BASE64"}',
    }
    return examples[predictor.kind]
