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
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from limbeck.core import registry, wording
from limbeck.core.grids import GRIDS
from limbeck.tasks import SelfSupervised, Task
from limbeck.tasks.inputs.text import TextInput
from limbeck.tasks.likelihood import LIKELIHOODS
from limbeck.tasks.metrics import bounds

if TYPE_CHECKING:  # the models call this module
    from limbeck.recipe.model import Decide, Quantize, Recipe, Student, Train

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
    """Either `from` and `surgery`, or `model`. Raises ValueError."""
    if (student.from_ is None) == (student.model is None):
        raise ValueError(f"say either `from: teacher` with a `surgery`, or `model`{_slip(student)}")
    if (student.from_ is None) != (student.surgery is None):
        raise ValueError(
            "`surgery` goes with `from`, which says what it cuts: `from: teacher`, "
            f"or another model's folder or hub id{_slip(student)}"
        )
    # A folder may have any name; one that is nearly ours is more likely a slip.
    near = difflib.get_close_matches(student.from_ or "", ["teacher", "untuned"], n=1)
    if near and student.from_ not in ("teacher", "untuned"):
        raise ValueError(
            f"from: `{student.from_}`: did you mean `{near[0]}`? "
            f"The folder of another model of that name is `./{student.from_}`"
        )


def _slip(student: "Student") -> str:
    """`. Did you mean ...?` where a key of the student is nearly one of ours; else nothing.

    It is no unknown key by itself, since a surgery or a network may have it.
    """
    for key in student.options:
        close = difflib.get_close_matches(key, ["from", "surgery", "model"], n=1)
        if close:
            return f". Did you mean `{close[0]}` by `{key}`?"
    return ""


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
    """Every stage has those that it builds on. Raises ValueError."""
    _check_teaching(recipe)
    if recipe.decide and not recipe.quantize:
        raise ValueError(
            "`decide` is fitted through the artifact, which only a recipe that quantizes leaves. "
            "Add `quantize`, or leave `decide` out"
        )
    if recipe.student.origin is None and not recipe.teacher:
        raise ValueError(f"`student: {{from: {recipe.student.from_}}}` needs a `teacher`")
    _check_untrained(recipe)
    if recipe.verdict:
        if not recipe.teacher:
            raise ValueError("`verdict` compares with a `teacher`")
        _check_arms(recipe, recipe.verdict.arms or [])


def _check_untrained(recipe: "Recipe") -> None:
    """A student that is not trained can only be quantized afterwards. Raises ValueError."""
    if recipe.train.epochs:
        return
    after = recipe.quantize is not None and recipe.quantize.when == "after"
    if recipe.distill or recipe.verdict or not after:
        raise ValueError(
            "`train.epochs: 0` trains nothing: the student is taken as it is and quantized "
            "afterwards. Say 1 or more, or `quantize: {when: after}` without `distill` and "
            "`verdict`"
        )


class WrongArms(ValueError):
    """What is wrong with `verdict.arms`: pydantic knows of a rule of the whole recipe no place."""


