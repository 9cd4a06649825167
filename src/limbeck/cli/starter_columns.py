"""Which column of a table is what, by its name and by what the first rows hold."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from limbeck.cli.starter_foreign import refuse_cells
from limbeck.sources._cells import TAG, WORD, as_list, as_sentences, share_of, word_columns
from limbeck.sources._column_names import LABEL_NAMES, TEXT_NAMES, pairs_in, plain
from limbeck.sources._labels import WHOLE, written_list
from limbeck.sources._spans import AROUND, is_span
from limbeck.sources._split_files import split_of
from limbeck.sources._table import LABEL
from limbeck.sources._tags import scheme_of

Record = Mapping[str, Any]

SCORE_NAMES = ("score", "similarity", "relatedness", "relatedness_score", "similarity_score")
ID = re.compile(r"(^|[^a-z])(id|ids|idx|index|uuid|guid|number|no|key|timestamp|date|time|url)\d*$")
GROUP = re.compile(r"^(patient|user|subject|speaker|author|document|doc|customer|session)(_?id)?$")
# Of a table with a word a row: what its sentence is.
SENTENCE = (
    *("sentence #", "sentence#", "sentence_id", "sentence id", "sent_id", "sentence_idx"),
    *("sentence_number", "sentence_no", "sent_no", "sentence", "sentenceid", "sid"),
)
ANGLES = re.compile(r"(<[^<>]*>)*")
UNNAMED = re.compile(r"column_\d+")
SEPARATORS = (";", "|", ",")
SPLIT_NAMES = ("split", "fold", "set", "partition")
MOST_CLASSES = 30  # columns of 0 and 1, or of shares, that are taken for labels


@dataclass
class Columns:
    """What a table holds: the task, and the keys of its source that say so.

    `reason`: in words.
    """

    task: str
    options: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


def choose(records: Sequence[Record], place: str) -> Columns:
    """What the first records hold. `place`: the file, for messages. Raises ValueError."""
    if not records:
        raise ValueError(f"{place}: no row here")
    for look in (_words_a_row, _spans, _tagged):
        tagged = look(records, place)
        if tagged:
            return tagged
    texts = _texts(records, place)
    options: dict[str, Any] = {"text": texts[0]}
    shares = _share_columns(records, texts)
    if shares:
        found = _of_shares(records, shares, options)
    else:
        label = _label(records, texts, place)
        refuse_cells(place, records, label)
        found = _of_label(records, label, options)
    if len(texts) > 1:
        found.options["text_b"] = texts[1]
    words = word_columns(records[0])
    if words and found.options.get("label") not in words:
        found.reason += (
            f"`{words[0]}` have tags too, `{words[1]}`: to learn those, task: token-classification "
            f"and data: words: {words[0]}, tags: {words[1]} in place of text and label"
        )
    group = [name for name in records[0] if GROUP.match(plain(name))]
    taken = {*texts, found.options.get("label")}
    for name in group:
        values = [str(record.get(name)) for record in records]
        if name not in taken and 1 < len(set(values)) < len(values):
            found.options["group"] = name
    split = next((name for name in records[0] if plain(name).endswith(SPLIT_NAMES)), None)
    if split and split not in taken:
        splits = {split_of(str(record.get(split))) for record in records}
        if None not in splits:
            found.options["split"] = split
        elif "train" in splits:
            other = next(v for r in records if split_of(v := str(r.get(split))) is None)
            found.reason += f" `{split}` would be the split, but `{other}` is the name of none"
            found.reason = found.reason.strip()
    return found


def is_id(name: str, values: Sequence[Any]) -> bool:
    """Whether a column counts or names rows: by its name, or by whole numbers that only rise."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip()).lower()
    if plain(name) in LABEL_NAMES:
        return False
    if not parted or parted.startswith("unnamed") or ID.search(parted):
        return True
    texts = [str(value) for value in values]
    if len(texts) < 3 or not all(WHOLE.fullmatch(text) for text in texts):
        return False
    numbers = [int(float(text)) for text in texts]
    return len(set(numbers)) == len(numbers) > 2 and numbers == sorted(numbers)


