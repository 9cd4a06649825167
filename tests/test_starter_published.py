"""Data as their publishers and tools write them: what `limbeck init` must not take them for, and the commands that it tells."""

import subprocess
from pathlib import Path

import pytest
from layouts import put, table, text

from limbeck.cli.first_recipe import look as starter


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=str(path.name)) as caught:
        starter.look(path)
    return str(caught.value)


def cured(folder: Path, told: str) -> None:
    """Run the command of a message in the folder, all but the `limbeck init` that ends it."""
    command = told.partition("in that folder: ")[2] or told.partition("in that folder, ")[2]
    steps, _, last = command.rpartition(" && ")
    assert " init " in last
    subprocess.run(steps, shell=True, check=True, cwd=folder)


def reasons(folder: Path) -> str:
    return "\n".join(starter.look(folder).reasons)


def test_questions_are_a_header_over_answers(tmp_path: Path) -> None:
    """Not over texts: without numbers or a few answers below, a first line of sentences is a row."""
    header = "What do you like most about it?,How satisfied are you with all of it?"
    answers = ("Very satisfied", "Neutral", "Dissatisfied")
    put(tmp_path, {"a.csv": table(header, lambda n: f"{text(n)},{answers[n % 3]}")})
    guess = starter.look(tmp_path / "a.csv")
    assert guess.options["label"] == "How satisfied are you with all of it?"
    # Question classification: the first text is a question too, and its label one of the column.
    put(
        tmp_path,
        {"b.csv": table("", lambda n: f"who sings number {n} in this town?,{'ab'[n % 2]}")},
    )
    assert starter.look(tmp_path / "b.csv").options["columns"] == ["column_1", "column_2"]


def test_a_question_that_ends_as_ids_do_is_a_label(tmp_path: Path) -> None:
    header = "Timestamp,Your opinion of us,How happy are you with our response time"
    content = table(header, lambda n: f"2023-01-02 10:{n},{text(n)},{n % 5 + 1}")
    put(tmp_path, {"a.csv": content})
    label = starter.look(tmp_path / "a.csv").options["label"]
    assert label == "How happy are you with our response time"


@pytest.mark.parametrize(
    "below",
    [
        'When,"What do you, after all, think?",How likely?\n"{""ImportId"":""d""}","{""ImportId"":""'
        'QID1""}","{""ImportId"":""QID2""}"\n',
        ",Open-Ended Response,Response\n",
    ],
    ids=["Qualtrics", "SurveyMonkey"],
)
def test_rows_that_go_on_with_a_header(below: str, tmp_path: Path) -> None:
    answers = table("", lambda n: f"2023-01-02,{text(n)},{('Good', 'Bad')[n % 2]}")
    put(tmp_path, {"a.csv": f"Start Date,Q1,Q2\n{below}{answers}"})
    told = refusal(tmp_path / "a.csv")
    assert "go on with it, as tools for surveys" in told
    cured(tmp_path, told)
    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert (lines[0], len(lines)) == ("Start Date,Q1,Q2", 41)
    assert starter.look(tmp_path / "answers.csv").options["label"] == "Q2"
