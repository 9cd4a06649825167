"""A conversation is texts, whatever asks: one reader refuses what is none, and names the message."""

import json
from pathlib import Path
from typing import Any

import pytest
from commands import call
from server.made import install_products, write_model

from limbeck.artifact.generation.text_model import text_model_of
from limbeck.artifact.load import load
from limbeck.tasks.chat.conversation import MOST_MESSAGES, conversation
from limbeck.tasks.chat.template import MessageTemplate

TEXT = {"type": "text", "text": "Hi"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
# What a chat template would write as Python prints it, and what the sentence says of it.
NO_CONTENTS: list[tuple[Any, str]] = [
    (3, "content: a text, or a list of .* parts, not a number"),
    (float("nan"), "not a number"),
    (True, "not true or false"),
    (None, "not null"),
    ({"a": 1}, "not an object"),
    ([], "content: 1 to 4,096 parts, and there are 0"),
    (["Hi"], r"content\[0\]: this is no text"),
    ([TEXT, 3], r"content\[1\]: this is no text"),
    ([TEXT, IMAGE], r"content\[1\]: a part of type `image_url` is no text"),
    ([{"type": "text", "text": 3}], r"content\[0\]: a part of type `text` is no text"),
    ([{"type": "text"}], r"content\[0\]"),
    ([TEXT | {"cache_control": {}}], r"content\[0\]: `cache_control` is not done here"),
    ("a\0b", "a NUL character. Remove it"),
    ("a\ud800", "half of a character"),
]


@pytest.mark.parametrize("role", ["system", "assistant"])
@pytest.mark.parametrize(("content", "told"), NO_CONTENTS)
def test_a_content_that_is_no_text_is_refused(role: str, content: Any, told: str) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": role, "content": content}]
    with pytest.raises(ValueError, match=rf"^message 2 \({role}\): .*{told}"):
        conversation(messages)


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ("Hi", "`messages`: a list of 1 to 4,096 objects .* expected, not a text"),
        ({}, "not an object"),
        (None, "not null"),
        ([], "this one has 0"),
        ([{}] * (MOST_MESSAGES + 1), "this one has 4,097"),
        (["Hi"], "message 1: an object with `role` and `content`, not a text"),
        ([{"content": "Hi"}], "message 1: its role is null. Choices: system"),
        ([{"role": 3, "content": "Hi"}], "its role is a number"),
        ([{"role": ["user"], "content": "Hi"}], "its role is a list"),
        ([{"role": "usr", "content": "Hi"}], "its role is `usr`. Did you mean `user`"),
        ([{"role": "user<end>", "content": "Hi"}], "its role is `user<end>`"),
        ([{"role": "user"}], r"message 1 \(user\): content: .* not null"),
        ([{"role": "user", "contnt": "Hi"}], "`contnt` is not done here. Did you mean `content`"),
        ([{"role": "user", "content": "Hi", "name": "Ada"}], "`name` is not done here"),
        ([{"role": "assistant", "content": None, "tool_calls": [CALL]}], "`tool_calls` is not"),
        ([{"role": "tool", "content": "4", "tool_call_id": "a"}], "`tool_call_id` is not"),
    ],
)
def test_what_is_no_conversation_is_told(messages: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        conversation(messages)


def test_what_says_nothing_may_come_back_with_a_message() -> None:
    empty = {"refusal": None, "tool_calls": [], "annotations": [], "audio": None, "name": None}
    said = {"role": "assistant", "content": ""}
    assert conversation(({"role": "user", "content": [TEXT, TEXT]}, said | empty)) == [
        {"role": "user", "content": "Hi\nHi"},
        said,
    ]


@pytest.mark.parametrize(("others", "written"), [("", "system"), ("{# developer #}", "developer")])
def test_developers_are_the_system_of_templates_that_know_none(others: str, written: str) -> None:
    text = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    messages = [{"role": "developer", "content": "Be kind"}]
    assert MessageTemplate(text + others).render(messages) == f"<{written}>Be kind"


def test_every_way_to_ask_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_products(tmp_path / "site", monkeypatch)
    folder = write_model(tmp_path / "artifact", "text-generation")
    predictor = load(folder)
    writer = text_model_of(predictor)
    assert writer is not None
    in_parts, bare = ({"messages": [{"role": "user", "content": c}]} for c in ([TEXT], "Hi"))
    assert writer.prompt_of(in_parts) == writer.prompt_of(bare)
    assert predictor.predict(in_parts) == predictor.predict(bare)
    for content, _ in NO_CONTENTS[:-1]:
        row = {"messages": [{"role": "user", "content": content}]}
        with pytest.raises(ValueError, match=r"message 1 \(user\): ") as told:
            predictor.predict(row)
        with pytest.raises(ValueError, match=r"message 1 \(user\): ") as of_writer:
            writer.prompt_of(row)
        assert str(of_writer.value) == str(told.value)
        rows = tmp_path / "rows.jsonl"
        rows.write_text(json.dumps(row) + "\n")
        call("predict", folder, rows, "--generate", "max_tokens=3")
        line = json.loads(capsys.readouterr().out)
        assert line["error"] == str(told.value)
