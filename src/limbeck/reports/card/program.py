"""A program that predicts with an artifact and without limbeck, and gives limbeck's answers.

It is put together for the artifact at hand: of its task's input and head, of what its tokenizer or
preprocess.json asks for, and of what decision.json says, so that no line stands there for nothing
and none is missing. Where it would take more than a few lines, `program_of` says so instead.

In the program `units` are the logits (W, V) of the row's W units (words, or the one text or image),
`z` those logits as decision.json fits them, and `p` the probabilities.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.artifact.load import load_decision, load_task
from limbeck.artifact.manifest import MANIFEST
from limbeck.core.files import read_json
from limbeck.evaluation.decisions.decision import Decision
from limbeck.sources._pixels import WHITE
from limbeck.tasks.heads.item_of_query import ItemOfQuery
from limbeck.tasks.heads.number import Number
from limbeck.tasks.heads.one_label import OneLabel, OneLabelWithAuc
from limbeck.tasks.heads.several_labels import SeveralLabels
from limbeck.tasks.heads.similarity import Similarity
from limbeck.tasks.heads.tags import Tags
from limbeck.tasks.inputs.image import ImageInput
from limbeck.tasks.inputs.separate_texts import SeparateTextsInput
from limbeck.tasks.inputs.text import TextInput
from limbeck.tasks.inputs.words import WordsInput, marks_spaces_itself

Lines = list[str]

# As `artifact.runtimes.onnxruntime` opens it: another fusion moves last bits, by which a value that
# is quantized falls on another level, and a probability moved by .0085. Not every graph has a mask.
RUN = """\
options = onnxruntime.SessionOptions()  # these settings keep the trained integers' answers:
options.intra_op_num_threads = 1  # a CPU without VNNI needs "session.x64quantprecision": "1"
options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
session = onnxruntime.InferenceSession(
    "{file}", options, ["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
)
{logits} = session.run(None, {{x.name: inputs[x.name] for x in session.get_inputs()}})[0]"""
# limbeck reads a single text without padding, whatever the file says.
TOKENIZER = """\
tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")  # it cuts long texts, too
tokenizer.no_padding()"""

TEXT = """\
text = ["a text"]  # of a pair: ["one text", "the other"]
ids = np.array([tokenizer.encode(*text).ids], np.int64)
inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}"""
# Padded as limbeck pads them: a graph that takes its steps from what it reads sees the padding.
WINDOWS = """\
encoding = tokenizer.encode("a text")
windows = [encoding, *encoding.overflowing]  # of a long text, read together
ids = np.full((len(windows), max(map(len, windows))), {padding}, np.int64)
mask = np.zeros_like(ids)
for row, window in enumerate(windows):
    ids[row, : len(window)], mask[row, : len(window)] = window.ids, 1
inputs = {{"input_ids": ids, "attention_mask": mask}}"""
# Each text is a row of the graph, and the two are padded to one length, as in `SeparateTextsInput`.
SEPARATE = """\
texts = ["a text"]  # two, to compare them: ["one text", "the other"]
encodings = tokenizer.encode_batch(texts)
ids = np.full((len(texts), max(map(len, encodings))), {padding}, np.int64)
mask = np.zeros_like(ids)
for row, encoding in enumerate(encodings):
    ids[row, : len(encoding)], mask[row, : len(encoding)] = encoding.ids, 1
inputs = {{"input_ids": ids, "attention_mask": mask}}"""
# `word_ids`: of each token its word, None for the tokenizer's own marks.
WORDS = """\
words = ["Ada", "lives", "in", "London"]
encoding = tokenizer.encode(words, is_pretokenized=True)
word_ids, ids = encoding.word_ids, np.array([encoding.ids], np.int64)
inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}"""
# This tokenizer marks the space before a word by itself, so that it must see the whole text.
JOINED_WORDS = """\
words = ["Ada", "lives", "in", "London"]
encoding = tokenizer.encode(" ".join(words))
ends = np.cumsum([len(word) + 1 for word in words]) - 1
starts = np.array([start for start, _ in encoding.offsets])
word_ids = np.minimum(np.searchsorted(ends, starts, side="right"), len(words) - 1)
word_ids = np.where(encoding.special_tokens_mask, -1, word_ids).tolist()
ids = np.array([encoding.ids], np.int64)
inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}"""
# A word is read at its first token (`WordsInput`).
FIRST_TOKENS = """\
first = [word_ids.index(word) if word in word_ids else -1 for word in range(len(words))]
units = np.where(np.array(first)[:, None] < 0, 0, logits[0][first])  # 0: a word that was cut off"""

