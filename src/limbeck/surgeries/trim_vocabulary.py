"""Leave out the words of the vocabulary that the training rows never use: rows of the word embeddings, and tokens of the tokenizer with them
(Abdaoui, Pradel, Sigel, 2020, arXiv 2010.05609: "Load What You Need", for the languages of a multilingual BERT; here for a task).

Kept: every token that occurs in the training rows (at their full length) or in the lines of `corpus`; special and added tokens, the unknown one, all
single characters and bytes, so that any text still falls into pieces; and the first ids up to that of padding, which so stays where models expect
it. The others are numbered anew in their order. On the texts that were seen, pieces and answers are exactly those of the teacher. That is checked,
and what a text whose pieces would change might hold is kept as well. Elsewhere a word that is gone is read in smaller pieces. Output layers stay.

    WordPiece    the longest match of a seen word is a seen token, unless the word is unknown
    BPE          of the merges those stay that make a kept token, and what they merge is kept; the others never act on a seen text
    Unigram      the best pieces of a seen text stay the best of fewer
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

import torch
from torch import nn

from limbeck.data.splits import relocated
from limbeck.models.structure import put
from limbeck.surgeries import Cut, Evidence
from limbeck.surgeries._embeddings import word_embeddings
from limbeck.surgeries._vocabulary import Vocabulary
from limbeck.tasks.inputs.tokenized import open_tokenizer

AT_ONCE = 5000  # texts encoded at a time

Text = str | tuple[str, ...]  # as it is, or as words


@dataclass(frozen=True)
class TrimVocabulary:
    """`corpus`: a file of further texts, one a line."""

    corpus: str | None = None

    reads_rows: ClassVar[bool] = True

    @property
    def files(self) -> Sequence[str]:
        return () if self.corpus is None else (relocated({"corpus": self.corpus})["corpus"],)

    def cut(self, teacher: nn.Module, evidence: Evidence) -> Cut:
        """A copy of `teacher` with fewer words, and its tokenizer. Raises ValueError for a task without texts, or a tokenizer of another kind."""
        if evidence.task.preprocess_file != "tokenizer.json":
            raise ValueError(
                "trim_vocabulary: this task reads no texts, so there is no vocabulary to trim. Take another surgery"
            )
        student = copy.deepcopy(teacher)
        _, embedding = word_embeddings(student, "trim_vocabulary")
        kept, text = trimmed(
            evidence.task.preprocess,
            [*self.texts(evidence)],
            {*range((embedding.padding_idx or 0) + 1)},
        )
        keep_rows(embedding, [i for i in kept if i < embedding.num_embeddings])
        tell_config(student, kept, embedding.num_embeddings)
        return Cut(student, text)

    def texts(self, evidence: Evidence) -> Iterator[Text]:
        """Every text that was seen; of a pair both."""
        for row in evidence.rows:
            content = evidence.task.content(row)
            if isinstance(content, str) or "words" in row:
                yield content
            else:
                yield from content
        for path in self.files:
            with open(path, encoding="utf-8") as lines:
                yield from (line.strip() for line in lines)


def trimmed(text: str, texts: Sequence[Text], wanted: set[int]) -> tuple[list[int], str]:
    """The ids that stay, in order, and the tokenizer with them alone: it reads all of `texts` as before. Raises ValueError where none does."""
    whole = Vocabulary.parse(text)
    wanted = wanted | whole.always | {i for ids in pieces(text, texts) for i in ids}
    while True:
        kept = sorted(whole.closed(wanted))
        fewer = whole.keeping(kept)
        pairs = zip(texts, pieces(text, texts), pieces(fewer, texts), strict=True)
        changed = [each for each, before, after in pairs if before != [kept[i] for i in after]]
        if not changed:
            return kept, fewer
        more = whole.within(normalized(text, changed)) - wanted
        if not more:
            raise ValueError(
                f"trim_vocabulary: the tokenizer would read {changed[0]!r} otherwise with fewer tokens. Take another surgery"
            )
        wanted |= more


def pieces(tokenizer: str, texts: Sequence[Text]) -> Iterator[list[int]]:
    """The ids of each text at its full length, without special tokens."""
    opened = open_tokenizer(tokenizer)
    opened.no_truncation()
    for is_words, group in groupby(texts, lambda each: not isinstance(each, str)):
        given = list(group)
        for start in range(0, len(given), AT_ONCE):
            part = given[start : start + AT_ONCE]
            for encoding in opened.encode_batch(
                part, is_pretokenized=is_words, add_special_tokens=False
            ):
                yield encoding.ids


def normalized(tokenizer: str, texts: Sequence[Text]) -> Iterator[str]:
    """Texts as the tokenizer looks them up, but for its marks."""
    normalizer = open_tokenizer(tokenizer).normalizer
    for each in texts:
        for part in [each] if isinstance(each, str) else each:
            yield part if normalizer is None else normalizer.normalize_str(part)


def keep_rows(embedding: nn.Embedding, rows: list[int]) -> None:
    """Leave the other words out, in place."""
    put(embedding, "weight", embedding.weight.detach()[torch.tensor(rows)].clone())
    embedding.num_embeddings = len(rows)


def tell_config(model: Any, kept: list[int], words: int) -> None:
    """Let the config of a transformers model know how many words there are, and the ids of its special tokens."""
    config, new = getattr(model, "config", None), {old: index for index, old in enumerate(kept)}
    if config is None:
        return
    config.vocab_size = words
    for key, value in config.to_dict().items():
        if key.endswith("_token_id") and isinstance(value, int):
            setattr(config, key, new.get(value))
