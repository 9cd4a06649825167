"""What texts outside of tables look like: a file a text in folders of classes, plain lines, and
lines that hold their label in a way of their own.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from limbeck.cli.first_recipe.encodings import LATIN, WINDOWS, add_encoding, choices, encoding_of
from limbeck.cli.first_recipe.names import without_notes
from limbeck.cli.first_recipe.recipe_text import Guess
from limbeck.cli.first_recipe.refused.foreign import refuse_by_name, refuse_without_train
from limbeck.cli.first_recipe.refused.line_labels import refuse_lines
from limbeck.cli.first_recipe.refused.text_parts import refuse_parts_of_texts
from limbeck.cli.first_recipe.table_columns.columns import choose
from limbeck.cli.first_recipe.tables import DELIMITERS, read_records
from limbeck.core.files import paths_below
from limbeck.core.wording import some
from limbeck.sources._class_files import class_files_in
from limbeck.sources._encodings import judge
from limbeck.sources._files import Lines
from limbeck.sources._image_layout import placed
from limbeck.sources._split_files import find_splits
from limbeck.sources._unpacked import is_hidden
from limbeck.sources.text import SUFFIXES as TEXT_SUFFIXES
from limbeck.sources.text_folder import names_in, of_classes, read_text

LINES = 1000  # looked at, of a file
MOST_TEXTS = 300_000  # files below a folder that are looked at
MOST_DECODED = 3000  # of them, by which the encoding is told
SHOWN = 5
# What people call classes that have a file each; another name may as well be a book's.
CLASSES = {
    *("pos", "neg", "neu", "positive", "negative", "neutral", "mixed", "good", "bad"),
    *("spam", "ham", "subjective", "objective", "real", "fake", "true", "false", "yes", "no"),
    *("hate", "offensive", "toxic", "normal", "none", "sarcastic", "ironic", "human", "machine"),
    *("joy", "anger", "sadness", "fear", "love", "surprise", "disgust", "happy", "sad", "angry"),
}
# The names of files pass through the environment, where no letter of theirs means anything.
TABLE_OF_FILES = (
    'for f in *.txt; do c="${f%.txt}" awk '
    """'{print ENVIRON["c"] "\\t" $0}' "./$f"; done > train.tsv"""
)
MOST_FILES = 20  # classes that have one each
SHOWN_CHARACTERS = 60  # of a line
MOST_TOLD = 40
SHORTEST_LINE = 15  # characters a line of prose has on average
MOST_LABELS = 60


def look_at_text_folder(folder: Path) -> Guess | None:
    """A file for each text in folders of classes; None for any other folder."""
    if not folder.is_dir():
        return None
    names = names_in(folder, MOST_TEXTS)
    if not of_classes(names):
        return None
    texts = [text for text in placed(names) if text.label or text.split == "unlabelled"]
    classes = sorted({text.label for text in texts if text.label})
    refuse_parts_of_texts(folder, texts)
    guess = Guess("text-classification", "text_folder", folder)
    guess.reasons.append(
        f"{len(texts):,} files of a text in {len(classes)} folders ({some(classes, SHOWN)})"
    )
    sample = texts[:: max(1, len(texts) // MOST_DECODED)]
    _add_encoding_of_texts(guess, [folder / text.name for text in sample])
    if any(text.group for text in texts):
        guess.reasons.append("a folder below a class is a group: drawn splits keep it together")
    guess.reasons += told_below(folder, {text.name: text.split for text in texts}, "texts")
    return guess


def look_at_class_files(folder: Path) -> Guess | None:
    """A file of texts for each class, that are called as classes are; None for any other folder."""
    if not folder.is_dir():
        return None
    found = [file for file in class_files_in(folder) if without_notes([file.path])]
    labels = sorted({file.label for file in found if file.label and file.split == "train"})
    if sum(label.lower() in CLASSES for label in labels) < 2 or len(labels) > MOST_FILES:
        return None
    # A text of its own in each file of a folder is another layout.
    counts = Counter((file.split, file.label) for file in found)
    if max(counts.values()) > 1:
        return None
    guess = Guess("text-classification", "class_files", folder, {"classes": labels})
    guess.reasons.append(f"a text a line, in a file for each class ({some(labels, SHOWN)})")
    for file in found:
        if file.label is None or file.label in labels:
            guess.files.setdefault(file.split, []).append(file.path)
    add_encoding(guess, {str(file.path): file.path for file in found})
    if set(guess.files) <= {"train", "unlabelled"}:
        guess.reasons.append("validation and test rows are drawn from those of train")
    return guess


def _add_encoding_of_texts(guess: Guess, files: Sequence[Path]) -> None:
    """Name the encoding of files of which some are not UTF-8. Raises ValueError where it cannot be
    told."""
    others = [file for file in files if not _reads([file], None)]
    if not others:
        return
    num_bytes = sum(file.stat().st_size for file in files)
    lines = (line for file in others for line in file.read_bytes().splitlines())
    judgement = judge(lines, num_bytes)
    if not judgement.is_sure:
        raise ValueError(f"{others[0]}: {choices(judgement, others[0])}")
    best = judgement.readings[0]
    encoding = best.encoding
    # Of thousands of mails some hold bytes that are no letters of Windows.
    if encoding == WINDOWS and not _reads(files, WINDOWS):
        encoding = LATIN
    guess.options["encoding"] = encoding
    guess.reasons.append(f"{others[0]}: not UTF-8, read as {encoding}: {best.shown!r}")


def _reads(files: Sequence[Path], encoding: str | None) -> bool:
    """Whether all files are texts in an encoding."""
    try:
        for file in files:
            read_text(file, encoding)
    except ValueError:
        return False
    return True


def told_below(
    folder: Path, split_of_name: Mapping[str, str], what: str, beside: Sequence[str] = ()
) -> list[str]:
    """How many files below a folder are read for which split, and which are not, in a line each.
    `beside`: what is read of no split."""
    counts = Counter(split_of_name.values())
    lines = [f"read: {', '.join(f'{count:,} {what} ({split})' for split, count in counts.items())}"]
    left = []
    for path in sorted(islice(paths_below(folder), MOST_TEXTS)):
        name = path.relative_to(folder).as_posix()
        is_read = name in split_of_name or name in beside
        if path.is_file() and not is_read and not is_hidden(name):
            left.append(name)
    return [*lines, f"not read: {some(left, MOST_TOLD)}"] if left else lines


def look_at_lines(path: Path, files: Sequence[Path]) -> Guess | None:
    """Lines of text, with their label between marks or without any; None for another file.

    `path`: the file, or the folder that they lie in. Raises ValueError for labels that are written
    in a way that is not read, with the cure.
    """
    texts = [file for file in files if file.name.lower().endswith(TEXT_SUFFIXES)]
    splits = _splits(path, texts)
    if not splits:
        return None
    train = splits["train"][0]
    encoding = encoding_of(train).name
    lines = [line.strip() for line in islice(Lines(train, encoding), LINES)]
    lines = [line for line in lines if line]
    if _is_delimited(lines):
        return _of_table(path, splits)
    refuse_lines([train, *(files[0] for split, files in splits.items() if split != "train")])
    if not _is_prose(lines):
        return None
    # A lone file has a name of its own.
    guess = Guess("masked-lm", "text", train if len(texts) == 1 else path)
    guess.reasons.append(
        "lines of text without labels: an encoder goes on with its pre-training on them. "
        f"The first: {lines[0][:SHOWN_CHARACTERS]!r}"
    )
    add_encoding(guess, {split: files[0] for split, files in splits.items()})
    guess.files = splits
    return guess


def _splits(path: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The files of each split; none where none is of train."""
    if not path.is_dir():
        return {"train": [path]} if files else {}
    if not files:
        return {}
    try:
        return find_splits(str(path), TEXT_SUFFIXES, {})
    except ValueError:
        pass
    refuse_without_train(path, files)
    if len(files) == 1:
        return {"train": list(files)}
    refuse_by_name(path, files)
    names = some([file.name for file in files], SHOWN)
    raise ValueError(
        f"{path}: files of text, none of which is train.txt ({names}). Where each holds the texts "
        f"of a class, one a line, write them as a table, in that folder: {TABLE_OF_FILES}. Where "
        "each is one text, move it into a folder that is called as its class. To go on with the "
        "pre-training of a model on all: mkdir all && cat *.txt > all/train.txt"
    )


