"""What a run is asked to do: a recipe as frozen data, with a model (in pydantic's sense) a stage.

A recipe has stages; a stage holds its keys and, where it names a component (a source, a network, a
surgery, a loss), also that component's keys. Nothing is deeper. The models check the type and the
range of each key, and reject unknown ones. What keys must have in common is in `validate`; which
components fit together is asked of the components themselves, in
`pipeline.preflight.compatibility`.

The class docstrings below are shown by editors: they become the descriptions of the JSON Schema.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
    with_config,
)
from typing_extensions import TypedDict

from limbeck.core import registry
from limbeck.core.schedules import Scheduled
from limbeck.recipe import validate
from limbeck.recipe.origin import Origin
from limbeck.recipe.problems import Mistake, Problem, WrongRecipe
from limbeck.recipe.trackers import ReportTo

# Bounds that no training reaches: a number above them is a slip, or would take all memory before
# anything is said.
MOST_ROWS = 10**9
MOST_EPOCHS = 10**6
MOST_THREADS = 1024
MOST_SEED = 2**63  # torch's generators take no more than twice that

# What `student.from` says beside the name of a model.
TEACHER = "teacher"
UNTUNED = "untuned"

Fraction = Annotated[float, Field(ge=0, le=1)]
Epochs = Annotated[int, Field(le=MOST_EPOCHS)]
Threads = Annotated[int, Field(ge=1, le=MOST_THREADS)]
LearningRate = Annotated[float, Field(gt=0, le=1000)]
ClassWeight = Annotated[float, Field(gt=0, le=10**6)]
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
Group = Annotated[int, Field(ge=2, le=10**6)]
Weight = Scheduled  # a number, or a schedule such as "linear(1.0, 0.5)"

Activations = Literal["uint8", "uint8-dynamic", "int8-dynamic", "float"]
ScaleFormat = Literal["float32", "float16"]
KvCache = Literal["int8", "float"]
WeightFormat = Literal[
    "int8", "int7", "int4", "int3", "int2", "ternary", "binary", "fp8-e4m3", "fp8-e5m2", "float"
]
# Formats that `progressive` may name: the integer ones, but `binary`, below which there is none.
EarlierFormat = Literal["int8", "int7", "int4", "int3", "int2", "ternary"]


class Stage(BaseModel):
    """Keys of one stage; an unknown key is an error."""

    # YAML can write .inf and .nan, of which no key of ours makes anything.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def no_boolean(cls, value: Any) -> Any:
        """Refuse `true` and `false`: no key of ours is a switch, and pydantic takes `true` as 1."""
        if isinstance(value, bool):
            raise ValueError("Input should be a number, a word, a list or keys")
        return value


class ComponentStage(Stage):
    """A stage whose further keys belong to the component it names."""

    # They are checked against the component's constructor before a run.
    model_config = ConfigDict(extra="allow")

    @property
    def options(self) -> dict[str, Any]:
        """The component's keys as they were written."""
        return dict(self.model_extra or {})


class Data(ComponentStage):
    """Where the rows come from.

    - `source`: the reader of the files, with its own keys.
    - `on_bad_row`: a row that cannot be used stops the run (`fail`), is left out (`skip`), or is
      left out and written to `quarantine.jsonl` (`quarantine`). Left open, it stops the run. A row
      of validation or test whose label train lacks counts as an error, and is refused by `fail`.
    - `transfer`: texts or images without labels from elsewhere, as a file or folder.
    - `unlabelled_rows`: how many rows without labels are taken at most; all where left open.
    - `class_weights`: how much each label counts in the loss on the labels: `balanced` by how rare
      they are, or a number for some by name. Left open all count alike. Metrics are not weighted.
    """

    source: str
    on_bad_row: Literal["fail", "skip", "quarantine"] | None = None
    transfer: str | None = None
    unlabelled_rows: int | None = Field(None, ge=0, le=MOST_ROWS)
    class_weights: Literal["balanced"] | dict[str, ClassWeight] | None = None

    @field_validator("class_weights", mode="before")
    @classmethod
    def named_by_words(cls, weights: Any) -> Any:
        """Labels as words: YAML reads those of digits as numbers."""
        if isinstance(weights, dict):
            return {str(label): weight for label, weight in weights.items()}
        if weights not in (None, "balanced"):
            raise ValueError(
                "say `balanced`, or a number for each label that counts otherwise than the rest, "
                "such as {rare: 5}"
            )
        return weights


