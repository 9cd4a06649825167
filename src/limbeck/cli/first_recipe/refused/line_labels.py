"""Lines of text that hold their label: refused by `limbeck init` with a command that parts them."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from limbeck.cli.first_recipe.refused.tagged_words import refuse_tagged_words
from limbeck.core.terminal.shell import command, quoted, script
from limbeck.core.wording import some
from limbeck.sources._files import Lines

LINES = 1000  # looked at, of a file
FEWEST_LINES = 20
MOST_LABELS = 60
SHOWN = 5
MADE = "rows"  # the folder that a command makes, below that of the data
# Marks and a list of Python at the end of a line, as opinion triplets are published
# (`TEXT####[([3], [5], 'POS')]`).
LIST_BEHIND = re.compile(r"([#|@$=]{2,})\[.*\]$")
FASTTEXT = "__label__"
# A sentence and its phrases in brackets, each behind its label: `(3 (2 It) (4 (2 is) (4 good)))`.
TREE = re.compile(r"\([0-9] .*\)$")
# A word behind a mark at the end of a line: `Profit rose .@positive`.
LABEL_BEHIND = re.compile(r"(@|#|~|\^|::|=>|->)\s?([A-Za-z][\w-]*|[0-9])$")
# What parts the columns of a line where one letter does not: MovieLens, IMDb's genres.
MARKS = (":::", "::", "|||", "||", "<sep>", "[SEP]")
# What begins a file of a format that is no table, what one of its next lines is like, and its cure:
# a text may begin with any word.
FORMATS = (
    ("#FORMAT=WebAnno", "", "WebAnno or INCEpTION. Export it as CoNLL 2002, which is read"),
    (
        "#begin document",
        "",
        "CoNLL-2012 of OntoNotes, words with trees and spans in brackets. Write a word and its tag "
        "a line (B-TYPE, I-TYPE, O)",
    ),
    (
        r"From \S+ .*\d:\d\d|From \S+@",
        r"[A-Z][A-Za-z-]*: ",
        "mails in one file (mbox). Write a table of texts and labels, or a file for each mail in "
        "folders of classes",
    ),
    (
        "@relation ",
        "@(attribute|data)",
        "ARFF. Write a table: csv, with the names of @attribute in its first line",
    ),
)
SHOWN_OF = 40  # characters of a line
MOST_BEGIN = 20  # lines, of which one must fit a format
GROUP = "###"
GROUPED = (
    'import os; os.makedirs("{made}", exist_ok=True); '
    '[open("{made}/" + o + ".tsv", "w", encoding="utf-8").writelines('
    '["document\\tlabel\\ttext\\n"] + [g.strip() + "\\t" + line + "\\n" '
    'for block in ("\\n" + open(f, encoding="utf-8").read()).split("\\n{mark}")[1:] '
    "for g, *lines in [block.splitlines()] for line in lines if line.strip()]) "
    "for f, o in {files}]"
)
PUBTATOR = re.compile(r"\d+\|[ta]\|")
RELATION = re.compile(r".*<e1>.*</e2>")
# libsvm: a label, or several, then `3:0.25` for each number of a vector that is not 0.
VECTOR = re.compile(r"[-+\d.,]+( qid:\d+)?( \d+:[-+\d.eE]+)+( *#.*)?")
TREES = "trees"
# In Python, for shells differ in what they make of a backslash. Labels of fastText may stand
# anywhere in a line.
PARTED = {
    TREES: '[open(o, "w", encoding="utf-8").writelines('
    'line[1] + "\\t" + " ".join(re.findall(r" ([^() ]+)[)]", line)) + "\\n" '
    'for line in open(f, encoding="utf-8") if line.strip()) for f, o in FILES]',
    FASTTEXT: '[open(o, "w", encoding="utf-8").writelines('
    f'";".join(re.findall(r"{FASTTEXT}(\\S+)", line)) + "\\t" + '
    f're.sub(r"{FASTTEXT}\\S+\\s*|\\t", " ", line).strip() + "\\n" '
    'for line in open(f, encoding="utf-8") if line.strip()) for f, o in FILES]',
}


def refuse_formats(files: Sequence[Path]) -> None:
    """Raise ValueError for files whose lines are of a known format that is none of those read."""
    for file in files:
        _refuse_formats(file, _lines(file), files)


def refuse_lines(files: Sequence[Path]) -> None:
    """Raise ValueError for files whose lines hold label and text in one, with the command that
    makes tables of them. `files`: of one folder."""
    for file in files:
        lines = _lines(file)
        _refuse_formats(file, lines, files)
        _refuse_groups(file, lines, files)
        _refuse_lists(file, lines)
        kind = _kind(lines)
        if kind is None:
            continue
        told, pattern = kind
        alike = [other for other in files if (_kind(_lines(other)) or ("", ""))[1] == pattern]
        raise ValueError(
            f"{file}: {told}. Write them as a table, with a tab between label and text, in that "
            f"folder: {_parting(alike, pattern)} && {command('init', MADE)}"
        )


def _refuse_groups(file: Path, lines: Sequence[str], files: Sequence[Path]) -> None:
    """Raise ValueError for labels and texts with a tab between them, below lines that begin with
    ### and name what the next ones belong to (PubMed RCT); with the command for tables."""
    rows = [line.split("\t", 1) for line in lines if not line.startswith(GROUP)]
    labels = Counter(row[0] for row in rows)
    are_pairs = all(len(row) == 2 for row in rows) and len(rows) >= FEWEST_LINES
    if len(rows) == len(lines) or not are_pairs or not _are_few(labels, [*map(str, rows)]):
        return
    names = json.dumps([[one.name, _stem(one)] for one in files])
    code = GROUPED.format(made=MADE, mark=GROUP, files=names)
    raise ValueError(
        f"{file}: a label ({some(list(labels), SHOWN)}) and a text a line, below lines of {GROUP} "
        "that say what they belong to. Write them as tables, with that as `document`, in that "
        f"folder: {script(code)} && {command('init', MADE)}"
    )


