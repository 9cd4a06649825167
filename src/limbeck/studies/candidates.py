"""What a search chooses from: each module in each format, with what it loses and what it costs.

Bits are those of a weight's code, averaged over the weights that are chosen for. Bytes are those of
every weight as the artifact holds it: codes with their scales, and float32 for the rest; the graph
itself and the tokenizer come on top. Milliseconds are those of `analysis.timing`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from limbeck.analysis import timing
from limbeck.analysis.assign import Plan, Table, assign, smallest, total, within
from limbeck.analysis.sensitivities import JudgedModel, Scores
from limbeck.core.events import Ended, Reporter, Started
from limbeck.core.grids import GRIDS, digits_per_byte
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.integer import SMALLEST_PACKED
from limbeck.studies.budget import CHOICES, UNITS, Budget, code_bits

FLOAT_BYTES = 4  # of a float weight, and of the float32 scale of a group


@dataclass(frozen=True)
class Candidates:
    """What there is to choose from.

    kinds: of each module, such as `Linear`.
    counts: how many weights each module has.
    losses: nats a unit, by module and format.
    costs: by unit of a budget, then by module and format.
    rest: by unit, what every plan costs beside its modules.
    """

    kinds: dict[str, str]
    counts: dict[str, int]
    losses: Table
    costs: dict[str, Table]
    rest: dict[str, float]

    @property
    def num_weights(self) -> int:
        """Of all modules together."""
        return sum(self.counts.values())

    def describe(self, plan: Plan) -> dict[str, float]:
        """What a plan costs in every unit, and `loss`, the nats a unit that it should lose."""
        figures = {}
        for unit, costs in self.costs.items():
            figures[unit] = total(plan, costs) + self.rest[unit]
        # Bits are counted in all, and told on average.
        figures["bits"] /= self.num_weights
        figures["loss"] = total(plan, self.losses)
        return figures

    def limit(self, budget: Budget) -> float:
        """What is left of a budget for the modules together."""
        limit = budget.limit
        if budget.unit == "bits":
            limit *= self.num_weights
        return limit - self.rest[budget.unit]


def gather(
    judged: JudgedModel,
    scores: Scores,
    formats: Sequence[str],
) -> Candidates:
    """The modules of a judged model in each of the formats, with its scores as losses."""
    kinds = {}
    counts = {}
    losses = {}
    bits = {}
    stored = {}
    for name, layer in judged.layers.items():
        count = layer.weight.numel()
        scales = layer.quantizer.groups
        # The kind that it was before its module was swapped: `QuantizedLinear` is a Linear.
        kinds[name] = type(layer).__name__.removeprefix("Quantized")
        counts[name] = count
        # Kept in float, a module loses nothing, and is not judged.
        of_formats = {"float": 0.0, **scores[name]}
        losses[name] = {form: of_formats[form] for form in formats}
        bits[name] = {form: count * code_bits(form) for form in formats}
        stored[name] = {form: stored_bytes(count, scales, form) for form in formats}
    costs: dict[str, Table] = {"bits": bits, "bytes": stored}
    rest = {"bits": 0.0, "bytes": float_bytes(judged)}
    return Candidates(kinds, counts, losses, costs, rest)


def stored_bytes(
    count: int,
    scales: int,
    form: str,
) -> float:
    """The bytes of `count` weights in the artifact, with as many `scales`.

    Example:
        >>> stored_bytes(10_000, 10, "int8")
        10040.0
    """
    if form == "float":
        return float(FLOAT_BYTES * count)
    grid = GRIDS[form]
    # As the export does: a small tensor keeps a byte a code.
    is_packed = bool(grid.planes) and count * grid.bits / 8 > SMALLEST_PACKED
    # Each digit of a code fills bytes of its own (`core.grids`).
    if is_packed:
        codes = sum(-(-count // digits_per_byte(base)) for base in grid.planes)
    else:
        codes = count
    return float(codes) + FLOAT_BYTES * scales


def float_bytes(judged: JudgedModel) -> float:
    """The bytes of what no choice is made for: biases, norms, modules that stay float."""
    counted = {id(layer.weight) for layer in judged.layers.values()}
    # Scales are counted with the codes; offsets become integers of the graph.
    for module in judged.model.modules():
        if isinstance(module, FakeQuantizer):
            counted |= {id(parameter) for parameter in module.parameters()}
    count = 0
    for parameter in judged.model.parameters():
        if id(parameter) not in counted:
            count += parameter.numel()
    return float(FLOAT_BYTES * count)


def add_milliseconds(
    candidates: Candidates,
    model: timing.TimedModel,
    tell: Reporter,
) -> None:
    """Measure what each module takes, and let it be a cost."""
    began = time.perf_counter()
    tell(Started("milliseconds"))
    measured, candidates.rest["milliseconds"] = timing.milliseconds(model)
    # No stage of the store: another machine, or a busier one, takes other times.
    seconds = time.perf_counter() - began
    tell(Ended("milliseconds", round(seconds, 3)))
    costs = {}
    for name, row in candidates.losses.items():
        times = measured[name]
        costs[name] = {form: times[_measured_form(form)] for form in row}
    candidates.costs["milliseconds"] = costs


def _measured_form(form: str) -> str:
    """All integer formats take the time of one."""
    return timing.FLOAT if form == "float" else timing.INTEGERS


def best_plan(candidates: Candidates, budget: Budget) -> Plan:
    """The plan of least loss within the budget.

    Raises:
        ValueError: no plan keeps it; the message tells the smallest that there is.
    """
    costs = candidates.costs[budget.unit]
    limit = candidates.limit(budget)
    # The smallest plan fits, or none does.
    least = smallest(costs)
    if not within(total(least, costs), limit):
        possible = candidates.describe(least)[budget.unit]
        raise ValueError(
            f"search: no plan of these formats has {budget.limit:,g} {UNITS[budget.unit]}; "
            f"the smallest has {possible:,.6g}. Raise --{budget.unit}, "
            f"or name smaller formats in --formats ({', '.join(CHOICES)})"
        )
    return assign(candidates.losses, costs, limit)
