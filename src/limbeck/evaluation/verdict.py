"""Was it worth it, and is the model still good? What the figures of a run's arms mean.

The arms, by what each starts from and learns from:

- `teacher`: what is to be kept.
- `plain`: the student from the weights that were there before the teacher was tuned; labels alone.
- `cut`: the student from the tuned teacher's layers; labels alone.
- `kd`: the student as the recipe says, from labels and the teacher's answers.
- `ptq`: the teacher itself, quantized afterwards. `qat`: `plain`, quantized in its training.
- `kd+ptq`: `kd`, quantized afterwards. `joint`: `kd`, quantized in its training.

A gain is what one arm has over another that differs from it in one thing (`GAINS`). Which
differences are more than chance, `compare.py` says.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from limbeck.evaluation.bootstrap import ALPHA
from limbeck.evaluation.compare import Answers, Difference, difference
from limbeck.recipe.model import Verdict

# The first of these that was run is judged and shipped: the later in the flow, the earlier here.
JUDGED = ("joint", "kd+ptq", "qat", "ptq", "kd", "cut", "plain", "teacher")
# What helped -> the arm that had it, and the one that lacked nothing else. `plain` had nothing of
# the teacher, neither answers nor weights; `cut` its weights.
GAINS = {
    "teacher": ("kd", "plain"),
    "answers": ("kd", "cut"),
    "joint": ("joint", "kd+ptq"),
}

# What needs no network: the arm of a linear model, and one answer for every row (`chance.py`).
BASELINE = "baseline"
CONSTANT = "constant"


@dataclass(frozen=True)
class Bar:
    """What a model must be shown to beat: who does not has learned too little.

    `name`: BASELINE or CONSTANT. `words`: what it is. `answers`: its own to the test rows.
    `is_perfect`: whether nothing can be better on these rows.
    """

    name: str
    words: str
    answers: Answers
    is_perfect: bool = False


def judged_arm(names: Iterable[str]) -> str:
    """Of the arms of a run, the one that is judged and shipped."""
    return min((name for name in names if name in JUDGED), key=JUDGED.index)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a verdict is made from.

    `answers`: of each arm to the test rows, by the judged metric, as a user is answered.
    `learned`: the same by the most probable labels, where costs make other answers of them: whether
        a model has learned anything must not hang on what the user wants answered.
    `speedup`, `speedup_ci95`: how many times as fast as the teacher, and the interval of that.
    `bars`: what student and teacher must beat.
    `undertrained`: of teacher and student, what says that it was trained too little.
    """

    answers: Mapping[str, Answers]
    speedup: float
    speedup_ci95: Sequence[float] | None = None
    bars: Sequence[Bar] = ()
    undertrained: Mapping[str, Sequence[str]] = field(default_factory=dict)
    learned: Mapping[str, Answers] | None = None

    @property
    def knowledge(self) -> Mapping[str, Answers]:
        """What is held against the bars, and what gains are of."""
        return self.answers if self.learned is None else self.learned

    @property
    def judged(self) -> str:
        """The arm that is judged."""
        return judged_arm(self.answers)

    @property
    def drop(self) -> Difference:
        """By how much the judged arm is worse than the teacher."""
        return difference(self.answers["teacher"], self.answers[self.judged])


def judge_arms(found: Evidence, asked: Verdict) -> dict[str, Any]:
    """report.json's verdict.

    The student is kept when a test rejects, at 5 %, that it drops by `asked.max_drop` or more, when
    it is as fast and as good as asked, when it is better than every bar (what knows nothing has
    nothing to lose), and when neither was trained too little. What is wrong with a teacher that the
    student is shown to beat in that (a bar, or its own score) is told, and is no reason against the
    student.
    """
    own = found.answers[found.judged]
    # 1. Has either learned anything? What knows nothing loses nothing.
    reasons, notes = learned_too_little(found)
    notes += allows_all(found, asked.max_drop)
    # 2. How much was lost.
    drop = found.drop
    p_noninferior = drop.p_at_least(asked.max_drop)
    if p_noninferior > ALPHA:
        reasons.append(
            f"a drop of more than {asked.max_drop:g} is not ruled out (p = {p_noninferior:.3f}; "
            f"its 95 % interval, allowing for rows unlike these, ends at {drop.interval()[1]:.4f})"
            f"{told_rows(drop, own, asked.max_drop)}"
        )
    elif drop.interval()[1] > asked.max_drop:
        notes.append(
            "the interval of the drop has two sides, and ends above what is allowed; the test that "
            f"decides has one, and rules out {asked.max_drop:g} and more (p = {p_noninferior:.3f})"
        )
    # 3. What was asked for beside.
    if asked.min_metric is not None and own.value < own.sign * asked.min_metric:
        reasons.append(f"it scores {own.level:.4f}, {asked.min_metric:g} asked")
    reasons += too_slow(found, asked.min_speedup)
    verdict = {
        "kept": not reasons,
        "reasons": reasons,
        "notes": notes,
        "bars": [beaten(bar, found.knowledge[found.judged]) for bar in found.bars],
        "drop": drop.value,
        "drop_ci95": drop.interval(),
        "max_drop": asked.max_drop,
        "min_speedup": asked.min_speedup,
        "test": drop.test,
        "p_noninferior": p_noninferior,
        "speedup": found.speedup,
        "speedup_ci95": found.speedup_ci95,
    }
    verdict["gains"] = gains(found)
    return verdict


