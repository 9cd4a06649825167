"""Tables that need a step before they are read: a command of Python that makes another table."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.cli.first_recipe.refused.foreign import refuse_choices
from limbeck.cli.first_recipe.table_columns.columns import choose
from limbeck.cli.first_recipe.table_columns.labels import ROWS_A_CLASS, is_id
from limbeck.core.terminal.shell import command, script
from limbeck.core.wording import some
from limbeck.sources._cells.spans import ENDS, STARTS
from limbeck.sources._cells.splits import split_of_cell, splits_told
from limbeck.sources._column_names import LABEL_NAMES, TEXT_NAMES, plain
from limbeck.sources._split_files import split_of
from limbeck.sources._unpacked import bare_name
from limbeck.sources.csv import MOST_FIELD_CHARACTERS
from limbeck.sources.jsonl import document_of

Record = Mapping[str, Any]

SHOWN = 5
MOST_COLUMNS = 50  # of a dialogue: a cure that lists more is no cure
MADE = "rows"  # the folder that a command makes, below that of the data
TEXT_WORDS = 2  # of a turn, in the middle: more are a sentence
NUMBERED = re.compile(
    r"(turn|utterance|utt|message|msg|sentence|sent|text|tweet|post|reply|line|part)s?[ _-]?[0-9]+"
)
CHATS = (("role", "content"), ("from", "value"))  # as OpenAI and ShareGPT have them
MOST_LABEL_WORDS = 4  # of a label at the end of a chat
FEWEST_TURNS = 3  # columns; two are a pair
FEWEST_PIXELS = 16  # in a cell
WORD_CHARACTERS = 3  # of a script without spaces between its words
# What people call the texts that they list beside the label of them all.
EXAMPLES = (
    *("patterns", "examples", "utterances", "texts", "questions", "sentences", "phrases"),
    *("queries", "samples", "expressions", "training_phrases", "inputs"),
)

# How Python reads each kind of file.

READ = {
    "lines": '[json.loads(line) for line in open(f, encoding="utf-8") if line.strip()]',
    "document": '__import__("limbeck.sources.jsonl").sources.jsonl.document_of('
    '__import__("pathlib").Path(f))',
    "csv": 'csv.DictReader(open(f, newline="", encoding="utf-8-sig"))',
    "tsv": 'csv.DictReader(open(f, newline="", encoding="utf-8-sig"), delimiter="\\t", quoting=3)',
    "parquet": "__import__('pyarrow.parquet').parquet.read_table(f).to_pylist()",
}


def refuse_examples(files: Sequence[Path], records: Sequence[Record], source: str) -> None:
    """Raise ValueError for rows of a label and a list of its texts, as chatbots' intents.json is;
    with the command that writes a row for each text.

    `files`: the one of train first, which `source` reads.
    """
    lists = _examples(records)
    if not lists:
        return
    kept = "{k: v for k, v in r.items() if not isinstance(v, list)}"
    rows = f'[{{**{kept}, "text": t}} for r in rows for t in r[{json.dumps(lists)}]]'
    raise ValueError(
        f"{files[0]}: a row has a list of texts ({lists}). Write a row for each text, in that "
        f"folder: {_rewriting(files, rows, source)} && {command('init', MADE)}"
    )


def _examples(records: Sequence[Record]) -> str | None:
    """The column of lists of texts, in rows of a label and no text beside them; None where there
    is none."""
    if not records or any(_is_text([row.get(name) for row in records]) for name in records[0]):
        return None
    labels = [name for name in records[0] if plain(name) in (*LABEL_NAMES, "name")]
    # As many labels as texts are those of a dialogue's turns.
    cells = [record.get(label) for record in records for label in labels]
    if not cells or not all(isinstance(cell, str) for cell in cells):
        return None
    for name in records[0]:
        lists = [record.get(name) for record in records]
        if plain(name) in EXAMPLES and all(map(_is_list_of_texts, lists)) and any(lists):
            return name
    return None


def _is_list_of_texts(cell: Any) -> bool:
    return isinstance(cell, list) and all(isinstance(text, str) for text in cell)


def chat_refusal(files: Sequence[Path], records: Sequence[Record], source: str) -> str | None:
    """Why nothing is proposed for rows that are a chat each, as models of text learn them: a class
    behind the texts is the label; None for others. Chats with free answers are for text generation.

    `files`: the one of train first, which `source` reads.
    """
    chat = _chat(records)
    if not chat:
        return None
    column, by, said = (json.dumps(name) for name in chat)
    chats = [record[chat[0]] for record in records if record[chat[0]]]
    answers = [str(turns[-1][chat[2]]).strip() for turns in chats]
    turns = f'"\\n".join(t[{said}] for t in m if t[{by}] != "system")'
    row = f'"text": {turns}'
    told = "its turns are the text of the label beside it"
    if not any(plain(name) in LABEL_NAMES for name in records[0]):
        most = max(2, len(answers) // ROWS_A_CLASS)
        if len(set(answers)) > most or any(len(a.split()) > MOST_LABEL_WORDS for a in answers):
            # The last turn is a text of its own: a model learns to write it.
            return None
        row = f'"text": {turns.replace("in m if", "in m[:-1] if")}, "label": m[-1][{said}].strip()'
        told = f"its last turn is the label ({some(list(dict.fromkeys(answers)), SHOWN)})"
    kept = f"{{k: v for k, v in r.items() if k != {column}}}"
    rows = f"[{{**{kept}, {row}}} for r in rows for m in [r[{column}]] if m]"
    return (
        f"{files[0]}: a row is a chat (`{chat[0]}`): {told}. Write a row of text and label for "
        "each, without what the system says, in that folder: "
        f"{_rewriting(files, rows, source)} && {command('init', MADE)}"
    )


def _chat(records: Sequence[Record]) -> tuple[str, str, str] | None:
    """The column of chats, and the keys of who speaks and of what is said; None where rows are
    none. Turns with labels of their own are those of a dialogue."""
    for name in records[0] if records else {}:
        cells = [record.get(name) for record in records]
        turns = [turn for cell in cells if isinstance(cell, list) for turn in cell]
        if not turns or not all(isinstance(cell, list) for cell in cells):
            continue
        for by, said in CHATS:
            keys = {by, said, "name", "weight"}
            if all(isinstance(turn, dict) and {by, said} <= set(turn) <= keys for turn in turns):
                return name, by, said
    return None


def refuse_dialogues(files: Sequence[Path], records: Sequence[Record], source: str) -> None:
    """Raise ValueError for rows that are a dialogue each, whose turns have the texts and labels;
    with the command that writes a row for each turn.

    `files`: the one of train first, which `source` reads.
    """
    if not records:
        return
    # Their lists are texts too.
    refuse_choices(str(files[0]), records)
    turns = _turns(records)
    if not turns:
        return
    lists, are_objects = turns
    if are_objects:
        each = f"for t in r[{json.dumps(lists[0])}]"
    else:
        zipped = ", ".join(f"r[{json.dumps(name)}]" for name in lists)
        each = f"for t in [dict(zip({json.dumps(lists)}, c)) for c in zip({zipped})]"
    kept = f"{{k: v for k, v in r.items() if k not in {json.dumps(lists)}}}"
    rows = f'[{{"dialogue_id": str(n), **{kept}, **t}} for n, r in enumerate(rows) {each}]'
    shown = some(lists, SHOWN)
    raise ValueError(
        f"{files[0]}: a row is a dialogue, whose turns ({shown}) have the texts. Write a row for "
        f"each turn, in that folder: {_rewriting(files, rows, source)} && {command('init', MADE)}"
    )


def refuse_turn_columns(
    files: Sequence[Path], records: Sequence[Record], source: str, options: Mapping[str, Any]
) -> None:
    """Raise ValueError for three columns of texts or more that are numbered, such as the turns of
    EmoContext: of one alone the label cannot be told. With the command that joins them.

    `files`: the one of train first, which `source` reads with the keys `options`.
    """
    first = records[0] if records else {}
    if options or any(plain(name) in TEXT_NAMES for name in first):
        return
    named = [name for name in first if NUMBERED.fullmatch(plain(name))]
    turns = [name for name in named if _is_text([record.get(name) for record in records])]
    if len(turns) < FEWEST_TURNS:
        return
    kept = f"{{k: v for k, v in r.items() if k not in {json.dumps(turns)}}}"
    joined = f'" / ".join(r[k] for k in {json.dumps(turns)})'
    rows = f'[{{**{kept}, "text": {joined}}} for r in rows]'
    raise ValueError(
        f"{files[0]}: a row has {len(turns)} texts ({some(turns, SHOWN)}), as the turns of a "
        "dialogue have, and a row is one text, or a pair. Name one in a recipe (data.text), or two "
        "(data.text, data.text_b), or join them, in that folder: "
        f"{_rewriting(files, rows, source)} && {command('init', MADE)}"
    )


def _rewriting(files: Sequence[Path], rows: str, source: str) -> str:
    """The command that writes `rows`, a list in Python that is made of the `rows` of a file, for
    the first of some files and those of other splits."""
    form = source
    if source == "jsonl":
        form = "lines" if document_of(files[0]) is None else "document"
    code = (
        f'import csv, json, os; os.makedirs("{MADE}", exist_ok=True); '
        f'[open("{MADE}/" + o + ".jsonl", "w", encoding="utf-8").writelines('
        f'json.dumps(row) + "\\n" for row in {rows}) '
        f"for f, o in {json.dumps(_outputs(files))} for rows in [list({READ[form]})]]"
    )
    return script(code)


def _turns(records: Sequence[Record]) -> tuple[list[str], bool] | None:
    """(the columns of turns, whether a turn is an object); None where rows have none."""
    first = records[0]
    # One object with a key for each of many things is a table of these.
    if len(first) > MOST_COLUMNS:
        return None
    # Beside a text of their own, rows may have lists of anything.
    if any(_is_text([record.get(name) for record in records]) for name in first):
        return None
    for name in first:
        cells = [record.get(name) for record in records]
        parts = [part for cell in cells if isinstance(cell, list) for part in cell]
        if not parts or not all(isinstance(cell, list) for cell in cells):
            continue
        # Objects of a place in a text are spans, and no turns.
        if all(isinstance(part, dict) for part in parts) and _has_texts(parts):
            return [name], True
        if not _is_text(parts):
            continue
        counts = [len(cell) for cell in cells if isinstance(cell, list)]
        beside = [
            other for other in first if [_length(record.get(other)) for record in records] == counts
        ]
        if len(beside) > 1 and max(counts) > 1:
            return beside, False
    return None


def _has_texts(parts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether objects hold a text each, beside something else; those of a place in a text are spans
    of it."""
    if len(parts[0]) < 2 or set(parts[0]) & {*STARTS, *ENDS}:
        return False
    return any(_is_text([part.get(key) for part in parts]) for key in parts[0])


