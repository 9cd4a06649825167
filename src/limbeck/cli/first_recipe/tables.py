"""What files with columns look like: delimiter, header, and which one holds which split.

Guesses are made from the names of the columns and from the first rows alone (`columns`).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from limbeck.cli.first_recipe.encodings import add_encoding, encoding_of
from limbeck.cli.first_recipe.header import lines_above, parted
from limbeck.cli.first_recipe.names import add_names, likest
from limbeck.cli.first_recipe.recipe_text import TEXT_GENERATION, Guess
from limbeck.cli.first_recipe.refused.decimal_commas import (
    refuse_decimal_commas,
    refuse_percents,
)
from limbeck.cli.first_recipe.refused.foreign import refuse_parts, refuse_without_train
from limbeck.cli.first_recipe.refused.second_headers import refuse_second_headers
from limbeck.cli.first_recipe.refused.steps import (
    chat_refusal,
    refuse_class_tables,
    refuse_dialogues,
    refuse_examples,
    refuse_joined,
    refuse_pixels,
    refuse_turn_columns,
)
from limbeck.cli.first_recipe.refused.tagged_words import (
    refuse_intents_behind_tags,
    refuse_words_in_rows,
)
from limbeck.cli.first_recipe.refused.tools import refuse_prodigy
from limbeck.cli.first_recipe.sets.pairing import chosen, likeliest, refuse_other_languages
from limbeck.cli.first_recipe.table_columns.columns import choose, num_words
from limbeck.cli.first_recipe.table_columns.dialogues import dialogue_columns, told
from limbeck.cli.first_recipe.table_columns.labels import Columns
from limbeck.core import registry
from limbeck.core.wording import some
from limbeck.sources import Patience, fail
from limbeck.sources._cells.labels import NULL_WORDS, parts_of
from limbeck.sources._files import Lines
from limbeck.sources._split_files import find_splits, split_of
from limbeck.sources._table import ID, NO_ID
from limbeck.sources._unpacked import bare_name
from limbeck.sources.csv import Csv

ROWS = 2000  # looked at, of each file: data are often sorted
MOST_IDS = 100_000  # of each file that are compared
SHOWN = 5  # columns or labels that a reason names
DELIMITERS = ",;\t|"
DELIMITER_LINES = 20  # by which the delimiter is chosen
FEWEST_ROWS = 10  # by which classes of a column are told from other cells
LONGEST_NAME = 4  # words; a first line with more in a cell is a sentence, so it names no columns
FEWEST_ANSWERS = 5  # rows, by which a question above a column is told from a text in it
NUMBER_OR_DATE = re.compile(r"[-+]?[0-9]")

Record = Mapping[str, Any]
SOURCE_OF_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}


def source_of(path: Path) -> str | None:
    """The source of tables that reads a file, by its suffix; None for any other file."""
    return SOURCE_OF_SUFFIX.get(Path(bare_name(path)).suffix.lower())


def look_at_table(path: Path, files: Sequence[Path], source: str | None = None) -> Guess:
    """What files with columns, all of one kind, hold.

    `path`: the file, or the folder or archive that they lie in. `source`: that reads them; left
    out, by their suffix. Raises ValueError where no column can be the text or the label, or a file
    cannot be read.
    """
    guess = Guess("text-classification", source or str(source_of(files[0])), path)
    # 1. Which file is which split.
    suffixes = registry.load("sources", guess.source).suffixes
    splits = split_files(path, files, suffixes, guess.options)
    if "train" not in splits:
        refuse_without_train(path, files)
        refuse_parts(path, files)
    train = splits.get("train") or _most_like_texts(files, guess.source)
    if "train" not in splits:
        splits = _named_splits(guess, train, files)
    # 2. Which column is what, and what its values say of the task.
    records, options = read_records(train, guess.source)
    refuse_prodigy(train, records)
    refuse_second_headers(train, records)
    refuse_decimal_commas([train, *files], records, options)
    refuse_percents([train, *files], records, options)
    refuse_examples([train, *files], records, guess.source)
    found = _dialogues(records)
    guess.chat_refusal = chat_refusal([train, *files], records, guess.source)
    if found is None:
        if guess.chat_refusal:
            raise ValueError(guess.chat_refusal)
        _refuse_no_texts([train, *files], records, guess.source, options)
        found = _columns(records, train, files, guess.source)
    guess.task = found.task
    guess.options |= options | found.options
    if guess.source != "parquet":
        add_encoding(guess, splits)
    if found.reason:
        guess.reasons.append(found.reason)
    if "skip_lines" in options:
        guess.reasons.append(f"{train}: lines above the table, left out: {options['skip_lines']}")
    if "columns" in options:
        guess.reasons.append(_without_header(train))
    if found.task != TEXT_GENERATION:
        add_names(guess, records, train.parent)
        guess.reasons.append(_columns_told(records, guess.options))
    # 3. Which other splits go with train by their names, and can be read as it is.
    _choose_by_name(guess, splits, files)
    refuse_other_languages(splits)
    check_keys(guess, splits)
    _check_splits(guess, splits, files)
    if len(splits) <= 1 and "split" not in guess.options and "split" not in records[0]:
        guess.reasons.append("one file: validation and test rows are drawn from it")
    guess.files = files_read(guess, suffixes)
    # 4. What the source would take beside them, such as a file of nothing but labels.
    for split, read in guess.files.items():
        is_labelled = split != "unlabelled"
        if not all(is_readable(file, guess, labelled=is_labelled) for file in read):
            guess.reasons.append(f"{read[0].name} ({split}) has other columns than {train.name}")
            read_alone(guess, train)
            guess.files = files_read(guess, suffixes)
            break
    return guess


def _dialogues(records: Sequence[Record]) -> Columns | None:
    """The columns of dialogues that a model learns to go on; None where rows are something else."""
    keys = dialogue_columns(records)
    return Columns(TEXT_GENERATION, dict(keys), told(keys)) if keys else None


def _refuse_no_texts(
    files: Sequence[Path], records: Sequence[Record], source: str, options: dict[str, Any]
) -> None:
    """Raise ValueError for rows that hold texts or pixels otherwise than one to a row.

    `files`: the one of train first, which `source` reads with the keys `options`.
    """
    refuse_dialogues(files, records, source)
    refuse_intents_behind_tags(files, records, options)
    refuse_words_in_rows(files, records, options)
    refuse_turn_columns(files, records, source, options)
    refuse_pixels(files[0], records)


def check_keys(guess: Guess, splits: Mapping[str, Path]) -> None:
    """Leave out the keys of columns that not all files have, and of ids that are no key."""
    _keep_columns(guess, splits)
    _switch_off_id(guess, splits)


def _keep_columns(guess: Guess, splits: Mapping[str, Path]) -> None:
    """Leave out the columns of group and split that not all files have."""
    reader = registry.create("sources", guess.source, {**_keys(guess), "path": ""})
    for key in ("group", "split"):
        column = guess.options.get(key)
        lack = [file for file in splits.values() if column and column not in reader.header(file)]
        # A source would refuse the file for the column that it lacks.
        if lack:
            del guess.options[key]
            guess.reasons.append(f"`{column}` is not read as the {key}: {lack[0].name} lacks it")


def _switch_off_id(guess: Guess, splits: Mapping[str, Path]) -> None:
    """Say that a column `id` is no key, where several rows share a value of it."""
    reader = registry.create("sources", guess.source, {**_keys(guess), "path": ""})
    for file in splits.values():
        if ID not in reader.header(file) or "sentence" in guess.options:
            continue
        # Not the first rows alone: ids begin anew with each part that was joined.
        rows = islice(reader.records(file, [ID], Patience()), MOST_IDS)
        counts = Counter(str(record[ID]) for _, record in rows)
        num_shared = sum(count for count in counts.values() if count > 1)
        if num_shared:
            guess.options["id"] = NO_ID
            guess.reasons.append(
                f"`id` is no key: {num_shared:,} rows of {file.name} share theirs with another. "
                "Where such rows belong together: data.group: id"
            )
            return


def _keys(guess: Guess) -> dict[str, Any]:
    """The keys of a guess by which one file of it is read."""
    of_the_set = ("train", "validation", "test", "unlabelled", "path", "on_bad_row")
    return {key: value for key, value in guess.options.items() if key not in of_the_set}


def read_alone(guess: Guess, train: Path) -> None:
    """Read nothing but the file of train, and draw the other splits from it."""
    guess.path = train
    for key in ("train", "validation", "test", "unlabelled"):
        guess.options.pop(key, None)


def split_files(
    path: Path, files: Sequence[Path], suffixes: Sequence[str], options: dict[str, Any]
) -> dict[str, Path]:
    """The first file of each split; none where there is no train.

    Where several files could be one split, the largest is named in `options`.
    """
    if len(files) == 1 and not path.is_dir():
        return {"train": files[0]}
    given: dict[str, str | None] = {}
    while True:
        try:
            found = find_splits(str(path), suffixes, given)
        except ValueError as error:
            named = None
            for split in ("train", "validation", "test"):
                if f"with data.{split}" in str(error) and split not in given:
                    same = [file for file in files if split_of(_stem(file)) == split]
                    same = same or [file for file in files if split_of(file.name) == split]
                    trains = [file for file in files if split_of(_stem(file)) == "train"]
                    trained = path / str(given["train"]) if "train" in given else None
                    trained = trained or (trains[0] if len(trains) == 1 else None)
                    best = likeliest(same, trained, trains) if trained else None
                    # Of train the largest; where none goes with it, one that is refused below.
                    named = (split, best or likest(same)[0]) if same else None
            if named is None:
                return {}
            given[named[0]] = named[1].relative_to(path).as_posix()
            continue
        options |= {split: name for split, name in given.items() if name}
        return {split: first for split, (first, *_) in found.items()}


def files_read(guess: Guess, suffixes: Sequence[str]) -> dict[str, list[Path]]:
    """The files of each split that the source will read."""
    given = {name: guess.options.get(name) for name in ("train", "validation", "test")}
    if guess.source != "conll":
        given["unlabelled"] = guess.options.get("unlabelled")
    return find_splits(str(guess.path), suffixes, given)


def _stem(file: Path) -> str:
    return Path(bare_name(file)).stem


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _most_like_texts(files: Sequence[Path], source: str) -> Path:
    """The largest file whose text has several words a row; the largest where none has."""
    # A file that speaks of another split is not trained on while there are others.
    unnamed = [file for file in files if split_of(_stem(file)) is None]
    by_size = sorted(unnamed or files, key=_size, reverse=True)
    for file in by_size:
        try:
            records, _ = read_records(file, source)
            text = choose(records, str(file)).options.get("text")
        except ValueError:
            continue
        if text is None or num_words(records, text) >= 2 * len(records):
            return file
    return by_size[0]


def _columns_told(records: Sequence[Record], options: Mapping[str, Any]) -> str:
    """Which column is what, with the first labels."""
    columns = some(list(records[0]), SHOWN)
    if "words" in options or "spans" in options:
        return f"columns {columns}"
    if "label" not in options:
        return f"columns {columns}: `{options['text']}` is the text"
    label = options["label"]
    # Of a search it is the item, one of as many as there are rows.
    if label == options.get("text_b"):
        return f"columns {columns}: `{options['text']}` finds its `{label}`"
    separator = options.get("label_separator")
    cells = {str(record.get(label)) for record in records if record.get(label) is not None}
    # Of several labels a cell each one: `1, 2` would be told as two of the labels that it joins.
    parts = {str(part).strip() for cell in cells for part in parts_of(cell, separator or ";")}
    labels = sorted((parts if separator else cells) - {"", "None"})
    second = f" and `{options['text_b']}` are the texts" if "text_b" in options else " is the text"
    return (
        f"columns {columns}: `{options['text']}`{second}, `{label}` the label "
        f"(first rows: {some(labels, SHOWN)})"
    )


def _without_header(train: Path) -> str:
    """That the first line was taken for a row, and what to write where it is none."""
    # By position: a wrong guess would cost the first row of each file, or learn its names.
    return (
        f"{train.name} has no header: its first line is read as a row, and `columns` names the "
        "columns in their order (other names do as well; `text` and `label` then say them). Where "
        "the first line is a header, leave `columns` out and write its names for `text` and `label`"
    )


def _columns(records: Sequence[Record], train: Path, files: Sequence[Path], source: str) -> Columns:
    """What the records of train hold. Raises ValueError, with the command that joins tables where
    another one has the labels, or the texts."""
    of_train = [file for file in files if split_of(_stem(file)) == "train"]
    found: Columns | ValueError
    try:
        found = choose(records, str(train))
    except ValueError as error:
        found = error
    if source == "csv" and len(files) > 1 and (isinstance(found, ValueError) or len(of_train) > 1):
        tables = {file: read_records(file, source)[0] for file in files}
        refuse_joined(tables)
        if isinstance(found, ValueError) and not of_train:
            refuse_class_tables(tables)
    if isinstance(found, ValueError):
        raise found
    return found


def _named_splits(guess: Guess, train: Path, files: Sequence[Path]) -> dict[str, Path]:
    """The files of the splits where train is called otherwise: `posts.csv` beside
    `posts_test.csv`; the recipe names each."""
    splits = {"train": train}
    for split in ("validation", "test"):
        same = [file for file in files if split_of(_stem(file)) == split and file != train]
        if same:
            splits[split] = likeliest(same, train) or likest(same)[0]
    suffix = Path(bare_name(train)).suffix
    if len(splits) > 1:
        guess.options |= {
            split: file.relative_to(guess.path).as_posix() for split, file in splits.items()
        }
        guess.reasons.append(f"no train{suffix} here: {train.name} is read for it")
        return splits
    if len(files) > 1:
        guess.reasons.append(
            f"no train{suffix} here, so only the largest file is read: {train.name}"
        )
    guess.path = train
    return splits


def _choose_by_name(guess: Guess, splits: dict[str, Path], files: Sequence[Path]) -> None:
    """Take the file that goes with train by its name, of several that could be a split. Raises
    Unclear where names do not say which."""
    trains = [file for file in files if split_of(_stem(file)) == "train"]
    for split in ("validation", "test"):
        if split not in guess.options or split not in splits:
            continue
        same = [file for file in files if split_of(_stem(file)) == split]
        best = chosen(
            same,
            {name: file for name, file in splits.items() if name != split},
            split,
            trains,
            lambda file: is_readable(file, guess),
        )
        if best:
            splits[split] = best
            guess.options[split] = best.relative_to(guess.path).as_posix()


def _check_splits(guess: Guess, splits: dict[str, Path], files: Sequence[Path]) -> None:
    """Give those splits another file, or none, that cannot be read as train is."""
    if not is_readable(splits.get("test"), guess):
        test = splits.pop("test", None)
        others = [file for file in files if file != test and split_of(_stem(file)) == "test"]
        labelled = chosen(others, splits, "test", [], lambda file: is_readable(file, guess))
        if test and labelled:
            splits["test"] = labelled
        elif test and "validation" in splits and is_readable(splits["validation"], guess):
            splits["test"] = splits.pop("validation")
        elif test and is_readable(test, guess, labelled=False):
            splits["unlabelled"] = test
            guess.options["unlabelled"] = test.name
        elif test:
            read_alone(guess, splits["train"])
            splits.clear()
        if test:
            guess.reasons.append(f"{test.name} has no labels: it is not the test split")
        if "test" in splits:
            guess.options["test"] = splits["test"].name
    validation = splits.get("validation")
    if validation and not is_readable(validation, guess):
        guess.reasons.append(f"{validation.name} has other columns, or no labels")
        read_alone(guess, splits["train"])
        splits.clear()


def is_readable(file: Path | None, guess: Guess, *, labelled: bool = True) -> bool:
    """Whether the first rows of a file can be read by the keys of a guess; True for no file."""
    if file is None:
        return True
    options = _keys(guess)
    if not labelled:
        known = ("tags", "spans", "vote_columns")
        options = {k: v for k, v in options.items() if "label" not in k and k not in known}
    source = registry.create("sources", guess.source, {**options, "path": str(file)})
    try:
        columns = [
            options[key]
            for key in ("text", "text_b", "words", "tags", "sentence", "spans", "label")
            if key in options
        ]
        columns += options.get("label_columns", []) + options.get("vote_columns", [])
        rows = list(islice(source.records(file, columns, Patience()), ROWS))
        wide = set(columns) <= set(source.header(file))
    except (ValueError, KeyError):
        return False
    if not wide or not rows:
        return False
    if not labelled or "label" not in options:
        return True
    # -1 is how labels are told that are kept secret.
    labels = {str(record.get(options["label"])).strip() for _, record in rows}
    return bool(labels - {"", "-1", "None", "nan"})


def read_records(path: Path, source: str) -> tuple[list[Record], dict[str, Any]]:
    """(the first records of a file, the keys of the source that reads them).

    Raises ValueError for a file that cannot be read.
    """
    options: dict[str, Any] = {}
    if source != "parquet":
        encoding = encoding_of(path).name
        options = {"encoding": encoding} if encoding else {}
    if source in ("csv", "tsv"):
        options = _csv_options(path, source, options)
    reader = registry.create("sources", source, {**options, "path": str(path)})
    header = reader.header(path)
    if not header:
        raise ValueError(f"{path}: no row here")
    records = [record for _, record in islice(reader.records(path, header, Patience()), ROWS)]
    return records, options


def _csv_options(path: Path, source: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Delimiter and columns of a table, where they are not the usual ones, beside the keys that are
    `known`."""
    options = dict(known)
    lines = list(islice(Lines(path, options.get("encoding")), DELIMITER_LINES))
    marks = "\t" if source == "tsv" else DELIMITERS
    above = lines_above(lines, marks, is_quoted=source == "csv")
    if above:
        options["skip_lines"] = above
    lines = [line for line in lines[above:] if line.strip()]
    # A tsv has no quotes; in a csv a field may hold the mark, or go on in the next line.
    rows_by = {mark: parted(lines, mark, is_quoted=source == "csv") for mark in marks}

    def likely(mark: str) -> tuple[bool, bool, int]:
        """The delimiter stands in every line, equally often; a comma of a text only in some."""
        rows = rows_by[mark]
        widths = {len(row) for row in rows}
        names = {cell.strip().lower() for cell in rows[0]} if rows else set()
        fewest = min(widths, default=0)
        return len(widths) == 1 and fewest > 1, bool(names & KNOWN), fewest

    delimiter = max(marks, key=likely)
    if delimiter not in (",", "\t") or (source == "csv" and delimiter == "\t"):
        options["delimiter"] = delimiter
    names = _names_of_columns(rows_by[delimiter])
    if names:
        options["columns"] = names
    if source == "csv" and _has_bare_quotes(path, options):
        options["quoting"] = "none"
    return options


