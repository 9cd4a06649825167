"""How much of its texts a model reads: what is cut off, and what its tokenizer does not know."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from limbeck.sources import Row, place_of, text_of
from limbeck.tasks import Encoded, OverVocabulary, Task
from limbeck.tasks.chat.template import ASSISTANT
from limbeck.tasks.inputs.characters import are_characters
from limbeck.tasks.inputs.dialogue import DialogueInput
from limbeck.tasks.inputs.tokenized import TokenizedInput

# From this share of unknown tokens on, a text says little: of English with names and signs in it,
# WordPiece does not know 0.1 % at most; of a script that it was not made for, most.
MANY_UNKNOWN = 0.05

# Below so many letters a token a vocabulary breaks words into letters: of English it has 4 or more.
# Of Chinese a token is a character in every vocabulary.
FEWEST_LETTERS = 2.0
FIRST_CHINESE, LAST_CHINESE = "\u2e80", "\u9fff"

MULTILINGUAL = (
    "FacebookAI/xlm-roberta-base",
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
    "google-bert/bert-base-multilingual-cased",
)
TAKE_ANOTHER = (
    f"Take a multilingual model, such as {', '.join(MULTILINGUAL)}, or `ngrams`, a network of ours "
    "that reads characters"
)
# What two reasons of one kind differ by: what a row says, and numbers.
FIGURES = re.compile(r"`[^`]*`|\d[\d,.]*")
# Rows whose letters are looked at: of texts in one language some tell as much as all.
MOST_LETTERED = 2000


@dataclass(frozen=True)
class TokenCounts:
    """Of some rows: `rows`; `cut_rows`, those that were longer than `limit` tokens; `tokens` that
    are read; `cut_tokens` that are not; of the read ones `ordinary`, no special ones, and `unknown`
    among these; `wordless`, the rows that have no ordinary token; `letters`, the characters of what
    is read that are no spaces, none where most are Chinese. `side`: where a text is cut.
    `windows`: how many longer texts are read in, none where they are cut. `stretches`: the same of
    dialogues and texts to go on from, of which each token is learned in one, and `stretched_tokens`
    that are read in them."""

    rows: int = 0
    cut_rows: int = 0
    tokens: int = 0
    cut_tokens: int = 0
    ordinary: int = 0
    unknown: int = 0
    wordless: int = 0
    letters: int = 0
    windows: int = 0
    stretches: int = 0
    stretched_tokens: int = 0
    limit: int = 0
    side: str = "right"

    @property
    def unknown_share(self) -> float:
        """Of the ordinary tokens, in [0, 1]."""
        return self.unknown / max(1, self.ordinary)

    @property
    def are_letters(self) -> bool:
        """Whether words are broken into so small pieces that a token tells little of them."""
        return 0 < self.letters < FEWEST_LETTERS * (self.ordinary - self.unknown)

    def __add__(self, other: "TokenCounts") -> "TokenCounts":
        return TokenCounts(
            self.rows + other.rows,
            self.cut_rows + other.cut_rows,
            self.tokens + other.tokens,
            self.cut_tokens + other.cut_tokens,
            self.ordinary + other.ordinary,
            self.unknown + other.unknown,
            self.wordless + other.wordless,
            self.letters + other.letters,
            self.windows + other.windows,
            self.stretches + other.stretches,
            self.stretched_tokens + other.stretched_tokens,
            other.limit,
            other.side,
        )

    def cut_note(self, split: str) -> list[str]:
        """What was cut of a split; nothing where nothing was."""
        if not self.cut_rows:
            return []
        longer = (
            f"{split}: {self.cut_rows:,} of {self.rows:,} texts are longer than {self.limit} tokens"
        )
        if self.stretches:
            return [
                f"{longer} and are read in {self.stretches:,} stretches of "
                f"{self.stretched_tokens:,} tokens in all, half of each at most read before"
            ]
        if self.windows:
            return [f"{longer} and are read in windows, {self.windows:,} in all"]
        share = self.cut_tokens / (self.tokens + self.cut_tokens)
        end = "end" if self.side == "right" else "beginning"
        return [f"{longer} and lose their {end}, {share:.1%} of all tokens"]

    def unknown_note(self, split: str) -> list[str]:
        """Warnings where many tokens are unknown, many texts have none, or words are broken into
        letters."""
        told = []
        if self.unknown_share >= MANY_UNKNOWN:
            told.append(f"{self.unknown_share:.1%} of the tokens of {split} are unknown to")
        if self.wordless >= MANY_UNKNOWN * max(1, self.rows):
            told.append(f"{self.wordless:,} of {self.rows:,} texts of {split} have no token in")
        notes = [
            f"warning: {each} the tokenizer, which was not made for their script or language, so "
            f"that the model cannot tell them apart. {TAKE_ANOTHER}"
            for each in told
        ]
        if self.are_letters and not notes:
            length = self.letters / (self.ordinary - self.unknown)
            notes.append(
                f"warning: the tokenizer breaks the words of {split} into pieces of {length:.1f} "
                "letters: it was not made for their language, and what the model learned before "
                f"helps little. {TAKE_ANOTHER}"
            )
        return notes


def letters_of(texts: Sequence[str]) -> int:
    """How many characters texts have that are no spaces; 0 where most of them are Chinese, of which
    a character is a token as it should be."""
    letters = [letter for text in texts for letter in text if not letter.isspace()]
    num_chinese = sum(FIRST_CHINESE <= letter <= LAST_CHINESE for letter in letters)
    return 0 if 2 * num_chinese > len(letters) else len(letters)


def count_tokens(task: Task, rows: Sequence[Row], encoded: Sequence[Encoded]) -> TokenCounts:
    """The counts of rows and of what a task made of them, row by row; all 0 for a task that reads
    no texts, or whose rows are not its data's."""
    reader = task.input
    if isinstance(reader, DialogueInput):
        return _count_stretches(encoded, reader.max_tokens)
    if isinstance(task, OverVocabulary) or not isinstance(reader, TokenizedInput):
        return TokenCounts()
    truncation = reader.tokenizer.truncation
    unknown_id, special_ids = ids_of(reader.preprocess)
    read = [row.inputs["attention_mask"].sum() for row in encoded]
    # 1. Of what is read.
    ids = np.concatenate([row.inputs["input_ids"].reshape(-1) for row in encoded])
    is_ordinary = ~np.isin(ids, special_ids)
    ends = np.cumsum([row.inputs["input_ids"].size for row in encoded])
    by_row = np.diff(np.cumsum(is_ordinary)[ends - 1], prepend=0)
    # 2. Of what is cut: only a row that fills the length can have lost something.
    limit = truncation["max_length"]
    candidates = [
        number for number, row in enumerate(encoded) if row.inputs["input_ids"].shape[-1] >= limit
    ]
    lengths = reader.full_lengths([rows[number] for number in candidates])
    lost = [int(length - read[number]) for number, length in zip(candidates, lengths, strict=True)]
    num_windows = [len(row.labels) for row in encoded if row.windows and len(row.labels) > 1]
    lost = [] if num_windows else [each for each in lost if each > 0]
    is_of_letters = are_characters(reader.preprocess)
    letters = 0 if is_of_letters else _letters_read(rows, lost, int(sum(read)))
    return TokenCounts(
        rows=len(rows),
        cut_rows=len(num_windows) or len(lost),
        tokens=int(sum(read)),
        cut_tokens=sum(lost),
        windows=sum(num_windows),
        ordinary=int(is_ordinary.sum()),
        unknown=int((ids == unknown_id).sum()),
        wordless=int((by_row == 0).sum()),
        letters=letters,
        limit=limit,
        side=truncation["direction"].lower(),
    )


