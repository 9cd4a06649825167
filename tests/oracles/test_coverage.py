"""What the verdict's intervals and tests promise, by simulation: `pytest -m nightly -s tests/oracles/test_coverage.py`.

Test splits are drawn from a population whose drop is known; two models answer them, and change few answers (as few as
the drop takes, or one in a hundred) or many (one in five). Intervals must hold the true drop in at least 93 % of all
splits, and a student that drops by just what is allowed may be kept in at most 5 %, and three standard errors of the
simulation. Printed: a line for each case.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from limbeck.evaluation.bootstrap import ALPHA
from limbeck.evaluation.compare import Judged, MetricDifference, difference, level_interval
from limbeck.evaluation.scores import quality
from limbeck.tasks import Scored
from limbeck.tasks.text_classification import TextClassification
from limbeck.tasks.token_classification import TokenClassification

TEXT: Any = TextClassification(["a", "b", "c"], "")
TAGS: Any = TokenClassification(["O", "B-LOC", "B-PER"], "")
SPLITS = 1000
LEAST_COVERAGE = 0.93
LARGEST_ERROR = ALPHA + 3 * (ALPHA * (1 - ALPHA) / SPLITS) ** 0.5
# Rows of the population from which the true drop is computed.
POPULATION = 1_000_000

Pair = tuple[Scored, Scored]
Draw = Callable[[np.random.Generator, int, float, float], Pair]


def decided(answers: np.ndarray, labels: np.ndarray, offsets: np.ndarray) -> Scored:
    return Scored(np.eye(3)[answers], labels, offsets)


def topics(generator: np.random.Generator, rows: int, lost: float, won: float) -> Pair:
    """Rows of three classes of 60, 30 and 10 %; 85 % are right at first, and `lost` and `won` change."""
    labels = generator.choice(3, rows, p=[0.6, 0.3, 0.1])
    chance = generator.random(rows)
    is_lost, is_won = chance < lost, (chance >= lost) & (chance < lost + won)
    both = (chance >= lost + won) & (chance < 0.85 + won)
    first = (labels + generator.integers(1, 3, rows)) % 3
    # What both have wrong, they have wrong in the same way.
    second = np.where(is_lost, (labels + generator.integers(1, 3, rows)) % 3, first)
    offsets = np.arange(rows + 1)
    before = np.where(is_lost | both, labels, first)
    after = np.where(is_won | both, labels, second)
    return decided(before, labels, offsets), decided(after, labels, offsets)


def texts(generator: np.random.Generator, rows: int, lost: float, won: float) -> Pair:
    """Sentences of 3 to 20 words, a quarter of them entities; some sentences are hard, and words that change stand
    in a few sentences together (both by an effect of the sentence)."""
    lengths = generator.integers(3, 21, rows)
    row_of_word = np.repeat(np.arange(rows), lengths)
    words = len(row_of_word)
    labels = generator.choice(3, words, p=[0.75, 0.15, 0.10])
    right = generator.beta(8.5, 1.5, rows)[row_of_word]
    changing = generator.gamma(0.5, 2.0, rows)[row_of_word]
    was_right = generator.random(words) < right
    chance = generator.random(words)
    is_lost = was_right & (chance < np.minimum(lost * changing / 0.85, 1))
    is_won = ~was_right & (chance < np.minimum(won * changing / 0.15, 1))
    wrong = (labels + generator.integers(1, 3, words)) % 3
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    before = np.where(was_right, labels, wrong)
    after = np.where((was_right & ~is_lost) | is_won, labels, wrong)
    return decided(before, labels, offsets), decided(after, labels, offsets)


CASES = {
    "accuracy": (TEXT, topics),
    "macro_f1": (TEXT, topics),
    "f1": (TAGS, texts),
}


def true_drop(task: Any, draw: Draw, metric: str, lost: float, won: float) -> float:
    rows = POPULATION if task is TEXT else POPULATION // 10
    pair = draw(np.random.default_rng(7), rows, lost, won)
    before, after = (quality(scored, task)[metric] for scored in pair)
    return before - after


@pytest.mark.nightly
@pytest.mark.parametrize("changed", [0.01, 0.2], ids=["rare", "common"])
@pytest.mark.parametrize("drop", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("rows", [30, 60, 200, 1000])
@pytest.mark.parametrize("metric", list(CASES))
def test_intervals_cover_and_the_test_seldom_errs(
    metric: str, rows: int, drop: float, changed: float
) -> None:
    task, draw = CASES[metric]
    share = max(changed, drop)
    lost, won = (share + drop) / 2, (share - drop) / 2
    truth = true_drop(task, draw, metric, lost, won)
    generator = np.random.default_rng([rows, int(100 * drop), int(100 * changed)])
    below, above, kept, widths = 0, 0, 0, 0.0
    for _ in range(SPLITS):
        before, after = draw(generator, rows, lost, won)
        found = difference(Judged([before], task).by(metric), Judged([after], task).by(metric))
        low, high = found.interval()
        below += truth < low
        above += truth > high
        widths += high - low
        # As p <= 5 %, without the search for p.
        end = (
            found.estimate.upper_end(ALPHA)
            if isinstance(found, MetricDifference)
            else paired_end(found, truth)
        )
        kept += end < truth
    coverage = 1 - (below + above) / SPLITS
    print(
        f"| {metric} | {rows} | {drop:g} | {changed:g} | {truth:.4f} | {coverage:.3f} | "
        f"{below / SPLITS:.3f} | {above / SPLITS:.3f} | {widths / SPLITS:.3f} | {kept / SPLITS:.3f} |"
    )
    assert coverage >= LEAST_COVERAGE
    assert kept / SPLITS <= LARGEST_ERROR


def few_of_one(
    generator: np.random.Generator, rows: int, share: float, recall: float, lost: float
) -> Pair:
    """Two labels of many rows and one of a few, which is found by `recall`, and answered for one other row in 300;
    the second model loses `lost` of the seldom label's right rows, and one in a hundred of the others'."""
    labels = generator.choice(3, rows, p=[(1 - share) / 2, (1 - share) / 2, share])
    is_seldom, chance, later = labels == 2, generator.random(rows), generator.random(rows)
    before = np.where(is_seldom & (chance > recall), 0, labels)
    before[~is_seldom & (chance < 0.03)] = 1 - labels[~is_seldom & (chance < 0.03)]
    before[~is_seldom & (chance > 1 - 1 / 300)] = 2
    after = np.where(is_seldom & (before == 2) & (later < lost), 0, before)
    turned = ~is_seldom & (before == labels) & (later < 0.01)
    after[turned] = 1 - labels[turned]
    offsets = np.arange(rows + 1)
    return decided(before, labels, offsets), decided(after, labels, offsets)


@pytest.mark.nightly
@pytest.mark.parametrize("lost", [0.0, 0.3])
@pytest.mark.parametrize("recall", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("seldom", [2, 5, 9])
@pytest.mark.parametrize("rows", [300, 600])
def test_macro_f1_of_a_seldom_label_covers(
    rows: int, seldom: int, recall: float, lost: float
) -> None:
    """Level and drop, over the splits that have the label at all."""
    share = seldom / rows
    pair = few_of_one(np.random.default_rng(7), POPULATION, share, recall, lost)
    first, level = (quality(scored, TEXT)["macro_f1"] for scored in pair)
    generator = np.random.default_rng([rows, seldom, int(100 * recall)])
    covered: list[tuple[bool, bool]] = []
    while len(covered) < SPLITS:
        before, after = few_of_one(generator, rows, share, recall, lost)
        if not (before.labels == 2).any():
            continue
        arms = [Judged([scored], TEXT).by("macro_f1") for scored in (before, after)]
        low, high = level_interval(arms[1], "macro_f1")
        least, most = difference(*arms).interval()
        covered.append((low <= level <= high, least <= first - level <= most))
    of_level, of_drop = np.mean(covered, 0)
    print(f"| {rows} | {seldom} | {recall} | {lost} | {of_level:.3f} | {of_drop:.3f} |")
    assert min(of_level, of_drop) >= LEAST_COVERAGE


def paired_end(found: Any, truth: float) -> float:
    """Below the truth where p <= 5 %."""
    return truth - 1 if found.p_at_least(truth) <= ALPHA else truth + 1


@pytest.mark.nightly
@pytest.mark.parametrize("spread", [0.0, 0.01, 0.03])
@pytest.mark.parametrize("seeds", [3, 5])
def test_gains_over_seeds_cover(seeds: int, spread: float) -> None:
    """Two arms whose seeds differ by `spread` (standard deviation of accuracy), on rows some of which are hard for all."""
    rows, gain = 300, 0.02
    generator = np.random.default_rng([seeds, int(100 * spread)])
    labels = np.zeros(rows, np.int64)
    offsets = np.arange(rows + 1)

    def arm(mean: float, easy: np.ndarray) -> list[Scored]:
        found = []
        for level in generator.normal(mean, spread, seeds):
            # Half of the rows are nearly sure; the seeds move the others.
            chance = np.where(easy < 0.5, 0.99, 2 * level - 0.99)
            found.append(decided((generator.random(rows) > chance).astype(int), labels, offsets))
        return found

    covered = claimed = 0
    for _ in range(SPLITS):
        easy = generator.random(rows)
        arms = [Judged(arm(0.8 + more, easy), TEXT).by("accuracy") for more in (gain, 0.0)]
        low, high = difference(*arms).interval()
        # Rows are drawn too, and with them how many are easy: of both arms alike.
        covered += low <= gain <= high
        claimed += low > 0
    print(f"| {seeds} | {spread:g} | {covered / SPLITS:.3f} | {claimed / SPLITS:.3f} |")
    assert covered / SPLITS >= LEAST_COVERAGE


@pytest.mark.nightly
@pytest.mark.parametrize("drop", [0.0, 0.05])
@pytest.mark.parametrize(("clusters", "change"), [(60, 0.1), (200, 0.05), (200, 0.3)])
def test_rows_that_stand_often_prove_no_more(clusters: int, change: float, drop: float) -> None:
    """Inputs that stand 1 to 60 times (Zipf), all copies of one answered alike: no lead and no kept
    drop is claimed more often than it may be."""
    generator = np.random.default_rng([clusters, int(100 * change), int(100 * drop)])
    covered = kept = led = 0
    for _ in range(SPLITS):
        sizes = np.minimum(generator.zipf(1.8, clusters), 60)
        cluster_of_row = np.repeat(np.arange(clusters), sizes)
        before = (generator.random(clusters) < 0.2).astype(int)
        after = before.copy()
        chance = generator.random(clusters)
        lost, won = (change + drop) / 2, (change - drop) / 2
        before[chance < lost], after[chance < lost] = 0, 1
        is_won = (chance >= lost) & (chance < lost + won)
        before[is_won], after[is_won] = 1, 0
        labels, offsets = np.zeros(sizes.sum(), np.int64), np.arange(sizes.sum() + 1)
        arms = []
        for answers in (before, after):
            scored = decided(answers[cluster_of_row], labels, offsets)
            arms.append(Judged([scored], TEXT, cluster_of_row).by("accuracy"))
        found = difference(*arms)
        low, high = found.interval()
        covered += low <= drop <= high
        kept += found.p_at_least(drop) <= ALPHA
        led += found.p_at_most(drop) <= ALPHA
    figures = [each / SPLITS for each in (covered, kept, led)]
    print(
        f"| {clusters} | {change:g} | {drop:g} | {' | '.join(f'{each:.3f}' for each in figures)} |"
    )
    assert figures[0] >= LEAST_COVERAGE
    assert max(figures[1:]) <= LARGEST_ERROR
