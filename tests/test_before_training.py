"""What cannot become an artifact is refused before anything is trained, by `run` alone: models that cannot be traced, whose graph takes one length, that are cut otherwise than they can be, or are made late."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from encoders import save_encoder
from safetensors.torch import load_file, save_file

from limbeck.core.cache.store import Store
from limbeck.core.events import EpochEnded, Event, Started
from limbeck.models.create import create_model
from limbeck.models.preprocessing import preprocess
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility, exportable
from limbeck.pipeline.runs import run
from limbeck.pipeline.stage import Stage
from limbeck.recipe.reading import parse
from limbeck.tasks import Encoded
from limbeck.tasks.text_classification import TextClassification
from limbeck.training.scoring import score_split

WORDS = ["sun", "rain", "wind", "snow"]
ROWS = [{"text": " ".join(WORDS[: 1 + n % 4] * 2), "label": "ab"[n % 2]} for n in range(32)]
DATA = {"train": ROWS, "validation": ROWS[:8], "test": ROWS[:8]}

RECIPE = """
task: text-classification
data: {{source: rows}}
teacher: {{model: {teacher}, epochs: 1}}
student: {student}
distill: {{losses: {{kl: {{}}}}}}
train: {{epochs: 1, threads: 1, max_tokens: 24}}
quantize: {quantize}
verdict: {{arms: [kd, joint], seeds: 1}}
"""

FROM_TEACHER = "{from: teacher, surgery: drop_layers, layers: 1}"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "encoder"
    return Path(save_encoder(folder, WORDS, vocabulary=40, width=16, layers=2))


@pytest.fixture(scope="module")
def without_a_tensor(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "broken"
    folder.mkdir()
    for path in encoder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def text_of(teacher: Path, student: str = FROM_TEACHER, quantize: str = "{}") -> str:
    return RECIPE.format(teacher=teacher, student=student, quantize=quantize)


def context_of(text: str, tmp_path: Path) -> RunContext:
    recipe = compatibility.resolved(parse(text))
    return RunContext(recipe, Store(tmp_path / "store"), rows=DATA)


def refused(text: str, tmp_path: Path) -> str:
    """What a run says that refuses before any epoch."""
    heard: list[Event] = []
    with pytest.raises(ValueError, match=r"\w") as caught:
        run(parse(text), tmp_path / "out", tell=heard.append, rows=DATA)
    assert not [event for event in heard if isinstance(event, EpochEnded)]
    # The first stage that begins is the last.
    assert len([event for event in heard if isinstance(event, Started)]) == 1
    return str(caught.value)


def cannot_be_traced(*_: object) -> NoReturn:
    raise ValueError("export: Thing cannot be traced as a graph for any batch (thing.py:7)")


def test_a_student_that_cannot_be_exported_is_refused(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exportable, "TESTED", ())
    monkeypatch.setattr(exportable, "write_graphs", cannot_be_traced)
    said = refused(text_of(encoder), tmp_path)
    assert said.startswith(f"model `{encoder}`: it cannot become an artifact, which was found")
    assert "cannot be traced as a graph for any batch (thing.py:7)" in said


@pytest.mark.parametrize(
    ("student", "quantize", "message"),
    [
        ("{{model: {broken}}}", "{}", "`bert.encoder.layer.1.output.dense.weight`"),
        ("{{from: teacher, surgery: drop_layers, layers: 3}}", "{}", "cannot keep 3 of 2 layers"),
        # By rows it would be chosen which heads stay; how many there are is known before.
        ("{{from: teacher, surgery: prune_width, heads: 9}}", "{}", "heads: cannot keep 9 of"),
        (
            "{{from: teacher, surgery: same}}",
            "{keep_float: ['*.nowhere']}",
            "`*.nowhere` matches no",
        ),
    ],
)
def test_what_is_made_late_is_refused_early(
    encoder: Path,
    without_a_tensor: Path,
    tmp_path: Path,
    student: str,
    quantize: str,
    message: str,
) -> None:
    text = text_of(encoder, student.format(broken=without_a_tensor), quantize)
    assert message in refused(text, tmp_path)


@pytest.mark.slow
def test_a_student_that_can_be_exported_passes(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exportable, "TESTED", ())
    before = torch.random.get_rng_state()
    look = exportable.looking_ahead(context_of(text_of(encoder), tmp_path))
    look(stage("teacher"))
    assert torch.equal(before, torch.random.get_rng_state())


def stage(name: str) -> Stage:
    return Stage(name=name, inputs={}, build=lambda _: None)


def test_it_is_looked_once_and_where_something_takes_long(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[RunContext] = []
    monkeypatch.setattr(exportable, "require_usable", looks.append)
    look = exportable.looking_ahead(context_of(text_of(encoder), tmp_path))
    for name in ("student", "evaluate", "export"):
        look(stage(name))
    assert not looks
    for name in ("label", "train", "train"):
        look(stage(name))
    assert len(looks) == 1


# What the graph answers.


def rounded(logits: np.ndarray) -> np.ndarray:
    return logits + 1e-3


def reversed_labels(logits: np.ndarray) -> np.ndarray:
    return logits[:, ::-1]


def of_one_length(_: np.ndarray) -> NoReturn:
    raise ValueError("ONNX Runtime cannot run this input: index: 1 Got: 5 Expected: 10")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (rounded, None),
        (reversed_labels, "answers otherwise than the model"),
        (of_one_length, "its graph takes rows of one length.*Got: 5 Expected: 10"),
    ],
)
def test_a_graph_answers_as_the_model(
    encoder: Path, answer: Callable[[np.ndarray], np.ndarray], message: str | None
) -> None:
    task = TextClassification(["a", "b"], preprocess(str(encoder), TextClassification, [], 24))
    model = create_model(str(encoder), {}, task, seed=0)
    encoded = task.encode(ROWS)

    def graph(rows: Sequence[Encoded], _: Any) -> list[np.ndarray]:
        return list(answer(score_split(model, rows, task).logits)[:, None])

    if message is None:
        exportable.check_graph(model, task, encoded, graph)
        return
    with pytest.raises(ValueError, match=message):
        exportable.check_graph(model, task, encoded, graph)


def test_patterns_for_layers_that_were_left_out_are_not_asked_for(encoder: Path) -> None:
    task = TextClassification(["a", "b"], preprocess(str(encoder), TextClassification, [], 24))
    model = create_model(str(encoder), {}, task, seed=0)
    quantize = {"keep_float": ["*.layer.1.*", "*.layer.5.*", "classifier"]}
    asked = parse(text_of(encoder, quantize=str(quantize))).quantize
    assert asked is not None
    assert exportable.fitting(asked, model).keep_float == ["*.layer.1.*", "classifier"]
