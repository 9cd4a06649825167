"""Copies of the labelled texts with words replaced, for the teacher to label.

TinyBERT (Jiao et al., 2020, arXiv 1909.10351, algorithm 1):

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

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from limbeck.core import registry
from limbeck.core.cache import entries
from limbeck.core.cache.store import Store
from limbeck.core.events import track
from limbeck.core.files import write_bytes
from limbeck.core.scripts import word_pattern
from limbeck.data.augmenters import Place, Propose, checked, model_of
from limbeck.data.splits import Splits
from limbeck.data.transfer import without_labels
from limbeck.pipeline.stage import Stage
from limbeck.recipe.model import Augment, Recipe
from limbeck.sources import Row
from limbeck.sources._on_disk import joined

# Rows in one file: what a kill loses at most.
CHUNK = 200


class Copying(Protocol):
    """What copies need of a run (`pipeline.context`, which imports this file)."""

    recipe: Recipe
    store: Store

    @property
    def task_class(self) -> Any: ...

    @property
    def task_component(self) -> list[tuple[str, str]]: ...

    def environment(self) -> dict[str, Any]: ...

    def reference(self, name: str, options: dict[str, Any]) -> Any: ...

    def compute(self, stage: Stage) -> Path: ...


@dataclass(frozen=True)
class Draw:
    """Which words of one text a copy replaces.

    key: of the text in its row.
    is_replaced: (words) bool.
    fate: (words) which candidate each word gets, as a share of their list, in [0, 1): drawn for
        every word, so that what one gets does not hang on the candidates of another.
    """

    key: str
    is_replaced: np.ndarray
    fate: np.ndarray

    @property
    def places(self) -> list[int]:
        """The numbers of the words to replace."""
        places: list[int] = np.flatnonzero(self.is_replaced).tolist()
        return places


def with_copies(splits: Splits, run: Copying) -> Splits:
    """The data with copies of its labelled rows behind the other rows of train.

    Raises:
        ValueError: the augmenter's model cannot be had, or cannot be asked.
    """
    recipe = run.recipe
    settings = recipe.augment
    assert settings is not None and recipe.teacher is not None
    augmenter = registry.create("augmenters", settings.method, settings.options)
    # The teacher's own name, before it is tuned: copies must not hang on a training.
    model = model_of(settings.method, augmenter) or recipe.teacher.model

    def build(folder: Path) -> None:
        # Loaded here, and not where the copies are found.
        propose = checked(settings.method, augmenter.open(model))
        starts = range(0, len(splits.labelled), CHUNK)
        for start in track(starts, lambda start: 1.0, run.store.tell):
            path = folder / f"rows-{start:08}.jsonl"
            # A kill leaves the files before the one that it met; who alters them is seen.
            if entries.is_kept(path):
                continue
            chunk = splits.labelled[start : start + CHUNK]
            rows = copies(chunk, start, settings, run.task_class, propose)
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
            write_bytes(path, "".join(lines).encode())
            entries.keep(path)

    stage = Stage(
        name="augment",
        inputs={
            "augment": settings.model_dump(mode="json"),
            "model": run.reference(model, {}),
            "rows": splits.fingerprint("labelled"),
            "task": recipe.task,
            # Which words are nearest, or likeliest, is computed.
            **run.environment(),
        },
        build=build,
        components=[*run.task_component, ("augmenters", settings.method)],
    )
    rows = read_rows(run.compute(stage))
    # No copy at all is allowed, and seldom meant.
    note = f"augment: {len(rows)} copies of {len(splits.labelled)} rows ({settings.method})"
    return replace(
        splits,
        train=joined(splits.train, rows),
        num_unlabelled=splits.num_unlabelled + len(rows),
        notes=[*splits.notes, note if rows else f"warning: {note}"],
    )


def read_rows(folder: Path) -> list[Row]:
    """The copies that the stage wrote, in order."""
    rows: list[Row] = []
    for path in sorted(folder.glob("rows-*.jsonl")):
        text = path.read_text(encoding="utf-8")
        # Not `splitlines`: a text may hold other characters that it takes for the end of a line.
        rows += [json.loads(line) for line in text.split("\n") if line]
    return rows


def foreseen(splits: Splits, settings: Augment) -> Splits:
    """The data as large as it will be at most, for a forecast: each copy is its row."""
    # A copy is about as long as its row: a word is replaced by a word.
    rows = list(splits.labelled) * settings.copies
    num_unlabelled = splits.num_unlabelled + len(rows)
    return replace(splits, train=joined(splits.train, rows), num_unlabelled=num_unlabelled)


def copies(
    rows: Sequence[Row],
    first: int,
    settings: Augment,
    task: Any,
    propose: Propose,
) -> Iterator[Row]:
    """The copies of some rows, row after row, without labels.

    Args:
        rows: with one text or two, or with words.
        first: the number of the first of `rows` in the whole.
        settings: the recipe's `augment`.
        task: the task's class, which says which keys are labels.
        propose: candidates for many places at once, which one pass of a model answers.
    """
    # 1. What every copy of every row replaces.
    texts = [words_of(row) for row in rows]
    draws: list[list[list[Draw]]] = []
    for number, words in enumerate(texts):
        numbers = range(settings.copies)
        draws.append([list(draw(words, settings, first + number, copy)) for copy in numbers])
    # 2. By what, for all at once.
    candidates = candidates_of(texts, draws, propose)
    # 3. The copies.
    for number, row in enumerate(rows):
        original = texts[number]
        seen = [original]
        for of_copy in draws[number]:
            changed: dict[str, list[str]] = {}
            for drawn in of_copy:
                words_that_fit = candidates[number, drawn.key]
                changed[drawn.key] = replaced(original[drawn.key], drawn, words_that_fit)
            # Labelled twice, a text would only count twice.
            if changed in seen:
                continue
            seen.append(changed)
            copy = {key: written(row[key], words) for key, words in changed.items()}
            yield without_labels(copy, task)


def candidates_of(
    texts: Sequence[dict[str, list[str]]],
    draws: Sequence[Sequence[list[Draw]]],
    propose: Propose,
) -> dict[tuple[int, str], dict[int, list[str]]]:
    """What may stand in each place that some copy replaces: (row, text) to place to words."""
    # A dict, since several copies may replace the same place, which is asked once.
    places: dict[tuple[int, str, int], Place] = {}
    for number, of_row in enumerate(draws):
        for drawn in itertools.chain.from_iterable(of_row):
            words = texts[number][drawn.key]
            for place in drawn.places:
                places[number, drawn.key, place] = (words, place)
    proposed = propose(list(places.values()))
    candidates: dict[tuple[int, str], dict[int, list[str]]] = defaultdict(dict)
    for (number, key, place), words in zip(places, proposed, strict=True):
        candidates[number, key][place] = words
    return candidates


def words_of(row: Row) -> dict[str, list[str]]:
    """The words of each text of a row."""
    if "words" in row:
        return {"words": row["words"]}
    texts: dict[str, list[str]] = {}
    for key in ("text", "text_b"):
        if key in row:
            texts[key] = word_pattern().findall(row[key])
    return texts


def draw(
    words: dict[str, list[str]],
    settings: Augment,
    row: int,
    copy: int,
) -> Iterator[Draw]:
    """Which words of a row's texts one copy replaces; `row` and `copy` are their numbers."""
    # A stream of its own for each copy: whatever else was drawn before, it is the same.
    generator = np.random.default_rng([settings.seed, row, copy])
    for key, text in words.items():
        is_drawn = generator.random(len(text)) < settings.share
        # Numbers and marks have no synonyms.
        is_word = np.array([word.isalpha() for word in text], bool)
        fate = generator.random(len(text))
        yield Draw(key, is_drawn & is_word, fate)


def replaced(
    words: Sequence[str],
    drawn: Draw,
    candidates: Mapping[int, list[str]],
) -> list[str]:
    """The words with one candidate in each drawn place that has any."""
    changed = list(words)
    for place in drawn.places:
        others = candidates[place]
        if others:
            chosen = int(drawn.fate[place] * len(others))
            changed[place] = others[chosen]
    return changed


def written(original: Any, words: list[str]) -> Any:
    """A text with other words between the same spaces and marks; a list of words is that list."""
    if not isinstance(original, str):
        return words
    following = iter(words)
    return word_pattern().sub(lambda match: next(following), original)
