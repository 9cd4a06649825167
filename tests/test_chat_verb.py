"""`limbeck chat`: a conversation in the terminal, which remembers, forgets and goes on."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import call, mistake
from server import made
from server.made import install_products, write_model

from limbeck.artifact.generation.answering import Asked, Piece
from limbeck.artifact.generation.text_model import text_model_of
from limbeck.artifact.load import load
from limbeck.cli.chat import Talk


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install_products(tmp_path / "site", monkeypatch)
    # The example reads twelve tokens: one turn.
    task, kind, raw = made.EXAMPLES["text-generation"]
    longer = json.dumps(json.loads(task.preprocess) | {"max_tokens": 64})
    monkeypatch.setitem(made.EXAMPLES, "text-generation", (type(task)([], longer), kind, raw))
    return write_model(tmp_path / "artifact", "text-generation")


@pytest.fixture
def talk(folder: Path) -> Talk:
    writer = text_model_of(load(folder))
    assert writer is not None
    return Talk(writer, Asked(max_tokens=3, end_ids=writer.end_ids))


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def answers_of(folder: Path, conversation: list[str], capsys: Any, *options: str) -> list[str]:
    """What `limbeck predict` answers to a conversation that grows."""
    messages: list[dict[str, str]] = []
    told = []
    for text in conversation:
        messages.append({"role": "user", "content": text})
        rows = folder.parent / "rows.jsonl"
        rows.write_text(json.dumps({"messages": messages}) + "\n")
        assert call("predict", folder, rows, *options) == 0
        answer = json.loads(capsys.readouterr().out)
        told.append(answer["text"])
        messages.append({"role": "assistant", "content": answer["text"]})
    return told


def test_a_conversation_is_answered_as_predict_answers_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--generate", "max_tokens=4")
    first, second = answers_of(folder, ["Ada", "lives in"], capsys, *few)
    typed(monkeypatch, "Ada\n\n  lives in \n/new\nAda\n")
    assert call("chat", folder, *few) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{first}\n{second}\n{first}\n" and not shown.err


def test_what_cannot_be_asked_is_told_and_the_conversation_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = text_model_of(load(folder))
    assert writer is not None
    few = ("--generate", "max_tokens=4")
    (alone,) = answers_of(folder, ["Ada"], capsys, *few)
    typed(monkeypatch, f"{writer.special_tokens[0]}\nAda\n")
    assert call("chat", folder, *few) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{alone}\n"
    assert "special token" in shown.err and "Traceback" not in shown.err


def test_the_first_messages_are_forgotten_where_all_are_too_long(
    talk: Talk, capsys: pytest.CaptureFixture[str]
) -> None:
    most = talk.writer.decoder.positions
    for _ in range(most):
        talk.answer("Ada lives in Rome", lambda text: None)
        assert [turn["role"] for turn in talk.turns] == ["user", "assistant"] * (
            len(talk.turns) // 2
        )
        if "forgotten" in capsys.readouterr().err:
            break
    else:
        pytest.fail("nothing was forgotten")
    prompt = talk.writer.prompt_of_messages([*talk.turns[:-1]])
    assert len(prompt) + 3 <= most
    # One message that is too long by itself is refused, and nothing before it is forgotten.
    before = list(talk.turns)
    with pytest.raises(ValueError, match="shorten it"):
        talk.answer("Ada " * 20 * most, lambda text: None)
    assert talk.turns == before


def test_the_system_message_stays_before_all(talk: Talk) -> None:
    told = []
    writer = talk.writer

    class Told:
        decoder = SimpleNamespace(positions=100)

        def prompt_of_messages(self, messages: Any) -> list[int]:
            told.append(messages)
            return writer.prompt_of_messages(messages)

        def answer(self, prompt: list[int], asked: Asked) -> Iterator[Piece]:
            return iter([Piece("Rome", 1)])

    talk.writer = Told()  # type: ignore[assignment]
    talk.system = "Be brief"
    talk.answer("Ada", lambda text: None)
    talk.answer("Rome", lambda text: None)
    assert [[each["role"] for each in messages] for messages in told] == [
        ["system", "user"],
        ["system", "user", "assistant", "user"],
    ]


def test_ctrl_c_ends_an_answer_and_keeps_what_was_said(talk: Talk) -> None:
    def show(text: str) -> None:
        if text == "b":
            raise KeyboardInterrupt

    class Slow:
        decoder = talk.writer.decoder

        def prompt_of_messages(self, messages: Any) -> list[int]:
            return [1]

        def answer(self, prompt: list[int], asked: Asked) -> Iterator[Piece]:
            yield from (Piece("a", 1), Piece("b", 2), Piece("c", 3))

    talk.writer = Slow()  # type: ignore[assignment]
    talk.answer("Hi", show)
    assert talk.turns[-1] == {"role": "assistant", "content": "a"}


def test_other_artifacts_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_products(tmp_path / "site", monkeypatch)
    labels = write_model(tmp_path / "labels", "text-classification")
    assert "limbeck predict" in mistake(capsys, "chat", labels)
