"""What a notebook shows while `limbeck.run` works: one display that is replaced, and no ipywidgets."""

import sys
import types
from typing import Any

import pytest

from limbeck.core.events import Ended, EpochEnded, Note, Progress, Started, silent
from limbeck.core.terminal.notebook import NotebookLine, is_notebook, progress

pytest.importorskip("IPython")


class Kernel:
    """What answers the cells of a notebook."""


class TerminalInteractiveShell:
    """What answers the lines of `ipython`."""


def within(monkeypatch: pytest.MonkeyPatch, shell: Any) -> None:
    module = types.ModuleType("IPython")
    module.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str]]]:
    """What is displayed, and how."""
    from IPython.display import DisplayHandle

    calls: list[tuple[str, dict[str, str]]] = []
    for how in ("display", "update"):
        monkeypatch.setattr(
            DisplayHandle, how, lambda _, content, how=how, **keys: calls.append((how, content))
        )
    return calls


def test_one_display_is_replaced(shown: list[tuple[str, dict[str, str]]]) -> None:
    line = NotebookLine()
    line(Note("data: <3 rows>"))
    line(Started("train"))
    line(Progress(5, 20, 8.0, epoch=1, epochs=2))
    line(EpochEnded(1, 2, {"total": 0.5}, {"accuracy": 0.75}))
    line(Ended("train", 12.0))
    assert [how for how, _ in shown] == ["display"] + 4 * ["update"]
    html = [content["text/html"] for _, content in shown]
    assert "data: &lt;3 rows&gt;" in html[0]
    assert html[1].endswith("<b>train</b>")
    # A quarter is done, and who cannot see the bar reads its figure.
    assert 'value="0.2500"' in html[2] and ">25%</progress>" in html[2] and "8 s left" in html[2]
    # What has ended stays, and nothing is under way.
    assert html[4].endswith("</pre>") and "train: done in 12.0 s" in html[4]
    assert shown[-1][1]["text/plain"].splitlines()[0] == "data: <3 rows>"


@pytest.mark.parametrize(
    ("shell", "expected"), [(None, False), (Kernel(), True), (TerminalInteractiveShell(), False)]
)
def test_a_kernel_is_a_notebook(
    shell: Any, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    within(monkeypatch, shell)
    assert is_notebook() is expected


def test_a_program_that_is_watched_by_nobody_is_told_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    within(monkeypatch, None)
    with progress() as tell:
        assert tell is silent
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress() as tell:
        assert type(tell).__name__ == "LiveLine"


def test_a_notebook_gets_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limbeck.core.terminal.notebook.is_notebook", lambda: True)
    with progress() as tell:
        assert isinstance(tell, NotebookLine)
