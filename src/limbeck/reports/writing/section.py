"""The section "What it writes" of the page, and its lines in the terminal, from `written` of
report.json (`pipeline.judging.written`)."""

from typing import Any

from limbeck.reports.numbers import decimal, percent, short

Json = dict[str, Any]

# Characters of a question that the page shows: the end, which is answered.
MOST_SHOWN = 1200
DATA = "the data"


def view(written: Json | None) -> Json | None:
    """`written` with what the template lays out; None where the report has none."""
    if not written:
        return None
    speed = written["speed"]
    return {
        **written,
        "summary": summary(written),
        "rows": rows(written),
        "differs": [difference(name, each) for name, each in written["differences"].items()],
        "speeds": [] if not speed else speeds(speed),
        "is_busy": bool(speed and speed["busy"]),
        "examples": [example(each, written["shipped"]) for each in written["examples"]],
    }


def summary(written: Json) -> str:
    """Who was asked what."""
    return (
        f"Greedy answers to {written['questions']:,} questions, spread over {written['rows']:,} "
        f"test rows, each of at most {written['most_tokens']} tokens."
    )


def rows(written: Json) -> list[Json]:
    """The table of figures: a row for each model, and one of the data, which answers itself."""
    found = []
    for name, figures in written["writers"].items():
        row = {
            "name": name,
            "runtime": figures["runtime"],
            "cells": [
                cell(figures, "rouge_l"),
                cell(figures, "exact_match"),
                cell(figures, "ended"),
                *variety(figures),
            ],
        }
        found.append(row)
    # Nothing is known of a likeness with oneself.
    empty = ("", "")
    data = {"name": DATA, "runtime": "", "cells": [empty, empty, empty, *variety(written["data"])]}
    return [*found, data]


def cell(figures: Json, name: str) -> tuple[str, str]:
    """A figure and its interval."""
    return decimal(figures[name], 3), interval_3(figures[f"{name}_ci95"])


def interval_3(bounds: list[float]) -> str:
    """Both ends with the digits of a share."""
    low, high = bounds
    return f"{decimal(low, 3)} to {decimal(high, 3)}"


def variety(figures: Json) -> list[tuple[str, str]]:
    """How texts vary: of what has no interval, nothing beside."""
    shares = [figures[name] for name in ("distinct_1", "distinct_2", "repetition")]
    told = [(decimal(share, 3), "") for share in shares]
    return [*told, (short(figures["words"]), "")]


def difference(name: str, found: Json | None) -> str:
    """Where the shipped model's answers leave another's, as a sentence."""
    if found is None:
        return f"{name} has other tokens, so that answers are not compared token by token."
    total = len(found["places"])
    text = f"{found['same']:,} of {total:,} answers are token for token those of {name}"
    if found["median"] is None:
        return f"{text}."
    # People count from 1.
    place = found["median"] + 1
    return f"{text}; of the others half differ first at token {place:g} or before."


def speeds(speed: Json) -> list[Json]:
    """The table of times: a row for each model."""
    found = []
    for name, figures in speed["by_writer"].items():
        row = {
            "name": name,
            "runtime": figures["runtime"],
            "first": short(figures["first_token_ms"]),
            "rate": short(figures["tokens_per_second"]),
            "ratio": short(figures["speedup"]),
            "interval": interval_of_ratio(figures["speedup_ci95"]),
            "memory": short(figures["resident_mb"]),
        }
        found.append(row)
    return found


def interval_of_ratio(bounds: list[float]) -> str:
    """Both ends; nothing of what the others are compared with."""
    low, high = bounds
    return "" if low == high else f"{short(low)} to {short(high)}"


def example(row: Json, shipped: str) -> Json:
    """One question with the answers, the shipped model's last, and where others leave it."""
    question = row["question"]
    is_cut = len(question) > MOST_SHOWN
    answers = []
    for name, text in row["answers"].items():
        place = row["differs"].get(name)
        answer = {
            "name": name,
            "text": text,
            "is_shipped": name == shipped,
            "place": None if place is None else place + 1,
        }
        answers.append(answer)
    return {
        "row": row["row"],
        "question": f"...{question[-MOST_SHOWN:]}" if is_cut else question,
        "reference": row["reference"],
        "answers": answers,
    }


def lines(written: Json | None) -> list[str]:
    """What the terminal says; nothing of a run whose models write no texts."""
    if not written:
        return []
    found = [f"writes: {summary(written)}"]
    speed = (written["speed"] or {}).get("by_writer", {})
    for name, figures in written["writers"].items():
        text = (
            f"  {name}: ROUGE-L {decimal(figures['rouge_l'], 3)} "
            f"[{interval_3(figures['rouge_l_ci95'])}], exact match "
            f"{percent(figures['exact_match'])}, ends by itself {percent(figures['ended'])}"
        )
        if name in speed:
            text += f"; {short(speed[name]['tokens_per_second'])} tokens a CPU second"
        found.append(text)
    found += [f"  {difference(name, each)}" for name, each in written["differences"].items()]
    return found
