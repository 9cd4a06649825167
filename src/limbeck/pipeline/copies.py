"""Copies of the labelled texts with words replaced, for the teacher to label (TinyBERT, Jiao et al., 2020, arXiv 1909.10351, algorithm 1):

    for each of N copies, for each word: with the probability p_t (`share`), put one of its K candidates in its place

What the candidates are is an augmenter's (`limbeck.data.augmenters`). Only words of letters are replaced. A copy carries no label, for a word that was
replaced may have been what the label meant; it is a pure function of (seed, row, copy), and one that equals its row or a copy before it is dropped.

The copies belong to the data of every arm, as every other row without a label does (`limbeck.data.splits`): the arms take the same steps over the same
batches, and a hard loss does not see them. Given to the distilled arms alone, they would be compared with arms of fewer steps.

Deviation: the paper's authors leave stop words out; algorithm 1 does not.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.core import registry
from limbeck.core.events import track
from limbeck.core.files import write_bytes
from limbeck.core.store import Store
from limbeck.data.augmenters import Place, Propose
from limbeck.data.splits import Splits
from limbeck.data.transfer import without_labels
from limbeck.recipe.model import Augment, Recipe
from limbeck.sources import Row
from limbeck.tasks.token_classification import WORD

CHUNK = 200  # rows in one file: what a kill loses at most
REVISION = 1  # part of the stage's key

Draw = tuple[
    str, np.ndarray, np.ndarray
]  # a text's key in its row; which words are replaced; which candidate each gets, in [0, 1)


def added(
    found: Splits,
    asked: Recipe,
    task: Any,
    store: Store,
    reference: Callable[[str, dict[str, Any]], Any],
) -> Splits:
    """The data with copies of its labelled rows behind the other rows of train; `reference` tells what a model's name stands for."""
    settings = asked.augment
    assert settings is not None and asked.teacher is not None
    augmenter = registry.create("augmenters", settings.method, settings.options)
    name = augmenter.model or asked.teacher.model
    inputs = {
        "augment": settings.model_dump(mode="json"), "model": reference(name, {}), "rows": found.fingerprint("labelled"), "task": asked.task,
        "revision": REVISION,
    }  # fmt: skip

    def build(folder: Path) -> None:
        propose = augmenter.open(name)
        starts = range(0, len(found.labelled), CHUNK)
        for start in track(starts, lambda start: 1.0, store.tell):
            path = folder / f"rows-{start:08}.jsonl"
            if not path.exists():
                rows = copies(found.labelled[start : start + CHUNK], start, settings, task, propose)
                write_bytes(
                    path,
                    "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(),
                )

    folder = store.stage("augment", inputs, build)
    rows = [
        json.loads(line)
        for path in sorted(folder.glob("rows-*.jsonl"))
        for line in path.read_text(encoding="utf-8").split("\n")
        if line
    ]
    note = f"{'' if rows else 'warning: '}augment: {len(rows)} copies of {len(found.labelled)} rows ({settings.method})"
    return replace(
        found,
        train=found.train + rows,
        num_unlabelled=found.num_unlabelled + len(rows),
        notes=[*found.notes, note],
    )


def foreseen(found: Splits, settings: Augment) -> Splits:
    """The data as large as it will be at most, for a forecast: each copy is its row."""
    rows = found.labelled * settings.copies
    return replace(found, train=found.train + rows, num_unlabelled=found.num_unlabelled + len(rows))


def copies(
    rows: Sequence[Row], first: int, settings: Augment, task: Any, propose: Propose
) -> Iterator[Row]:
    """The copies of rows number `first` and on, row after row, without labels."""
    texts = [words_of(row) for row in rows]
    drawn = [
        [list(draw(words, settings, first + i, copy)) for copy in range(settings.copies)]
        for i, words in enumerate(texts)
    ]
    places: dict[tuple[int, str, int], Place] = {}
    for i, of_row in enumerate(drawn):
        for key, chosen, _ in (text for copy in of_row for text in copy):
            places |= {
                (i, key, int(place)): (texts[i][key], int(place))
                for place in np.flatnonzero(chosen)
            }
    candidates: dict[tuple[int, str], dict[int, list[str]]] = defaultdict(dict)
    for (i, key, place), proposed in zip(places, propose(list(places.values())), strict=True):
        candidates[i, key][place] = proposed
    for i, row in enumerate(rows):
        seen = [texts[i]]
        for of_copy in drawn[i]:
            words = {
                key: replaced(texts[i][key], chosen, fate, candidates[i, key])
                for key, chosen, fate in of_copy
            }
            if words not in seen:
                seen.append(words)
                yield without_labels(
                    {key: written(row[key], found) for key, found in words.items()}, task
                )


def words_of(row: Row) -> dict[str, list[str]]:
    """The words of each text of a row."""
    if "words" in row:
        return {"words": row["words"]}
    return {key: WORD.findall(row[key]) for key in ("text", "text_b") if key in row}


def draw(words: dict[str, list[str]], settings: Augment, row: int, copy: int) -> Iterator[Draw]:
    """Which words of a row's texts one copy replaces."""
    generator = np.random.default_rng([settings.seed, row, copy])
    for key, found in words.items():
        chosen = generator.random(len(found)) < settings.share
        yield (
            key,
            chosen & np.array([word.isalpha() for word in found], bool),
            generator.random(len(found)),
        )


def replaced(
    words: Sequence[str], chosen: np.ndarray, fate: np.ndarray, candidates: Mapping[int, list[str]]
) -> list[str]:
    """The words with one candidate in each chosen place that has any."""
    found = list(words)
    for place in np.flatnonzero(chosen).tolist():
        if others := candidates[place]:
            found[place] = others[int(fate[place] * len(others))]
    return found


def written(original: Any, words: list[str]) -> Any:
    """A text with other words between the same spaces and marks; a list of words is that list."""
    if not isinstance(original, str):
        return words
    following = iter(words)
    return WORD.sub(lambda match: next(following), original)
