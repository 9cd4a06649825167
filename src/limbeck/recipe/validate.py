"""What the keys of a recipe must have in common, beyond the type and range of each.

These rules look at shape, names and the task alone. There are two moments:

- When a recipe is read: rules of one stage, and which stages need which. The models call them
  (`check_student`, `check_mixup`, `check_views`, `check_stages`), and pydantic adds the place.
- Beside them, what is only told: settings that change nothing here (`without_effect`).
- Before a run: rules that need the task or compare settings of a stage (`check_task`,
  `check_formats`, `check_rewrites`). `pipeline.preflight.compatibility` calls them, after it knows
  that all names exist. They tell the place themselves.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from limbeck.core import registry, wording
from limbeck.core.grids import GRIDS
from limbeck.recipe import generated_answers
from limbeck.recipe.problems import Fix, Mistake, WrongStages
from limbeck.tasks import SelfSupervised, Task
from limbeck.tasks.inputs.text import TextInput
from limbeck.tasks.likelihood import LIKELIHOODS
from limbeck.tasks.metrics import bounds

if TYPE_CHECKING:  # the models call this module
    from limbeck.recipe.model import Decide, Quantize, Recipe, Student, Train, Verdict

# Why `augment` needs a teacher.
NO_LABELLER = (
    "`augment` makes rows that only a teacher labels: it needs `distill`. Add `distill: {}`, with "
    "a `teacher`, or leave `augment` out"
)

# What opens models that say the next token, and how their weights are stored.
GENERATING = "AutoModelForCausalLM"
GROUPS: dict[str, Any] = {"group": 32, "scale": "float16", "activations": "float"}

BY_TOKEN = "int8-dynamic"

# What `train.device` may be.
DEVICES = r"auto|cpu|cuda(:[0-9]+)?|mps|xpu"
# What other programs and vendors call these devices. torch calls AMD's GPUs `cuda` too.
OTHER_NAMES = {
    "gpu": "cuda",
    "nvidia": "cuda",
    "rocm": "cuda",
    "hip": "cuda",
    "amd": "cuda",
    "metal": "mps",
    "apple": "mps",
    "intel": "xpu",
    "default": "auto",
    "any": "auto",
}


def check_student(student: "Student") -> None:
    """Either `from` and `surgery`, or `model`. Raises WrongStages."""
    for mistake in _mistakes_of_student(student):
        raise WrongStages([mistake])


def _mistakes_of_student(student: "Student") -> Iterator[Mistake]:
    """What is wrong with the origin; each holds only where those before it do not."""
    told, fix = _slip(student)
    if (student.from_ is None) == (student.model is None):
        yield Mistake([], f"say either `from: teacher` with a `surgery`, or `model`{told}", fix)
    if (student.from_ is None) != (student.surgery is None):
        yield Mistake(
            [],
            "`surgery` goes with `from`, which says what it cuts: `from: teacher`, "
            f"or another model's folder or hub id{told}",
            fix,
        )
    # A folder may have any name; one that is nearly ours is more likely a slip.
    origin = student.from_ or ""
    near = difflib.get_close_matches(origin, ["teacher", "untuned"], n=1)
    if near and origin not in ("teacher", "untuned"):
        meant = wording.certain(origin, near)
        yield Mistake(
            ["from"],
            f"`{origin}`: did you mean `{near[0]}`? The folder of another model of that name is "
            f"`./{origin}`",
            Fix(("from",), value=meant) if meant else None,
        )


def _slip(student: "Student") -> tuple[str, Fix | None]:
    """`. Did you mean ...?` where a key of the student is nearly one of ours, and the change where
    that is certain; else nothing.

    It is no unknown key by itself, since a surgery or a network may have it.
    """
    ours = ["from", "surgery", "model"]
    for key in student.options:
        close = difflib.get_close_matches(key, ours, n=1)
        if close:
            meant = wording.certain(key, ours)
            fix = Fix((key,), name=meant) if meant else None
            return f". Did you mean `{close[0]}` by `{key}`?", fix
    return "", None


def check_mixup(names: Sequence[str]) -> None:
    """`mixup` comes last, since it mixes two finished images. Raises ValueError."""
    if "mixup" in names[:-1]:
        raise ValueError("`mixup` mixes finished views. Name it once, as the last")


def check_views(train: "Train") -> None:
    """`views` are variants of one row, which a teacher can answer ahead. Raises ValueError."""
    # A mixture of two rows is none of them, and another in every step.
    if train.views and (not train.augment or "mixup" in train.augment):
        raise ValueError(
            "`views` are those that `augment` makes of each row, and `mixup` makes others in every "
            "step. Leave one of them out"
        )


def check_decide(decide: "Decide") -> None:
    """One promise, and something to decide. Raises ValueError."""
    if decide.max_error is not None and decide.sets is not None:
        raise ValueError(
            "`max_error` promises one right label or none, `sets` a few labels. Leave one of them "
            "out"
        )
    # `confidence` and `seed` alone decide nothing.
    asked = (decide.max_error, decide.sets, decide.costs, decide.thresholds)
    if not any(each is not None for each in asked):
        raise ValueError(
            "name what is to be decided: `max_error`, `sets`, `costs` or `thresholds`. "
            "Probabilities are fitted without `decide`, too"
        )


def check_device(device: object) -> object:
    """A device that a training may name, as it is. Raises ValueError, with the nearest one."""
    if isinstance(device, str) and re.fullmatch(DEVICES, device):
        return device
    nearest = nearest_device(str(device)) if isinstance(device, str) else None
    hint = f"Did you mean `{nearest}`? " if nearest else ""
    raise ValueError(
        f"{hint}The device is one of auto, cpu, cuda, cuda:N (GPU number N, from 0), mps, xpu"
    )


def nearest_device(word: str) -> str | None:
    """What was probably meant by a word that is no device; None where nothing is near.

    >>> [nearest_device(word) for word in ("gpu", "CPU", "cpu:0", "cuda:-1", "GPU:1", "tpu9")]
    ['cuda', 'cpu', 'cpu', 'cuda', 'cuda:1', None]
    """
    word = word.strip().lower()
    kind, _, number = word.partition(":")
    kind = OTHER_NAMES.get(kind, kind)
    close = difflib.get_close_matches(kind, ["auto", "cpu", "cuda", "mps", "xpu"], cutoff=0.7)
    if not close:
        return None
    # Of all kinds only `cuda` has a number.
    is_numbered = close[0] == "cuda" and number.isdecimal() and number.isascii()
    return f"cuda:{int(number)}" if is_numbered else close[0]


def check_stages(recipe: "Recipe") -> None:
    """Every stage has those that it builds on. Raises WrongStages of all mistakes."""
    mistakes = list(mistakes_of_stages(recipe))
    if mistakes:
        raise WrongStages(mistakes)


def mistakes_of_stages(recipe: "Recipe") -> Iterator[Mistake]:
    """The stages that lack another one, or do not go with it."""
    if recipe.teacher:
        yield from _mistakes_of_teaching(recipe)
    else:
        # One mistake, whichever stages tell of it.
        yield from islice(_without_teacher(recipe), 1)
    if recipe.decide and not recipe.quantize:
        yield Mistake(
            ["decide"],
            "`decide` is fitted through the artifact, which only a recipe that quantizes leaves. "
            "Add `quantize`, or leave `decide` out",
            lacks="quantize",
        )
    after = recipe.quantize is not None and recipe.quantize.when == "after"
    if not recipe.train.epochs and (recipe.distill or recipe.verdict or not after):
        # A student that is not trained can only be quantized afterwards.
        yield Mistake(
            ["train", "epochs"],
            "`train.epochs: 0` trains nothing: the student is taken as it is and quantized "
            "afterwards. Say 1 or more, or `quantize: {when: after}` without `distill` and "
            "`verdict`",
        )
    if recipe.verdict and recipe.teacher:
        for message in _wrong_arms(recipe, recipe.verdict.arms or []):
            yield Mistake(["verdict", "arms"], message)


def _without_teacher(recipe: "Recipe") -> Iterator[Mistake]:
    """The stages that ask a teacher, of a recipe without one."""
    add = "Add `teacher: {model: NAME}`"
    if recipe.distill:
        yield Mistake(
            ["distill"],
            f"`distill` needs a `teacher`. {add}, or leave `distill` out",
            lacks="teacher",
        )
    for name in ("teachers", "assistant"):
        if getattr(recipe, name):
            yield Mistake(
                [name],
                f"`{name}` teaches the student, which needs `distill` and a `teacher`. {add}",
                lacks="teacher",
            )
    if recipe.augment:
        yield Mistake(["augment"], NO_LABELLER, lacks="teacher")
    if recipe.student.origin is None:
        yield Mistake(
            ["student", "from"],
            f"`student: {{from: {recipe.student.from_}}}` needs a `teacher`. {add}",
            lacks="teacher",
        )
    if recipe.verdict:
        yield Mistake(
            ["verdict"],
            f"`verdict` compares with a `teacher`. {add}, or leave `verdict` out",
            lacks="teacher",
        )


def _wrong_arms(recipe: "Recipe", arms: Sequence[str]) -> Iterator[str]:
    """Why some of the arms that are asked for cannot be had of this recipe."""
    yield from _refused_arms(
        arms,
        [] if recipe.quantize else ["ptq", "qat", "kd+ptq", "joint"],
        "quantized, and there is no `quantize`. Add it",
    )
    yield from _refused_arms(
        arms,
        [] if recipe.distill else ["kd", "kd+ptq"],
        "distilled, and there is no `distill`. Add it",
    )
    if "cut" in arms and recipe.student.from_ != "teacher":
        yield (
            "the arm `cut` starts from the tuned teacher's layers, and this student does not. "
            "Leave it out: `plain` is its control"
        )
    without_teacher = [arm for arm in arms if arm in ("plain", "qat")]
    if without_teacher and not has_untuned_start(recipe):
        yield (
            f"the arm `{without_teacher[0]}` starts from what was there before the teacher was "
            "tuned, and with `teacher: {epochs: 0}` nobody knows what that was. Name it: "
            "`student: {from: MODEL, surgery: ...}`; or compare with `cut`, which starts from "
            "the teacher's layers"
        )


def has_untuned_start(recipe: "Recipe") -> bool:
    """Whether the weights are known that the student has without the teacher's tuning."""
    assert recipe.teacher is not None  # which a verdict asks for
    return recipe.student.from_ != "teacher" or recipe.teacher.epochs > 0


