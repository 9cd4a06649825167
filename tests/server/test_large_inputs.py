"""Inputs that are small to send and large to read: pictures, and sentences of a million words."""

import io
import time
from pathlib import Path

import numpy as np
import pytest
from made import install_products, write_model
from PIL import Image
from served import serving
from task_examples import EXAMPLES

pytest.importorskip("orjson")
from limbeck.server.candidates import image_bytes
from limbeck.sources import _images
from limbeck.tasks.inputs.words import MOST_WORDS


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (width, height)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.services
def test_a_server_unpacks_no_picture_that_takes_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("granian")
    install_products(tmp_path / "site", monkeypatch)
    artifact = write_model(tmp_path / "model", "image-classification")
    with serving(tmp_path / "served", str(artifact)) as served:
        assert served.ask("POST", "/predict", png(64, 64), content_type="image/png").status == 200
        (worker,) = served.workers()
        before = peak_mb(worker)
        told = served.ask("POST", "/predict", png(4100, 4000), content_type="image/png")
        assert told.status == 422 and "16,000,000 pixels" in told.json["error"]
        raw = {"content_type": "application/octet-stream", "inference_header_content_length": "0"}
        told = served.ask("POST", "/v2/models/model/infer", png(4100, 4000), **raw)
        assert told.status in (400, 422) and "16,000,000 pixels" in told.json["error"]
        assert peak_mb(worker) - before < 30


def peak_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def test_pixels_are_bounded_by_the_head_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    _images.bound_pixels(600)
    assert _images.decode(png(30, 20)).shape == (20, 30, 3)
    for width in (31, 50, 500):
        with pytest.raises(ValueError, match="more than 600 pixels"):
            _images.decode(png(width, 20))


def test_a_sentence_of_a_million_words_is_refused_at_once() -> None:
    task, _, _ = EXAMPLES["token-classification"]
    began = time.process_time()
    for given in ("." * 999_999, "a\n" * 499_999, ["a"] * 1_000_000):
        with pytest.raises(ValueError, match="a paragraph at a time"):
            task.row(given)
    assert time.process_time() - began < 3
    assert len(task.row(". " * MOST_WORDS)["words"]) == MOST_WORDS


def test_a_word_of_a_million_characters_is_cut_before_it_is_tokenized() -> None:
    task, _, _ = EXAMPLES["token-classification"]
    row = task.row("a'" * 499_999)
    assert len(row["words"]) == 2
    began = time.process_time()
    (encoded,) = task.encode([row])
    assert time.process_time() - began < 1.5
    (short,) = task.encode([task.row(("a'" * 499_999)[:60_000])])
    assert encoded.inputs["input_ids"].tolist() == short.inputs["input_ids"].tolist()


def test_what_images_take_is_counted_of_files_and_of_pixels() -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    assert (
        image_bytes(["a text", {"text": "a"}, b"1234", {"image": b"12"}, {"image": pixels}]) == 66
    )


def test_a_jpeg_of_a_thousand_scans_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """Each of 31 bytes took 15 ms of 16 million pixels: 2 MB were a quarter of an hour."""
    file = io.BytesIO()
    Image.new("L", (4000, 3000), 90).save(file, "JPEG", progressive=True)
    plain = file.getvalue()
    last = plain[plain.rindex(_images.SCAN) : -2]
    assert _images.decode(plain).shape == (3000, 4000)
    many = plain[:-2] + last * 1000 + plain[-2:]
    path = tmp_path / "many.jpg"
    path.write_bytes(many)
    began = time.process_time()
    for raw in (many, path):
        with pytest.raises(ValueError, match="a JPEG of 1,006 scans, and at most 64"):
            _images.decode(raw)
    assert time.process_time() - began < 1
    some = plain[:-2] + last * 5 + plain[-2:]
    assert _images.decode(some).shape == (3000, 4000)


def test_a_palette_without_colours_is_a_broken_image() -> None:
    file = io.BytesIO()
    Image.new("P", (8, 8)).save(file, "PNG")
    content = file.getvalue()
    at = content.index(b"PLTE") - 4
    size = int.from_bytes(content[at : at + 4], "big")
    with pytest.raises(ValueError, match="not a readable image"):
        _images.decode(content[:at] + content[at + 12 + size :])
