"""`limbeck check`: every mistake is found before training, nothing is left in the cache, and the forecast counts all of the work."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from encoders import save_encoder
from test_cli import call, mistake

from limbeck.core import registry
from limbeck.core.cache.store import Store
from limbeck.data.batches import batch_plan, evaluation_batches, padded_size
from limbeck.data.splits import load_splits
from limbeck.distillation import objective
from limbeck.models.anatomy.attention import PROBABILITIES
from limbeck.models.taps import HIDDEN
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import check, compatibility, forecast, paces, volumes
from limbeck.pipeline.preflight.costs import Cost
from limbeck.pipeline.steps.student import cut_student
from limbeck.pipeline.steps.teacher import prepare_teacher
from limbeck.pipeline.steps.teacher_outputs import teacher_outputs
from limbeck.recipe.model import Data, Recipe, Train
from limbeck.recipe.reading import parse
from limbeck.sources.sklearn import Sklearn
from limbeck.tasks import Encoded

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn, width: 4, epochs: 1}
student: {model: small_cnn, width: 4}
train: {epochs: 2, learning_rate: 4.0e-3, threads: 1, batch_rows: 64}
distill: {losses: {kl: {}, hidden: {}}}
quantize: {when: train, start: 0.5}
verdict: {arms: [plain, kd, kd+ptq, joint], seeds: 2}
"""
WORDS = ["Ada", "sleeps", "In", "Paris"]


def test_a_good_recipe_is_ok_and_leaves_nothing(
    tmp_path: Path, cache_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    assert call("check", path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "ok"
    assert (
        lines.count(
            "hidden: student <- teacher layers blocks.0 <- blocks.0, blocks.1 <- blocks.1, blocks.2 <- blocks.2"
        )
        == 1
    )
    forecasts = [line[:18].rstrip() for line in lines if line.endswith("MB")]
    stages = [
        "data",
        "teacher",
        "student",
        "evaluate",
        "label",
        "choose",
        "quantize",
        "export",
        "layers",
        "graph",
        "latency",
        "total",
    ]
    assert set(forecasts) == {*stages, "train (plain)", "train (kd)", "train (joint)"}
    assert list(cache_folder.iterdir()) == []
    assert not list(tmp_path.rglob("*.safetensors"))


def test_data_only_needs_no_torch_and_no_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    assert call("check", path, "--data-only") == 0
    assert "1,294 train, 144 validation, 359 test rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("data.dataset=digit", "digits"),
        ("quantize.keep_float=[nonsense.*]", "`nonsense.*` matches no module"),
        ("quantize.activations=uint8-dynamic", "is a convolution"),
        ("student.depth=0", "Input should be greater than or equal to 1"),
        ("distill.losses.hidden.layers=9", "cannot keep 9 of 3 layers"),
    ],
)
def test_a_mistake_that_only_a_batch_shows(
    override: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    assert told in mistake(capsys, "check", path, override, "verdict.arms=[joint]")


def test_wrong_data_and_a_wrong_model_are_told_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "task: token-classification\ndata: {source: conll, path: /nowhere}\nstudent: {model: no-such/model}\n"
    )
    told = mistake(capsys, "check", path)
    assert "data.path" in told
    assert "no-such/model" in told


@pytest.mark.parametrize(
    ("resource", "told"), [("disk", "Free some"), ("memory", "Lower train.batch_tokens")]
)
def test_what_does_not_fit(resource: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = [
        Cost("teacher", 5.0, 10.0, 10.0),
        Cost("train (kd)", 5.0, 1e9 if resource == "memory" else 10.0, 10.0),
    ]
    monkeypatch.setattr(forecast, "rehearse", lambda *_, **__: costs)
    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda folder: SimpleNamespace(free=(21 if resource == "disk" else 10**6) * 2**20),
    )
    checked = check.check(parse(RECIPE))
    assert len(checked.mistakes) == 1
    assert told in checked.mistakes[0]


