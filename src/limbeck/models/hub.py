"""Models of `transformers` by folder or hub id: where they lie, and errors in one sentence."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

# The switch of transformers, which its refusals name. It is off at every call: left open, the
# library asks on the terminal, and "y" on standard input would run what lies in a folder.
SWITCH = "trust_remote_code"


class ForeignCode(ValueError):
    """A model that cannot be had without running Python code out of its folder."""


def locate(name: str) -> str:
    """A folder's path with ~ expanded, or the hub id as it is."""
    path = Path(name).expanduser()
    # Unlike `path.exists`, this is false for a name that is too long.
    return str(path) if os.path.exists(path) else name


def first_line(error: Exception) -> str:
    """The first line of a message, at most 300 characters: transformers' go on for a page."""
    return str(error).strip().splitlines()[0][:300]


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what `transformers` raises for a model that cannot be read into a ValueError."""
    try:
        yield
    # Which one depends on what is missing: a folder or hub id, a fitting weight, a key of a config,
    # a whole file.
    except ValueError as error:
        if SWITCH not in str(error):
            raise
        raise ForeignCode(
            f"model `{name}`: its folder asks to run Python code of its own (`auto_map`), and "
            "limbeck runs no code that lies beside weights. Build the model in Python and hand it "
            "over, limbeck.run(recipe, models={'mine': model}), or name a model whose architecture "
            "transformers knows itself"
        ) from None
    except (OSError, RuntimeError, KeyError, SafetensorError) as error:
        raise ValueError(
            f"model `{name}`: neither a network of ours, nor a model folder, "
            f"nor a hub id that can be reached: {first_line(error)}"
        ) from None


@contextlib.contextmanager
def having(name: str, auto_model: str) -> Iterator[None]:
    """Turn what `transformers` raises for a model that lacks the task's head into one sentence.

    `auto_model`: the class of transformers that was asked for, such as
    `AutoModelForTokenClassification`.
    """
    try:
        yield
    except ValueError as error:
        if SWITCH in str(error):
            raise  # `reading` knows what that is
        raise ValueError(
            f"model `{name}`: not to be had as {auto_model}: {first_line(error)}"
        ) from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the loading reports and progress bars of `transformers` off the terminal."""
    from transformers.utils import logging

    # The level is the library's own, which a caller may have set.
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
