"""What a run has shown, in words: the sentence at the top, four figures, and who helped.

A drop is how much worse the shipped arm is than the teacher, and a gain how much better one arm is
than another, whichever way the metric points.
"""

from typing import Any

from limbeck.reports.arms import BASELINE, metric_title, shipped_arm
from limbeck.reports.drawing.overview import gain_plots
from limbeck.reports.numbers import (
    INTERVAL,
    TIMES,
    decimal,
    interval,
    percent,
    ratio_in_words,
    signed,
    times,
)

Json = dict[str, Any]

# Name of a gain -> the question that it answers, and its subject in a sentence.
GAINS = {
    "teacher": ("Did the teacher help?", "the teacher"),
    "answers": ("Did its answers help?", "the teacher's answers"),
    "joint": ("Did joint training help?", "joint training"),
}
# Key of the verdict, and its words for a ratio above 1 and below.
RATIOS = (("speedup", "faster", "slower"), ("compression", "smaller", "larger"))


def sentence(report: Json) -> str:
    """The outcome in one sentence."""
    metric = report["metric"]["name"]
    shipped = shipped_arm(report["arms"])
    score = decimal(report["arms"][shipped]["mean"].get(metric))
    scored = f"The {shipped} model scores {metric_title(metric)} {score}"
    if report["verdict"] is None:
        return f"No verdict was asked for: this run compared no arms. {scored}."
    # Speed and size come last, and only where they were measured.
    ratios = [
        ratio_in_words(report["verdict"].get(key), better, worse) for key, better, worse in RATIOS
    ]
    known = " and ".join(filter(None, ratios))
    end = f"; it is {known}" if known else ""
    text = f"{scored}{_against_teacher(report, shipped)}{_drop(report)}{end}."
    return f"{without_network(report['verdict'])}{text}"


def without_network(verdict: Json) -> str:
    """That a linear model scores more than the judged arm, as a sentence with a space behind it;
    nothing where it does not."""
    for bar in verdict.get("bars", []):
        if bar["name"] == BASELINE and bar["lead"] < 0:
            # Of two models that guess, one is always ahead.
            bounds = bar.get("lead_ci95")
            is_shown = bounds and bounds[1] < 0
            how = f"is better by {decimal(-bar['lead'])}" if is_shown else "does as well"
            return f"A linear model {how} ({bar['words']}: {decimal(bar['level'])}). "
    return ""


def _against_teacher(report: Json, shipped: str) -> str:
    """` against the teacher's ...`; nothing without a teacher."""
    teacher = report["arms"].get("teacher")
    if not teacher or shipped == "teacher":
        return ""
    return f" against the teacher's {decimal(teacher['mean'].get(report['metric']['name']))}"


def _drop(report: Json) -> str:
    """`, a drop of 0.0042 (95 % interval ...; at most ... allowed)`; nothing when not measured."""
    verdict = report["verdict"]
    drop = verdict.get("drop")
    if drop is None:
        return ""
    # A metric that should be low, such as an error, rises where quality is lost.
    worse, better = ("drop", "gain") if report["metric"]["higher_is_better"] else ("rise", "fall")
    details = []
    if verdict.get("drop_ci95"):
        # The interval keeps the sign of a drop, so beside a gain it must say what it is of.
        of = "" if drop >= 0 else f" of the {worse}"
        details.append(f"{INTERVAL}{of} {interval(verdict['drop_ci95'])}")
    if verdict.get("max_drop") is not None:
        details.append(f"at most {decimal(verdict['max_drop'])} allowed")
    text = f", a {better if drop < 0 else worse} of {decimal(abs(drop))}"
    return f"{text} ({'; '.join(details)})" if details else text


def figures(report: Json) -> list[Json]:
    """The four numbers under the sentence: name, value, and what was asked or how sure it is."""
    verdict = report["verdict"]
    if verdict is None:
        return []
    metric = metric_title(report["metric"]["name"])
    worse = "drop" if report["metric"]["higher_is_better"] else "rise"
    bounds = verdict.get("drop_ci95")
    asked = verdict.get("min_speedup")
    shipped = report["arms"][shipped_arm(report["arms"])]
    return [
        {
            "name": f"{_capital(metric)} {worse}",
            "value": decimal(verdict.get("drop")),
            "detail": f"{INTERVAL} {interval(bounds)}" if bounds else "no interval",
        },
        {
            "name": "Speed-up",
            "value": times(verdict.get("speedup")),
            # What was asked is said even where it was not reached: the verdict says that.
            "detail": f"at least {asked:g}{TIMES} asked" if asked else "over the teacher, medians",
        },
        {
            "name": "Compression",
            "value": times(verdict.get("compression")),
            "detail": "bytes on disk",
        },
        {
            "name": "Agreement",
            "value": percent(shipped.get("agreement")),
            "detail": "same answer as the teacher",
        },
    ]


def _capital(text: str) -> str:
    """The first letter in upper case and the rest as it is, unlike `str.capitalize`."""
    return text[0].upper() + text[1:]


def gains(report: Json) -> list[Json]:
    """Whether the teacher, its answers and joint training helped: question, answer, tone and proof
    of each that was measured."""
    if report["verdict"] is None:
        return []
    rows = report["verdict"]["gains"]
    plots = gain_plots(rows)
    return [
        {**_gain(report, row), "plot": plot, "arm": row["arm"]}
        for row, plot in zip(rows, plots, strict=True)
    ]


def _gain(report: Json, row: Json) -> Json:
    """Whether one arm beat another: an answer in a word, and the sentence that proves it."""
    question, _ = GAINS[row["name"]]
    metric = metric_title(report["metric"]["name"])
    arm, control, gain, bounds = row["arm"], row["control"], row["gain"], row["ci95"]
    low, high = bounds
    if row["at_chance"]:
        answer, tone = "No claim", "neutral"
        text = f"Neither {arm} nor {control} is shown to be better than one answer for every row."
    # An interval that contains 0 does not show that there is no difference, and is not told so.
    elif low <= 0 <= high:
        answer, tone = "Not shown", "neutral"
        text = (
            f"{arm} against {control}: {signed(gain)} {metric}, "
            f"but the {INTERVAL}, {interval(bounds)}, contains 0."
        )
    else:
        answer, tone, verb = "No, it hurt", "bad", "is worse than"
        if low > 0:
            answer, tone, verb = "Yes", "good", "beats"
        text = (
            f"{arm} {verb} {control} by {decimal(abs(gain))} {metric}{holds_for(row)} "
            f"({INTERVAL} of the gain {interval(bounds)})."
        )
    return {"question": question, "answer": answer, "tone": tone, "text": text}


def gain_line(row: Json) -> str:
    """A gain as a line of the terminal: what helped, over what, by how much."""
    _, subject = GAINS[row["name"]]
    low, high = row["ci95"]
    if row["at_chance"]:
        outcome = "no claim, for neither arm is shown to be better than one answer for every row"
    elif low > 0:
        outcome = "helped"
    else:
        outcome = "hurt" if high < 0 else "made no difference that this test set can show"
    figures = f"{row['gain']:+.4f} [{low:+.4f}, {high:+.4f}]"
    return f"{subject} {outcome}{holds_for(row)}: {figures} ({row['arm']} over {row['control']})"


def holds_for(row: Json) -> str:
    """What a gain is said of, with a space before it: of one seed nobody knows what the next would
    give. Nothing for a report that does not say how many there were."""
    seeds = row.get("seeds")
    if seeds is None:
        return ""
    return " for these weights" if seeds == 1 else f" over {seeds} seeds"
