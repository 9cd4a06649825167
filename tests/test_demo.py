"""What the demo prints beside a run's own lines."""

from pathlib import Path

import pytest

from limbeck.cli.demo import RECIPE, one_answer
from limbeck.recipe.reading import read


class Answering:
    """In place of an artifact: the one answer that it gives."""

    def predict(self, image: object) -> dict[str, object]:
        return {"label": "7", "probability": 0.987654}


def test_a_picture_is_drawn_beside_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    (tmp_path / "artifact").mkdir()
    monkeypatch.setattr("limbeck.load", lambda _: Answering())
    recipe = read(RECIPE)
    blank, *picture, told = one_answer(recipe, tmp_path)
    assert blank == ""
    assert len(picture) == 8
    assert max(map(len, picture)) <= 2 + 16
    assert any("@" in line for line in picture)
    assert told.startswith("is answered `7` (0.988); it is a `")


def test_of_other_data_and_without_an_artifact_none_is_drawn(tmp_path: Path) -> None:
    recipe = read(RECIPE)
    assert list(one_answer(recipe, tmp_path)) == []
    (tmp_path / "artifact").mkdir()
    other = read(RECIPE, ["data={source: npz, path: x.npz}"])
    assert list(one_answer(other, tmp_path)) == []
