"""The program in an artifact's README.md runs without limbeck, and answers as `predict` does."""

import ast
import json
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from task_examples import (
    IMAGE,
    INTENT,
    MASKED,
    RANKED,
    SCORE,
    SEVERAL,
    TAGS,
    TEXT,
    VECTOR,
    tokenizer_text,
)
from without_limbeck import run_program

import limbeck
from limbeck.artifact import manifest
from limbeck.artifact.proof import golden
from limbeck.artifact.runtimes.onnxruntime import Onnxruntime
from limbeck.core.files import write_json
from limbeck.evaluation.decisions.decision import FILE, Decision
from limbeck.reports.card.program import program_of
from limbeck.sources import Row
from limbeck.tasks import Task
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.inputs.characters import character_tokenizer
from limbeck.tasks.text_classification import TextClassification
from limbeck.tasks.token_classification import TokenClassification

onnx = pytest.importorskip("onnx")

LONG = "Ada lives in New York , a b c a b c Lovelace lives in Yorker . a b c a b c"
COLOURS = {"height": 6, "width": 5, "channels": 3, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}


def pictures(**settings: Any) -> Task:
    return ImageClassification(IMAGE.labels, json.dumps(json.loads(IMAGE.preprocess) | settings))


def windows() -> Task:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_text())
    tokenizer.enable_truncation(8, stride=3)
    return TextClassification(INTENT.labels, tokenizer.to_str())


