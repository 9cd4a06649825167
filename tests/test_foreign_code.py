"""Python that lies in a model's folder is never run, whatever standard input answers, and the refusal says what to do."""

import ast
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import limbeck
from limbeck.cli import main
from limbeck.core import registry
from limbeck.data.augmenters import replace_by_embedding, replace_by_mask
from limbeck.models.create import create_model, require
from limbeck.models.preprocessing import preprocess
from limbeck.models.published.hub import ForeignCode
from limbeck.pipeline.model_reference import reference

CLASSES = ("Config", "Model", "ModelForSequenceClassification", "ModelForTokenClassification", "ModelForMaskedLM", "ModelForImageClassification", "ImageProcessor", "Processor")  # fmt: skip
SOURCE = Path(limbeck.__file__).parent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of an unknown kind, whose every part is Python beside it that leaves a file behind; standard input says yes to all."""
    model = tmp_path / "model"
    model.mkdir()
    auto_map: dict[str, Any] = {f"Auto{name}": "code.Thing" for name in CLASSES}
    config = {"model_type": "thing", "auto_map": auto_map, "architectures": ["Thing"]}
    tokenizer = {"tokenizer_class": "Thing", "auto_map": {"AutoTokenizer": ["code.Thing", "code.Thing"]}}  # fmt: skip
    (model / "config.json").write_text(json.dumps(config))
    (model / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (model / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))
    return model


def text_task() -> Any:
    return registry.load("tasks", "text-classification")


ENTRANCES: dict[str, Callable[[str], Any]] = {
    "config": require,
    "model": lambda folder: create_model(folder, {}, registry.load("tasks", "image-classification")(["a", "b"], "{}"), seed=0),
    "tokenizer": lambda folder: preprocess(folder, text_task(), [], 32),
    "masks": replace_by_mask.load,
    "embeddings": lambda folder: replace_by_embedding.ReplaceByEmbedding().open(folder),
}  # fmt: skip


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_code_in_a_folder_is_refused_and_not_run(folder: Path, entrance: str) -> None:
    with pytest.raises(ForeignCode) as caught:
        ENTRANCES[entrance](str(folder))
    message = str(caught.value)
    assert f"model `{folder}`: its folder asks to run Python code of its own" in message
    assert "models={'mine': model}" in message
    assert not (folder.parent / "ran").exists()


def test_code_of_a_hub_id_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub id is read with the same switch: what the library is called with is seen here."""
    import transformers

    seen = []

    def from_pretrained(name: str, **settings: Any) -> Any:
        seen.append(settings)
        raise ValueError("Please pass the argument `trust_remote_code=True`")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", from_pretrained)
    with pytest.raises(ForeignCode, match="somebody/model"):
        reference("somebody/model", {})
    assert seen == [{"trust_remote_code": False}]


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize("place", ["teacher", "student"])
def test_no_verb_runs_it(
    folder: Path, tmp_path: Path, verb: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"it rains {n},weather\ncall Ada {n},call\n" for n in range(12))
    (tmp_path / "train.csv").write_text(f"text,label\n{rows}")
    models = {"teacher": "teacher: {model: MODEL}\nstudent: {from: teacher, surgery: same}", "student": "student: {model: MODEL}"}  # fmt: skip
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"task: text-classification\ndata: {{source: csv, path: '{tmp_path / 'train.csv'}'}}\n"
        + models[place].replace("MODEL", f"'{folder}'")
    )
    out = ["--out", str(tmp_path / "out")] if verb == "run" else []
    assert main.exit_status([verb, str(recipe), *out]) == 2
    assert "asks to run Python code of its own" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def calls_that_read_models() -> list[tuple[str, ast.Call]]:
    """Every call in the package that lets transformers read a model, its config or its tokenizer."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr in ("from_pretrained", "from_config"):
                found.append((f"{path.relative_to(SOURCE)}:{node.lineno}", node))
    return found


def test_the_switch_is_off_at_every_call() -> None:
    calls = calls_that_read_models()
    assert len(calls) >= 8
    for place, call in calls:
        values = [ast.literal_eval(k.value) for k in call.keywords if k.arg == "trust_remote_code"]
        assert values == [False], place


def test_nothing_else_of_transformers_loads_code() -> None:
    """Neither its loader of such code, nor pickles of torch, are named anywhere."""
    names = ("dynamic_module_utils", "get_class_from_dynamic_module", "torch.load", "pickle.load", "trust_remote_code=True")  # fmt: skip
    for path in sorted(SOURCE.rglob("*.py")):
        assert not [name for name in names if name in path.read_text()], path
