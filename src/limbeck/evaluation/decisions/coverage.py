"""What answering fewer rows buys: risk against coverage, and the cascade.

Risk is the share of answered rows that are wrong, coverage the share that is answered (El-Yaniv and
Wiener, 2010, JMLR 11). In a cascade the rows that are not answered go to the teacher: quality and
cost of both together, at each threshold. Shapes: N rows, P units.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from limbeck.evaluation.decisions.decision import Decision
from limbeck.evaluation.scores import told_quality
from limbeck.tasks import Scored, Task

# Points of a curve, by coverage.
POINTS = 20
# Of a cascade, each of which judges the whole split anew.
CASCADE_POINTS = 10


def thresholds(confidence: np.ndarray, points: int) -> list[float]:
    """Thresholds of which each answers as many rows more, from few rows to all."""
    # Equal confidences stand or fall together, so that there may be fewer points.
    falling = np.sort(confidence)[::-1]
    last = np.unique(np.arange(1, points + 1) * len(falling) // points) - 1
    found = dict.fromkeys(falling[last[last >= 0]].tolist())
    return list(found)


def coverage_curve(scored: Scored, decision: Decision) -> list[dict[str, float]]:
    """Threshold, coverage and error of the answered rows; `scored`: the artifact's logits."""
    judged = decision.judged(scored)
    curve = []
    for threshold in thresholds(judged.confidence, POINTS):
        answered, errors = judged.answered(threshold)
        curve.append(
            {
                "threshold": threshold,
                "coverage": answered / len(judged.wrong),
                "error": errors / answered,
            }
        )
    return curve


def cascade_curve(
    student: Scored,
    decision: Decision,
    teacher: Scored,
    task: Task,
    milliseconds: tuple[float, float],
) -> list[dict[str, Any]]:
    """Quality and cost of student and teacher together, at each threshold.

    student: the artifact's logits; teacher: what answers the rows that it does not.
    milliseconds: of an answer of student and of teacher. A row that both are asked costs both.

    Gives `threshold`, `coverage`, `metrics` and `ms` (the mean of a row), the teacher's part rising
    from none.
    """
    confidence = decision.confidence(student.logits, student.offsets)
    curve = []
    for threshold in [0.0, *thresholds(confidence, CASCADE_POINTS)[::-1], np.inf]:
        # At 0 the student answers all, at infinity none.
        is_answered = confidence >= threshold
        mixed = together(student, decision, teacher, is_answered, task)
        coverage = float(is_answered.mean())
        own, of_teacher = milliseconds
        curve.append(
            {
                # JSON has no infinity.
                "threshold": threshold if np.isfinite(threshold) else None,
                "coverage": coverage,
                "metrics": told_quality(mixed, task),
                "ms": own + (1 - coverage) * of_teacher,
            }
        )
    return curve


def together(
    student: Scored, decision: Decision, teacher: Scored, is_answered: np.ndarray, task: Task
) -> Scored:
    """The student's answers to the rows that it answers, the teacher's to the others."""
    own = decision.scored(student)
    of_unit = np.repeat(is_answered, np.diff(student.offsets))
    logits = np.where(of_unit[:, None], own.logits, teacher.logits)
    # As decided: logits of two models are on two scales.
    shape = (-1, *[1] * (task.decisions(own).ndim - 1))
    chosen = np.where(of_unit.reshape(shape), task.decisions(own), task.decisions(teacher))
    return replace(own, logits=logits, decided=chosen)