# Upright, then opaque, then of colours: the order of `sources._pixels`. Grey stays grey to the bit
# on its way over RGBA. Wide pixels are refused: Pillow would clip them, and limbeck scales them.
OPEN_IMAGE = """\
picture = PIL.ImageOps.exif_transpose(PIL.Image.open("picture.png"))
assert picture.mode[0] not in "IF", "16 bits or floats: save it with 8 bits a channel"
ground = PIL.Image.new("RGBA", picture.size, {background})
picture = PIL.Image.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")"""
EDGE = """\
width, height = picture.size
picture = picture.resize(
    (int({edge} * width / min(width, height)), int({edge} * height / min(width, height))), {method}
)"""
CROP = """\
left, top = (picture.width - {width}) // 2, (picture.height - {height}) // 2
picture = picture.crop((left, top, left + {width}, top + {height}))"""
# In float32 at every step, as `ImageInput.pixels`: float64 would end in other last bits.
PIXELS = """\
pixels = np.asarray(picture, np.float32).reshape({height}, {width}, {channels}) / np.float32(255)
pixels = (pixels - np.float32({mean})) / np.float32({std})
inputs = {{"pixel_values": pixels.transpose(2, 0, 1)[None].astype(np.float32)}}"""

LABELS = 'labels = json.load(open("labels.json", encoding="utf-8"))'
DECISION = 'decision = json.load(open("decision.json", encoding="utf-8"))'
# In float64, as `Decision.fitted`. Logits of 0 are a word that is not read: it gets no bias.
TEMPERED = 'z = units.astype(np.float64) / decision["temperature"]'
BIAS = 'z = z + np.array(decision["bias"]) * (units != 0).any(-1, keepdims=True)'
SOFTMAX = """\
p = np.exp(z - z.max(-1, keepdims=True))
p /= p.sum(-1, keepdims=True)"""
# The same as 1 / (1 + exp(-z)), which overflows.
SIGMOID = "p = 0.5 + 0.5 * np.tanh(z / 2)"

# Of a row (W, V) of what is decided, the probability that all of it is right.
OF_ONE = "confidence = p[0, best]"
OF_SEVERAL = "confidence = np.prod(np.where(given, p[0], 1 - p[0]))"
OF_WORDS = "confidence = np.prod(p.max(-1))"
ABSTAIN = """\
answer["confidence"] = round(float(confidence), 6)
answer["abstain"] = bool(confidence < decision["promise"]["threshold"])"""
# No promise could be made, and whoever asked for one must not take the answers.
ALWAYS_ABSTAIN = """\
answer["confidence"] = round(float(confidence), 6)
answer["abstain"] = True  # what was promised of the answers could not be shown"""
SETS = """\
in_set = np.flatnonzero(p[0] >= {least})
answer["set"] = [labels[index] for index in in_set]"""


@dataclass(frozen=True)
class Program:
    """What an artifact is run with. `code`: "" where no few lines do what limbeck does; then
    `notes` say why. `notes`: sentences on what the program does not do."""

    code: str
    notes: Sequence[str]