def allows_all(found: Evidence, max_drop: float) -> list[str]:
    """That the drop which is allowed is more than what the teacher has learned."""
    teacher = found.knowledge["teacher"]
    told = []
    for bar in found.bars:
        lead = teacher.value - bar.answers.value
        if bar.name == CONSTANT and 0 < lead <= max_drop:
            told.append(
                f"`verdict.max_drop` {max_drop:g} allows to lose all that `teacher` is better by "
                f"than {bar.words} ({lead:.4f}), so that little is proven: write at most "
                f"{lead / 2:.2g}"
            )
    return told


def too_slow(found: Evidence, asked: float) -> list[str]:
    """That the speed asked for was not shown: the low end of the interval counts, so that nothing
    passes by noise."""
    low, high = found.speedup_ci95 or (found.speedup, found.speedup)
    if low >= asked:
        return []
    faster = f"{found.speedup:.3g} [{low:.3g}, {high:.3g}] times as fast as the teacher"
    if found.speedup < asked:
        return [f"{faster}, {asked:g} asked"]
    return [f"{faster}, and {asked:g} asked is not shown: measure more rows (verdict.latency_rows)"]


def is_shown_better(first: Answers, second: Answers) -> bool:
    """Whether a test rejects, at 5 %, that the first is no better than the second."""
    return difference(first, second).p_at_most(0) <= ALPHA


def is_above_chance(own: Answers, bars: Iterable[Bar]) -> bool:
    """Whether a model is shown to know more than one answer for every row; where there is no such
    bar, it is taken to."""
    return all(is_shown_better(own, bar.answers) for bar in bars if bar.name == CONSTANT)


def learned_too_little(found: Evidence) -> tuple[list[str], list[str]]:
    """What teacher and student have not learned: as reasons against the student, and as notes,
    where it concerns the teacher alone and the student does better."""
    judged, answers = found.judged, found.knowledge
    reasons: list[str] = []
    notes: list[str] = []
    # No training is to blame for what is not better than perfect.
    bars = found.bars
    if any(bar.is_perfect for bar in bars):
        bars = ()
        reasons.append(
            "one answer for every row is right for all of this test split, so that it can show "
            "nothing of a model. Give test rows of every label"
        )
    for bar in bars:
        # The teacher may itself be what is judged.
        compared = dict.fromkeys(("teacher", judged))
        poor = [arm for arm in compared if not is_shown_better(answers[arm], bar.answers)]
        told = [below(arm, answers[arm], bar) for arm in poor]
        (reasons if judged in poor else notes).extend(told)
    is_better = is_shown_better(answers[judged], answers["teacher"])
    for arm, words in found.undertrained.items():
        told = [f"`{arm}` {each}" for each in words]
        (notes if arm == "teacher" and is_better else reasons).extend(told)
    return reasons, notes


def told_rows(drop: Difference, own: Answers, max_drop: float) -> str:
    """How many test rows would prove what these cannot; nothing where the drop itself is to blame,
    or no number would."""
    if max_drop == 0 or drop.value >= max_drop:
        return ""
    num_rows = own.num_rows
    needed = drop.rows_to_prove(max_drop)
    if needed <= num_rows:
        return ""
    rows = "test rows that differ" if own.has_copies else "test rows"
    return (
        f": {num_rows:,} {rows} cannot prove it, {drop.seen}; about {needed:,} would where "
        "nothing is lost (80 % power)"
    )


def below(arm: str, own: Answers, bar: Bar) -> str:
    """That an arm is not shown to be better than a bar, and what follows."""
    has_lead = own.value > bar.answers.value
    lead = f"its lead, at {own.level:.4f}, may be chance" if has_lead else f"it has {own.level:.4f}"
    follows = {
        CONSTANT: "It has learned nothing that this test set can show",
        # Of texts that its tokenizer does not know no training makes up for another model.
        BASELINE: "Train it longer, on more rows, or start from a model that was trained before on "
        "data like these (texts in their language); where nothing helps, the linear model is "
        "smaller and faster",
    }
    return (
        f"`{arm}` is not shown to be better than {bar.words} ({bar.answers.level:.4f}): {lead}. "
        f"{follows[bar.name]}"
    )


def beaten(bar: Bar, own: Answers) -> dict[str, Any]:
    """A bar as report.json has it, with the lead of the judged arm."""
    lead = difference(own, bar.answers)
    return {
        "name": bar.name,
        "words": bar.words,
        "level": bar.answers.level,
        "lead": lead.value,
        "lead_ci95": lead.interval(),
        "is_beaten": is_shown_better(own, bar.answers),
    }


def gains(found: Evidence) -> list[dict[str, Any]]:
    """What helped, of the arms that were run: each gain with its interval.

    `at_chance`: neither arm is shown to be better than one answer for every row, so that their
    difference says nothing.
    """
    answers = found.knowledge
    known: list[dict[str, Any]] = []
    for name, (arm, control) in GAINS.items():
        if arm not in answers or control not in answers:
            continue
        has_learned = [is_above_chance(answers[each], found.bars) for each in (arm, control)]
        won = difference(answers[arm], answers[control])
        row = {
            "name": name,
            "arm": arm,
            "control": control,
            "gain": won.value,
            "ci95": won.interval(),
            "seeds": len(answers[arm].seeds),
            "at_chance": not any(has_learned),
        }
        known.append(row)
    return known
