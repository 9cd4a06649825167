"""Rows from Python: `limbeck.run(recipe, out, rows={"train": rows, "test": rows})`.

`rows` are dicts, a dict of columns, a data frame of pandas, or a `datasets.Dataset`. A recipe with
`data: {source: rows}` says with its keys which column holds what. An index into a dataset's
`ClassLabel` becomes the name it stands for; an image is a path, the bytes of a file, a picture of
Pillow or an array, and becomes the pixels that its file has; None is unknown.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.core.contract import described
from limbeck.sources import SPLITS, BadRow, OnBadRow, Row, fail
from limbeck.sources._cells.labels import LabelParser
from limbeck.sources._cells.record import is_empty, is_missing, slices_of, words_of
from limbeck.sources._cells.tags import check_length
from limbeck.sources._encodings import checked_unicode
from limbeck.sources._images import ImageReader, file_of
from limbeck.sources._pixels import WHITE, colour_of

KEYS = ("text", "text_b", "label", "words", "tags", "image", "group")
SHOWN_CHARACTERS = 200  # of each cell of a bad row, which may be an image or a book


@dataclass(frozen=True)
class Rows:
    """Each key names the column that holds it: `text`, `text_b` (the second text of a pair),
    `label`, `words`, `tags`, `image`, `group` (rows of one group, such as a patient, are drawn into
    one split together). A column that a row lacks is not read. `background`: the colour below
    transparent pixels, by a name or number of CSS. `slices`: columns for each of whose values the
    report says what the student lost.
    """

    text: str = "text"
    text_b: str = "text_b"
    label: str = "label"
    words: str = "words"
    tags: str = "tags"
    image: str = "image"
    group: str = "group"
    background: str = WHITE
    slices: list[str] | None = None
    notes: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def reading(self) -> dict[str, Any]:
        """How a file becomes pixels, for the artifact, which does the same."""
        return {"background": self.background}

    def read(self, on_bad_row: OnBadRow = fail) -> dict[str, list[Row]]:
        """Raises ValueError: these rows come with `take`."""
        raise ValueError(
            "data.source: `rows` come from Python: "
            "limbeck.run(recipe, out, rows={'train': ..., 'test': ...})"
        )

    def take(
        self, splits: Mapping[str, Iterable[Mapping[str, Any]]], on_bad_row: OnBadRow = fail
    ) -> dict[str, list[Row]]:
        """The rows of each split, checked.

        Raises ValueError for a split of another name, for what is no rows, and where there is no
        train.
        """
        if not isinstance(splits, Mapping):
            raise ValueError(
                f"rows: a dict of splits is needed, rows={{'train': ...}}, not {described(splits)}"
            )
        unknown = set(splits) - set(SPLITS)
        if unknown or "train" not in splits:
            raise ValueError(
                f"rows: splits are {', '.join(SPLITS)}, and train must be there; "
                f"these are {', '.join(splits) or 'none'}"
            )
        colour_of(self.background)
        decode = ImageReader(ground=self.background)
        # One for all splits, so that a label is the same object in each of them.
        parser = LabelParser(None)
        rows_of = {}
        for split, given in splits.items():
            rows_of[split] = self._split(split, given, on_bad_row, decode, parser)
        self.notes[:] = decode.notes()
        return rows_of

    def one_split(
        self,
        split: str,
        given: Iterable[Mapping[str, Any]],
        on_bad_row: OnBadRow,
        labels: LabelParser,
    ) -> list[Row]:
        """The rows of one split alone, checked; `labels`: what reads their labels.

        Raises ValueError for what is no rows.
        """
        decode = ImageReader(ground=self.background)
        return self._split(split, given, on_bad_row, decode, labels)

    def _split(
        self,
        split: str,
        given_rows: Iterable[Mapping[str, Any]],
        on_bad_row: OnBadRow,
        decode: ImageReader,
        parser: LabelParser,
    ) -> list[Row]:
        """The rows of one split."""
        columns = {key: getattr(self, key) for key in KEYS}
        names = {key: class_names(given_rows, columns[key]) for key in ("label", "tags")}
        rows = []
        for number, given in enumerate(_each_row(given_rows, split), 1):
            if not isinstance(given, Mapping) and not is_of_pandas(given, "Series"):
                raise ValueError(
                    f"rows[{split!r}]: row {number} is {described(given)}; a dict of its cells is "
                    f"needed, such as {{{self.text!r}: ..., {self.label!r}: ...}}"
                )
            row: Row = {}
            try:
                for key, column in columns.items():
                    if column not in given or (key == "group" and is_empty(given[column])):
                        continue
                    if key == "image":
                        row |= image_cells(given[column], decode)
                    else:
                        labels = _Labels(parser, names.get(key))
                        row[key] = cell_value(key, given[column], labels)
                if self.slices:
                    row["slices"] = slices_of(given, self.slices)
            except ValueError as error:
                # As text: a cell may hold what JSON cannot.
                content = {key: repr(cell)[:SHOWN_CHARACTERS] for key, cell in given.items()}
                on_bad_row(BadRow(f"rows[{split!r}]:{number}", str(error), content))
                continue
            # Whatever the label of such a row is, it is not used.
            if split == "unlabelled":
                row |= _unknown(row)
            rows.append(row)
        return rows


def is_of_pandas(value: Any, *names: str) -> bool:
    """Whether a value is of one of these classes of pandas, which need not be installed."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, tuple(getattr(pandas, name) for name in names))


