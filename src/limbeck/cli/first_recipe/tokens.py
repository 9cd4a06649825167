"""How many tokens texts have: by the teacher's tokenizer where its folder lies here, else by a rule
of thumb for a vocabulary of English; and whether it knows their script."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.core.files import MOST_TEXT_BYTES, read_at_most
from limbeck.data.sampling import drawn_rows
from limbeck.pipeline.preflight.token_counts import (
    MANY_UNKNOWN,
    TokenCounts,
    letters_of,
)
from limbeck.recipe.model import Train
from limbeck.sources import Row, text_of
from limbeck.tasks.inputs.tokenized import open_tokenizer

TOKENIZER = "tokenizer.json"
# Rows whose tokens are counted; those of the others follow from their characters.
SAMPLE = 500
SPECIAL_TOKENS = 2  # of a row: the marks of its beginning and end
# By a rule of thumb for subword tokenizers, where none can be asked: characters of a token in
# scripts like that of English; elsewhere an English vocabulary has single letters at most.
CHARACTERS_A_TOKEN = 4
LAST_LATIN = "\u024f"
OTHER_MODEL = (
    "It was not made for this language, and what it was trained on before helps little. Give a "
    "model of the language or of many, such as --model "
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2; the verdict's linear model tells "
    "what is had without"
)


@dataclass(frozen=True)
class TokenCount:
    """Counts the tokens of rows.

    `tokens_a_character`: of the texts that were sampled; None where no tokenizer was asked.
    """

    tokens_a_character: float | None = None

    def of(self, row: Row) -> int:
        """About how many tokens a row of texts or words has, as far as they are read."""
        text = text_of(row)
        if self.tokens_a_character is None:
            num_foreign = sum(letter > LAST_LATIN for letter in text)
            count = (len(text) - num_foreign) / CHARACTERS_A_TOKEN + num_foreign
        else:
            count = len(text) * self.tokens_a_character
        # A longer text is cut.
        return min(Train().max_tokens, SPECIAL_TOKENS + math.ceil(count))


def counted(rows: Sequence[Row], model: str | None) -> tuple[TokenCount, list[str]]:
    """How tokens of rows of texts are counted, and what is to be said of the model's vocabulary.

    `model`: the teacher. Where it is no folder with a tokenizer.json, a rule of thumb counts, and
    nothing is said: `limbeck check` asks the tokenizer. The same holds where it cannot be read.
    """
    file = Path(model or "").expanduser() / TOKENIZER
    if model is None or not file.is_file():
        return TokenCount(), []
    try:
        with open(file, "rb") as opened:
            content = read_at_most(opened, MOST_TEXT_BYTES, str(file))
        tokenizer = open_tokenizer(content.decode())
    except (OSError, ValueError):
        return TokenCount(), []
    tokenizer.no_truncation()
    texts = [text_of(row) for row in drawn_rows(rows, SAMPLE)]
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    num_tokens = max(1, sum(len(each.ids) for each in encoded))
    num_characters = max(1, sum(map(len, texts)))
    told = told_vocabulary(texts, [token for each in encoded for token in each.tokens], tokenizer)
    return TokenCount(num_tokens / num_characters), told


def told_vocabulary(texts: Sequence[str], tokens: Sequence[str], tokenizer: Any) -> list[str]:
    """What is to be said of a vocabulary that was not made for texts; nothing of one that was.

    `tokens`: of all texts. `tokenizer`: that made them.
    """
    unknown = getattr(tokenizer.model, "unk_token", None)
    count = TokenCounts(
        rows=len(texts),
        ordinary=len(tokens),
        unknown=tokens.count(unknown),
        letters=letters_of(texts),
    )
    # As `limbeck check` says it, which counts all that is read.
    if count.unknown_share >= MANY_UNKNOWN:
        return [f"{count.unknown_share:.0%} of the tokens are unknown to the model. {OTHER_MODEL}"]
    if count.are_letters:
        length = count.letters / (count.ordinary - count.unknown)
        return [f"the model breaks words into pieces of {length:.1f} letters. {OTHER_MODEL}"]
    return []
