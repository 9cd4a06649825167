"""report.json, schema 2: every key, for whoever reads it. `limbeck schema report` prints it as JSON
Schema, and a test holds every report of the suite against it.

Metrics are shares in [0, 1] unless their name says another unit. An interval is two ends, the lower
first; where something is undefined or was not measured it is null.
"""

from functools import cache
from typing import Any, NotRequired

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

# A key that is not written down here is a mistake of ours.
CLOSED = ConfigDict(extra="forbid")
# What a task, a runtime or a format says of itself differs between them.
OPEN = ConfigDict(extra="allow")

Interval = list[float]


@with_config(CLOSED)
class Metric(TypedDict):
    """What the verdict is about."""

    name: str
    higher_is_better: bool


@with_config(OPEN)
class Seed(TypedDict):
    """One training of an arm: `metrics` by name, and the task's own tables, such as `per_label`
    and `confusion`."""

    seed: int
    metrics: dict[str, float | None]


@with_config(CLOSED)
class Latency(TypedDict):
    """Milliseconds from one raw input to its answer: of wall time the median and the 99th
    percentile, of CPU time (`cpu`) the median; and how many times as fast as the teacher. `ms`:
    what that ratio is of, CPU time of one thread and wall time of several."""

    ms: NotRequired[float]
    p50: float
    p99: float
    threads: int
    runtime: str
    speedup: NotRequired[float | None]
    speedup_ci95: NotRequired[Interval | None]
    cpu: float


@with_config(CLOSED)
class ArmRow(TypedDict):
    """An arm, over its seeds. `what`: of the linear model, which has no bytes and no milliseconds.
    `agreement`: the share of decisions that are the teacher's."""

    what: NotRequired[str]
    seeds: list[Seed]
    mean: dict[str, float | None]
    ci95: dict[str, Interval | None]
    parameters: int
    bytes: int | None
    latency_ms: Latency | None
    agreement: float | None


@with_config(CLOSED)
class BarRow(TypedDict):
    """What the judged arm must beat: one answer for every row (`constant`), a linear model
    (`baseline`); its level, and the lead over it."""

    name: str
    words: str
    level: float
    lead: float
    lead_ci95: Interval
    is_beaten: bool


@with_config(CLOSED)
class Gain(TypedDict):
    """What helped: `teacher`, `answers` or `joint`, as the metric of `arm` less that of `control`.
    With one `seeds` it is true of these weights. `at_chance`: neither arm learned anything."""

    name: str
    arm: str
    control: str
    gain: float
    ci95: Interval
    seeds: int
    at_chance: bool


@with_config(CLOSED)
class VerdictRow(TypedDict):
    """Whether the student is kept, and why not. `drop`: the teacher's metric less the artifact's
    own. `p_noninferior`: of "the drop is `max_drop` or more", by `test`."""

    kept: bool
    reasons: list[str]
    notes: list[str]
    bars: list[BarRow]
    drop: float
    drop_ci95: Interval
    max_drop: float
    test: str
    p_noninferior: float
    min_speedup: float
    speedup: float
    speedup_ci95: Interval | None
    compression: float
    gains: list[Gain]


@with_config(CLOSED)
class GreedyAnswers(TypedDict):
    """Texts that a runtime went on with by itself, so many tokens each: of each the place, from 0,
    where it says the first token that a reference would not have said; null where there is none."""

    answers: int
    tokens: int
    first_differences: list[int | None]


@with_config(CLOSED)
class ParityRow(TypedDict):
    """A graph against the trained model, over the test split: `flips` of `units` decisions differ.
    Logit differences are in logits; `last_bits`: what the model differs from itself.

    Where the runtime rounds activations by itself these are its differences from a reference that
    rounds alike; there alone the metric's difference from the trained model is told, of the file in
    float32 (`file_difference`) and as the runtime computes it (`rounding_difference`). Of a runtime
    that writes by itself, both models' perplexities and where greedy answers part are told."""

    arm: str
    seed: int
    runtime: str
    file_difference: NotRequired[float]
    rounding_difference: NotRequired[float]
    perplexity: NotRequired[float]
    trained_perplexity: NotRequired[float]
    greedy: NotRequired[GreedyAnswers]
    rows: int
    units: int
    flips: int
    agreement: float
    max_abs_logit_difference: float
    logit_difference: float
    far_off: int
    unexplained: int
    logit_spread: float
    worst_row: int
    metric_difference: float
    last_bits: dict[str, float] | None
    holds: bool
    failures: list[str]