def _words_a_row(records: Sequence[Record], place: str) -> Columns | None:
    """A table with one word a row, and a column that says where a sentence begins."""
    column_of = {plain(name): name for name in records[0]}
    words, tags, sentence = (
        next((column_of[name] for name in names if name in column_of), None)
        for names in (WORD, TAG, SENTENCE)
    )
    if not (words and tags and sentence):
        return None
    cells = [str(record.get(words) or "") for record in records]
    # A sentence in one of these columns is a text.
    if any(len(cell.split()) > 1 for cell in cells) or isinstance(records[0][words], list):
        return None
    options = {"sentence": sentence, "words": words, "tags": tags}
    pairs = as_sentences((("", dict(record)) for record in records), sentence, [words, tags])
    named = [[str(tag) for tag in record[tags]] for _, record in pairs]
    scheme = scheme_of(named)
    if scheme is None:
        scheme = "io" if any("O" in tags for tags in named) else "single"
    if scheme != "iob2":
        options["scheme"] = scheme
    reason = f"a word a row: `{words}`, its tag `{tags}`; `{sentence}` names its sentence"
    return Columns("token-classification", options, reason)


def _spans(records: Sequence[Record], place: str) -> Columns | None:
    """Texts whose spans are given by characters. Raises ValueError for a layout of another tool,
    with the cure."""
    first = records[0]
    if isinstance(first.get("annotations"), list) and isinstance(first.get("data"), dict):
        raise ValueError(
            f"{place}: an export of Label Studio with its tasks. Export it as JSON-MIN, or as "
            "CONLL2003, which are read"
        )
    # Of a text with an intent and slots the intent is learned, as of one with tags.
    if any(name in first and not isinstance(first[name], list) for name in LABEL):
        return None
    for name in first:
        cells = [record.get(name) for record in records]
        spans = [spans for cell in cells if (spans := _span_parts(cell))]
        if not spans or not all(is_span(part) for parts in spans for part in parts):
            continue
        texts = [key for key, cell in first.items() if isinstance(cell, str)]
        usual = [key for key in texts if plain(key) in TEXT_NAMES]
        if not texts:
            raise ValueError(
                f"{place}: the spans of `{name}` count words, as far as can be seen, and those of "
                "characters in a text are read. Write a tag for each word: tokens and tags, two "
                "lists of one length"
            )
        options = {"text": (usual or texts)[0], "spans": name}
        return Columns("token-classification", options, f"`{name}` are spans of a text")
    return None


def _span_parts(cell: Any) -> list[Any]:
    """The lists or objects in a cell that may hold spans."""
    if isinstance(cell, dict):
        cell = next((cell[key] for key in AROUND if key in cell), None)
    if isinstance(cell, str) and cell.startswith("["):
        try:
            cell = written_list(cell)
        except ValueError:
            return []
    parts = cell if isinstance(cell, list) else []
    return parts if all(isinstance(part, list | tuple | dict) for part in parts) else []


def _tagged(records: Sequence[Record], place: str) -> Columns | None:
    """Words with a tag each: lists of one length, where no column is one label."""
    first = records[0]
    has_label = any(name in first and not isinstance(first[name], list) for name in LABEL)
    columns = None if has_label else word_columns(first)
    columns = columns or _written_words(records)
    if not columns:
        return None
    words, tags = columns
    options: dict[str, Any] = {"words": words, "tags": tags}
    sentences = [as_list(record.get(tags) or [], tags) for record in records]
    named = [[str(tag) for tag in tags] for tags in sentences]
    if not any(name.isdecimal() for tags in named for name in tags):
        scheme = scheme_of(named)
        if scheme and scheme != "iob2":
            options["scheme"] = scheme
    return Columns("token-classification", options, f"`{words}` are words, `{tags}` their tags")


