"""Everything that can be wrong with a recipe, found before any training.

In this order, and each as far as it can be had without what is broken (`recipe.draft`), so that one
call tells every mistake:

1. The keys are right, and the components that the recipe names exist, take theirs and fit together.
2. The data can be read: by a task and a source that are right, even where others are not.
3. Each model can be had; what writes and opens graphs is here; the folders can be written.
4. Where no mistake was found: the whole run in small (`forecast`), with its shapes, patterns of
   modules, quantization and export.
5. This machine has the disk and the memory that the forecast comes to.
"""

import importlib.util
import math
import os
import shutil
import time
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.core import plug_ins, registry, wording
from limbeck.core.cache.store import Store
from limbeck.core.events import Event, Note, duration
from limbeck.core.system import launch, machine, memory
from limbeck.core.wording import some
from limbeck.data.bad_rows import WrongData
from limbeck.data.same_inputs import FEWEST_NEW, cluster_of_row, known_from, num_that_differ
from limbeck.data.sampling import drawn_rows
from limbeck.data.splits import Splits, load_splits
from limbeck.evaluation import paired
from limbeck.evaluation.bootstrap import ALPHA
from limbeck.pipeline.deciding import asked
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.preflight.costs import Cost, summed
from limbeck.pipeline.preflight.token_counts import count_tokens, long_answers, refused_rows
from limbeck.recipe import validate
from limbeck.recipe.draft import UNKNOWN, Draft
from limbeck.recipe.model import Recipe
from limbeck.recipe.problems import (
    Fix,
    Mistake,
    Problem,
    WrongRecipe,
    by_place,
)
from limbeck.sources._images import IMAGE_SIZE, LARGE_IMAGE
from limbeck.tasks import metrics
from limbeck.tasks.inputs.dialogue import DialogueInput
from limbeck.tasks.inputs.tokenized import TokenizedInput

if TYPE_CHECKING:
    from limbeck.models.user_model import Own

# A user's own modules by name, and rows by split, as `limbeck.check` is given them.
Models = Mapping[str, "Own"]
Rows = Mapping[str, Iterable[Mapping[str, Any]]]

# So many texts show what a tokenizer knows, within a second.
SAMPLE_TEXTS = 2000
# Dialogues of which each is read: some ten seconds of templates and tokens.
SAMPLE_DIALOGUES = 20_000
ANOTHER_CACHE = "Let LIMBECK_CACHE name another folder"
# Each reading of the data mends a key or leaves out the bad rows.
MOST_READINGS = 10
# What must be free, over what is forecast: a tenth more, for a forecast from a sample errs.
ROOM = 1.1


@dataclass(repr=False)
class Checked:
    """What `check` found: `lines` for the terminal, the problems, and what each stage of the run
    will take; nothing where no run could be rehearsed."""

    lines: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    forecast: list[Cost] = field(default_factory=list)

    @property
    def mistakes(self) -> list[str]:
        """Every problem as a line with place, key, cause and cure, in the order of their places."""
        return [str(problem) for problem in by_place(self.problems)]

    def to_json(self) -> dict[str, Any]:
        """All of it as plain data; seconds and megabytes of each stage by its name."""
        forecast = {cost.stage: cost.to_json() for cost in self.forecast}
        return {
            "ok": self.ok,
            "mistakes": self.mistakes,
            "problems": [problem.to_json() for problem in by_place(self.problems)],
            "lines": self.lines,
            "forecast": forecast,
        }

    @property
    def ok(self) -> bool:
        """Whether there is no mistake."""
        return not self.problems

    def __repr__(self) -> str:
        count = len(self.problems)
        told = f"{count} mistake{'s' * (count > 1)}" if count else "ok"
        return f"<limbeck check: {told}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: all that the command prints."""
        return f'<pre style="white-space:pre-wrap">{escape(str(self))}</pre>'

    def __str__(self) -> str:
        """All that the command prints."""
        mistakes = [f"limbeck: {mistake}" for mistake in self.mistakes]
        return "\n".join([*self.lines, *(mistakes or ["ok"])])

    def tell(self, message: str) -> None:
        """Note what is wrong with something outside of the recipe, which the message names."""
        self.problems.append(Problem(message, is_placed=True))

    def attempt(self, check: Callable[[], Any]) -> Any:
        """The result of a check, or None with its mistakes noted."""
        try:
            with plug_ins.blamed():
                return check()
        except WrongRecipe as error:
            self.problems += error.problems
        except ValueError as error:
            self.tell(str(error))
        return None