def default_arms(recipe: "Recipe") -> list[str]:
    """What `verdict.arms` left open stands for: the control of each gain that the recipe may have
    but `cut`, which costs a training of its own and is asked for by name."""
    # What has something of the teacher is never called plain.
    arms = ["plain" if has_untuned_start(recipe) else "cut"]
    if recipe.distill:
        arms.append("kd")
    if recipe.quantize:
        arms += ["kd+ptq", "joint"] if recipe.distill else ["joint"]
    return arms


def _refused_arms(arms: Sequence[str], refused: Sequence[str], why: str) -> Iterator[str]:
    """Why some of the arms are refused, if any is; `why`: `quantized, and ...`."""
    # As they were asked for, so that the message reads like the recipe.
    wrong = [arm for arm in arms if arm in refused]
    if not wrong:
        return
    left = [arm for arm in arms if arm not in wrong]
    named = " and ".join(f"`{arm}`" for arm in wrong)
    subject = f"the arm {named} is" if len(wrong) == 1 else f"the arms {named} are"
    otherwise = f"say `verdict: {{arms: [{', '.join(left)}]}}`" if left else "leave `arms` out"
    yield f"{subject} {why}, or {otherwise}"


def _mistakes_of_teaching(recipe: "Recipe") -> Iterator[Mistake]:
    """What only acts where a teacher is asked."""
    # Both change whose answers the losses read, and only `distill` has such losses.
    for name in ("teachers", "assistant"):
        if getattr(recipe, name) and not recipe.distill:
            yield Mistake(
                [name],
                f"`{name}` teaches the student, which needs `distill` and a `teacher`. "
                "Add `distill: {}`",
                lacks="distill",
            )
    if recipe.distill and recipe.distill.combine != "mean" and not recipe.teachers:
        yield Mistake(
            ["distill", "combine"],
            "`distill.combine` says what several teachers answer together: it needs `teachers`",
        )
    yield from generated_answers.mistakes_of_stages(recipe)
    if recipe.teacher and recipe.teacher.placement == "sharded" and recipe.teacher.epochs:
        yield Mistake(
            ["teacher", "placement"],
            "`placement: sharded` splits a teacher that is tuned already. Say `epochs: 0`, or "
            "leave `placement` out",
        )
    # Copies have no labels: without a teacher no loss would read them.
    if recipe.augment and not recipe.distill:
        yield Mistake(["augment"], NO_LABELLER, lacks="distill")


