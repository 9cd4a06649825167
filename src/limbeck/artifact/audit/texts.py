"""The texts that both models read: lines of a file, or rows of jsonl; and the chat template that
makes texts of dialogues."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from limbeck.artifact.gguf.folder import ModelFolder
from limbeck.core import files
from limbeck.core.wording import json_kind
from limbeck.tasks.chat.template import MessageTemplate

TEMPLATE = "tokenizer.chat_template"
# A dialogue on which templates show what they do: with and without a system's turn, several turns.
ASK = {"role": "user", "content": "Where is my order? "}
ANSWER = {"role": "assistant", "content": "It left today."}
SYSTEM = {"role": "system", "content": "You are kind."}
DIALOGUES = ([ASK], [SYSTEM, ASK], [ASK, ANSWER, ASK])


def read_texts(path: Path, source: ModelFolder, most: int) -> list[str]:
    """The first texts of a file: of .jsonl each row's `text`, or its `messages` in the folder's
    chat template; of another each line that is not blank.

    Raises ValueError, with the line, for a row that has neither.
    """
    # Read line by line, no further than asked: the file may be a corpus.
    files.require_file(path)
    found: list[str] = []
    with files.naming(path), open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if len(found) == most:
                break
            if line.strip():
                is_row = path.suffix in (".jsonl", ".ndjson")
                place = f"{path}:{number}"
                found.append(_text_of_row(line, place, source) if is_row else line.strip("\r\n"))
    if not found:
        raise ValueError(f"{path}: no text in it")
    return found


def _text_of_row(line: str, place: str, source: ModelFolder) -> str:
    """The text of one row."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place}: no JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"{place}: an object is expected, not {json_kind(row)}")
    if isinstance(row.get("text"), str):
        return row["text"]
    if "messages" not in row:
        raise ValueError(f"{place}: a row needs `text` or `messages`")
    if source.chat_template is None:
        raise ValueError(f"{place}: `messages`, and {source.path} has no chat template")
    try:
        return _template(source.chat_template, source).render(row["messages"])
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _template(text: str, source: ModelFolder) -> MessageTemplate:
    """A template with the folder's special tokens."""
    # As transformers hands them to templates.
    named = source.optional("special_tokens_map.json") | source.optional("tokenizer_config.json")
    special = {}
    for key, value in named.items():
        token = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(token, str):
            special[key] = token
    return MessageTemplate(text, special)


def template_that_differs(metadata: Mapping[str, Any], source: ModelFolder) -> Iterator[str]:
    """A sentence where the file's chat template does otherwise than the folder's."""
    # Two texts that differ may write the same; what they write is what counts.
    own = source.chat_template
    found = metadata.get(TEMPLATE)
    if own is None or own == found:
        return
    if not isinstance(found, str):
        yield f"{TEMPLATE} is missing: dialogues would be written otherwise than the model knows"
        return
    # The first difference is told: where the system's turn is lost, all others differ too.
    for messages in DIALOGUES:
        for asks in (False, True):
            expected = _rendered(own, source, messages, asks)
            text = _rendered(found, source, messages, asks)
            if text != expected:
                turns = ", ".join(message["role"] for message in messages)
                yield f"{TEMPLATE} writes the turns {turns} as {text!r}, the folder as {expected!r}"
                return


def _rendered(template: str, source: ModelFolder, messages: list[Any], asks: bool) -> str:
    """A dialogue as a template writes it, or what the template says against it."""
    try:
        return _template(template, source).render(messages, add_generation_prompt=asks)
    except ValueError as error:
        return f"refused: {error}"