@with_config(CLOSED)
class Kind(TypedDict):
    """Test rows of one kind: shares that teacher and student have right, the drop, and the p value
    of "no worse here", alone and adjusted for all kinds (Holm)."""

    by: str
    value: str
    rows: int
    teacher: float
    student: float
    drop: float
    ci95: Interval
    p: float
    p_holm: float


@with_config(CLOSED)
class LabelErrors(TypedDict):
    """Labels that teacher and student both doubt; all of them stand in label_errors.csv."""

    count: int
    first: list[dict[str, Any]]


@with_config(CLOSED)
class ChangedRow(TypedDict):
    """A row of the test split that teacher and student answer otherwise, by its number from 1.
    `right`: `teacher`, `student` or `neither`; of numbers who is nearer. `thumbnail`: a PNG or a
    JPEG in base64. `answers`: at each unit that changed, `given`, `teacher` and `student`, each a
    list where a row has several labels, and of a sentence the `word`."""

    row: int
    right: str
    text: NotRequired[str]
    text_b: NotRequired[str]
    file: NotRequired[str]
    thumbnail: NotRequired[str]
    answers: list[dict[str, str | list[str]]]


@with_config(CLOSED)
class LostRows(TypedDict):
    """What the shipped model lost of the teacher. `lost`, `won`, `neither`: of how many changed
    rows the teacher alone is right, the student alone, neither; the latter two null where labels
    are numbers. `changed`: the first of each; changed_answers.csv has all of them."""

    rows: int
    lost: int
    won: int | None
    neither: int | None
    changed: list[ChangedRow]
    slices: list[Kind]
    slices_looked_at: int
    slices_lost: NotRequired[int]
    label_errors: LabelErrors


@with_config(CLOSED)
class Variety(TypedDict):
    """How texts vary: the shares of their words, and of their pairs of words, that differ, the
    share of stretches of four words that stood in the same text before, and words of a text."""

    distinct_1: float | None
    distinct_2: float | None
    repetition: float
    words: float


@with_config(CLOSED)
class WriterRow(TypedDict):
    """One model's greedy answers against those of the data. `ended`: the share that the model ended
    by itself. Intervals are by documents."""

    runtime: str
    rouge_l: float
    rouge_l_ci95: Interval
    exact_match: float
    exact_match_ci95: Interval
    ended: float
    ended_ci95: Interval
    distinct_1: float | None
    distinct_2: float | None
    repetition: float
    repetition_ci95: Interval
    words: float


@with_config(CLOSED)
class Differences(TypedDict):
    """Where the shipped model's answers leave another's: `same` of them do nowhere; `places`, the
    first token that differs, from 0, by answer; `median`, of those that differ."""

    same: int
    median: float | None
    places: list[int | None]


@with_config(CLOSED)
class Example(TypedDict):
    """Answers to one question, by model; `differs`: the first token, from 0, that is not the
    shipped model's. `row`: of the test split, from 1."""

    row: int
    question: str
    reference: str
    answers: dict[str, str]
    differs: dict[str, int | None]


@with_config(CLOSED)
class WriterSpeed(TypedDict):
    """Of one model in a fresh process, one thread: CPU milliseconds up to the first token, tokens
    of a CPU second from there, times as many as the first model's, and the memory it then holds."""

    runtime: str
    first_token_ms: float
    tokens_per_second: float
    speedup: float
    speedup_ci95: Interval
    resident_mb: float


@with_config(CLOSED)
class WritingSpeed(TypedDict):
    """`tokens` of each answer that was timed, in `rounds` turns; `busy`: what says that the machine
    did other things."""

    tokens: int
    rounds: int
    by_writer: dict[str, WriterSpeed]
    busy: list[str]


