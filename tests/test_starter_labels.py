"""Tables whose label is not one column of classes: lists of tags under any name, annotators, labels joined into one, words for no label, and several columns that could be it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from layouts import text
from test_starter_choice import chosen, write_table

from limbeck.core import registry
from limbeck.data.bad_rows import BadRows
from limbeck.data.checks import repeated
from limbeck.data.splits import Splits, load_splits
from limbeck.recipe.model import Data
from limbeck.sources._cells.labels import LabelParser, joined_by
from limbeck.sources._cells.record import TextCells
from limbeck.sources.csv import Csv

TEXTS = registry.load("tasks", "text-classification")
MOODS = ("calm", "glad", "sad")


def passage(number: int) -> list[str]:
    return [f"word{n}" for n in range(3 + number % 4)]


def spans(number: int) -> list[str]:
    return ["O", "B", "I", *["O"] * (number % 4)]


# Flags.


@pytest.mark.parametrize(
    ("one", "none"),
    [("True", "False"), ("yes", "no"), ("Y", "N"), ("t", "f"), ("1.0", "0.0"), (True, False)],
)
def test_flags_are_a_column_for_each_label(one: Any, none: Any) -> None:
    """Of `Y` and `N` one column was learned, as two classes."""
    found = chosen(
        text=text,
        angry=lambda n: one if n % 3 else none,
        glad=lambda n: one if n % 5 == 0 else none,
    )
    assert found.task == "multi-label-classification"
    assert found.options["label_columns"] == ["angry", "glad"]
    cells = TextCells({}, ["angry", "glad"], LabelParser(None, ";"), are_shares=True)
    assert cells.label({"angry": one, "glad": none}) == ["angry"]


@pytest.mark.parametrize("mark", ["x", "1"])
def test_marks_beside_empty_cells_are_refused_with_the_cure(mark: str) -> None:
    told = r"angry, glad have `.` in some rows and nothing in the others.*Write 1 and 0 in all"
    with pytest.raises(ValueError, match=told):
        chosen(
            text=text,
            angry=lambda n: mark if n % 3 else "",
            glad=lambda n: mark if n % 5 == 0 else "",
            source=lambda n: ("web", "mail")[n % 2],
        )


# Tags.


@pytest.mark.parametrize("written", [str, list], ids=["as Python writes it", "a list"])
def test_tags_belong_to_the_column_that_is_as_long(written: Any) -> None:
    """facqa of IndoNLU: it was a text of several labels, B, I and O."""
    found = chosen(
        question=lambda n: written(["who", "is", "it", "?"]),
        passage=lambda n: written(passage(n)),
        seq_label=lambda n: written(spans(n)),
    )
    assert found.task == "token-classification"
    assert found.options == {"words": "passage", "tags": "seq_label"}
    assert "`passage` are words, `seq_label` their tags" in found.reason
    assert "without tags, so not read: `question`" in found.reason


def test_rows_with_a_tag_too_few_are_told() -> None:
    found = chosen(
        words_of=lambda n: str(passage(n)), bio_labels=lambda n: str(spans(n if n else 1))
    )
    assert found.options == {"words": "words_of", "tags": "bio_labels"}
    assert "1 of the first rows have another number of tags than of words" in found.reason


def test_tags_without_words_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`seq_label` holds a tag for each word \(B, I, O\)"):
        chosen(question=text, seq_label=lambda n: str(spans(n) + ["O"] * 90))


def test_lists_of_labels_stay_labels() -> None:
    found = chosen(text=text, moods=lambda n: [MOODS[n % 3]] + ["B"] * (n % 2))
    assert found.task == "multi-label-classification"


def test_spans_inside_others_are_counted_and_told() -> None:
    """Vitamins-NER: init wrote what check refused."""
    found = chosen(
        text=text,
        entities=lambda n: [
            {"start": 0, "end": 6, "label": "A"},
            {"start": 7 * (n % 2), "end": 11, "label": "B"},
        ],
    )
    assert found.options == {"text": "text", "spans": "entities", "overlaps": "longest"}
    assert "in 150 of the first 300 rows some lie inside others" in found.reason


def test_a_few_spans_outside_of_their_texts_are_told() -> None:
    found = chosen(text=text, entities=lambda n: [[0, 6 if n % 50 else 999, "A"]])
    assert found.options["on_bad_row"] == "skip"
    assert "6 of them have a span that is no part of the text" in found.reason
    # All of them are another way to count, which is told by check with its lines.
    assert "on_bad_row" not in chosen(text=text, entities=lambda n: [[0, 999, "A"]]).options


# Columns that could be the label.


def test_another_column_that_is_called_as_a_label_is_told() -> None:
    """MELD: Emotion stood beside Sentiment, and nobody heard of it."""
    found = chosen(
        Utterance=text,
        Emotion=lambda n: "abcde"[n % 5],
        Sentiment=lambda n: "xyz"[n % 3],
        Season=lambda n: n % 9,
        Speaker=lambda n: f"speaker {n % 6}",
    )
    assert found.options["label"] == "Sentiment"
    told = "`Emotion` could be the label as well as `Sentiment`: name another with data.label"
    assert told in found.reason


def test_a_column_of_words_beside_a_named_label_is_told() -> None:
    """Dialogue acts: DA beside Sub_Category, with one value each in the first rows."""
    found = chosen(Example=text, DA=lambda n: "ad"[n // 150], Sub_Category=lambda n: "xy"[n // 150])
    assert found.options["label"] == "Sub_Category"
    assert "`DA` could be the label" in found.reason
    assert "`DA` goes with it in all of the first rows" in found.reason


def test_numbers_origins_and_groups_beside_a_named_label_are_no_labels() -> None:
    found = chosen(
        text=text,
        label=lambda n: MOODS[n % 3],
        stars=lambda n: 3,
        source=lambda n: "ab"[n % 2],
        user_id=lambda n: f"u{n % 40}",
        retweets=lambda n: n % 4,
    )
    assert "could be the label" not in found.reason


def test_aspects_are_told_as_columns_of_one_kind() -> None:
    """CASA of IndoNLU: a sentiment for each of six parts of a car."""
    aspects = {name: lambda n, k=k: MOODS[(n + k) % 3] for k, name in enumerate(("fuel", "price"))}
    found = chosen(sentence=text, **aspects)
    assert found.options["label"] == "fuel"
    assert "2 columns have the same classes, and a recipe learns one of them" in found.reason


def test_the_group_is_the_one_that_is_told() -> None:
    columns = {
        "text": text,
        "label": lambda n: MOODS[n % 3],
        "Speaker": lambda n: f"speaker {n % 6}",
        "Dialogue_ID": lambda n: n // 10,
    }
    found = chosen(**columns)
    assert found.options["group"] == "Dialogue_ID"
    assert "rows of one `Dialogue_ID` together (or of one `Speaker`: data.group)" in found.reason
    # The wider of two that leave enough to draw: a patient has several visits.
    visits = columns | {"patient_id": lambda n: n // 15, "session_id": lambda n: n // 2}
    assert chosen(**visits).options["group"] == "patient_id"


# Annotators.


def votes(number: int) -> tuple[str, str, str]:
    """Three agree, or two of them; every tenth row has no majority."""
    mood = MOODS[number % 3]
    if number % 10 == 0:
        return MOODS[0], MOODS[1], MOODS[2]
    return mood, mood, MOODS[number % 2]


@pytest.mark.parametrize(
    "names",
    [
        ("ann_1", "ann_2", "ann_3"),
        ("annotator1", "annotator2", "annotator3"),
        ("Rater A", "Rater B", "Rater C"),
        ("label1", "label2", "label3"),
        ("sentiment_coder_1", "sentiment_coder_2", "sentiment_coder_3"),
    ],
    ids=lambda names: names[0],
)
def test_annotators_vote(names: tuple[str, str, str]) -> None:
    columns = {name: lambda n, k=k: votes(n)[k] for k, name in enumerate(names)}
    found = chosen(id=lambda n: n, text=text, **columns)
    assert (found.task, found.options) == (
        "text-classification",
        {"text": "text", "vote_columns": list(names), "on_bad_row": "skip"},
    )
    assert f"`{names[0]}` to `{names[2]}` are 3 annotators" in found.reason
    assert "30 of the first rows have no majority and are left out" in found.reason


def test_annotators_of_0_and_1_are_no_labels() -> None:
    columns = {f"rater{k}": lambda n, k=k: int(n % 3 > 0) if k else n % 2 for k in range(3)}
    assert chosen(text=text, **columns).options["vote_columns"] == ["rater0", "rater1", "rater2"]


def test_what_annotators_agreed_on_stands_before_them() -> None:
    columns = {f"label{k}": lambda n, k=k: votes(n)[k] for k in range(3)}
    found = chosen(text=text, gold_label=lambda n: MOODS[n % 3], **columns)
    assert found.options["label"] == "gold_label"


def test_levels_and_several_labels_are_no_annotators() -> None:
    """Coarse and fine classes differ; columns of a row's first and second mood never agree."""
    levels = chosen(text=text, label1=lambda n: "ab"[n % 2], label2=lambda n: f"c{n % 9}")
    assert "vote_columns" not in levels.options
    apart = {f"label{k}": lambda n, k=k: MOODS[(n + k) % 3] for k in (1, 2)}
    assert "vote_columns" not in chosen(text=text, **apart).options


