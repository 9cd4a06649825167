"""`POST /predict`: what a body asks for, in every form that it may have.

- application/json: one row (`{"text": ...}`, with `text_b` for a pair, `{"words": [...]}`,
  `{"image": BASE64}`), or several: a list of rows or of texts, or `{"inputs": [...]}`.
- text/plain: a text. image/*, application/octet-stream: an image's bytes.
- multipart/form-data: files, which are images, or fields of a row.

Nothing that is sent is left unread: a key that the model does not know is refused by its name, for
the answer would else be to another question than the one that was asked.
"""

from http import HTTPStatus
from typing import Any

import orjson

from limbeck.artifact.predictor import NAMES, Predictor
from limbeck.core.wording import suggest
from limbeck.server.requests.base64_text import bytes_of
from limbeck.server.requests.byte_order_mark import without_mark
from limbeck.server.requests.http import Request, is_json
from limbeck.server.requests.multipart import parts_of
from limbeck.server.requests.refusals import Refused, bad_request, too_large
from limbeck.server.settings import Limits
from limbeck.sources._cells.record import words_of
from limbeck.tasks.chat.conversation import conversation
from limbeck.tasks.text_generation import TextGeneration

ROW_KEYS = ("text", "text_b", "words", "image")
# Of a model that writes: what a user says, or a conversation as the chat template reads it.
PAIR = '{"text": "...", "text_b": "..."}'
WRITER_KEYS = ("text", "messages")
NUL = "\0"
# Characters of a key that a message repeats.
MOST_SHOWN = 60
# What JSON begins with, of an object, a list or a text.
OPENINGS = (b"{", b"[", b'"', b" ", b"\t", b"\r", b"\n", b"")
FORMS = "application/json, text/plain, image/*, application/octet-stream or multipart/form-data"


def inputs_of(request: Request, body: bytes, predictor: Predictor) -> tuple[list[Any], bool]:
    """(raw inputs as `Predictor.predict` takes them, whether one alone was asked for).

    Raises Refused for a body that holds none, or too many.
    """
    kind = request.content_type
    # As curl sends a file where its -H is forgotten, and some clients without a word.
    if not kind and predictor.reads_images and body[:1] not in OPENINGS:
        why = "there is no Content-Type: send image/png or another image's, or application/json"
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, why)
    if is_json(kind):
        return of_json(json_of(body), predictor, request.limits)
    if kind == "text/plain":
        # What reads images takes a text for the path of one, and that is for its own user alone.
        if predictor.reads_images:
            why = f"this model reads images: send one's bytes, or JSON such as {example(predictor)}"
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, why)
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
        return orjson.loads(without_mark(body))
    except orjson.JSONDecodeError as error:
        # It says the same of every byte that is no UTF-8, whatever its place.
        decoded(body)
        raise bad_request(f"the body is no JSON: {error}") from None