def _count_stretches(encoded: Sequence[Encoded], limit: int) -> TokenCounts:
    """What is read in several parts, of rows that lie part after part."""
    num_parts: list[int] = []
    tokens: list[int] = []
    for row in encoded:
        if row.begins:
            num_parts.append(0)
            tokens.append(0)
        num_parts[-1] += 1
        tokens[-1] += row.size
    stretched = [number for number, count in enumerate(num_parts) if count > 1]
    return TokenCounts(
        rows=len(num_parts),
        cut_rows=len(stretched),
        tokens=sum(tokens),
        stretches=sum(num_parts[number] for number in stretched),
        stretched_tokens=sum(tokens[number] for number in stretched),
        limit=limit,
    )


@dataclass
class Refused:
    """Rows that a model cannot read for one reason: the `first` of them, in words with its place,
    and how many there are."""

    first: str
    count: int = 1

    def __str__(self) -> str:
        if self.count == 1:
            return self.first
        return f"{self.first.rstrip('.')}. This is the first of {self.count:,} such rows"


def refused_rows(task: Task, rows: Sequence[Row]) -> list[Refused]:
    """The rows that a task cannot read, one for each reason.

    Example: a chat template that wants users and assistants in turns, and a row of two users.
    """
    found: dict[str, Refused] = {}
    for number, row in enumerate(rows, 1):
        try:
            task.encode([row])
        except ValueError as error:
            # The task counts from the only row that it was given.
            reason = str(error).removeprefix(f"{place_of(row, 1)}: ")
            kind = FIGURES.sub("", reason)
            if kind in found:
                found[kind].count += 1
            else:
                found[kind] = Refused(f"{place_of(row, number)}: {reason}")
    return list(found.values())


def long_answers(task: Task, rows: Sequence[Row]) -> list[str]:
    """Where the dialogues stand of which one answer alone is longer than the model reads, so that
    no stretch holds it whole."""
    reader = task.input
    places: list[str] = []
    for number, row in enumerate(rows, 1):
        for message in row.get("messages", ()):
            # A token is a character at least.
            may_be = message["role"] == ASSISTANT and len(message["content"]) > reader.max_tokens
            if may_be and len(reader.ids_of(message["content"])) >= reader.max_tokens:
                places.append(place_of(row, number))
                break
    return places


def _letters_read(rows: Sequence[Row], lost: Sequence[int], num_read: int) -> int:
    """About how many letters of rows are read, where `num_read` tokens are, and some `lost`."""
    sampled = rows[:: max(1, len(rows) // MOST_LETTERED)]
    letters = letters_of([text_of(row) for row in sampled]) * len(rows) / max(1, len(sampled))
    return round(letters * num_read / max(1, num_read + sum(lost)))


@cache
def ids_of(preprocess: str) -> tuple[int, tuple[int, ...]]:
    """The id of the unknown token in a `tokenizer.json`, -1 where there is none, and those of the
    other special ones, padding among them."""
    from tokenizers import Tokenizer

    content = json.loads(preprocess)
    tokenizer = Tokenizer.from_str(preprocess)
    model = content["model"]
    # SentencePiece's Unigram has it as an id, the others as a token.
    unknown = model.get("unk_id")
    if model.get("unk_token") is not None:
        unknown = tokenizer.token_to_id(model["unk_token"])
    special = [token["id"] for token in content["added_tokens"] if token["special"]]
    return -1 if unknown is None else unknown, tuple(set(special) - {unknown})
