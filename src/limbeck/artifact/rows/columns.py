"""Which columns of a row hold an artifact's input, and whether a table's first line names them.

By an option of the command line, else by the artifact's recipe, else by the names that people give
such columns: then one choice must stand out, and it is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.artifact.rows.records import listed
from limbeck.core import wording
from limbeck.sources._column_names import LABEL_NAMES, PAIRS, TEXT_NAMES, pairs_in, plain
from limbeck.sources._table import TEXT

# Of a row for what writes.
MESSAGES = "messages"
# The columns that are read where neither an option nor the artifact's recipe names one.
COLUMNS = {
    "words": ("words", "tokens", *TEXT),
    "text": (*TEXT, "words"),
    "image": ("image", "file", "path", "file_name", "filename"),
}
# Those that are read, and told, where they alone are there: in any case of the letters.
OTHERS = {
    "words": (*COLUMNS["words"], *TEXT_NAMES),
    "text": (*COLUMNS["text"], *TEXT_NAMES),
    "image": (*COLUMNS["image"], "img", "image_path", "img_path", "image_file", "file_path"),
}
# Names that are no cell of a table, even beside a sentence; `question` may be a label.
SURE = {
    "text",
    "text_b",
    "sentence",
    "utterance",
    "label",
    "labels",
    "id",
    "index",
    *(name for pair in PAIRS for name in pair if name[-1].isdigit()),
}
MOST_WORDS = 4  # of a column's name; a longer cell is a sentence


@dataclass(frozen=True)
class Found:
    """`columns`: of a row, by what they hold (`text`, `text_b`, `image`). `note`: what is to be
    told of the choice; empty where an option, the recipe or a usual name made it."""

    columns: dict[str, str]
    note: str = ""


def is_open(recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe's `data` does not say if rows were pairs: of rows from Python it names the
    second text whether they had one or not."""
    return recipe.get("source") in (None, "rows")


def may_be_pair(recipe: Mapping[str, Any]) -> bool:
    """Whether training may have had a second text, by the recipe's `data`."""
    return is_open(recipe) or bool(recipe.get("text_b"))


