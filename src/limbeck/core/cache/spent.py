"""How long a stage was worked on before this process, where kills came between.

A hidden file in the partly filled entry holds the seconds of the processes before the last one, and
its own time says when that one began. What that one left behind is as old as its newest file: later
work, which a kill took, is done once more and counted then. So nothing need be written on the way,
and a kill that no program can answer is counted, too.
"""

from pathlib import Path

MARK = ".spent"


def go_on(partial: Path) -> float:
    """The seconds of earlier processes whose work is still there; from here on this one counts.

    partial: the entry that is being filled; 0 for one that is new.
    """
    mark = partial / MARK
    spent = _before(mark) + _of_last(partial, mark)
    mark.write_text(repr(spent), encoding="ascii")
    return spent


def forget(partial: Path) -> None:
    """Remove the mark of an entry that is about to be finished."""
    (partial / MARK).unlink(missing_ok=True)


def _before(mark: Path) -> float:
    try:
        # A clock that was set back gives no seconds that are owed.
        return max(0.0, float(mark.read_text(encoding="ascii")))
    except (FileNotFoundError, ValueError):
        # Of a version that wrote none, or cut off by a kill.
        return 0.0


def _of_last(partial: Path, mark: Path) -> float:
    """From the start of the last process to the newest file that it left."""
    if not mark.is_file():
        return 0.0
    files = [path for path in partial.rglob("*") if path.is_file() and path != mark]
    newest = max((path.stat().st_mtime for path in files), default=0.0)
    return max(0.0, newest - mark.stat().st_mtime)
