"""What `when: after` takes where a recipe leaves `range`, `equalize` or `rounding` open.

A short search on calibration rows makes one choice after the other, each from the best of the
choices before it: range, rewrite, rounding, correction. Ranges are fitted on one half of the
calibration rows, and a trial is judged on the other by the divergence from the answers of the
float model, KL(float || quantized), in nats a counted unit.

A trial takes the place of the best so far where it is nearer by more than two standard errors of
the paired difference over units: a choice that chance explains is not made.

Not tried are

- learned ranges, which have nothing to learn from;
- `hadamard`, whose product stays in the graph and takes its time;
- at 8 bits, roundings by layer and `awq`: the nearest of 255 levels is not what loses there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.core import registry
from limbeck.core.events import Reporter, silent, track
from limbeck.core.grids import GRIDS
from limbeck.models.anatomy.dataflow import Flow
from limbeck.models.likelihood import LIKELIHOODS, wide_logits
from limbeck.quantization.after_training import quantize_after_training
from limbeck.quantization.prepare import quantization_components
from limbeck.quantization.roundings import mismatch
from limbeck.recipe.model import Quantize
from limbeck.tasks import Batch

# What the search begins from: the simplest of each.
FIRST: dict[str, Any] = {"range": "minmax", "equalize": {}, "rounding": "nearest"}
# SmoothQuant's paper (arXiv 2211.10438, section 5.1) takes 0.5 for most models, and 0.75 where
# activations have more outliers.
REWRITES: list[dict[str, Any]] = [
    {"cross_layer": {}},
    {"smoothquant": {"alpha": 0.5}},
    {"smoothquant": {"alpha": 0.75}},
]
REWRITES_OF_FEW_BITS: list[dict[str, Any]] = [{"awq": {}}]
ROUNDINGS_OF_FEW_BITS = ("ternary", "gptq", "adaround")
CORRECTION: dict[str, Any] = {"bias_correction": {}}
# About one trial in forty that is no better looks better by this much, by chance.
STANDARD_ERRORS = 2
# Logits of the float model that are kept, in float64: a gigabyte. With a vocabulary of 50,000 more
# would not fit beside the model, and 2,600 tokens tell trials apart as well.
MOST_LOGITS = 2**27
# From here on the nearest level is near enough.
MANY_BITS = 7.0


@dataclass(frozen=True)
class TrialModel:
    """The trained model that is quantized anew in every trial, and the rows for it.

    `load`: gives the model in float.
    `prepare`: swaps its modules as settings say, in place, and returns who reads what.
    `fitted`: each runs one batch of the rows that ranges are fitted on.
    `judged`: batches of other rows, on which trials are compared.
    `likelihood`: the task's: "categorical", "bernoulli" or "gaussian".
    """

    load: Callable[[], nn.Module]
    prepare: Callable[[nn.Module, Quantize], Flow]
    fitted: Sequence[Callable[[nn.Module], Any]]
    judged: Sequence[Batch]
    likelihood: str = "categorical"


@dataclass(frozen=True)
class Trial:
    """One way to quantize: a value for each key of FIRST, and its `nats` (units), unit by unit."""

    chosen: dict[str, Any]
    nats: Tensor

    @property
    def mean(self) -> float:
        """Nats a unit."""
        return float(self.nats.mean())

    def beats(self, other: "Trial") -> bool:
        """Whether it is nearer to the float model by more than chance explains."""
        gain = other.nats - self.nats
        standard_error = float(gain.std(correction=0)) / len(gain) ** 0.5
        return float(gain.mean()) > STANDARD_ERRORS * standard_error

    def __str__(self) -> str:
        parts = [self.chosen["range"]]
        for name, keys in self.chosen["equalize"].items():
            words = [name]
            words += [f"({key} {value})" for key, value in keys.items()]
            parts.append(" ".join(words))
        parts.append(self.chosen["rounding"])
        return ", ".join(parts)


def choose(
    trial_model: TrialModel,
    settings: Quantize,
    tell: Reporter = silent,
) -> dict[str, Any]:
    """Try one way after the other; the best.

    Returns:
        `chosen`: values of the keys that are open. `trials`: every way that was tried, with its
        nats. `text`: the choice in one line.
    """
    float_logits = kept_logits(trial_model.load().eval(), trial_model.judged)
    # 1. The simplest way, but for what the recipe says.
    given = {key: getattr(settings, key) for key in FIRST if key not in settings.open}
    first = trial_of(trial_model, settings, FIRST | given, float_logits)
    assert first is not None
    # 2. Each change of the best way so far.
    best = first
    trials = [first]
    for change in track(changes(settings), lambda change: 1.0, tell):
        candidate = changed(best.chosen, change)
        trial = trial_of(trial_model, settings, candidate, float_logits)
        if trial is None:
            continue
        trials.append(trial)
        if trial.beats(best):
            best = trial
    # 3. What was found.
    text = (
        f"{best}, at {best.mean:.2g} nats a unit from the float model (0: the same answers; a unit "
        "is a row, or a word where words are tagged); "
        f"{len(trials)} ways were tried, {first} is at {first.mean:.2g}"
    )
    figures = []
    for trial in trials:
        figures.append({**trial.chosen, "nats": trial.mean, "chosen": trial is best})
    chosen = {key: best.chosen[key] for key in settings.open}
    return {"chosen": chosen, "trials": figures, "text": text}


def kept_logits(model: nn.Module, batches: Sequence[Batch]) -> list[Tensor]:
    """(B, W, V) of as many batches as MOST_LOGITS has room for, one at least."""
    kept: list[Tensor] = []
    for batch in batches:
        if sum(each.numel() for each in kept) >= MOST_LOGITS:
            break
        kept += wide_logits(model, [batch])
    return kept


def changes(settings: Quantize) -> list[tuple[str, Any]]:
    """What is tried, in this order: a key and its value.

    The key `correction` stands for one more of the rewrites, beside those that were chosen.
    """
    formats: set[str] = {settings.weights}
    for scheme in settings.modules.values():
        formats.add(scheme.weights)
    # What is left in float has no bits to speak of.
    formats.discard("float")
    has_few_bits = any(GRIDS[name].bits < MANY_BITS for name in formats)
    found: list[tuple[str, Any]] = []
    if "range" in settings.open:
        found += [("range", name) for name in ranges_to_try()]
    if "equalize" in settings.open:
        found += [("equalize", rewrite) for rewrite in REWRITES]
        if has_few_bits:
            found += [("equalize", rewrite) for rewrite in REWRITES_OF_FEW_BITS]
    if "rounding" in settings.open and has_few_bits:
        found += [("rounding", name) for name in roundings_to_try(formats)]
    if "equalize" in settings.open:
        # Last: it corrects what the rounding has left.
        found.append(("correction", CORRECTION))
    return found


def components_tried(settings: Quantize) -> list[tuple[str, str]]:
    """(family, name) of all that a choice may come to: a change in any of them may change it."""
    tried = {
        "ranges": [settings.range] if settings.range else [],
        "equalizers": list(settings.equalize or {}),
        "roundings": [settings.rounding_name],
    }
    if "range" in settings.open:
        tried["ranges"] = [FIRST["range"], *ranges_to_try()]
    if "equalize" in settings.open:
        rewrites = [*REWRITES, *REWRITES_OF_FEW_BITS, CORRECTION]
        tried["equalizers"] = sorted({name for rewrite in rewrites for name in rewrite})
    if "rounding" in settings.open:
        tried["roundings"] = [FIRST["rounding"], *ROUNDINGS_OF_FEW_BITS]
    return [(family, name) for family, names in tried.items() for name in names]


def ranges_to_try() -> list[str]:
    """Every range that is fitted and not learned, but for the first."""
    names = []
    for name in registry.usable("ranges"):
        if name != FIRST["range"] and not registry.load("ranges", name).learned:
            names.append(name)
    return names


def roundings_to_try(formats: set[str]) -> list[str]:
    """The roundings for few bits that round weights to each of `formats`."""
    names = []
    for name in ROUNDINGS_OF_FEW_BITS:
        rounding = registry.load("roundings", name)()
        if not any(mismatch(rounding, weights) for weights in formats):
            names.append(name)
    return names


def changed(chosen: dict[str, Any], change: tuple[str, Any]) -> dict[str, Any]:
    """The way `chosen` with one change."""
    key, value = change
    if key == "correction":
        return {**chosen, "equalize": chosen["equalize"] | value}
    return {**chosen, key: value}


def trial_of(
    trial_model: TrialModel,
    settings: Quantize,
    chosen: dict[str, Any],
    float_logits: Sequence[Tensor],
) -> Trial | None:
    """The model quantized as `chosen`, judged; None where a rewrite finds nothing to do in it."""
    filled = settings.with_chosen(**chosen)
    model = trial_model.load()
    try:
        flow = trial_model.prepare(model, filled)
    except ValueError:
        # A rewrite that fits nothing says so by an error, and is passed over where it is one of
        # those to try. What the recipe names itself is the user's to mend.
        if "equalize" not in settings.open or not chosen["equalize"]:
            raise
        return None
    components = quantization_components(filled)
    quantize_after_training(model, flow, trial_model.fitted, **components)
    nats = []
    # Batches whose logits were not kept are not judged.
    for expected, batch in zip(float_logits, trial_model.judged, strict=False):
        (found,) = wide_logits(model.eval(), [batch])
        by_unit = LIKELIHOODS[trial_model.likelihood].divergence(expected, found)
        # Where float64 is, which need not be the batch's device.
        mask = batch.mask.to(by_unit.device)
        nats.append(by_unit[mask])
    return Trial(chosen, torch.cat(nats))
