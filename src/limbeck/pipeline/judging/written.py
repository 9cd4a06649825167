"""report.json's `written`: what the models of a run write, greedily, on questions of the test
split, and how long they take.

Whose answers are compared: the artifact's, in its own runtime; those of a float student, where an
arm has one; and the teacher's. Answers are stages of the store, and a kill loses one answer.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from limbeck.artifact.generation import Decoder
from limbeck.artifact.generation.greedy import greedy_answers
from limbeck.artifact.generation.text_model import text_model_of
from limbeck.artifact.load import load
from limbeck.artifact.manifest import graphs_in
from limbeck.core.files import digest, sync, write_bytes
from limbeck.evaluation.generated.figures import (
    Written,
    differences,
    figures_of,
    first_difference,
    variety_of,
)
from limbeck.evaluation.verdict import judged_arm
from limbeck.exporters.requirements import package_versions
from limbeck.pipeline.arm import Arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.speed.writing import TimedWriter, measure_writing
from limbeck.pipeline.stage import Stage
from limbeck.pipeline.steps.quantizing import quantization_code
from limbeck.tasks.inputs.questions import (
    Question,
    longest_prompt,
    prompt_of,
    questions_of,
    tokens_of_answer,
)
from limbeck.tasks.text_generation import TextGeneration
from limbeck.training.decoding import decoder_of

TEACHER = "teacher"
PYTORCH = "pytorch"
# An interval of a share is then .1 wide to either side at most.
MOST_QUESTIONS = 100
# Weights that are read for all answers of the largest model, which bounds the time: some five
# minutes of one core. Fewer questions than these say nothing, however long they take.
MOST_WEIGHTS_READ = 4e11
FEWEST_QUESTIONS = 10
# Answers that a reader sees side by side.
MOST_SHOWN = 10
# In the folder of a stage: one answer a line.
ANSWERS = "answers.jsonl"


@dataclass(frozen=True)
class Writer:
    """A model that answers.

    - `key`: what stands for its weights in the store.
    - `task`: with its preprocessing.
    - `runtime`: what runs it.
    - `open`: gives the model as the loop runs it.
    - `inputs`, `components`: what else its answers depend on, as of a `Stage`.
    - `spec`: what a process that times it is told; None where no other process can open it.
    """

    name: str
    key: str
    task: TextGeneration
    runtime: str
    open: Callable[[], Decoder]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    components: Sequence[tuple[str, str]] = ()
    spec: Mapping[str, Any] | None = None

    @property
    def tokenizer_key(self) -> str:
        """The same for two models whose tokens are the same."""
        return digest(self.task.input.parts["tokenizer"])


@dataclass(frozen=True)
class Asked:
    """What all writers are asked.

    - `prompts`: by writer, as its own tokenizer has them.
    - `most_tokens`: of an answer.
    """

    questions: Sequence[Question]
    prompts: Mapping[str, Sequence[Sequence[int]]]
    most_tokens: int


def describe_written(run: RunContext, arms: Mapping[str, list[Arm]]) -> dict[str, Any] | None:
    """What the models of a run write, of first seeds; None for a task that writes no texts.

    Raises:
        WorkerDied: a process that measures ended, or failed.
    """
    shipped = judged_arm(arms)
    if not isinstance(arms[shipped][0].task, TextGeneration):
        return None
    writers = writers_of(run, arms, shipped)
    largest = max(seeds[0].num_parameters for seeds in arms.values())
    asked = asked_of(run, writers, largest)
    if not asked.questions:
        # Such as dialogues in which each answer is longer than what the model reads.
        return None
    # 1. Who writes what.
    answers = {each.name: answers_of(run, each, asked) for each in writers}
    # 2. What that is worth.
    references = [question.reference for question in asked.questions]
    told: dict[str, Any] = {
        "questions": len(references),
        "rows": len(run.data.test),
        "most_tokens": asked.most_tokens,
        "shipped": shipped,
        "data": variety_of(references),
        "writers": {
            each.name: {"runtime": each.runtime, **figures_of(answers[each.name], references)}
            for each in writers
        },
        "differences": compared(writers, answers, shipped),
        "examples": examples(writers, answers, asked, shipped),
    }
    # 3. How long it takes: measured today, whatever lies in the store.
    return told | {"speed": speed_of(writers, asked)}


def writers_of(run: RunContext, arms: Mapping[str, list[Arm]], shipped: str) -> list[Writer]:
    """Who writes: the teacher, a float student, and what is shipped; each only where it is."""
    names = [name for name in (TEACHER, float_arm(arms), shipped) if name in arms]
    # Without quantization the shipped arm is the float student.
    return [writer_of(run, name, arms[name][0]) for name in dict.fromkeys(names)]


def float_arm(arms: Mapping[str, list[Arm]]) -> str:
    """The float student that is nearest to the shipped one; nothing where a run has none."""
    is_float = [
        name for name, seeds in arms.items() if name != TEACHER and seeds[0].artifact is None
    ]
    # Distilled as the shipped one was, where there is such an arm.
    return "kd" if "kd" in is_float else "".join(is_float[-1:])


def writer_of(run: RunContext, name: str, arm: Arm) -> Writer:
    """An arm as it writes: its artifact in its first runtime, or its float model."""
    task = arm.task
    assert isinstance(task, TextGeneration)
    if arm.artifact is None:
        # Time does not hang on the values of weights: those before the training will do.
        spec = {"model": str(arm.student.folder), "preprocess": task.preprocess}
        return Writer(
            name,
            arm.weights.name,
            task,
            PYTORCH,
            lambda: decoder_of(arm.model(), task),
            spec=None if arm.student.blank else spec,
        )
    folder = arm.artifact.folder
    runtime = graphs_in(folder)[0]["runtime"]
    settings = arm.recipe.quantize
    return Writer(
        name,
        folder.parent.name,
        task,
        runtime,
        partial(open_artifact, folder),
        inputs={"packages": package_versions(arm.recipe.export)},
        components=[*(quantization_code(settings) if settings else ()), ("runtimes", runtime)],
        spec={"artifact": str(folder), "runtime": runtime},
    )


def open_artifact(folder: Path) -> Decoder:
    """An artifact as it answers."""
    model = text_model_of(load(folder))
    assert model is not None, "its task was looked at"
    return model.decoder


def asked_of(run: RunContext, writers: Sequence[Writer], largest: int) -> Asked:
    """The questions that every writer has room for.

    largest: how many weights the largest of them has.
    """
    positions = min(each.open().positions for each in writers)
    most_tokens = tokens_of_answer(positions)
    affordable = int(MOST_WEIGHTS_READ / (largest * most_tokens))
    most = min(MOST_QUESTIONS, max(FEWEST_QUESTIONS, affordable))
    reading = writers[-1].task.input
    room = longest_prompt(positions)
    questions = []
    prompts: dict[str, list[list[int]]] = {each.name: [] for each in writers}
    for question in questions_of(run.data.test, reading, positions, most):
        # Another tokenizer may make more tokens of the same text.
        read = {each.name: prompt_of(question, each.task.input).tolist() for each in writers}
        if max(map(len, read.values())) <= room:
            questions.append(question)
            for name, prompt in read.items():
                prompts[name].append(prompt)
    return Asked(questions, prompts, most_tokens)


def answers_of(run: RunContext, writer: Writer, asked: Asked) -> list[Written]:
    """The greedy answers of a writer, as a stage of their own."""
    prompts = asked.prompts[writer.name]

    def build(folder: Path) -> None:
        write_answers(writer, prompts, asked.most_tokens, folder / ANSWERS)

    stage = Stage(
        name="write",
        inputs={
            "weights": writer.key,
            "prompts": digest(prompts),
            "preprocess": digest(writer.task.preprocess),
            "most_tokens": asked.most_tokens,
            **writer.inputs,
            **run.environment(),
        },
        build=build,
        components=[*run.task_component, *writer.components],
        title=f"answers of {writer.name}",
    )
    return read_answers(run.compute(stage) / ANSWERS)


def write_answers(
    writer: Writer, prompts: Sequence[Sequence[int]], most_tokens: int, path: Path
) -> None:
    """Write the answers, one a line; a file that a kill left is gone on with."""
    known = read_answers(path)
    # A kill may have left half a line.
    write_bytes(path, "".join(map(line_of, known)).encode())
    reading = writer.task.input
    rest = prompts[len(known) :]
    written = greedy_answers(
        writer.open(), reading.tokenizer, rest, tuple(reading.end_ids), most_tokens
    )
    with path.open("a", encoding="utf-8") as file:
        for each in written:
            file.write(line_of(each))
            file.flush()
    sync(path)


def line_of(written: Written) -> str:
    """An answer as a line."""
    content = {"ids": written.ids, "text": written.text, "ended": written.ended}
    return json.dumps(content) + "\n"


def read_answers(path: Path) -> list[Written]:
    """The answers of a file's whole lines; none where there is no file."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            content = json.loads(line)
            found.append(Written(tuple(content["ids"]), content["text"], content["ended"]))
    return found


