"""A candidate beside the model that answers: scored on the same rows, then kept or dropped."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from limbeck.core.foreign import told_as
from limbeck.server.engine import Engine
from limbeck.server.hosting import Model, Version
from limbeck.server.meters import Meters
from limbeck.server.settings import Bounds
from limbeck.server.trials import Seen

# Requests that wait to be scored; more are left out, for a candidate may never delay an answer.
MOST_WAITING = 32
# Of the images of one of them: they are kept until they are scored.
MOST_IMAGE_BYTES = 4 << 20
# What is told of a decision beside it. A promise is an artifact's own: whether it abstains, and
# which labels it holds for possible, says how sure it is of the label that stands there.
NO_DECISION = (
    *("probability", "probabilities", "confidence", "embeddings"),
    *("abstain", "set"),
)
DIGITS = 2


class Shadow:
    """Scores candidates in one worker, when nothing else is to be computed."""

    def __init__(self, engine: Engine, meters: Meters) -> None:
        self.engine = engine
        self.meters = meters

    def see(
        self,
        model: Model,
        version: Version,
        inputs: list[Any],
        *,
        is_long: bool,
    ) -> None:
        """Have the other version score what one has answered."""
        # With a share the candidate has answered some rows: then the live one is scored on these.
        other = model.candidate if version is model.live else model.live
        # Left out rather than put off: what is scored late would be scored on a busy machine.
        is_full = self.engine.spare_jobs >= MOST_WAITING
        if other is None or is_full or image_bytes(inputs) > MOST_IMAGE_BYTES:
            return
        kind = f"{model.live.name} beside {model.candidate and model.candidate.name}"
        steps = self.steps(model, version, inputs)
        self.engine.compute_later(steps, kind, is_long=is_long)

    def steps(self, model: Model, version: Version, inputs: list[Any]) -> Iterator[bool | None]:
        """Score rows by the version that did not answer them, a step for each. Of models that
        write, the next token is compared, and not what was written."""
        assert model.candidate is not None
        is_live = version is model.live
        other = model.candidate if is_live else model.live
        # A row by itself: a request that comes meanwhile waits for one row at most.
        for raw in inputs:
            seconds = {}
            outcome = "failed"
            try:
                with told_as(ValueError):
                    # Both are timed here, one after the other: the machine is as busy for both.
                    began = time.perf_counter_ns()
                    ours = version.predictor.predict(raw)
                    middle = time.perf_counter_ns()
                    theirs = other.predictor.predict(raw)
                    seconds = {
                        is_live: middle - began,
                        not is_live: time.perf_counter_ns() - middle,
                    }
                outcome = "same" if decision_of(theirs) == decision_of(ours) else "other"
            except ValueError:
                pass
            self.count(model, outcome, seconds.get(True, 0), seconds.get(False, 0))
            yield None
        yield True

    def count(self, model: Model, outcome: str, live_ns: int, candidate_ns: int) -> None:
        """Note what came of a row."""
        assert model.candidate is not None and model.trial is not None
        self.meters.count_shadowed(model.name, model.candidate.name, outcome)
        model.trial.count(outcome, live_ns, candidate_ns)


def verdict(bounds: Bounds, counts: Seen) -> tuple[str, str] | None:
    """(`promote` or `drop`, why) for a candidate with bounds; None while it stays."""
    # Of a candidate that fails once no number of other rows makes a good one.
    if counts.failed:
        return "drop", f"it fails on {counts.failed:,} rows that the live model answers"
    if counts.rows < bounds.rows:
        return None
    if counts.agreement < bounds.agreement:
        return "drop", f"it agrees on {counts.agreement:.4f} of {counts.rows:,} rows"
    if counts.slowdown > bounds.slowdown:
        return "drop", f"it takes {counts.slowdown:.2f} times as long"
    if not bounds.promote:
        return None
    why = f"it agrees on {counts.agreement:.4f} of {counts.rows:,} rows"
    return "promote", f"{why}, and takes {counts.slowdown:.2f} times as long"


def image_bytes(inputs: Sequence[Any]) -> int:
    """What the images among some inputs take: files, or pixels of a row."""
    total = 0
    for each in inputs:
        image = each.get("image") if isinstance(each, dict) else each
        if isinstance(image, bytes):
            total += len(image)
        elif isinstance(image, np.ndarray):
            total += image.nbytes
    return total


def decision_of(value: Any) -> Any:
    """What of an answer is a decision: without probabilities and promises, and numbers to two
    decimals."""
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key not in NO_DECISION}
        return {key: decision_of(each) for key, each in kept.items()}
    if isinstance(value, list):
        return [decision_of(each) for each in value]
    return round(value, DIGITS) if isinstance(value, float) else value
