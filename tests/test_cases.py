"""The inputs from outside on which limbeck was wrong, each line of their table with its right value.

    pytest -m data tests/test_cases.py -v

The table is `cases/README.md` beside the folder of $LIMBECK_DATA. A line has a check here, on its own files where it has some, or names the tests of this suite that hold its right value; those are run in a process of their own.
"""

import importlib.util
import json
import math
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call, mistake
from layouts import csv, images, objects, png, put, tagged
from PIL import Image
from test_artifact import artifact as artifact
from test_artifact import table_runtime as table_runtime

import limbeck
from limbeck.core import registry
from limbeck.data.splits import Splits, load_splits
from limbeck.recipe.model import Data
from limbeck.recipe.reading import read
from limbeck.sources import BadRow
from limbeck.sources._cells.labels import LabelParser
from limbeck.sources._images import decode
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.text_classification import TextClassification

pytestmark = pytest.mark.data
ROOT = Path(__file__).parents[1]
CASES = Path(os.environ.get("LIMBECK_DATA", "../shared/data")).resolve().parent / "cases"


@dataclass(frozen=True)
class Case:
    """Where a check works: the folder of the cases, one of its own, an artifact that answers `place` or `person`, and what commands wrote."""

    cases: Path
    folder: Path
    artifact: Path
    capsys: pytest.CaptureFixture[str]

    def write(self, files: dict[str, Any], name: str = "data") -> Path:
        return put(self.folder / name, files)

    def init(self, data: Path) -> Any:
        """The recipe that init writes, which check has accepted."""
        out = self.folder / f"{data.name}.yaml"
        assert call("init", data, "--out", out) == 0
        assert call("check", out, "--data-only") == 0
        return read(out)

    def answers(self, file: Path) -> list[dict[str, Any]]:
        self.capsys.readouterr()
        assert call("predict", self.artifact, file) == 0
        return [json.loads(line) for line in self.capsys.readouterr().out.splitlines()]


def texts(path: Path, source: str = "csv", **keys: Any) -> Splits:
    return load_splits(Data(source=source, path=str(path), **keys), TextClassification)


def rows(count: int, labels: str = "ab") -> list[dict[str, Any]]:
    return [{"text": f"row {n}", "label": labels[n % len(labels)]} for n in range(count)]


def conll_spaces(case: Case) -> None:
    bad: list[BadRow] = []
    source = registry.create("sources", "conll", {"path": str(case.cases / "conll_spaces")})
    found = source.read(bad.append)
    assert [row["words"] for row in found["train"]] == [
        ["San\u00a0Marino", "wins"],
        ["10\u00a0000", "men"],
    ]
    (blank,) = bad
    assert str(blank).endswith(
        "train.txt:8:1: the word '\\xa0' is of space alone. Mend it, or remove the line"
    )
    assert found["train"][0]["tags"][0] == "B-LOC"
    assert [row["words"] for row in found["test"]] == [["New York", "wins"]]


def surrogates(case: Case) -> None:
    file = case.cases / "surrogates" / "surrogate.jsonl"
    recipe = case.folder / "r.yaml"
    recipe.write_text(
        f"task: text-classification\ndata: {{source: jsonl, path: {file}}}\nstudent: {{model: m}}\n"
    )
    told = mistake(case.capsys, "check", recipe, "--data-only")
    assert "surrogate.jsonl:1" in told
    assert "half of a character" in told
    first, second = case.answers(file)
    assert "half of a character" in first["error"]
    assert (second["line"], "error" in second) == (2, False)


def carriage_returns(case: Case) -> None:
    found = texts(case.cases / "csv" / "cr_only.csv")
    assert found.labels == ["call", "weather"]
    assert len(found.train) + len(found.validation) + len(found.test) == 30
    long = "rain " * 27_000
    folder = case.write({"all.csv": csv() + f"{long},a\n"})
    found = texts(folder / "all.csv")
    assert long in {row["text"] for row in (*found.train, *found.validation, *found.test)}


def singletons(case: Case) -> None:
    # Nothing but such classes has no split to draw.
    with pytest.raises(ValueError, match="30 labels have one row alone, which stays in train"):
        texts(case.cases / "singletons" / "train.csv")
    single = (case.cases / "singletons" / "train.csv").read_text()
    folder = case.write({"train.csv": single + csv().partition("\n")[2]})
    found = texts(folder)
    held_out = {row["label"] for row in (*found.validation, *found.test)}
    assert held_out == {"a", "b"}
    assert {row["label"] for row in found.train} == {*held_out, *(f"c{n}" for n in range(30))}
    (note,) = [note for note in found.notes if "one row" in note]
    assert "30" in note


