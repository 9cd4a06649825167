"""Files that limbeck does not read, and what to do with them: told by name by `limbeck init`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from limbeck.cli.first_recipe.refused.arrays import refuse_arrays, refuse_cifar, refuse_dicom
from limbeck.cli.first_recipe.refused.labels_beside import refuse_labels_beside
from limbeck.cli.first_recipe.refused.line_labels import operand, refuse_lines
from limbeck.cli.first_recipe.refused.tools import refuse_tools
from limbeck.core.terminal.shell import command
from limbeck.core.wording import some
from limbeck.sources._split_files import split_of
from limbeck.sources._unpacked import bare_name

MOST_BYTES = 4096  # by which a file is told to be no text
SHOWN = 5
SHOWN_FOLDERS = 8
# Choices of a question, a column each (`choice0`, `ending_1`, `answerA`, `sol2`), or in one list.
CHOICE = re.compile(
    r"(choice|option|opt|answer|ending|sol|solution|alternative|candidate|distractor)"
    r"[ _]?(\d|[A-Ea-e])",
    re.IGNORECASE,
)
# Numbered parts, and what those of a cross-validation are called.
PART = re.compile(r"(.*?[^\d])?0*(\d+)(\.[^.\d]+(?:\.gz)?)", re.DOTALL)
FOLD = re.compile(r"fold|cv", re.IGNORECASE)
LETTERS = ("A", "B", "C")
WRITTEN_OBJECT = re.compile(r"\s*(\[\s*)?\{\s*['\"]")
CHOICES = ("choices", "options", "endings", "candidates", "alternatives", "mc1_targets")

# What a suffix stands for, and the cure.
CURES = {
    ".xlsx": "a spreadsheet. Save it as csv",
    ".xls": "a spreadsheet. Save it as csv",
    ".ods": "a spreadsheet. Save it as csv",
    ".arrow": "a data set of the library `datasets`. Write it as Parquet: "
    "datasets.load_from_disk(FOLDER)[SPLIT].to_parquet('SPLIT.parquet')",
    ".feather": "a table of Arrow. Write it as Parquet: pandas.read_feather(FILE).to_parquet(...)",
    ".h5": "an archive of arrays. Write it with numpy.savez, with train_images and train_labels",
    ".hdf5": "an archive of arrays. Write it with numpy.savez, with train_images and train_labels",
    ".mat": "arrays of MATLAB, which scipy.io.loadmat(FILE) reads. Write images with numpy.savez, "
    "as train_images (rows, height, width, channels) and train_labels; classes of images that lie "
    "here as split.csv, with the columns file and label",
    ".npy": "an array. Write images and their labels with numpy.savez, as train_images and "
    "train_labels",
    ".tfrecord": "records of TensorFlow. Write them as Parquet, or as images in folders",
    ".pkl": "a pickle, which runs code when it is read. Write a table, or numpy.savez",
    ".pickle": "a pickle, which runs code when it is read. Write a table, or numpy.savez",
    ".p": "a pickle, which runs code when it is read. Write a table, or numpy.savez",
    ".pt": "a pickle of PyTorch, which runs code when it is read. Write a table, or numpy.savez",
    ".db": "a data base. Write the query's rows as csv",
    ".sqlite": "a data base. Write the query's rows as csv",
    ".xml": "XML. Write a table: csv, or jsonl with an object a line",
    ".yml": "YAML. Write a table: csv, or jsonl with an object a line",
    ".yaml": "YAML. Write a table: csv, or jsonl with an object a line",
    ".fasta": "sequences of proteins or genes. Write a table of sequence and label",
    ".fa": "sequences of proteins or genes. Write a table of sequence and label",
    ".tar": "an archive. Unpack it: tar xf FILE",
    ".tgz": "an archive. Unpack it: tar xf FILE",
    ".bz2": "a compressed file. Unpack it: bunzip2 FILE",
    ".xz": "a compressed file. Unpack it: unxz FILE",
    ".7z": "an archive. Unpack it: 7z x FILE",
    ".rar": "an archive. Unpack it: unrar x FILE",
}


def refuse_by_name(path: Path, files: Sequence[Path]) -> None:
    """Raise ValueError with the cure, where files are of a kind that is known and not read.

    `files`: those of the folder `path`, or the one file.
    """
    refuse_labels_beside(path, files)
    refuse_tools(files)
    refuse_arrays(path, files)
    refuse_cifar(path, files)
    refuse_dicom(path, files)
    for file in files:
        suffix = ".tar" if ".tar." in file.name.lower() else file.suffix.lower()
        if suffix in CURES:
            raise ValueError(f"{file}: {CURES[suffix]}")
    refuse_lines([file for file in files[:SHOWN] if file.is_file() and is_text(file)])
    below = sorted(path.iterdir()) if path.is_dir() else []
    arrays = [file.name for file in files if "images-idx3-ubyte" in file.name]
    if arrays:
        raise ValueError(
            f"{path}: IDX files under other names ({some(arrays, SHOWN)}). Rename them to "
            "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
            "t10k-labels-idx1-ubyte (and .gz behind it where they are packed)"
        )
    folders = [f"{each.name}/" for each in below if each.is_dir()]
    if (path / "train" / "seq.in").is_file():
        raise ValueError(
            f"{path}: words in seq.in, their tags in seq.out, an intent in label. Write each line "
            "of these as one of train.jsonl, valid.jsonl and test.jsonl: "
            '{"tokens": [...], "tags": [...]} to tag, {"text": ..., "intent": ...} to classify'
        )
    if folders and not files:
        inside = (file for file in path.glob("*/*") if file.suffix.lower() in CURES)
        for file in sorted(inside)[:1]:
            raise ValueError(f"{file}: {CURES[file.suffix.lower()]}")
        raise ValueError(
            f"{path}: folders alone ({some(folders, SHOWN_FOLDERS)}), and no files of images or "
            "texts in folders of classes. Give the folder that holds train and test files"
        )


def is_text(file: Path) -> bool:
    """Whether a file begins as a text does."""
    with open(file, "rb") as stream:
        return b"\0" not in stream.read(MOST_BYTES)


def refuse_cells(place: str, records: Sequence[Mapping[str, object]], label: str) -> None:
    """Raise ValueError for labels that are objects, such as CLUENER's."""
    cells = [record.get(label) for record in records]
    parts = [part for cell in cells if isinstance(cell, list) for part in cell]
    are_written = [str(cell) for cell in cells if cell]
    # As a csv holds them: `[{"id": 18, "name": "Drama"}]`.
    is_written = bool(are_written) and all(map(WRITTEN_OBJECT.match, are_written))
    if is_written or any(isinstance(cell, dict) for cell in [*cells, *parts]):
        raise ValueError(
            f"{place}: `{label}` holds objects. Spans of a text are read as lists, "
            f'{{"text": ..., "{label}": [[START, END, NAME], ...]}}, the end behind the last '
            "character; one label as a word"
        )


