"""The networks and the size of images that a first recipe takes, by the sizes of the images as they lie."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from task_examples import tokenizer_text
from torch import nn

from limbeck.cli.first_recipe import look as starter
from limbeck.core import registry
from limbeck.recipe.reading import read


def images(folder: Path, *sizes: tuple[int, int], each: int = 6) -> Path:
    """Images of two classes, of the sizes in turn."""
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for number in range(each):
            size = sizes[number % len(sizes)]
            Image.new("L", size, number).save(folder / label / f"{number}.png")
    return folder


SMALL = {"model": "small_cnn", "width": 32, "depth": 2}
LARGE = {"model": "resnet18", "width": 24, "stride": 2}


@pytest.mark.parametrize(
    ("sizes", "size", "teacher"),
    [
        ([(28, 28)], None, SMALL),
        ([(48, 30)], None, SMALL),
        ([(17, 34), (22, 47), (40, 40)], 32, SMALL),
        ([(64, 64)], None, LARGE),
        ([(96, 80)], None, LARGE),
        ([(97, 80)], 64, LARGE),
        ([(30, 30), (60, 70), (400, 300)], 64, LARGE),
    ],
)
def test_networks_by_size(
    tmp_path: Path, sizes: list[tuple[int, int]], size: int | None, teacher: dict[str, Any]
) -> None:
    folder = images(tmp_path / "data", *sizes)
    told = starter.write(folder, tmp_path / "recipe.yaml", None)
    found = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert found["data"].get("size") == size
    assert teacher.items() <= found["teacher"].items()
    assert found["student"].get("stride") == teacher.get("stride")
    assert any("pixels a side: read as" in line for line in told) == (size is not None)
    recipe = read(tmp_path / "recipe.yaml", [])
    assert recipe.train.augment == ["crop", "brightness"]


def test_images_in_an_archive_have_sizes_too(tmp_path: Path) -> None:
    """Omniglot's 105 pixels a side were read as they are, in half an hour."""
    folder = images(tmp_path / "data", (105, 105))
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    guess = starter.look(tmp_path / "data.zip")
    assert guess.options["size"] == 64
    assert guess.counts == {"train": 12}


def test_what_is_no_image_has_no_size(tmp_path: Path) -> None:
    folder = images(tmp_path / "data", (28, 28))
    for file in folder.rglob("*.png"):
        file.write_bytes(b"no image")
    guess = starter.look(folder)
    assert guess.side is None
    assert "size" not in guess.options


@pytest.mark.parametrize("name", ["small_cnn", "resnet18", "resnet50"])
def test_a_stride_of_two_is_a_quarter_of_the_pixels(name: str) -> None:
    """The same weights; the map before the pooling has half the pixels a side."""
    torch.manual_seed(0)
    whole = registry.create("networks", name, {"width": 4}).build(3, 1)
    torch.manual_seed(0)
    half = registry.create("networks", name, {"width": 4, "stride": 2}).build(3, 1)
    assert all(map(torch.equal, whole.state_dict().values(), half.state_dict().values()))
    sizes = []
    for model in (whole, half):
        blocks = model.blocks
        assert isinstance(blocks, nn.ModuleList)
        seen: list[torch.Size] = []
        blocks[-1].register_forward_hook(lambda _, __, made, seen=seen: seen.append(made.shape))
        model.eval()(torch.zeros(1, 1, 64, 64))
        sizes.append(seen[0][-1])
    assert sizes[0] == 2 * sizes[1]


@pytest.mark.parametrize(
    ("data", "layers"),
    [
        ("text,label\n" + "".join(f"it rains {n},{'ab'[n % 2]}\n" for n in range(40)), 3),
        (
            "question1,question2,label\n"
            + "".join(f"does it rain {n},is it wet {n},{n % 2}\n" for n in range(40)),
            4,
        ),
    ],
)
def test_pairs_keep_more_layers(tmp_path: Path, data: str, layers: int) -> None:
    (tmp_path / "data.csv").write_text(data)
    starter.write(tmp_path / "data.csv", tmp_path / "recipe.yaml", None)
    found = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert found["student"]["layers"] == layers


