"""Whether a program computes a model as the reference that rounds as it does.

The log-probabilities of given texts are asked of both, and of the reference twice: as it is, and
with the last bits of its products moved by chance. An integer that activations are rounded to may
fall to either side of an edge where sums are added up in another order, and what follows from that
is no fault: a program is allowed to be off by what the reference is off from itself. Held are

- the mean difference of log-probabilities: at most twice the model's own, and 0.001 nats;
- perplexity: within 0.2 %, and twice the standard error of the mean of the model's own differences.
  A deep model is off from itself by some hundredths of a nat at each token, so that texts of a
  thousand tokens tell its perplexity to 0.5 % and no better: prove it on more.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from limbeck.artifact.gguf import reference
from limbeck.artifact.model_process.process import ModelProcess
from limbeck.core.wording import some
from limbeck.evaluation.generated import figures

# One integer on the other side of an edge, in a document of some hundred tokens.
MOST_NATS = 1e-3
MOST_PERPLEXITY = 0.002
# Two standard errors; and one draw of last bits scatters by as much.
BEYOND_LAST_BITS = 2
# Tokens that greedy decoding says after the first half of a text.
MOST_SAID = 32


@dataclass(frozen=True)
class Proof:
    """What both say of the same tokens. Differences are of log-probabilities, in nats.

    `program`: what ran the model. `own_mean`, `own_error`: the reference's mean difference from
    itself where last bits move, and the standard error of the mean of those differences, with their
    signs.
    """

    tokens: int
    mean: float
    largest: float
    own_mean: float
    own_error: float
    nats: float
    reference_nats: float
    first_differences: tuple[int | None, ...]
    tokens_per_second: float
    program: str = "llama.cpp"

    @property
    def shift(self) -> float:
        """By what share the program's perplexity is off, with its sign."""
        return math.expm1(self.nats - self.reference_nats)

    @property
    def reasons(self) -> list[str]:
        """What speaks against the program; nothing where it computes what it should."""
        found = []
        # Written so that a figure that is no number is refused as well.
        allowed = BEYOND_LAST_BITS * self.own_mean + MOST_NATS
        if not self.mean <= allowed:
            found.append(
                f"log-probabilities differ from the reference's by {self.mean:.5f} nats on "
                f"average, and {allowed:.5f} is allowed"
            )
        allowed = BEYOND_LAST_BITS * self.own_error + MOST_PERPLEXITY
        if not abs(self.shift) <= allowed:
            found.append(
                f"perplexity is {self.shift:+.2%} off the reference's, and {allowed:.2%} is allowed"
            )
        return found

    def lines(self) -> list[str]:
        """The proof in words."""
        said = [place for place in self.first_differences if place is not None]
        answers = len(self.first_differences)
        greedy = "none differs"
        if said:
            greedy = (
                f"{len(said)} differ, first at token {some([str(place + 1) for place in said])}"
            )
        return [
            f"{self.program}: perplexity {math.exp(self.nats):.4f} on {self.tokens:,} tokens, "
            f"{self.shift:+.3%} against the reference that rounds as it does",
            f"  last bits alone move its perplexity by {self.own_error:.3%} (one standard error)",
            f"  log-probabilities: {self.mean:.5f} nats apart on average, {self.largest:.5f} at "
            f"most; the reference is {self.own_mean:.5f} from itself where last bits move",
            f"  {answers} greedy answers against the reference's: {greedy}",
            f"  {self.tokens_per_second:.0f} tokens a second said, one after another",
        ]


def prove(
    opened: AbstractContextManager[ModelProcess],
    decoder: reference.Decoder,
    documents: Sequence[Sequence[int]],
) -> Proof:
    """Hold a program against the reference on documents of token ids, two at least in each.

    opened: the model in the program. decoder: the same model, which rounds as the program does.

    Raises ValueError for a model that either of them refuses.
    """
    # 1. The program: what it says of the texts, and what it says by itself.
    with opened as model:
        program = model.program
        answers = [model.score(tokens)[0] for tokens in documents]
        said = [say(model, tokens) for tokens in documents]
    # 2. The reference, which reads the tensors once.
    arrays = [np.array(tokens, np.int64) for tokens in documents]
    expected = np.concatenate([decoder.log_probabilities(tokens)[0] for tokens in arrays])
    places = tuple(
        first_difference(decoder, half_of(tokens), answer["tokens"])
        for tokens, answer in zip(documents, said, strict=True)
    )
    # 3. The same tensors again, computed with other last bits.
    decoder.rounding = replace(decoder.rounding, last_bits=reference.LAST_BITS)
    again = np.concatenate([decoder.log_probabilities(tokens)[0] for tokens in arrays])
    found = np.concatenate(answers)
    # 4. The differences, over all texts together.
    difference = np.abs(found - expected)
    own = again - expected
    seconds = sum(answer["say_ms"] for answer in said) / 1000
    return Proof(
        tokens=len(found),
        mean=float(difference.mean()),
        largest=float(difference.max()),
        own_mean=float(np.abs(own).mean()),
        own_error=float(own.std() / math.sqrt(len(own))),
        nats=float(-found.mean()),
        reference_nats=float(-expected.mean()),
        first_differences=places,
        tokens_per_second=sum(len(answer["tokens"]) for answer in said) / max(seconds, 1e-9),
        program=program,
    )


def half_of(tokens: Sequence[int]) -> list[int]:
    """The part of a document that is a prompt for the rest."""
    return list(tokens[: max(1, len(tokens) // 2)])


def say(model: ModelProcess, tokens: Sequence[int]) -> dict[str, Any]:
    """What a program says greedily after the first half of a document, and how long it took."""
    return model.generate(half_of(tokens), MOST_SAID)


def first_difference(
    decoder: reference.Decoder, prompt: Sequence[int], said: Sequence[int]
) -> int | None:
    """Which of the tokens that were said is the first that the reference would not say; None where
    there is none."""
    # One pass over both tells what the reference would have said at each place.
    whole = np.array([*prompt, *said], np.int64)
    _, greedy = decoder.log_probabilities(whole[: decoder.sizes.context])
    own = greedy[len(prompt) - 1 :].tolist()
    # Only of as many tokens as both have is there anything to tell.
    return figures.first_difference(said[: len(own)], own[: len(said)])