def without_effect(recipe: "Recipe") -> list[str]:
    """Settings of the recipe that change nothing, each as a line with what to write instead.

    Defaults are not told of: a recipe in which every one is written out is no slip.
    """
    train = recipe.train
    default = type(train).model_fields["patience"].default
    if train.patience in (None, default):
        return []
    if train.keep == "last":
        return [
            f"warning: train.patience {train.patience} has no effect: with `keep: last` no epoch "
            "is better than another. Leave one of the two out"
        ]
    longest = max(train.epochs, recipe.teacher.epochs if recipe.teacher else 0)
    if train.patience < longest:
        return []
    return [
        f"warning: train.patience {train.patience} has no effect: no training has more than "
        f"{longest} epochs. Leave it out, or say fewer than that"
    ]


def early_quantization(recipe: "Recipe") -> list[str]:
    """That a network from random weights is quantized before it has learned anything, with the
    line to write.

    Its ranges are fitted to weights that it soon leaves, and learned ones follow slowly: of two
    settings that differ in `start` alone 0 was the worse in every network that was tried, and an
    `ngrams` learned next to nothing.
    """
    settings = recipe.quantize
    if settings is None or settings.when != "train" or settings.start > 0:
        return []
    if recipe.student is None or recipe.student.origin not in registry.names("networks"):
        return []
    return [
        f"warning: quantize.start is 0, so `{recipe.student.origin}` is quantized from its first "
        "step on, when its weights are random. Write quantize.start=0.5, which is quicker, too"
    ]


