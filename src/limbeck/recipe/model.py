"""What a run is: data only, read from YAML, validated, every default written out.

A recipe is one model for each stage; a stage holds its keys, and where it names a component (a source, a network, a surgery, a
loss) also that component's keys; nothing is deeper.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import yaml
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

from limbeck.core import registry, wording
from limbeck.core.schedules import Scheduled
from limbeck.core.yaml12 import place
from limbeck.tasks import SOFT_LOSSES, SelfSupervised

Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Scheduled  # "linear(1.0, 0.5)"


@dataclass(frozen=True)
class Origin:
    """The YAML nodes that a recipe was read from. Any two are equal: where a recipe stood is no part of what it says."""

    root: yaml.Node | None = field(default=None, compare=False)

    def tell(self, path: Sequence[str], message: str) -> str:
        """'file:line:column: key.key: message', at the deepest key of `path` that the text holds."""
        node, at = self.root, place(self.root.start_mark) if self.root else "recipe"
        for part in path:
            if isinstance(node, yaml.SequenceNode) and part.isdecimal():
                at, node = place(node.value[int(part)].start_mark), node.value[int(part)]
                continue
            found = (
                [pair for pair in node.value if pair[0].value == part]
                if isinstance(node, yaml.MappingNode)
                else []
            )
            if not found:
                break
            at, node = place(found[0][0].start_mark), found[0][1]
        return f"{at}: {'.'.join(path) or 'recipe'}: {message}"


class Stage(BaseModel):
    """Keys of one stage; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def no_boolean(cls, value: Any) -> Any:
        """No key of ours is a switch, and pydantic takes `true` for 1."""
        if isinstance(value, bool):
            raise ValueError("Input should be a number, a word, a list or keys")
        return value


class ComponentStage(Stage):
    """A stage whose further keys belong to the component it names."""

    model_config = ConfigDict(extra="allow")

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Data(ComponentStage):
    """`source`: where the rows come from, with its own keys. A row that cannot be used fails the run, or is skipped, or kept apart as well.

    `transfer`: texts or images without labels from elsewhere (`limbeck.data.transfer`); `unlabelled_rows`: so many rows without labels at most.
    """

    source: str
    on_bad_row: Literal["fail", "skip", "quarantine"] = "fail"
    transfer: str | None = None
    unlabelled_rows: int | None = Field(None, ge=0)


class Augment(ComponentStage):
    """`method`: how copies of the labelled texts are made, for the teacher to label, with its own keys (`limbeck.pipeline.copies`).

    `copies` of each row, in which a word is replaced with the probability `share`; what is drawn depends on `seed` alone.
    """

    method: str
    copies: int = Field(5, ge=1)
    share: Fraction = 0.4
    seed: int = Field(0, ge=0)


class Teacher(ComponentStage):
    """`model`: one of our networks by name, a `transformers` folder or a hub id; `epochs: 0` takes it as already tuned.

    `weight` is that of its answers where several teach.
    """

    model: str
    weight: float = Field(1.0, gt=0)
    epochs: int = Field(3, ge=0)
    learning_rate: float | None = Field(None, gt=0)


class Student(ComponentStage):
    """`from: teacher`, or another model's folder or hub id, with a surgery and its keys; or `model` as for the teacher."""

    from_: str | None = Field(None, alias="from")
    surgery: str | None = None
    model: str | None = None

    @model_validator(mode="after")
    def one_origin(self) -> "Student":
        if (self.from_ is None) == (self.model is None):
            raise ValueError("say either `from: teacher` with a `surgery`, or `model`")
        if (self.from_ is None) != (self.surgery is None):
            raise ValueError(
                "`surgery` goes with `from`, which says what it cuts: `from: teacher`, or another model's folder or hub id"
            )
        if self.from_ != "teacher" and difflib.get_close_matches(self.from_ or "", ["teacher"]):
            raise ValueError(
                f"from: `{self.from_}`: did you mean `teacher`? The folder of another model of that name is `./{self.from_}`"
            )
        return self

    @property
    def origin(self) -> str | None:
        """The model that it starts from; None is the teacher."""
        return None if self.from_ == "teacher" else self.from_ or self.model