def decoded(body: bytes) -> str:
    """A body as UTF-8, without a byte order mark. Raises Refused where it is not."""
    try:
        return without_mark(body).decode()
    except UnicodeDecodeError as error:
        raise bad_request(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None


def of_json(value: Any, predictor: Predictor, limits: Limits) -> tuple[list[Any], bool]:
    """(raw inputs, whether one alone was asked for) of a JSON body. Raises Refused."""
    # As others' servers have it; a bare list is one of inputs too.
    if isinstance(value, dict) and "inputs" in value:
        beside = next((key for key in value if key != "inputs"), None)
        if beside is not None:
            why = f'"inputs" holds all that is asked, and {beside[:MOST_SHOWN]!r} stands beside it'
            raise bad_request(f"{why}: put it into a row of the list, or leave it out")
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
    check_keys(value, predictor)
    row = dict(value)
    # Here, and not by the task: what is wrong with a request is its sender's, status 400.
    for key, content in value.items():
        if key == "words":
            check_words(content, limits)
        elif key == "messages":
            row[key] = messages_of(content)
        elif not isinstance(content, str):
            raise bad_request(f"{key!r}: a text is expected")
        elif key == "image":
            row[key] = image_of(content)
        else:
            checked_text(content, limits)
    return row


def check_pairs(inputs: list[Any]) -> None:
    """Raise Refused for an input without a second text, of a model that was trained on pairs: its
    answer to one text means nothing."""
    for place, each in enumerate(inputs):
        if not isinstance(each, dict) or "text_b" not in each:
            where = f"inputs[{place}]: " if len(inputs) > 1 else ""
            raise bad_request(f"{where}this model reads pairs: send {PAIR}")


def check_keys(row: dict[str, Any], predictor: Predictor) -> None:
    """Raise Refused for a row with a key that the model does not read, or with none that it does,
    or with two that say the same."""
    if not row:
        raise bad_request(f"a row is an object such as {example(predictor)}")
    known = keys_of(predictor)
    unknown = next((key for key in row if key not in known), None)
    if unknown is not None:
        why = f"{unknown[:MOST_SHOWN]!r}: this model reads no such key"
        hint = suggest(unknown[:MOST_SHOWN], known)
        raise bad_request(f"{why}. {hint}. A row is an object such as {example(predictor)}")
    # A sentence to tag comes as a text or as its words.
    if "words" in row and "text" in row:
        raise bad_request("'words' and 'text' are the same sentence: send one of the two")
    if "messages" in row and "text" in row:
        raise bad_request("'messages' and 'text' are both what is asked: send one of the two")


def keys_of(predictor: Predictor) -> tuple[str, ...]:
    """The keys of a row that the model reads."""
    main = next((key for key in NAMES if key in predictor.task.row_keys), None)
    if isinstance(predictor.task, TextGeneration):
        return WRITER_KEYS
    # The task of somebody else reads what it likes of what can be sent.
    if main is None:
        return ROW_KEYS
    if main == "text" and not predictor.reads_pairs:
        return ("text",)
    return NAMES[main]


def check_words(words: Any, limits: Limits) -> None:
    """Raise Refused for what is no list of words."""
    is_list = isinstance(words, list) and all(isinstance(word, str) for word in words)
    if not is_list or not words:
        raise bad_request("'words': a list of texts is expected, one for each word")
    checked_text(" ".join(words), limits)
    try:
        words_of(words, "words")
    except ValueError as error:
        raise bad_request(str(error)) from None


def messages_of(content: Any) -> list[dict[str, str]]:
    """A conversation. Raises Refused for what is none."""
    try:
        return conversation(content)
    except ValueError as error:
        raise bad_request(str(error)) from None


def checked_text(text: str, limits: Limits) -> str:
    """A text. Raises Refused for one that is empty, or too long, or that holds a NUL character."""
    # The tokenizer would find nothing in it, and say so in words of its own.
    if not text.strip():
        raise bad_request("the text is empty")
    if len(text) > limits.text_characters:
        most = limits.text_characters
        raise too_large(f"a text of {len(text):,} characters: at most {most:,} are read")
    # As in files of rows: it is a mistake of whoever wrote it, and some tokenizers end there.
    if NUL in text:
        raise bad_request(f"a NUL character at place {text.index(NUL):,} of the text. Remove it")
    return text


def image_of(text: str) -> bytes:
    """An image's bytes of base64. Raises Refused."""
    try:
        return bytes_of(text)
    except ValueError as error:
        raise bad_request(f"'image': {error}") from None


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
        if len(files) < len(fields):
            raise bad_request("this form has other fields beside its images: send images alone")
        return files, len(files) == 1
    row: dict[str, str] = {}
    for name, content, _ in fields:
        # Of two of them one would be answered.
        if name in row:
            raise bad_request(f"{name[:MOST_SHOWN]!r} is there twice in this form: send it once")
        row[name] = decoded(content)
    return [raw_input(row, predictor, limits)], True


def require_images(predictor: Predictor) -> None:
    """Raise Refused where the model reads texts."""
    if not predictor.reads_images:
        why = "this model reads no images, and no other files: send a text as a field of its own"
        raise bad_request(f"{why}, or JSON such as {example(predictor)}")


def example(predictor: Predictor) -> str:
    """A row that the model reads, for a message."""
    examples = {
        "text": PAIR if predictor.needs_pair else '{"text": "..."}',
        "words": '{"words": ["...", "..."]}',
        "image": '{"image": "BASE64"}',
    }
    return examples[predictor.kind]
