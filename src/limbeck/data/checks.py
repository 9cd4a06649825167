"""What is checked of splits, and what a user is warned of, before anything is trained on them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from limbeck.core import plug_ins, wording
from limbeck.core.contract import described
from limbeck.data.bad_rows import EXAMPLES
from limbeck.data.drawing import has_labels
from limbeck.data.same_inputs import as_seen, known_from, letters
from limbeck.sources import Row
from limbeck.sources._cells.labels import NULL_WORDS, joined_by
from limbeck.sources._encodings import doubt_of
from limbeck.sources._on_disk import joined, picked
from limbeck.tasks import returned
from limbeck.tasks.likelihood import LIKELIHOODS

# What a row holds under each key, and its name in a message; keys of others hold anything.
KINDS: dict[str, tuple[Any, str]] = {
    "text": (str, "a str"),
    "text_b": (str, "a str"),
    "words": (list | tuple, "a list of str"),
    "tags": (list | tuple, "a list of str or None"),
    "image": (np.ndarray, "an array of uint8, (H, W) or (H, W, 3),"),
    "label": (str | list | None, "a str, or None where it is unknown,"),
}
ANY = (object, "anything")
LEAST_COUNTED = 0.9  # of the numbers of groups are there where groups are counted through
# What the lists among them hold.
INSIDE: dict[str, Any] = {"words": str, "tags": str | None, "label": str}
ENCODED_ROWS = 2000  # by which an encoding is judged


def check_keys(
    rows: Sequence[Row],
    split: str,
    task: Any,
    origin: str,
) -> None:
    """Raise ValueError where a row lacks a key that the task reads, or holds no such value.

    `origin`: where the rows come from, for the message.
    """
    for number, row in enumerate(rows, 1):
        missing = [key for key in task.row_keys if key not in row]
        if missing:
            raise ValueError(
                f"data: row {number} of the {split} split of {origin} has no `{missing[0]}`; "
                f"it holds {', '.join(row) or 'nothing'}. "
                f"This task reads rows of {' and '.join(task.row_keys)}. "
                "Take a source or a task that fits the other"
            )
        for key in task.row_keys:
            kinds, expected = KINDS.get(key, ANY)
            is_pixels = key != "image" or _is_image(row[key])
            if not isinstance(row[key], kinds) or not is_pixels:
                raise ValueError(
                    f"data: row {number} of the {split} split of {origin}: its `{key}` is "
                    f"{described(row[key])}; {expected} was expected{_cure(row[key])}"
                )
        fault = _fault_inside(row, task.row_keys)
        if fault:
            raise ValueError(f"data: row {number} of the {split} split of {origin}: {fault}")


def _fault_inside(row: Row, keys: Sequence[str]) -> str | None:
    """What is wrong with the lists of a row; None where nothing is."""
    lists = [key for key in keys if key in INSIDE and isinstance(row[key], list | tuple)]
    for key in lists:
        for value in row[key]:
            if not isinstance(value, INSIDE[key]):
                expected = KINDS[key][1] if key != "label" else "a list of str"
                return f"its `{key}` holds {described(value)}; {expected} was expected"
    if "words" in lists and "tags" in lists and len(row["words"]) != len(row["tags"]):
        words, tags = len(row["words"]), len(row["tags"])
        return f"it has {words} `words` and {tags} `tags`; a tag for each word was expected"
    return None


def _is_image(value: Any) -> bool:
    """Whether a value is an image as sources give them: (H, W), (H, W, 1) or (H, W, 3) uint8."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.size == 0:
        return False
    return value.ndim == 2 or (value.ndim == 3 and value.shape[2] in (1, 3))


def _cure(value: Any) -> str:
    """The line to write for pixels of another type or order; nothing for what is no array."""
    if not isinstance(value, np.ndarray):
        return ""
    if value.dtype.kind == "f":
        return ". Of pixels from 0 to 1: `(255 * image).round().astype(numpy.uint8)`"
    if value.ndim == 3 and value.shape[0] in (1, 3):
        return ". Channels come last: `image.transpose(1, 2, 0)`"
    return ""


