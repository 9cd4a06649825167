"""The page's section "What it writes", its lines in the terminal, and its tables: complete and escaped."""

from typing import Any

from test_report import a_report

from limbeck.reports import page, tables
from limbeck.reports.writing import section

Json = dict[str, Any]
HOSTILE = "<script>alert(1)</script>\n<b>bold</b> {{ 7 * 7 }}"


def figures(level: float) -> Json:
    bounds = [level - 0.05, level + 0.05]
    return {
        "runtime": "onnxruntime",
        "rouge_l": level,
        "rouge_l_ci95": bounds,
        "exact_match": level - 0.1,
        "exact_match_ci95": bounds,
        "ended": 0.98,
        "ended_ci95": [0.93, 0.99],
        "distinct_1": 0.21,
        "distinct_2": None,
        "repetition": 0.034,
        "repetition_ci95": [0.02, 0.06],
        "words": 17.25,
    }


def written(**changes: Any) -> Json:
    speed = {
        "runtime": "pytorch",
        "first_token_ms": 71.2,
        "tokens_per_second": 9.81,
        "speedup": 1.0,
        "speedup_ci95": [1.0, 1.0],
        "resident_mb": 1187.4,
    }
    faster = speed | {"tokens_per_second": 151.7, "speedup": 15.46, "speedup_ci95": [14.1, 16.6]}
    content: Json = {
        "questions": 35,
        "rows": 1200,
        "most_tokens": 64,
        "shipped": "joint",
        "data": {"distinct_1": 0.31, "distinct_2": 0.62, "repetition": 0.01, "words": 19.0},
        "writers": {"teacher": figures(0.44), "joint": figures(0.41)},
        "differences": {"teacher": {"same": 1, "median": 6.0, "places": [None, 2, 10]}},
        "examples": [
            {
                "row": 3,
                "question": HOSTILE,
                "reference": HOSTILE,
                "answers": {"teacher": HOSTILE, "joint": ""},
                "differs": {"teacher": 11},
            }
        ],
        "speed": {
            "tokens": 32,
            "rounds": 6,
            "by_writer": {"teacher": speed, "joint": faster},
            "busy": ["`joint` took 1.53 times as much wall time as CPU time"],
        },
    }
    return content | changes


def render(content: Json | None) -> str:
    return page.render(a_report() | {"written": content}, [])


def test_the_section_tells_figures_times_and_answers_as_text() -> None:
    text = render(written())
    part = text.split('<section id="writing">')[1].split("</section>")[0]
    for expected in (
        "Greedy answers to 35 questions, spread over 1,200 test rows",
        "0.440",
        "0.390 to 0.490",
        "0.310",
        "15.5",
        "14.1 to 16.6",
        "1187",
        "differs first at token 12",
        "(nothing)",
        "1 of 3 answers are token for token those of teacher; of the others half differ first at "
        "token 7 or before",
        "The machine was busy",
        "<code>joint</code> took 1.53",
    ):
        assert expected in part, expected
    assert "<script" not in part and "<b>bold" not in part
    assert part.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3
    assert "{{ 7 * 7 }}" in part
    assert '<a href="#writing">' in text


def test_without_answers_there_is_no_section() -> None:
    for content in (None, {}):
        text = render(content)
        assert 'id="writing"' not in text and "#writing" not in text
    assert section.lines(None) == [] and section.view(None) is None


def test_what_was_not_measured_is_left_out() -> None:
    text = render(written(speed=None, differences={"teacher": None}))
    assert "Tokens a CPU second" not in text
    assert "teacher has other tokens" in text
    lines = section.lines(written(speed=None))
    assert not any("CPU second" in line for line in lines)


def test_the_terminal_names_every_model_once() -> None:
    teacher, joint = section.lines(written())[1:3]
    assert teacher.startswith("  teacher: ROUGE-L 0.440 [0.390 to 0.490], exact match 34.00")
    assert joint.endswith("152 tokens a CPU second")


def test_a_long_question_is_shown_by_its_end() -> None:
    content = written()
    content["examples"][0]["question"] = "a" * 5000 + "end?"
    (shown,) = section.view(content)["examples"]  # type: ignore[index]
    assert shown["question"].startswith("...aaa") and shown["question"].endswith("aend?")
    assert len(shown["question"]) == section.MOST_SHOWN + 3


def test_the_tables_have_a_row_for_each_answer() -> None:
    found = tables.tables(a_report() | {"written": written()})
    assert [row["model"] for row in found["writing"]] == ["teacher", "joint"]
    assert found["writing"][1]["rouge_l_ci95_low"] == figures(0.41)["rouge_l_ci95"][0]
    answers = found["written_answers"]
    assert [(row["row"], row["model"], row["differs"]) for row in answers] == [
        (3, "teacher", 11),
        (3, "joint", None),
    ]
