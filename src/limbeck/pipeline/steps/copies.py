"""Copies of the labelled texts with words replaced, for the teacher to label (TinyBERT, Jiao et al.,
2020, arXiv 1909.10351, algorithm 1):

    for each of N copies, for each word: with the probability p_t (`share`), put one of its K
    candidates in its place

What the candidates are is an augmenter's (`limbeck.data.augmenters`). Only words of letters are
replaced. A copy carries no label, for a word that was replaced may have been what the label meant;
it is a pure function of (seed, row, copy), and one that equals its row or a copy before it is
dropped.

The copies belong to the data of every arm, as every other row without a label does
(`limbeck.data.splits`): the arms take the same steps over the same batches, and a hard loss does
not see them. Given to the distilled arms alone, they would be compared with arms of fewer steps.

Deviation: the paper's authors leave stop words out; algorithm 1 does not.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.core import registry
from limbeck.core.events import track
from limbeck.core.files import write_bytes
from limbeck.data.augmenters import Place, Propose
from limbeck.data.splits import Splits
from limbeck.data.transfer import without_labels
from limbeck.pipeline.stage import Stage
from limbeck.recipe.model import Augment
from limbeck.sources import Row
from limbeck.tasks.inputs.words import WORD

if TYPE_CHECKING:
    from limbeck.pipeline.context import RunContext

CHUNK = 200  # rows in one file: what a kill loses at most


@dataclass(frozen=True)
class Draw:
    """Which words of one text a copy replaces.

    key: of the text in its row. is_replaced: (words) bool. fate: (words) which candidate each
    word gets, as a share of their list, in [0, 1).
    """

    key: str
    is_replaced: np.ndarray
    fate: np.ndarray

    @property
    def places(self) -> list[int]:
        """The numbers of the words to replace."""
        places: list[int] = np.flatnonzero(self.is_replaced).tolist()
        return places


def with_copies(splits: Splits, run: "RunContext") -> Splits:
    """The data with copies of its labelled rows behind the other rows of train."""
    recipe = run.recipe
    settings = recipe.augment
    assert settings is not None and recipe.teacher is not None
    augmenter = registry.create("augmenters", settings.method, settings.options)
    model = augmenter.model or recipe.teacher.model

    def build(folder: Path) -> None:
        propose = augmenter.open(model)
        starts = range(0, len(splits.labelled), CHUNK)
        for start in track(starts, lambda start: 1.0, run.store.tell):
            path = folder / f"rows-{start:08}.jsonl"
            if not path.exists():  # a kill leaves the files before the one it met
                chunk = splits.labelled[start : start + CHUNK]
                rows = copies(chunk, start, settings, run.task_class, propose)
                lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
                write_bytes(path, "".join(lines).encode())

    stage = Stage(
        name="augment",
        inputs={
            "augment": settings.model_dump(mode="json"),
            "model": run.reference(model, {}),
            "rows": splits.fingerprint("labelled"),
            "task": recipe.task,
        },
        build=build,
        components=[*run.task_component, ("augmenters", settings.method)],
    )
    rows = read_rows(run.compute(stage))
    note = f"augment: {len(rows)} copies of {len(splits.labelled)} rows ({settings.method})"
    return replace(
        splits,
        train=splits.train + rows,
        num_unlabelled=splits.num_unlabelled + len(rows),
        notes=[*splits.notes, note if rows else f"warning: {note}"],
    )


def read_rows(folder: Path) -> list[Row]:
    """The copies that the stage wrote, in order."""
    # Not `splitlines`: a text may hold other characters that it takes for the end of a line.
    return [
        json.loads(line)
        for path in sorted(folder.glob("rows-*.jsonl"))
        for line in path.read_text(encoding="utf-8").split("\n")
        if line
    ]


def foreseen(splits: Splits, settings: Augment) -> Splits:
    """The data as large as it will be at most, for a forecast: each copy is its row."""
    rows = splits.labelled * settings.copies
    num_unlabelled = splits.num_unlabelled + len(rows)
    return replace(splits, train=splits.train + rows, num_unlabelled=num_unlabelled)


def copies(
    rows: Sequence[Row], first: int, settings: Augment, task: Any, propose: Propose
) -> Iterator[Row]:
    """The copies of some rows, row after row, without labels.

    Args:
        first: the number of the first of `rows` in the whole.
        propose: candidates for many places at once, which one pass of a model answers.
    """
    texts = [words_of(row) for row in rows]
    draws = [
        [list(draw(words, settings, first + number, copy)) for copy in range(settings.copies)]
        for number, words in enumerate(texts)
    ]
    candidates = candidates_of(texts, draws, propose)
    for number, row in enumerate(rows):
        seen = [texts[number]]
        for of_copy in draws[number]:
            words = {
                each.key: replaced(texts[number][each.key], each, candidates[number, each.key])
                for each in of_copy
            }
            if words in seen:
                continue
            seen.append(words)
            copy = {key: written(row[key], replacing) for key, replacing in words.items()}
            yield without_labels(copy, task)


def candidates_of(
    texts: Sequence[dict[str, list[str]]], draws: Sequence[Sequence[list[Draw]]], propose: Propose
) -> dict[tuple[int, str], dict[int, list[str]]]:
    """What may stand in each place that some copy replaces: (row, text) to place to words."""
    places: dict[tuple[int, str, int], Place] = {}
    for number, of_row in enumerate(draws):
        for each in (each for copy in of_row for each in copy):
            for place in each.places:
                places[number, each.key, place] = (texts[number][each.key], place)
    candidates: dict[tuple[int, str], dict[int, list[str]]] = defaultdict(dict)
    for (number, key, place), words in zip(places, propose(list(places.values())), strict=True):
        candidates[number, key][place] = words
    return candidates


def words_of(row: Row) -> dict[str, list[str]]:
    """The words of each text of a row."""
    if "words" in row:
        return {"words": row["words"]}
    return {key: WORD.findall(row[key]) for key in ("text", "text_b") if key in row}


def draw(words: dict[str, list[str]], settings: Augment, row: int, copy: int) -> Iterator[Draw]:
    """Which words of a row's texts one copy replaces."""
    generator = np.random.default_rng([settings.seed, row, copy])
    for key, text in words.items():
        is_drawn = generator.random(len(text)) < settings.share
        is_word = np.array([word.isalpha() for word in text], bool)
        yield Draw(key, is_drawn & is_word, generator.random(len(text)))


def replaced(words: Sequence[str], drawn: Draw, candidates: Mapping[int, list[str]]) -> list[str]:
    """The words with one candidate in each drawn place that has any."""
    changed = list(words)
    for place in drawn.places:
        others = candidates[place]
        if others:
            changed[place] = others[int(drawn.fate[place] * len(others))]
    return changed


def written(original: Any, words: list[str]) -> Any:
    """A text with other words between the same spaces and marks; a list of words is that list."""
    if not isinstance(original, str):
        return words
    following = iter(words)
    return WORD.sub(lambda match: next(following), original)