def _is_text(cells: Sequence[Any]) -> bool:
    """Whether cells are texts, of several words in the middle."""
    return all(isinstance(cell, str) for cell in cells) and _are_sentences(cells)


def _are_sentences(texts: Sequence[str]) -> bool:
    counts = sorted(max(len(text.split()), _num_wide(text) // WORD_CHARACTERS) for text in texts)
    return counts[len(counts) // 2] > TEXT_WORDS


def _num_wide(text: str) -> int:
    """How many letters beyond ASCII a text has."""
    return 0 if text.isascii() else sum(not letter.isascii() for letter in text)


def _length(cell: Any) -> int | None:
    return len(cell) if isinstance(cell, list) else None


def _outputs(files: Sequence[Path]) -> list[list[str]]:
    """(a file's name, that of what is made of it without its suffix) of the first of some files and
    of those whose names speak of a split."""
    train = files[0]
    stems = {file: Path(bare_name(file)).stem for file in files}
    return [[file.name, stem] for file, stem in stems.items() if file == train or split_of(stem)]


def refuse_joined(tables: Mapping[Path, Sequence[Record]]) -> None:
    """Raise ValueError for tables of which one has the texts and another the labels, by a column of
    ids that both have; with the command that joins them.

    `tables`: the first rows of each csv of a folder.
    """
    joins = []
    for texts, of_texts in tables.items():
        for labels, of_labels in tables.items():
            key = _key(of_texts, of_labels)
            if texts != labels and key and _can_be_read(of_labels, of_texts[0], key):
                joins.append((texts, labels, key))
    if not joins:
        return
    joins.sort(key=lambda join: split_of(join[1].stem) != "train")
    # A text file of each split beside one of labels: those of one split belong together.
    alike = [one for one in joins if split_of(one[0].stem) == split_of(one[1].stem)]
    given: dict[str, list[str]] = {}
    for texts, labels, key in alike or joins:
        out = split_of(labels.stem) or "train"
        given.setdefault(out, [texts.name, labels.name, key, f"{MADE}/{out}.csv"])
    code = (
        f"import csv, os; csv.field_size_limit({MOST_FIELD_CHARACTERS}); "
        f'os.makedirs("{MADE}", exist_ok=True); '
        'read = lambda f: list(csv.DictReader(open(f, newline="", encoding="utf-8-sig"))); '
        'write = lambda f, rows: (w := csv.DictWriter(open(f, "w", newline="", encoding="utf-8"), '
        "rows[0]), w.writeheader(), w.writerows(rows)); "
        "[write(o, [{**t[r[k]], **r} for r in read(b) if r[k] in t]) "
        f"for a, b, k, o in {json.dumps(list(given.values()))} "
        "for t in [{r[k]: r for r in read(a)}]]"
    )
    texts, labels, key = (alike or joins)[0]
    raise ValueError(
        f"{texts.parent}: the texts of {texts.name} and the labels of {labels.name} belong "
        f"together by `{key}`. Join them, in that folder: {script(code)} && "
        f"{command('init', MADE)}"
    )


def refuse_class_tables(tables: Mapping[Path, Sequence[Record]]) -> None:
    """Raise ValueError for tables of the same columns without a label, of which each holds the
    rows of a class (True.csv, Fake.csv); with the command that makes one of them.

    `tables`: the first rows of each csv of a folder.
    """
    headers = {tuple(records[0]) if records else () for records in tables.values()}
    if len(headers) != 1 or len(tables) < 2 or any(split_of(table.stem) for table in tables):
        return
    names = [table.name for table in tables]
    code = (
        f"import csv, os; csv.field_size_limit({MOST_FIELD_CHARACTERS}); "
        'rows = [{**r, "label": f[:-4]} '
        f"for f in {json.dumps(names)} "
        'for r in csv.DictReader(open(f, newline="", encoding="utf-8-sig"))]; '
        f'os.makedirs("{MADE}", exist_ok=True); '
        f'w = csv.DictWriter(open("{MADE}/all.csv", "w", newline="", encoding="utf-8"), rows[0]); '
        "w.writeheader(); w.writerows(rows)"
    )
    raise ValueError(
        f"{next(iter(tables)).parent}: tables of the same columns, none of which looks like a "
        f"label ({some(names, SHOWN)}). Where each holds the rows of a class, join them, in that "
        f"folder: {script(code)} && {command('init', MADE)}"
    )


def refuse_pixels(table: Path, records: Sequence[Record]) -> None:
    """Raise ValueError for images that are written into the cells of one column (FER-2013), with
    the command that makes an archive of arrays of them."""
    first = records[0] if records else {}
    found = [(column, _side([record.get(column) for record in records])) for column in first]
    column, side = next(((column, side) for column, side in found if side), ("", 0))
    labels = [name for name in first if plain(name) in LABEL_NAMES]
    splits = [
        name
        for name in first
        if name not in labels and all(split_of_cell(record[name], name) for record in records)
    ]
    if not side or len(labels) != 1:
        return
    split, told = '"train"', ""
    if splits:
        column_of_split = json.dumps(splits[0])
        split = f"split_of_cell(r[{column_of_split}], {column_of_split})"
        values = dict.fromkeys(str(record[splits[0]]) for record in records)
        told = f", `{splits[0]}` their split ({splits_told(values, splits[0])})"
    # MedMNIST, whose names of arrays are read, calls those of validation `val`.
    code = (
        "import csv, numpy as np; from limbeck.sources._cells.splits import split_of_cell; "
        f"csv.field_size_limit({MOST_FIELD_CHARACTERS}); d = {{}}; "
        "[d.setdefault(s, []).append(r) "
        f"for f in [{json.dumps(table.name)}] "
        'for r in csv.DictReader(open(f, newline="", encoding="utf-8-sig")) '
        f"for s in [{split}]]; "
        f'np.savez("images.npz", **{{{{"validation": "val"}}.get(s, s) + "_images": '
        f"np.array([r[{json.dumps(column)}].split() for r in rows], np.uint8)"
        f".reshape(-1, {side}, {side}) for s, rows in d.items()}}, "
        f'**{{{{"validation": "val"}}.get(s, s) + "_labels": '
        f"np.array([r[{json.dumps(labels[0])}] for r in rows]) for s, rows in d.items()}})"
    )
    raise ValueError(
        f"{table}: `{column}` holds images of {side} x {side} pixels{told}. Write them as an "
        f"archive of arrays, in that folder: {script(code)} && {command('init', 'images.npz')}"
    )


def _side(cells: Sequence[Any]) -> int:
    """The side of the squares of pixels that cells hold; 0 where they hold anything else."""
    rows = [str(cell).split() for cell in cells]
    side = math.isqrt(len(rows[0]))
    is_square = side**2 == len(rows[0]) >= FEWEST_PIXELS
    is_pixels = all(len(row) == side**2 and all(map(str.isdecimal, row)) for row in rows)
    return side if is_square and is_pixels else 0


def _key(texts: Sequence[Record], labels: Sequence[Record]) -> str | None:
    """The column of ids that two tables share, unique among the texts; None where there is none."""
    for name in texts[0] if texts and labels else []:
        if name not in labels[0] or not is_id(plain(name), [record[name] for record in texts]):
            continue
        known = [record[name] for record in texts]
        # Of both only the first rows are looked at, in orders of their own.
        shared = {record[name] for record in labels} & set(known)
        if len(set(known)) == len(known) and shared:
            return name
    return None


def _can_be_read(labels: Sequence[Record], text: Record, key: str) -> bool:
    """Whether rows with the texts beside them have a text, and a label of their own."""
    joined = [{**text, **record} for record in labels]
    label = next((name for name in labels[0] if name != key and name not in text), None)
    try:
        found = choose(joined, "")
    except ValueError:
        return False
    return label is not None and found.options.get("label") in labels[0]
