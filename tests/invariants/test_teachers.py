"""Several teachers, and an assistant between teacher and student: whole runs, what they answer, and that the control arm knows none of them."""

from pathlib import Path

import pytest

from limbeck import run
from limbeck.core.files import read_json
from limbeck.distillation import teacher
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.preflight.check import check
from limbeck.recipe.reading import parse, write

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn, width: 8, epochs: 3}
student: {model: small_cnn, width: 4}
train: {epochs: 2, learning_rate: 4.0e-3, threads: 1, batch_rows: 128}
distill: {losses: {kl: {}, hidden: {layers: 1}}}
"""
SEVERAL = f"{RECIPE}teachers:\n  - {{model: small_cnn, width: 6, epochs: 2}}\n  - {{model: small_cnn, width: 5, epochs: 1, weight: 0.5}}\n"
ASSISTED = f"{RECIPE}assistant: {{model: small_cnn, width: 6}}\n"


def trained(folder: Path) -> str:
    (entry,) = [
        stage["entry"]
        for stage in read_json(folder / "stages.json")
        if stage["name"].startswith("train (kd") and stage["entry"]
    ][-1:]
    return entry


@pytest.mark.slow
def test_several_teachers_teach_together(tmp_path: Path) -> None:
    report = run(parse(SEVERAL), tmp_path / "several")
    assert [stage["name"] for stage in report["stages"]].count("label") == 3
    notes = [note for note in report["notes"] if note.startswith("teacher")]
    assert [note.split(":")[0] for note in notes] == [
        "teacher 2 (small_cnn)",
        "teacher 3 (small_cnn)",
    ]
    assert all(0 < float(note.rsplit(" ", 1)[1]) <= 1 for note in notes)
    run(parse(RECIPE), tmp_path / "one")
    best = run(parse(SEVERAL, overrides=["distill.combine=best"]), tmp_path / "best")
    assert len({trained(tmp_path / name) for name in ("several", "one", "best")}) == 3
    assert not [
        stage
        for stage in best["stages"]
        if stage["name"] in ("teacher", "label") and not stage["reused"]
    ]


def test_what_several_teachers_answered_is_not_asked_again(tmp_path: Path) -> None:
    run(parse(SEVERAL), tmp_path / "first")
    teacher.counted[teacher.FORWARDS] = 0
    run(parse(SEVERAL, overrides=["train.epochs=1", "teacher.weight=2"]), tmp_path / "second")
    assert teacher.counted[teacher.FORWARDS] == 0


def test_an_assistant_learns_from_the_teacher_and_teaches_the_student(tmp_path: Path) -> None:
    report = run(parse(ASSISTED), tmp_path / "run")
    names = [stage["name"] for stage in report["stages"]]
    assert names.count("train (kd, seed 0)") == 2
    assert names.index("assistant") > names.index("train (kd, seed 0)")
    assert names.count("label") == 2
    assert any(note.startswith("assistant: accuracy") for note in report["notes"])
    run(parse(RECIPE), tmp_path / "without")
    assert trained(tmp_path / "run") != trained(tmp_path / "without")


@pytest.mark.slow
def test_the_control_arm_has_no_assistant(tmp_path: Path) -> None:
    settings = "quantize: {range: minmax}\nverdict: {arms: [plain, kd], max_drop: 1.0}\n"
    names = [
        run(parse(text + settings), tmp_path / str(len(text)))["stages"]
        for text in (RECIPE, ASSISTED)
    ]
    plain = [
        [stage["reused"] for stage in stages if stage["name"].startswith("train (plain")]
        for stages in names
    ]
    assert plain == [[False], [True]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            SEVERAL.replace("distill:", "# "),
            "`teachers` teaches the student, which needs `distill`",
        ),
        (ASSISTED.replace("distill:", "# "), "`assistant` teaches the student"),
        (RECIPE.replace("distill: {", "distill: {combine: best, "), "it needs `teachers`"),
        (
            SEVERAL.replace("width: 6", "widht: 6"),
            r"recipe:9:24: teachers\.0\.widht: .*Did you mean `width`",
        ),
        (SEVERAL.replace("weight: 0.5", "weight: 0"), r"teachers\.1\.weight"),
    ],
)
def test_a_wrong_word_about_those_who_teach_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compatibility.resolved(parse(text))


def test_the_model_of_one_who_teaches_is_looked_for_before_training() -> None:
    found = check(parse(ASSISTED.replace("small_cnn, width: 6}", "no_such_net}")))
    assert "no_such_net" in found.mistakes[0]


def test_a_recipe_with_several_teachers_reads_back(tmp_path: Path) -> None:
    read = compatibility.resolved(parse(SEVERAL + ASSISTED.removeprefix(RECIPE)))
    assert parse(write(read)).dump() == read.dump()
    assert [other.options["width"] for other in read.teachers] == [6, 5]


def test_float_arms_are_judged_without_a_quantized_one(tmp_path: Path) -> None:
    report = run(parse(RECIPE + "verdict: {arms: [plain, kd], max_drop: 1.0}\n"), tmp_path / "run")
    assert list(report["arms"]) == ["teacher", "baseline", "plain", "kd"]
    assert [row["name"] for row in report["verdict"]["gains"]] == ["teacher"]
    assert (tmp_path / "run" / "model").is_dir()
    assert compatibility.resolved(parse(RECIPE + "verdict: {}\n")).verdict.arms == ["plain", "kd"]