def _lines(file: Path) -> list[str]:
    lines = (line.strip() for line in islice(Lines(file, "latin-1"), LINES))
    return [line for line in lines if line]


def _kind(lines: Sequence[str]) -> tuple[str, str] | None:
    """(in words, the pattern of `sed` that parts them or a key of PARTED) of lines with a label;
    None for others."""
    if lines and all(line.startswith(FASTTEXT) for line in lines):
        told = f"lines of fastText, {FASTTEXT}NAME and the text"
        has_several = any(line.count(FASTTEXT) > 1 for line in lines)
        return f"{told}, several labels joined by ;" if has_several else told, FASTTEXT
    if len(lines) < FEWEST_LINES:
        return None
    if all(map(TREE.match, lines)):
        return "trees of phrases in brackets, each behind its label", TREES
    for mark in MARKS:
        counts = {line.count(mark) for line in lines}
        if len(counts) == 1 and 0 not in counts:
            told = f"columns parted by `{mark}`"
            return told, f"s/ ?{re.escape(mark).replace('/', chr(92) + '/')} ?/\\t/g"
    # Where a tab parts label and text already, another at the first space would spoil both.
    if any("\t" in line for line in lines):
        return None
    first = Counter(line.split()[0] for line in lines)
    # The bullets of a list are no labels, nor are the marks before its titles.
    are_words = all(any(map(str.isalnum, word)) for word in first)
    if are_words and all(len(line.split()) > 1 for line in lines) and _are_few(first, lines):
        told = f"each line begins with one of {len(first)} words ({some(list(first), SHOWN)})"
        return f"{told}, which look like labels", "s/ /\\t/"
    found = [match for line in lines if (match := LABEL_BEHIND.search(line))]
    marks = {match[1] for match in found}
    last = Counter(match[2] for match in found)
    if len(found) == len(lines) and len(marks) == 1 and _are_few(last, lines):
        (mark,) = marks
        told = f"behind `{mark}` each line ends with one of {len(last)} words"
        pattern = f"s/^(.*){re.escape(mark)} ?(.*)$/\\2\\t\\1/"
        return f"{told} ({some(list(last), SHOWN)}), which look like labels", pattern
    return None


def _are_few(words: Counter[str], lines: Sequence[str]) -> bool:
    return 2 <= len(words) <= min(MOST_LABELS, len(lines) // 5)


def _parting(files: Sequence[Path], pattern: str) -> str:
    """The command that writes a table for each file, into a folder beside them."""
    tables = {file: f"{MADE}/{_stem(file)}.tsv" for file in files}
    if pattern in PARTED:
        names = json.dumps([[file.name, table] for file, table in tables.items()])
        code = f'import os, re; os.makedirs("{MADE}", exist_ok=True); {PARTED[pattern]}'
        return script(code.replace("FILES", names))
    # By bytes: in a locale of UTF-8 no pattern fits other letters.
    steps = [
        f"LC_ALL=C sed -E {quoted(pattern)} {operand(file.name)} > {operand(table)}"
        for file, table in tables.items()
    ]
    return " && ".join([f"mkdir -p {MADE}", *steps])


def _stem(file: Path) -> str:
    """A file's name without a suffix that says nothing; `stsa.train` is a name."""
    return file.stem if file.suffix in (".txt", ".label") else file.name


def operand(name: str) -> str:
    """A file's name as a command takes it for one: one that begins with a dash is no option."""
    return quoted(f"./{name}" if name.startswith("-") else name)


def _refuse_formats(file: Path, lines: Sequence[str], files: Sequence[Path]) -> None:
    """Raise ValueError for lines of a known format that is none of those read here. `files`: those
    of one folder."""
    refuse_tagged_words(file, lines, files)
    for first, then, told in FORMATS:
        is_begun = bool(lines) and re.match(first, lines[0], re.IGNORECASE)
        if is_begun and any(re.match(then, line, re.IGNORECASE) for line in lines[1:MOST_BEGIN]):
            raise ValueError(f"{file}: {told}")
    if len(lines) > MOST_BEGIN and all(map(VECTOR.fullmatch, lines)):
        raise ValueError(
            f"{file}: lines of libsvm, a label and a vector of numbers each ({lines[0][:SHOWN_OF]}"
            "). No task of this version learns from vectors: give the texts that they were made "
            "of, as a table of text and label"
        )
    if any(map(PUBTATOR.match, lines[:SHOWN])):
        raise ValueError(
            f"{file}: PubTator: titles and abstracts (|t|, |a|), then spans. Write an object a "
            'line: {"text": ..., "entities": [[START, END, TYPE], ...]}'
        )
    if sum(map(bool, map(RELATION.match, lines))) * 4 > len(lines) > 0:
        raise ValueError(
            f"{file}: texts with <e1> and <e2>, their relation in the next line. Write a table of "
            "text and label: a row for each"
        )


def _refuse_lists(path: Path, lines: Sequence[str]) -> None:
    """Raise ValueError for lists behind the texts."""
    marks = [mark for line in lines for mark in LIST_BEHIND.findall(line)]
    if lines and len(marks) == len(lines) and len(set(marks)) == 1:
        raise ValueError(
            f"{path}: behind each text stands `{marks[0]}` and a list, such as "
            f"{lines[0].rpartition(marks[0])[2]!r}: labels of its words, such as opinions with "
            "their targets. They are not read as they are: write a line "
            '{"tokens": [...], "tags": [...]} for each text, with a tag for each word, or a table '
            "of text and label"
        )
