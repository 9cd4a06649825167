"""The model card of an artifact: what it is, how good it was, and how it is loaded; Markdown."""

import json
from typing import Any

from limbeck.artifact.manifest import plug_ins_of
from limbeck.core import registry
from limbeck.evaluation.decisions.decision import FILE, PROBABILITIES

Json = dict[str, Any]

CARD_FILES = {
    "labels.json": "the classes, in the order of the logits",
    "tokenizer.json` or `preprocess.json": "how raw input becomes tensors",
    "decision.json": "temperature, thresholds and costs by which logits become answers",
    "recipe.yaml": "the recipe of the training, every default written out",
    "golden.safetensors": "inputs and outputs that are replayed when the model is loaded",
    "manifest.json": "SHA-256 of every file, and the list of graphs",
}

# How raw input becomes the graph's inputs, by the task's `preprocess_file`.
INPUTS = {
    "tokenizer.json": """\
tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.no_padding()
encoding = tokenizer.encode("a text")  # a pair: encode(one, other); is_pretokenized=True: words
ids = numpy.array([encoding.ids])
inputs = {"input_ids": ids, "attention_mask": numpy.ones_like(ids)}""",
    "preprocess.json": """\
# Where preprocess.json has them, limbeck also does what `edge`, `squeeze` and `reading` say.
settings = json.loads(Path("preprocess.json").read_text(encoding="utf-8"))
picture = Image.open("picture.png").convert("L" if settings["channels"] == 1 else "RGB")
method = Image.Resampling[settings.get("resample", "bilinear").upper()]
picture = picture.resize((settings["width"], settings["height"]), method)
pixels = numpy.asarray(picture).reshape(settings["height"], settings["width"], -1) / 255
pixels = (pixels - settings["mean"]) / settings["std"]
inputs = {"pixel_values": pixels.transpose(2, 0, 1)[None].astype(numpy.float32)}""",
}
IMPORTS = {
    "tokenizer.json": "from tokenizers import Tokenizer",
    "preprocess.json": "from PIL import Image",
}

# What to do with the logits, by the task's `likelihood`.
LOGITS = {
    "categorical": "print([labels[index] for index in logits[0].argmax(-1).flat])",
    "bernoulli": "print([labels[index] for index in numpy.flatnonzero(logits[0] > 0)])",
    "gaussian": "print(logits[0])  # a vector, or a score as a share of the range in labels.json",
}

# How the graph's logits are fitted, for tasks whose artifacts have decision.json.
LINES = (
    "# Thresholds, costs and abstaining, where decision.json has them, are limbeck's part.",
    'decision = json.loads(Path("decision.json").read_text(encoding="utf-8"))',
    'logits = logits / decision["temperature"] + numpy.array(decision["bias"] or 0)',
)
FITTED = dict.fromkeys(PROBABILITIES, LINES)


def card(
    *,
    task: str,
    labels: list[str],
    metrics: dict[str, float | None],
    formats: dict[str, str],
    graphs: list[Json],
) -> str:
    """The text of README.md.

    It holds no time, path or latency, so that a resumed run writes the same bytes.

    task: its name in a recipe.
    metrics: name -> value on the test split, in the order to print.
    formats: what -> format, such as weights -> int8.
    graphs: of the manifest, each with `runtime`, `role` and `file`.
    """
    qualities = {
        name: "undefined" if value is None else f"{value:.4f}" for name, value in metrics.items()
    }
    files = {graph["file"]: f"the {graph['role']} graph for {graph['runtime']}" for graph in graphs}
    task_class = registry.load("tasks", task)
    has_decision = task_class.likelihood in FITTED
    files |= {name: what for name, what in CARD_FILES.items() if has_decision or name != FILE}
    onnx_files = [graph["file"] for graph in graphs if graph["file"].endswith(".onnx")]

    lines = [f"# A small model for {task.replace('-', ' ')}", ""]
    lines.append(
        "Trained and quantized by `limbeck`. "
        "This folder is complete: it runs without the code that trained it."
    )
    packages = sorted(set(plug_ins_of(task, graphs).values()))
    if packages:
        lines += ["", f"It is opened with {', '.join(packages)}, which must be installed beside."]
    lines += _table("format", "value", formats)
    lines += _table("quality on the test split", "value", qualities)
    # A regression and an embedding have none.
    if labels:
        text = json.dumps(labels, ensure_ascii=False)
        lines += _fenced(f"## Labels ({len(labels)})", "json", text)
    lines += _with_limbeck()
    # What runs a graph of another kind is not ONNX Runtime, whose lines these are; and what a
    # plug-in's input makes of a row, only the plug-in knows.
    if onnx_files and task_class.preprocess_file in INPUTS:
        lines += _with_onnxruntime(onnx_files[0], task_class, named=bool(labels))
    meanings = {f"`{file}`": meaning for file, meaning in files.items()}
    lines += _table("file", "what it is", meanings)
    return "\n".join([*lines, ""])


def _table(left: str, right: str, rows: dict[str, str]) -> list[str]:
    """The lines of a table of two columns, after a blank one."""
    lines = ["", f"| {left} | {right} |", "|---|---|"]
    for key, value in rows.items():
        lines.append(f"| {_cell(key)} | {_cell(value)} |")
    return lines


def _cell(text: object) -> str:
    """Text that does not end its cell: a user's label may hold a bar."""
    return str(text).replace("|", "\\|")


def _fenced(title: str, language: str, text: str) -> list[str]:
    """A heading and a block of code."""
    return ["", title, "", f"```{language}", text, "```"]


def _with_limbeck() -> list[str]:
    """How the artifact is loaded with this package."""
    code = (
        "import limbeck\n\n"
        'model = limbeck.load("path/to/this/folder")  '
        "# checks every file and replays the golden outputs\n"
        "model.predict(...)  # a text, or the path or bytes of an image"
    )
    return _fenced("## With limbeck", "python", code)


def _with_onnxruntime(file: str, task_class: Any, *, named: bool) -> list[str]:
    """How its graph is run without this package: a program that runs in the folder.

    named: whether the logits are of labels, which an embedding's and a word's are not.
    """
    preprocess_file = task_class.preprocess_file
    code = [
        "import json",
        "from pathlib import Path\n",
        "import numpy",
        "import onnxruntime",
        f"{IMPORTS[preprocess_file]}\n",
        INPUTS[preprocess_file],
        "options = onnxruntime.SessionOptions()",
        "# What is float stays float: no kernel rounds it by itself.",
        'options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")',
        f'session = onnxruntime.InferenceSession("{file}", options)',
        "logits = session.run(None, inputs)[0]",
        'labels = json.loads(Path("labels.json").read_text(encoding="utf-8"))',
        *(FITTED.get(task_class.likelihood, ()) if named else ()),
        LOGITS[task_class.likelihood] if named else "print(logits[0])",
    ]
    return _fenced("## With ONNX Runtime alone", "python", "\n".join(code))
