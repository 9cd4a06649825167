"""Words hidden behind a mask token, and what a masked language model says in their place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from limbeck.data.augmenters import Place
from limbeck.data.augmenters._vocabulary import Vocabulary
from limbeck.data.batches import in_order
from limbeck.models.running import run_model
from limbeck.models.torch_batches import batch_of
from limbeck.tasks import UNKNOWN, Encoded
from limbeck.tasks.masked_lm import MaskedLm

BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Masks:
    """A masked language model that is asked for places."""

    task: MaskedLm
    network: Any
    vocabulary: Vocabulary
    candidates: int
    mask_id: int

    def __call__(self, places: Sequence[Place]) -> list[list[str]]:
        """The likeliest words of each place."""
        hidden = [self.hide(words, place) for words, place in places]
        masked = [i for i, encoded in enumerate(hidden) if encoded is not None]
        others = [i for i, encoded in enumerate(hidden) if encoded is None]
        asked = self.said(
            [encoded for encoded in hidden if encoded is not None],
            [places[i][0][places[i][1]] for i in masked],
        )
        near = self.vocabulary.nearest(
            [places[i][0][places[i][1]] for i in others], self.candidates
        )
        found = dict(zip(masked + others, asked + near, strict=True))
        return [found[i] for i in range(len(places))]

    def hide(self, words: Sequence[str], place: int) -> Encoded | None:
        """The sentence with one word hidden; None where it is several pieces, or beyond the model's length."""
        encoding = self.task.input.tokenizer.encode(words, is_pretokenized=True)
        at = [position for position, word in enumerate(encoding.word_ids) if word == place]
        if len(at) != 1 or len(self.vocabulary.pieces([words[place]])[0]) != 1:
            return None
        ids = np.array(encoding.ids, np.int64)
        ids[at] = self.mask_id
        return Encoded(
            {"input_ids": ids, "attention_mask": np.ones_like(ids)},
            np.array(at, np.int64),
            np.array([UNKNOWN], np.int64),
        )

    def said(self, hidden: Sequence[Encoded], words: Sequence[str]) -> list[list[str]]:
        """What the model says of each hidden word."""
        found: list[list[str]] = [[] for _ in hidden]
        for rows in in_order([encoded.size for encoded in hidden], BATCH_TOKENS):
            with torch.inference_mode():
                logits = run_model(self.network, batch_of(hidden, rows, self.task.padding)).logits[
                    :, 0
                ]
            best = self.vocabulary.best(
                logits[:, self.vocabulary.numbers], [words[row] for row in rows], self.candidates
            )
            for row, proposed in zip(rows, best, strict=True):
                found[row] = proposed
        return found
