"""What a body of `POST /predict` asks for, by what the model reads: nothing is left unread, and no text
is ever the path of a file."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made import install_products, write_model

pytest.importorskip("orjson")
pytest.importorskip("python_multipart")

import limbeck
from limbeck.artifact.predictor import Predictor
from limbeck.server.requests.asked import check_pairs, inputs_of
from limbeck.server.requests.refusals import Refused
from limbeck.server.settings import Limits
from limbeck.server.v2 import json_text

Open = Callable[[str], Predictor]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens an artifact of a task."""
    install_products(tmp_path / "site", monkeypatch)

    def of(task: str) -> Predictor:
        return limbeck.load(write_model(tmp_path / task, task))

    return of


def asked(predictor: Predictor, body: Any, kind: str = "application/json") -> list[Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request: Any = SimpleNamespace(
        content_type=kind.partition(";")[0], limits=Limits(), header=lambda name: kind
    )
    return inputs_of(request, content, predictor)[0]


def refusal(predictor: Predictor, body: Any, kind: str = "application/json") -> Refused:
    with pytest.raises(Refused) as caught:
        asked(predictor, body, kind)
    return caught.value


@pytest.mark.parametrize("text", ["/etc/passwd", "x.png", "../x.png"])
def test_no_text_is_the_path_of_an_image(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    predictor = opened("image-classification")
    for body in (text, [text], {"image": text}, {"inputs": [text]}, {"inputs": [{"image": text}]}):
        assert "base64" in refusal(predictor, body).why
    assert refusal(predictor, text.encode(), "text/plain").status == 415
    assert refusal(predictor, text.encode(), "text/plain; charset=utf-8").status == 415
    form = f"--x\r\nContent-Disposition: form-data; name=text\r\n\r\n{text}\r\n--x--\r\n"
    assert "'text'" in refusal(predictor, form.encode(), "multipart/form-data; boundary=x").why


def part(name: str, text: str) -> str:
    return f"--x\r\nContent-Disposition: form-data; name={name}\r\n\r\n{text}\r\n"


def test_a_form_has_no_field_that_is_left_out(opened: Open) -> None:
    kind = "multipart/form-data; boundary=x"
    image = part("image", "1") + part("text", "a") + "--x--\r\n"
    predictor = opened("image-classification")
    assert "beside" in refusal(predictor, image.encode(), kind).why
    twice = part("text", "rain") + part("text", "sun") + "--x--\r\n"
    assert (
        "'text' is there twice" in refusal(opened("text-classification"), twice.encode(), kind).why
    )


@pytest.mark.parametrize(
    ("task", "row", "told"),
    [
        ("token-classification", {"text": "a", "words": ["a"]}, "the same sentence"),
        ("token-classification", {"word": ["a"]}, "Did you mean `words`?"),
        ("image-classification", {"image": "AAAA", "text": "a"}, "'text'"),
        ("text-classification", {"text": "a", "image": "AAAA"}, "'image'"),
        ("text-classification", {}, "a row is an object"),
        ("text-classification", {"text": "a", "text_B": "b"}, "Did you mean `text_b`?"),
    ],
)
def test_a_key_that_is_not_read_is_refused(
    opened: Open, task: str, row: dict[str, Any], told: str
) -> None:
    predictor = opened(task)
    for body in (row, {"inputs": [row]}, [row]):
        error = refusal(predictor, body)
        assert error.status == 400 and told in error.why


def test_a_second_text_is_for_models_of_pairs(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"text": "rain", "text_b": "sun"}
    predictor = opened("text-classification")
    assert asked(predictor, row) == [row]
    monkeypatch.setitem(predictor.__dict__, "reads_pairs", False)
    assert "'text_b'" in refusal(predictor, row).why
    assert asked(predictor, {"text": "rain"}) == [{"text": "rain"}]


def test_a_model_of_pairs_says_what_a_row_is(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = opened("text-classification")
    assert 'such as {"text": "..."}' in refusal(predictor, [3]).why
    monkeypatch.setitem(predictor.__dict__, "needs_pair", True)
    for body in ([3], {}, {"text": "rain", "other": "sun"}):
        assert 'such as {"text": "...", "text_b": "..."}' in refusal(predictor, body).why


def test_a_model_of_pairs_is_asked_no_text_alone() -> None:
    pair = {"text": "rain", "text_b": "sun"}
    check_pairs([pair, pair])
    for inputs in (["rain"], [{"text": "rain"}]):
        with pytest.raises(Refused, match="reads pairs") as caught:
            check_pairs(inputs)
        assert "inputs" not in caught.value.why
    with pytest.raises(Refused, match=r"inputs\[1\]: this model reads pairs"):
        check_pairs([pair, "rain"])


def test_base64_is_read_as_clients_write_it(opened: Open) -> None:
    predictor = opened("image-classification")
    content = bytes(range(251, 256)) * 40
    mime = base64.encodebytes(content).decode()
    plain = base64.b64encode(content).decode()
    for text in (plain, mime, mime.replace("\n", "\r\n"), f"data:image/png;base64,{plain}"):
        assert asked(predictor, {"image": text}) == [{"image": content}]
    safe = base64.urlsafe_b64encode(content).decode()
    for text, told in (
        (safe, "the alphabet for URLs"),
        (plain.rstrip("="), "padding"),
        (f"data:image/png,{plain}", "as in data:image/png;base64,"),
        (f"data:,{plain}", "as in data:image/png;base64,"),
        ("not base64!", "ends of lines alone"),
        ("AA AA", "ends of lines alone"),
        ("AAAA=", "padding"),
        ("AAAA==", "padding"),
        ("AAAA====", "none ends in ===="),
        ("AAB=", "none ends in AAB="),
        ("AAAA\t", "ends of lines alone"),
    ):
        error = refusal(predictor, {"image": text})
        assert error.status == 400 and told in error.why


def test_an_image_without_a_content_type_is_told_which_to_send(opened: Open) -> None:
    predictor = opened("image-classification")
    for body in (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF89a"):
        error = refusal(predictor, body, "")
        assert error.status == 415 and "send image/png" in error.why
    assert asked(predictor, b' {"image": "AAAA"}', "") == [{"image": b"\0\0\0"}]


def test_a_byte_order_mark_is_no_character(opened: Open) -> None:
    predictor = opened("text-classification")
    text = "\N{ZERO WIDTH NO-BREAK SPACE}Ada".encode()
    assert asked(predictor, text, "text/plain") == ["Ada"]
    assert asked(predictor, '\ufeff{"text": "Ada"}'.encode()) == [{"text": "Ada"}]
    # One is a mark, and the next a character.
    assert asked(predictor, text[:3] + text, "text/plain") == ["\ufeffAda"]
    assert json_text.read_object(memoryview("\ufeff{}".encode())) == {}


@pytest.mark.parametrize("encoding", ["base64", "Quoted-Printable", "x-uuencode"])
def test_a_part_in_an_encoding_of_mail_is_refused(opened: Open, encoding: str) -> None:
    predictor = opened("text-classification")

    def form(name: str) -> bytes:
        head = f"--x\r\nContent-Disposition: form-data; name=text\r\n{name}\r\n\r\n"
        return f"{head}QWRh\r\n--x--\r\n".encode()

    kind = "multipart/form-data; boundary=x"
    error = refusal(predictor, form(f"Content-Transfer-Encoding: {encoding}"), kind)
    assert error.status == 400 and f"Content-Transfer-Encoding: {encoding}" in error.why
    for plain in ("7bit", "8BIT", " binary "):
        given = form(f"content-transfer-encoding:{plain}")
        assert asked(predictor, given, kind) == [{"text": "QWRh"}]


@pytest.mark.parametrize(
    ("task", "row", "told"),
    [
        ("text-classification", {"text": "Ada\0York"}, "NUL character at place 3"),
        ("text-classification", "Ada\0", "NUL character at place 3"),
        ("text-classification", {"text": "Ada", "text_b": "\0b"}, "NUL character at place 0"),
        ("token-classification", {"words": ["Ada", "Yo\0rk"]}, "NUL character"),
        ("token-classification", {"words": ["Ada", "", "York"]}, "words: word 2 is empty"),
        ("token-classification", {"words": ["Ada", " "]}, "words: word 2 is empty"),
    ],
)
def test_what_no_file_of_rows_may_hold_is_refused(
    opened: Open, task: str, row: Any, told: str
) -> None:
    error = refusal(opened(task), row)
    assert error.status == 400 and told in error.why
