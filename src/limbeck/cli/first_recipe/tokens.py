"""How many tokens texts have: by the teacher's tokenizer where its folder lies here, else by a rule
of thumb for a vocabulary of English; and whether it knows their script."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.cli.first_recipe.recipe_text import TEXT_MODEL, Guess
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
MOSTLY = 0.5
OTHER_LANGUAGE = "It was not made for this language, and what it was trained on before helps little"
OF_MANY = "--model sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
OTHER_MODEL = f"Give a model of the language or of many, such as {OF_MANY}"
OR_PIECES = ", or leave --model out: a network of ours then reads the characters"
READS_PIECES = (
    "a network of ours reads the characters instead, from random weights. A model of the language "
    "or of many may do better where rows are many, such as"
)
# Tasks whose texts a network of pieces of characters can read.
OF_PIECES = (
    "text-classification",
    "multi-label-classification",
    "text-regression",
    "token-classification",
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


def counted(rows: Sequence[Row], model: str | None) -> tuple[TokenCount, str | None]:
    """How tokens of rows of texts are counted, and why the model's vocabulary was not made for
    them; None where it was.

    `model`: the teacher; the usual one where left out. Where it is no folder with a tokenizer.json,
    nor in the hub's cache, a rule of thumb counts, and letters of other scripts are what its
    vocabulary lacks; of a model that was asked for `limbeck check` then asks the tokenizer. The
    same holds where it cannot be read.
    """
    texts = [text_of(row) for row in drawn_rows(rows, SAMPLE)]
    tokenizer = tokenizer_at_hand(model or TEXT_MODEL)
    if tokenizer is None:
        return TokenCount(), other_script(texts) if model is None else None
    tokenizer.no_truncation()
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    num_tokens = max(1, sum(len(each.ids) for each in encoded))
    num_characters = max(1, sum(map(len, texts)))
    tokens = [token for each in encoded for token in each.tokens]
    return TokenCount(num_tokens / num_characters), other_vocabulary(texts, tokens, tokenizer)


def tokenizer_at_hand(model: str) -> Any:
    """The tokenizer of a model by its folder, or as the hub's cache has it; None where there is
    none, or none that works."""
    file = Path(model).expanduser() / TOKENIZER
    if not file.is_file():
        home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))
        cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
        snapshots = cache / f"models--{model.replace('/', '--')}" / "snapshots"
        # A name that leads out of the cache is a path, of which there was no folder.
        found = [] if os.pardir in model else sorted(snapshots.glob(f"*/{TOKENIZER}"))
        if not found:
            return None
        file = found[-1]
    try:
        with open(file, "rb") as opened:
            content = read_at_most(opened, MOST_TEXT_BYTES, str(file))
        return open_tokenizer(content.decode())
    except (OSError, ValueError):
        return None


def other_script(texts: Sequence[str]) -> str | None:
    """Why texts are not of the script that the usual model's vocabulary has; None where most
    letters are."""
    letters = [letter for text in texts for letter in text if letter.isalpha()]
    share = sum(letter > LAST_LATIN for letter in letters) / max(1, len(letters))
    if share < MOSTLY:
        return None
    return f"{share:.0%} of the letters are of a script that {TEXT_MODEL} does not know"


def other_vocabulary(texts: Sequence[str], tokens: Sequence[str], tokenizer: Any) -> str | None:
    """Why a vocabulary was not made for texts; None where it was.

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
        return f"{count.unknown_share:.0%} of the tokens are unknown to the model"
    if count.are_letters:
        length = count.letters / (count.ordinary - count.unknown)
        return f"the model breaks words into pieces of {length:.1f} letters"
    return None


def can_be_pieces(guess: Guess) -> bool:
    """Whether a network of pieces can read the texts of a guess."""
    return guess.task in OF_PIECES and "text_b" not in guess.options


def choose_reader(guess: Guess, why: str, model: str | None) -> str:
    """Have a guess read its texts as pieces of characters, where it can and no model was asked for;
    what is to be said of a vocabulary that was not made for the texts, and `why`."""
    can_read = can_be_pieces(guess)
    if can_read and model is None:
        guess.reads_pieces = True
        return f"{why}: {READS_PIECES} {OF_MANY}"
    other = OR_PIECES if can_read else ""
    return f"{why}. {OTHER_LANGUAGE}. {OTHER_MODEL}{other}"
