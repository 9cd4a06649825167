"""`limbeck predict` of a model that writes: answers in lines, or shown as they grow."""

import io
import json
import sys
from pathlib import Path

import pytest
from commands import call, mistake
from server.made import install_products, write_model

from limbeck.artifact.generation.text_model import text_model_of
from limbeck.artifact.load import load


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install_products(tmp_path / "site", monkeypatch)
    return write_model(tmp_path / "artifact", "text-generation")


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_for_every_row(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("Ada\n \nAda lives in [SEP]\n")
    assert call("predict", folder, rows, "--generate", "max_tokens=3") == 0
    first, *others = lines_of(capsys)
    assert first["input"] == "Ada" and first["num_tokens"] == 3 and first["finish"] == "length"
    writer = text_model_of(load(folder))
    assert writer is not None
    ids = writer.prompt_of_messages([{"role": "user", "content": "Ada"}])
    # The table answers each token by itself, and greedily: the last is looked up again and again.
    assert first["text"].split()[0] in json.dumps(
        load(folder).predict({"messages": [{"role": "user", "content": "Ada"}]})
    )
    assert len(ids) > 2
    assert "special token [SEP]" in others[-1]["error"]


def test_a_row_may_hold_a_conversation(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [{"role": "user", "content": "Ada"}]
    wrong = [{"id": 2, "messages": "Ada"}, {"id": 3, "messages": []}, {"messages": ["Ada"]}]
    rows = tmp_path / "rows.jsonl"
    content = [{"id": 1, "messages": said}, *wrong]
    rows.write_text("".join(f"{json.dumps(row)}\n" for row in content))
    assert call("predict", folder, rows, "--generate", "max_tokens=3") == 0
    first, *others = lines_of(capsys)
    assert first["id"] == 1 and first["num_tokens"] == 3
    assert all("`role` and `content`" in each["error"] for each in others)
    # Of a column that is named the other comes back.
    rows.write_text(json.dumps({"messages": said, "asked": "Ada"}) + "\n")
    assert call("predict", folder, rows, "--text", "asked", "--generate", "max_tokens=3") == 0
    (named,) = lines_of(capsys)
    assert named["text"] == first["text"] and named["messages"] == said


def test_drawn_answers_repeat_with_their_seed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("Ada\n")

    def text(seed: int) -> str:
        keys = [f"seed={seed}", "temperature=1.5", "max_tokens=4"]
        assert (
            call("predict", folder, rows, *(part for key in keys for part in ("--generate", key)))
            == 0
        )
        return lines_of(capsys)[0]["text"]

    assert text(1) == text(1)
    assert len({text(seed) for seed in range(4)}) > 1


def test_an_answer_is_shown_on_a_terminal_as_it_grows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        flushed = 0

        def isatty(self) -> bool:
            return True

        def flush(self) -> None:
            self.flushed += 1

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Ada\n")))
    monkeypatch.setattr(sys, "stdout", terminal)
    assert call("predict", folder, "--generate", "max_tokens=3") == 0
    assert terminal.flushed >= 3
    assert "{" not in terminal.getvalue() and terminal.getvalue().endswith("\n")


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("temprature=1", "Did you mean `temperature`"),
        ("temperature", "KEY=VALUE is expected"),
        ("seed=a", "a whole number is expected"),
        ("top_p=2", "top_p: above 0"),
        ("max_tokens=0", "max_tokens: at least 1"),
    ],
)
def test_options_that_are_none_are_told(
    folder: Path, option: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in mistake(capsys, "predict", folder, "--generate", option)


@pytest.mark.services
def test_a_server_answers_rows_as_predict_does(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("granian")
    from server.served import serving

    from limbeck.server.client import Remote

    # A text is what a user says.
    said = {"messages": [{"role": "user", "content": "York"}]}
    rows: list[dict] = [{"text": "Ada lives"}, said]
    file = tmp_path / "rows.txt"
    file.write_text("Ada lives\nYork\n")
    out = tmp_path / "out.jsonl"
    assert call("predict", folder, file, "--out", out) == 0
    local = [json.loads(line) for line in out.read_text().splitlines()]
    keys = ("text", "finish", "num_tokens")
    expected = [{key: line[key] for key in keys} for line in local]
    with serving(tmp_path / "served", f"chat={folder}") as served:
        told = served.ask("GET", "/predict/chat").json
        assert told["answers"] == list(keys) and told["labels"] == []
        one = served.ask("POST", "/predict/chat", rows[0]).json
        assert {key: one[key] for key in keys} == expected[0] and one["model"] == "chat"
        alone = served.ask("POST", "/predict", "Ada lives", content_type="text/plain").json
        assert alone == one
        assert served.ask("POST", "/predict", rows).json["answers"] == expected
        for row, part in (
            ({"messages": []}, "`messages`"),
            ({"messages": ["a"]}, "message 1: an object"),
            ({"messages": [{"role": "user", "content": True}]}, "not true or false"),
            (rows[0] | rows[1], "send one of the two"),
            ({"words": ["a"]}, "'words'"),
            ({"text": " "}, "empty"),
        ):
            refused = served.ask("POST", "/predict", row)
            assert refused.status == 400 and part in refused.json["error"]
        document = served.ask("GET", "/openapi.json").json
        answer = document["components"]["schemas"]["Answer-chat"]
        assert answer["required"] == list(keys)
        remote = Remote(f"http://127.0.0.1:{served.port}/predict/chat")
        assert remote.keys == list(keys)
        remote.close()
        # By a server as here.
        table = tmp_path / "rows.jsonl"
        table.write_text(json.dumps(said) + "\n")
        url = f"http://127.0.0.1:{served.port}/predict/chat"
        assert call("predict", "--url", url, table, "--out", out) == 0
        (line,) = [json.loads(line) for line in out.read_text().splitlines()]
        assert {key: line[key] for key in keys} == expected[1]
        for option in (("--generate", "max_tokens=3"), ("--runtime", "openvino")):
            assert call("predict", "--url", url, table, *option) == 2