def labels_of(
    splits: Mapping[str, Sequence[Row]],
    split: str,
    task: Any,
    origin: str,
) -> list[str]:
    """The labels of a split. Raises ValueError for one that the task cannot read."""
    try:
        labels = task.find_labels(splits[split])
        returned.check_labels(task, labels)
        return list(labels)
    except ValueError as error:
        raise ValueError(
            f"data: the {split} split of {origin}: {plug_ins.words_of(error)}"
        ) from None


def check_filled(
    splits: Mapping[str, Sequence[Row]],
    drawn: Sequence[str],
    single: Sequence[str],
    origin: str,
) -> None:
    """Raise ValueError where a split is empty.

    `drawn`: those that the source did not have. `single`: labels that one row alone had.
    """
    for split in ("train", "validation", "test"):
        if splits[split]:
            continue
        # The user's own split, or one that was drawn: each has its cure.
        cure = "Add rows to it, or leave it out and it is drawn from train"
        if split == "train":
            cure = "Add rows to it: from them everything is learned"
        elif split in drawn:
            cure = "Too few rows a label to draw it from; add some"
            if single:
                cure += f". {len(single)} labels have one row alone, which stays in train"
        raise ValueError(f"data: the {split} split of {origin} is empty. {cure}")


def check_labels(
    splits: Mapping[str, Sequence[Row]],
    labels: Sequence[str],
    task: Any,
    origin: str,
) -> None:
    """Raise ValueError where train has one class or one score only, or a label of another split is
    none.

    `labels`: those of train.
    """
    # Numbers are no classes: two rows of one number are no mistake.
    if len(labels) < 2 and has_labels(task):
        raise ValueError(
            f"data: train has one class only ({', '.join(labels)}); "
            "nothing can be learned from it. Add rows of another"
        )
    # A head says so too, but not before it is trained.
    scores = scores_of(splits["train"], task)
    if len(scores) == 1:
        raise ValueError(
            f"data: train has one score only ({min(scores)}); "
            "nothing can be learned from it. Add rows of another"
        )
    # Asked of numbers too: a label that is none is found here, before anything is trained.
    for split in ("validation", "test"):
        labels_of(splits, split, task, origin)


def repeated(splits: Mapping[str, Sequence[Row]], task: Any) -> list[str]:
    """A warning for each split whose rows are in train too, and for test rows that are in
    validation: a score on what was learned by heart, or chosen by, says little."""
    trained = joined(splits["train"], splits.get("unlabelled", []))
    notes = []
    for split, others, place in (
        ("validation", trained, "train"),
        ("test", trained, "train"),
        ("test", splits.get("validation", []), "validation"),
    ):
        rows = splits.get(split, [])
        known = np.flatnonzero(known_from(others, rows, task))
        if len(known):
            examples = "; ".join(shown(row + 1, rows[row]) for row in known[:EXAMPLES].tolist())
            notes.append(
                f"warning: {len(known)} of {len(rows)} {split} rows are in {place} too"
                f"{otherwise_written(picked(rows, known), others, task)}, "
                f"for example {examples}"
            )
            if split == "test":
                notes[-1] += ". A verdict leaves them out"
        notes += shared_groups(rows, others, split, place)
    return notes


def contradicted(rows: Sequence[Row], task: Any) -> list[str]:
    """A warning for rows of train that are one input and have several labels: one answer cannot be
    right for all of them."""
    key = "tags" if "tags" in task.row_keys else "label"
    if not has_labels(task) or key not in task.row_keys:
        return []
    labels_of: dict[int, set[str]] = defaultdict(set)
    # Hashes of contents, as everywhere; of several labels and tags the whole list.
    hashes = [hash(task.content(row)) for row in rows]
    for content, row in zip(hashes, rows, strict=True):
        if row[key] is not None:
            labels_of[content].add(repr(row[key]))
    wrong = [number for number, content in enumerate(hashes) if len(labels_of[content]) > 1]
    if not wrong:
        return []
    first = wrong[0]
    labels = wording.some(sorted(labels_of[hashes[first]]), EXAMPLES)
    return [
        f"warning: {len(wrong)} of {len(rows)} train rows are the input of another one with "
        f"another label, for example {shown(first + 1, rows[first])} ({labels}): no model can have "
        "them all right. Let somebody decide which label is meant"
    ]


