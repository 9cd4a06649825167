"""Who may ask a server, and how often."""

import time
from pathlib import Path

import pytest

from limbeck.server.processes.board import PAIRS, Board
from limbeck.server.requests.access import Access, read_tokens
from limbeck.server.requests.refusals import Refused
from limbeck.server.settings import Limits

A, B = "a" * 24, "b" * 24


@pytest.fixture
def board(tmp_path: Path) -> Board:
    Board.create(tmp_path / "board", 2)
    return Board(tmp_path / "board")


def access(tmp_path: Path, board: Board, text: str, **limits: float) -> Access:
    (tmp_path / "tokens").write_text(text)
    return Access(read_tokens(tmp_path / "tokens"), Limits.model_validate(limits), board)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no token"),
        ("# nothing\n\n", "no token"),
        ("one\n", "line 1: `NAME TOKEN`"),
        (f"# ops\nops {A} root\n", "line 2"),
        ("ops short\n", "16 characters"),
        (f"ops {A} admin extra\n", "line 1"),
        (f"ann {A} admin\nbob {A}\n", "line 2: 'bob' has the token of 'ann'"),
        (f"ops {'a' * 1001}\n", "line 1: a token has at most 1,000 characters"),
        ("".join(f"t{n} {n:024}\n" for n in range(1001)), "at most 1,000"),
    ],
)
def test_a_file_that_is_none_is_refused_by_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(ValueError, match=told):
        read_tokens(tmp_path / "tokens")


def test_tokens_are_told_apart(tmp_path: Path, board: Board) -> None:
    who = access(tmp_path, board, f"shop {A}\nops {B} admin # the night shift\n")
    shop, ops = who.token_of(f"Bearer {A}"), who.token_of(f"bearer {B}")
    assert shop is not None and ops is not None
    assert (shop.name, shop.is_admin) == ("shop", False)
    assert (ops.name, ops.is_admin) == ("ops", True)
    for wrong in (
        "",
        A,
        f"Basic {A}",
        f"Bearer {A}a",
        "Bearer ",
        f"Bearer {A[:-1]}",
        "Bearer \udcff",
    ):
        with pytest.raises(Refused) as refused:
            who.token_of(wrong)
        assert refused.value.status == 401
    who.require_admin(ops)
    for other in (shop, None):
        with pytest.raises(Refused):
            who.require_admin(other)
    assert Access(None, Limits(), board).token_of("") is None


def test_a_rate_is_of_the_token_in_all_workers(
    tmp_path: Path, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [10**12]
    monkeypatch.setattr(time, "monotonic_ns", lambda: now[0])
    here = access(tmp_path, board, f"shop {A}\nops {B}\n", rate=2, burst=3)
    there = access(tmp_path, Board(tmp_path / "board", 1), f"ops {B}\n", rate=2, burst=3)
    shop, ops = here.token_of(f"Bearer {A}"), here.token_of(f"Bearer {B}")
    same = there.token_of(f"Bearer {B}")
    for number in range(3):
        (here if number % 2 else there).count(ops if number % 2 else same)
    for each, token in ((here, ops), (there, same)):
        with pytest.raises(Refused) as refused:
            each.count(token)
        assert (refused.value.status, dict(refused.value.headers)["retry-after"]) == (429, "1")
    # The other token is let in, and this one again after half a second.
    here.count(shop)
    now[0] += 500_000_000
    there.count(same)
    with pytest.raises(Refused):
        here.count(ops)
    # After a long rest three at once, and no more.
    now[0] += 10**12
    for _ in range(3):
        here.count(ops)
    with pytest.raises(Refused):
        here.count(ops)


def test_places_of_keys_are_found_again_and_run_out(tmp_path: Path, board: Board) -> None:
    keys = [number.to_bytes(7, "big") for number in range(PAIRS)]
    # All of them meet at one place.
    places = [board.place_of_key(key) for key in keys]
    assert len(set(places)) == PAIRS
    assert [Board(tmp_path / "board", 1).place_of_key(key) for key in keys[:9]] == places[:9]
    with pytest.raises(ValueError, match="start it anew"):
        board.place_of_key(b"another")