class Augment(ComponentStage):
    """Copies of the labelled texts with other words in them, for the teacher to label.

    - `method`: how words are replaced, with its own keys.
    - `copies`: how many of each row.
    - `share`: with which probability a word is replaced.
    - `seed`: what is drawn depends on it alone.
    """

    method: str
    copies: int = Field(5, ge=1, le=1000)
    share: Fraction = 0.4
    seed: Seed = 0


class Teacher(ComponentStage):
    """A model that teaches.

    - `model`: one of our networks by name with its keys, a `transformers` folder, or a hub id.
    - `weight`: of its answers where several models teach.
    - `epochs`: how long it is tuned on the labelled rows; 0 takes it as already tuned.
    - `learning_rate`: where left open that which `train` names, else what is usual for its kind.
    - `tries`: how many settings (rate and seed) are tried, of which validation takes the best;
      `auto` tries three where there are fewer than 2,000 rows. Left open, `auto` where the learning
      rate is open too, else 1.
    - `placement`: `sharded` splits its weights over the processes of the run, for one that fits no
      single device and is tuned already (`epochs: 0`).
    """

    model: str
    weight: float = Field(1.0, gt=0)
    epochs: Epochs = Field(3, ge=0)
    placement: Literal["whole", "sharded"] = "whole"
    learning_rate: LearningRate | None = None
    tries: Annotated[int, Field(ge=1, le=100)] | Literal["auto"] | None = None


class Student(ComponentStage):
    """The model that is trained: either cut from another one, or one of its own.

    - `from`: what it is cut from: `teacher`, as it was tuned; `untuned`, the same model before its
      tuning; or another model's folder or hub id.
    - `surgery`: how it is cut, with its own keys.
    - `model`: in place of both, a model as the teacher's.
    """

    from_: str | None = Field(None, alias="from")  # `from` is a word of Python
    surgery: str | None = None
    model: str | None = None

    @model_validator(mode="after")
    def has_one_origin(self) -> "Student":
        """Refuse keys that name no origin, or two."""
        validate.check_student(self)
        return self

    @property
    def origin(self) -> str | None:
        """The model that it starts from; None where that is the teacher's, tuned or not."""
        return None if self.from_ in (TEACHER, UNTUNED) else self.from_ or self.model


class Train(Stage):
    """How long and how every arm is trained, alike for all.

    - `epochs`: passes over the rows; 0 takes the student as it is, to be quantized afterwards.
    - `batch_tokens`: tokens a batch, padding included (text); `batch_rows`: rows a batch (images).
    - `max_tokens`: a longer text is cut, or read in overlapping windows of that length, whose
      answers are averaged (`long_texts`: `cut` or `windows`).
    - `learning_rate`: where left open what is usual for the student's kind (`learning_rates`).
    - `warmup`: the share of the steps in which the learning rate rises.
    - `device`: `auto` is a GPU where there is one (cuda, else mps, else xpu), else the CPU.
    - `dtype`: `auto` is bfloat16 where the hardware multiplies it (on a CPU for texts alone), else
      float32.
    - `threads`: of the CPU.
    - `checkpoint_seconds`: how often a checkpoint is written.
    - `keep`: the weights of the epoch that is `best` on validation, or of the `last` one.
    - `patience`: after how many epochs without a better one a training ends; null waits for all.
    - `minutes`: what all trainings of the run may take; each has its share, and ends when that is
      used up. No bound where left open.
    - `augment`: changes of the training images, in this order.
    - `views`: how many variants of each image there are; where left open, another every epoch.
    """

    epochs: Epochs = Field(3, ge=0)
    learning_rate: LearningRate | None = None
    batch_tokens: int = Field(1024, ge=1, le=10**8)
    batch_rows: int = Field(64, ge=1, le=10**6)
    max_tokens: int = Field(
        256, ge=8, le=10**6
    )  # two of them are special, and a word may take several
    long_texts: Literal["cut", "windows"] = "cut"
    warmup: Fraction = 0.1
    weight_decay: float = Field(0.01, ge=0)
    gradient_clip: float = Field(1.0, gt=0)
    # Checked by `validate.check_device`, which knows a better message than pydantic; the pattern is
    # for the JSON Schema alone.
    device: str = Field("auto", json_schema_extra={"pattern": f"^({validate.DEVICES})$"})
    # float16 is missing on purpose: it would need its losses scaled against underflow.
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: Threads = 2
    seed: Seed = 0
    checkpoint_seconds: float = Field(60, ge=0, le=10**8)
    keep: Literal["best", "last"] = "best"
    minutes: Annotated[float, Field(gt=0, le=10**7)] | None = None
    # Much is gained while the rate falls, at the end: fewer epochs would take it for a standstill.
    patience: int | None = Field(10, ge=1, le=MOST_EPOCHS)
    augment: list[
        Literal["flip", "crop", "rotate", "brightness", "cutout", "randaugment", "mixup"]
    ] = []
    views: int | None = Field(None, ge=1, le=10**4)

    @property
    def rate(self) -> float:
        """The learning rate, which must not be open any more (`compatibility.resolved`)."""
        assert self.learning_rate is not None
        return self.learning_rate

    @field_validator("device", mode="before")
    @classmethod
    def is_a_device(cls, device: object) -> object:
        """Refuse a device of no such name, or of another type."""
        return validate.check_device(device)

    @field_validator("augment")
    @classmethod
    def mixes_last(cls, names: list[str]) -> list[str]:
        """Refuse `mixup` before other changes."""
        validate.check_mixup(names)
        return names

    @model_validator(mode="after")
    def has_views_of_rows(self) -> "Train":
        """Refuse `views` that cannot be made ahead."""
        validate.check_views(self)
        return self


