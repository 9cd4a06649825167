"""Where $LIMBECK_DATA moves the paths of a recipe's data."""

import pytest

from limbeck.data.paths import relocated


def test_limbeck_data_moves_the_shared_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBECK_DATA", "/elsewhere")
    assert relocated({"path": "../shared/data/conll2003/en", "keep": 1}) == {
        "path": "/elsewhere/conll2003/en",
        "keep": 1,
    }


@pytest.mark.parametrize(
    "options",
    [{"path": "mine/data"}, {"path": "/abs/shared/data/x"}, {"path": "../shared/database/x"}, {}],
)
def test_limbeck_data_leaves_other_paths(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    monkeypatch.setenv("LIMBECK_DATA", "/elsewhere")
    assert relocated(options) == options


def test_without_limbeck_data_the_recipe_is_taken_at_its_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LIMBECK_DATA", raising=False)
    assert relocated({"path": "../shared/data/x"}) == {"path": "../shared/data/x"}