def check_task(recipe: "Recipe") -> None:
    """What the stages ask of the task. Raises WrongRecipe of all mistakes."""
    recipe.refuse(mistakes_of_task(recipe))


def mistakes_of_task(recipe: "Recipe") -> Iterator[Mistake]:
    """What the stages ask of the task and cannot have: images, texts, a metric, labels."""
    task = registry.load("tasks", recipe.task)
    # What a task reads is told by the names of its inputs, as models of `transformers` have them.
    if recipe.train.augment and "pixel_values" not in task.input_names:
        yield Mistake(
            ["train", "augment"],
            f"`{recipe.task}` reads no images, and only these are augmented. Leave it out",
        )
    if recipe.augment and "input_ids" not in task.input_names:
        yield Mistake(
            ["augment"],
            f"`{recipe.task}` reads no texts, and words are replaced. "
            "For images there is train.augment",
        )
    # Words lie in one window or two, and pairs and vectors have no window in common.
    reads_one_text = issubclass(getattr(task, "input_type", object), TextInput)
    if recipe.train.long_texts == "windows" and not reads_one_text:
        yield Mistake(
            ["train", "long_texts"],
            f"`{recipe.task}` does not answer once a text, and only such answers are averaged over "
            "windows. Leave it out",
        )
    if task.auto_model == GENERATING:
        yield from generated_answers.mistakes_of_writing(recipe)
    else:
        yield from generated_answers.mistakes_of_task(recipe)
    misnamed = list(_misnamed(recipe, task))
    if misnamed:
        # What the names stand for is what the other rules ask.
        yield from misnamed
        return
    yield from _mistakes_of_decide(recipe, task)
    if recipe.verdict:
        yield from _mistakes_of_verdict(recipe.verdict, recipe.task, task)
    if task.auto_model == GENERATING and recipe.quantize:
        yield from _mistakes_of_groups(recipe.task, recipe.quantize)
    # The class is asked: a task is made when the labels of the data are known.
    if issubclass(task, SelfSupervised):
        yield from _mistakes_of_pre_training(recipe)