@with_config(extra="allow")
class LossKeys(TypedDict, total=False):
    """A loss's `weight`, and the loss's own keys."""

    weight: Weight


class Writing(Stage):
    """How a model writes answers for a training.

    - `temperature`: 0 takes the most probable token each time; above it tokens are drawn.
    - `top_p`: they are drawn from the most probable tokens that reach this probability together.
    - `max_new_tokens`: of an answer at most.
    """

    temperature: float = Field(0.0, ge=0, le=100)
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int = Field(128, ge=1, le=10**6)


class SequenceLevel(Writing):
    """The student learns answers that the teacher writes, in place of the data's (dialogues).

    - `share`: of the rows with answers, how many the teacher answers; rows without get its answers
      in any case.
    - `temperature`, `top_p`, `max_new_tokens`: how it writes; an answer that has not ended by then
      is not learned.
    - `seed`: of what is drawn, answers and rows.
    """

    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Seed = 0


class OnPolicy(Writing):
    """The student learns from answers that it writes itself, which the teacher judges (dialogues).

    - `share`: of the steps, how many are of such answers; the others are of the data's.
    - `temperature`, `top_p`, `max_new_tokens`: how it writes.
    """

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: float = Field(1.0, ge=0, le=100)


class Distill(Stage):
    """What the student learns from its teachers.

    - `losses`: each by name with its `weight` and its own keys; a weight of 0 switches it off.
    - `task_weight`: the weight of the task's own loss, on the labels.
    - `balance`: with `gradients`, each loss's weight is multiplied by a factor that makes its
      gradient as long as that of the task's loss; with `weights` they act as they are.
    - `combine`: what several teachers answer together: the `mean`, or the `best` of them.
    - `cache`: how the teacher's inner tensors are stored; `int8` takes half of the bytes.
    - `top_k`: of how many labels the teacher's logits are kept by themselves; the others share
      what is left. 0 keeps all. Left open all are kept, and 16 of more than 1,024 labels.
    - `sequence_level`: answers that the teacher writes are learned; the data's where left open.
    - `on_policy`: in some steps the student writes the answers, and the teacher judges them live.
    """

    task_weight: Weight = 1.0
    combine: Literal["mean", "best"] = "mean"
    balance: Literal["weights", "gradients"] = "weights"
    cache: Literal["float16", "int8"] = "float16"
    top_k: int | None = Field(None, ge=0, le=10**7)
    losses: dict[str, LossKeys] = {"kl": {}}  # Hinton's, for one label of several
    sequence_level: SequenceLevel | None = None
    on_policy: OnPolicy | None = None


