"""Continue the pre-training of an encoder on texts alone. Metric: nats a masked token; perplexity exp(nats) and the share of right tokens beside it.

Of the tokens of a row 15 % are chosen; of these 80 % become the mask token, 10 % a random one, 10 % stay, and the model says what stood there
(Devlin et al., 2018, arXiv:1810.04805, section 3.1). In training they are chosen anew at every step (Liu et al., 2019, arXiv:1907.11692, section
4.1), in evaluation by the row's own content, so that two models answer the same questions. Special tokens are neither chosen nor drawn.

What the model reads as one row is as many neighbouring texts as fit its maximum length; a longer text is cut. Texts of several documents may meet, as
in RoBERTa's FULL-SENTENCES, without its separator between them. A text that holds the mask token itself is a question: its units are those,
without a label. There is no next-sentence task. The labels are the vocabulary; nothing of its size is kept of an answer.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import UNKNOWN, Batch, Encoded, Scored, _tokens, collate, softmax
from limbeck.tasks.metrics import ratio

CHOSEN, MASKED, REPLACED = 0.15, 0.8, 0.1


@dataclass(frozen=True)
class MaskedLm:
    """`data_labels`: none; `preprocess`: the text of a `tokenizer.json` with its truncation and padding set."""

    data_labels: Sequence[str]
    preprocess: str

    metric: ClassVar[str] = "nats_per_token"
    metric_names: ClassVar[tuple[str, ...]] = ("nats_per_token", "perplexity", "accuracy")
    hard_loss: ClassVar[str] = "cross_entropy"
    auto_model: ClassVar[str] = "AutoModelForMaskedLM"
    preprocess_file: ClassVar[str] = "tokenizer.json"
    input_names: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask")
    row_keys: ClassVar[tuple[str, ...]] = ("text",)
    likelihood: ClassVar[str] = "categorical"

    @staticmethod
    def find_labels(rows: Sequence[Row]) -> list[str]:
        """None: they are the vocabulary."""
        return []

    @staticmethod
    def stratum(row: Row) -> str:
        return ""

    @staticmethod
    def content(row: Row) -> Any:
        return row["text"]

    @cached_property
    def tokenizer(self) -> Any:
        return _tokens.open_tokenizer(self.preprocess)

    @cached_property
    def uncut(self) -> Any:
        """The tokenizer without truncation."""
        tokenizer = _tokens.open_tokenizer(self.preprocess)
        tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def padding(self) -> dict[str, int]:
        return _tokens.padding(self.preprocess)

    @cached_property
    def labels(self) -> list[str]:
        """The vocabulary in order of the logits."""
        return [
            self.tokenizer.id_to_token(i) or ""
            for i in range(1 + max(self.tokenizer.get_vocab().values()))
        ]

    @cached_property
    def special(self) -> np.ndarray:
        """(V) whether a token is a special one."""
        found = np.zeros(len(self.labels), bool)
        found[
            [i for i, token in self.tokenizer.get_added_tokens_decoder().items() if token.special]
        ] = True
        return found

    @cached_property
    def ordinary(self) -> np.ndarray:
        """The tokens that are not special."""
        return np.flatnonzero(~self.special)

    @cached_property
    def mask_id(self) -> int:
        """The special token that is called mask. Raises ValueError where there is none."""
        found = [
            int(i)
            for i in np.flatnonzero(self.special)
            if self.labels[i].strip("[]<>|").lower() == "mask"
        ]
        if not found:
            special = ", ".join(np.array(self.labels)[self.special]) or "none"
            raise ValueError(
                "task: masked-lm: the model's tokenizer has no mask token such as [MASK] or <mask>; its special tokens: "
                f"{special}. Take an encoder that was pre-trained with one (BERT, RoBERTa, MPNet, ...)"
            )
        return found[0]

    def encode(self, rows: Sequence[Row]) -> list[Encoded]:
        """One Encoded for as many neighbouring rows as fit, and for each piece of a row that is too long."""
        encodings = (
            encoding for group in self.packed(rows) for encoding in (group, *group.overflowing)
        )
        return [
            self.masked(row, np.random.default_rng(row))
            for row in (np.array(encoding.ids, np.int64) for encoding in encodings)
        ]

    def packed(self, rows: Sequence[Row]) -> Iterator[Any]:
        """Encodings of neighbouring rows together, with the special tokens; one that is too long has its further pieces in `overflowing`."""
        from tokenizers import Encoding

        room = self.tokenizer.truncation["max_length"] - self.tokenizer.num_special_tokens_to_add(
            False
        )
        for group in neighbours(
            self.uncut.encode_batch([row["text"] for row in rows], add_special_tokens=False), room
        ):
            yield self.tokenizer.post_process(Encoding.merge(group))

    def masked(self, ids: np.ndarray, generator: np.random.Generator) -> Encoded:
        """A row with its chosen tokens hidden; (T) `ids` stay as they are."""
        inputs = {"input_ids": ids.copy(), "attention_mask": np.ones_like(ids)}
        asked = np.flatnonzero(ids == self.mask_id)
        if len(asked):
            return Encoded(inputs, asked, np.full(len(asked), UNKNOWN, np.int64))
        free = np.flatnonzero(~self.special[ids])
        count = max(1, round(CHOSEN * len(free))) if len(free) else 0
        chosen = np.sort(generator.permutation(free)[:count])
        fate, drawn = generator.random(count), generator.choice(self.ordinary, count)
        hidden = np.where(
            fate < MASKED, self.mask_id, np.where(fate < MASKED + REPLACED, drawn, ids[chosen])
        )
        inputs["input_ids"][chosen] = hidden
        return Encoded(inputs, chosen, ids[chosen])

    def draw(self, batch: Batch, generator: np.random.Generator) -> Batch:
        """The batch with other tokens chosen: those of `encode` are first put back."""
        ids = batch.inputs["input_ids"].copy()
        row, unit = np.nonzero(batch.mask & (batch.labels != UNKNOWN))
        ids[row, batch.positions[row, unit]] = batch.labels[row, unit]
        lengths = batch.inputs["attention_mask"].sum(1)
        return collate(
            [
                self.masked(text[:length], generator)
                for text, length in zip(ids, lengths, strict=True)
            ],
            batch.rows,
            self.padding,
        )

    def reduce(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(W, V) logits to (W, 2): the nats of the true token, and whether it is the most probable; 0 without a label."""
        wide, known = logits.astype(np.float64), labels != UNKNOWN
        below = wide - wide.max(1, keepdims=True)
        nats = (
            np.log(np.exp(below).sum(1)) - below[np.arange(len(labels)), np.where(known, labels, 0)]
        )
        return np.stack([nats, wide.argmax(1) == labels], 1) * known[:, None]

    def row(self, raw: Any) -> Row:
        """A row from a text. Raises ValueError for what is none, and for an empty one."""
        if not isinstance(raw, str):
            raise ValueError(f"a text is needed, not {type(raw).__name__}")
        if not raw.strip():
            raise ValueError("an empty text has no token to hide")
        return {"text": raw}

    def decode(self, row: Row, logits: np.ndarray) -> dict[str, Any]:
        """(W, V) logits to the most probable token of each hidden one, and its probability."""
        probabilities = softmax(logits.astype(np.float64))
        return {
            "tokens": [self.labels[i] for i in probabilities.argmax(1)],
            "probabilities": probabilities.max(1).round(6).tolist(),
        }

    def statistics(self, scored: Scored) -> np.ndarray:
        """(N, 3): nats, right tokens and tokens, row by row; `scored` holds what `reduce` left."""
        rows = np.repeat(np.arange(len(scored.offsets) - 1), np.diff(scored.offsets))
        sums = [
            np.bincount(rows, values, len(scored.offsets) - 1)
            for values in (*scored.logits.T, scored.labels != UNKNOWN)
        ]
        return np.stack(sums, 1)

    def metrics(self, totals: np.ndarray) -> dict[str, np.ndarray]:
        """Totals (..., 3) to nats a token, perplexity, and the share of right tokens in [0, 1]."""
        nats, right, tokens = np.moveaxis(totals, -1, 0)
        mean = ratio(nats, tokens)
        return {
            "nats_per_token": mean,
            "perplexity": np.exp(mean),
            "accuracy": ratio(right, tokens),
        }

    def ranked(self, scored: Scored, weights: np.ndarray) -> dict[str, np.ndarray]:
        """No metric of this task is read from the order of scores."""
        return {}


def neighbours(pieces: Iterable[Any], room: int) -> Iterator[list[Any]]:
    """Neighbouring pieces together while their lengths fit; one that is longer than `room` stands alone, one of no length nowhere."""
    group: list[Any] = []
    for piece in pieces:
        if group and sum(map(len, group)) + len(piece) > room:
            yield group
            group = []
        if len(piece):
            group.append(piece)
    if group:
        yield group