def test_an_unnamed_pair_may_share_a_text(tmp_path: Path) -> None:
    """Of medical questions each stands twice, once beside one that means the same."""
    rows = [
        f"{n % 7},may I drink wine with {n // 2},does it harm me if I {n},{n % 2}"
        for n in range(80)
    ]
    (tmp_path / "data.csv").write_text("\n".join(rows) + "\n")
    guess = starter.look(tmp_path / "data.csv")
    assert guess.options["text"] == "column_2"
    assert guess.options["text_b"] == "column_3"
    assert guess.options["label"] == "column_4"


def test_a_pretrained_teacher_of_images(tmp_path: Path) -> None:
    """It reads a size of its own, and answers no augmented pixels of the student."""
    starter.write(images(tmp_path / "data", (28, 28)), tmp_path / "recipe.yaml", "timm:resnet18")
    recipe = read(tmp_path / "recipe.yaml", [])
    assert recipe.teacher is not None
    assert recipe.teacher.model == "timm:resnet18"
    assert recipe.student.model == "small_cnn"
    assert recipe.train.augment == []


ROWS = "text,label\n" + "".join(f"it rains {n},{'ab'[n % 2]}\n" for n in range(40))
PAIRS = "question1,question2,label\n" + "".join(f"is it {n},wet {n},{n % 2}\n" for n in range(40))
USUAL = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache of a machine that has fetched nothing."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize(
    ("data", "model", "told"),
    [
        (
            ROWS,
            None,
            [
                f"{USUAL} is not on this machine",
                f"hf download {USUAL} ",
                "--model FOLDER",
                "--model ngrams",
            ],
        ),
        (ROWS, "someone/else", ["someone/else is not on this machine", "--model ngrams"]),
        (ROWS, "../nowhere", ["../nowhere: there is no such folder", "--model FOLDER"]),
        # A network of pieces reads no pairs, and is not offered for them.
        (PAIRS, None, [f"{USUAL} is not on this machine", "--model FOLDER"]),
        (ROWS, "ngrams", []),
    ],
)
@pytest.mark.usefixtures("empty_hub")
def test_a_model_that_is_not_here_is_told_with_ways_to_have_it(
    data: str, model: str | None, told: list[str], tmp_path: Path
) -> None:
    (tmp_path / "data.csv").write_text(data)
    lines = starter.write(tmp_path / "data.csv", tmp_path / "recipe.yaml", model)
    after = "\n".join(lines[lines.index(f"wrote {tmp_path / 'recipe.yaml'}") + 1 : lines.index("")])
    for words in told:
        assert words in after
    assert bool(after) is bool(told)
    assert ("ngrams" in after) is any("ngrams" in words for words in told)


def test_a_model_that_is_here_is_not_told(tmp_path: Path, empty_hub: Path) -> None:
    (tmp_path / "data.csv").write_text(ROWS)
    (tmp_path / "model").mkdir()
    here = starter.write(tmp_path / "data.csv", tmp_path / "a.yaml", str(tmp_path / "model"))
    # Or in the hub's cache, where an earlier run has left it.
    folder = empty_hub / f"models--{USUAL.replace('/', '--')}" / "snapshots" / "1"
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(tokenizer_text())
    there = starter.write(tmp_path / "data.csv", tmp_path / "b.yaml", None)
    for lines in (here, there):
        assert not [line for line in lines if "on this machine" in line or "no such folder" in line]


def test_ngrams_as_the_model_gives_a_recipe_that_holds(tmp_path: Path) -> None:
    """It had three layers left out of its one."""
    (tmp_path / "data.csv").write_text(ROWS)
    starter.write(tmp_path / "data.csv", tmp_path / "recipe.yaml", "ngrams")
    recipe = read(tmp_path / "recipe.yaml", [])
    assert recipe.teacher is not None
    assert (recipe.teacher.model, recipe.student.model) == ("ngrams", "ngrams")
    assert recipe.student.surgery is None
    (tmp_path / "pairs.csv").write_text(PAIRS)
    with pytest.raises(
        ValueError, match=r"--model ngrams: this network reads single texts.*of pairs"
    ):
        starter.write(tmp_path / "pairs.csv", tmp_path / "pairs.yaml", "ngrams")
