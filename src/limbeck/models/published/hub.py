"""Models of `transformers` by folder or hub id: where they lie, and errors in one sentence."""

import contextlib
import io
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from limbeck.core.foreign import told_as
from limbeck.models.published import gguf_files
from limbeck.models.published.bounds import CONFIG, WEIGHTS_SUFFIXES, bounded

# How a message about a model begins: one that does is told already.
MODEL = "model `"
# The switch of transformers, which its refusals name. It is off at every call: left open, the
# library asks on the terminal, and "y" on standard input would run what lies in a folder.
SWITCH = "trust_remote_code"
# How transformers begins to say that an architecture lacks a head; it goes on for a page.
WITHOUT_HEAD = "Unrecognized configuration class"

# How long the hub may take to answer. Its own library tries six times, and again for each file.
SECONDS_TO_ANSWER = 5.0

# git-lfs.com/spec: what a pointer begins with, and how many bytes it has at most.
POINTER = b"version https://git-lfs"
MOST_OF_A_POINTER = 1024
# Weights of other libraries.
FOREIGN_WEIGHTS = {"tf_model.h5", "flax_model.msgpack", "rust_model.ot"}
USUAL_WEIGHTS = {"model.safetensors", "pytorch_model.bin"}
# Where a folder has no weights that are read, by what it has.
OTHER_WEIGHTS = {
    ".onnx": "Its weights ({file}) are a graph's: take the folder that it was exported from",
    ".safetensors": "Of weights in several files ({file}, ...) model.safetensors.index.json says "
    "which is where: copy that too, or name a lone file model.safetensors",
    ".bin": "Of weights in several files ({file}, ...) pytorch_model.bin.index.json says which is "
    "where: copy that too, or name a lone file pytorch_model.bin",
}


class ForeignCode(ValueError):
    """A model that cannot be had without running Python code out of its folder."""


def locate(name: str) -> str:
    """A folder's path with ~ expanded, or the hub id as it is; of a GGUF file the folder that it is
    made into.

    Raises ValueError for a GGUF file that cannot be read.
    """
    path = Path(name).expanduser()
    # Unlike `path.exists`, this is false for a name that is too long.
    if not os.path.exists(path):
        return name
    file = gguf_files.file_in(path)
    if file is None:
        return str(path)
    with quiet():
        return str(gguf_files.as_folder(file, name))


def is_path(name: str) -> bool:
    """Whether a model's name can be a path alone: a hub id is NAME or OWNER/NAME."""
    has_marks = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
    return has_marks or name.lower().endswith(gguf_files.SUFFIX)


def is_within_reach(name: str, file: str = "config.json") -> bool:
    """Whether a file of a hub id is in the hub's cache, or the hub can be asked for it."""
    from huggingface_hub import constants, try_to_load_from_cache

    # It gives a mark of its own for a file of which it knows that the hub does not have it.
    if isinstance(try_to_load_from_cache(name, file), str):
        return True
    if constants.HF_HUB_OFFLINE:
        return False
    # Whether a proxy can reach it, only the proxy knows.
    if urllib.request.getproxies():
        return True
    hub = urllib.parse.urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((hub.hostname, hub.port or 443), SECONDS_TO_ANSWER):
            return True
    except OSError:
        return False


def folder_of(name: str) -> Path | None:
    """Where a model's files lie: its folder, or that of its commit in the hub's cache.

    A config that is not there yet is downloaded, so that it can be judged before it is read. None
    where there is none, which transformers tells by itself.
    """
    folder = Path(locate(name))
    if folder.is_dir():
        return folder
    if is_path(name):
        return None
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    try:
        # The cache first: it asks nobody, and this is called for every part of a model.
        cached = try_to_load_from_cache(name, CONFIG)
        config = cached if isinstance(cached, str) else hf_hub_download(name, CONFIG)
    # No such name, nothing there, or nobody who answers.
    except (EntryNotFoundError, OSError, ValueError):
        return None
    return Path(config).parent


def file_of(name: str, file: str) -> Path | None:
    """A file of a model's folder or hub id; None where it has none, or where the hub's cache lacks
    it and the hub does not answer."""
    folder = Path(locate(name))
    if folder.is_dir():
        return folder / file if (folder / file).is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(name, file))
    except EntryNotFoundError:
        return None


def first_line(error: Exception) -> str:
    """The first line of a message, at most 300 characters: transformers' go on for a page."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def cure_of(folder: Path) -> str:
    """What to do about a model's folder whose files cannot be read."""
    for file in sorted(folder.glob("*")):
        # A clone without Git LFS has a few lines in the place of each large file.
        is_short = file.is_file() and file.stat().st_size < MOST_OF_A_POINTER
        if is_short and file.read_bytes().startswith(POINTER):
            return (
                f"{file.name} is a pointer of Git LFS, and not the file that it stands for: "
                "`git lfs pull` in the folder brings that"
            )
    names = {file.name for file in folder.glob("*")}
    if names & FOREIGN_WEIGHTS and not any(name.endswith(WEIGHTS_SUFFIXES) for name in names):
        return (
            "Its weights are TensorFlow's or Flax's alone, and limbeck reads PyTorch's: take a "
            "folder with model.safetensors, or convert it with transformers 4 "
            "(from_pretrained(..., from_tf=True) or from_flax=True, then save_pretrained)"
        )
    is_whole = names & USUAL_WEIGHTS or any(name.endswith(".index.json") for name in names)
    for suffix, told in () if is_whole else OTHER_WEIGHTS.items():
        others = sorted(name for name in names if name.endswith(suffix))
        if others:
            return told.format(file=others[0])
    return "Copy the folder again"


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what `transformers` raises for a model that cannot be read into a ValueError; one of a
    folder that asks for more than any model is, is not read at all."""

    def broken(reason: str) -> ValueError:
        return ValueError(
            f"model `{name}`: its files cannot be read: {reason}. {cure_of(Path(locate(name)))}"
        )

    with told_as(broken), bounded(name, folder_of(name)), _told(name):
        yield


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """The errors that say why in a word of `transformers`."""
    try:
        yield
    # Which one depends on what is missing: a folder or hub id, a fitting weight, a key of a config,
    # a whole file.
    except ValueError as error:
        if str(error).startswith(MODEL):
            raise
        if SWITCH not in str(error):
            raise ValueError(f"{MODEL}{name}`: {first_line(error)}") from None
        raise ForeignCode(
            f"model `{name}`: its folder asks to run Python code of its own (`auto_map`), and "
            "limbeck runs no code that lies beside weights. Build the model in Python and hand it "
            "over, limbeck.run(recipe, models={'mine': model}), or name a model whose architecture "
            "transformers knows itself"
        ) from None
    except ImportError as error:
        raise ValueError(
            f"model `{name}`: transformers needs a package for it that is not installed: "
            f"{first_line(error)}"
        ) from None
    except (OSError, RuntimeError, KeyError, SafetensorError) as error:
        # A folder with a config is a model's: a file is missing, or broken.
        if (Path(locate(name)) / CONFIG).is_file():
            reason = first_line(error).rstrip(".")
            cure = cure_of(Path(locate(name)))
            raise ValueError(
                f"{MODEL}{name}`: its files cannot be read: {reason}. {cure}"
            ) from None
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
        if SWITCH in str(error) or str(error).startswith(MODEL):
            raise  # `reading` knows what that is, or it is told already
        why = first_line(error)
        if why.startswith(WITHOUT_HEAD):
            why = "transformers has no head of this task for its architecture. Take another encoder"
        raise ValueError(f"model `{name}`: not to be had as {auto_model}: {why}") from None


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