def test_a_volume_counts_the_whole_from_a_part() -> None:
    """Padded units and a cache's cells of 10,000 rows from 2,500 of them, within 5 %."""
    chance = np.random.default_rng(0)
    sizes = np.clip(chance.lognormal(3, 0.6, 10_000), 3, 256).astype(int)
    rows = [
        Encoded(
            {"input_ids": np.zeros(size, np.int64)},
            np.arange(size - 2),
            np.zeros(size - 2, np.int64),
        )
        for size in sizes
    ]
    whole, part = (
        forecast.Volume(10_000, rows, 1.0),
        forecast.Volume(10_000, forecast.spread(rows, 2500), 1.0),
    )  # type: ignore[arg-type]
    cells = [partial(forecast.Volume.cells, kind=kind) for kind in (HIDDEN, PROBABILITIES)]
    for count in (
        lambda volume: volume.trained(1024),
        lambda volume: volume.passed(4096),
        lambda volume: volume.passed(1),
        *cells,
    ):
        assert count(part) == pytest.approx(count(whole), rel=0.05)
    plan = batch_plan(whole.sizes, 1024, seed=0, epoch=0)
    assert whole.trained(1024) == sum(padded_size(whole.sizes, batch) for batch in plan)
    assert whole.passed(4096) == sum(
        padded_size(whole.sizes, batch) for batch in evaluation_batches(rows)
    )
    assert whole.unread_mb() == 0
    assert part.unread_mb() > 0


def rehearsed(recipe: Recipe) -> dict[str, Cost]:
    found = load_splits(recipe.data, registry.load("tasks", recipe.task))
    return {
        cost.stage: cost for cost in forecast.rehearse(compatibility.resolved(recipe), found, 0.0)
    }


def test_the_forecast_grows_with_epochs_and_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock on which every call takes one second, so that nothing depends on this machine."""
    ticking(monkeypatch)
    text = RECIPE.replace("[plain, kd, kd+ptq, joint]", "[plain]")
    small = rehearsed(parse(text))
    large = rehearsed(
        parse(text, overrides=["train.epochs=4", "verdict.seeds=6", "teacher.epochs=3"])
    )
    # In 42 steps, and in 84, 21 are probed, for the gradient of one loss: a third of a step each.
    probes = 21 / 3
    small_seconds = small["train (plain)"].seconds / 2 - probes
    large_seconds = large["train (plain)"].seconds / 6 - probes
    assert large_seconds == pytest.approx(2 * small_seconds, rel=0.05)
    assert 2 * small["teacher"].seconds < large["teacher"].seconds < 3 * small["teacher"].seconds
    batches = 21  # of 64 in 1,295 rows
    # One more second an epoch: its weights are kept.
    validation = small_seconds / 2 - batches - 1
    assert 0 < validation < 6


def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds_of(work: Callable[[], object]) -> float:
        work()
        return 1.0

    monkeypatch.setattr(forecast, "seconds_of", seconds_of)
    monkeypatch.setattr(paces, "seconds_of", seconds_of)


def test_text_is_rehearsed_on_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tokenizers, a row that cannot be longer than the model reads, and a cache whose bytes are forecast."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name in ("train", "valid", "test"):
        (corpus / f"{name}.txt").write_text(
            "Ada B-PER\nsleeps O\n\nIn O\nParis B-LOC\nsleeps O\n\n" * 60
        )
    teacher = save_encoder(tmp_path / "teacher", WORDS, vocabulary=40, width=16, layers=2)
    student = save_encoder(
        tmp_path / "student", WORDS, vocabulary=30, width=8, layers=1, lowercase=True
    )
    recipe = parse(f"""
task: token-classification
data: {{source: conll, path: {corpus}}}
teacher: {{model: {teacher}, epochs: 1}}
student: {{model: {student}}}
train: {{epochs: 2, threads: 1, batch_tokens: 64, dtype: float32}}
distill: {{losses: {{kl: {{}}, hidden: {{}}}}}}
""")
    monkeypatch.setattr(volumes, "BATCHES", 2)
    costs = rehearsed(recipe)
    assert set(costs) == {
        "data",
        "teacher",
        "student",
        "train (kd)",
        "label",
        "evaluate",
        "latency",
    }
    words, labels = 300, 5
    expected = words * (4 * labels + 2 * 16 + 1) / 2**20  # logits, one hidden layer, the mask
    assert costs["label"].disk_mb == pytest.approx(expected, rel=1.0)


def test_the_cache_of_attention_maps_grows_with_the_square_of_the_length(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    rows = [
        {"text": " ".join(chance.choice(WORDS, size)), "label": str(size % 2)}
        for size in np.clip(chance.lognormal(2, 0.8, 1500), 1, 60).astype(int)
    ]
    recipe = parse(f"""