def program_of(folder: Path) -> Program:
    """The program for the artifact in `folder`, which is taken for sound (`artifact.load`)."""
    manifest = read_json(folder / MANIFEST)
    task = load_task(folder, manifest["task"])
    graphs = [graph["file"] for graph in manifest["graphs"]]
    onnx_files = [file for file in graphs if file.endswith(".onnx")]
    # The class itself: one that is derived from it may read or answer otherwise.
    input_type, head_type = getattr(task, "input_type", None), getattr(task, "head_type", None)
    if input_type not in INPUTS or head_type not in HEADS:
        name = manifest["task"]
        return Program("", [f"What `{name}` does to rows and logits takes more than a few lines."])
    if not onnx_files:
        return Program("", ["It has no graph for ONNX Runtime."])
    lines, notes = INPUTS[input_type](task)
    decision = load_decision(folder, manifest, task)
    # The logits are those of units, unless there is a step between.
    step = MEAN if getattr(task.input, "reads_windows", False) else STEPS.get(input_type, "")
    lines.append(RUN.format(file=onnx_files[0], logits="logits" if step else "units"))
    lines += [step] if step else []
    lines += HEADS[head_type](task, decision)
    if onnx_files[0] != graphs[0]:
        notes.append("Its answers are those of `limbeck predict --runtime onnxruntime`.")
    code = "\n".join([*_imports(lines, task.preprocess_file), "", *lines])
    return Program(code, notes)


# Before the import, which reads it.
QUIET = 'os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else its maker is told what is run'


def _imports(lines: Sequence[str], preprocess_file: str) -> Lines:
    """The imports that the lines need."""
    needed = ["import json"] if any("json.load" in line for line in lines) else []
    needed += ["import os", "", QUIET, "import numpy as np", "import onnxruntime"]
    if preprocess_file == "tokenizer.json":
        return [*needed, "import tokenizers"]
    return [*needed, "import PIL.Image", "import PIL.ImageOps"]


# How a row becomes the graph's inputs.


def _text(task: Any) -> tuple[Lines, Lines]:
    if task.input.reads_windows:
        windows = WINDOWS.format(padding=task.input.padding["input_ids"])
        return [TOKENIZER, windows], []
    return [TOKENIZER, TEXT], []


def _words(task: Any) -> tuple[Lines, Lines]:
    is_joined = marks_spaces_itself(task.input.tokenizer)
    note = (
        "It reads words. A text is cut into words by limbeck, for every script, in more than a few "
        "lines: `limbeck predict` tells them under `words`. Punctuation is a word of its own."
    )
    return [TOKENIZER, JOINED_WORDS if is_joined else WORDS], [note]


def _separate_texts(task: Any) -> tuple[Lines, Lines]:
    return [TOKENIZER, SEPARATE.format(padding=task.input.padding["input_ids"])], []


def _image(task: Any) -> tuple[Lines, Lines]:
    settings = task.input.settings
    reading = settings.get("reading", {})
    lines = [OPEN_IMAGE.format(background=json.dumps(reading.get("background", WHITE)))]
    # 1. What the source of the training images did to a file: first the mode, then the size.
    mode = reading.get("mode", task.input.mode)
    if mode != "RGB":
        lines.append(f'picture = picture.convert("{mode}")')
    if "size" in reading:
        size = (reading["size"], reading["size"])
        lines.append(f"picture = picture.resize({size}, PIL.Image.Resampling.BILINEAR)")
    # 2. What the model reads.
    if mode != task.input.mode:
        lines.append(f'picture = picture.convert("{task.input.mode}")')
    lines += _resized(settings)
    lines.append(PIXELS.format(**settings))
    return lines, []


def _resized(settings: Mapping[str, Any]) -> Lines:
    """The lines that bring a picture to the model's size."""
    method = f"PIL.Image.Resampling.{settings.get('resample', 'bilinear').upper()}"
    if "edge" in settings:
        return [EDGE.format(edge=settings["edge"], method=method), CROP.format(**settings)]
    height, width = settings.get("squeeze", (settings["height"], settings["width"]))
    lines = [f"picture = picture.resize(({width}, {height}), {method})"]
    if (height, width) != (settings["height"], settings["width"]):
        lines.append(CROP.format(**settings))
    return lines


# How logits become the answer.