def check(
    recipe: Recipe | Draft,
    *,
    rehearse: bool = True,
    models: Models | None = None,
    rows: Rows | None = None,
    out: Path | None = None,
) -> Checked:
    """Check a recipe, its data and, by a rehearsal, everything else.

    Args:
        recipe: as it was read; it need not be resolved. Of a draft all is checked that does not
            hang on its mistakes, which are told with the others.
            Under `torchrun` it is judged for so many processes, and rehearsed in this one alone.
        rehearse: look at the models too, and run every stage on a few batches, in a minute at most.
        models: modules of the user's own, by the name that the recipe gives as `model`.
        rows: by split, for the source `rows`.
        out: the run folder, which must be one that can be written.

    Returns:
        The mistakes, and what is worth telling. No mistake of the user raises.
    """
    checked = Checked()
    draft = recipe if isinstance(recipe, Draft) else Draft.of(recipe)
    own = models or {}
    # 1. Keys, components, and what they have in common.
    checked.attempt(partial(draft.ask_components, compatibility.create))
    checked.attempt(partial(compatibility.ask_mismatches, draft))
    if not draft.problems:
        checked.lines += validate.without_effect(draft.recipe)
        checked.lines += validate.early_quantization(draft.recipe)
    # 2. Data, by a task and a source that are right, even where others are not.
    began = time.perf_counter()
    splits = read_data(draft, checked, rows)
    reading_seconds = time.perf_counter() - began
    # 3. Models, and what this machine lacks, though all else may be wrong: one call tells all.
    checked.attempt(partial(check_writable, Store().folder, ANOTHER_CACHE))
    if out is not None:
        checked.attempt(partial(check_writable, out, "Name another folder with --out"))
    if rehearse and importlib.util.find_spec("torch"):
        checked.attempt(launch.read)
        check_exporters(draft)
        check_models(draft, own)
    checked.problems += draft.problems
    if draft.unasked:
        checked.lines.append(note_of_unasked(draft.unasked))
    # 4. The run in small needs all of them.
    if splits and rehearse and not checked.problems:
        require_torch()
        good = draft.recipe
        checked.attempt(partial(check_texts, good, splits, checked, own))
        if not checked.problems:
            checked.attempt(partial(check_costs, good, splits, reading_seconds, checked, own))
    if splits and draft.is_known("data"):
        checked.lines += note_of_large_images(draft.recipe, splits, checked.forecast)
    return checked


def require_torch() -> None:
    """Raise ModuleNotFoundError where a recipe without a mistake cannot be rehearsed."""
    if importlib.util.find_spec("torch") is None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")


def note_of_unasked(names: Sequence[str]) -> str:
    """Which components could not be asked here, and how they can be."""
    return (
        f"without torch the keys of these were not checked: {some(names)}. "
        'pip install "limbeck[train]"'
    )


def read_data(draft: Draft, checked: Checked, rows: Rows | None) -> Splits | None:
    """The splits of a recipe's data, with lines on them; None where they cannot be had.

    Mistakes of the data are noted in the draft, and as much is read as they allow: columns of other
    names where these are certain, and without the rows that are bad.
    """
    if not (draft.is_known("task") and draft.is_known("data")):
        return None
    task_class = registry.load("tasks", draft.recipe.task)
    splits = None
    for _ in range(MOST_READINGS):
        recipe = draft.recipe
        if recipe.data.source == UNKNOWN:
            return None
        load = partial(load_splits, recipe.data, task_class, rows, beside=recipe.folder)
        try:
            with plug_ins.blamed():
                splits = load(halve=asked.halving(recipe))
            break
        except WrongData as error:
            if not leave_out_bad(draft, error):
                return None
        except ValueError as error:
            told = str(error)
            mistake = Mistake(["data"], told.removeprefix("data: "))
            # What does not speak of the recipe's stage begins with a place of its own.
            draft.note([mistake], is_placed=not told.startswith("data: "))
            return None
    # Each round has mended something, and there is always more.
    if splits is None:
        return None
    recipe = draft.recipe
    if not any(problem.path[:1] == ("data",) for problem in draft.problems):
        checked.lines += describe_data(splits)
        checked.lines += note_of_judged_rows(recipe, splits, task_class)
        checked.lines += asked.note_of_few_rows(recipe, len(splits.promise))
    # Of another column than was meant the labels are others.
    if draft.is_known("data"):
        checked.attempt(partial(asked.check_costs, recipe, splits.labels))
        checked.attempt(partial(asked.check_weights, recipe, splits.labels, task_class))
    return splits