task: text-classification
data: {{source: rows}}
teacher: {{model: {save_encoder(tmp_path / "teacher", WORDS, vocabulary=60, width=16, layers=2)}, epochs: 0}}
student: {{from: teacher, surgery: drop_layers, layers: 1}}
train: {{epochs: 1, threads: 1, batch_tokens: 256, dtype: float32}}
distill: {{losses: {{attention: {{}}}}}}
""")
    bench = RunContext(
        compatibility.resolved(recipe), Store(), rows={"train": rows, "test": rows[:20]}
    )
    foreseen = {cost.stage: cost for cost in forecast.rehearse(bench.recipe, bench.data, 0.0)}[
        "label"
    ].disk_mb
    ready = prepare_teacher(bench.recipe, bench)
    start = cut_student(bench.recipe, bench, ready)
    known = len(bench.store.records)
    teacher_outputs(
        bench.recipe,
        bench,
        ready,
        start,
        objective.terms(start.task.hard_loss, bench.recipe.distill),
    )
    written = sum(
        path.stat().st_size
        for record in bench.store.records[known:]
        for path in (bench.store.folder / record["entry"]).iterdir()
    )
    assert foreseen == pytest.approx(written / 2**20, rel=0.1)


def test_a_vocabulary_is_foreseen_as_many_rows_cut_it(tmp_path: Path) -> None:
    words = [
        f"{first}{second}"
        for first in "bcdfghjklm"
        for second in ("a", "en", "ir", "op", "uss", "yck", "av", "ew", "ilt", "oss")
    ]
    rows = [
        {"text": f"{words[i % 100]} {words[i * 7 % 100]}", "label": str(i % 2)} for i in range(1000)
    ]
    encoder = save_encoder(
        tmp_path / "teacher", [*words, "zzyzx zephyr quartz"], vocabulary=200, width=64, layers=1
    )
    recipe = parse(f"""
task: text-classification
data: {{source: rows}}
teacher: {{model: {encoder}, epochs: 0}}
student: {{from: teacher, surgery: trim_vocabulary}}
train: {{epochs: 1, threads: 1, batch_tokens: 32, dtype: float32}}
""")
    bench = RunContext(
        compatibility.resolved(recipe), Store(), rows={"train": rows, "test": rows[:20]}
    )
    foreseen = {cost.stage: cost for cost in forecast.rehearse(bench.recipe, bench.data, 0.0)}[
        "student"
    ].disk_mb
    cut = cut_student(bench.recipe, bench, prepare_teacher(bench.recipe, bench))
    assert foreseen == pytest.approx(
        sum(path.stat().st_size for path in cut.folder.iterdir()) / 2**20, rel=0.02
    )


def test_a_shape_that_does_not_fit_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied\nmore")

    monkeypatch.setattr(forecast.Rehearsal, "run", break_down)
    found = load_splits(Data(source="sklearn"), registry.load("tasks", "image-classification"))
    with pytest.raises(
        ValueError,
        match=r"a batch cannot be computed: mat1 and mat2 shapes cannot be multiplied .*test_check",
    ):
        forecast.rehearse(parse(RECIPE), found, 0.0)


def test_rows_are_spread_over_the_split() -> None:
    rows = Sklearn().read()["train"]
    assert forecast.spread(rows, 10**6) is rows
    assert len(forecast.spread(rows, 100)) == 100
    assert len({row["label"] for row in forecast.spread(rows, 100)}) == 10


TWO_PROCESSES = {
    "RANK": "0",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "127.0.0.1",
    # Nobody listens there: a check waits for no other process.
    "MASTER_PORT": "1",
}
ALONE = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 2}
train: {epochs: 1, learning_rate: 4.0e-3, threads: 1, device: cpu, batch_rows: ROWS}
"""


