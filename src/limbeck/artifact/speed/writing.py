"""A process that writes answers with one model, a turn at a time, and says how long each took.

`python -m limbeck.artifact.speed.writing`: its first line on standard input is the subject, one
JSON object; every later one is an order, each answered by one line:

| order | answer |
|---|---|
| `{"write": [0, 2]}` | lists by answer: `first_ms`, `first_cpu_ms` up to its first token, |
| | `next_ms`, `next_cpu_ms` of a later token in the mean |
| `{"memory": true}` | `resident_mb`, what the process holds now |

Every model writes as many tokens as the others, whatever it says: nothing ends an answer early.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limbeck.artifact.generation import Decoder
from limbeck.artifact.generation.answering import Asked, answer
from limbeck.artifact.generation.text_model import text_model_of
from limbeck.artifact.load import load
from limbeck.artifact.speed.worker import own_output, reply
from limbeck.core.files import read_json
from limbeck.core.foreign import told_as
from limbeck.core.system import outside

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# (subject) -> what writes.
OpenWriter = Callable[[Mapping[str, Any]], tuple[Decoder, "Tokenizer"]]


def open_artifact(subject: Mapping[str, Any]) -> tuple[Decoder, "Tokenizer"]:
    """The `artifact` in its `runtime`. Raises ValueError for one that writes no texts."""
    predictor = load(subject["artifact"], runtime=subject["runtime"])
    model = text_model_of(predictor)
    if model is None:
        raise ValueError(f"{predictor}: it writes no texts")
    return model.decoder, model.tokenizer


@dataclass(frozen=True)
class Writing:
    """One subject, open: what carries out the orders.

    - `prompts`: lists of token ids.
    - `tokens`: how many are written of each answer.
    """

    decoder: Decoder
    tokenizer: "Tokenizer"
    prompts: Sequence[Sequence[int]]
    tokens: int

    def carry_out(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Do what an order says (see the module)."""
        if "memory" in order:
            return {"resident_mb": outside.resident_mb()}
        found: dict[str, list[float]] = {}
        for prompt in self.prompts[slice(*order["write"])]:
            for name, value in self.timed(prompt).items():
                found.setdefault(name, []).append(value)
        return found

    def timed(self, prompt: Sequence[int]) -> dict[str, float]:
        """How long one answer takes."""
        # No token ends it.
        asked = Asked(max_tokens=self.tokens)
        began, cpu_began = time.perf_counter(), outside.cpu_seconds()
        first, cpu_first = began, cpu_began
        num_tokens = 0
        for piece in answer(self.decoder, self.tokenizer, prompt, asked):
            num_tokens += piece.token is not None
            if num_tokens == 1 and first == began:
                first, cpu_first = time.perf_counter(), outside.cpu_seconds()
        # Of an answer of one token there is no next one.
        later = max(1, num_tokens - 1)
        return {
            "first_ms": 1000 * (first - began),
            "first_cpu_ms": 1000 * (cpu_first - cpu_began),
            "next_ms": 1000 * (time.perf_counter() - first) / later,
            "next_cpu_ms": 1000 * (outside.cpu_seconds() - cpu_first) / later,
        }


def serve(open_writer: OpenWriter) -> None:
    """Open the subject of the first line, then carry out the orders of the others."""
    replies = own_output()
    try:
        # Models, tokenizers and runtimes are of many authors, and raise whatever they like.
        with told_as(ValueError):
            subject = json.loads(sys.stdin.readline())
            prompts = read_json(Path(subject["prompts"]))
            writing = Writing(*open_writer(subject), prompts, subject["tokens"])
            # The first answer allocates memory and fills caches.
            writing.timed(prompts[0])
            reply(replies, {})
            for line in sys.stdin:
                reply(replies, writing.carry_out(json.loads(line)))
    except (ValueError, OSError, ImportError) as error:
        reply(replies, {"error": str(error)})
        sys.exit(1)


if __name__ == "__main__":
    serve(open_artifact)