class Scheme(Stage):
    """How the weights and the input of one module are stored.

    `group`: so many neighbouring weights share a scale; where left open, an output channel's do.
    `scale`: the numbers that scales of weights are.
    """

    weights: WeightFormat = "int8"
    activations: Activations = "uint8"
    group: Group | None = None
    scale: ScaleFormat = "float32"


# What `when: train` takes where a recipe says nothing; after training these are chosen by trial.
TRAINED: dict[str, Any] = {
    "range": "lsq",
    "equalize": {},
    "rounding": "nearest",
}


# What is taken of a model that generates text where a recipe says nothing, in a module's own scheme
# too: all runtimes of such models hold these integers as they are (`quantization.group_codes`).
GENERATION = "text-generation"
GENERATED = validate.GROUPS
# In training: of scales of 32 weights, which learned ones do not follow (`ranges.every_step`).
GENERATED_RANGE = "every_step"
# And quantized late, when steps are small: three seeds of a small Llama lost .8 % of perplexity in
# int4 from half of the steps on, and nothing in the last fifth (docs/log.md).
GENERATED_START = 0.8


def trained_range(task: str) -> str:
    """The range of `when: train` where a recipe of a task says nothing."""
    return GENERATED_RANGE if task == GENERATION else str(TRAINED["range"])


class Quantize(ComponentStage):
    """How the student is stored in few bits.

    - `when`: `train` quantizes during the training, from the share `start` of the steps on;
      `after` calibrates the trained model with `calibration_rows` rows.
    - `weights`, `activations`, `group`, `scale`: as for one module. `activations` left open are
      static uint8 in training; after it dynamic uint8 for texts, and static for images.
    - `attention`: what the two matrix products inside attention read.
    - `kv_cache`: how a model that generates text keeps the keys and values of earlier tokens; in
      `int8` each head of a token has a scale of its own.
    - `range`: how scales and zero points are found.
    - `rounding`: how weights reach their levels, with its own keys.
    - `equalize`: rewrites of the model after its training, by name, each with its own keys.
    - `error_weight`: the weight of the squared error that rounding the weights makes, as a loss.
    - `clip_weight`: the weight of the squared bounds that the range `pact` learns.
    - `progressive`: formats that come before `weights`, one after the other; `switch_at`: at which
      shares of the training the next one takes over; where left open, in equal parts.
    - `keep_float`: patterns of names of modules that are not quantized.
    - `modules`: other keys for the modules whose name fits a pattern; the last that fits wins.

    `range`, `rounding` and `equalize` left open are lsq, nearest and none in training; after it
    they are chosen by trial. Where the task is text-generation, `activations`, `group` and `scale`
    left out are float, 32 and float16, and in training `range` is every_step and `start` .8.
    """

    when: Literal["train", "after"] = "train"
    weights: WeightFormat = "int8"
    activations: Activations | None = None
    attention: Literal["uint8", "float"] = "float"
    kv_cache: KvCache = "float"
    group: Group | None = None
    scale: ScaleFormat = "float32"
    range: str | None = None
    rounding: str | None = None
    equalize: dict[str, dict[str, Any]] | None = None
    error_weight: Weight = 0.0
    clip_weight: Weight | None = None
    start: Fraction = 0.0
    progressive: list[EarlierFormat] = []
    switch_at: list[Fraction] = []
    calibration_rows: int = Field(256, ge=1, le=MOST_ROWS)
    keep_float: list[str] = []
    modules: dict[str, Scheme] = {}

    @model_validator(mode="before")
    @classmethod
    def nothing_open_in_training(cls, keys: Any) -> Any:
        """Fill in what `when: train` takes where a recipe says nothing."""
        if not isinstance(keys, dict) or keys.get("when", "train") != "train":
            return keys  # what is no mapping is refused later, with its place
        return keys | _missing(keys, TRAINED)

    @model_validator(mode="after")
    def something_is_quantized(self) -> Self:
        """Refuse a section that leaves everything in float."""
        formats = {self.weights, self.activations, self.attention, self.kv_cache}
        for scheme in self.modules.values():
            formats |= {scheme.weights, scheme.activations}
        if formats == {"float"}:
            raise ValueError(
                "weights and activations are float, so nothing is quantized. Name a format of one "
                "of them, or leave `quantize` out: the student then stays in float"
            )
        return self

    @property
    def open(self) -> list[str]:
        """The keys that are chosen by trial after training."""
        return [key for key in TRAINED if getattr(self, key) is None]

    @property
    def range_name(self) -> str:
        """The range, which must not be open any more."""
        assert self.range is not None
        return self.range

    @property
    def rounding_name(self) -> str:
        """The rounding; where it is open, the one with which a trial begins."""
        return self.rounding or TRAINED["rounding"]

    def with_chosen(self, **chosen: Any) -> "Quantize":
        """A copy with a value for each open key: the one that is given, else that of training."""
        # Validated anew, since `model_copy` would take any value.
        keys = self.model_dump(by_alias=True)
        return Quantize.model_validate(keys | _missing(keys, TRAINED | chosen))