@dataclass(frozen=True)
class ColumnFinder:
    """Finds the columns of an artifact's inputs.

    `kind`: what the artifact reads: `text`, `words` or `image`. `asked`: columns of the command
    line, by what they hold. `recipe`: the keys of its recipe's `data`. `needs_pair`: whether it
    reads nothing but pairs of texts, by what it was trained on. `writes`: whether it answers in
    text, so that a row may hold a conversation in `messages`.
    """

    kind: str
    asked: Mapping[str, str]
    recipe: Mapping[str, Any]
    needs_pair: bool = False
    writes: bool = False

    @property
    def main(self) -> str:
        """What the first column holds."""
        return "image" if self.kind == "image" else "text"

    def find(self, content: Mapping[str, Any]) -> Found:
        """The columns of a row. Raises ValueError where none holds the input, or several could."""
        # 1. A name on the command line that no column has is a slip of the keyboard.
        for name, given in self.asked.items():
            if given not in content:
                suggestion = wording.suggest(given, content)
                raise ValueError(f"no column `{given}` (--{_option(name)}) here. {suggestion}")
        if "text_b" in self.asked and not may_be_pair(self.recipe):
            raise ValueError(
                "--text-b: this artifact was trained on single texts. Leave it out, or train one "
                "with data.text_b"
            )
        # Beside a column that was asked for it is one of the others.
        if self.writes and MESSAGES in content and self.main not in self.asked:
            return Found({MESSAGES: MESSAGES})
        # 2. By the option, else by the recipe.
        main = self._named(self.main, content)
        second = self._named("text_b", content) if self.kind == "text" else None
        if second and not main:
            main = next((name for name in TEXT if name in content and name != second), None)
        # 3. Trained on pairs: half of one under a usual name would be answered, and wrongly.
        if self.recipe.get("text_b") and self.kind == "text" and not (main and second):
            pairs = self._pairs(content)
            if len(pairs) == 1:
                return _of_pair(pairs[0])
            if self.needs_pair:
                raise self._no_pair(content, pairs)
        # 4. One text.
        found = Found({self.main: main}) if main else self._usual(content)
        if second not in (None, *found.columns.values()):
            found.columns["text_b"] = str(second)
        return found

    def _named(self, key: str, content: Mapping[str, Any]) -> str | None:
        """The column that an option or the recipe names, or the `text_b` of what reads pairs."""
        if key in self.asked:
            return self.asked[key]
        candidates = [self.recipe.get(key)]
        # What training had no second text of may have a column of that name, which it never read.
        if key == "text_b" and may_be_pair(self.recipe):
            candidates.append("text_b")
        if self.kind == "words":
            candidates.append(self.recipe.get("words"))
        return next((name for name in candidates if name in content), None)

    def may_hold(self, content: Mapping[str, Any], before: Sequence[str]) -> bool:
        """Whether a row that lacks the columns of the rows `before` it may have its input in other
        ones: that an option or the recipe names or, where none was named, of a usual name.
        """
        if self._named(self.main, content) or (self.writes and MESSAGES in content):
            return True
        named = {self.asked.get(self.main), self.recipe.get(self.main), self.recipe.get("words")}
        usual = set(COLUMNS[self.kind]) & set(content)
        return not named & set(before) and bool(usual)

    def _is_other(self, name: str) -> bool:
        """Whether a column is read as something else, such as the label: it holds no input."""
        others = [self.recipe.get(key) for key in ("label", "tags", "id", "group", "split")]
        return name in others or plain(name) in {*LABEL_NAMES, "id"}

    def _pairs(self, content: Mapping[str, Any]) -> list[tuple[str, str]]:
        """The pairs of columns that could be meant, each once."""
        pairs = [pair for pair in pairs_in(content) if set(self.asked.values()) <= set(pair)]
        return list(dict.fromkeys(pairs))

    def _no_pair(self, content: Mapping[str, Any], pairs: Sequence[tuple[str, str]]) -> ValueError:
        """Why no pair of columns is read."""
        several = " and ".join(f"{first} with {second}" for first, second in pairs[:3])
        told = f"several columns could be a pair ({several})" if several else "no pair here"
        trained = f"`{self.recipe.get('text') or 'text'}` and `{self.recipe.get('text_b')}`"
        return ValueError(
            f"{told}: this artifact was trained on pairs of texts, {trained}. Columns here: "
            f"{listed(list(content))}. Name them with --text COLUMN --text-b COLUMN"
        )

    def _usual(self, content: Mapping[str, Any]) -> Found:
        """The column of a usual name, else what stands out. Raises ValueError."""
        # The names of our own documentation come before those of others.
        for name in COLUMNS[self.kind]:
            if name in content:
                return Found({self.main: name})
        names = {plain(name): name for name in content}
        named = [names[name] for name in dict.fromkeys(OTHERS[self.kind]) if name in names]
        pairs = pairs_in(content) if self.kind == "text" and is_open(self.recipe) else []
        if len(pairs) == 1 and set(named) <= set(pairs[0]):
            return _of_pair(pairs[0])
        note = f"the {self.main} is read from the column `{{}}`"
        if len(named) == 1:
            return Found({self.main: named[0]}, note.format(named[0]))
        # A table of one column holds nothing else that could be meant.
        if len(content) == 1:
            (only,) = content
            if isinstance(content[only], str | bytes) and not self._is_other(only):
                return Found({self.main: only}, note.format(only))
        raise ValueError(
            f"no column of the {self.main} here ({', '.join(COLUMNS[self.kind][:3])}, ...). Its "
            f"columns: {listed(list(content))}. Name it with --{self.main} COLUMN, or name all of "
            "them with --columns A,B,... where the first line is a row"
        )

    def names_for(self, fields: Sequence[str], given: Sequence[str] | None) -> list[str] | None:
        """The names of the columns, where a table's first line is a row; None where it names them.

        `fields`: of the first line. `given`: the names of the command line. Raises ValueError for
        another number of names, and for a sentence in the first line where nothing names columns.
        """
        first = [field.strip() for field in fields]
        if given is not None:
            if len(given) != len(first):
                raise ValueError(
                    f"--columns names {len(given)} columns ({listed(given)}), and the first line "
                    f"has {len(first)}. Name each one"
                )
            # Who names the columns may still have left the header in.
            return None if first == list(given) else list(given)
        # A headerless table in training: what is sent later looks the same.
        trained = [str(name) for name in self.recipe.get("columns") or []]
        if self._is_header(first, trained):
            return None
        if len(trained) == len(first):
            return trained
        # One column without a name is the input; of several it cannot be told which.
        is_sentence = any(len(field.split()) > MOST_WORDS for field in first)
        if len(first) == 1 and (trained or is_sentence):
            return [self.asked.get(self.main, self.main)]
        if is_sentence:
            raise ValueError(
                f"the first line names no columns, it is a row: {first[0][:40]!r}, ... Name its "
                f"{len(first)} columns with --columns {self.main},label,..."
            )
        return None

    def _is_header(self, first: Sequence[str], trained: Sequence[str]) -> bool:
        """Whether a first line holds a name of a column; a sentence beside it is a row all the
        same, unless the recipe or an option says so."""
        asked = [*self.asked.values(), *trained]
        keys = ("text", "text_b", "label", "words", "tags", "sentence", "id", "group")
        asked += [str(self.recipe[key]) for key in keys if self.recipe.get(key)]
        if set(asked) & set(first):
            return True
        known = SURE
        if all(len(field.split()) <= MOST_WORDS for field in first):
            pairs = [name for pair in PAIRS for name in pair]
            known = {*SURE, *OTHERS[self.kind], *pairs, *LABEL_NAMES}
        return bool(known & {plain(field) for field in first})


def _of_pair(pair: tuple[str, str]) -> Found:
    first, second = pair
    note = f"the pair of texts is read from the columns `{first}` and `{second}`"
    return Found({"text": first, "text_b": second}, note)


def _option(name: str) -> str:
    return name.replace("_", "-")