class WithoutTrain(ValueError):
    """Files of a folder that speak of other splits than train."""


def refuse_without_train(path: Path, files: Sequence[Path]) -> None:
    """Raise WithoutTrain where all files of a folder speak of other splits than train: a test split
    that is trained on leaves nothing to be judged by."""
    splits = {file: split_of(Path(bare_name(file)).stem) or split_of(file.name) for file in files}
    if not files or path in splits or None in splits.values() or "train" in splits.values():
        return
    # The largest, as it is the one that rows can best be drawn from.
    here = [f"{file.name} ({split})" for file, split in splits.items()]
    raise WithoutTrain(
        f"{path}: no file of train among {some(here, SHOWN)}. Put the one of train beside them, "
        "with the word train in its name. Or, to draw train, validation and test from one of these "
        f"files, give that alone: {command('init', max(files, key=_size))}"
    )


def refuse_parts(path: Path, files: Sequence[Path]) -> None:
    """Raise ValueError for the numbered parts of one table, such as the folds of a
    cross-validation: one alone is a part of the rows."""
    matches = [PART.fullmatch(bare_name(file)) for file in files]
    parts = {int(match[2]): file for match, file in zip(matches, files, strict=True) if match}
    beginnings = {match[1] for match in matches if match}
    are_parts = len(parts) == len(files) > 1 and len(beginnings) == 1
    if not are_parts or sorted(parts) not in _counted(len(parts)):
        return
    names = [parts[number].name for number in sorted(parts)]
    last = names[-1] if FOLD.search(names[0]) else None
    copies = [
        f"cp {operand(name)} {operand(f'train-{number}{Path(name).suffix}')}"
        for number, name in enumerate(names)
        if name != last
    ]
    # Folds are drawn so that what belongs together is in one of them.
    copies += [f"cp {operand(last)} test{Path(last).suffix}"] if last else []
    raise ValueError(
        f"{path}: the parts of one table ({some(names, SHOWN)}). Name those of train, in that "
        f"folder: {'; '.join(copies)}"
    )


def _counted(count: int) -> list[list[int]]:
    """The numbers of so many parts, from 0 or from 1 on."""
    return [list(range(first, first + count)) for first in (0, 1)]


def _size(file: Path) -> int:
    """Bytes of a file; 0 of one in an archive, whose size stands elsewhere."""
    return file.stat().st_size if file.is_file() else 0


def refuse_choices(place: str, records: Sequence[Mapping[str, object]]) -> None:
    """Raise ValueError for questions with choices, whose label is the number of one of them: of
    the question alone it cannot be told, and the choices would be left unread."""
    if isinstance(records[0].get("paragraphs"), list):
        raise ValueError(
            f"{place}: passages with questions, whose answers are parts of the passages (SQuAD). "
            "No task of this version finds answers"
        )
    # 1. A column for each choice, by its name; of numbers they would be labels.
    columns = [name for name in records[0] if CHOICE.fullmatch(str(name).strip())]
    are_texts = any(not _is_number(record.get(name)) for record in records for name in columns)
    # 2. All choices in one list.
    in_lists = [name for name in records[0] if str(name).strip().lower() in CHOICES]
    in_lists = [name for name in in_lists if _holds_texts(records[0][name])]
    # 3. Columns that are called A, B, C as exams call them.
    if not columns and set(LETTERS) <= {str(name).strip() for name in records[0]}:
        columns = list(LETTERS)
        are_texts = not any(_is_number(record.get(name)) for record in records for name in columns)
    if not (len(columns) > 1 and are_texts) and not in_lists:
        return
    shown = some(in_lists or columns, SHOWN)
    raise ValueError(
        f"{place}: a question with choices ({shown}), of which a label says the right one. No task "
        "of this version chooses among texts of its own for each row. Write a row for each choice, "
        "with the columns question, choice, label (right or wrong) and group (the question's "
        "number): that is text-classification of pairs, text: question, text_b: choice"
    )


def _holds_texts(cell: object) -> bool:
    """Whether a cell is a list of several texts, or an object that holds one."""
    if isinstance(cell, Mapping):
        return any(_holds_texts(value) for value in cell.values())
    if not isinstance(cell, list):
        return False
    return len(cell) > 1 and all(isinstance(part, str | Mapping) for part in cell)


def _is_number(cell: object) -> bool:
    return str(cell).strip().lstrip("-").replace(".", "", 1).isdigit()