def _written_words(records: Sequence[Record]) -> tuple[str, str] | None:
    """The columns of words and of their tags in texts: a list as Python writes it, or words with
    spaces between; None where there are none."""
    for tags in records[0]:
        cells = [record.get(tags) for record in records]
        if plain(tags) not in TAG or not all(isinstance(cell, str) for cell in cells):
            continue
        lists = _lists(records, tags)
        has_spans = any(str(tag).startswith(("B-", "I-")) for parts in lists for tag in parts)
        if not has_spans or scheme_of([[str(tag) for tag in parts] for parts in lists]) is None:
            continue
        counts = [len(parts) for parts in lists]
        for words in records[0]:
            if words != tags and [len(parts) for parts in _lists(records, words)] == counts:
                # Of several such columns (parts of speech) the words are the first.
                return (words, tags) if max(counts) > 1 else None
    return None


def _lists(records: Sequence[Record], column: str) -> list[list[Any]]:
    """The cells of a column as lists; none where one is no text."""
    try:
        return [as_list(record.get(column), column) for record in records]
    except ValueError:
        return []


def _texts(records: Sequence[Record], place: str) -> list[str]:
    """The column of the text, or the two of a pair. Raises ValueError where there is none."""
    columns = list(records[0])
    column_of = {plain(column): column for column in columns}
    for pair in pairs_in(columns):
        if all(num_words(records, column) for column in pair):
            return list(pair)
    named = [column_of[name] for name in TEXT_NAMES if name in column_of]
    if named:
        return named[:1]
    unnamed = _unnamed_pair(records)
    if unnamed:
        return unnamed
    others = [column for column in columns if plain(column) not in LABEL_NAMES] or columns

    # Chinese has no spaces between its words.
    def length(column: str) -> tuple[int, int]:
        return num_words(records, column), sum(len(str(record.get(column))) for record in records)

    text = max(others, key=length)
    if len(columns) > 2 and all(_is_number(value) for value in _values(records, text)):
        raise ValueError(
            f"{place}: {len(columns)} columns of numbers, and none of text. Rows of pixels are "
            "read as images from an archive: numpy.savez('images.npz', train_images=..., "
            "train_labels=...), the images as (rows, height, width) of uint8"
        )
    return [text]


def _unnamed_pair(records: Sequence[Record]) -> list[str]:
    """The two columns of a table without a header that hold texts of about one length; none where
    it has more of them, or one."""
    if not all(UNNAMED.fullmatch(column) for column in records[0]):
        return []
    lengths = {}
    for column in records[0]:
        cells = [str(record.get(column) or "") for record in records]
        are_texts = [len(cell.split()) > 1 or not cell.isascii() for cell in cells]
        # Of some hundred dates or places most come again.
        if 2 * sum(are_texts) > len(cells) and 2 * len(set(cells)) > len(cells):
            lengths[column] = sum(map(len, cells))
    is_pair = len(lengths) == 2 and 2 * min(lengths.values()) > max(lengths.values())
    return list(lengths) if is_pair else []


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def num_words(records: Sequence[Record], column: str) -> int:
    """How many words a column holds."""
    return sum(len(str(record.get(column, "")).split()) for record in records)


def _values(records: Sequence[Record], column: str) -> list[Any]:
    """The cells of a column that hold something."""
    cells = [record.get(column) for record in records]
    return [cell for cell in cells if cell is not None and str(cell).strip()]