def _mistakes_of_groups(task: str, quantize: "Quantize") -> Iterator[Mistake]:
    """What runtimes of text generation do not hold: other scales than fp16's, of other groups."""
    for key, wanted in GROUPS.items():
        given = getattr(quantize, key)
        # Rounded by token and group, as the runtimes round what they multiply.
        if given != wanted and given != BY_TOKEN:
            yield Mistake(
                ["quantize", key],
                f"`{task}`: the runtimes of language models hold weights in groups of 32 with fp16 "
                f"scales, beside activations that are float or int8-dynamic. Write {key}: {wanted}",
                Fix(("quantize", key), value=wanted),
            )
    for name, scheme in quantize.modules.items():
        if scheme.weights != "float" and scheme.activations != quantize.activations:
            yield Mistake(
                ["quantize", "modules", name, "activations"],
                f"`{task}`: one graph reads one kind of activations, and `quantize` says "
                f"{quantize.activations}. Write activations: {quantize.activations} here too",
            )


def _mistakes_of_verdict(verdict: "Verdict", name: str, task: type[Task]) -> Iterator[Mistake]:
    """A metric that the task lacks, and what no metric can be. `name`: of the task."""
    metric = verdict.metric or task.metric
    if metric not in task.metric_names:
        meant = wording.certain(metric, task.metric_names)
        yield Mistake(
            ["verdict", "metric"],
            f"`{name}` has no metric `{metric}`. {wording.suggest(metric, task.metric_names)}",
            Fix(("verdict", "metric"), value=meant) if meant else None,
        )
        # What is asked of another metric than was meant may be right, unless it is so for none.
        if meant is None and len({bounds(each) for each in task.metric_names}) > 1:
            return
        metric = meant or task.metric
    least, most = bounds(metric)
    asked = verdict.min_metric
    if asked is not None and not least <= asked <= most:
        told, fix = _as_share("min_metric", asked, most)
        yield Mistake(
            ["verdict", "min_metric"],
            f"`{metric}` is never {asked:g}: it lies between {least:g} and {most:g}{told}",
            fix,
        )
    if verdict.max_drop > most - least:
        told, fix = _as_share("max_drop", verdict.max_drop, most)
        yield Mistake(
            ["verdict", "max_drop"],
            f"every drop is at most {verdict.max_drop:g}, for `{metric}` lies between {least:g} "
            f"and {most:g}{told}",
            fix,
        )


def _as_share(key: str, asked: float, most: float) -> tuple[str, Fix | None]:
    """`. Write .9 for 90 %`, and that change, where a share was given in hundredths."""
    if not (1 < asked <= 100 and most == 1):
        return "", None
    share = float(f"{asked / 100:g}")
    return f". Write {share:g} for {asked:g} %", Fix(("verdict", key), value=share)


def _mistakes_of_decide(recipe: "Recipe", task: type[Task]) -> Iterator[Mistake]:
    """`decide` asks for what answers of the task's kind have."""
    decide = recipe.decide
    if decide is None:
        return
    # A tagged sentence has one label a word: the row's own are what costs and sets are of.
    has_labels = not LIKELIHOODS[task.likelihood].labels_are_numbers
    has_one_label = task.likelihood == "categorical" and "label" in task.row_keys
    problems = {
        "max_error": has_labels or "answers with numbers or vectors, which are not right or wrong",
        "sets": has_one_label or "does not answer with one label a row, of which sets are made",
        "costs": has_one_label or "does not answer with one label a row, which costs are of",
        "thresholds": task.likelihood == "bernoulli"
        or "does not decide several labels one by one, each by a threshold of its own",
    }
    for key, problem in problems.items():
        if getattr(decide, key) is not None and isinstance(problem, str):
            yield Mistake(["decide", key], f"`{recipe.task}` {problem}. Leave it out")