class Train(Stage):
    """Steps, alike for every arm. `batch_tokens` counts padded tokens (text), `batch_rows` rows (images); `augment` images only, each row in as many
    `views`; left open, in another one every epoch."""

    epochs: int = Field(3, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    batch_tokens: int = Field(1024, ge=1)
    batch_rows: int = Field(64, ge=1)
    max_tokens: int = Field(256, ge=8)
    warmup: Fraction = 0.1
    weight_decay: float = Field(0.01, ge=0)
    gradient_clip: float = Field(1.0, gt=0)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int = Field(2, ge=1)
    seed: int = Field(0, ge=0)
    checkpoint_seconds: float = Field(60, ge=0)
    augment: list[
        Literal["flip", "crop", "rotate", "brightness", "cutout", "randaugment", "mixup"]
    ] = []
    views: int | None = Field(None, ge=1)

    @field_validator("augment")
    @classmethod
    def mixed_last(cls, names: list[str]) -> list[str]:
        """The views are finished when they are mixed."""
        if "mixup" in names[:-1]:
            raise ValueError("`mixup` mixes finished views. Name it once, as the last")
        return names

    @model_validator(mode="after")
    def views_of_rows(self) -> "Train":
        """What the teacher can answer ahead: the views of a row, which a mixture of two is not."""
        if self.views and (not self.augment or "mixup" in self.augment):
            raise ValueError(
                "`views` are those that `augment` makes of each row, and `mixup` makes others in every step. Leave one of them out"
            )
        return self


@with_config(extra="allow")
class LossKeys(TypedDict, total=False):
    """`weight`, and the keys of the loss."""

    weight: Weight


class Distill(Stage):
    """Weighted losses by name; `task_weight` is the weight of the task's own loss. A weight of 0 switches a term off.

    `balance: gradients` multiplies each loss's weight by a factor that keeps its gradient as long as the task's (`probe`); with `weights` they act
    as they are. `combine` says what several teachers answer together (`ensemble`). `cache`: what the teacher's inner tensors are stored as, `int8`
    in half the bytes; `top_k`: of how many labels its logits are kept, the others sharing what is left (0: of all).
    """

    task_weight: Weight = 1.0
    combine: Literal["mean", "best"] = "mean"
    balance: Literal["weights", "gradients"] = "weights"
    cache: Literal["float16", "int8"] = "float16"
    top_k: int = Field(0, ge=0)
    losses: dict[str, LossKeys] = {"kl": {}}


WeightFormat = Literal[
    "int8", "int7", "int4", "int3", "int2", "ternary", "binary", "fp8-e4m3", "fp8-e5m2", "float"
]


EarlierFormat = Literal["int8", "int7", "int4", "int3", "int2", "ternary"]


class Scheme(Stage):
    """What one module's weights and input are stored as. `group`: so many neighbouring weights share a scale; left open, an output channel's do."""

    weights: WeightFormat = "int8"
    activations: Literal["uint8", "uint8-dynamic", "float"] = "uint8"
    group: int | None = Field(None, ge=2)


TRAINED: dict[str, Any] = {
    "range": "lsq",
    "equalize": {},
    "rounding": "nearest",
}  # what `when: train` takes where a recipe says nothing


class Quantize(ComponentStage):
    """`when: train` quantizes while it trains, from the fraction `start` of the steps on; `after` calibrates the trained model.

    `activations` left open means static uint8 in training, and after training dynamic uint8 for text and static for images; `attention` is what
    the two matrix products inside attention read. `rounding` is how weights reach the grid, and brings its own keys; `equalize` maps rewrites (after
    training) to theirs, in their order. What is left open of `range`, `rounding` and `equalize` is lsq, nearest and nothing in training, and chosen
    by trial after it (`post_training`). `clip_weight` weighs the squared bounds of the range `pact`, which brings its own default. `progressive`
    lists the formats before `weights`, one after the other in equal parts of the quantized training; `switch_at` says at which shares of the whole
    training the next one takes over.
    """

    when: Literal["train", "after"] = "train"
    weights: WeightFormat = "int8"
    activations: Literal["uint8", "uint8-dynamic", "float"] | None = None
    attention: Literal["uint8", "float"] = "float"
    group: int | None = Field(None, ge=2)
    range: str | None = None
    rounding: str | None = None
    equalize: dict[str, dict[str, Any]] | None = None
    error_weight: Weight = 0.0
    clip_weight: Weight | None = None
    start: Fraction = 0.0
    progressive: list[EarlierFormat] = []
    switch_at: list[Fraction] = []
    calibration_rows: int = Field(256, ge=1)
    keep_float: list[str] = []
    modules: dict[str, Scheme] = {}

    @model_validator(mode="before")
    @classmethod
    def nothing_open_in_training(cls, keys: Any) -> Any:
        """What `when: train` takes is known."""
        if not isinstance(keys, dict) or keys.get("when", "train") != "train":
            return keys
        return keys | {key: value for key, value in TRAINED.items() if keys.get(key) is None}

    @property
    def open(self) -> list[str]:
        """What is chosen by trial after training."""
        return [key for key in TRAINED if getattr(self, key) is None]

    @property
    def range_name(self) -> str:
        """The range, of which nothing may be open any more."""
        assert self.range is not None
        return self.range

    @property
    def rounding_name(self) -> str:
        """The rounding; where it is open, the one that a trial begins from."""
        return self.rounding or TRAINED["rounding"]

    def with_chosen(self, **chosen: Any) -> "Quantize":
        """With a value for each key that is open; where none is given, the one of training."""
        own = self.model_dump(by_alias=True)
        return Quantize.model_validate(
            {
                **own,
                **{key: value for key, value in (TRAINED | chosen).items() if own.get(key) is None},
            }
        )


class Verdict(Stage):
    """The arms that are compared; the last may lose `max_drop` of the teacher's `metric` and must be `min_speedup` times as fast.

    `metric` left open is the task's own.
    """

    arms: list[Literal["plain", "kd", "kd+ptq", "joint"]] = ["plain", "kd", "kd+ptq", "joint"]
    metric: str | None = None
    seeds: int = Field(1, ge=1)
    max_drop: float = Field(0.01, ge=0)
    min_speedup: float = Field(1.0, ge=0)
    resamples: int = Field(2000, ge=100)
    latency_rows: int = Field(200, ge=1)
    latency_threads: int = Field(1, ge=1)


class Recipe(Stage):
    """One run; see docs/guide.md for every key.

    The student is cut from `teacher` and judged against it; `teachers` teach beside it. An `assistant`, built as a student is, learns from them first
    and teaches the student in their place (Mirzadeh et al., 2020, arXiv 1902.03393).
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
    verdict: Verdict | None = None
    export: list[str] = Field(["onnx"], min_length=1)
    _origin: Origin = PrivateAttr(Origin())

    @model_validator(mode="after")
    def consistent(self) -> "Recipe":
        if self.distill and not self.teacher:
            raise ValueError("`distill` needs a `teacher`")
        for name in ("teachers", "assistant"):
            if getattr(self, name) and not self.distill:
                raise ValueError(
                    f"`{name}` teaches the student, which needs `distill` and a `teacher`"
                )
        if self.distill and self.distill.combine != "mean" and not self.teachers:
            raise ValueError(
                "`distill.combine` says what several teachers answer together: it needs `teachers`"
            )
        if self.augment and not self.distill:
            raise ValueError("`augment` makes rows that only a teacher labels: it needs `distill`")
        if self.student.origin is None and not self.teacher:
            raise ValueError("`student: {from: teacher}` needs a `teacher`")
        if self.verdict and not self.quantize and set(self.verdict.arms) & {"kd+ptq", "joint"}:
            raise ValueError(
                "the arms `kd+ptq` and `joint` are quantized, and there is no `quantize`. Add it, or say `verdict: {arms: [plain, kd]}`"
            )
        if self.verdict and not self.teacher:
            raise ValueError("`verdict` compares with a `teacher`")
        return self

    def check_components(self) -> None:
        """Create every component once, so that a wrong name or key is found before any work. Raises ValueError."""
        for path, family, name, options in self._components():
            try:
                _create(family, name, options)
            except registry.WrongKey as error:
                if error.choices is not None:
                    error = registry.WrongKey(
                        error.reason, error.key, [*_known_keys(path), *error.choices]
                    )
                raise ValueError(self._origin.tell([*path, error.key], str(error))) from None
            except ValueError as error:
                raise ValueError(self._origin.tell(path, str(error))) from None
        self._check_task(registry.load("tasks", self.task))
        self._check_quantize()

    def _check_quantize(self) -> None:
        """What cannot act while training, or on a format. Raises ValueError."""
        from limbeck.quantization.roundings import (
            LayerRounding,
            mismatch,
        )  # imports torch, which reading a recipe does not need

        if self.quantize is None:
            return
        name = self.quantize.rounding_name
        rounding = registry.create("roundings", name, self.quantize.options)
        schemes: dict[tuple[str, ...], Any] = {
            ("modules", pattern): scheme for pattern, scheme in self.quantize.modules.items()
        }
        for path, scheme in ({(): self.quantize} | schemes).items():
            if problem := mismatch(rounding, scheme.weights):
                raise ValueError(
                    self._origin.tell(["quantize", *path, "weights"], f"`{name}` {problem}")
                )
        self._check_training_only(self.quantize)
        for form in self.quantize.progressive:
            if problem := mismatch(rounding, form):
                raise ValueError(
                    self._origin.tell(["quantize", "progressive"], f"`{name}` {problem}")
                )
        if self.quantize.when == "after":
            return
        if self.quantize.equalize:
            problem = "a model is rewritten after its training, and `when` is train. Leave it out, or say `when: after`"
            raise ValueError(self._origin.tell(["quantize", "equalize"], problem))
        if isinstance(rounding, LayerRounding):
            problem = f"`{name}` rounds whole layers after their training, and `when` is train. Say `when: after`, or leave it out"
            raise ValueError(self._origin.tell(["quantize", "rounding"], problem))

    def _check_training_only(self, settings: Quantize) -> None:
        """Keys that act while the quantized model trains, and on what it learns. Raises ValueError."""
        if settings.clip_weight is not None and (
            settings.when == "after"
            or not registry.load("ranges", settings.range_name).clipped_only
        ):
            problem = "it weighs the clipping bounds that `range: pact` learns in training, and there are none here. Leave it out"
            raise ValueError(self._origin.tell(["quantize", "clip_weight"], problem))
        if settings.progressive and (refusal := _problem_of_formats(settings)):
            raise ValueError(self._origin.tell(["quantize", "progressive"], refusal))
        points = [settings.start, *settings.switch_at, 1.0]
        if settings.switch_at and (
            len(settings.switch_at) != len(settings.progressive) or points != sorted(set(points))
        ):
            problem = f"one share of the training for each format of `progressive`, each above the one before, from `start` ({settings.start:g}) to 1"
            raise ValueError(
                self._origin.tell(
                    ["quantize", "switch_at"], f"{settings.switch_at} is not {problem}"
                )
            )

    def _check_task(self, task: Any) -> None:
        """What the other stages ask of the task. Raises ValueError."""
        if self.train.augment and "pixel_values" not in task.input_names:
            raise ValueError(
                self._origin.tell(
                    ["train", "augment"],
                    f"`{self.task}` reads no images, and only these are augmented. Leave it out",
                )
            )
        if self.augment and "input_ids" not in task.input_names:
            raise ValueError(
                self._origin.tell(
                    ["augment"],
                    f"`{self.task}` reads no texts, and words are replaced. For images there is train.augment",
                )
            )
        if self.verdict and self.verdict.metric and self.verdict.metric not in task.metric_names:
            problem = f"`{self.task}` has no metric `{self.verdict.metric}`. {wording.suggest(self.verdict.metric, task.metric_names)}"
            raise ValueError(self._origin.tell(["verdict", "metric"], problem))
        if issubclass(task, SelfSupervised):
            self._check_pre_training()
        self._check_soft_losses(task.likelihood)

    def _check_soft_losses(self, likelihood: str) -> None:
        """A loss on distributions over the labels says nothing where the logits are none. Raises ValueError."""
        fitting = SOFT_LOSSES.get(likelihood, ())
        for name in self.distill.losses if self.distill and fitting else ():
            if registry.load("losses", name).reads == ("logits",) and name not in fitting:
                problem = f"`{name}` compares distributions over labels, and the logits of `{self.task}` are none. Take {' or '.join(fitting)}"
                raise ValueError(self._origin.tell(["distill", "losses", name], problem))

    def _check_pre_training(self) -> None:
        """A task that makes its own labels trains a float model, and no more. Raises ValueError."""
        cure = "Leave it out; the run's folder `model` is then the teacher.model or student.model of a recipe that has it"
        for name, stage in (("distill", self.distill), ("quantize", self.quantize)):
            if stage:
                raise ValueError(
                    self._origin.tell(
                        [name], f"`{self.task}` only pre-trains: it takes no `{name}`. {cure}"
                    )
                )
        if self.teacher and self.student.origin:
            raise ValueError(
                self._origin.tell(
                    ["teacher"],
                    f"`{self.task}` asks a teacher nothing. Leave it out, or cut the student from it",
                )
            )

    def resolved(self) -> "Recipe":
        """This recipe, its components checked and their defaults written out. Raises ValueError."""
        self.check_components()
        content = self.dump()
        if content["verdict"]:
            content["verdict"]["metric"] = self.judged_metric
        for path, family, name, options in self._components():
            if options is None or name not in registry.names(family):
                continue
            place = content
            for part in path:
                place = place[int(part)] if isinstance(place, list) else place[part]
            for key, parameter in registry.keys(family, name).items():
                if parameter.default is not parameter.empty:
                    place.setdefault(key, parameter.default)
            if family == "losses":
                place.setdefault("weight", 1.0)
        return Recipe.model_validate(content)

    @property
    def judged_metric(self) -> str:
        """What the verdict compares: `verdict.metric`, or the task's own."""
        return (self.verdict.metric if self.verdict else None) or registry.load(
            "tasks", self.task
        ).metric

    def _components(self) -> Iterator[tuple[list[str], str, str, dict[str, Any] | None]]:
        """(path in the recipe, family, name, options) of each; without options it is made from more than its keys."""
        yield ["task"], "tasks", self.task, None
        yield ["data"], "sources", self.data.source, self.data.options
        if self.augment:
            yield ["augment"], "augmenters", self.augment.method, self.augment.options
        for name, keys in (self.distill or Distill(losses={})).losses.items():
            yield (
                ["distill", "losses", name],
                "losses",
                name,
                {key: value for key, value in keys.items() if key != "weight"},
            )
        if self.teacher:
            yield ["teacher"], "networks", self.teacher.model, self.teacher.options
        for number, other in enumerate(self.teachers):
            yield ["teachers", str(number)], "networks", other.model, other.options
        for name, student in (("assistant", self.assistant), ("student", self.student)):
            if student and student.origin:
                yield [name], "networks", student.origin, student.options if student.model else {}
            if student and student.surgery:
                yield [name], "surgeries", student.surgery, student.options
        if self.quantize:
            if self.quantize.range is not None:
                yield ["quantize", "range"], "ranges", self.quantize.range, None
            yield ["quantize"], "roundings", self.quantize.rounding_name, self.quantize.options
            for name, options in (self.quantize.equalize or {}).items():
                yield ["quantize", "equalize", name], "equalizers", name, options
        for name in self.export:
            yield ["export"], "exporters", name, None

    def dump(self) -> dict[str, Any]:
        """Plain data, every default written out, as a recipe file spells it."""
        return self.model_dump(mode="json", by_alias=True)


def _create(family: str, name: str, options: dict[str, Any] | None) -> None:
    """Create a component, or load it where `options` is None. A model that is none of our networks takes no options."""
    if family == "networks" and name not in (ours := registry.names("networks")):
        for key in options or {}:
            raise registry.WrongKey(
                f"`{name}` is none of our networks ({', '.join(ours)}), and only these take keys",
                key,
                [],
            )
    elif options is None:
        registry.load(family, name)
    else:
        registry.create(family, name, options)


def _problem_of_formats(settings: Quantize) -> str | None:
    """Why formats cannot follow one another to the final one."""
    from limbeck.core.grids import GRIDS  # imports torch, which reading a recipe does not need

    if settings.when == "after":
        return "formats follow one another while the model trains, and `when` is after. Leave it out, or say `when: train`"
    if settings.weights == "float" or GRIDS[settings.weights].is_floating:
        return f"bits are reduced to those of an integer format, and `weights` is {settings.weights}. Leave it out"
    formats = [*settings.progressive, settings.weights]
    levels = [GRIDS[form].num_levels for form in formats]
    if levels != sorted(set(levels), reverse=True):
        return f"each format must have fewer levels than the one before, and `weights` the fewest, not {' -> '.join(formats)}"
    return None


def _known_keys(path: list[str]) -> list[str]:
    """The keys of ours that the stage at `path` takes."""
    stages: dict[str, type[BaseModel]] = {
        "": Recipe,
        "data": Data,
        "augment": Augment,
        "teacher": Teacher,
        "teachers": Teacher,
        "assistant": Student,
        "student": Student,
        "train": Train,
        "distill": Distill,
        "quantize": Quantize,
        "quantize.modules": Scheme,
        "verdict": Verdict,
    }
    if path[:2] == ["distill", "losses"]:
        return list(LossKeys.__annotations__)
    return [
        field.alias or name
        for name, field in stages[
            ".".join(part for part in path[:2] if not part.isdecimal())
        ].model_fields.items()
    ]
