"""Leave out the words of the vocabulary that the training rows never use: rows of the word
embeddings, and tokens of the tokenizer with them (Abdaoui, Pradel and Sigel, 2020, arXiv
2010.05609: "Load What You Need", for the languages of a multilingual BERT; here for a task).

What stays:

- every token that occurs in the training rows, at their full length, or in the lines of `corpus`;
- special and added tokens, and the unknown one;
- all single characters and bytes, so that any text can still be split;
- the first ids, up to that of padding, which encoders expect where it was.

The tokens that stay get new ids, in their old order. An output layer stays as it is, but that of a
causal language model (`_causal_vocabulary`), which is the vocabulary's.

A text that was seen is split into the same tokens as before, and gets the same answer. That is
checked: where the smaller tokenizer splits a seen text otherwise, every token that is a part of
that text is kept too, and the check begins again. A text that was not seen may hold a word
that is gone, which is then split into smaller pieces.

Why seen texts are split as before, by the kind of tokenizer:

    WordPiece    takes the longest token that fits; in a word that it can split, that one stays
    BPE          keeps the merges that make a kept token, with the tokens that they merge; the
                 others did nothing in a seen text
    Unigram      takes the most probable split, which is still there among fewer
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from limbeck.data.paths import relocate
from limbeck.models.anatomy.decoder import is_causal
from limbeck.models.anatomy.structure import put
from limbeck.models.torch_batches import move
from limbeck.sources._files import Lines
from limbeck.surgeries import Cut, Evidence
from limbeck.surgeries._causal_vocabulary import trim_causal
from limbeck.surgeries._embeddings import word_embeddings
from limbeck.surgeries._tokenizer_json import TokenizerJson
from limbeck.tasks.inputs.tokenized import open_tokenizer
from limbeck.tasks.inputs.words import read_words

# Texts that are encoded in one call: enough to keep all cores at work, few enough that their
# encodings take little memory.
TEXTS_AT_ONCE = 5000

# A text as it is, or as words.
TextOrWords = str | tuple[str, ...]


@dataclass(frozen=True)
class TrimVocabulary:
    """`corpus`: a file of further texts without labels, one a line, whose tokens stay too."""

    corpus: str | None = None

    reads_rows: ClassVar[bool] = True

    @property
    def files(self) -> Sequence[str]:
        """The corpus, where there is one."""
        return () if self.corpus is None else (relocate(self.corpus),)

    def cut(self, teacher: nn.Module, evidence: Evidence) -> Cut:
        """A copy of `teacher` with fewer words, and its tokenizer.

        Raises ValueError for a task without texts, or a tokenizer of a kind that is not known here.
        """
        if is_causal(teacher):
            return trim_causal(teacher, evidence, lines_of(self.files))
        if evidence.task.preprocess_file != "tokenizer.json":
            raise ValueError(
                "trim_vocabulary: this task reads no texts, so there is no vocabulary to trim. "
                "Take another surgery"
            )
        student = copy.deepcopy(teacher)
        _, embedding = word_embeddings(student, "trim_vocabulary")
        # The model's padding, which need not be the tokenizer's.
        padding = embedding.padding_idx or 0
        kept, tokenizer = trimmed(
            evidence.task.preprocess,
            list(self.texts(evidence)),
            set(range(padding + 1)),
        )
        # A tokenizer may have tokens that the model has no embedding for.
        rows = [index for index in kept if index < embedding.num_embeddings]
        keep_rows(embedding, rows)
        tell_config(student, kept, embedding.num_embeddings)
        return Cut(student, tokenizer)

    def texts(self, evidence: Evidence) -> Iterator[TextOrWords]:
        """Every text that was seen; of a pair both."""
        for row in evidence.rows:
            content = evidence.task.content(row)
            is_pair = not isinstance(content, str) and "words" not in row
            yield from content if is_pair else [content]
        yield from lines_of(self.files)


def lines_of(files: Sequence[str]) -> Iterator[str]:
    """The lines of some files, one after the other."""
    for path in files:
        lines = Lines(Path(path))
        for line in lines:
            lines.check()
            yield line.strip()


def trimmed(
    text: str,
    texts: Sequence[TextOrWords],
    wanted: set[int],
) -> tuple[list[int], str]:
    """The ids that stay, in order, and the tokenizer.json with them alone.

    `text`: the whole tokenizer.json. `texts`: what the new tokenizer reads as the whole one does.
    `wanted`: ids that stay in any case.

    Raises ValueError where no smaller tokenizer reads them so.
    """
    whole = TokenizerJson.parse(text)
    whole_pieces = list(pieces(text, texts))
    # Some models compute positions from the padding's id (RoBERTa: position = id of padding + 1 +
    # index), so it has to stay where it is, and with it all ids below.
    wanted = wanted | whole.always_kept | set(range(whole.padding_id + 1))
    for ids in whole_pieces:
        wanted.update(ids)
    while True:
        # 1. The tokenizer with the wanted tokens.
        kept = sorted(whole.with_merged(wanted))
        smaller = whole.keeping(kept)
        # 2. The texts that it reads otherwise.
        changed = []
        for each, before, after in zip(texts, whole_pieces, pieces(smaller, texts), strict=True):
            if before != [kept[index] for index in after]:
                changed.append(each)
        if not changed:
            return kept, smaller
        # 3. All that stands for a part of these texts is wanted too.
        more = whole.within(normalized(text, changed)) - wanted
        if not more:
            raise ValueError(
                f"trim_vocabulary: the tokenizer would read {changed[0]!r} otherwise "
                "with fewer tokens. Take another surgery"
            )
        wanted |= more


def pieces(tokenizer: str, texts: Sequence[TextOrWords]) -> Iterator[list[int]]:
    """The ids of each text at its full length, without special tokens."""
    opened = open_tokenizer(tokenizer)
    opened.no_truncation()
    # A call takes either texts or words.
    for are_words, group in groupby(texts, lambda each: not isinstance(each, str)):
        alike = list(group)
        for start in range(0, len(alike), TEXTS_AT_ONCE):
            some: list[Any] = alike[start : start + TEXTS_AT_ONCE]
            if are_words:
                read = read_words(opened, some, add_special_tokens=False)
                encodings = [encoding for encoding, _ in read]
            else:
                encodings = opened.encode_batch(some, add_special_tokens=False)
            for encoding in encodings:
                yield encoding.ids


def normalized(tokenizer: str, texts: Sequence[TextOrWords]) -> Iterator[str]:
    """Texts as the tokenizer looks them up, but for its marks; words one by one."""
    normalizer = open_tokenizer(tokenizer).normalizer
    for each in texts:
        for part in [each] if isinstance(each, str) else each:
            yield part if normalizer is None else normalizer.normalize_str(part)


def keep_rows(embedding: nn.Embedding, rows: list[int]) -> None:
    """Leave the other words out, in place."""
    weight = embedding.weight.detach()
    index = move(torch.tensor(rows), weight.device)
    put(embedding, "weight", weight[index].clone())
    embedding.num_embeddings = len(rows)


def tell_config(
    model: Any,
    kept: list[int],
    num_words: int,
) -> None:
    """Let the config of a transformers model know how many words there are, and the new ids of its
    special tokens."""
    config = getattr(model, "config", None)
    # A user's module has none.
    if config is None:
        return
    config.vocab_size = num_words
    new_ids = {old: new for new, old in enumerate(kept)}
    for key, value in config.to_dict().items():
        if key.endswith("_token_id") and isinstance(value, int):
            setattr(config, key, new_ids.get(value))