def leave_out_bad(draft: Draft, error: WrongData) -> bool:
    """Note mistakes of the data; whether the rest of them can be read without."""
    of_keys = [
        # The key is told with its place.
        mistake._replace(message=mistake.message.removeprefix(f"data.{mistake.path[1]}: "))
        for mistake in error.mistakes
        if len(mistake.path) > 1
    ]
    of_rows = [mistake for mistake in error.mistakes if len(mistake.path) == 1]
    draft.note(of_rows, is_placed=True)
    if not of_keys:
        # What is left of the rows shows whether labels and splits are right.
        return draft.skip_bad_rows()
    before = draft.recipe.data
    draft.take(of_keys)
    # Without a key its default may be read, and other keys be wrong too.
    return draft.recipe.data != before


def check_writable(folder: Path, cure: str) -> None:
    """Raise ValueError where a run could not write to a folder, or make it."""
    # It is made by the run, in the first one above that is there.
    above = (folder, *folder.resolve().parents)
    here = next((each for each in above if each.exists()), None)
    if here is None or not here.is_dir():
        raise ValueError(f"{folder}: {here} is a file, so no folder can be made. {cure}")
    if not os.access(here, os.W_OK | os.X_OK):
        raise ValueError(f"{folder}: {here} cannot be written by this user. {cure}")


def check_exporters(draft: Draft) -> None:
    """Note a runtime or package that writes or opens a graph, and is not installed."""
    # Imported here, as in `check_models`.
    from limbeck.exporters.requirements import require_exporters

    if draft.recipe.quantize is None:
        return
    names = draft.recipe.export
    # Each by itself, and then whether they go together.
    asked_of = [(["export", str(number)], [name]) for number, name in enumerate(names)]
    mistakes: list[Mistake] = []
    for path, group in [*asked_of, (["export"], names)]:
        try:
            if not mistakes or len(group) == 1:
                require_exporters(group)
        except ValueError as error:
            mistakes.append(Mistake(path, str(error)))
    draft.note(mistakes)


def describe_data(splits: Splits) -> list[str]:
    """What was read, in lines for the terminal: notes, the rows of each split, the labels."""
    lines = [f"data: {note}" for note in splits.notes]
    num_train = len(splits.train)
    num_validation = len(splits.validation)
    num_test = len(splits.test)
    lines.append(
        f"data: {num_train:,} train, {num_validation:,} validation, {num_test:,} test rows"
    )
    if splits.labels:
        lines.append(f"labels: {some(splits.labels)}")
    return lines


def note_of_judged_rows(recipe: Recipe, splits: Splits, task: Any) -> list[str]:
    """That the verdict stands on too few test rows: those that train and validation lack, each
    input and group once."""
    held = {"train": splits.train, "validation": [*splits.validation, *splits.promise]}
    found = {name: known_from(rows, splits.test, task) for name, rows in held.items()}
    known = np.any(list(found.values()), axis=0)
    clusters = cluster_of_row(splits.test, task)
    num_new = num_that_differ(clusters[~known])
    if recipe.verdict and known.any() and num_new < FEWEST_NEW:
        places = [name for name, is_there in found.items() if is_there.any()]
        that_differ = "" if num_new == (~known).sum() else " that differ"
        return [
            f"verdict: only {num_new} test rows{that_differ} are not in {' or '.join(places)} too, "
            f"so that nothing can be KEPT. Take their copies out of {' and '.join(places)}, or "
            "give a test split of new rows"
        ]
    # Where there are too few new rows all are judged.
    judged = clusters[~known] if num_new else clusters
    return note_of_few_rows(recipe, len(np.unique(judged)), len(judged))


def note_of_few_rows(recipe: Recipe, num_rows: int, num_given: int | None = None) -> list[str]:
    """That so few test rows cannot prove what the verdict allows, whatever the student does.

    `num_rows`: those that differ, of `num_given` that train lacks.
    """
    verdict = recipe.verdict
    # Of a correlation or an error nothing says beforehand how far one row moves it.
    if verdict is None or not verdict.max_drop or recipe.judged_metric not in metrics.SHARES:
        return []
    # A row moves the share of right rows by 1 / n, and other shares by about as much.
    about = "" if recipe.judged_metric == paired.METRIC else "about "
    unchanged = paired.Changes(lost=0, won=0, rows=num_rows)
    needed = paired.rows_to_prove(unchanged, verdict.max_drop, ALPHA)
    if num_rows >= needed:
        return []
    told = ""
    if num_given and num_given > num_rows:
        told = f" that differ, of {num_given:,} (equal inputs and one group count once),"
    return [
        f"verdict: {num_rows:,} test rows{told} cannot prove that at most {verdict.max_drop:g} is "
        f"lost, even where no answer changes; {about}{needed:,} would. Give more test rows, or "
        "allow more by verdict.max_drop"
    ]


