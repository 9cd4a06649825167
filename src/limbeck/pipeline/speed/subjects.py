"""What is timed of a run: every arm as it would be used, and what the artifact is compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limbeck.artifact.manifest import graphs_in
from limbeck.artifact.speed.product import FACTORS, Steps
from limbeck.artifact.speed.workers import Subject
from limbeck.evaluation.decisions.decision import FILE
from limbeck.evaluation.verdict import judged_arm
from limbeck.pipeline.arm import Arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.speed import graphs
from limbeck.pipeline.speed.graphs import Untrained
from limbeck.pipeline.stored_model import StoredModel
from limbeck.recipe.model import Recipe

# What runs a model that was not exported.
PYTORCH = "pytorch"
WORKER = "limbeck.pipeline.speed.pytorch_worker"
FLOAT, INT8 = "float", "int8"


@dataclass
class Subjects:
    """What is timed, by its name: one name for what takes the same time.

    arms: by arm, what is timed of it; several where it answers in several runtimes.
    decision: decision.json of the artifact, by which all answer; None where nothing decides.
    others: by what (teacher's or student's graph, a reference) and runtime.
    reasons: by factor of the product, why it cannot be known.
    """

    run: RunContext
    inputs: Path
    threads: int
    decision: Path | None = None
    by_name: dict[str, Subject] = field(default_factory=dict)
    own: dict[str, StoredModel] = field(default_factory=dict)
    arms: dict[str, list[str]] = field(default_factory=dict)
    others: dict[tuple[str, str], str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, subject: Subject) -> str:
        """Note what is to be timed; a name that is there is of the same."""
        self.by_name.setdefault(name, subject)
        return name

    def spec(self, **content: Any) -> dict[str, Any]:
        """What every process is told."""
        return {"inputs": str(self.inputs), "threads": self.threads, **content}

    def spec_of_task(self, model: StoredModel) -> dict[str, Any]:
        """What makes the task of a model that is no artifact."""
        # A graph alone does not say how texts become its inputs.
        task = model.task
        return {
            "task": self.run.recipe.task,
            "labels": list(task.labels),
            "preprocess": task.preprocess,
            "decision": None if self.decision is None else str(self.decision),
        }

    def add_model(self, what: str, model: StoredModel) -> str:
        """A float model in PyTorch."""
        name = self.add(
            f"{what}, {PYTORCH}",
            Subject(
                what,
                PYTORCH,
                self.spec(model=str(model.folder), **self.spec_of_task(model)),
                module=WORKER,
            ),
        )
        # No other process can make a module of the user's own.
        if model.blank is not None:
            self.own[name] = model
        return name

    def add_graphs(self, what: str, recipe: Recipe, untrained: Untrained) -> dict[str, str]:
        """The graphs of a model, by runtime; of a float one perhaps none. Raises ValueError where
        it cannot be exported."""
        names: dict[str, str] = {}
        for runtime, file in graphs.graphs_of(self.run, recipe, untrained).items():
            spec = self.spec(graph=str(file), runtime=runtime, **self.spec_of_task(untrained.model))
            names[runtime] = self.add(f"{what}, {runtime}", Subject(what, runtime, spec))
        return names

    def add_artifact(self, what: str, folder: Path) -> list[str]:
        """An artifact in each runtime that it offers."""
        names: list[str] = []
        for graph in graphs_in(folder):
            runtime = graph["runtime"]
            spec = self.spec(artifact=str(folder), runtime=runtime)
            names.append(self.add(f"{what}, {runtime}", Subject(what, runtime, spec)))
        return names

    def runtime(self, name: str) -> str:
        """What runs a subject."""
        return self.by_name[name].runtime


def subjects_of(
    run: RunContext, arms: Mapping[str, list[Arm]], inputs: Path, threads: int
) -> Subjects:
    """Everything that is timed of a run; of each arm the first seed, since time does not hang on
    the values of weights.

    Args:
        run: what the arms share.
        arms: every seed of each arm.
        inputs: a file of raw inputs.
        threads: with which all answer.
    """
    shipped = arms[judged_arm(arms)][0]
    decision = None
    if shipped.artifact is not None:
        decision = shipped.artifact.folder / FILE
    # A number or a vector is answered as it is.
    has_file = decision is not None and decision.is_file()
    subjects = Subjects(run, inputs, threads, decision if has_file else None)
    # Students of one structure take the same time, whatever they learned.
    titles: dict[str, str] = {}
    for name, seeds in arms.items():
        arm = seeds[0]
        if name == "teacher":
            subjects.arms[name] = [subjects.add_model(name, arm.student)]
        elif arm.artifact is not None:
            subjects.arms[name] = subjects.add_artifact(name, arm.artifact.folder)
        else:
            key = graphs.structure_key(arm.student)
            title = titles.setdefault(key, f"float {name}")
            subjects.arms[name] = add_float(subjects, shipped, title, arm.student)
    if shipped.artifact is not None:
        add_references(subjects, shipped, arms.get("teacher"), titles)
    return subjects


def add_float(subjects: Subjects, shipped: Arm, title: str, student: StoredModel) -> list[str]:
    """A float arm, in the runtime of the `shipped` one: what is shipped as a float model answers
    in PyTorch, and so do those beside it."""
    if shipped.artifact is None:
        return [subjects.add_model(title, student)]
    # By the exporters of the artifact, which a recipe without `quantize` need not have.
    names = subjects.add_graphs(title, shipped.recipe, Untrained(student, {}))
    # Where these write integers alone it answers in PyTorch.
    return list(names.values()) or [subjects.add_model(title, student)]


def add_references(
    subjects: Subjects, shipped: Arm, teachers: Sequence[Arm] | None, titles: Mapping[str, str]
) -> None:
    """What the artifact is compared with: the float graphs of student and teacher, and int8.

    titles: of the students whose graphs are there already, by their structure.
    """
    recipe, student = shipped.recipe, shipped.student
    title = titles.get(graphs.structure_key(student), f"{FLOAT} student")
    references = {FLOAT: subjects.add_graphs(title, recipe, Untrained(student, {}))}
    # Few bits are compared with eight: are they slower?
    int8 = graphs.in_int8(recipe, subjects.run, student)
    if int8 is not None:
        references[INT8] = subjects.add_graphs("int8 student", recipe, int8)
    if teachers:
        # A teacher may be of any architecture; a student that is shipped was exported.
        try:
            untrained = Untrained(teachers[0].student, {})
            references["teacher"] = subjects.add_graphs("teacher", recipe, untrained)
        except ValueError as error:
            reason = f"the teacher cannot be exported: {error}"
            subjects.reasons |= {"runtime": reason, "architecture": reason}
    for form, names in references.items():
        for runtime, name in names.items():
            subjects.others[form, runtime] = name


def steps_of(subjects: Subjects, shipped: str, best: str) -> Steps:
    """What each factor of the product compares.

    shipped: the judged arm. best: what is timed of it, in its fastest runtime.
    """
    runtime = subjects.runtime(best)
    teacher = subjects.arms.get("teacher", [None])[0]
    # In the runtime that the artifact is fastest in.
    reasons = dict(subjects.reasons)
    if runtime == PYTORCH:
        # Nothing was exported: teacher and student answer in PyTorch alike.
        reasons["runtime"] = "the student answers in PyTorch, as the teacher does"
        reasons["integers"] = "nothing is quantized"
        return Steps([teacher, teacher, best, best], reasons)
    teacher_graph = subjects.others.get(("teacher", runtime))
    student_graph = subjects.others.get((FLOAT, runtime))
    if student_graph is None:
        reasons |= dict.fromkeys(FACTORS, f"no float model is written for {runtime}")
    return Steps([teacher, teacher_graph, student_graph, best], reasons)
