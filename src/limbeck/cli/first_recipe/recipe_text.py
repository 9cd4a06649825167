"""A first recipe as text, from what data look like."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from limbeck.core.files import read_at_most
from limbeck.core.system import machine
from limbeck.core.yaml12 import Yaml12Dumper

# The teacher of texts where none is asked for: six layers and 23 million parameters, which a CPU
# can train.
TEXT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
# The teacher of dialogues: it was made for them, and so has a chat template.
DIALOGUE_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
DIALOGUE_LAYERS = 30
TEXT_GENERATION = "text-generation"
# The network of texts that needs no weights of others.
PIECES_MODEL = "ngrams"

TEACHER_LAYERS = 6  # by which a student is measured
# What families of models call the number of their layers in config.json.
NUM_LAYERS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")
MOST_CONFIG_BYTES = 1 << 20
# Ends of the names of classes in transformers that write text; GPT-2's is the older one.
WRITERS = ("ForCausalLM", "LMHeadModel")
WIDEST = 10**6  # characters of a line of YAML, so that a value is never broken into two

HEAD = """\
# Written by `limbeck init`. Every key: docs/guide.md. Try `limbeck check` on this file before \
`limbeck run`.
task: {task}

{comments}data: {data}

"""
TEXT_STAGES = """\
# The large model, tuned on the data first: a hub id or a folder; `epochs: 0` where it is already \
tuned.
teacher: {model: MODEL, epochs: TEACHER_EPOCHS}
# The small model: LAYERS of the teacher's layers.
student: {from: teacher, surgery: drop_layers, layers: LAYERS}
train: {epochs: STUDENT_EPOCHS, batch_tokens: BUDGET, threads: THREADS, seed: 0}

# Learn from the teacher's answers as well as from the labels.
distill: {losses: {SOFT}}
"""
PIECES_STAGES = """\
# The large model and the small one: embeddings of pieces of one to five characters, both trained \
from random weights (`limbeck list networks`).
teacher: {model: ngrams, width: 64, epochs: TEACHER_EPOCHS}
student: {model: ngrams, width: 32, buckets: 4096}
# The many weights of rare pieces are kept small; a token is a character.
train: {epochs: STUDENT_EPOCHS, batch_tokens: BUDGET, max_tokens: CHARACTERS, weight_decay: 2.0, \
threads: THREADS, seed: 0}

# Learn from the teacher's answers as well as from the labels.
distill: {losses: {SOFT}}
"""
IMAGE_STAGES = """\
# The large model and the small one, both trained from random weights (`limbeck list networks`).
teacher: {TEACHER_NETWORK, epochs: TEACHER_EPOCHS}
student: {STUDENT_NETWORK}
# Every epoch shows the images a little shifted, brighter or darker. Add `flip` where an image in \
the mirror is of the same class.
train: {epochs: STUDENT_EPOCHS, batch_rows: BUDGET, augment: [crop, brightness], views: 8, \
threads: THREADS, seed: 0}

# Learn from the teacher's answers as well as from the labels.
distill: {losses: {kl: {temperature: 2.0}}}
"""
# Without augmentation: a student's augmented pixels are not those that such a teacher reads.
PRETRAINED_STAGES = """\
# The large model, tuned on the images first; `epochs: 0` where it is already tuned.
teacher: {model: MODEL, epochs: TEACHER_EPOCHS}
# The small one, trained from random weights (`limbeck list networks`).
student: {STUDENT_NETWORK}
train: {epochs: STUDENT_EPOCHS, batch_rows: BUDGET, threads: THREADS, seed: 0}

# Learn from the teacher's answers as well as from the labels.
distill: {losses: {kl: {temperature: 2.0}}}
"""
MASKED_STAGES = """\
# Its pre-training goes on; RUN/model is then the next recipe's teacher or student.
student: {model: MODEL}
train: {epochs: 1, learning_rate: 2.0e-4, batch_tokens: 2048, max_tokens: 256, threads: THREADS, \
seed: 0}
"""
DIALOGUE_STAGES = """\
# The large model, tuned on the dialogues first: one with a chat template (Instruct, Chat), a hub \
id or a folder; `epochs: 0` where it is already tuned.
teacher: {model: MODEL, epochs: TEACHER_EPOCHS}
# The small model: LAYERS of the teacher's layers.
student: {from: teacher, surgery: drop_layers, layers: LAYERS}
train: {epochs: STUDENT_EPOCHS, batch_tokens: BUDGET, max_tokens: 512, threads: THREADS, seed: 0}

