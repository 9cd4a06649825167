"""Has the world changed: what is observed, reference.json, counts of several processes, and windows that alarm."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import drift_streams
import numpy as np
import pytest
from drift_streams import World, reference_from, shares_of, stream
from hypothesis import given
from hypothesis import strategies as st
from task_examples import IMAGE, INTENT, SCORE, SEVERAL, TEXT, VECTOR
from test_artifact import artifact as artifact
from test_artifact import table_runtime as table_runtime

import limbeck
from limbeck.artifact import manifest
from limbeck.core.files import write_json
from limbeck.evaluation.decisions.decision import Decision
from limbeck.evaluation.drift import tally as tallies
from limbeck.evaluation.drift.observing import fingerprint, observed
from limbeck.evaluation.drift.reference import FILE, Reference, edges_of, reference_of
from limbeck.evaluation.drift.tally import NUM_BUCKETS, Tally, num_counts, with_counts
from limbeck.evaluation.drift.watch import EARLIER, VALIDATION, Look, Watch, look_at
from limbeck.tasks.token_classification import TokenClassification

NAMED = {"name": "label", "kind": "one", "names": ["a", "b"], "counts": [3, 1]}
BINNED = {"name": "length", "kind": "ordered", "edges": [2.5, 4, 9], "counts": [0, 3, 1, 0]}
SETS = {"name": "labels", "kind": "several", "names": ["a", "b"], "counts": [4, 1]}
CONTENT = {"schema": 1, "rows": 4, "statistics": [NAMED, BINNED, SETS]}


# What is observed.


def test_what_is_observed_of_a_label() -> None:
    logits = np.log([[0.5, 0.3, 0.2]])
    answer = Decision(likelihood="categorical").answer(INTENT, {}, logits)
    encoded = INTENT.encode([{"text": "Ada lives in New York"}])[0]
    # Two special tokens beside the five words.
    expected = {"label": "call", "confidence": 0.5, "length": 7}
    assert observed({"text": ""}, encoded, answer) == expected


def test_what_is_observed_of_several_labels() -> None:
    p = np.array([[0.9, 0.6, 0.25]])
    answer = Decision(likelihood="bernoulli").answer(SEVERAL, {}, np.log(p / (1 - p)))
    found = observed({}, None, answer)
    # Each label as it is decided: .9 x .6 x .75.
    assert found == {"labels": ["call", "move"], "num_labels": 2, "confidence": 0.405}


def test_what_is_observed_of_a_sentence() -> None:
    # O, B-LOC, I-LOC, O, B-LOC: two entities of one type, three of five words.
    p = np.full((5, 5), 0.05)
    p[range(5), [0, 1, 2, 0, 1]] = 0.8
    row = {"words": ["in", "New", "York", ",", "York"]}
    answer = Decision(likelihood="categorical").answer(TEXT, row, np.log(p))
    found = observed(row, TEXT.encode([row])[0], answer)
    expected = {"entities": ["LOC"], "entity_share": 0.6, "confidence": round(0.8**5, 6)}
    assert found == expected | {"length": 7}


def test_what_is_observed_of_numbers_and_vectors() -> None:
    pair = {"text": "Ada lives in New York", "text_b": "a b"}
    answer = Decision(likelihood="gaussian").answer(SCORE, pair, np.array([[0.5]]))
    assert observed(pair, SCORE.encode([pair])[0], answer) == {"score": 2.5, "length": 10}
    # Of texts that are read apart a user sends one: 7 and 4 tokens are 5.5 a text.
    assert observed(pair, VECTOR.encode([pair])[0], {}) == {"length": 5.5}
    single = {"text": "Ada lives in New York"}
    assert observed(single, VECTOR.encode([single])[0], {}) == {"length": 7}


def test_what_is_observed_of_an_image() -> None:
    # Every fifth column is white; more pixels than are looked at.
    image = np.zeros((300, 500), np.uint8)
    image[:, ::5] = 255
    answer = {"label": "cat", "probability": 0.5}
    found = observed({"image": image}, IMAGE.encode([{"image": image}])[0], answer)
    assert found["brightness"] == pytest.approx(0.2, abs=0.01)
    assert found["pixels"] == 150_000
    small = np.full((2, 2, 3), 51, np.uint8)
    assert observed({"image": small}, None, answer)["brightness"] == 0.2


def test_an_input_that_is_sent_again_is_known() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    rows: list[dict[str, Any]] = [
        {"text": "one"},
        {"text": "one", "text_b": "two"},
        {"text": "one\udc80"},
        {"words": ["one", "two", "three"]},
        {"image": image},
        {"image": 255 - image},
    ]
    numbers = [fingerprint(row) for row in rows]
    assert len(set(numbers)) == len(rows)
    assert numbers == [fingerprint(dict(row)) for row in rows]


# reference.json.


def test_a_worked_reference() -> None:
    found = [
        {"label": "b", "entities": [], "length": 3},
        {"label": "b", "entities": ["LOC"], "length": 5},
        {"label": "a", "entities": ["PER", "LOC"], "length": 5, "score": 1.0},
    ]
    reference = reference_of(found, ["a", "b", "O", "B-LOC", "I-LOC", "B-PER"])
    label, entities, length = reference.statistics
    assert (label.kind, label.counts.tolist()) == ("one", [1, 2, 0, 0, 0, 0])
    # The types of tags whose schemes have them; a and b are tags without a scheme.
    assert dict(zip(entities.names, entities.counts.tolist(), strict=True)) == {
        "LOC": 2,
        "PER": 1,
        "a": 0,
        "b": 0,
    }
    # Below the least, up to the largest, and above.
    assert (length.edges, length.counts.tolist()) == ((2.999999, 5), [0, 3, 0])
    assert [length.categories(value)[0] for value in (2, 2.999999, 3, 5, 5.1)] == [0, 0, 1, 1, 2]
    assert length.told(0) == "length below 3" and length.told(1) == "length of at most 5"
    assert label.categories("nobody's") == []


@given(st.lists(st.floats(-1e6, 1e6).map(lambda value: round(value, 6)), min_size=1, max_size=300))
def test_every_value_of_validation_stands_between_the_outer_bins(values: list[float]) -> None:
    reference = reference_of([{"score": value} for value in values], [])
    (statistic,) = reference.statistics
    counts = statistic.counts.tolist()
    assert sum(counts) == len(values)
    assert counts[0] == counts[-1] == 0
    assert all(counts[1:-1])
    assert list(statistic.edges) == sorted(set(statistic.edges))
    assert Reference.of(json.loads(json.dumps(reference.to_json()))).to_json() == (
        reference.to_json()
    )


def test_bins_hold_about_as_many_rows() -> None:
    values = np.random.default_rng(0).permutation(1000).tolist()
    (statistic,) = reference_of([{"length": value} for value in values], []).statistics
    assert set(statistic.counts[1:-1].tolist()) <= {62, 63}
    assert len(statistic.edges) == 17
    # Of few rows fewer bins, and of one value one.
    assert len(edges_of(range(20))) == 3
    assert edges_of([7.0] * 500) == (6.999999, 7.0)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ([], "schema 1"),
        (CONTENT | {"schema": 2}, "schema 1"),
        (CONTENT | {"rows": 0}, "a number of rows"),
        (CONTENT | {"rows": True}, "a number of rows"),
        (CONTENT | {"statistics": None}, "a list of statistics"),
        *(
            (CONTENT | {"statistics": [each]}, "as many counts")
            for each in (
                "label",
                NAMED | {"kind": "other"},
                NAMED | {"name": 1},
                NAMED | {"names": ["a"]},
                NAMED | {"names": ["a", "a"]},
                NAMED | {"names": ["a", 1]},
                NAMED | {"names": []},
                NAMED | {"counts": [4, 1]},
                NAMED | {"counts": [-1, 1]},
                NAMED | {"counts": [1.0, 1]},
                NAMED | {"counts": [True, 1]},
                BINNED | {"edges": [2.5, 9, 4]},
                BINNED | {"edges": [2.5, 4]},
                BINNED | {"edges": None},
                SETS | {"counts": [5, 1]},
            )
        ),
    ],
)
def test_a_reference_that_means_nothing_is_refused(wrong: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Reference.of(wrong)


def test_an_artifact_carries_it(artifact: Path) -> None:
    assert limbeck.load(artifact).reference is None
    content = {"schema": 1, "rows": 4, "statistics": [NAMED]}
    write_json(artifact / FILE, content)
    with pytest.raises(manifest.BrokenArtifact, match=r"reference.json: the manifest does not"):
        limbeck.load(artifact)
    manifest.write_again(artifact)
    found = limbeck.load(artifact).reference
    assert found is not None and found.to_json() == content
    write_json(artifact / FILE, content | {"rows": 3})
    with pytest.raises(manifest.BrokenArtifact, match=r"reference.json: changed since"):
        limbeck.load(artifact)
    manifest.write_again(artifact)
    with pytest.raises(manifest.BrokenArtifact, match="as many counts was expected"):
        limbeck.load(artifact)


# Counts.


def test_two_processes_count_as_one() -> None:
    reference = Reference.of(CONTENT)
    board = np.zeros((3, num_counts(reference)), np.int64)
    generator = np.random.default_rng(0)
    found = [
        {"label": "ab"[number % 2], "length": float(number), "labels": ["b", "c"][: number % 3]}
        for number in generator.integers(0, 12, 100).tolist()
    ]
    for number, values in enumerate(found):
        # A row of its own for each process, one of which began again in between.
        Tally(reference, board[number % 2]).add_values(values, number)
        Tally(reference, board[2]).add_values(values, number)
    assert board[:2].sum(0).tolist() == board[2].tolist()
    assert board[2][0] == 100
    labels, lengths, sets = tallies.parts_of(reference, board[2])
    expected = Counter(values["label"] for values in found)
    assert labels.tolist() == [expected["a"], expected["b"]]
    assert lengths.sum() == 100
    # `c` is no label of this artifact.
    assert sets.tolist() == [0, sum("b" in values["labels"] for values in found)]
    assert board[2][-NUM_BUCKETS:].sum() == 100
    assert with_counts(reference, board[2]).rows == 100


def test_a_value_that_a_request_lacks_is_not_counted() -> None:
    reference = Reference.of(CONTENT)
    tally = Tally(reference, np.zeros(num_counts(reference), np.int64))
    tally.add({"text": "a"}, None, {"something": "else"})
    assert tally.counts.sum() == 2
    assert tally.counts[0] == 1


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_an_array_that_does_not_fit_is_refused(dtype: Any) -> None:
    reference = Reference.of(CONTENT)
    size = num_counts(reference) - (dtype is np.int64)
    with pytest.raises(ValueError, match="an int64 array of shape"):
        Tally(reference, np.zeros(size, dtype))


# Windows.


def watched(watch: Watch, steps: Any) -> tuple[int | None, np.ndarray]:
    """How many requests passed before the first alarm, None without one; and the last counts."""
    first = None
    counts = np.zeros(0, np.int64)
    start: int | None = None
    for counts in steps:
        start = counts[0] - drift_streams.STEP if start is None else start
        if watch.look(counts) and first is None:
            first = int(counts[0] - start)
    return first, counts


@pytest.mark.parametrize(("num_labels", "rows"), [(2, 200), (77, 60), (77, 1000)])
def test_unshifted_requests_raise_no_alarm(num_labels: int, rows: int) -> None:
    world = World(shares_of(num_labels), np.random.default_rng(num_labels))
    reference = reference_from(world, rows)
    watch = Watch(reference)
    first, _ = watched(watch, stream(reference, world, 15_000))
    assert first is None and watch.alarms == 0
    # Each window against validation, and the same against earlier requests.
    looks = watch.looks
    assert [(look.against, look.size) for look in looks] == [
        (VALIDATION, 500),
        (VALIDATION, 5000),
        (EARLIER, 500),
        (EARLIER, 5000),
    ]
    assert [look.rows for look in looks] == [rows, rows, 5000, 10_000]
    assert [look.requests for look in looks] == [500, 5000, 500, 5000]


@pytest.mark.parametrize(("num_labels", "rows"), [(77, 200), (77, 1000), (20, 10_000)])
def test_a_tenth_of_the_requests_to_one_label_is_seen_within_500(
    num_labels: int, rows: int
) -> None:
    world = World(shares_of(num_labels), np.random.default_rng(0))
    reference = reference_from(world, rows)
    watch = Watch(reference)
    none, counts = watched(watch, stream(reference, world, 6_000))
    assert none is None
    shifted = world.moved(0.1, to=num_labels - 1)
    first, _ = watched(watch, stream(reference, shifted, 500, counts))
    assert first is not None
    told = " ".join(look.in_words() for look in watch.looks if look.is_shifted)
    assert f"`{num_labels - 1}` " in told


def test_half_the_length_is_seen_within_500_and_told_once() -> None:
    world = World(shares_of(6), np.random.default_rng(0))
    reference = reference_from(world, 200)
    watch = Watch(reference)
    none, counts = watched(watch, stream(reference, world, 3_000))
    assert none is None
    told = []
    for after in stream(reference, world.shortened(), 2_000, counts):
        told += watch.look(after)
    # It stays, and is not told again; nor what is unlike validation and the requests before.
    (line,) = told
    assert watch.alarms == 1
    assert " unlike the " in line and "length of at most" in line
    shifted = [look.in_words() for look in watch.looks if look.is_shifted]
    assert any("unlike the 200 rows of validation: length of at most" in each for each in shifted)
    assert any("before them" in each for each in shifted)
    # When as many requests as the longest window holds have shown nothing, the alarm ends.
    assert watch.is_shifted(VALIDATION) and watch.is_shifted(EARLIER)
    for after in stream(reference, world, 25_000, counts):
        told += watch.look(after)
    assert not watch.is_shifted(VALIDATION)


def test_a_change_is_told_while_requests_are_unlike_validation_already() -> None:
    world = World(shares_of(77), np.random.default_rng(0))
    reference = reference_from(world, 1000)
    watch = Watch(reference)
    # From the first request on texts are shorter than validation's; then labels move, too.
    short = world.shortened()
    first, counts = watched(watch, stream(reference, short, 3_000))
    assert first is not None and watch.alarms == 1
    second, _ = watched(watch, stream(reference, short.moved(0.1, to=76), 500, counts))
    assert second is not None and watch.alarms == 2


def test_what_stays_is_soon_what_was_before() -> None:
    """Few rows of validation: a shift shows against earlier requests, and in the end does not."""
    world = World(shares_of(77), np.random.default_rng(1))
    reference = reference_from(world, 60)
    watch = Watch(reference)
    _, counts = watched(watch, stream(reference, world, 6_000))
    moved = world.moved(0.1, to=3)
    first, counts = watched(watch, stream(reference, moved, 1_000, counts))
    assert first is not None and watch.is_shifted(EARLIER)
    _, counts = watched(watch, stream(reference, moved, 62_000, counts))
    assert not watch.is_shifted(EARLIER)


def test_a_watch_that_looks_seldom_has_longer_windows() -> None:
    world = World(shares_of(6), np.random.default_rng(0))
    reference = reference_from(world, 1000)
    watch = Watch(reference)
    steps = [counts.copy() for counts in stream(reference, world, 9_000)]
    # 3,000 requests between looks: the short window holds what came in one.
    for counts in (np.zeros_like(steps[0]), *steps[59::60]):
        assert watch.look(counts) == []
    assert [look.requests for look in watch.looks] == [3000, 6000, 3000]
    assert watch.looks[2].rows == 6000
    # Asked twice, nothing has moved.
    before = watch.looks
    assert watch.look(counts) == [] and watch.looks == before


def test_who_begins_late_begins_with_what_comes() -> None:
    """A process that was started again, beside others that went on: its first window is no longer than any other."""
    world = World(shares_of(6), np.random.default_rng(0))
    reference = reference_from(world, 1000)
    watch = Watch(reference)
    steps = [counts.copy() for counts in stream(reference, world, 9_000)]
    # Sixteen times what the short window holds, and not yet twice the long one.
    for counts in steps[159:]:
        assert watch.look(counts) == []
    found = [(look.size, look.requests) for look in watch.looks]
    assert found == [(500, 500), (5000, 9000), (500, 500)]


def test_a_health_check_shows_as_one_input() -> None:
    world = World(shares_of(77), np.random.default_rng(0))
    reference = reference_from(world, 1000)
    watch = Watch(reference)
    told: list[str] = []
    for counts in stream(reference, world, 2_000):
        tally = Tally(reference, counts)
        for _ in range(10):
            tally.add_values({"label": "5", "confidence": 0.9, "length": 4.0}, 12345)
        told += watch.look(counts)
    assert "`5`" in told[0]
    assert told[0].endswith("of them are one input (a health check?)")
    (look, *_) = watch.looks
    assert look.repeated == pytest.approx(1 / 6, abs=0.01)


def test_counts_that_became_fewer_are_refused() -> None:
    reference = Reference.of(CONTENT)
    watch = Watch(reference)
    counts = np.full(num_counts(reference), 600, np.int64)
    watch.look(counts)
    counts = np.full(num_counts(reference), 1200, np.int64)
    counts[1] = 5
    with pytest.raises(ValueError, match="A process that begins again keeps its row"):
        watch.look(counts)
    with pytest.raises(ValueError, match="are expected, not an array"):
        watch.look(counts[1:])


def test_a_statistic_that_no_request_has_is_not_judged() -> None:
    reference = Reference.of(CONTENT)
    held = np.zeros(num_counts(reference), np.int64)
    held[0], held[-NUM_BUCKETS - 2 :][:2] = 500, (500, 120)
    # Labels, whose counts are of requests, have no index.
    (finding,) = look_at(reference, held, 500).findings
    assert finding.statistic == "labels"
    assert (finding.index, finding.by_chance, finding.limit) == (None, None, None)
    assert (finding.share, finding.of_reference, finding.is_shifted) == (1.0, 1.0, False)


def test_one_kind_of_rows_has_nothing_to_test() -> None:
    """All images of one size: no index has a limit, and another size is seen all the same."""
    reference = reference_of([{"pixels": 784}] * 100, [])
    held = np.zeros(num_counts(reference), np.int64)
    held[[0, 2, -1]] = 500
    look = look_at(reference, held, 500)
    assert not look.is_shifted and look.in_words() == ""
    held[[2, 3]] = 470, 30
    look = look_at(reference, held, 500)
    assert not look.is_shifted
    held[[2, 3]] = 400, 100
    look = look_at(reference, held, 500)
    assert "pixels of at most 784 80.0% (before 100.0%)" in look.in_words()


def test_of_a_number_each_bin_is_told_with_all_below_it() -> None:
    reference = Reference.of({"schema": 1, "rows": 4, "statistics": [BINNED]})
    held = np.zeros(num_counts(reference), np.int64)
    # Of validation all are at most 9.
    held[0], held[1:5] = 500, (100, 100, 100, 200)
    (finding,) = look_at(reference, held, 500).findings
    assert (finding.category, finding.share) == ("length of at most 9", 0.6)
    assert finding.of_reference == 1


def test_types_are_those_of_the_tags() -> None:
    task = TokenClassification(["O", "B-LOC", "I-LOC", "B-PER"], TEXT.preprocess)
    row = {"words": ["Ada", "lives"]}
    logits = np.array([[0.0, 0, 0, 5], [5, 0, 0, 0]])
    answer = Decision(likelihood="categorical").answer(task, row, logits)
    reference = reference_of([observed(row, None, answer)], task.labels)
    entities = reference.statistics[0]
    assert (entities.names, entities.counts.tolist()) == (("LOC", "PER"), [0, 1])


def test_looks_are_plain() -> None:
    """For metrics and pages: numbers, and words where something has shifted."""
    reference = Reference.of({"schema": 1, "rows": 4, "statistics": [NAMED]})
    held = np.zeros(num_counts(reference), np.int64)
    held[[0, 1]] = 500
    look = look_at(reference, held, 500)
    assert isinstance(look, Look)
    (finding,) = look.findings
    # Two labels are one question, which the index would ask again.
    assert (finding.category, finding.share, finding.of_reference) == ("`a`", 1.0, 0.75)
    assert finding.limit is None and finding.index is not None
    assert 0.05 < finding.p <= 1