def _of_generation(scheme: Any) -> Any:
    """What a module of a model that generates text has, of what its recipe says."""
    is_quantized = isinstance(scheme, dict) and scheme.get("weights") != "float"
    return GENERATED | scheme if is_quantized else scheme


def _missing(keys: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The defaults of keys that are not there or null."""
    return {key: value for key, value in defaults.items() if keys.get(key) is None}


class Decide(Stage):
    """How the artifact's probabilities become answers; all of it is fitted on validation.

    - `max_error`: at most this share of the rows that it answers is wrong, with the `confidence`;
      to the others it says `abstain`. Half of validation is kept for the proof.
    - `sets`: with this probability the true label is in the `set` that it answers; in place of
      `max_error`, and of the same half.
    - `costs`: what an answer costs: by true label, then by the label answered. The answer is the
      one of the least expected cost.
    - `thresholds`: `f1` fits for each of several labels the probability from which it is given.
    - `seed`: which half of validation is kept.
    """

    max_error: float | None = Field(None, gt=0, lt=1)
    confidence: float = Field(0.95, ge=0.5, lt=1)
    sets: float | None = Field(None, ge=0.5, lt=1)
    costs: dict[str, dict[str, Annotated[float, Field(ge=0)]]] | None = None
    thresholds: Literal["f1"] | None = None
    seed: Seed = 0

    @field_validator("costs", mode="before")
    @classmethod
    def named_by_words(cls, costs: Any) -> Any:
        """Labels as words, as those of `data.class_weights`."""
        if not isinstance(costs, dict):
            return costs
        named = {}
        for true, row in costs.items():
            is_row = isinstance(row, dict)
            named[str(true)] = {str(key): row[key] for key in row} if is_row else row
        return named

    @model_validator(mode="after")
    def promises_one_thing(self) -> "Decide":
        """Refuse two promises, of which rows could only stand for one."""
        validate.check_decide(self)
        return self

    @property
    def promises(self) -> bool:
        """Whether half of validation is kept for a promise."""
        return self.max_error is not None or self.sets is not None


class Verdict(Stage):
    """What is trained for comparison, and what the result must hold.

    - `arms`: `plain` learns from the labels alone and starts from the weights that were there
      before the teacher was tuned; `cut` learns from the labels and starts as the recipe says, from
      the tuned teacher; `kd` learns from the teacher too; `ptq` is the teacher itself, quantized
      afterwards; `qat` is `plain` quantized in its training; `kd+ptq` is `kd` quantized after its
      training; `joint` is quantized in it. Left open, `plain` (or `cut`, where the teacher came
      tuned), `kd`, `kd+ptq` and `joint`, as far as the recipe distils and quantizes.
    - `metric`: what is compared; where left open, the task's own.
    - `seeds`: how often each arm is trained.
    - `jobs`: how many processes train arms and seeds side by side, each with `train.threads`.
    - `max_drop`: how much of the teacher's metric the last arm may lose.
    - `min_metric`: what its metric must be at least, or at most where less is better; nothing is
      asked where left open.
    - `min_speedup`: how many times as fast as the teacher it must be.
    - `latency_rows`, `latency_threads`: how latency is measured.
    """

    arms: list[Literal["plain", "cut", "kd", "ptq", "qat", "kd+ptq", "joint"]] | None = None
    metric: str | None = None
    seeds: int = Field(1, ge=1, le=1000)
    jobs: int = Field(1, ge=1, le=MOST_THREADS)
    max_drop: float = Field(0.01, ge=0)
    min_metric: float | None = None
    min_speedup: float = Field(1.0, ge=0)
    latency_rows: int = Field(200, ge=1, le=10**6)
    latency_threads: Threads = 1


class Recipe(Stage):
    """One run; docs/guide.md explains every key.

    The student is cut from `teacher` and judged against it; `teachers` teach beside it. An
    `assistant`, built as a student is, learns from them first and then teaches the student in their
    place (Mirzadeh et al., 2020, arXiv 1902.03393). `report_to`: `tensorboard`, `mlflow` or
    `trackio`, a list of them, or each with its destination, get the curves and the verdict too.
    """

    task: str
    data: Data
    augment: Augment | None = None
    teacher: Teacher | None = None
    teachers: list[Teacher] = []
    assistant: Student | None = None
    student: Student
    train: Train = Train()
    distill: Distill | None = None
    quantize: Quantize | None = None
    decide: Decide | None = None
    verdict: Verdict | None = None
    # No exporter at all would be a run that hands nothing out.
    export: list[str] = Field(["onnx"], min_length=1)
    # Part of no key, nor of an artifact: whoever watches changes nothing.
    report_to: ReportTo = None
    # No field: where a recipe was read is no part of what it says, nor of any cache key.
    _origin: Origin = PrivateAttr(Origin())

    @model_validator(mode="before")
    @classmethod
    def generates_in_groups(cls, keys: Any) -> Any:
        """Fill in GENERATED where a model that generates text is quantized."""
        if not isinstance(keys, dict) or keys.get("task") != GENERATION:
            return keys
        quantize = keys.get("quantize")
        if not isinstance(quantize, dict):
            return keys  # none, or refused later, with its place
        filled = GENERATED | quantize
        if quantize.get("when", "train") == "train":
            # Formats that come first need the steps in which to come.
            if not quantize.get("progressive"):
                filled.setdefault("start", GENERATED_START)
            filled["range"] = quantize.get("range") or trained_range(GENERATION)
        modules = quantize.get("modules")
        if isinstance(modules, dict):
            filled["modules"] = {name: _of_generation(each) for name, each in modules.items()}
        return keys | {"quantize": filled}

    @model_validator(mode="after")
    def has_what_its_stages_need(self) -> "Recipe":
        """Refuse stages without those that they build on."""
        validate.check_stages(self)
        return self

    @property
    def judged_metric(self) -> str:
        """What the verdict compares: `verdict.metric`, or the task's own."""
        asked = self.verdict.metric if self.verdict else None
        return asked or registry.load("tasks", self.task).metric

    def __repr__(self) -> str:
        """`<limbeck recipe text-classification: csv; ngrams, distilled, quantized>`."""
        what = [str(self.student.origin or TEACHER)]
        if self.distill:
            what.append("distilled")
        if self.quantize:
            what.append("quantized")
        return f"<limbeck recipe {self.task}: {self.data.source}; {', '.join(what)}>"

    def __str__(self) -> str:
        return repr(self)

    def dump(self) -> dict[str, Any]:
        """Plain data, every default written out, with the keys that a recipe file has."""
        return self.model_dump(mode="json", by_alias=True)

    def with_content(self, content: dict[str, Any]) -> "Recipe":
        """The recipe that plain data say, which stands where this one does."""
        recipe = Recipe.model_validate(content)
        recipe._origin = self._origin
        return recipe

    @property
    def folder(self) -> Path | None:
        """The folder of the file that it was read from; None where it was built in Python."""
        root = self._origin.root
        return Path(root.start_mark.name).parent if root else None

    def mistake(self, path: Sequence[str], message: str) -> WrongRecipe:
        """The error that tells `message` at the place of the key at `path`, to be raised."""
        return WrongRecipe([self._origin.problem(path, message)])

    def problem(self, mistake: Mistake) -> Problem:
        """A mistake with the place of its key."""
        return self._origin.problem(mistake.path, mistake.message, mistake.fix)

    def refuse(self, mistakes: Iterable[Mistake]) -> None:
        """Raise WrongRecipe of all the mistakes, if there are any."""
        problems = [self.problem(mistake) for mistake in mistakes]
        if problems:
            raise WrongRecipe(problems)