def _label(records: Sequence[Record], texts: Sequence[str], place: str) -> str:
    """The column of the label. Raises ValueError where none can be."""
    others = [name for name in records[0] if name not in texts and _values(records, name)]
    column_of = {plain(name): name for name in others}
    for name in LABEL_NAMES:
        if name in column_of:
            return column_of[name]
    ends = [name for name in others if plain(name).endswith(LABEL)]
    ends = [name for name in ends if not is_id(name, _values(records, name))]
    if ends:
        return ends[0]
    num_values = {}
    for name in others:
        values = _values(records, name)
        count = len({str(value) for value in values})
        # A column of one value says nothing, and one of nearly as many values as rows is an id.
        if not is_id(name, values) and 2 <= count <= max(2, len(records) // 2):
            num_values[name] = count
    if not num_values:
        raise ValueError(
            f"{place}: none of the columns {', '.join(records[0])} looks like a label "
            "(two values or more, each in several rows)"
        )

    # Of as many values, numbers: a column of words may be where a row comes from.
    def by_values(name: str) -> tuple[int, bool]:
        are_words = not all(WHOLE.fullmatch(str(value)) for value in _values(records, name))
        return num_values[name], are_words

    return min(num_values, key=by_values)


def _of_label(records: Sequence[Record], label: str, options: dict[str, Any]) -> Columns:
    """The task by the values of the one column of labels."""
    options["label"] = label
    cells = _values(records, label)
    if all(_is_unknown(cell) for cell in cells):
        cells = []
    separator = _separator(cells)
    if separator:
        options["label_separator"] = separator
        return Columns(
            "multi-label-classification", options, f"a row of `{label}` holds several labels"
        )
    if are_scores({str(cell) for cell in cells}, label):
        return Columns(
            "text-regression",
            options,
            f"the values of `{label}` are numbers with fractions: scores, not classes",
        )
    unknown = sum(_is_unknown(cell) for cell in cells)
    told = f"{unknown:,} of the first rows have `-` or the like for a label: a class of its own"
    return Columns("text-classification", options, told if unknown else "")


def _is_unknown(cell: Any) -> bool:
    return str(cell) in ("-1", "-1.0", "-", "?", "")


def _separator(cells: Sequence[Any]) -> str | None:
    """What stands between the labels of a cell; None where a cell is one label.

    Raises ValueError for labels in angles.
    """
    if any(isinstance(cell, list) for cell in cells):
        return SEPARATORS[0]
    texts = [str(cell).strip() for cell in cells]
    if any("><" in text for text in texts) and all(ANGLES.fullmatch(text) for text in texts):
        raise ValueError(
            f"several labels a row in angles ({texts[0]}). Write a mark between them, as in "
            "python;sql: sed 's/></;/g', without the first and the last"
        )
    if texts and all(text.startswith("[") and text.endswith("]") for text in texts):
        return SEPARATORS[0]
    for separator in SEPARATORS:
        joined = [text for text in texts if separator in text]
        parts = [part.strip() for text in joined for part in text.split(separator)]
        alone = {text for text in texts if separator not in text}
        # Parts that come again, in other company or alone: else the mark belongs to a name.
        comes_again = len(set(parts)) < len(parts) and len(set(joined)) > 1
        if joined and (alone & set(parts) or (comes_again and separator != ",")):
            return separator
    return None


def are_scores(labels: Iterable[str], name: str = "") -> bool:
    """Whether labels are numbers that measure: not all of them whole, or many, of a score."""
    labels = set(labels)
    try:
        numbers = {float(label) for label in labels}
    except ValueError:  # a word
        return False
    has_fractions = any(not number.is_integer() for number in numbers)
    return bool(numbers) and (has_fractions or (plain(name) in SCORE_NAMES and len(numbers) > 10))


def _share_columns(records: Sequence[Record], texts: Sequence[str]) -> list[str]:
    """Columns that each say of one label whether, or by what share of annotators, a row has it."""
    for name in records[0]:
        # `airline_sentiment` beside its confidence is the label.
        is_label = plain(name).endswith(LABEL) and not all(map(_is_number, _values(records, name)))
        if plain(name) in LABEL_NAMES or (is_label and name not in texts):
            return []
    found = []
    for name in records[0]:
        values = _values(records, name)
        if name in texts or len(values) < len(records) or is_id(name, values):
            continue
        shares = [_share(value) for value in values]
        if all(share is not None for share in shares):
            found.append(name)
    return found if 2 <= len(found) <= MOST_CLASSES else []


def _share(value: Any) -> float | None:
    try:
        return share_of(value, "")
    except ValueError:
        return None


def _of_shares(
    records: Sequence[Record], columns: Sequence[str], options: dict[str, Any]
) -> Columns:
    """One label a row where the shares of each are one whole, else several."""
    options["label_columns"] = list(columns)
    rows = [[_share(record[name]) or 0.0 for name in columns] for record in records]
    told = f"`{columns[0]}` to `{columns[-1]}` are a column for each label"
    # Shares are rounded to two digits, or to one.
    if all(abs(sum(row) - 1) < 0.05 and row.count(max(row)) == 1 for row in rows):
        return Columns("text-classification", options, f"{told}, and a row has one")
    options["label_separator"] = SEPARATORS[0]
    return Columns("multi-label-classification", options, f"{told}, and a row has any number")
