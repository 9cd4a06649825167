"""Long bodies are worked on beside the event loop, and none takes seconds in it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from served import install_runtime, serving, write_artifact
from tokenizers import Tokenizer
from toy_decoder import byte_tokenizer

pytest.importorskip("orjson")
from limbeck.server.chat.asking import ChatBody, TextBody, read
from limbeck.server.requests.refusals import Refused
from limbeck.tasks.inputs.characters import character_tokenizer
from limbeck.tasks.inputs.long_texts import cut, encoded, written_out
from limbeck.tasks.inputs.text import TextInput

# Written out it has 18 characters.
LONG = "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}"
HI = {"role": "user", "content": "a"}


def letters(windows: int = 0) -> str:
    """A tokenizer of the letters of a text, by NFKC."""
    return character_tokenizer([{"text": "Ada lives"}], 256, keeps_case=False, windows=windows)


@pytest.mark.services
@pytest.mark.parametrize(
    "text", [LONG * 600_000, "a" * 999_999, "a\N{COMBINING ACUTE ACCENT} " * 333_333]
)
def test_health_is_answered_while_a_long_text_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    pytest.importorskip("granian")
    install_runtime(tmp_path / "site", monkeypatch)
    artifact = write_artifact(tmp_path / "model", preprocess=letters())
    with serving(tmp_path / "served", str(artifact)) as served:
        # A fast model, whose short texts are computed in the loop.
        for _ in range(20):
            assert served.predict(text="Ada").status == 200
        statuses: list[int] = []

        def ask() -> None:
            reply = served.ask("POST", "/predict", text.encode(), content_type="text/plain")
            statuses.append(reply.status)

        asking = threading.Thread(target=ask)
        asking.start()
        waits = []
        while asking.is_alive():
            began = time.monotonic()
            assert served.ask("GET", "/v2/health/live").status == 200
            waits.append(time.monotonic() - began)
        asking.join()
        assert statuses == [200] and max(waits) < 0.5, waits


@pytest.mark.parametrize("kind", ["bytes", "letters"])
def test_other_threads_go_on_while_a_text_is_tokenized(kind: str) -> None:
    tokenizer = byte_tokenizer() if kind == "bytes" else Tokenizer.from_str(letters())
    text = LONG * (400_000 if kind == "bytes" else 15_000)
    tokenizer.no_truncation()

    def longest_wait(work: Callable[[], Any]) -> tuple[float, float]:
        thread = threading.Thread(target=work)
        began = last = time.monotonic()
        thread.start()
        wait = 0.0
        while thread.is_alive():
            time.sleep(0.001)
            wait = max(wait, time.monotonic() - last)
            last = time.monotonic()
        return wait, last - began

    wait, whole = longest_wait(lambda: encoded(text, tokenizer))
    assert wait < 0.6 * whole
    assert encoded("Ada lives", tokenizer).ids == tokenizer.encode("Ada lives").ids


def test_of_a_long_text_little_is_written_out() -> None:
    reading = TextInput(letters())
    text = LONG * 600_000
    part = cut(text, reading.tokenizer, reading.uncut)
    assert len(part) <= 1 << 13
    # The model reads 256 letters.
    assert reading.tokenizer.encode(part).ids == reading.tokenizer.encode(LONG * 20).ids


def test_windows_are_bounded_by_what_is_written_out() -> None:
    assert written_out("Ada") == 3 and written_out(f"Ada {LONG}é") == 24
    with pytest.raises(ValueError, match="1,800,000 characters, as its tokenizer writes them out"):
        TextInput(letters(windows=16)).row(LONG * 100_000)
    assert TextInput(letters()).row(LONG * 100_000)["text"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"messages": [1] * 500_000}, "and this one has 500,000"),
        ({"messages": [1] * 4_000}, "message 1: an object"),
        ({"messages": [HI | {"content": [{}] * 300_000}]}, "content: 1 to 4,096 parts, and there are 300,000"),
        ({"messages": [HI], "modalities": [1] * 500_000}, "`modalities.0`"),
        ({"messages": [HI]} | {f"key{n}": n for n in range(100_000)}, "`key0` is not done here"),
        ({"messages": [HI | {f"key{n}": n for n in range(100_000)}]}, "message 1 (user): `key0` is not done here"),
        ({"prompt": [1] * 300_000 + [True]}, "`prompt.300000`"),
        ({"prompt": [[]] * 500_000}, "`prompt.0`"),
    ],
)  # fmt: skip
def test_the_first_of_a_million_mistakes_is_told(body: dict[str, Any], told: str) -> None:
    began = time.process_time()
    with pytest.raises(Refused) as caught:
        read(body, TextBody if "prompt" in body else ChatBody)
    assert told in caught.value.why
    # To gather all of them took ten seconds.
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("prompt", [[True, 2], [5.0], [2, "a"]])
def test_ids_are_whole_numbers(prompt: list[Any]) -> None:
    with pytest.raises(Refused, match=r"`prompt\.[01]`"):
        read({"prompt": prompt}, TextBody)