def _check_arms(recipe: "Recipe", arms: Sequence[str]) -> None:
    """Every arm that is asked for can be had of this recipe. Raises ValueError."""
    _refuse_arms(
        arms,
        [] if recipe.quantize else ["ptq", "qat", "kd+ptq", "joint"],
        "quantized, and there is no `quantize`. Add it",
    )
    _refuse_arms(
        arms,
        [] if recipe.distill else ["kd", "kd+ptq"],
        "distilled, and there is no `distill`. Add it",
    )
    if "cut" in arms and recipe.student.from_ != "teacher":
        raise WrongArms(
            "the arm `cut` starts from the tuned teacher's layers, and this student does not. "
            "Leave it out: `plain` is its control"
        )
    if not has_untuned_start(recipe):
        without_teacher = [arm for arm in arms if arm in ("plain", "qat")]
        if without_teacher:
            raise WrongArms(
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


def _refuse_arms(arms: Sequence[str], refused: Sequence[str], why: str) -> None:
    """Raise ValueError where some of the arms are refused; `why`: `is quantized, and ...`."""
    # As they were asked for, so that the message reads like the recipe.
    wrong = [arm for arm in arms if arm in refused]
    if not wrong:
        return
    left = [arm for arm in arms if arm not in wrong]
    named = " and ".join(f"`{arm}`" for arm in wrong)
    subject = f"the arm {named} is" if len(wrong) == 1 else f"the arms {named} are"
    otherwise = f"say `verdict: {{arms: [{', '.join(left)}]}}`" if left else "leave `arms` out"
    raise WrongArms(f"{subject} {why}, or {otherwise}")


def _check_teaching(recipe: "Recipe") -> None:
    """What only acts where a teacher is asked."""
    if recipe.distill and not recipe.teacher:
        raise ValueError("`distill` needs a `teacher`")
    # Both change whose answers the losses read, and only `distill` has such losses.
    for name in ("teachers", "assistant"):
        if getattr(recipe, name) and not recipe.distill:
            raise ValueError(f"`{name}` teaches the student, which needs `distill` and a `teacher`")
    if recipe.distill and recipe.distill.combine != "mean" and not recipe.teachers:
        raise ValueError(
            "`distill.combine` says what several teachers answer together: it needs `teachers`"
        )
    if recipe.teacher and recipe.teacher.placement == "sharded" and recipe.teacher.epochs:
        raise ValueError(
            "`placement: sharded` splits a teacher that is tuned already. Say `epochs: 0`, or "
            "leave `placement` out"
        )
    # Copies have no labels: without a teacher no loss would read them.
    if recipe.augment and not recipe.distill:
        raise ValueError("`augment` makes rows that only a teacher labels: it needs `distill`")


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


def check_task(recipe: "Recipe") -> None:
    """What the stages ask of the task: images, texts, a metric, labels. Raises ValueError."""
    task = registry.load("tasks", recipe.task)
    # What a task reads is told by the names of its inputs, as models of `transformers` have them.
    if recipe.train.augment and "pixel_values" not in task.input_names:
        raise recipe.mistake(
            ["train", "augment"],
            f"`{recipe.task}` reads no images, and only these are augmented. Leave it out",
        )
    if recipe.augment and "input_ids" not in task.input_names:
        raise recipe.mistake(
            ["augment"],
            f"`{recipe.task}` reads no texts, and words are replaced. "
            "For images there is train.augment",
        )
    # Words lie in one window or two, and pairs and vectors have no window in common.
    reads_one_text = issubclass(getattr(task, "input_type", object), TextInput)
    if recipe.train.long_texts == "windows" and not reads_one_text:
        raise recipe.mistake(
            ["train", "long_texts"],
            f"`{recipe.task}` does not answer once a text, and only such answers are averaged over "
            "windows. Leave it out",
        )
    _check_names_of_task(recipe, task)
    _check_what_is_decided(recipe, task)
    metric = recipe.verdict.metric if recipe.verdict else None
    if metric and metric not in task.metric_names:
        nearest = wording.suggest(metric, task.metric_names)
        raise recipe.mistake(
            ["verdict", "metric"], f"`{recipe.task}` has no metric `{metric}`. {nearest}"
        )
    _check_what_is_asked(recipe)
    # The class is asked: a task is made when the labels of the data are known.
    if issubclass(task, SelfSupervised):
        _check_pre_training(recipe)


def _check_what_is_asked(recipe: "Recipe") -> None:
    """The verdict asks for what its metric can be. Raises ValueError."""
    verdict = recipe.verdict
    if verdict is None:
        return
    metric = recipe.judged_metric
    least, most = bounds(metric)
    asked = verdict.min_metric
    if asked is not None and not least <= asked <= most:
        raise recipe.mistake(
            ["verdict", "min_metric"],
            f"`{metric}` is never {asked:g}: it lies between {least:g} and {most:g}"
            f"{_as_share(asked, most)}",
        )
    if verdict.max_drop > most - least:
        raise recipe.mistake(
            ["verdict", "max_drop"],
            f"every drop is at most {verdict.max_drop:g}, for `{metric}` lies between {least:g} "
            f"and {most:g}{_as_share(verdict.max_drop, most)}",
        )


def _as_share(asked: float, most: float) -> str:
    """`. Write .9 for 90 %` where a share was most likely given in hundredths."""
    return f". Write {asked / 100:g} for {asked:g} %" if 1 < asked <= 100 and most == 1 else ""


def _check_what_is_decided(recipe: "Recipe", task: type[Task]) -> None:
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
            raise recipe.mistake(["decide", key], f"`{recipe.task}` {problem}. Leave it out")


def _check_names_of_task(recipe: "Recipe", task: type[Task]) -> None:
    """What a task, perhaps somebody else's, names of limbeck's must be there."""
    named = {
        "metric": (task.metric, task.metric_names),
        "hard_loss": (task.hard_loss, registry.names("losses")),
        "likelihood": (task.likelihood, list(LIKELIHOODS)),
    }
    for what, (name, choices) in named.items():
        if name not in choices:
            nearest = wording.suggest(name, choices)
            raise recipe.mistake(
                ["task"], f"the class of `{recipe.task}` says {what} = {name!r}. {nearest}"
            )


def _check_pre_training(recipe: "Recipe") -> None:
    """A task that makes its own labels trains a float model, and no more."""
    # It leaves a model for another recipe, which has a task to distil and to quantize for.
    stages: dict[str, Any] = {"distill": recipe.distill, "quantize": recipe.quantize}
    for name, stage in stages.items():
        if stage:
            raise recipe.mistake(
                [name],
                f"`{recipe.task}` only pre-trains: it takes no `{name}`. Leave it out; the run's "
                "folder `model` is then the teacher.model or student.model of a recipe that has it",
            )
    # A teacher to cut the student from is fine: only its answers are never asked for.
    if recipe.teacher and recipe.student.origin:
        raise recipe.mistake(
            ["teacher"],
            f"`{recipe.task}` asks a teacher nothing. Leave it out, or cut the student from it",
        )


def check_formats(recipe: "Recipe") -> None:
    """Formats that follow one another get coarser, at rising shares. Raises ValueError."""
    settings = recipe.quantize
    if settings is None:
        return
    problem = _problem_of_progressive(settings)
    if problem:
        raise recipe.mistake(["quantize", "progressive"], problem)
    # Each format must act for a while: the first from `start`, the last until the end.
    shares = [settings.start, *settings.switch_at, 1.0]
    is_rising = shares == sorted(set(shares))
    is_complete = len(settings.switch_at) == len(settings.progressive)
    if settings.switch_at and not (is_rising and is_complete):
        raise recipe.mistake(
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


def check_rewrites(recipe: "Recipe") -> None:
    """`equalize` rewrites a trained model: it does not go with `when: train`. Raises ValueError."""
    settings = recipe.quantize
    if settings and settings.when == "train" and settings.equalize:
        raise recipe.mistake(
            ["quantize", "equalize"],
            "a model is rewritten after its training, and `when` is train. Leave it out, "
            "or say `when: after`",
        )
