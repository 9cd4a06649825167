"""Answers that follow a JSON schema: which tokens may come next.

The work is llguidance's (a parser in Rust, which computes a mask of the vocabulary in some 50
microseconds); it reads the artifact's `tokenizer.json`.
"""

import functools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from limbeck.artifact.generation import Logits
from limbeck.core.wording import needs_package

# Of a schema: one that a client sends is compiled before its first token.
MOST_CHARACTERS = 100_000


class JsonSchema:
    """A schema and how far an answer has come in it.

    Args:
        schema: as an object of JSON.
        tokenizer: the text of `tokenizer.json`.
        end_ids: the tokens that end an answer.

    Raises ValueError for a schema that is none, or that cannot be followed.
    """

    def __init__(
        self,
        schema: dict[str, Any],
        tokenizer: str,
        end_ids: Sequence[int],
    ) -> None:
        try:
            from llguidance import LLMatcher
        except ModuleNotFoundError:
            raise ValueError(needs_package("a JSON schema", "llguidance")) from None
        text = json.dumps(schema)
        if len(text) > MOST_CHARACTERS:
            raise ValueError(
                f"a schema of {len(text):,} characters: at most {MOST_CHARACTERS:,} are read"
            )
        # Without blanks between: a small model else fills its answer with them.
        grammar = LLMatcher.grammar_from_json_schema(text, overrides={"whitespace_flexible": False})
        known = vocabulary(tokenizer, tuple(end_ids))
        # It never raises: what is wrong is asked for.
        self.matcher = LLMatcher(known, grammar, log_level=0)
        # Of some schemas it says only at the first token that none can follow.
        self.matcher.compute_bitmask()
        self.check()

    def check(self) -> None:
        """Raise ValueError where the parser has given up."""
        if self.matcher.is_error():
            reason = reason_of(self.matcher.get_error())
            raise ValueError(f"the JSON schema cannot be followed: {reason}")

    def masked(self, logits: Logits) -> Logits:
        """(V) logits with minus infinity for tokens that may not come next."""
        bits = np.frombuffer(self.matcher.compute_bitmask(), np.uint8)
        self.check()
        allowed = np.unpackbits(bits, bitorder="little")[: len(logits)].astype(bool)
        # A model's table may be longer than the vocabulary: these stand for nothing.
        allowed = np.pad(allowed, (0, len(logits) - len(allowed)))
        return np.where(allowed, logits, np.float32(-np.inf))

    def accept(self, token: int) -> None:
        """Go on with a token."""
        self.matcher.consume_token(token)
        self.check()

    @property
    def is_complete(self) -> bool:
        """Whether nothing but the end can follow."""
        return self.matcher.is_stopped()


def reason_of(error: str) -> str:
    """The parser's words in one line.

    >>> reason_of("regex parse error:\\n    (\\n    ^\\nerror: unclosed group")
    'regex parse error: unclosed group'
    """
    # The first line names the place in the schema; of a pattern the last one says what is wrong.
    first, *others = error.splitlines()
    if first.endswith(":") and others:
        return f"{first} {others[-1].removeprefix('error: ')}"
    # What is derived from the schema has no end, such as a `$ref` to where it stands.
    if first == "NoExtensionBias":
        return "it has no value that ends, as where a `$ref` names what it stands in"
    return first


@functools.lru_cache(4)
def vocabulary(tokenizer: str, end_ids: tuple[int, ...]) -> Any:
    """The tokens as the parser wants them: made once, since it takes a second for 50,000."""
    from llguidance import LLTokenizer

    return LLTokenizer(tokenizer, eos_token=list(end_ids))