def note_of_large_images(
    recipe: Recipe, splits: Splits, forecast: Sequence[Cost] = ()
) -> list[str]:
    """That images would be read in fewer pixels in a fraction of the time, with the line to write.

    Nothing where `data.size` is given or is no key of the source, where images are small, or where
    a model that others have trained says how large it wants them.
    """
    can_resize = "size" in registry.keys("sources", recipe.data.source)
    is_open = can_resize and recipe.data.options.get("size") is None
    are_ours = set(model_names(recipe)) <= set(registry.names("networks"))
    if not (is_open and are_ours and splits.train and "image" in splits.train[0]):
        return []
    height, width = splits.train[0]["image"].shape[:2]
    if max(height, width) <= LARGE_IMAGE:
        return []
    # What a convolution computes grows with the pixels, and so does nearly all that a run does.
    share = IMAGE_SIZE**2 / (height * width)
    seconds = sum(cost.seconds for cost in forecast)
    times = f"in about a {1 / share:.0f}th of the time"
    if forecast:
        times = f"in about {duration(share * seconds)} in place of {duration(seconds)}"
    return [
        f"images: {width} x {height} pixels. Write data.size={IMAGE_SIZE} to read them as "
        f"{IMAGE_SIZE} x {IMAGE_SIZE} and run {times}; raise it where that loses too much"
    ]


def check_models(draft: Draft, own: Collection[str] = ()) -> None:
    """Note each model that cannot be had; networks of ours were checked with the components.

    `own`: names of the user's modules.
    """
    # Imported here: `check --data-only` needs neither torch nor transformers.
    from limbeck.models.create import require
    from limbeck.models.published.tokenizers import read_tokenizer

    task = registry.load("tasks", draft.recipe.task) if draft.is_known("task") else None
    reads_tokens = getattr(task, "preprocess_file", None) == TokenizedInput.preprocess_file
    told = set()
    for path, name in compatibility.named_models(draft.recipe):
        # Teacher and student may be one model, whose mistake is told once.
        if name in told or name in own or name == UNKNOWN:
            continue
        told.add(name)
        try:
            require(name)
            if reads_tokens:
                read_tokenizer(name)
        except ValueError as error:
            meant = wording.certain(name, registry.names("networks"))
            fix = Fix(tuple(path), value=meant) if meant else None
            draft.take([Mistake(path, str(error), fix)])


def model_names(recipe: Recipe) -> list[str]:
    """Every model that a recipe names, once: teacher and student may be one."""
    stages = [
        recipe.teacher,
        *recipe.teachers,
        recipe.assistant,
        recipe.student,
    ]
    return list(dict.fromkeys(stage.model for stage in stages if stage and stage.model))


def check_texts(recipe: Recipe, splits: Splits, checked: Checked, own: Models) -> None:
    """Tell how much of a sample of the texts each model reads and knows.

    Raises ValueError where a model has no tokenizer that can be read.
    """
    # Imported here, as in `check_models`.
    from limbeck.pipeline.context import RunContext

    task_class = registry.load("tasks", recipe.task)
    if task_class.preprocess_file == DialogueInput.preprocess_file:
        check_dialogues(recipe, splits, checked, own)
    if task_class.preprocess_file != TokenizedInput.preprocess_file:
        return
    rows = drawn_rows(splits.train, SAMPLE_TEXTS)
    which = "train" if len(rows) == len(splits.train) else f"{SAMPLE_TEXTS:,} rows of train"
    context = RunContext(recipe, Store(), own=own)
    context.data = splits
    for name in model_names(recipe):
        task = context.new_task(name)
        counts = count_tokens(task, rows, task.encode(rows))
        # A task that makes its rows of several has none of these.
        if not counts.rows:
            continue
        share = f"{counts.unknown_share:.1%}"
        checked.lines.append(
            f"texts: {share} of the tokens are unknown to the tokenizer of `{name}`"
        )
        checked.lines += counts.unknown_note(which) + counts.cut_note(which)


