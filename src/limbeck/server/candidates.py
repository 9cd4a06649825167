"""A candidate beside the model that answers: scored on the same rows, then kept or dropped.

Of models that write, the most probable token after the prompt is compared, and not what is written
then: that would take the candidate as long as an answer, and parts for good at the first token that
differs.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.artifact.generation.answering import Asked
from limbeck.artifact.generation.text_model import TextModel
from limbeck.core.foreign import told_as
from limbeck.server.engine import NO_MORE, Engine
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
        decide: "Decide",
        *,
        is_long: bool,
    ) -> None:
        """Have both versions decide what one has answered."""
        # Left out rather than put off: what is scored late would be scored on a busy machine.
        is_full = self.engine.spare_jobs >= MOST_WAITING
        if model.candidate is None or is_full or image_bytes(inputs) > MOST_IMAGE_BYTES:
            return
        kind = f"{model.live.name} beside {model.candidate.name}"
        # With a share the candidate has answered some rows: it is asked first then, as it was.
        both = (model.live, model.candidate)
        if version is model.candidate:
            both = (model.candidate, model.live)
        steps = self.steps(model, both, inputs, decide)
        self.engine.compute_later(steps, kind, is_long=is_long)

    def steps(
        self, model: Model, both: tuple[Version, Version], inputs: list[Any], decide: "Decide"
    ) -> Iterator[bool | None]:
        """Score each input by both versions, in steps none of which takes long."""
        assert model.candidate is not None
        # A part of an input by itself: a request that comes meanwhile waits for one at most.
        for raw in inputs:
            found: dict[str, Decided | None] = {}
            # Both are timed here, one after the other: the machine is as busy for both.
            for version in both:
                found[version.name] = yield from decided(decide, version, raw)
            live = found[model.live.name]
            # To what the live version cannot answer by itself there is nothing to compare.
            if live is not None:
                self.count(model, live, found[model.candidate.name])
        yield True

    def count(self, model: Model, live: "Decided", candidate: "Decided | None") -> None:
        """Note what came of an input; candidate: None where it failed."""
        assert model.candidate is not None and model.trial is not None
        outcome = "failed"
        if candidate is not None:
            outcome = "same" if candidate.decision == live.decision else "other"
        self.meters.count_shadowed(model.name, model.candidate.name, outcome)
        candidate_ns = candidate.nanoseconds if candidate else 0
        model.trial.count(outcome, live.nanoseconds, candidate_ns)


# The steps of a version's decision on an input; the last one gives it. Raises ValueError.
Decide = Callable[[Version, Any], Iterator[Any]]
# The ids before an answer to an input.
PromptOf = Callable[[TextModel, Any], list[int]]


def of_row(version: Version, raw: Any) -> Iterator[Any]:
    """What a version decides of a row."""
    yield decision_of(version.predictor.predict(raw))


def of_text(prompt_of: "PromptOf", version: Version, raw: Any) -> Iterator[Any]:
    """With which token a version that writes goes on from a prompt, the most probable one; a part
    of the prompt is read in each step."""
    writer = version.writer
    if writer is None:
        raise ValueError(f"{version.name} writes no text")
    for piece in writer.answer(prompt_of(writer, raw), Asked(max_tokens=1)):
        # As text: another vocabulary may number it otherwise.
        token = piece.token
        yield None if token is None else writer.tokenizer.id_to_token(token)


@dataclass(frozen=True)
class Decided:
    """What a version has decided, and how long it took."""

    decision: Any
    nanoseconds: int


def decided(decide: Decide, version: Version, raw: Any) -> Generator[None, None, Decided | None]:
    """What a version decides of an input, in steps; None where it cannot answer it."""
    steps = decide(version, raw)
    decision: Any = None
    nanoseconds = 0
    while True:
        began = time.perf_counter_ns()
        try:
            with told_as(ValueError):
                given = next(steps, NO_MORE)
        except ValueError:
            return None
        if given is NO_MORE:
            return Decided(decision, nanoseconds)
        decision = given
        nanoseconds += time.perf_counter_ns() - began
        # Others have their turn.
        yield


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
