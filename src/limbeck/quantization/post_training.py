"""What `when: after` takes where a recipe leaves `range`, `equalize` or `rounding` open: a short search on calibration rows.

One choice after the other, each from the best of the choices before it: range, rewrite, rounding, correction. Ranges are fitted on one half of the
calibration rows, and a trial is judged on the other by the divergence from the float model's answers, KL(float || quantized), in nats a counted
unit. A trial takes the place of the best so far where it is nearer by more than two standard errors of the paired difference over units: a
choice that chance explains is not made.

Not tried: learned ranges, which have nothing to learn from; `hadamard`, whose product stays in the graph and takes its time; at 8 bits, roundings by
layer and `awq`: the nearest of 255 levels is not what loses there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from limbeck.core import registry
from limbeck.core.events import Reporter, silent, track
from limbeck.core.grids import GRIDS
from limbeck.models.dataflow import Flow
from limbeck.models.likelihood import LIKELIHOODS, wide_logits
from limbeck.quantization.after_training import quantize_after_training
from limbeck.quantization.prepare import quantization_components
from limbeck.quantization.roundings import mismatch
from limbeck.recipe.model import Quantize
from limbeck.tasks import Batch

FIRST: dict[str, Any] = {"range": "minmax", "equalize": {}, "rounding": "nearest"}
REWRITES: list[dict[str, Any]] = [
    {"cross_layer": {}},
    {"smoothquant": {"alpha": 0.5}},
    {"smoothquant": {"alpha": 0.75}},
]
REWRITES_OF_FEW_BITS: list[dict[str, Any]] = [{"awq": {}}]
ROUNDINGS_OF_FEW_BITS = ("ternary", "gptq", "adaround")
CORRECTION: dict[str, Any] = {"bias_correction": {}}
STANDARD_ERRORS = 2
MANY_BITS = 7.0  # from here on the nearest level is near enough


@dataclass(frozen=True)
class Subject:
    """A trained model: `load` gives it in float, `prepare` swaps its modules. `fitted` runs the rows for the ranges, `judged` are other rows;
    `likelihood` is the task's."""

    load: Callable[[], nn.Module]
    prepare: Callable[[nn.Module, Quantize], Flow]
    fitted: Sequence[Callable[[nn.Module], Any]]
    judged: Sequence[Batch]
    likelihood: str = "categorical"


@dataclass(frozen=True)
class Trial:
    """One way, a value for each key of FIRST, and its nats by unit."""

    chosen: dict[str, Any]
    nats: torch.Tensor

    @property
    def mean(self) -> float:
        return float(self.nats.mean())

    def beats(self, other: "Trial") -> bool:
        """Whether it is nearer to the float model by more than chance explains."""
        gained = other.nats - self.nats
        return (
            float(gained.mean())
            > STANDARD_ERRORS * float(gained.std(correction=0)) / len(gained) ** 0.5
        )

    def __str__(self) -> str:
        rewrites = [
            " ".join([name, *(f"({key} {value})" for key, value in keys.items())])
            for name, keys in self.chosen["equalize"].items()
        ]
        return ", ".join([self.chosen["range"], *rewrites, self.chosen["rounding"]])


def choose(subject: Subject, settings: Quantize, tell: Reporter = silent) -> dict[str, Any]:
    """`chosen`: values of the keys that are open; `trials`: every way that was tried, with its nats; `text`: the choice in one line."""
    wanted = wide_logits(subject.load().eval(), subject.judged)
    given = {key: getattr(settings, key) for key in FIRST if key not in settings.open}
    first = trial_of(subject, settings, FIRST | given, wanted)
    assert first is not None
    best, trials = first, [first]
    for change in track(changes(settings), lambda change: 1.0, tell):
        trial = trial_of(subject, settings, changed(best.chosen, change), wanted)
        if trial is not None:
            trials.append(trial)
            best = trial if trial.beats(best) else best
    text = f"{best}, at {best.mean:.2g} nats a unit from the float model; {len(trials)} ways were tried, {first} is at {first.mean:.2g}"
    tried = [{**trial.chosen, "nats": trial.mean, "chosen": trial is best} for trial in trials]
    return {
        "chosen": {key: best.chosen[key] for key in settings.open},
        "trials": tried,
        "text": text,
    }


def changes(settings: Quantize) -> list[tuple[str, Any]]:
    """What is tried, in this order: a key and its value; `correction` is added to the rewrites that were chosen."""
    formats = {settings.weights, *(scheme.weights for scheme in settings.modules.values())} - {
        "float"
    }
    is_few = any(GRIDS[form].bits < MANY_BITS for form in formats)
    ranges = [
        name
        for name in registry.names("ranges")
        if name != FIRST["range"] and not registry.load("ranges", name).learned
    ]
    roundings = [
        name
        for name in ROUNDINGS_OF_FEW_BITS
        if is_few
        and not any(mismatch(registry.load("roundings", name)(), form) for form in formats)
    ]
    found: list[tuple[str, Any]] = [("range", name) for name in ranges if "range" in settings.open]
    if "equalize" in settings.open:
        found += [("equalize", rewrite) for rewrite in REWRITES + REWRITES_OF_FEW_BITS * is_few]
    found += [("rounding", name) for name in roundings if "rounding" in settings.open]
    return found + [("correction", CORRECTION)] * ("equalize" in settings.open)


def changed(chosen: dict[str, Any], change: tuple[str, Any]) -> dict[str, Any]:
    """The way with one change."""
    key, value = change
    return (
        {**chosen, "equalize": chosen["equalize"] | value}
        if key == "correction"
        else {**chosen, key: value}
    )


def trial_of(
    subject: Subject, settings: Quantize, chosen: dict[str, Any], wanted: Sequence[torch.Tensor]
) -> Trial | None:
    """The model quantized so, judged; None where a rewrite finds nothing to do in it."""
    filled = settings.with_chosen(**chosen)
    model = subject.load()
    try:
        flow = subject.prepare(model, filled)
    except ValueError:
        if not chosen["equalize"]:
            raise
        return None
    quantize_after_training(model, flow, subject.fitted, **quantization_components(filled))
    pairs = zip(wanted, wide_logits(model.eval(), subject.judged), subject.judged, strict=True)
    likelihood = LIKELIHOODS[subject.likelihood]
    return Trial(
        chosen,
        torch.cat([likelihood.divergence(p, q)[batch.mask] for p, q, batch in pairs]),
    )