def columns_of(given: Any) -> list[str]:
    """The columns of rows as `take` reads them, by their first row. Raises ValueError for what is
    no rows."""
    first = next(iter(_each_row(given, "test")), None)
    return [str(name) for name in first] if isinstance(first, Mapping) else []


def _each_row(given: Any, split: str) -> Iterable[Any]:
    """The rows of a split as dicts: of a dict of columns, of a data frame, of a dataset whatever
    its format, or as they are. Raises ValueError for what is none of these."""
    datasets = sys.modules.get("datasets")
    if datasets and isinstance(given, datasets.Dataset | datasets.IterableDataset):
        # What a transform of the user's makes of its rows stays.
        has_transform = dict(getattr(given, "format", {})).get("type") == "custom"
        return given if has_transform else given.with_format(None)
    if is_of_pandas(given, "DataFrame"):
        return given.to_dict("records")
    if isinstance(given, Mapping):
        columns = {name: _as_column(cells, name, split) for name, cells in given.items()}
        counts = {name: len(cells) for name, cells in columns.items()}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"`{name}` {count:,}" for name, count in counts.items())
            raise ValueError(f"rows[{split!r}]: columns of one length are needed; {told}")
        rows = zip(*columns.values(), strict=True)
        return (dict(zip(columns, cells, strict=True)) for cells in rows)
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ValueError(
            f"rows[{split!r}]: rows are needed, a list of dicts or a data frame, not "
            f"{described(given)}. A file is read by the recipe's own data.source and data.path"
        )
    return given


def _as_column(cells: Any, name: str, split: str) -> list[Any]:
    """The cells of a column. Raises ValueError for one cell alone."""
    if isinstance(cells, str | bytes | Mapping) or not isinstance(cells, Iterable):
        raise ValueError(
            f"rows[{split!r}][{name!r}]: a list of cells is needed, one for each row, not "
            f"{described(cells)}. Of one row alone: [{{...}}]"
        )
    return list(cells)


def _unknown(row: Row) -> Row:
    """The label, or the tags, of a row that has none."""
    if "words" in row:
        return {"tags": [None] * len(row["words"])}
    return {"label": None}


@dataclass(frozen=True)
class _Labels:
    """How labels are read: by `parser`, or where `names` are given and a label is a whole number,
    as an index into these."""

    parser: LabelParser
    names: Sequence[str] | None

    def name(self, given: Any) -> str | None:
        """A label by its name; None where it is unknown. Raises ValueError."""
        # A number of numpy, or one in an array or a tensor of no dimensions.
        if isinstance(given, np.generic) or getattr(given, "ndim", None) == 0:
            given = given.item()
        # -1 is how the data sets of the Hub mark a test set whose labels are kept secret.
        if is_missing(given) or (self.names is not None and given == -1):
            return None
        if self.names is not None and isinstance(given, int):
            if not 0 <= given < len(self.names):
                raise ValueError(f"label: {given} is no index into {len(self.names)} names")
            return str(self.names[given])
        return self.parser.parse_one(given, "label")


def cell_value(key: str, given: Any, labels: _Labels) -> Any:
    """What a row holds under `key`, from what was given. Raises ValueError."""
    if key == "group":
        return str(given)
    # Lists are arrays in what pandas reads from Parquet.
    if isinstance(given, np.ndarray) and given.ndim == 1:
        given = given.tolist()
    if key == "label":
        if isinstance(given, list | tuple):
            return [labels.name(label) for label in given]
        return labels.name(given)
    if key in ("words", "tags"):
        # A string is a sequence too, of its characters.
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise ValueError(f"{key}: a list of {key} is needed, not {given!r}")
        if key == "words":
            words = words_of(given, key)
            check_length(words)
            return words
        return [labels.name(tag) for tag in given]
    if not isinstance(given, str) or not given.strip():
        raise ValueError(f"{key}: a text is needed, not {given!r}")
    return checked_unicode(key, given)


def image_cells(given: Any, decode: ImageReader) -> Row:
    """The pixels of an image, and where its file lies if that is known. Raises ValueError."""
    raw = given
    # How a `datasets.Dataset` gives an image that it has not decoded.
    if isinstance(given, Mapping) and given.keys() <= {"bytes", "path"}:
        raw = given["path"] if given.get("bytes") is None else given["bytes"]
    try:
        cells: Row = {"image": decode(raw)}
    except ValueError as error:
        raise ValueError(f"image: {error}") from None
    if isinstance(raw, str | Path):
        path = Path(raw)
        cells["file"] = file_of(path.parent, path.name)
    return cells


def class_names(split: Any, column: str) -> list[str] | None:
    """What the whole numbers of a dataset's column stand for, in order.

    None where the rows are no dataset, or the column has no names.
    """
    # Whoever has made a Dataset has imported the package; importing it here would be slow.
    datasets = sys.modules.get("datasets")
    if datasets is None or not isinstance(split, datasets.Dataset | datasets.IterableDataset):
        return None
    # One that comes in a stream may not know them.
    feature = (split.features or {}).get(column)
    while isinstance(feature, datasets.Sequence | datasets.List):  # the tags of a row are a list
        feature = feature.feature
    return list(feature.names) if isinstance(feature, datasets.ClassLabel) else None