def compared(
    writers: Sequence[Writer], answers: Mapping[str, list[Written]], shipped: str
) -> dict[str, Any]:
    """Where the shipped model's answers leave those of each other; None where their tokens are not
    the same ones."""
    own = next(each for each in writers if each.name == shipped)
    found: dict[str, Any] = {}
    for each in writers:
        if each.name != shipped:
            is_comparable = each.tokenizer_key == own.tokenizer_key
            found[each.name] = (
                differences(answers[shipped], answers[each.name]) if is_comparable else None
            )
    return found


def examples(
    writers: Sequence[Writer],
    answers: Mapping[str, list[Written]],
    asked: Asked,
    shipped: str,
) -> list[dict[str, Any]]:
    """Answers side by side, of questions that are spread over all of them."""
    count = len(asked.questions)
    num_shown = min(MOST_SHOWN, count)
    own = next(each for each in writers if each.name == shipped)
    found = []
    for place in (count * number // num_shown for number in range(num_shown)):
        question = asked.questions[place]
        differs: dict[str, int | None] = {}
        for each in writers:
            if each.name != shipped and each.tokenizer_key == own.tokenizer_key:
                other = answers[each.name][place].ids
                differs[each.name] = first_difference(answers[shipped][place].ids, other)
        found.append(
            {
                # Rows count from 1, as the lines of a reader's file do.
                "row": question.row + 1,
                "question": question.shown,
                "reference": question.reference,
                "answers": {each.name: answers[each.name][place].text for each in writers},
                "differs": differs,
            }
        )
    return found


def speed_of(writers: Sequence[Writer], asked: Asked) -> dict[str, Any] | None:
    """How long each takes; None where no process can open any.

    A user's own module stays in the process that made it.
    """
    subjects = [
        TimedWriter(each.name, each.runtime, each.spec, asked.prompts[each.name])
        for each in writers
        if each.spec is not None
    ]
    return measure_writing(subjects, asked.most_tokens) if subjects else None