def label_order(case: Case) -> None:
    program = (
        "from limbeck.data.splits import load_splits; from limbeck.recipe.model import Data; "
        "from limbeck.tasks.text_classification import TextClassification as T; "
        f"print(load_splits(Data(source='csv', path={str(case.cases / 'label_order')!r}), T).labels)"
    )
    orders = []
    for seed in ("1", "3", "5"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        orders.append(subprocess.check_output([sys.executable, "-c", program], env=environment))
    assert len(set(orders)) == 1
    assert b"'1'" in orders[0]


def pictures(case: Case) -> None:
    folder = case.cases / "images"
    done: set[str] = set()
    found = decode(folder / "black_on_transparent.png", "RGB", done=done)
    assert found.min() == 0 and found.max() == 255
    assert any("transparent" in what for what in done)
    black = decode(folder / "black_on_transparent.png", "RGB", ground="black")
    assert black.max() == 0
    with Image.open(folder / "exif6.jpg") as picture:
        stored = np.asarray(picture.convert("L"))
    upright = decode(folder / "exif6.jpg", "L")
    # Orientation 6: a quarter turn clockwise shows it as it was seen.
    assert upright.shape == stored.shape[::-1]
    assert np.array_equal(upright, np.rot90(stored, -1))


def predict_json(case: Case) -> None:
    first, second = case.answers(case.cases / "predict_json" / "test.jsonl")
    assert (first["input"], first["given_label"]) == ("call Ada", "call")
    assert (second["input"], second["id"]) == ("it rains", 7)
    assert first["label"] == "person"


def rows_from_python(case: Case) -> None:
    given = [*rows(40, "ab"), {"text": "x", "label": math.nan}]
    found = load_splits(Data(source="rows"), TextClassification, {"train": given})
    assert found.labels == ["a", "b"]
    parts = (found.train, found.validation, found.test)
    (unknown,) = [row for part in parts for row in part if row["text"] == "x"]
    assert unknown["label"] is None
    whole = [{"text": f"row {n}", "label": (1, 1.0, 2)[n % 3]} for n in range(60)]
    assert load_splits(Data(source="rows"), TextClassification, {"train": whole}).labels == [
        "1",
        "2",
    ]
    assert LabelParser(None).parse_one(1.0, "label") == "1"


def folders(case: Case) -> None:
    for number, names in enumerate(
        [("Training", "Testing"), ("TRAIN", "TEST"), ("Train", "Val", "Test")]
    ):
        folders_of = [f"{name}/{label}" for name in names for label in ("cat", "dog")]
        folder = case.write(images(*folders_of), f"images{number}")
        recipe = case.init(folder)
        found = load_splits(recipe.data, ImageClassification)
        assert found.labels == ["cat", "dog"]
        assert len(found.test) == 24
        assert len(found.train) == (24 if "Val" in names else 22)


def train_10k(case: Case) -> None:
    recipe = case.init(case.write({"train_10k.csv": csv(), "test.csv": csv(200)}))
    found = load_splits(recipe.data, TextClassification)
    assert (len(found.train) + len(found.validation), len(found.test)) == (40, 40)


def tokens_and_labels(case: Case) -> None:
    for number, (words, tags) in enumerate(
        [("tokens", "labels"), ("tokens", "tags"), ("tokens", "ner_tags"), ("words", "slots")]
    ):
        folder = case.write({"train.jsonl": tagged(words, tags)}, f"words{number}")
        assert case.init(folder).task == "token-classification"


def json_documents(case: Case) -> None:
    folder = case.write(
        {
            "list.json": json.dumps(objects(), indent=2),
            "splits.json": json.dumps({"train": objects(), "test": objects(200)}),
        }
    )
    found = load_splits(case.init(folder / "list.json").data, TextClassification)
    assert len(found.train) + len(found.validation) + len(found.test) == 40
    found = load_splits(case.init(folder / "splits.json").data, TextClassification)
    assert (len(found.train) + len(found.validation), len(found.test)) == (40, 40)


def unseen_labels(case: Case) -> None:
    folder = case.write({"train.csv": csv(), "test.csv": csv(200, 9) + "who knows,c\n"})
    found = texts(folder)
    assert len(found.test) == 10
    assert any("1 of 10 test rows have labels that train lacks (c)" in note for note in found.notes)
    with pytest.raises(ValueError, match="c"):
        texts(folder, on_bad_row="fail")


def equal_texts(case: Case) -> None:
    text = "text,label\n" + "".join(f"row {n // 4},{'ab'[n // 4 % 2]}\n" for n in range(160))
    found = texts(case.write({"all.csv": text}) / "all.csv")
    sides = [{row["text"] for row in part} for part in (found.train, found.validation, found.test)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def image_folders(case: Case) -> None:
    patients = [f"{label}/patient{n}" for label in ("cat", "dog") for n in range(12)]
    found = load_splits(
        case.init(case.write(images(*patients, each=2), "p")).data, ImageClassification
    )
    assert found.labels == ["cat", "dog"]
    parts = (found.train, found.validation, found.test)
    groups = [{Path(row["file"][1]).parent for row in part} for part in parts]
    assert not groups[0] & groups[1] and not groups[0] & groups[2]
    folder = case.write(images("train/test", "train/control", "valid/test", "valid/control"), "t")
    assert load_splits(case.init(folder).data, ImageClassification).labels == ["control", "test"]
    # One grey image among those in colour leaves the set in colour.
    files = images("cat", "dog")
    for number, name in enumerate(files):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(path := case.folder / "x.png")
        files[name] = path.read_bytes()
    files["cat/0.png"] = png(0)
    found = load_splits(case.init(case.write(files, "c")).data, ImageClassification)
    assert {row["image"].shape for row in found.train} == {(8, 8, 3)}
    # 16 bits keep their upper 8, floats from 0 to 1 are shares, grey with alpha lies on white.
    wide = np.array([[0, 65535], [32768, 256]], np.uint16)
    Image.fromarray(wide).save(case.folder / "wide.png")
    assert decode(case.folder / "wide.png", "L").tolist() == [[0, 255], [128, 1]]
    Image.fromarray(np.float32([[0, 1], [0.5, 0.25]])).save(case.folder / "float.tiff")
    assert decode(case.folder / "float.tiff", "L").tolist() == [[0, 255], [128, 64]]
    Image.new("LA", (2, 2), (0, 0)).save(case.folder / "alpha.png")
    assert decode(case.folder / "alpha.png", "L").tolist() == [[255, 255], [255, 255]]


def refused_architectures(case: Case) -> None:
    pytest.importorskip("torch")
    import transformers
    from encoders import save_encoder

    words = [f"w{number}" for number in range(20)]
    data = case.write({"train.csv": csv()})
    wide: dict[str, Any] = {
        "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16,
    }  # fmt: skip
    narrow = {"vocab_size": 64, "d_model": 16, "d_head": 8, "n_head": 2, "d_inner": 16}
    made = {
        "Longformer": transformers.LongformerModel(
            transformers.LongformerConfig(attention_window=[4], pad_token_id=0, **wide)
        ),
        "FNet": transformers.FNetModel(transformers.FNetConfig(**wide)),
        "Funnel": transformers.FunnelModel(
            transformers.FunnelConfig(block_sizes=[1, 1], num_decoder_layers=1, **narrow)
        ),
    }
    for name, model in made.items():
        folder = case.folder / name
        save_encoder(folder, words, vocabulary=60, width=16, layers=1)
        model.save_pretrained(folder)
        recipe = case.folder / f"{name}.yaml"
        recipe.write_text(
            f"task: text-classification\ndata: {{source: csv, path: {data}}}\n"
            f"student: {{model: {folder}}}\nquantize: {{when: train}}\nexport: [onnx]\n"
        )
        assert call("check", recipe) == 2
        assert name in case.capsys.readouterr().err


def joint_norms(case: Case) -> None:
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("joint", ROOT / "benchmarks" / "joint_norms.py")
    assert spec is not None and spec.loader is not None
    joint = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(joint)
    text = joint.RECIPE.format(student=joint.NETWORKS["small_cnn"], epochs=8, start=0, seeds=1)
    report = limbeck.run(limbeck.parse(text), case.folder / "run")
    (after,) = joint.accuracies(report, "kd+ptq")
    (together,) = joint.accuracies(report, "joint")
    assert after > 0.95
    assert together >= after - 0.01


# The beginning of a line of the table -> its check, or the tests that hold its right value.
CHECKS: dict[str, Callable[[Case], None] | tuple[str, ...]] = {
    "`head_names/`": ("tests/oracles/test_loaded_weights.py::test_a_head_is_taken_by_the_names_of_its_outputs",),
    "weights missing": ("tests/oracles/test_loaded_weights.py::test_an_encoder_that_is_not_filled_is_refused", "tests/oracles/test_loaded_weights.py::test_a_prefix_that_a_class_with_a_head_writes_is_no_other_name"),
    "`positions/long.txt`": ("tests/test_texts_read.py::test_texts_are_cut_at_the_positions_that_the_model_has", "tests/test_texts_read.py::test_what_was_cut_and_what_is_unknown_is_counted"),
    "no tokenizer": ("tests/oracles/test_models_as_they_lie.py::test_a_folder_without_a_tokenizer_is_refused",),
    "`conll_spaces/`": conll_spaces,
    "`surrogates/": surrogates,
    "`csv/cr_only.csv`": carriage_returns,
    "`singletons/`": singletons,
    "`label_order/`": label_order,
    "`images/black": pictures,
    "`predict_json/": predict_json,
    "rows from Python": rows_from_python,
    "a byte-level BPE": ("tests/test_texts_read.py::test_words_have_the_tokens_of_the_joined_text",),
    "ALBERT": ("tests/oracles/test_models_as_they_lie.py::test_the_layers_of_albert_are_its_passes",),
    "a sentence model": ("tests/oracles/test_sentence_modules.py::test_a_pooling_is_what_numpy_makes_of_the_hidden_states", "tests/oracles/test_sentence_modules.py::test_modules_are_read_whole_or_refused"),
    "Longformer": refused_architectures,
    "a convolution channel": ("tests/oracles/test_quantized_modules.py::test_a_bias_that_the_accumulator_cannot_hold_widens_the_step", "tests/test_artifact.py::test_equal_decisions_over_other_logits_are_no_parity"),
    "BatchNorm networks": joint_norms,
    "folders `Training/`": folders,
    "`train_10k.csv`": train_10k,
    "jsonl `{": tokens_and_labels,
    "one JSON array": json_documents,
    "labels in valid": unseen_labels,
    "equal texts": equal_texts,
    "CLASS/patient1": image_folders,
    "260 separable rows": ("tests/test_starter_lengths.py::test_few_texts_have_steps_enough", "tests/oracles/test_undertrained.py::test_the_signs_name_the_key", "tests/oracles/test_verdict.py::test_what_was_trained_too_little_is_not_kept"),
    "60 test rows": ("tests/oracles/test_verdict.py::test_a_share_of_right_rows_has_its_own_test", "tests/test_check.py::test_test_rows_that_are_too_few_are_told"),
}  # fmt: skip
# In no line of the table, but in its issue: with `data.size` and a pretrained processor 22.75 % of
# the answers differed.
BESIDE = ("tests/test_image_pixels.py::test_predict_reads_the_pixels_of_training", "tests/test_image_pixels.py::test_parity_begins_at_the_file")  # fmt: skip


def lines() -> list[str]:
    """The first cell of each line of the table."""
    page = CASES / "README.md"
    if not page.is_file():
        return []
    table = [line for line in page.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    return [line.split(" | ")[0].removeprefix("| ") for line in table[1:]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """How the tests that the table names ended, run together in a process of their own."""
    named = {name for check in CHECKS.values() if isinstance(check, tuple) for name in check}
    report = tmp_path_factory.mktemp("named") / "report.xml"
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", f"--junitxml={report}"]
    command = [sys.executable, "-m", "pytest", *sorted({*named, *BESIDE}), *options]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    found: dict[str, set[str]] = {}
    for test in ElementTree.parse(report).iter("testcase"):
        name = f"{test.get('classname', '').replace('.', '/')}.py::{test.get('name', '').split('[')[0]}"
        ended = {part.tag for part in test} - {"properties", "system-out", "system-err"}
        found.setdefault(name, set()).update(ended or {"passed"})
    return found


@pytest.mark.parametrize("line", lines(), ids=lambda line: line[:40])
def test_the_right_value(
    line: str,
    tmp_path: Path,
    artifact: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    (check,) = (check for start, check in CHECKS.items() if line.startswith(start))
    if isinstance(check, tuple):
        ended = request.getfixturevalue("outcomes")
        assert {name: ended.get(name) for name in check} == {name: {"passed"} for name in check}
        return
    check(Case(CASES, tmp_path, artifact, capsys))


def test_the_pixels_of_predict_are_those_of_training(outcomes: dict[str, set[str]]) -> None:
    assert {name: outcomes.get(name) for name in BESIDE} == {name: {"passed"} for name in BESIDE}


def test_each_check_is_of_a_line() -> None:
    told = lines()
    assert told, f"no table at {CASES / 'README.md'}"
    for start in CHECKS:
        assert sum(line.startswith(start) for line in told) == 1, start