@with_config(CLOSED)
class WrittenAnswers(TypedDict):
    """What models write, greedily, on `questions` of the `rows` of the test split; `data`: of the
    answers that the data have."""

    questions: int
    rows: int
    most_tokens: int
    shipped: str
    data: Variety
    writers: dict[str, WriterRow]
    differences: dict[str, Differences | None]
    examples: list[Example]
    speed: WritingSpeed | None


@with_config(OPEN)
class Calibration(TypedDict):
    """Whether probabilities mean what they say (`models`: float, raw and fitted), what was promised
    of the answers, and what abstaining and the cascade to the teacher cost."""

    arm: str
    temperature: float
    models: dict[str, Any]
    promise: dict[str, Any] | None
    sets: dict[str, Any] | None
    coverage: list[dict[str, Any]]
    cascade: list[dict[str, Any]] | None


@with_config(OPEN)
class Speed(TypedDict):
    """One measurement, in processes of their own, in milliseconds. `product`: `runtime`,
    `architecture`, `integers` and their `total`, each with `ratio` and `ratio_ci95`, or with a
    `reason` why it is not known."""

    arm: str
    runtime: str
    threads: int
    p50: float
    product: dict[str, dict[str, Any]]
    twins: list[dict[str, Any]]
    busy: list[str]


@with_config(OPEN)
class Layers(TypedDict):
    """What each layer of the shipped model loses."""

    arm: str
    rows: int
    layers: list[dict[str, Any]]
    attention: list[dict[str, Any]]
    changed: dict[str, Any] | None


@with_config(CLOSED)
class StageRow(TypedDict):
    """A stage of the run: seconds of wall time, of memory the most."""

    name: str
    seconds: float
    peak_rss_mb: float
    reused: bool


@with_config(CLOSED)
class CoarseGrid(TypedDict):
    """`share` of a model's weights that lay on a grid of `bits` bits before anything was done."""

    share: float
    bits: int


@with_config(CLOSED)
class Model(TypedDict):
    """A model by name. `licence`: as its folder tells it; null where no file does. `coarse_grid`:
    where it came as integers of a few bits already."""

    name: str
    licence: str | None
    coarse_grid: NotRequired[CoarseGrid]


@with_config(CLOSED)
class DataSet(TypedDict):
    """The data: the source that reads them, how many `rows` each split has, their licence."""

    name: str
    source: str
    rows: dict[str, int]
    licence: str | None


@with_config(CLOSED)
class Origins(TypedDict):
    """What the shipped model was made of. `models`: `teacher`, where there is one, and `student`.
    `formats`: of weights and activations. `max_tokens`: of a text at once, null for images;
    `token_notes`: how many texts are longer."""

    models: dict[str, Model]
    data: DataSet
    formats: dict[str, str]
    max_tokens: int | None
    token_notes: list[str]


@with_config(CLOSED)
class BadRows(TypedDict):
    """What became of rows that cannot be used."""

    policy: str
    count: int


@with_config(CLOSED)
class FromPython(TypedDict):
    """What the run was given beside its recipe."""

    models: list[str]
    rows: bool


@with_config(CLOSED)
class ReportFile(TypedDict):
    """report.json."""

    schema: int
    name: str
    task: str
    metric: Metric
    origins: NotRequired[Origins]
    arms: dict[str, ArmRow]
    verdict: VerdictRow | None
    parity: list[ParityRow]
    calibration: Calibration | None
    speed: Speed | None
    lost: LostRows | None
    written: NotRequired[WrittenAnswers | None]
    layers: Layers | None
    stages: list[StageRow]
    machine: dict[str, Any]
    versions: dict[str, str]
    notes: list[str]
    bad_rows: BadRows
    recipe: str
    from_python: FromPython


def check(report: Any) -> None:
    """Raise pydantic's ValidationError, which is a ValueError, where a report has another shape."""
    adapter().validate_python(report, strict=True)


@cache
def adapter() -> TypeAdapter[ReportFile]:
    """What checks a report; made once, which takes longer than a check."""
    return TypeAdapter(ReportFile)


def report_schema() -> dict[str, Any]:
    """The JSON Schema of report.json."""
    header = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return header | adapter().json_schema()
