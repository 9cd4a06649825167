"""What a run is: data only, read from YAML, validated, every default written out.

A recipe is one model for each stage; a stage holds its keys, and where it names a component (a source, a network, a surgery, a loss) also that
component's keys; nothing is deeper. Numbers parse as in YAML 1.2: `2e-5` is a number, `no` and `on` are words.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from limbeck import registry

Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = float | str  # a number, or a schedule: "linear(1.0, 0.5)"


class Stage(BaseModel):
    """Keys of one stage; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ComponentStage(Stage):
    """A stage whose further keys belong to the component it names."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Data(ComponentStage):
    source: str


class Teacher(ComponentStage):
    """`model`: one of our networks by name, a `transformers` folder or a hub id; `epochs: 0` takes it as already tuned."""

    model: str
    epochs: int = Field(3, ge=0)
    learning_rate: float | None = Field(None, gt=0)


class Student(ComponentStage):
    """`from: teacher` with a surgery and its keys, or `model` as for the teacher."""

    from_: Literal["teacher"] | None = Field(None, alias="from")
    surgery: str | None = None
    model: str | None = None

    @model_validator(mode="after")
    def one_origin(self) -> "Student":
        if (self.from_ is None) == (self.model is None):
            raise ValueError("say either `from: teacher` with a `surgery`, or `model`")
        if (self.from_ is None) != (self.surgery is None):
            raise ValueError("`surgery` goes with `from: teacher`")
        return self


class Train(Stage):
    """Steps, alike for every arm. `batch_tokens` counts padded tokens (text), `batch_rows` rows (images)."""

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


class Distill(Stage):
    """Weighted losses by name; `task_weight` is the weight of the task's own loss. A weight of 0 switches a term off."""

    task_weight: Weight = 1.0
    losses: dict[str, dict[str, Any]] = {"kl": {}}


class Scheme(Stage):
    """What one module's weights and input are stored as."""

    weights: Literal["int8", "float"] = "int8"
    activations: Literal["uint8", "uint8-dynamic", "float"] = "uint8"


class Quantize(Stage):
    """`when: train` quantizes while it trains, from the fraction `start` of the steps on; `after` calibrates the trained model.

    `activations` left open means static uint8 in training, and after training dynamic uint8 for text and static for images.
    """

    when: Literal["train", "after"] = "train"
    weights: Literal["int8", "float"] = "int8"
    activations: Literal["uint8", "uint8-dynamic", "float"] | None = None
    range: str = "lsq"
    error_weight: Weight = 0.0
    start: Fraction = 0.0
    calibration_rows: int = Field(256, ge=1)
    keep_float: list[str] = []
    modules: dict[str, Scheme] = {}


class Verdict(Stage):
    arms: list[Literal["plain", "kd", "kd+ptq", "joint"]] = ["plain", "kd", "kd+ptq", "joint"]
    seeds: int = Field(1, ge=1)
    max_drop: float = Field(0.01, ge=0)
    min_speedup: float = Field(1.0, ge=0)
    resamples: int = Field(2000, ge=100)
    latency_rows: int = Field(200, ge=1)


class Recipe(Stage):
    """One run; see docs/guide.md for every key."""

    task: str
    data: Data
    teacher: Teacher | None = None
    student: Student
    train: Train = Train()
    distill: Distill | None = None
    quantize: Quantize | None = None
    verdict: Verdict | None = None
    export: list[str] = ["onnx"]

    @model_validator(mode="after")
    def consistent(self) -> "Recipe":
        if self.distill and not self.teacher:
            raise ValueError("`distill` needs a `teacher`")
        if self.student.from_ and not self.teacher:
            raise ValueError("`student: {from: teacher}` needs a `teacher`")
        if self.verdict and not self.quantize:
            raise ValueError("`verdict` judges a quantized student: it needs `quantize`")
        if self.verdict and not self.teacher:
            raise ValueError("`verdict` compares with a `teacher`")
        return self

    def check_components(self) -> None:
        """Create every component once, so that a wrong name or key is found before any work. Raises ValueError."""
        registry.load("tasks", self.task)
        registry.create("sources", self.data.source, self.data.options)
        for name, options in (self.distill or Distill(losses={})).losses.items():
            registry.create("losses", name, {key: value for key, value in options.items() if key != "weight"})
        if self.student.surgery:
            registry.create("surgeries", self.student.surgery, self.student.options)
        if self.quantize:
            registry.load("ranges", self.quantize.range)
        for name in self.export:
            registry.load("exporters", name)

    def dump(self) -> dict[str, Any]:
        """Plain data, every default written out, as a recipe file spells it."""
        return self.model_dump(mode="json", by_alias=True)