@pytest.mark.parametrize(
    ("rows", "is_refused"),
    [
        # 1,294 training rows: the last batch has 44, and the rehearsal's sample another number.
        (50, False),
        # The last batch has 1 row, which the sample has not.
        (431, True),
    ],
)
def test_under_torchrun_the_real_batches_are_judged(
    rows: int,
    is_refused: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in TWO_PROCESSES.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "recipe.yaml"
    path.write_text(ALONE.replace("ROWS", str(rows)))
    if is_refused:
        said = mistake(capsys, "check", path)
        assert "2 processes share each batch, and one of these batches has 1 row" in said
        assert said.rstrip().endswith("or run without torchrun")
        return
    assert call("check", path) == 0
    assert "each batch will be shared by 2" in capsys.readouterr().out


def test_sizes_that_are_estimated_refuse_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    rehearsal = SimpleNamespace(
        seeds=1,
        judged=set(),
        num_processes=2,
        volume=lambda split, task: SimpleNamespace(encoded=[SimpleNamespace(has_tokens=True)]),
        sizes_of_whole=lambda split, task: ([9, 9, 9], False),
        context=SimpleNamespace(store=SimpleNamespace(tell_once=told.append)),
    )
    settings = Train(batch_tokens=9, epochs=1)
    judge = partial(forecast.Rehearsal.judge_batches, rehearsal, settings, "train")
    judge(SimpleNamespace(preprocess="a"))
    judge(SimpleNamespace(preprocess="a"))
    (note,) = told
    assert note.startswith(f"{forecast.ESTIMATED}: train: 2 processes share each batch")
    rehearsal.sizes_of_whole = lambda split, task: ([9, 9, 9], True)
    with pytest.raises(ValueError, match="one of these batches has 1 row"):
        judge(SimpleNamespace(preprocess="b"))


def test_variables_that_do_not_fit_are_a_mistake_of_a_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    path = tmp_path / "recipe.yaml"
    path.write_text(ALONE.replace("ROWS", "50"))
    assert "WORLD_SIZE=2 is set, and RANK is not" in mistake(capsys, "check", path)


def test_the_forecast_says_that_the_cache_saves_time() -> None:
    total = SimpleNamespace(stage="total", seconds=1.0, peak_mb=1.0, disk_mb=1.0)
    last = check.describe_costs([], total)[-1]
    assert (
        "as long as the cache holds none of it: a stage that is there already takes no time" in last
    )


def test_test_rows_that_are_too_few_are_told() -> None:
    """Where no answer changes, n rows still allow a drop of z^2 / (n + z^2), z = 1.645 one-sided."""
    recipe = parse(RECIPE)
    (told,) = check.note_of_few_rows(recipe, 60)
    assert told.startswith("verdict: 60 test rows cannot prove that at most 0.01 is lost")
    needed = int(told.split("; ")[1].split()[0])
    allowed = 1.6448536**2 / (np.array([needed - 1, needed]) + 1.6448536**2)
    assert allowed[0] > 0.01 >= allowed[1]
    # Beside `50 test rows` above, 2 of them alone would be a riddle.
    (told,) = check.note_of_few_rows(recipe, 2, 50)
    assert "2 test rows that differ, of 50 (equal inputs and one group count once)" in told
    assert check.note_of_few_rows(recipe, needed) == []
    # Of other metrics, and without a verdict, nothing is known.
    (told,) = check.note_of_few_rows(parse(RECIPE, overrides=["verdict.metric=macro_f1"]), 60)
    assert "; about 268 would" in told
    assert check.note_of_few_rows(parse(RECIPE, overrides=["verdict.metric=spearman"]), 60) == []
    assert check.note_of_few_rows(parse(RECIPE.split("verdict")[0]), 60) == []


def test_a_training_of_few_steps_is_told_with_what_to_write(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    assert call("check", path) == 0
    said = capsys.readouterr().out.splitlines()
    # 1,294 rows of train in batches of 64 are 21 steps an epoch.
    assert (
        "teacher: about 21 steps, which is too few. Write train.batch_rows=64 teacher.epochs=20, for about 400"
        in said
    )
    (student,) = (line for line in said if line.startswith("train: about 42 steps"))
    assert "train.epochs=20" in student
    changes = ["train.epochs=20", "teacher.epochs=5"]
    assert call("check", path, *changes) == 0
    assert "too few" not in capsys.readouterr().out