def _is_prose(lines: Sequence[str]) -> bool:
    """Whether lines are sentences: not as many columns in each, nor single words."""
    if not lines:
        return False
    widths = Counter(len(line.split()) for line in lines)
    width, count = widths.most_common(1)[0]
    are_columns = width > 1 and count > 0.9 * len(lines) and len(lines) > 2
    return not are_columns and sum(map(len, lines)) >= SHORTEST_LINE * len(lines)


def _is_delimited(lines: Sequence[str]) -> bool:
    """Whether each line is a text and a label with a mark between them, or of several columns."""
    for mark in DELIMITERS:
        rows = [line.split(mark) for line in lines]
        if len(rows) > 2 and {len(row) for row in rows} == {2}:
            values = [Counter(row[number].strip() for row in rows) for number in (0, 1)]
            fewest = min(map(len, values))
            return fewest <= max(2, min(MOST_LABELS, len(rows) // 4))
    # Three columns or more are no accident of a text's own marks.
    counts = {line.count("|") for line in lines}
    return len(lines) > 2 and len(counts) == 1 and min(counts) >= 2


def _of_table(path: Path, splits: Mapping[str, Sequence[Path]]) -> Guess:
    """A table under the suffix of a text, whose files the recipe names. Raises ValueError."""
    train = splits["train"][0]
    records, options = read_records(train, "csv")
    found = choose(records, str(train))
    guess = Guess(found.task, "csv", path, reasons=[found.reason] if found.reason else [])
    if path.is_dir():
        given = {split: files[0].name for split, files in splits.items()}
        guess.options |= given
    guess.options |= options | found.options
    text, label = guess.options["text"], guess.options.get("label")
    guess.reasons.append(f"a text and its label a line: `{text}` is the text, `{label}` the label")
    guess.files = {split: list(files[:1]) for split, files in splits.items()}
    return guess