def test_a_label_is_what_most_annotators_say(tmp_path: Path) -> None:
    rows = ["one,a,a,b", "two,b,b,b", "three,a,b,c", "four,a,,", "five,,,", "six,-,b,"]
    write_table(tmp_path / "t.csv", "text,r1,r2,r3", rows)
    bad = BadRows("skip")
    source = Csv(str(tmp_path / "t.csv"), vote_columns=["r1", "r2", "r3"], no_label="-")
    read = source.read(bad)["train"]
    assert [(row["text"], row["label"]) for row in read] == [
        ("one", "a"),
        ("two", "b"),
        ("four", "a"),
        ("six", "b"),
    ]
    assert bad.count == 2
    assert "t.csv:4: `a` and `b` have 1 votes each" in bad.places[0]
    assert "no label in any of these" in bad.places[1]


def test_votes_stand_in_place_of_a_label(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", "text,label,r1,r2", ["one,a,a,a"])
    with pytest.raises(ValueError, match=r"vote_columns stands in place of data\.label"):
        Csv(str(tmp_path / "t.csv"), label="label", vote_columns=["r1", "r2"]).read()
    with pytest.raises(ValueError, match=r"no column `r3` \(data\.vote_columns\)"):
        Csv(str(tmp_path / "t.csv"), vote_columns=["r1", "r3"]).read()


# Joined labels.

KINDS = ("abusive", "fearful", "hateful", "normal")
JOINS = [
    "_".join(kind for bit, kind in enumerate(KINDS) if number >> bit & 1) for number in range(1, 14)
]


def test_labels_joined_into_one_are_several() -> None:
    """MLMA: 48 classes of six words."""
    found = chosen(tweet=text, sentiment=lambda n: JOINS[n % 13])
    assert found.task == "multi-label-classification"
    assert found.options["label_separator"] == "_"
    assert "joined by `_` (" in found.reason
    assert "13 in all, of 4 labels" in found.reason
    assert "task: text-classification, without data.label_separator" in found.reason


@pytest.mark.parametrize(
    ("labels", "mark"),
    [
        (JOINS, "_"),
        ([label.replace("_", "+") for label in JOINS], "+"),
        # No word stands alone, in twos and in threes.
        ([f"{a}-{b}{c}" for a in "xyz" for b in "xyz" for c in ("", "-x", "-y", "-z")], "-"),
        # Names with a word in common, a grid of names, numbers.
        (["card_arrival", "card_linking", "card_swallowed", "card_lost", "card"], None),
        ([f"{size}_{colour}" for size in KINDS for colour in ("red", "green", "blue")], None),
        ([f"{a}_{b}" for a in range(9) for b in range(9)] + [str(a) for a in range(9)], None),
        (["good", "very good", "bad", "very bad"], None),
        ([], None),
    ],
)
def test_joins_are_told_from_names(labels: list[str], mark: str | None) -> None:
    found = joined_by(labels)
    assert (found and found[0]) == mark


def checked(labels: list[str], task: Any = TEXTS) -> Splits:
    rows = [{"text": f"text {n}", "label": labels[n % len(labels)]} for n in range(260)]
    return load_splits(Data(source="rows"), task, {"train": rows})


def test_check_tells_of_joined_labels() -> None:
    (note,) = [note for note in checked(JOINS).notes if "joined by" in note]
    assert "the 13 labels are 4 words joined by `_`" in note
    assert "task: multi-label-classification, data.label_separator: '_'" in note
    assert not any("joined by" in note for note in checked(list(KINDS)).notes)


# Words for no label.


@pytest.mark.parametrize("word", ["nan", "None", "<NA>", "null", "N/A"])
def test_check_tells_of_a_word_for_no_label(word: str) -> None:
    (note,) = [note for note in checked([*KINDS[:3], word]).notes if "Is it a class" in note]
    assert f"65 of 260 rows have the label `{word}`" in note
    assert f"data.no_label: {word!r} and data.on_bad_row: skip" in note


def test_none_in_small_letters_is_a_class_like_any_other() -> None:
    assert not any("Is it a class" in note for note in checked(["for", "against", "none"]).notes)


def test_what_pandas_writes_for_no_label_is_left_out() -> None:
    found = chosen(text=text, label=lambda n: "nan" if n % 30 == 0 else MOODS[n % 3])
    assert (found.options["no_label"], found.options["on_bad_row"]) == ("nan", "skip")
    assert "10 of the first rows have `nan` for a label: left out" in found.reason


def test_none_may_be_a_class() -> None:
    found = chosen(text=text, label=lambda n: "None" if n % 5 == 0 else MOODS[n % 3])
    assert "no_label" not in found.options
    assert "60 of the first rows have `None` or the like for a label: a class" in found.reason
    assert "data.no_label and on_bad_row: skip" in found.reason


# Groups that are numbered anew in each file.


def told_of(train: list[object], test: list[object]) -> list[str]:
    """What is told of groups, the texts all different."""
    rows = {
        split: [
            {"text": f"{split} {n}", "label": "ab"[n % 2], "group": str(group)}
            for n, group in enumerate(groups)
        ]
        for split, groups in {"train": train, "validation": [], "test": test}.items()
    }
    rows["validation"] = [{"text": f"v {n}", "label": "ab"[n], "group": "-"} for n in range(2)]
    return [note for note in repeated(rows, TEXTS) if "group" in note]


def counted(count: int, each: int = 4, first: int = 0) -> list[object]:
    return [first + n // each for n in range(count * each)]


def test_dialogues_that_are_counted_anew_are_no_leak() -> None:
    """MELD: Dialogue_ID begins at 0 in train, dev and test."""
    (note,) = told_of(counted(40), counted(12))
    assert "numbered from 0 to 11 in their order, those of train to 39" in note
    assert not note.startswith("warning")
    # One row of a dialogue, and a few that lack.
    assert not told_of(counted(40), counted(9)[1:])[0].startswith("warning")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (counted(40), [3, 3, 17, 20]),
        ([n % 8 for n in range(80)], [n % 8 for n in range(16)]),
        ([f"p{n // 4}" for n in range(80)], ["p0", "p1"]),
        (counted(40), counted(12, first=28)),
        ([5, 1, 4, 0, 2, 3], counted(4)),
    ],
    ids=["some patients", "all in turn", "names", "the last ones", "no order"],
)
def test_patients_in_both_files_are_a_leak(train: list[object], test: list[object]) -> None:
    (note,) = told_of(train, test)
    assert note.startswith("warning")
    shared = Counter(map(str, train))
    assert f"{sum(str(group) in shared for group in test)} of {len(test)} test rows" in note


def test_as_many_groups_in_both_files_are_told_with_the_doubt() -> None:
    (note,) = told_of(counted(20), counted(20, each=1))
    assert note.startswith("warning")
    assert note.endswith("unless their numbers begin anew in each file")