def of_one_label(rows: Sequence[Row], labels: Sequence[str], task: Any) -> list[str]:
    """A warning for a test split all of whose rows have one label of several, or one score."""
    score = only_score(rows, task)
    if score is not None:
        return [f"warning: {one_score(score)}"]
    if not has_labels(task) or len(labels) < 2:
        return []
    strata = {returned.stratum_of(task, row) for row in rows}
    if len(strata) > 1:
        return []
    return [
        f"warning: every test row has the label {strata.pop()}, of {len(labels)} labels: one "
        "answer for all is right, and no model can be shown to be better. Give rows of every label"
    ]


def only_score(rows: Sequence[Row], task: Any) -> str | None:
    """The score that all rows have; None where they have several, or labels, or are one row."""
    scores = scores_of(rows, task)
    return min(scores) if len(scores) == 1 < len(rows) else None


def scores_of(rows: Sequence[Row], task: Any) -> set[str]:
    """The scores of rows as numbers are written, without unknown ones; none of a task of labels."""
    are_numbers = LIKELIHOODS[task.likelihood].labels_are_numbers
    if not are_numbers or "label" not in task.row_keys:
        return set()
    return {score_of(row) for row in rows} - {"None"}


def score_of(row: Row) -> str:
    """The score of a row as a number is written, so that `1.10` is `1.1`; what is none, as it
    stands."""
    text = str(row.get("label"))
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


def one_score(score: str) -> str:
    """What a test split of one score proves."""
    return (
        f"every test row has the score {score}, with which nothing correlates: no model can be "
        "shown to know anything. Give rows of other scores"
    )


def otherwise_written(known: Sequence[Row], others: Sequence[Row], task: Any) -> str:
    """How many of the `known` rows are none of the `others` letter by letter; nothing for none."""
    hashes = {hash(task.content(row)) for row in others}
    count = sum(hash(task.content(row)) not in hashes for row in known)
    return f" ({count} of them in other case, spaces or codes of letters)" if count else ""


def misread(rows: Sequence[Row], encoding: Any) -> list[str]:
    """A warning for texts that were read in an encoding which is not theirs, by all signs: trained
    on, they would be letters that nobody wrote."""
    if not encoding:
        return []
    texts = (row.get("text") or " ".join(row.get("words") or []) for row in rows[:ENCODED_ROWS])
    doubt = doubt_of(str(encoding), texts)
    return [f"warning: {doubt}"] if doubt else []


def shared_groups(rows: Sequence[Row], others: Sequence[Row], split: str, place: str) -> list[str]:
    """A warning for rows of a group that other rows have too, such as a patient's; a note where
    their groups are numbered anew.

    `split`, `place`: where the rows and the others are.
    """
    shared = _shared(others, rows)
    if not shared:
        return []
    first, last = numbered(rows), numbered(others)
    if first and last and _begin_anew(first, last):
        return [
            f"the groups of {split} are numbered from {first[0]} to {first[1]} in their order, "
            f"those of {place} to {last[1]}: taken for numbers that begin anew in each file, and "
            "for no leak"
        ]
    names = wording.some(sorted(set(shared)), EXAMPLES)
    told = (
        f"warning: {len(shared)} of {len(rows)} {split} rows are of a group that {place} has too "
        f"({names})"
    )
    is_doubtful = first is not None and first == last
    return [told + ", unless their numbers begin anew in each file" * is_doubtful]


