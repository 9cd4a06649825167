"""Data, recipes and artifacts whose files lie elsewhere, behind links, as data sets are often laid out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limbeck.cli.first_recipe.look import look
from limbeck.core.files import paths_below
from limbeck.sources.image_folder import ImageFolder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Images by their class, of two splits."""
    chance = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 10)):
        for label in ("dot", "bar"):
            folder = tmp_path / "store" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = chance.integers(0, 255, (12, 12), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "store"


def test_linked_splits_are_read_as_folders_are(store: Path, tmp_path: Path) -> None:
    """`init` named one of the two splits as all of the data."""
    linked = tmp_path / "linked"
    linked.mkdir()
    for split in ("train", "test"):
        (linked / split).symlink_to(store / split)
    rows = ImageFolder(str(linked)).read(lambda bad: None)
    assert {split: len(each) for split, each in rows.items()} == {"train": 60, "test": 20}
    guess = look(linked)
    assert guess.task == "image-classification"
    assert "80 images in 2 folders (bar, dot)" in guess.reasons[0]


def test_a_link_to_a_folder_above_ends(store: Path) -> None:
    (store / "train" / "dot" / "again").symlink_to(store)
    (store / "train" / "dead").symlink_to(store / "nowhere")
    names = [path for path in paths_below(store) if path.is_file()]
    assert len(names) == 80
