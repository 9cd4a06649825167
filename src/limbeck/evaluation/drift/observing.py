"""What of an answered row is counted: of its answer, and of what was read.

    label, labels, entities   the label, the labels, or the types of entity that the row has
    num_labels                how many labels it has, of several
    entity_share              the share of its words that stand in entities
    score                     the number that it is answered with
    confidence                the probability that all its decisions are right (`decision.py`)
    length                    tokens that are read, of a pair of separate texts the mean of a text
    brightness                the mean of its pixels, 0 black and 1 white
    pixels                    height times width

They are read from the answer as a user has it, so that one function serves validation and requests.
Nothing of the row itself is kept.
"""

import math
import zlib
from collections.abc import Sequence

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Encoded
from limbeck.tasks.types import Answer, Array

# A number, a label, or several labels.
Value = float | str | Sequence[str]

# Of the numbers, as of those in answers: a last bit that another machine rounds otherwise must not
# carry a value over the edge of a bin.
DIGITS = 6

# Of a large image so many pixels give its brightness to a hundredth, in microseconds.
MOST_PIXELS = 4096
# Of a long text so many characters tell it from another.
MOST_CHARACTERS = 4096
WHITE = 255


def observed(
    row: Row,
    encoded: Encoded | None,
    answer: Answer,
) -> dict[str, Value]:
    """What is counted of one answered row, by name.

    Args:
        row: as its task reads it.
        encoded: what the model read of it; None will do where that are no tokens.
        answer: as `Decision.answer` gives it; nothing of it where the task answers with vectors.
    """
    found = _of_answer(answer)
    if encoded is not None and encoded.has_tokens:
        found["length"] = _length(encoded)
    if "image" in row:
        image = row["image"]
        level = float(_sampled(image).mean())
        found["brightness"] = round(level / WHITE, DIGITS)
        height, width = image.shape[:2]
        found["pixels"] = height * width
    return found


def fingerprint(row: Row) -> int:
    """A number of 32 bits by which an input that is sent again is known."""
    if "image" in row:
        pixels = _sampled(row["image"])
        return zlib.crc32(pixels.tobytes())
    texts = row.get("words", ())
    if "text" in row:
        texts = [row["text"], row.get("text_b", "")]
    # Not of the whole: a text of megabytes would take milliseconds.
    starts = [text[:MOST_CHARACTERS] for text in texts]
    joined = "\n".join(starts)
    return zlib.crc32(joined.encode(errors="replace"))


def _length(encoded: Encoded) -> float:
    """The tokens that are read of a row; of separate texts those of one."""
    mask = encoded.inputs["attention_mask"]
    num_tokens = int(np.count_nonzero(mask))
    # Windows of one text are that text; separate texts are not, and a user sends one alone.
    if mask.ndim == 1 or encoded.windows:
        return num_tokens
    return round(num_tokens / len(mask), DIGITS)


def _of_answer(answer: Answer) -> dict[str, Value]:
    """What is counted of the answer alone; of one of somebody else's task perhaps nothing."""
    found: dict[str, Value] = {}
    if "entities" in answer:
        entities = answer["entities"]
        types = {entity["type"] for entity in entities}
        found["entities"] = list(types)
        inside = sum(len(entity["words"]) for entity in entities)
        share = inside / len(answer["words"])
        found["entity_share"] = round(share, DIGITS)
        all_right = math.prod(answer["probabilities"])
        found["confidence"] = round(all_right, DIGITS)
    elif "labels" in answer:
        labels = answer["labels"]
        found["labels"] = labels
        found["num_labels"] = len(labels)
        given = set(labels)
        right = 1.0
        for label, probability in answer["probabilities"].items():
            right *= probability if label in given else 1 - probability
        found["confidence"] = round(right, DIGITS)
    elif "label" in answer and "probability" in answer:
        found["label"] = answer["label"]
        found["confidence"] = answer["probability"]
    elif "score" in answer:
        found["score"] = answer["score"]
    return found


def _sampled(image: Array) -> Array:
    """Pixels of an image that lie evenly over it, at most about `MOST_PIXELS`."""
    height, width = image.shape[:2]
    surplus = height * width // MOST_PIXELS
    step = math.isqrt(max(1, surplus))
    return image[::step, ::step]