def read(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """The recipe in the file `path` with `key.key=value` overrides. Raises ValueError with file, line, column and cure."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"{path}: no such recipe. `limbeck list` shows what a recipe can name; recipes/ holds examples") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as a recipe: {error}") from None
    return parse(text, origin=str(path), overrides=overrides)


def parse(text: str, *, origin: str = "recipe", overrides: list[str] | None = None) -> Recipe:
    """A recipe from YAML text; `origin` names it in messages. Raises ValueError."""
    try:
        root = yaml.compose(text, Loader=Yaml12)
        content = yaml.load(text, Loader=Yaml12)  # a SafeLoader: plain data only
    except yaml.YAMLError as error:
        raise ValueError(f"{origin}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{origin}: a recipe is a mapping of stages (task, data, teacher, student, ...)")
    for override in overrides or []:
        _override(content, override)
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise ValueError("\n".join(_explain(origin, root, problem) for problem in error.errors()[:3])) from None
    return _relocate(recipe)


def write(recipe: Recipe) -> str:
    """The recipe as YAML, every default written out."""
    return yaml.safe_dump(recipe.dump(), sort_keys=False, allow_unicode=True, width=120)


class Yaml12(yaml.SafeLoader):
    """SafeLoader with the numbers and booleans of YAML 1.2's core schema."""


Yaml12.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Yaml12.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+.0123456789"),
)
Yaml12.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def _override(content: dict[str, Any], override: str) -> None:
    """Apply one `train.epochs=2` to the parsed recipe."""
    key, separator, value = override.partition("=")
    if not separator:
        raise ValueError(f"override `{override}`: write it as key.key=value, for example train.epochs=2")
    *parents, last = key.split(".")
    place = content
    for parent in parents:
        child = place.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ValueError(f"override `{override}`: `{parent}` holds no keys")
        place = child
    place[last] = yaml.load(value, Loader=Yaml12)


def _explain(origin: str, root: yaml.Node | None, problem: Any) -> str:
    """One validation problem as 'file:line:column: key: what, and the nearest valid name'."""
    path = [str(part) for part in problem["loc"]]
    line, column = _position(root, path)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = f"unknown key. {registry.suggest(path[-1], _known_keys(path[:-1]))}"
    elif problem["type"] == "missing":
        message = "this key is required"
    elif "input" in problem and not isinstance(problem["input"], dict):
        message = f"{message}, not {problem['input']!r}"
    return f"{origin}:{line}:{column}: {'.'.join(path) or 'recipe'}: {message}"


def _known_keys(path: list[str]) -> list[str]:
    """The keys that the stage at `path` takes."""
    fields = Recipe.model_fields
    stages = {"train": Train, "distill": Distill, "quantize": Quantize, "verdict": Verdict}
    if path and path[0] in stages:
        fields = stages[path[0]].model_fields
    if path[:2] == ["quantize", "modules"]:
        fields = Scheme.model_fields
    return [field.alias or name for name, field in fields.items()]


def _position(node: yaml.Node | None, path: list[str]) -> tuple[int, int]:
    """1-based line and column of the deepest key of `path` that the file holds."""
    mark = node.start_mark if node else None
    for part in path:
        if not isinstance(node, yaml.MappingNode):
            break
        found = next(((key, value) for key, value in node.value if key.value == part), None)
        if found is None:
            break
        mark, node = found[0].start_mark, found[1]
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _relocate(recipe: Recipe) -> Recipe:
    """Let LIMBECK_DATA say where the folder that a recipe calls ../shared/data lies."""
    base, path = os.environ.get("LIMBECK_DATA"), recipe.data.options.get("path")
    if not base or not isinstance(path, str) or not path.startswith("../shared/data/"):
        return recipe
    moved = str(Path(base) / path.removeprefix("../shared/data/"))
    return recipe.model_copy(update={"data": Data(source=recipe.data.source, **{**recipe.data.options, "path": moved})})
