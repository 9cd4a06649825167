"""What `limbeck init DATA` does: look at data, and write a first recipe for them.

What the data are is guessed from names and from the first rows (`tables`); `limbeck check` then
reads every row. What was seen stands in the recipe as comments (`recipe_text`).
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from limbeck.cli.first_recipe.below import look_at_split_folders
from limbeck.cli.first_recipe.folders import data_below
from limbeck.cli.first_recipe.images import (
    choose_size_of_archive,
    image_guess,
    images_in,
    look_at_images,
    no_classes,
)
from limbeck.cli.first_recipe.lengths import length_for
from limbeck.cli.first_recipe.names import without_notes
from limbeck.cli.first_recipe.recipe_text import (
    PIECES_MODEL,
    Guess,
    is_language_model,
    render,
    usual_model,
)
from limbeck.cli.first_recipe.refused.arrays import refuse_cifar, refuse_dicom
from limbeck.cli.first_recipe.refused.foreign import WithoutTrain, is_text, refuse_by_name
from limbeck.cli.first_recipe.refused.labels_beside import refuse_labels_beside
from limbeck.cli.first_recipe.refused.line_labels import refuse_formats
from limbeck.cli.first_recipe.refused.tools import refuse_tools
from limbeck.cli.first_recipe.sets.beside import left_below, told_tests
from limbeck.cli.first_recipe.tables import look_at_table, source_of
from limbeck.cli.first_recipe.texts import look_at_class_files, look_at_lines, look_at_text_folder
from limbeck.cli.first_recipe.tokens import can_be_pieces, tokenizer_at_hand
from limbeck.cli.first_recipe.words import look_at_words
from limbeck.core import registry
from limbeck.core.files import naming, require_file
from limbeck.core.terminal.shell import command
from limbeck.core.wording import some
from limbeck.recipe.reading import parse
from limbeck.sources._files import Lines
from limbeck.sources._split_files import split_of
from limbeck.sources._unpacked import bare_name, files_in, is_archive, strange_in
from limbeck.sources.conll import SUFFIXES as WORD_SUFFIXES
from limbeck.sources.idx import check_head
from limbeck.sources.idx import files_of as idx_files
from limbeck.sources.npz import arrays_of, check_sizes

SHOWN = 5  # classes that a reason names
PLAIN = (".txt", ".tsv", ".pubtator", "")  # suffixes under which anything may lie
SHOWN_FILES = 8
MOST_TOLD = 40  # files that a line tells
TAB_LINES = 20
OF_TRAIN = ("train_images", "train_labels")  # arrays that an archive must have
IDX_TRAIN = ("train-images-idx3-ubyte", "train-images.idx3-ubyte")

EXPECTED = (
    "Expected: a .csv, .tsv, .jsonl, .json or .parquet file, or a folder or .zip with train, valid "
    "and test files of one of these, or of words with tags in CoNLL columns; a folder of images in "
    "folders named by their class; train-images-idx3-ubyte files; or an .npz file with "
    "train_images and train_labels"
)


def write(data: Path, out: Path, model: str | None) -> list[str]:
    """Write a recipe for `data` to `out`; what was seen and what to do next, as lines.

    `model`: the teacher; a usual one where left out. Raises ValueError where `out` is there
    already, and where the data are nothing that can be read.
    """
    if out.exists():
        raise ValueError(f"{out}: this file is here already. Remove it, or choose another --out")
    guess = look(data, model)
    sources = registry.names("sources")
    if guess.source not in sources:
        raise ValueError(
            f"{data}: this looks like `{guess.source}`, which this version cannot read. "
            f"It reads {', '.join(sources)}"
        )
    tasks = registry.names("tasks")
    if guess.task not in tasks:
        raise ValueError(
            f"{data}: this is for {guess.task}, a task that this version lacks. "
            f"It has {', '.join(tasks)}"
        )
    # A network of ours for texts has stages of its own: there are no layers to leave out.
    guess.reads_pieces = model == PIECES_MODEL
    if guess.reads_pieces and not can_be_pieces(guess):
        raise ValueError(
            f"--model {model}: this network reads single texts, and these data are for "
            f"{guess.task}{' of pairs' if 'text_b' in guess.options else ''}. Leave --model out, "
            "or name another"
        )
    length, told = length_for(guess, model)
    guess.reasons += told
    text = render(guess, model, length)
    parse(text, origin=str(out))  # before it is written: a file that cannot be read helps no one
    with naming(out):
        out.write_text(text, encoding="utf-8")
    reasons = [f"  {reason}" for reason in guess.reasons]
    return [
        f"{data}: {guess.task}, source {guess.source}",
        *reasons,
        f"wrote {out}",
        *not_at_hand(guess, data, model, out),
        "",
        "Next:",
        f"  {command('check', out)}",
        f"  {command('run', out)}",
    ]


def not_at_hand(guess: Guess, data: Path, model: str | None, out: Path) -> list[str]:
    """That the model of texts must be fetched first, and how it is had without a network: a user
    who is offline would learn it from the first run. Nothing where it is here, or none is read.

    `out`: the recipe that was written; another one goes to another file.
    """
    name = model or usual_model(guess)
    if guess.task == "image-classification" or guess.reads_pieces:
        return []
    # A folder without tokenizer.json may hold another kind of tokenizer.
    if Path(name).expanduser().is_dir() or tokenizer_at_hand(name):
        return []
    beside = out.with_name(f"{out.stem}-other{out.suffix}")
    other = command("init", data, "--model", "FOLDER", "--out", beside)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        return [f"{name}: there is no such folder; name one that is here: `{other}`"]
    lines = [
        f"{name} is not on this machine: the first run fetches it from the hub. Without a network, "
        f"copy the folder that `hf download {name} --local-dir FOLDER` makes elsewhere: `{other}`"
    ]
    if can_be_pieces(guess):
        beside = out.with_name(f"{out.stem}-{PIECES_MODEL}{out.suffix}")
        own = command("init", data, "--model", PIECES_MODEL, "--out", beside)
        lines.append(f"A network of limbeck's own needs no download: `{own}`")
    return lines


def look(data: Path, model: str | None = None) -> Guess:
    """What a file or folder holds. Raises ValueError where it is nothing that can be read, and for
    chats that end in a class, unless the `model` that is asked for writes text."""
    if not data.exists():
        raise ValueError(f"{data}: no such file or folder. {EXPECTED}")
    is_folder = data.is_dir() or is_archive(data)
    guess = look_here_or_below(data)
    if guess is None:
        refuse_by_name(data, files_in(data) if is_folder else [data])
        pictures = images_in(data, files_in(data)) if is_folder else []
        if pictures:
            raise ValueError(no_classes(data, pictures))
        names = [data.name]
        if is_folder:
            names = [path.name for path in files_in(data)][:SHOWN_FILES]
            names += [f"{path.name}, {kind}" for path, kind in strange_in(data).items()]
        raise ValueError(
            f"{data}: nothing here that can be read ({', '.join(names) or 'an empty folder'}). "
            f"{EXPECTED}"
        )
    if guess.chat_refusal and not (model and is_language_model(model)):
        told = ""
        if model:
            told = "is no" if Path(model).expanduser().exists() else "is not here: name the"
            told = f"--model {model} {told} folder of a language model, which would learn them. "
        raise ValueError(told + guess.chat_refusal)
    guess.reasons += told_files(guess, data, is_folder=is_folder)
    return guess


def look_here_or_below(data: Path) -> Guess | None:
    """What a file, a folder or an archive holds, or the one folder below it that can be read; None
    where nothing can. Raises ValueError where several folders hold data."""
    without_train: ValueError | None = None
    guess = None
    try:
        guess = look_at(data)
    except WithoutTrain as error:
        without_train = error
    if guess or not data.is_dir():
        return guess
    below = data_below(data, look_at)
    if without_train:
        # A test split beside the folders of its set: of that alone nothing can be learned.
        if below.guesses:
            raise ValueError(f"{data}: no file of train here, and folders hold data {below.told}")
        raise without_train
    if len(below.guesses) + len(below.refusals) > 1:
        raise ValueError(f"{data}: several folders here hold data {below.told}")
    for refusal in below.refusals.values():
        raise refusal
    return next(iter(below.guesses.values()), None)


def look_at(data: Path) -> Guess | None:
    """What a file, a folder or an archive holds; None where it is nothing that can be read."""
    if not data.is_dir() and not is_archive(data):
        return look_at_file(data)
    guess = look_at_folder(data)
    return guess or (look_at_split_folders(data) if data.is_dir() else None)


def told_files(guess: Guess, data: Path, *, is_folder: bool) -> list[str]:
    """Which files are read as what, and which are not, in a line each."""
    read = [f"{file.name} ({split})" for split, files in guess.files.items() for file in files]
    lines = [f"read: {some(read, MOST_TOLD)}"] if read else []
    known = {file for files in guess.files.values() for file in files} | set(guess.files_beside)
    # An archive in the folder is read where a file in it is.
    known |= {parent for file in known for parent in file.parents}
    if not is_folder or not read:
        return lines
    left = [file.relative_to(data).as_posix() for file in files_in(data) if file not in known]
    if data.is_dir():
        left += [f"{path.name}, {kind}" for path, kind in strange_in(data).items()]
        left += left_below(data, known)
        lines += told_tests(guess, data, known)
    return [*lines, f"not read: {some(left, MOST_TOLD)}"] if left else lines


def look_at_file(path: Path) -> Guess | None:
    """A table, words in columns, or an archive of arrays; None for anything else."""
    if ".tar." in path.name.lower():
        return None
    suffix = path.suffix.lower()
    source = source_of(path)
    if suffix == ".npz":
        require_file(path)
        check_sizes(path)
        return _of_arrays(path)
    if source in (None, "tsv"):
        words = look_at_words(path, [path])
        if words:
            return words
    if source:
        return look_at_table(path, [path])
    if is_text(path):
        refuse_formats([path])
    if _has_tabs(path):
        return look_at_table(path, [path], "tsv")
    return look_at_lines(path, [path])


def _of_arrays(path: Path) -> Guess:
    """An archive of images and labels. Raises ValueError where it holds none of one of them."""
    arrays = arrays_of(path)
    own = [name for name, _ in arrays.values()]
    if not {*OF_TRAIN} <= set(arrays):
        raise ValueError(
            f"{path}: no arrays of images and of labels by their names ({', '.join(OF_TRAIN)}, or "
            f"X and y). Arrays here: {some(own, SHOWN_FILES)}. Write it with numpy.savez(FILE, "
            "train_images=..., train_labels=...)"
        )
    read = [name for usual, (name, _) in arrays.items() if usual.endswith(("_images", "_labels"))]
    guess = image_guess("npz", path, f"an archive of arrays: {', '.join(read)}")
    guess.files = {"train": [path]}
    choose_size_of_archive(guess, arrays[OF_TRAIN[0]][1])
    return guess


def _has_tabs(path: Path) -> bool:
    """Whether every line of a file of no known kind has as many tabs, at least one."""
    lines = [line for line in islice(Lines(path), TAB_LINES) if line.strip()]
    counts = {line.count("\t") for line in lines}
    return len(counts) == 1 and 0 not in counts


def look_at_folder(folder: Path) -> Guess | None:
    """IDX, words in columns, images, tables, or the one archive that is there, in this order."""
    here = without_notes(files_in(folder))
    refuse_tools(here)
    refuse_labels_beside(folder, _lines_in(here))
    refuse_dicom(folder, here)
    refuse_cifar(folder, here)
    plain = [file for file in here if file.suffix.lower() in PLAIN and file.is_file()]
    refuse_formats([file for file in plain[:SHOWN_FILES] if is_text(file)])
    if any(path.name.startswith(IDX_TRAIN) for path in here):
        guess = image_guess("idx", folder, "IDX files, as MNIST has them")
        read = idx_files(folder)
        for file in read["train"][:1]:
            check_head(file, 3)
        guess.files = {split: files for split, files in read.items() if files}
        return guess
    columns = [path for path in here if _may_have_words(path)]
    words = look_at_words(folder, columns) if columns else None
    if words:
        return words
    names = images_in(folder, files_in(folder))
    if names or (folder / "images.zip").is_file():
        images = look_at_images(folder, names)
        if images:
            return images
    # What the library `datasets` saves has JSON beside it that is no table.
    saved = [path for path in here if path.suffix == ".arrow"]
    if saved:
        refuse_by_name(folder, saved)
    # Of several kinds of tables the one of train, then that of most files.
    tables = [path for path in here if source_of(path)]
    if tables:
        sources = [source_of(path) for path in tables]
        trained = [source_of(path) for path in tables if split_of(path.stem) == "train"]
        kind = (trained or [max(dict.fromkeys(sources), key=sources.count)])[0]
        return look_at_table(folder, [path for path in tables if source_of(path) == kind])
    texts = look_at_text_folder(folder) or look_at_class_files(folder)
    if texts:
        return texts
    if columns and all(_has_tabs(path) for path in columns if path.is_file()):
        return look_at_table(folder, columns, "tsv")
    # A lone table may have no suffix, as SMSSpamCollection.
    if len(here) == 1 and "." not in here[0].name and _has_tabs(here[0]):
        return look_at_table(here[0], here, "tsv")
    lines = look_at_lines(folder, here)
    if lines:
        return lines
    if columns:
        refuse_by_name(folder, columns)
        raise ValueError(
            f"{columns[0]}: these lines are not words with tags (O, B-TYPE, I-TYPE) in columns. "
            f"{EXPECTED}"
        )
    archives = [path for path in here if path.suffix.lower() in (".npz", ".zip")]
    return look_at(archives[0]) if len(archives) == 1 and folder.is_dir() else None


def _lines_in(files: Sequence[Path]) -> list[Path]:
    """The files that are none of a table, by their names, and begin as texts do."""
    others = (file for file in files if source_of(file) is None and file.is_file())
    return [file for file in others if is_text(file)]


def _may_have_words(path: Path) -> bool:
    """Whether a file's name is one of words in columns."""
    name = bare_name(path).lower()
    return path.suffix.lower() not in (".md", ".zip") and (
        name.endswith(tuple(suffix for suffix in WORD_SUFFIXES if suffix))
        or ("." not in name and split_of(name) is not None)
    )