def _misnamed(recipe: "Recipe", task: type[Task]) -> Iterator[Mistake]:
    """What a task, perhaps somebody else's, names of limbeck's must be there."""
    named = {
        "metric": (task.metric, task.metric_names),
        "hard_loss": (task.hard_loss, registry.names("losses")),
        "likelihood": (task.likelihood, list(LIKELIHOODS)),
    }
    for what, (name, choices) in named.items():
        if name not in choices:
            nearest = wording.suggest(name, choices)
            yield Mistake(
                ["task"], f"the class of `{recipe.task}` says {what} = {name!r}. {nearest}"
            )


def _mistakes_of_pre_training(recipe: "Recipe") -> Iterator[Mistake]:
    """A task that makes its own labels trains a float model, and no more."""
    # It leaves a model for another recipe, which has a task to distil and to quantize for.
    stages: dict[str, Any] = {"distill": recipe.distill, "quantize": recipe.quantize}
    for name, stage in stages.items():
        if stage:
            yield Mistake(
                [name],
                f"`{recipe.task}` only pre-trains: it takes no `{name}`. Leave it out; the run's "
                "folder `model` is then the teacher.model or student.model of a recipe that has it",
            )
    # A teacher to cut the student from is fine: only its answers are never asked for.
    if recipe.teacher and recipe.student.origin:
        yield Mistake(
            ["teacher"],
            f"`{recipe.task}` asks a teacher nothing. Leave it out, or cut the student from it",
        )


def mistakes_of_formats(recipe: "Recipe") -> Iterator[Mistake]:
    """Formats that follow one another get coarser, at rising shares: where they do not."""
    settings = recipe.quantize
    if settings is None:
        return
    problem = _problem_of_progressive(settings)
    if problem:
        yield Mistake(["quantize", "progressive"], problem)
    # Each format must act for a while: the first from `start`, the last until the end.
    shares = [settings.start, *settings.switch_at, 1.0]
    is_rising = shares == sorted(set(shares))
    is_complete = len(settings.switch_at) == len(settings.progressive)
    if settings.switch_at and not (is_rising and is_complete):
        yield Mistake(
            ["quantize", "switch_at"],
            f"{settings.switch_at} is not one share of the training for each format of "
            f"`progressive`, each above the one before, from `start` ({settings.start:g}) to 1",
        )


def _problem_of_progressive(settings: "Quantize") -> str | None:
    """Why the formats cannot follow one another; None where they can."""
    if not settings.progressive:
        return None
    if settings.when == "after":
        return (
            "formats follow one another while the model trains, and `when` is after. Leave it out, "
            "or say `when: train`"
        )
    if settings.weights == "float" or GRIDS[settings.weights].is_floating:
        return (
            f"bits are reduced to those of an integer format, and `weights` is {settings.weights}. "
            "Leave it out"
        )
    formats = [*settings.progressive, settings.weights]
    # By levels, not by bits: int7 and int8 take a byte alike.
    num_levels = [GRIDS[name].num_levels for name in formats]
    if num_levels != sorted(set(num_levels), reverse=True):
        return (
            "each format must have fewer levels than the one before, and `weights` the fewest, "
            f"not {' -> '.join(formats)}"
        )
    return None


def mistakes_of_rewrites(recipe: "Recipe") -> Iterator[Mistake]:
    """`equalize` rewrites a trained model: it does not go with `when: train`."""
    settings = recipe.quantize
    if settings and settings.when == "train" and settings.equalize:
        yield Mistake(
            ["quantize", "equalize"],
            "a model is rewritten after its training, and `when` is train. Leave it out, "
            "or say `when: after`",
        )