def _has_bare_quotes(path: Path, options: Mapping[str, Any]) -> bool:
    """Whether quotes are characters of the texts: records cannot be read with quoted fields, and
    all of them can be read without."""
    bad = Patience()
    try:
        # Without comes first: it ends at the first row where fields are quoted, and a quote that is
        # never closed takes the rest of the file with it.
        for quoting, on_bad_row in (("none", fail), ("double", bad)):
            reader = Csv(str(path), **{**options, "quoting": quoting})
            header = reader.header(path)
            if not header:
                return False
            for _ in islice(reader.records(path, header, on_bad_row), ROWS):
                pass
    # Of a file that is broken from its first line on nothing is said here.
    except ValueError:
        return False
    return bad.count > 0


def _names_of_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Names for columns that the first line does not name; none where it does."""
    if not rows:
        return []
    first = [cell.strip().strip('"') for cell in rows[0]]
    known = {cell.lower() for cell in first} & KNOWN
    # A cell that comes again below is a value, as `ham` in a column of labels.
    below = [row for row in rows[1:] if len(row) == len(first)]
    comes_again = any(
        cell and sum(row[number].strip().strip('"') == cell for row in below) > 1
        for number, cell in enumerate(first)
    )
    named = [cell for cell in first if cell]
    are_values = not named or any(is_value(cell) for cell in named)
    # `hate` may be a column, and a value of it, beside others that are columns alone.
    if not are_values and _names_classes(first, below):
        return []
    if not comes_again and (known or not are_values or _asks(first, below)):
        return []
    if known and not any(len(cell.split()) > LONGEST_NAME for cell in first):
        return []
    return [f"column_{number}" for number in range(1, len(first) + 1)]


def _names_classes(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether a cell of the first line stands over a column of classes, and is none of them."""
    if len(below) < FEWEST_ROWS:
        return False
    for number, cell in enumerate(first):
        counts = Counter(row[number].strip().strip('"') for row in below)
        # Values that all come again, a few of them: an id or a text has others in every row.
        are_classes = min(counts.values()) > 1 and len(counts) <= len(below) // 4
        if are_classes and cell and cell not in counts:
            return True
    return False


def _asks(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether a cell of the first line is words over a column of numbers or dates, or a question
    over a column of answers to choose from, as surveys are exported."""
    if len(below) < FEWEST_ANSWERS or any(len(row) < len(first) for row in below):
        return False
    for number, cell in enumerate(first):
        values = Counter(row[number].strip().strip('"') for row in below)
        values.pop("", None)
        is_word = bool(cell) and cell[0].isalpha() and cell not in NULL_WORDS
        if is_word and values and all(NUMBER_OR_DATE.match(value) for value in values):
            return True
        is_question = len(cell.split()) > LONGEST_NAME
        are_answers = 2 <= len(values) <= len(below) // 2
        if is_question and are_answers and all(len(v.split()) <= LONGEST_NAME for v in values):
            return True
    return False


def is_value(cell: str) -> bool:
    """Whether a cell of the first line is no name of a column: a sentence, or a number."""
    is_number = cell.strip().lstrip("-").replace(".", "", 1).isdigit()
    return len(cell.split()) > LONGEST_NAME or is_number


# Names by which a first line is a header for sure.
KNOWN = {
    "text",
    "label",
    "sentence",
    "sentence1",
    "id",
    "index",
    "category",
    "tweet",
    "v1",
    "target",
}
