"""Pixels as a person would see them, and in `predict` those of training."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import put
from PIL import Image, ImageOps

from limbeck.artifact.proof.rescore import read_rows, write_rows
from limbeck.core import registry
from limbeck.core.cache.store import Store
from limbeck.data.image_modes import blank
from limbeck.data.splits import Splits, check, load_splits
from limbeck.recipe.model import Data
from limbeck.sources._images import SUFFIXES, decode, pixels_of
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.inputs.image import ImageInput, sample

GENERATOR = np.random.default_rng(0)
COLOUR = GENERATOR.integers(0, 256, (10, 7, 3), np.uint8)
GREY = COLOUR[..., 0]
ORIENTATION = 0x0112


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def of(values: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    return saved(Image.fromarray(values), kind, **options)


def with_alpha(values: np.ndarray, alpha: int) -> np.ndarray:
    flat = values if values.ndim == 3 else values[..., None]
    return np.concatenate([flat, np.full_like(flat[..., :1], alpha)], 2)


def pnm(kind: str, values: np.ndarray, most: int) -> bytes:
    height, width = values.shape[:2]
    big_endian = values.astype(">u2" if most > 255 else np.uint8)
    return f"{kind}\n{width} {height}\n{most}\n".encode() + big_endian.tobytes()


HALF = np.round(GREY * (128 / 255) + 255 * (127 / 255))
# What a file holds, its bytes, and the pixels that a person sees.
FILES: dict[str, Callable[[], tuple[bytes, np.ndarray]]] = {
    "16-bit PNG": lambda: (of(GREY.astype(np.uint16) * 257), GREY),
    "16-bit PNG, shifted": lambda: (of(GREY.astype(np.uint16) * 256), GREY),
    "16-bit TIFF": lambda: (of(GREY.astype(np.uint16) * 257, "TIFF"), GREY),
    "16-bit PGM": lambda: (pnm("P5", GREY * np.uint16(257), 65535), GREY),
    "16-bit PPM": lambda: (pnm("P6", COLOUR * np.uint16(257), 65535), COLOUR),
    "16-bit JPEG 2000": lambda: (of(GREY.astype(np.uint16) * 257, "JPEG2000"), GREY),
    "floats to 1": lambda: (of(GREY / np.float32(255), "TIFF"), GREY),
    "floats to 255": lambda: (of(GREY.astype(np.float32), "TIFF"), GREY),
    "two levels": lambda: (of(GREY > 99), np.uint8(255) * (GREY > 99)),
    "PGM": lambda: (pnm("P5", GREY, 255), GREY),
    "PPM": lambda: (pnm("P6", COLOUR, 255), COLOUR),
    "BMP": lambda: (of(COLOUR, "BMP"), COLOUR),
    "WebP": lambda: (of(COLOUR, "WEBP", lossless=True), COLOUR),
    "JPEG 2000": lambda: (of(COLOUR, "JPEG2000"), COLOUR),
    "palette": lambda: (
        saved(Image.fromarray(COLOUR).quantize(9)),
        np.asarray(Image.fromarray(COLOUR).quantize(9).convert("RGB")),
    ),
    "CMYK": lambda: (saved(Image.fromarray(255 - COLOUR).convert("CMYK"), "TIFF"), 255 - COLOUR),
    "opaque": lambda: (of(with_alpha(COLOUR, 255)), COLOUR),
    "transparent": lambda: (of(with_alpha(COLOUR, 0)), np.full_like(COLOUR, 255)),
    "grey and alpha": lambda: (of(with_alpha(GREY, 0)), np.full_like(GREY, 255)),
    "grey half through": lambda: (of(with_alpha(GREY, 128)), HALF),
    "animated GIF": lambda: (
        saved(Image.new("RGB", (4, 4), "red"), "GIF", save_all=True, append_images=[Image.new("RGB", (4, 4), "blue")]),
        np.full((4, 4, 3), (255, 0, 0)),
    ),
    "EXIF of no sense": lambda: (of(COLOUR, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\xff"), COLOUR),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_that_a_person_sees(name: str) -> None:
    content, expected = FILES[name]()
    found = decode(content)
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1 if "half" in name else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_that_was_held_otherwise_is_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture = Image.fromarray(COLOUR)
    picture.getexif()[ORIENTATION] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    for kind in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        found = decode(of(COLOUR, kind, exif=exif, **options))
        assert np.array_equal(found, expected), kind


def test_transparency_lies_on_the_ground_that_is_asked_for() -> None:
    clear = of(with_alpha(GREY, 0))
    assert decode(clear, ground="black").max() == 0
    assert decode(clear, ground="#ff8000")[0, 0].tolist() == [255, 128, 0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (GREY, GREY),
        (GREY[..., None], GREY),
        (GREY.astype(np.uint16) * 257, GREY),
        (COLOUR.astype(np.uint16) * 257, COLOUR),
        (COLOUR / 255, COLOUR),
        (COLOUR * 1.0, COLOUR),
        (GREY > 99, np.uint8(255) * (GREY > 99)),
        (with_alpha(COLOUR, 255), COLOUR),
        (with_alpha(GREY, 0), np.full_like(GREY, 255)),
        (Image.fromarray(with_alpha(COLOUR, 0)), np.full_like(COLOUR, 255)),
    ],
)
def test_arrays_and_pictures_are_read_as_their_files_are(given: Any, expected: np.ndarray) -> None:
    found = pixels_of(given)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)
    picture = given if isinstance(given, Image.Image) else None
    if picture is None and given.dtype == np.uint8 and given.shape[2:] != (1,):
        picture = Image.fromarray(given)
    if picture is not None:
        assert np.array_equal(decode(saved(picture)), expected)


def folder_of(tmp_path: Path, images: dict[str, bytes]) -> Path:
    return put(tmp_path, images)


def noise(seed: int, shape: tuple[int, ...] = (24, 20, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def mixed(tmp_path: Path) -> Path:
    """Four images of each class: three grey and two in colour among the greys of train."""
    images = {f"a/{i}.png": of(noise(i)[..., 0]) for i in range(6)}
    images |= {f"b/{i}.png": of(noise(9 + i)[..., 0]) for i in range(6)}
    images["a/7.jpg"] = of(noise(7), "JPEG")
    images["b/8.png"] = of(with_alpha(noise(8), 0))
    return folder_of(tmp_path, images)


def test_what_was_done_to_images_is_said(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = mixed(tmp_path)
    (path / "a" / "exif.jpg").write_bytes(of(noise(3), "JPEG", exif=exif))
    (path / "a" / "deep.png").write_bytes(of(GREY.astype(np.uint16) * 257))
    (path / "a" / "moving.gif").write_bytes(
        saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    )
    source = registry.create("sources", "image_folder", {"path": str(path)})
    rows = source.read()["train"]
    assert {row["image"].ndim for row in rows} == {2}
    assert sorted(source.notes) == [
        "1 of 17 images are turned as their EXIF orientation says",
        "1 of 17 images have 16 bits a channel: the upper 8 are read",
        "1 of 17 images have a palette: read as the colours that it names",
        "1 of 17 images have several frames or pages: the first is read",
        "1 of 17 images have transparent pixels: laid on white (data.background names another colour)",
        "4 of 17 images are in colour, and most of train grey: all are read in grey",
    ]
    notes = load_splits(Data(source="image_folder", path=str(path)), ImageClassification).notes
    assert set(source.notes) <= set(notes)


def test_one_grey_image_leaves_the_colours(tmp_path: Path) -> None:
    """All once followed the first."""
    images = {f"{label}/{i}.png": of(noise(i)) for i in range(1, 9) for label in "ab"}
    path = folder_of(tmp_path, images | {"a/0.png": of(GREY)})
    splits = load_splits(Data(source="image_folder", path=str(path), size=5), ImageClassification)
    shapes = {row["image"].shape for row in [*splits.train, *splits.validation, *splits.test]}
    assert shapes == {(5, 5, 3)}
    assert splits.notes[0] == (
        "1 of 17 images are grey, and most of train in colour: all are read in colour"
    )


def test_rows_from_python_have_the_pixels_of_their_files(tmp_path: Path) -> None:
    path = mixed(tmp_path)
    found = load_splits(Data(source="image_folder", path=str(path)), ImageClassification)
    files = sorted(path.glob("*/*"))
    for read in (str, Image.open, lambda file: {"bytes": file.read_bytes(), "path": None}):
        rows = [{"image": read(file), "label": file.parent.name} for file in files]
        again = load_splits(Data(source="rows"), ImageClassification, {"train": rows})
        for split in ("train", "validation", "test"):
            for row, other in zip(getattr(found, split), getattr(again, split), strict=True):
                assert np.array_equal(row["image"], other["image"])
        assert again.notes == found.notes


PROCESSORS: dict[str, dict[str, Any]] = {
    "squeezed": {"size": {"height": 16, "width": 16}},
    "as large as data.size": {"size": {"height": 12, "width": 12}, "resample": 3},
    "edge and centre": {"size": {"shortest_edge": 18}, "do_center_crop": True, "crop_size": 16},
}


@pytest.mark.parametrize("size", [None, 12])
@pytest.mark.parametrize("name", PROCESSORS)
def test_predict_reads_the_pixels_of_training(name: str, size: int | None, tmp_path: Path) -> None:
    """With `data.size` and a pretrained processor 22.75 % of answers once differed."""
    pytest.importorskip("torch")
    from limbeck.pipeline.context import RunContext
    from limbeck.recipe.reading import parse

    model = tmp_path / "model"
    model.mkdir()
    processor = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.2, 0.3], **PROCESSORS[name]}
    (model / "preprocessor_config.json").write_text(json.dumps(processor))
    data = {"source": "image_folder", "path": str(mixed(tmp_path / "data")), "background": "black"}
    recipe = parse(
        json.dumps(
            {
                "task": "image-classification",
                "data": data | ({} if size is None else {"size": size}),
                "student": {"model": str(model)},
            }
        )
    )
    run = RunContext(recipe, Store(tmp_path / "store"))
    task = run.new_task(str(model))
    rows = [*run.data.train, *run.data.validation, *run.data.test]
    assert len(rows) == 14
    for row in rows:
        sent = task.row(str(Path(*row["file"])))
        expected, found = task.encode([row])[0], task.encode([sent])[0]
        assert np.array_equal(found.inputs["pixel_values"], expected.inputs["pixel_values"])


def test_a_network_of_ours_says_nothing_of_what_it_does_itself() -> None:
    """The preprocessing of recipes that were right keeps its bytes."""
    text = ImageInput.fit_preprocess([{"image": noise(0, (12, 12)), "label": "a"}])
    reading = {"mode": "L", "size": 12, "background": "white"}
    assert ImageInput.with_reading(text, reading) == text
    assert json.loads(ImageInput.with_reading(text, reading | {"size": 9}))["reading"] == {
        "size": 9
    }


@pytest.mark.parametrize("archived", [False, True])
def test_parity_begins_at_the_file(archived: bool, tmp_path: Path) -> None:
    import zipfile

    path = mixed(tmp_path / "data")
    if archived:
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
            for file in sorted(path.glob("*/*")):
                archive.write(file, file.relative_to(path))
        path = tmp_path / "images.zip"
    rows = registry.create("sources", "image_folder", {"path": str(path)}).read()["train"]
    write_rows(rows, tmp_path / "rows.jsonl")
    for row, again in zip(rows, read_rows(tmp_path / "rows.jsonl"), strict=True):
        assert again.keys() == {"raw"}
        assert np.array_equal(decode(again["raw"], "L"), row["image"])
    # A file that is gone leaves its pixels.
    gone = rows[0] | {"file": (str(tmp_path / "nowhere"), "a.png")}
    write_rows([gone], tmp_path / "rows.jsonl")
    (again,) = read_rows(tmp_path / "rows.jsonl")
    assert np.array_equal(again["image"], rows[0]["image"])


def test_the_normalisation_is_of_all_classes_whatever_their_order() -> None:
    rows = [{"image": np.full((2, 2), 10, np.uint8), "label": "dark"} for _ in range(2500)]
    rows += [{"image": np.full((2, 2), 250, np.uint8), "label": "bright"} for _ in range(2500)]
    rows += [{"image": np.full((2, 2), 90, np.uint8), "label": "rare"}]
    settings = json.loads(ImageInput.fit_preprocess(rows))
    assert settings["mean"][0] == pytest.approx(130 / 255, abs=2e-3)
    drawn = sample(rows, 2000)
    assert len(drawn) == 2001
    assert {row["label"] for row in drawn} == {"dark", "bright", "rare"}
    assert [row["label"] for row in sample(rows, 2000)] == [row["label"] for row in drawn]


def test_a_damaged_image_is_a_mistake_and_nothing_else() -> None:
    generator = np.random.default_rng(1)
    files = [make()[0] for make in FILES.values()]
    messages: set[str] = set()
    for number in range(400):
        content = bytearray(files[number % len(files)])
        for place in generator.integers(0, len(content), 3):
            content[place] = generator.integers(256)
        try:
            decode(bytes(content[: generator.integers(8, 2 * len(content))]))
        except ValueError as error:
            messages.add(str(error).strip())
    assert messages
    assert "" not in messages


def test_a_suffix_of_every_format_is_known() -> None:
    assert {".png", ".jpg", ".gif", ".bmp", ".tif", ".tiff", ".webp"} <= SUFFIXES
    assert {".pgm", ".ppm", ".pbm", ".jp2", ".j2k"} <= SUFFIXES


def test_where_a_file_lies_is_no_part_of_the_data(tmp_path: Path) -> None:
    found = load_splits(Data(source="image_folder", path=str(mixed(tmp_path))), ImageClassification)
    moved = {"train": [dict(row) for row in found.train]}
    for row in moved["train"]:
        del row["file"]
    again = Splits(moved["train"], found.validation, found.test, found.labels)
    assert again.fingerprint("train") == found.fingerprint("train")


def test_images_on_which_there_is_nothing_to_see_are_warned_of() -> None:
    """Floats from 0 to 1 that were made uint8: a model was trained on them without a word."""

    def rows(make: Callable[[int], Any]) -> list[dict[str, Any]]:
        return [{"image": make(n), "label": "ab"[n % 2]} for n in range(40)]

    seen = rows(lambda n: noise(n, (6, 6)))
    black = rows(lambda n: (noise(n, (6, 6)) / 255).astype(np.uint8))
    flat = rows(lambda n: np.full((6, 6), 3 + n, np.uint8))
    notes = check({"train": black, "test": seen}, ImageClassification, "rows").notes
    (told,) = [note for note in notes if "are black" in note]
    assert told.startswith("warning: ") and "(255 * image).round()" in told
    (told,) = blank(flat)
    assert "40 of 40 images of train that were looked at are of one colour" in told
    assert not blank(seen) and not blank([{"text": "a"}])
    assert not blank(seen + flat[:9])


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        (np.zeros((3, 12, 10), np.uint8), r"Channels come last: image.transpose\(1, 2, 0\)"),
        (np.zeros((1, 12, 10)), "Channels come last"),
        (np.zeros((12, 10), np.int64), r"image.astype\('uint8'\) where they are 0 to 255"),
        (type("Tensor", (), {})(), r"not Tensor. Give image.numpy\(\), channels last"),
    ],
)
def test_what_is_no_array_of_pixels_is_refused_with_the_cure(given: Any, cure: str) -> None:
    with pytest.raises(ValueError, match=cure):
        pixels_of(given)