# Learn from the teacher's answers token by token. With `sequence_level: {}` the student learns \
answers that the teacher writes, with `on_policy: {}` from those that it writes itself.
distill: {losses: {kl: {temperature: 1.0}}}
# int8 weights, for the last fifth of the training; `int4` takes half of the bytes.
quantize: {when: train, weights: int8}

# Is it good enough? At most `max_drop` nats a token lost: .05 is about 5 % of perplexity.
verdict: {seeds: 1, max_drop: 0.05, min_speedup: 1}
export: [onnx]
"""
TAIL = """\
# int8 weights and uint8 activations, from half of the training on.
quantize: {when: train, weights: int8, activations: uint8, range: lsq, error_weight: 1.0e-4, \
start: 0.5CALIBRATION}

# Is it good enough? At most `max_drop` of the metric lost, at least `min_speedup` times as fast \
as the teacher.
verdict: {seeds: 1, max_drop: 0.03, min_speedup: SPEEDUP}
export: [onnx]
"""

# The loss between student and teacher: a divergence of what the task predicts.
CATEGORICAL_LOSS = "kl: {temperature: 2.0, weight: 2.0}"
LOSS_OF_TASK = {
    "text-regression": "logit_mse: {}",
    "multi-label-classification": "bernoulli_kl: {temperature: 1.0}",
    # Vectors, for a similarity of two has no classes to agree on.
    "ranking": "hidden: {map: {embedding: embedding}, weight: 1.0}",
}


@dataclass
class Guess:
    """What data look like: the recipe's `task` and `data`.

    `options`: keys of the source beside its path. `reasons`: what was seen, told and written as
    comments. `files`: those of each split that will be read; `files_beside`: what else was read. Of
    images, where they are not read for it: `counts`, the rows of each split, and `side`, the pixels
    of the longer side in which most are read. `reads_pieces`: whether texts are read by a network
    of ours, as pieces of characters. `chat_refusal`: of chats that a language model learns, why
    nothing is proposed for them where none is asked for.
    """

    task: str
    source: str
    path: Path
    options: dict[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    files: dict[str, list[Path]] = field(default_factory=dict)
    files_beside: list[Path] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    side: int | None = None
    reads_pieces: bool = False
    chat_refusal: str | None = None


# Teacher and student of images, by the pixels a side up to which they are meant. The first stage
# of a network costs by the pixels: where they are many it takes every second one of a side.
NETWORKS = (
    (48, "model: small_cnn, width: 32, depth: 2", "model: small_cnn, width: 12, depth: 1"),
    (
        math.inf,
        "model: resnet18, width: 24, stride: 2",
        "model: small_cnn, width: 16, depth: 1, stride: 2",
    ),
)


@dataclass(frozen=True)
class Length:
    """`budget`: of a batch, in tokens or images. `teacher`, `student`: epochs of each.
    `calibration`: the rows that a quantization looks at; None where the usual ones will do."""

    budget: int
    teacher: int
    student: int
    calibration: int | None = None


# Of texts from encoders that were trained before, and of images from random weights.
TEXTS = Length(budget=1024, teacher=3, student=5)
IMAGES = Length(budget=64, teacher=12, student=25)
# Of texts in characters, by a network from random weights of which a step is cheap.
DIALOGUES = Length(budget=2048, teacher=3, student=3)
PIECES = Length(budget=2048, teacher=10, student=15)
MOST_PIECES = 1024  # characters of a text that are read


def usual_length(guess: Guess) -> Length:
    """That of data with rows enough."""
    if guess.reads_pieces:
        return PIECES
    if guess.task == TEXT_GENERATION:
        return DIALOGUES
    return IMAGES if guess.task == "image-classification" else TEXTS


def usual_model(guess: Guess) -> str:
    """The teacher of texts where none is asked for."""
    return DIALOGUE_MODEL if guess.task == TEXT_GENERATION else TEXT_MODEL


def render(guess: Guess, model: str | None, length: Length | None = None) -> str:
    """The text of a recipe, with comments.

    `model`: the teacher; images have a network of ours where it is left out. `length`: of the
    trainings; the usual one where left out.
    """
    length = length or usual_length(guess)
    data = {"source": guess.source, "path": str(guess.path), **guess.options}
    # A reason may hold a value of the data, and with it a line break that would end the comment.
    comments = [f"# {' '.join(reason.split())}\n" for reason in guess.reasons]
    head = HEAD.format(task=guess.task, comments="".join(comments), data=flow(data))
    of_images = PRETRAINED_STAGES if model else IMAGE_STAGES
    by_task = {"image-classification": of_images + TAIL, "masked-lm": MASKED_STAGES}
    by_task[TEXT_GENERATION] = DIALOGUE_STAGES
    of_texts = PIECES_STAGES if guess.reads_pieces else TEXT_STAGES
    stages = by_task.get(guess.task, of_texts + TAIL)
    # Not `format`, as above: the braces of YAML would have to be doubled. The model comes last: its
    # name may hold any letters, the words that are replaced among them.
    stages = stages.replace("SOFT", LOSS_OF_TASK.get(guess.task, CATEGORICAL_LOSS))
    # Two networks of pieces take about the same time, most of which is not spent on their width.
    stages = stages.replace("SPEEDUP", "1" if guess.reads_pieces else "2")
    stages = stages.replace("CHARACTERS", str(MOST_PIECES))
    stages = stages.replace("LAYERS", str(_student_layers(guess, model)))
    # What is not known is taken for small, as archives of arrays mostly are.
    teacher, student = next(pair for most, *pair in NETWORKS if (guess.side or 0) <= most)
    stages = stages.replace("TEACHER_NETWORK", teacher).replace("STUDENT_NETWORK", student)
    stages = stages.replace("TEACHER_EPOCHS", str(length.teacher))
    stages = stages.replace("STUDENT_EPOCHS", str(length.student))
    stages = stages.replace("BUDGET", str(length.budget))
    fewer = f", calibration_rows: {length.calibration}" if length.calibration else ""
    stages = stages.replace("CALIBRATION", fewer)
    stages = stages.replace("THREADS", str(machine.usable_cores()))
    stages = stages.replace("MODEL", flow(model or usual_model(guess)))
    return head + stages


def _student_layers(guess: Guess, model: str | None) -> int:
    """How many layers the student keeps: of six three, and four where each word or two texts beside
    each other are to be understood, which fewer layers do worse."""
    if guess.task == TEXT_GENERATION:
        # Half, for a decoder of few layers writes badly.
        return _layers_in_folder(model or DIALOGUE_MODEL, DIALOGUE_LAYERS) // 2 or 1
    is_hard = guess.task == "token-classification" or "text_b" in guess.options
    return _teacher_layers(model) * (4 if is_hard else 3) // 6 or 1


def _teacher_layers(model: str | None) -> int:
    """How many layers the teacher has by its folder, six where that does not tell, and at most."""
    # Of more layers a student that is small keeps no more.
    return min(_layers_in_folder(model or TEXT_MODEL, TEACHER_LAYERS), TEACHER_LAYERS)


def _layers_in_folder(model: str, usual: int) -> int:
    """How many layers a model has by its folder; the usual number where that does not tell."""
    content = _config_in_folder(model)
    counts = [content.get(name) for name in NUM_LAYERS]
    return next((count for count in counts if isinstance(count, int)), usual)


def is_language_model(model: str) -> bool:
    """Whether a model is a folder of a causal language model, by its config.json."""
    architectures = _config_in_folder(model).get("architectures")
    named = architectures if isinstance(architectures, list) else []
    return any(str(name).endswith(WRITERS) for name in named)


def _config_in_folder(model: str) -> dict[str, Any]:
    """A model's config.json by its folder; nothing where none can be read."""
    config = Path(model).expanduser() / "config.json"
    if not config.is_file():
        return {}
    try:
        with open(config, "rb") as opened:
            content = json.loads(read_at_most(opened, MOST_CONFIG_BYTES, str(config)))
    # What is wrong with the model is told where it is read.
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def flow(value: str | Mapping[str, Any]) -> str:
    """A value as YAML on one line."""
    text: str = yaml.dump(
        value,
        Dumper=Yaml12Dumper,
        default_flow_style=True,
        sort_keys=False,
        allow_unicode=True,
        width=WIDEST,
    )
    # After a text that stands by itself PyYAML writes a line of dots, the end of a document.
    return text.removesuffix("...\n").strip()
