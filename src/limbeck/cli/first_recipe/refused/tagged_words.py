"""Words that are written together with something: their tags (`jury/NN said/VBD`), or the language
that they are of (`en:jury`). Refused with a command that writes words in columns.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from limbeck.cli.first_recipe.sets.pairing import family
from limbeck.cli.first_recipe.table_columns.tagged import SENTENCE
from limbeck.core.terminal.shell import command, script
from limbeck.core.wording import some
from limbeck.sources._cells.tags import OUTSIDE, scheme_of
from limbeck.sources._column_names import plain
from limbeck.sources._files import Lines
from limbeck.sources._split_files import split_of

MADE = "rows"  # the folder that a command makes, below that of the data
MARKS = ("/", "_", ":", "|")
BEHIND = "<=>"  # before an intent at the end of a line, as slots are published
FEWEST_WORDS = 40
FEWEST_A_LINE = 2  # words in the middle
LEAST_TAGGED = 0.98  # of the words
WORDS_A_TAG = 4
SHOWN = 6
LINES = 50_000  # of a file, by which two are compared
TAG = re.compile(r"[^\s\d]\S{0,19}")
LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]+)?:(?=.)")


def refuse_tagged_words(file: Path, lines: Sequence[str], files: Sequence[Path]) -> None:
    """Raise ValueError for lines of words that have a tag each behind a mark.

    `lines`: the first ones of `file`; `files`: those of its folder that are no notes.
    """
    words = [line.partition(BEHIND)[0].split() for line in lines]
    found = next((mark for mark in MARKS if _are_tagged(words, mark)), None)
    if not found:
        return
    tags = Counter(_tag(word, found) for line in words for word in line)
    code = (
        f"import glob, os; m = {json.dumps(found)}; "
        f'os.makedirs("{MADE}", exist_ok=True); '
        f'[open("{MADE}/" + o + ".conll", "w", encoding="utf-8").writelines('
        '"".join("\\t".join(w.rpartition(m)[::2]) + "\\n" '
        f'for w in line.partition("{BEHIND}")[0].split() if m in w[1:]) + "\\n" '
        'for f in fs for line in open(f, encoding="utf-8") if line.strip()) '
        f"for o, fs in {_outputs(file, files)}]"
    )
    shown = some([tag for tag, _ in tags.most_common()], SHOWN)
    raise ValueError(
        f"{file}: words with a tag behind `{found}` each ({shown}). Write a word and its tag a "
        f"line, in that folder: {script(code)} && {command('init', MADE)}"
    )


def refuse_languages(files: Sequence[Path], words: Sequence[str]) -> None:
    """Raise ValueError for words that all begin with the code of their language, as WikiANN's do: a
    model would learn from `en:jury`.

    `files`: of words in columns; `words`: of the first of them.
    """
    begins = {match[0] if (match := LANGUAGE.match(word)) else "" for word in words}
    if len(begins) != 1 or "" in begins:
        return
    (begin,) = begins
    code = (
        f'import os; os.makedirs("{MADE}", exist_ok=True); '
        f'[open("{MADE}/" + f, "w", encoding="utf-8").writelines('
        f"line.removeprefix({json.dumps(begin)}) "
        'for line in open(f, encoding="utf-8", newline="")) '
        f"for f in {json.dumps([file.name for file in files])}]"
    )
    raise ValueError(
        f"{files[0]}: `{begin}` stands before each word, the code of its language. Write the words "
        f"without it, in that folder: {script(code)} && {command('init', MADE)}"
    )


def refuse_intents_behind_tags(
    files: Sequence[Path], records: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> None:
    """Raise ValueError for words between BOS and EOS, and behind a tab as many tags, of which the
    last is an intent, as ATIS is handed on; with the command that writes the three apart.

    `files`: the one of train first, of which `records` are the first rows, read by `options`.
    """
    if not records or len(records[0]) != 2 or "columns" not in options:
        return
    pairs = [[str(cell).split() for cell in record.values()] for record in records]
    ends = {(words[0], words[-1]) for words, _ in pairs if words}
    tags = [tags[1:-1] for _, tags in pairs]
    are_alike = all(len(words) == len(tags) > 2 for words, tags in pairs)
    if not are_alike or ends != {("BOS", "EOS")} or not scheme_of(tags):
        return
    train = files[0]
    labelled = [file for file in files if split_of(file.stem) and _has_intents(file)]
    splits = family(labelled, _lines_of) or {"train": train}
    outputs = [[file.name, split] for split, file in splits.items()]
    left = [file.name for file in dict.fromkeys(files) if file not in splits.values()]
    told = f". Left out: {some(left, SHOWN)}" if left else ""
    code = (
        f'import json, os; os.makedirs("{MADE}", exist_ok=True); '
        f'[open("{MADE}/" + o + ".jsonl", "w", encoding="utf-8").writelines('
        'json.dumps({"tokens": w[1:-1], "tags": t[1:-1], "intent": t[-1]}) + "\\n" '
        'for line in open(f, encoding="utf-8") if line.strip() '
        'for w, t in [[part.split() for part in line.split("\\t")]]) '
        f"for f, o in {json.dumps(outputs)}]"
    )
    raise ValueError(
        f"{train}: words between BOS and EOS, then as many tags, the last an intent "
        f"({pairs[0][1][-1]}){told}. Write the three apart, in that folder: {script(code)} && "
        f"{command('init', MADE)}"
    )


def refuse_words_in_rows(
    files: Sequence[Path], records: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> None:
    """Raise ValueError for a table of a word and its tag a row, where no column says which sentence
    a word is of: each word would be a text. With the command that writes them in columns where
    blank lines stand between the sentences.

    `files`: the one of train first, of which `records` are the first rows, read by `options`.
    """
    found = _word_and_tag(records) if records else None
    if not found:
        return
    word, tag = found
    told = f"{files[0]}: `{word}` holds a word a row, and `{tag}` its tag"
    lines = list(islice(Lines(files[0], options.get("encoding")), LINES))
    if not any(not line.strip(" \t\r\n,;") for line in lines[:-1]):
        raise ValueError(
            f"{told}, and nothing says where a sentence ends. Write the number of its sentence "
            "beside each word, in a column sentence_id"
        )
    header = list(records[0])
    first = int(options.get("skip_lines", 0)) + ("columns" not in options)
    is_tabbed = files[0].suffix.lower() in (".tsv", ".tab")
    mark = options.get("delimiter", "\t" if is_tabbed else ",")
    named = [file for file in dict.fromkeys(files) if file == files[0] or split_of(file.stem)]
    code = (
        f'import csv, os; os.makedirs("{MADE}", exist_ok=True); '
        f"w, t = {header.index(word)}, {header.index(tag)}; "
        f'[open("{MADE}/" + o + ".conll", "w", encoding="utf-8").writelines('
        '(r[w] + "\\t" + r[t] if any(r) else "") + "\\n" for r in list(csv.reader('
        f'open(f, newline="", encoding={json.dumps(options.get("encoding", "utf-8-sig"))}), '
        f"delimiter={json.dumps(mark)}))[{first}:]) "
        f"for f, o in {json.dumps([[file.name, file.stem] for file in named])}]"
    )
    raise ValueError(
        f"{told}, with a blank line between sentences. Write them as words in columns, in that "
        f"folder: {script(code)} && {command('init', MADE)}"
    )


def _word_and_tag(records: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """The columns of single words and of tags of spans; None where a table has no such two, or one
    that tells the sentences apart."""
    columns = {name: [str(record.get(name) or "") for record in records] for name in records[0]}
    if {plain(name) for name in columns} & set(SENTENCE):
        return None
    for tag, cells in columns.items():
        # One sentence of all: between two of them no span goes on.
        if OUTSIDE not in cells or len(set(cells)) < 2 or not scheme_of([cells]):
            continue
        for word, words in columns.items():
            are_words = all(len(cell.split()) == 1 for cell in words)
            if word != tag and are_words and not all(map(str.isdecimal, words)):
                return word, tag
    return None


def _has_intents(file: Path) -> bool:
    """Whether each line ends with an intent, which is no tag of a word: files of the same words are
    published without them, too."""
    ends = {line.split()[-1] for line in _lines_of(file)}
    return not scheme_of([sorted(ends)])


def _lines_of(file: Path) -> set[str]:
    return {line.strip() for line in islice(Lines(file), LINES) if line.strip()}


def _are_tagged(lines: Sequence[Sequence[str]], mark: str) -> bool:
    """Whether nearly all words have a tag behind the mark, one of a few."""
    words = [word for line in lines for word in line]
    if len(words) < FEWEST_WORDS or sorted(map(len, lines))[len(lines) // 2] < FEWEST_A_LINE:
        return False
    tags = Counter(tag for word in words if (tag := _tag(word, mark)))
    if sum(tags.values()) < LEAST_TAGGED * len(words):
        return False
    # Of dates and shares what stands behind the mark is a number.
    named = sum(count for tag, count in tags.items() if TAG.fullmatch(tag))
    return 2 <= len(tags) <= len(words) // WORDS_A_TAG and 2 * named > len(words)


def _tag(word: str, mark: str) -> str:
    """What stands behind the mark in a word; nothing where no word is before it."""
    before, _, tag = word.rpartition(mark)
    return tag if before else ""


def _outputs(file: Path, files: Sequence[Path]) -> str:
    """In Python: (the name of a table, the files that it is made of), for each split that files are
    called by; else one table of all."""
    if split_of(file.name):
        splits = family([one for one in files if one.suffix == file.suffix], _lines_of)
        names = {split: one.name for split, one in splits.items()} or {"train": file.name}
        return json.dumps([[split, [name]] for split, name in names.items()])
    if len(files) == 1:
        return json.dumps([["train", [file.name]]])
    # Beside notes, as the 500 files of the Brown corpus lie.
    return (
        '[["train", [f for f in sorted(glob.glob("*")) if os.path.isfile(f) '
        'for w in [open(f, encoding="utf-8", errors="replace").read().split()] '
        f"if w and sum(m in x[1:] for x in w) > {LEAST_TAGGED - 0.08:.1f} * len(w)]]]"
    )
