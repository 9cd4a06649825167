"""The learning rate that a recipe leaves open, by kind of network; one that it names stays."""

import pytest

from limbeck.pipeline.preflight import compatibility
from limbeck.recipe.learning_rates import CUT, NEW, OWN, TUNED, with_rates
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import parse, write

TEXT = """
task: text-classification
data: {source: csv, path: rows.csv}
teacher: TEACHER
student: STUDENT
train: TRAIN
distill: {losses: {kl: {}}}
"""
MINILM = "{model: sentence-transformers/all-MiniLM-L6-v2}"


def recipe(teacher: str, student: str, train: str = "{}") -> Recipe:
    text = TEXT.replace("TEACHER", teacher).replace("STUDENT", student).replace("TRAIN", train)
    if "small_cnn" in text:
        text = text.replace("text-classification", "image-classification")
    return parse(text)


@pytest.mark.parametrize(
    ("teacher", "student", "rates"),
    [
        (MINILM, "{from: teacher, surgery: drop_layers, layers: 3}", (TUNED, CUT)),
        (MINILM, "{from: teacher, surgery: same}", (TUNED, TUNED)),
        (MINILM, MINILM, (TUNED, TUNED)),
        (MINILM, "{from: ./other, surgery: drop_layers, layers: 3}", (TUNED, CUT)),
        ("{model: small_cnn}", "{model: small_cnn, width: 4}", (NEW, NEW)),
        ("{model: small_cnn}", "{from: teacher, surgery: prune_channels}", (NEW, NEW)),
        ("{model: timm:vit_tiny_patch16_224}", "{model: small_cnn, width: 4}", (TUNED, NEW)),
        ("{model: mine}", "{from: teacher, surgery: drop_layers, layers: 1}", (OWN, OWN)),
    ],
)
def test_an_open_rate_is_that_of_the_kind(
    teacher: str, student: str, rates: tuple[float, float]
) -> None:
    found = with_rates(recipe(teacher, student), ["mine"])
    assert found.teacher is not None
    assert (found.teacher.learning_rate, found.train.learning_rate) == rates


def test_a_rate_that_is_named_stays() -> None:
    cut = "{from: teacher, surgery: drop_layers, layers: 3}"
    # As before there were kinds: the teacher takes what `train` names.
    found = with_rates(recipe(MINILM, cut, "{learning_rate: 7.0e-4}"))
    assert found.teacher is not None
    assert (found.teacher.learning_rate, found.train.learning_rate) == (7e-4, 7e-4)
    named = "{model: x, learning_rate: 3.0e-5}"
    found = with_rates(recipe(named, cut, "{learning_rate: 7.0e-4}"))
    assert found.teacher is not None
    assert (found.teacher.learning_rate, found.train.learning_rate) == (3e-5, 7e-4)
    found = with_rates(recipe(named, cut))
    assert found.teacher is not None
    assert (found.teacher.learning_rate, found.train.learning_rate) == (3e-5, CUT)


def test_further_teachers_have_each_its_own() -> None:
    found = recipe("{model: small_cnn}", "{model: small_cnn}").model_copy()
    content = found.dump() | {"teachers": [{"model": "timm:vit_tiny_patch16_224"}]}
    found = with_rates(found.with_content(content))
    assert [teacher.learning_rate for teacher in found.teachers] == [TUNED]


def test_what_a_run_writes_down_has_every_rate_and_reads_as_it_was() -> None:
    pytest.importorskip("torch")  # its losses are asked for their defaults
    found = compatibility.resolved(recipe("{model: small_cnn}", "{model: small_cnn}"))
    again = compatibility.resolved(parse(write(found)))
    assert again == found
    assert "learning_rate: null" not in write(found)
