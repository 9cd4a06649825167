"""Versions on the shelf of a server: kept as long as somebody may need them, and no longer."""

import asyncio
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from served import install_runtime, write_artifact

pytest.importorskip("orjson")
from limbeck.server.admin import Admin
from limbeck.server.plans import UNNAMED_SECONDS, Plan, Shelf, Standing
from limbeck.server.processes import verify
from limbeck.server.requests.refusals import Refused
from limbeck.server.settings import Candidate, Settings


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """That of a server whose model `towns` is the version `first`."""
    install_runtime(tmp_path / "site", monkeypatch)
    (tmp_path / "server").mkdir()
    shelf = Shelf(tmp_path / "server")
    first = shelf.take_up(write_artifact(tmp_path / "first"))
    shelf.write(Plan(generation=1, models={"towns": Standing(live=first)}))
    return shelf


def age(shelf: Shelf, version: str, seconds: float = 2 * UNNAMED_SECONDS) -> None:
    """Make a version one that was touched so long ago."""
    then = time.time() - seconds
    os.utime(shelf.path(version), (then, then))


def change(shelf: Shelf, live: str) -> None:
    with shelf.changed() as models:
        models["towns"] = Standing(live=live)


def test_what_was_given_up_long_ago_is_removed_at_the_next_change(
    shelf: Shelf, tmp_path: Path
) -> None:
    first = shelf.plan().models["towns"].live
    second = shelf.take_up(write_artifact(tmp_path / "second", 2.0))
    third = shelf.take_up(write_artifact(tmp_path / "third", 3.0))
    # However old a version is: as long as a plan names it, and for a while after, it stays.
    age(shelf, first)
    change(shelf, second)
    assert shelf.path(first).is_dir()
    # One that somebody has verified, and is about to name.
    assert shelf.path(third).is_dir()
    (shelf.path("killed.7.tmp")).mkdir()
    age(shelf, "killed.7.tmp")
    age(shelf, first)
    age(shelf, second)
    change(shelf, second)
    left = {path.name for path in shelf.path("").iterdir()}
    assert left == {second, third}


def test_who_takes_up_an_old_version_again_finds_it(shelf: Shelf, tmp_path: Path) -> None:
    folder = write_artifact(tmp_path / "second", 2.0)
    second = shelf.take_up(folder)
    age(shelf, second)
    # An artifact's own files may be of any year, and its copy is of now.
    then = time.time() - 2 * UNNAMED_SECONDS
    third = write_artifact(tmp_path / "third", 3.0)
    os.utime(third, (then, then))
    assert shelf.take_up(folder) == second
    version = shelf.take_up(third)
    change(shelf, shelf.plan().models["towns"].live)
    assert shelf.path(second).is_dir() and shelf.path(version).is_dir()


def test_a_refused_artifact_is_removed_and_what_answers_is_not(
    shelf: Shelf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("its golden inputs are answered otherwise")

    monkeypatch.setattr(verify, "load", broken)
    other = write_artifact(tmp_path / "other", 5.0)
    assert verify.main(str(other), str(shelf.folder)) == 2
    assert "golden" in capsys.readouterr().err
    assert {path.name for path in shelf.path("").iterdir()} == shelf.plan().versions
    # The one that answers may fail to be opened too, where memory is short.
    assert verify.main(str(tmp_path / "first"), str(shelf.folder)) == 2
    assert {path.name for path in shelf.path("").iterdir()} == shelf.plan().versions


def asked_for(action: str, body: bytes = b"") -> Any:
    """A request for a change of the model `towns`."""

    async def read() -> bytes:
        return body

    return SimpleNamespace(names={"model": "towns", "action": action}, token=None, body=read)


@pytest.mark.parametrize("action", ["promote", "drop", "rollback"])
def test_a_server_that_stops_changes_nothing(tmp_path: Path, action: str) -> None:
    """It answered 200, and its plan went with it."""
    own = Shelf(tmp_path)
    standing = Standing(live="a", previous="b", candidate="c", trial=1)
    own.write(Plan(generation=1, models={"towns": standing}))
    admin = Admin(Settings(models={}), own, cast(Any, None))
    # Of no row that was scored there is no share, nor a time.
    none = {"rows": 0, "agreement": None, "failed": 0, "slowdown": None}
    assert admin.told()["models"]["towns"]["seen"] == none
    admin.stop()
    with pytest.raises(Refused) as caught:
        asyncio.run(admin.change(asked_for(action)))
    assert caught.value.status == 503 and "nothing was changed" in caught.value.why
    assert own.plan().generation == 1


@pytest.mark.parametrize(
    ("action", "body", "status"),
    [
        ("promote", b"", 409),
        ("promote", b"{}", 409),
        ("promote", b'{"other": false}', 400),
        ("promote", b'{"other": true}', 200),
        ("promote", b'{"other": 1}', 400),
        ("promote", b'{"to": "c"}', 400),
        ("demote", b'{"to": "c"}', 404),
        ("promote", b"c", 400),
        ("promote", b"[]", 400),
        ("promote", b"null", 400),
        # What a version is does not matter to who wants it gone.
        ("drop", b"{}", 200),
        ("drop", b'{"other": true}', 400),
        ("rollback", b"", 200),
        ("rollback", b'{"to": "b"}', 400),
    ],
)
def test_what_a_change_says_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str, body: bytes, status: int
) -> None:
    """A candidate of another task was promoted without a word, whatever stood in the body."""
    own = Shelf(tmp_path)
    monkeypatch.setattr(own, "why_unlike", lambda live, version: "it has other labels")
    for version in "abc":
        own.path(version).mkdir(parents=True)
    standing = Standing(live="a", previous="b", candidate="c", trial=1)
    own.write(Plan(generation=1, models={"towns": standing}))
    board: Any = SimpleNamespace(of_all=lambda kind: [])
    admin = Admin(Settings(models={}), own, board)
    if status == 200:
        asyncio.run(admin.change(asked_for(action, body)))
        live = own.plan().models["towns"].live
        assert live == {"promote": "c", "drop": "a", "rollback": "b"}[action]
        return
    with pytest.raises(Refused) as caught:
        asyncio.run(admin.change(asked_for(action, body)))
    assert caught.value.status == status
    assert own.plan().models["towns"] == standing


def test_what_answers_is_no_candidate_beside_itself() -> None:
    candidate = Candidate(folder=Path("new"))
    with pytest.raises(ValueError, match="answers already"):
        Standing(live="a").tried("a", candidate)
    assert Standing(live="a").tried("b", candidate).candidate == "b"


def test_a_model_that_carries_no_reference_is_not_watched(shelf: Shelf) -> None:
    admin = cast(Admin, SimpleNamespace(shelf=shelf))
    live = shelf.plan().models["towns"].live
    path = shelf.path(live) / "reference.json"
    path.unlink(missing_ok=True)
    assert Admin.drifts(admin) == []
    path.write_text("{}")
    assert Admin.drifts(admin) == [("towns", live, {})]
