"""Plug-ins: components that other installed packages offer as entry points.

`core.registry` asks for them by name. What is wrong with one is told with its name, since its code
may be broken in any way.
"""

import contextlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, distributions, entry_points
from types import FrameType
from typing import Any

from limbeck.core import wording
from limbeck.core.errors import Interrupted
from limbeck.core.files import same_folder

# What is nobody's mistake: Ctrl-C, and the end of a generator.
PASSING = (KeyboardInterrupt, GeneratorExit)

# The module that asks who is printing.
ASKING = "limbeck.cli.standard_output"

# Package -> the plug-in that was loaded from it, for the message where its code fails (`blame`).
_loaded: dict[str, str] = {}


def offered(family: str) -> EntryPoints:
    """What other packages offer of a family."""
    return _entry_points(entry_points, f"limbeck.{family}", tuple(sys.path))


@cache
def _entry_points(
    read: Callable[..., EntryPoints], group: str, path: tuple[str, ...]
) -> EntryPoints:
    """The entry points of a group, read once for each search path.

    A run asks a hundred times, and each time the metadata of every installed package would be
    opened: 10 ms.
    """
    return read(group=group)


def package_of(point: EntryPoint) -> str:
    """The installed package that offers an entry point, as `pip` calls it."""
    return point.dist.name if point.dist else point.module.split(".")[0]


def load(family: str, point: EntryPoint) -> Any:
    """What an entry point names.

    Raises ModuleNotFoundError where a package of the extra `train` is missing, as for components
    of ours, and ValueError where it cannot be imported otherwise, or is no class.
    """
    try:
        # What it prints is no answer of a command.
        with same_folder(), contextlib.redirect_stdout(sys.stderr):
            component = point.load()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in wording.OF_THE_EXTRA_TRAIN:
            raise
        reason = f"cannot be imported: {error}"
        if missing == point.module.partition(".")[0]:
            raise ValueError(_why_refused(family, point, reason)) from error
        raise ValueError(
            f"{family}: the plug-in `{point.name}` ({point.value}) {reason}. Install what "
            f"{package_of(point)} needs: the package that brings `{missing}`"
        ) from error
    except PASSING:
        raise
    # The code of others may be broken in any way, and may even leave the program.
    except BaseException as error:
        reason = f"cannot be imported: {type(error).__name__}: {error}"
        if _is_misnamed(error):
            raise ValueError(_why_refused(family, point, reason)) from error
        raise ValueError(
            f"{family}: the plug-in `{point.name}` ({point.value}) {reason}{_place(error)}. Mend "
            f"its code there, or remove it: `pip uninstall {package_of(point)}`"
        ) from error
    # A module, where the colon and the class are forgotten; a function or an object.
    if not inspect.isclass(component):
        reason = f"is a {type(component).__name__}, not a class"
        raise ValueError(_why_refused(family, point, reason))
    _loaded[component.__module__.split(".")[0]] = f"{family}: the plug-in `{point.name}`"
    return component


def blame(error: BaseException) -> str | None:
    """The plug-in whose code an error passed through, the line and the error; None without one."""
    told = _last_frame(error)[0]
    return told and f"{told}: {type(error).__name__}: {error}"


def words_of(error: BaseException) -> str:
    """An error's message; with the place where a plug-in's own code raised it.

    Such a message may be meant for the user, come from a library that knows nothing of plug-ins,
    or be empty.
    """
    told, is_last = _last_frame(error)
    words = str(error) or type(error).__name__
    return f"{words} ({told})" if told and is_last else words


@contextlib.contextmanager
def blamed() -> Iterator[None]:
    """Raise what the code of a plug-in raises in the `with` block as a ValueError that names it.

    What goes on as it is: what nobody's plug-in raised, what the system refuses, an interruption.
    """
    try:
        yield
    except (Interrupted, *PASSING):
        raise
    except ValueError as error:
        _, is_last = _last_frame(error)
        if not is_last:
            raise
        raise ValueError(words_of(error)) from error
    except BaseException as error:
        told_of_plug_in = blame(error)
        is_refused = isinstance(error, OSError) and error.errno is not None
        if told_of_plug_in is None or is_refused:
            raise
        raise ValueError(told_of_plug_in) from error


def is_speaking() -> bool:
    """Whether it is a plug-in's code that prints: of the frames that are a plug-in's or ours, the
    last before `standard_output` is asked."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        package = name.split(".")[0]
        if package in _loaded:
            return True
        if package == "limbeck" and name not in (__name__, ASKING):
            return False
        frame = frame.f_back
    return False


def _last_frame(error: BaseException) -> tuple[str | None, bool]:
    """The last place in a plug-in that an error passed through, and whether none of ours came
    after it."""
    told = None
    is_last = False
    for frame, line in traceback.walk_tb(error.__traceback__):
        package = frame.f_globals.get("__name__", "").split(".")[0]
        if package in _loaded:
            code = frame.f_code
            told = f"{_loaded[package]} failed in `{code.co_name}` ({code.co_filename}:{line})"
            is_last = True
        elif package == "limbeck":
            is_last = False
    return told, is_last


def _is_misnamed(error: BaseException) -> bool:
    """Whether an entry point's module could be imported, and has nothing of the entry's name."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    own = frame.f_globals.get("__name__", "")
    return isinstance(error, AttributeError) and own.startswith("importlib.metadata")


def _place(error: BaseException) -> str:
    """` (FILE:LINE)` of the line that failed to be imported; nothing where the error says it."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}:{error.lineno})" if error.filename else ""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return f" ({frame.f_code.co_filename}:{line})"


def _why_refused(family: str, point: EntryPoint, reason: str) -> str:
    """The message for a plug-in that gives no component."""
    # The name may be anything, and a class's may not.
    name = wording.class_name(re.sub(r"\W", "_", point.name))
    line = f'{point.name} = "package.module:{name}"'
    return (
        f"{family}: the plug-in `{point.name}` ({point.value}) {reason}. An entry point names a "
        f"module and a class: {line}"
    )


def strays(families: Collection[str], name: str | None = None) -> list[str]:
    """A sentence for each plug-in, or each of that name, whose group is that of no family: nobody
    would find it."""
    told = []
    # Python 3.11 gives all groups at once as texts alone.
    points = [point for each in distributions() for point in each.entry_points]
    for point in points:
        room, _, family = point.group.partition(".")
        if room == "limbeck" and family not in families and name in (None, point.name):
            told.append(
                f"{package_of(point)} offers `{point.name}` in the group `{point.group}`, which is "
                f"no family. {wording.suggest(family, families)}"
            )
    return told
