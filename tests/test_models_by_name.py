"""A model that is not to be had: one message at once, with its key, the nearest network and the cure."""

import socket
from pathlib import Path
from typing import Any

import pytest
from commands import mistake

pytest.importorskip("torch")

from limbeck.models.published import hub

RECIPE = """\
task: text-classification
data: {source: csv, path: csv}
teacher: {model: TEACHER}
student: {from: STUDENT, surgery: same}
distill: {losses: {kl: {}}}
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of two models that are nowhere, where the hub may be asked and does not answer."""
    from huggingface_hub import constants

    def refused(*_: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "csv").mkdir()
    rows = "".join(f"good {row},pos\nbad {row},neg\n" for row in range(20))
    (tmp_path / "csv" / "train.csv").write_text(f"text,label\n{rows}")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("TEACHER", "resnet8").replace("STUDENT", "owner/tiny"))
    return recipe


def test_a_check_tells_each_at_its_key(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = mistake(capsys, "check", written).splitlines()
    assert first.startswith(f"limbeck: {written}:3:11: teacher.model: model `resnet8`: neither")
    assert "the hub does not answer here" in first
    assert "Did you mean `resnet18`? Networks of ours: mlp, mobilenet_v2, " in first
    assert "`hf download resnet8 --local-dir FOLDER`" in first
    assert second.startswith(f"limbeck: {written}:4:11: student.from: model `owner/tiny`: neither")
    assert "Did you mean" not in second


def test_a_run_tells_the_first_before_any_work(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = mistake(capsys, "run", written, "--out", tmp_path / "out")
    assert told.startswith(f"limbeck: {written}:3:11: teacher.model: model `resnet8`")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["my/own/folder", "./folder", "~/no-such-folder"])
def test_what_can_be_no_hub_id(
    name: str, written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written.write_text(RECIPE.replace("TEACHER", name).replace("STUDENT", "teacher"))
    told = mistake(capsys, "check", written)
    assert f"{written}:3:11: teacher.model: model `{name}`: neither" in told
    assert f"there is no folder {Path(name).expanduser().absolute()}." in told
    assert told.endswith("a relative path is read from the folder that limbeck is started in")


def test_a_proxy_is_asked(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here nobody knows what it can reach."""
    assert not hub.is_within_reach("owner/tiny")
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://proxy"})
    assert hub.is_within_reach("owner/tiny")


def test_what_the_cache_holds_needs_no_hub(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: "/cache/config.json")
    assert hub.is_within_reach("owner/tiny")