def check_dialogues(recipe: Recipe, splits: Splits, checked: Checked, own: Models) -> None:
    """Tell which rows a model's chat template refuses, and which answers are longer than what it
    reads, by file and line.

    Raises ValueError where a model has no tokenizer that can be read.
    """
    # Imported here, as in `check_models`.
    from limbeck.pipeline.context import RunContext

    def tell(event: Event) -> None:
        # That the model reads less than the recipe asks.
        checked.lines.append(str(event))

    context = RunContext(recipe, Store(tell=tell), own=own)
    context.data = splits
    held = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    for name in model_names(recipe):
        task = context.new_task(name)
        for split, whole in held.items():
            rows = drawn_rows(whole, SAMPLE_DIALOGUES)
            for refused in refused_rows(task, rows):
                checked.tell(f"{refused} (as `{name}` reads {split})")
            long = long_answers(task, rows)
            if long:
                checked.lines.append(
                    f"warning: {split}: {len(long):,} answers are longer than the "
                    f"{task.input.max_tokens:,} tokens that `{name}` reads at once: {some(long)}. "
                    "Their later parts are learned without what was asked. Raise train.max_tokens "
                    "as far as the model goes, or shorten them"
                )
            if len(rows) < len(whole):
                checked.lines.append(
                    f"{split}: {len(rows):,} of {len(whole):,} rows were read by `{name}`"
                )


def check_costs(
    recipe: Recipe,
    splits: Splits,
    reading_seconds: float,
    checked: Checked,
    own: Models,
) -> None:
    """Rehearse the run, tell its forecast, and compare that with what this machine has.

    Args:
        recipe: whose components were checked.
        splits: the whole data, which took `reading_seconds` to read.
        checked: is given the lines, and a mistake for each thing that is too small.
        own: the user's modules by name.

    Raises:
        ValueError: whatever would have stopped the run.
    """
    # Imported here, as in `check_models`.
    from limbeck.distillation import binding
    from limbeck.models.published import pretrained
    from limbeck.pipeline.preflight import few_steps, forecast

    def tell(event: Event) -> None:
        # Of all that the rehearsed stages tell, only these are the run's own too.
        kept = (
            binding.MATCHED,
            forecast.ESTIMATED,
            few_steps.TOO_FEW,
            pretrained.MODEL,
        )
        if isinstance(event, Note) and any(phrase in event.text for phrase in kept):
            checked.lines.append(event.text)

    resolved = compatibility.resolved(recipe, own)
    note = machine.note_of_threads(recipe.train.threads)
    if note:
        checked.lines.append(note)
    num_processes = launch.read().num_processes
    with launch.alone():
        costs = forecast.rehearse(
            resolved,
            splits,
            reading_seconds,
            tell,
            num_processes=num_processes,
            own=own,
        )
    checked.forecast = costs
    total = summed(costs)
    checked.lines += describe_costs(costs, total)
    checked.lines += note_of_minutes(recipe, costs)
    if num_processes > 1:
        checked.lines.append(
            f"(in one process; each batch will be shared by {num_processes}, which takes less time)"
        )
    folder = Store().folder
    free_mb = shutil.disk_usage(folder).free / memory.MB
    if total.disk_mb * ROOM > free_mb:
        checked.tell(
            f"{folder}: {total.disk_mb:,.0f} MB are needed and {free_mb:,.0f} MB are free. "
            "Free some, or let LIMBECK_CACHE name a folder on another disk"
        )
    memory_mb = memory.total_mb()
    if total.peak_mb * ROOM > memory_mb:
        checked.tell(
            f"memory: {total.peak_mb:,.0f} MB are needed and this machine has "
            f"{memory_mb:,.0f} MB. Lower train.batch_tokens, train.batch_rows or "
            "train.max_tokens, or take a smaller model"
        )


def describe_costs(costs: Sequence[Cost], total: Cost) -> list[str]:
    """The table of a forecast: a line a stage, then the total."""
    lines = [
        "",
        f"{'forecast':18} {'time':>12} {'memory':>10} {'disk':>10}",
    ]
    lines += [_cost_line(cost.stage, cost) for cost in costs]
    lines.append(_cost_line("total", total))
    lines.append(
        "(at most, for a training may end early by train.patience; as long as the cache holds none "
        "of it: a stage that is there already takes no time; on this machine as busy as it is now)"
    )
    return lines


def note_of_minutes(recipe: Recipe, costs: Sequence[Cost]) -> list[str]:
    """That the trainings will not fit into `train.minutes`, with what would do; nothing where they
    will."""
    minutes = recipe.train.minutes
    trained = [cost for cost in costs if cost.stage.startswith(("teacher", "train"))]
    seconds = sum(cost.seconds for cost in trained)
    if minutes is None or seconds <= 60 * minutes:
        return []
    return [
        f"warning: train.minutes {minutes:g} are too few: the trainings take about "
        f"{duration(seconds)}, and will be cut short. Raise it to {math.ceil(seconds / 60)}, or "
        "train fewer epochs"
    ]


def _cost_line(title: str, cost: Cost) -> str:
    time_needed = duration(cost.seconds)
    return f"{title:18} {time_needed:>12} {cost.peak_mb:7,.0f} MB {cost.disk_mb:7,.0f} MB"
