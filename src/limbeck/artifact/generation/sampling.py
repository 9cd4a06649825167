"""Which token comes next: the most probable one, or one that is drawn.

The rules are applied in the order of transformers' `generate`:

1. repetition penalty (Keskar et al., 2019, arXiv 1909.05858, section 4.1): the logits of tokens
   that were there are divided by it where they are positive, and multiplied where they are not;
2. temperature: logits are divided by it;
3. top-k (Fan et al., 2018, arXiv 1805.04833): the k most probable stay;
4. top-p (Holtzman et al., 2019, arXiv 1904.09751): the fewest most probable ones stay whose
   probabilities together reach p.

Every draw takes one number of the generator, so that the same seed gives the same tokens.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limbeck.artifact.generation import Logits

# Below it a logit divided by it may be infinite, and no token but the most probable has any weight.
LEAST_TEMPERATURE = 1e-6


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. Raises ValueError for a value out of its range.

    - `temperature`: 0, or all but 0, takes the most probable token.
    - `top_p`: in (0, 1]; `top_k`: 0 for all; `repetition_penalty`: 1 for none.
    - `seed`: of the draws.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        # `not ...`, so that a number that is none is refused as well.
        if not 0 <= self.temperature <= 100:
            raise ValueError(f"temperature: 0 to 100, not {self.temperature}; 0 draws nothing")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: above 0 and at most 1, not {self.top_p}")
        if self.top_k < 0:
            raise ValueError(f"top_k: 0 (all tokens) or more, not {self.top_k}")
        if not 0 < self.repetition_penalty <= 100:
            raise ValueError(
                f"repetition_penalty: above 0 and at most 100, not {self.repetition_penalty}; "
                "1 is none"
            )
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed: 0 to 2^64 - 1, not {self.seed}")

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable token is taken, and none drawn."""
        return self.temperature < LEAST_TEMPERATURE

    def generator(self) -> np.random.Generator:
        """The generator of an answer."""
        # Named, because numpy's default may become another.
        return np.random.Generator(np.random.PCG64(self.seed))


def choose(
    logits: Logits,
    earlier: NDArray[np.int64],
    sampling: Sampling,
    generator: np.random.Generator,
) -> int:
    """The next token by (V) logits; `earlier`: all ids before it. A logit of minus infinity is one
    that may not be.

    Raises ValueError for logits that are not numbers.
    """
    scores = scores_of(logits, earlier, sampling)
    if sampling.is_greedy:
        return int(scores.argmax())
    # Without the largest score, whose exponential could be infinite.
    weights = np.exp(scores - scores.max())
    sums = weights.cumsum()
    place = generator.random() * sums[-1]
    # The first whose sum is beyond: a token without weight is never taken.
    return int(np.searchsorted(sums, place, side="right"))


def scores_of(
    logits: Logits, earlier: NDArray[np.int64], sampling: Sampling
) -> NDArray[np.float64]:
    """(V) logits after the rules; minus infinity where a token is ruled out."""
    scores = logits.astype(np.float64)
    highest = scores.max()
    if not np.isfinite(highest) or np.isnan(scores).any():
        raise ValueError("the model's logits are not numbers: its graph is broken, or overflows")
    if sampling.repetition_penalty != 1:
        # Once each, however often it was there.
        known = np.unique(earlier)
        penalty = sampling.repetition_penalty
        of_known = scores[known]
        scores[known] = np.where(of_known > 0, of_known / penalty, of_known * penalty)
    if sampling.is_greedy:
        return scores
    scores /= sampling.temperature
    if 0 < sampling.top_k < len(scores):
        least = np.partition(scores, -sampling.top_k)[-sampling.top_k]
        # Those that tie with the k-th stay, too: to drop one of two alike would be arbitrary.
        scores[scores < least] = -np.inf
    if sampling.top_p < 1:
        scores[~nucleus(scores, sampling.top_p)] = -np.inf
    return scores


def nucleus(scores: NDArray[np.float64], top_p: float) -> NDArray[np.bool_]:
    """(V) which tokens are the fewest that reach a probability of `top_p` together."""
    weights = np.exp(scores - scores.max())
    order = np.argsort(-scores, kind="stable")
    before = np.cumsum(weights[order]) - weights[order]
    kept = np.zeros(len(scores), bool)
    # The first always stays: before it nothing is reached.
    kept[order] = before < top_p * weights.sum()
    return kept