def byte_level() -> str:
    """A tokenizer that marks the space before a word by itself, as RoBERTa's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {letter: place for place, letter in enumerate(["<s>", "</s>", "<pad>", *letters])}
    ids |= {"Ada": len(ids), "Ad": len(ids) + 1, "\u0120l": len(ids) + 2}
    tokenizer = Tokenizer(models.BPE(ids, [("A", "d"), ("Ad", "a"), ("\u0120", "l")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(pad_id=2, pad_token="<pad>")
    return tokenizer.to_str()


def decided(task: Task, **asked: Any) -> Decision:
    """A bias by which other labels are the most probable than by the logits, and what is asked."""
    bias = np.linspace(0.3, -0.3, len(task.labels))
    values = {"temperature": 2.0, "bias": bias} | asked
    return Decision(likelihood=task.likelihood, **values)


CHARACTERS = TextClassification(
    INTENT.labels, character_tokenizer([{"text": LONG}], 40, keeps_case=True)
)
BYTES = TokenClassification(TAGS, byte_level())
COSTS = np.array([[0, 5, 1], [9, 0, 2], [1, 1, 0.5]])
PROMISE = {"threshold": 0.4}
THRESHOLDS = np.array([0.2, 0.7, 0.55])
SETS = {"least_probability": 0.31}
TEXTS = [["Ada lives in New York"], ["a"], [LONG], ["in Yorker"], ["c b a . ,"]]
PAIRS = [*TEXTS, ["Ada lives", "Lovelace ."], ["a b c", LONG]]
WORDS = [text.split() for (text,) in TEXTS] + [["Ada", "\u2603", "Lovelace"], ["New"]]

CASES: dict[str, tuple[str, Task, Decision | None, list[list[str]]]] = {
    "one label": ("text-classification", INTENT, decided(INTENT), PAIRS),
    "one label, as before decision.json": ("text-classification", INTENT, None, PAIRS),
    "no bias": ("text-classification", INTENT, decided(INTENT, bias=None), PAIRS),
    "costs": ("text-classification", INTENT, decided(INTENT, costs=COSTS), PAIRS),
    "abstaining": ("text-classification", INTENT, decided(INTENT, promise=PROMISE), PAIRS),
    "no promise": ("text-classification", INTENT, decided(INTENT, promise={"threshold": None}), PAIRS),
    "sets": ("text-classification", INTENT, decided(INTENT, sets=SETS), PAIRS),
    "all in sets": ("text-classification", INTENT, decided(INTENT, sets={"least_probability": None}), PAIRS),
    "windows": ("text-classification", windows(), decided(INTENT), TEXTS),
    "characters": ("text-classification", CHARACTERS, decided(INTENT), PAIRS),
    "several labels": ("multi-label-classification", SEVERAL, decided(SEVERAL), PAIRS),
    "thresholds": ("multi-label-classification", SEVERAL, decided(SEVERAL, label_thresholds=THRESHOLDS, promise=PROMISE), PAIRS),
    "a number": ("text-regression", SCORE, None, PAIRS),
    "tags": ("token-classification", TEXT, decided(TEXT), WORDS),
    "tags, abstaining": ("token-classification", TEXT, decided(TEXT, promise={"threshold": 0.01}), WORDS),
    "tags of joined words": ("token-classification", BYTES, decided(BYTES), WORDS),
    "vectors": ("sentence-embedding", VECTOR, None, PAIRS),
    "items": ("ranking", RANKED, None, PAIRS),
}  # fmt: skip


@cache
def graph(name: str, preprocess: str, num_labels: int) -> bytes:
    """A model of random weights: each token's row of a table, or the pixels times a matrix."""
    helper, numbers = onnx.helper, onnx.TensorProto
    generator = np.random.default_rng(0)
    if "image" in name:
        settings = json.loads(preprocess)
        shape = [settings[key] for key in ("channels", "height", "width")]
        inputs = [("pixel_values", numbers.FLOAT, ["rows", *shape])]
        weights = generator.standard_normal((int(np.prod(shape)), num_labels), np.float32)
        nodes = [
            helper.make_node("Flatten", ["pixel_values"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ]
    else:
        # Without the mask, which a graph need not read.
        inputs = [("input_ids", numbers.INT64, ["rows", "tokens"])]
        weights = generator.standard_normal((400, num_labels), np.float32)
        one = "token" not in name
        nodes = [
            helper.make_node("Gather", ["weights", "input_ids"], ["each" if one else "logits"])
        ]
        if one:
            nodes.append(helper.make_node("ReduceMean", ["each"], ["logits"], axes=[1], keepdims=0))
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "toy",
            [helper.make_tensor_value_info(*each) for each in inputs],
            [helper.make_tensor_value_info("logits", numbers.FLOAT, None)],
            [onnx.numpy_helper.from_array(weights, "weights")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    return model.SerializeToString()


def write_artifact(
    name: str, task: Task, decision: Decision | None, row: Row, folder: Path
) -> Path:
    """An artifact of a toy graph, which answers with 4 numbers where a task has no labels."""
    has_classes = len(task.labels) > 1
    width = len(task.labels) if has_classes else 1 if name == "text-regression" else 4
    (folder / "model.onnx").write_bytes(graph(name, task.preprocess, width))
    (folder / task.preprocess_file).write_text(task.preprocess, encoding="utf-8")
    write_json(folder / "labels.json", list(task.labels))
    (encoded,) = task.encode([row])
    arrays = {
        key: value if value.ndim == 2 else value[None] for key, value in encoded.inputs.items()
    }
    files = {"onnxruntime": "model.onnx"}
    golden.write(arrays, files, folder)
    if decision:
        write_json(folder / FILE, decision.to_json())
    manifest.write(folder, name, manifest.graphs_of(files))
    return folder


def answers_of(code: str, asked: list[tuple[str, str]], folder: Path) -> list[Any]:
    """What the program prints, once for each (what stands in it, what is put there)."""
    programs = []
    for placeholder, given in asked:
        assert code.count(placeholder) == 1, placeholder
        programs.append(code.replace(placeholder, given))
    # One process: each takes a second to import what it needs.
    ended = run_program("\n".join(programs), folder)
    assert (ended.returncode, ended.stderr) == (0, "")
    return [ast.literal_eval(line) for line in ended.stdout.splitlines()]


def assert_same(printed: Any, answer: Any) -> None:
    """What is printed is said by limbeck too, of numbers to the last digit but one."""
    assert printed.keys() <= answer.keys()
    for key, value in printed.items():
        if isinstance(value, float) or key.startswith("embedding"):
            np.testing.assert_allclose(value, answer[key], rtol=0, atol=2.5e-6)
        else:
            assert value == answer[key], key


@pytest.mark.parametrize("case", CASES)
def test_its_program_answers_texts_as_predict_does(case: str, tmp_path: Path) -> None:
    name, task, decision, inputs = CASES[case]
    first = task.row(inputs[0]) if "token" in name else task.row(tuple(inputs[0]))
    model = limbeck.load(write_artifact(name, task, decision, first, tmp_path))
    program = program_of(tmp_path)
    assert [line for line in program.notes if "reads words" in line] == [
        *(program.notes if "token" in name else [])
    ]
    if "token" in name:
        asked = [('["Ada", "lives", "in", "London"]', repr(words)) for words in inputs]
    elif case == "windows":
        asked = [('"a text"', repr(text)) for (text,) in inputs]
    else:
        asked = [('["a text"]', repr(texts)) for texts in inputs]
    printed = answers_of(program.code, asked, tmp_path)
    answers = model.predict(
        [tuple(each) for each in inputs] if case != "windows" else [text for (text,) in inputs]
    )
    assert len(printed) == len(inputs)
    for found, answer in zip(printed, answers, strict=True):
        assert_same(found, answer)
    told = {key for found in printed for key in found}
    assert told >= {"abstain"} if decision and decision.promise else "abstain" not in told
    # The cases show what they are to show: not one answer for everything.
    assert len({str(found) for found in printed}) > 1


def saved(folder: Path) -> list[str]:
    """Pictures of every mode that a file may have, of other sizes than the model's."""
    from PIL import Image

    generator = np.random.default_rng(1)
    grey = Image.fromarray(generator.integers(0, 256, (12, 20), np.uint8))
    colour = Image.fromarray(generator.integers(0, 256, (9, 7, 3), np.uint8))
    glass = Image.fromarray(generator.integers(0, 256, (8, 16, 4), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    files: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("grey.png", grey, {}),
        ("colour.png", colour, {}),
        ("glass.png", glass, {}),
        ("grey glass.png", glass.convert("LA"), {}),
        ("palette.gif", colour.convert("P"), {}),
        ("see-through palette.png", colour.quantize(7), {"transparency": 3}),
        ("one colour is glass.png", colour, {"transparency": colour.getpixel((2, 2))}),
        ("inks.tif", colour.convert("CMYK"), {}),
        ("ink.png", grey.convert("1"), {}),
        ("turned.jpg", colour, {"exif": turned}),
        ("the very size.png", colour.resize((5, 6)), {}),
    ]
    for name, picture, how in files:
        picture.save(folder / name, **how)
    return [str(folder / name) for name, _, _ in files]


COLOUR = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "channels": 3}
READINGS: dict[str, dict[str, Any]] = {
    "grey": {},
    "nearest": {"resample": "nearest"},
    "colour": COLOUR,
    "cropped": {**COLOUR, "edge": 8, "resample": "bicubic"},
    "squeezed": {**COLOUR, "squeeze": [8, 9]},
    "of grey images": {**COLOUR, "reading": {"mode": "L"}},
    "of small images on black": {**COLOUR, "reading": {"size": 4, "background": "#102030"}},
    "of colours in grey": {"reading": {"mode": "RGB", "size": 7}},
}


@pytest.mark.parametrize("reading", READINGS)
def test_its_program_answers_pictures_as_predict_does(reading: str, tmp_path: Path) -> None:
    task = pictures(**READINGS[reading])
    row = {"image": np.zeros((6, 5), np.uint8)}
    folder = write_artifact("image-classification", task, decided(task), row, tmp_path)
    paths = saved(folder)
    program = program_of(folder)
    asked = [('"picture.png"', repr(path)) for path in paths]
    printed = answers_of(program.code, asked, folder)
    for path, found, answer in zip(
        paths, printed, limbeck.load(folder).predict(paths), strict=True
    ):
        assert (path, found["label"]) == (path, answer["label"])
        assert_same(found, answer)


def test_a_picture_of_16_bits_is_refused_and_not_answered_wrongly(tmp_path: Path) -> None:
    from PIL import Image

    row = {"image": np.zeros((6, 5), np.uint8)}
    folder = write_artifact("image-classification", IMAGE, None, row, tmp_path)
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(folder / "picture.png")
    ended = run_program(program_of(folder).code, folder)
    assert "save it with 8 bits" in ended.stderr


def test_where_a_few_lines_would_not_do_it_says_so(tmp_path: Path) -> None:
    row = MASKED.row("Ada lives in [MASK] York")
    folder = write_artifact("masked-lm", MASKED, None, row, tmp_path)
    program = program_of(folder)
    assert (program.code, "masked-lm" in program.notes[0]) == ("", True)


def test_a_graph_of_another_runtime_has_no_program_of_onnx_runtime(tmp_path: Path) -> None:
    folder = write_artifact("text-classification", INTENT, None, INTENT.row("a"), tmp_path)
    content = json.loads((folder / "manifest.json").read_text())
    content["graphs"] = [{"runtime": "openvino", "role": "forward", "file": "model.xml"}]
    write_json(folder / "manifest.json", content)
    assert program_of(folder).code == ""
    content["graphs"].append({"runtime": "onnxruntime", "role": "forward", "file": "model.onnx"})
    write_json(folder / "manifest.json", content)
    program = program_of(folder)
    assert "model.onnx" in program.code
    assert "--runtime onnxruntime" in program.notes[0]


def test_it_opens_the_graph_as_limbeck_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an encoder one more fusion moved a probability by .0085; a toy graph has none to fuse."""
    folder = write_artifact("text-classification", INTENT, None, INTENT.row("a"), tmp_path)
    code = program_of(folder).code
    opened: list[dict[str, Any]] = []

    def record(path: str, options: Any, providers: list[str], **more: Any) -> Any:
        level = options.get_session_config_entry("session.qdq_matmulnbits_accuracy_level")
        threads = options.intra_op_num_threads
        opened.append({"providers": providers, "level": level, "threads": threads, **more})
        raise KeyboardInterrupt

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    monkeypatch.chdir(folder)
    program = folder / "program.py"
    program.write_text(code, encoding="utf-8")
    # In this process, where the session that it opens can be looked at.
    works = (
        lambda: runpy.run_path(str(program)),
        lambda: Onnxruntime().open(folder / "model.onnx", 1),
    )
    for work in works:
        with pytest.raises(KeyboardInterrupt):
            work()
    assert opened[0] == opened[1]


# What onnxruntime must be told before it is imported.
QUIET = "os.environ"


@pytest.mark.parametrize("case", CASES)
def test_it_is_short(case: str, tmp_path: Path) -> None:
    """Of a plain classifier about ten lines beside the imports, and never more than a page."""
    name, task, decision, inputs = CASES[case]
    row = task.row(inputs[0]) if "token" in name else task.row(tuple(inputs[0]))
    code = program_of(write_artifact(name, task, decision, row, tmp_path)).code
    lines = [line for line in code.splitlines() if line and not line.startswith(("import", QUIET))]
    assert len(lines) <= (20 if case.startswith("one label") else 28)
    assert max(map(len, code.splitlines())) <= 100