def in_groups_of(others: Sequence[Row], rows: Sequence[Row]) -> list[str]:
    """The groups of those `rows` whose group other rows have, too; none where both number theirs
    from the beginning."""
    shared = _shared(others, rows)
    if not shared:
        return []
    first, last = numbered(rows), numbered(others)
    return [] if first and last and _begin_anew(first, last) else shared


def _begin_anew(rows: tuple[int, int], others: tuple[int, int]) -> bool:
    """Whether both number their groups from the beginning, by the first and the last number of
    each: dialogue 7 of each file is another dialogue."""
    # Of patients that are in both files either some numbers lack, or both end with the same one.
    return rows[0] == others[0] and rows[1] != others[1]


def _shared(others: Sequence[Row], rows: Sequence[Row]) -> list[str]:
    """The groups of `rows` that other rows have, one for each row, by their names alone."""
    of_others = {row["group"] for row in others if "group" in row}
    return [row["group"] for row in rows if row.get("group") in of_others]


def numbered(rows: Sequence[Row]) -> tuple[int, int] | None:
    """The first and the last number of groups that are counted through, each group's rows behind
    those of the one before; None where they are not."""
    # One for each run of rows: what comes again later is no count.
    runs = [group for group, _ in groupby(row["group"] for row in rows if "group" in row)]
    if not all(group.isdecimal() and group.isascii() for group in runs):
        return None
    numbers = [int(group) for group in runs]
    # A few rows lack where they could not be used.
    is_dense = len(numbers) > LEAST_COUNTED * (numbers[-1] - numbers[0])
    is_rising = all(before < after for before, after in pairwise(numbers))
    return (numbers[0], numbers[-1]) if is_rising and is_dense and numbers[0] in (0, 1) else None


def alike(labels: Sequence[str]) -> list[str]:
    """A warning for labels that differ by case, space or how Unicode writes their letters alone,
    most likely by mistake."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        groups[letters(label)].append(label)
    pairs = []
    for group in groups.values():
        if len(group) > 1:
            # What looks the same on a screen is told by the codes of its letters.
            is_seen = len({as_seen(label) for label in group}) == len(group)
            shown = group if is_seen else [ascii(label)[1:-1] for label in group]
            pairs.append(" and ".join(f"`{label}`" for label in shown))
    if not pairs:
        return []
    told = "; ".join(pairs[:EXAMPLES])
    return [f"warning: labels that differ only by case, space or the codes of letters: {told}"]


def doubtful(
    splits: Mapping[str, Sequence[Row]],
    labels: Sequence[str],
    task: Any,
) -> list[str]:
    """A warning for each label that programs write where there is none, and one for labels that are
    several in one: both may be meant, and most are not."""
    if not has_labels(task) or "label" not in task.row_keys:
        return []
    notes = []
    for label in labels:
        if label not in NULL_WORDS:
            continue
        rows = [row for split in ("train", "validation", "test") for row in splits[split]]
        count = sum(label in task.find_labels([row]) for row in rows)
        notes.append(
            f"warning: {count} of {len(rows)} rows have the label `{label}`, which programs write "
            f"where there is none. Is it a class, or missing? Missing: data.no_label: {label!r} "
            "and data.on_bad_row: skip. A class: give it another name"
        )
    joined = joined_by(labels) if task.likelihood == "categorical" else None
    if joined:
        mark, words = joined
        notes.append(
            f"warning: the {len(labels)} labels are {len(words)} words joined by `{mark}` "
            f"({wording.some(words)}). Where a row has several labels: "
            f"task: multi-label-classification, data.label_separator: {mark!r}"
        )
    return notes


def shown(number: int, row: Row) -> str:
    """A row in a few words: its number from 1, and the beginning of its text where it has one."""
    text = row["text"] if "text" in row else " ".join(row.get("words", []))
    if "messages" in row:
        text = row["messages"][-1]["content"]
    return f"row {number}: {text[:60]!r}" if text else f"row {number}"
