"""Words hidden behind a mask token, and what a masked language model says in their place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from limbeck.data.augmenters import Place
from limbeck.data.augmenters._whole_words import WholeWords
from limbeck.data.batches import EVALUATION_TOKENS, in_order
from limbeck.models.running import run_model
from limbeck.models.torch_batches import batch_of, device_of, to_device
from limbeck.tasks import UNKNOWN, Encoded
from limbeck.tasks.inputs.words import read_words
from limbeck.tasks.masked_lm import MaskedLm


@dataclass(frozen=True)
class Masks:
    """A masked language model that is asked for places.

    `network`: the model, in eval mode. `candidates`: how many words are proposed for a place.
    `mask_id`: the mask token.
    """

    task: MaskedLm
    network: Any
    whole_words: WholeWords
    candidates: int
    mask_id: int

    def __call__(self, places: Sequence[Place]) -> list[list[str]]:
        """The likeliest words of each place."""
        # 1. Hide what one mask can stand for.
        proposals: list[list[str]] = [[] for _ in places]
        hidden = {}
        not_hidden = []
        for index, (words, place) in enumerate(places):
            encoded = self.hide(words, place)
            if encoded is None:
                not_hidden.append(index)
            else:
                hidden[index] = encoded
        # 2. Ask the model for these, and the embeddings for the others.
        asked_words = [words[place] for words, place in places]
        hidden_words = [asked_words[index] for index in hidden]
        said = self.said(list(hidden.values()), hidden_words)
        other_words = [asked_words[index] for index in not_hidden]
        near = self.whole_words.nearest(other_words, self.candidates)
        # 3. Back in the order of the places.
        for index, words in zip([*hidden, *not_hidden], said + near, strict=True):
            proposals[index] = words
        return proposals

    def hide(self, words: Sequence[str], place: int) -> Encoded | None:
        """The sentence with one word hidden.

        None where the word is several pieces, which one mask cannot stand for, or lies beyond the
        model's length.
        """
        ((encoding, word_ids),) = read_words(self.task.input.tokenizer, [words])
        positions = [index for index, word in enumerate(word_ids) if word == place]
        # Some tokenizers read a word alone in other pieces than within a sentence.
        alone = self.whole_words.pieces([words[place]])[0]
        if len(positions) != 1 or len(alone) != 1:
            return None
        ids = np.array(encoding.ids, np.int64)
        ids[positions] = self.mask_id
        # The label is what is asked for, so it is unknown.
        return Encoded(
            inputs={"input_ids": ids, "attention_mask": np.ones_like(ids)},
            positions=np.array(positions, np.int64),
            labels=np.array([UNKNOWN], np.int64),
        )

    def said(self, hidden: Sequence[Encoded], words: Sequence[str]) -> list[list[str]]:
        """What the model says of each hidden word; `words`: the words that were hidden."""
        proposals: list[list[str]] = [[] for _ in hidden]
        device = device_of(self.network)
        for rows in in_order([encoded.size for encoded in hidden], EVALUATION_TOKENS):
            batch = to_device(batch_of(hidden, rows, self.task.padding), device)
            with torch.inference_mode():
                outputs = run_model(self.network, batch)
            # A row has one unit, the hidden word.
            logits = outputs.logits[:, 0]
            # Pieces of words, numbers and marks are no candidates, however likely.
            scores = logits[:, self.whole_words.ids]
            asked_words = [words[row] for row in rows]
            best = self.whole_words.best(scores, asked_words, self.candidates)
            for row, proposed in zip(rows, best, strict=True):
                proposals[row] = proposed
        return proposals
