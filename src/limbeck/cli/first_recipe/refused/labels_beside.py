"""Texts a line in one file, their labels a line in another: x_train.txt and y_train.txt, or
train_text.txt and train_labels.txt, train.txt and train.labels. Refused with a command that makes
tables of them.
"""

import json
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from limbeck.core.terminal.shell import command, script
from limbeck.sources._files import Lines
from limbeck.sources._split_files import split_of
from limbeck.sources._unpacked import is_archive

TABLES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".npz", ".npy", ".gz", ".zip")
# What people call the one and the other, beside the split.
OF_TEXTS = {
    *("x", "text", "texts", "sentence", "sentences", "sents", "data", "input", "inputs", "source"),
    *("src", "documents", "docs", "reviews", "comments", "tweets"),
}
OF_LABELS = {
    *("y", "label", "labels", "target", "targets", "class", "classes", "gold", "truth", "answers"),
    *("output", "outputs", "tgt", "sentiment", "sentiments", "intents", "intent"),
}
LINES = 1000  # by which labels are told where a name says nothing of texts
LABEL_WORDS = 3
ROWS_A_LABEL = 5
CODE = (
    '[open(o + ".tsv", "w", encoding="utf-8").writelines('
    'y.strip() + "\\t" + " ".join(x.split("\\t")).strip() + "\\n" '
    'for x, y in zip(open(a, encoding="utf-8"), open(b, encoding="utf-8"))) '
    "for a, b, o in PAIRS]"
)


def refuse_labels_beside(path: Path, files: Sequence[Path]) -> None:
    """Raise ValueError where files lie in pairs of as many lines, one of texts and one of their
    labels, with the command that puts each pair into a table. `files`: those of the folder."""
    if is_archive(path):
        return
    lines = [file for file in files if file.is_file() and not file.name.lower().endswith(TABLES)]
    pairs: dict[str, list[str]] = {}
    # Train first, as the message names its files.
    for labels in sorted(lines, key=lambda file: ("train" not in file.name.lower(), file.name)):
        kind, key = _kind_and_key(labels)
        if kind != "labels":
            continue
        for texts in lines:
            of, same = _kind_and_key(texts)
            if of != "labels" and same == key and _are_pair(texts, labels, is_sure=of == "texts"):
                split = split_of(labels.name) or "train"
                pairs.setdefault(split, [texts.name, labels.name, split])
    # The tables are written beside, where a file may name the labels; then they are what is read.
    if not pairs or any((path / f"{split}.tsv").exists() for split in pairs):
        return
    texts_name, labels_name, _ = next(iter(pairs.values()))
    code = CODE.replace("PAIRS", json.dumps(list(pairs.values())))
    raise ValueError(
        f"{path}: texts in {texts_name}, their labels in {labels_name}, a line each. Put them into "
        f"one table for each split, in that folder: {script(code)} && {command('init', '.')}"
    )


def _kind_and_key(file: Path) -> tuple[str | None, tuple[str, ...]]:
    """(whether a name speaks of texts or of labels, its other words): those of a pair are alike."""
    words = [word for word in re.split(r"[^a-z0-9]+", file.name.lower()) if word not in ("", "txt")]
    for kind, names in (("labels", OF_LABELS), ("texts", OF_TEXTS)):
        named = [word for word in words if word in names]
        if named:
            return kind, tuple(word for word in words if word != named[0])
    return None, tuple(words)


def _are_pair(texts: Path, labels: Path, *, is_sure: bool) -> bool:
    """Whether two files have as many lines and, where only one is called so, labels in that one."""
    if _num_lines(texts) != _num_lines(labels):
        return False
    first = [line.strip() for line in islice(Lines(labels, "latin-1"), LINES)]
    are_short = all(len(line.split()) <= LABEL_WORDS for line in first)
    return is_sure or (are_short and len(set(first)) <= max(2, len(first) // ROWS_A_LABEL))


def _num_lines(file: Path) -> int:
    return sum(1 for _ in Lines(file, "latin-1"))