def _fitted(decision: Decision | None, probabilities: str) -> Lines:
    """Labels, fitted logits and their probabilities."""
    lines = [LABELS]
    if decision is None:
        # An artifact of before decision.json: its logits are what they are.
        return [*lines, "z = units.astype(np.float64)", probabilities]
    bias = [] if decision.bias is None else [BIAS]
    return [*lines, DECISION, TEMPERED, *bias, probabilities]


def _promised(decision: Decision | None, confidence: str) -> Lines:
    """What is said of an answer beside it: whether it is to be taken, and the labels of its set."""
    lines: Lines = []
    if decision is None:
        return lines
    if decision.sets is not None:
        least = decision.sets["least_probability"]
        number = 'decision["sets"]["least_probability"]'
        # Of too few held-out rows every label is in the set.
        lines.append(SETS.format(least="0" if least is None else number))
    if decision.promise is not None:
        can_promise = decision.promise["threshold"] is not None
        lines += [confidence, ABSTAIN if can_promise else ALWAYS_ABSTAIN]
    return lines


def _printed(answer: str, added: Lines) -> Lines:
    """The lines that print an answer, after those that add to it."""
    return [f"answer = {answer}", *added, "print(answer)"] if added else [f"print({answer})"]


def _one_label(task: Any, decision: Decision | None) -> Lines:
    # The cheapest answer (Elkan, 2001); with no costs the most probable one.
    has_costs = decision is not None and decision.costs is not None
    best = '(p[0] @ np.array(decision["costs"])).argmin()' if has_costs else "p[0].argmax()"
    answer = '{"label": labels[best], "probability": round(float(p[0, best]), 6)}'
    return [
        *_fitted(decision, SOFTMAX),
        f"best = {best}",
        *_printed(answer, _promised(decision, OF_ONE)),
    ]


def _several_labels(task: Any, decision: Decision | None) -> Lines:
    # By the logit, as `SeveralLabels.decode`: a probability of one half may be rounded to it.
    has_thresholds = decision is not None and decision.label_thresholds is not None
    given = 'p[0] > np.array(decision["label_thresholds"])' if has_thresholds else "z[0] > 0"
    answer = '{"labels": [labels[index] for index in np.flatnonzero(given)]}'
    return [
        *_fitted(decision, SIGMOID),
        f"given = {given}",
        *_printed(answer, _promised(decision, OF_SEVERAL)),
    ]


def _tags(task: Any, decision: Decision | None) -> Lines:
    answer = '{"words": words, "tags": [labels[index] for index in p.argmax(-1)]}'
    return [*_fitted(decision, SOFTMAX), *_printed(answer, _promised(decision, OF_WORDS))]


def _number(task: Any, decision: Decision | None) -> Lines:
    low, high = task.head.bounds
    # As `Number.decode` has it; the range is that of train.
    return [f'print({{"score": round({low!r} + {high - low!r} * float(units[0, 0]), 6)}})']


def _vectors(task: Any, decision: Decision | None) -> Lines:
    return [
        "vectors = units.astype(np.float64).round(6).tolist()",
        'answer = {"embedding": vectors[0]}',
        "if len(units) == 2:",
        "    similarity = round(float(units[0] @ units[1]), 6)",
        '    answer = {"similarity": similarity, "embeddings": vectors}',
        "print(answer)",
    ]


INPUTS: dict[Any, Callable[[Any], tuple[Lines, Lines]]] = {
    TextInput: _text,
    WordsInput: _words,
    SeparateTextsInput: _separate_texts,
    ImageInput: _image,
}
# From the graph's logits to those of units.
STEPS: dict[Any, str] = {WordsInput: FIRST_TOKENS}
MEAN = "units = logits.mean(0, keepdims=True)"
HEADS: dict[Any, Callable[[Any, Decision | None], Lines]] = {
    OneLabel: _one_label,
    OneLabelWithAuc: _one_label,
    SeveralLabels: _several_labels,
    Number: _number,
    Similarity: _vectors,
    ItemOfQuery: _vectors,
    Tags: _tags,
}
