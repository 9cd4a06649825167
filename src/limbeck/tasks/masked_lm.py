"""Continue the pre-training of an encoder on texts alone. Metric: nats a masked token; perplexity,
which is exp(nats), and the share of right tokens beside it.

Of the tokens of a row 15 % are chosen; of these 80 % become the mask token, 10 % a random one and
10 % stay, and the model says what stood there (Devlin et al., 2018, arXiv 1810.04805, section 3.1).
In training they are chosen anew at every step (Liu et al., 2019, arXiv 1907.11692, section 4.1), in
evaluation by the row's own content, so that two models answer the same questions. Special tokens
are neither chosen nor drawn.

What the model reads as one row is as many neighbouring texts as fit its maximum length; a longer
text is cut. Texts of several documents may meet, as in RoBERTa's FULL-SENTENCES, without its
separator between them. A text that holds the mask token itself is a question: its units are those
tokens, without a label. There is no next-sentence task.

Shapes: T tokens, W masked tokens of a row, P of all rows, V the vocabulary, B and N rows.
"""

# This task joins no input with a head, as the others do: its labels are made from its inputs, and
# are their vocabulary. Of an answer it keeps two numbers a token, because logits of 30,000 tokens
# would fill the memory.

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Batch, Encoded, Scored, collate
from limbeck.tasks.inputs.long_texts import MOST_CHARACTERS, encoded, parts
from limbeck.tasks.inputs.text import TextInput
from limbeck.tasks.inputs.tokenized import kind_of, vocabulary
from limbeck.tasks.likelihood import LIKELIHOODS, UNKNOWN, is_known, softmax
from limbeck.tasks.metrics import defined, sums_by_row
from limbeck.tasks.types import Answer, Array, Figures, Names, Rows

# Of the tokens, and of the chosen ones: section 3.1 of the paper.
CHOSEN = 0.15
MASKED = 0.8
REPLACED = 0.1


@dataclass(frozen=True)
class MaskedLm:
    """`data_labels`: none; `preprocess`: the text of a `tokenizer.json` with its truncation and
    padding set."""

    data_labels: Sequence[str]
    preprocess: str

    metric: ClassVar[str] = "nats_per_token"
    metric_names: ClassVar[Names] = ("nats_per_token", "perplexity", "accuracy")
    hard_loss: ClassVar[str] = "cross_entropy"
    likelihood: ClassVar[str] = "categorical"
    auto_model: ClassVar[str] = "AutoModelForMaskedLM"
    examples: ClassVar[Rows] = ()
    preprocess_file: ClassVar[str] = TextInput.preprocess_file
    input_names: ClassVar[Names] = TextInput.input_names
    row_keys: ClassVar[Names] = ("text",)

    # What rows hold.

    @staticmethod
    def find_labels(rows: Rows) -> list[str]:
        """None: they are the vocabulary."""
        # Which no one knows before there is a tokenizer.
        return []

    @staticmethod
    def stratum(row: Row) -> str:
        # Texts without labels are not drawn in shares.
        return ""

    @staticmethod
    def content(row: Row) -> Any:
        return row["text"]

    def row(self, raw: Any) -> Row:
        """A row from a text, or from a dict of one. Raises ValueError for what is none, and for an
        empty one."""
        # A pair is none: a second text would be left out without a word.
        is_named = isinstance(raw, dict) and raw.keys() == {"text"}
        text = raw["text"] if is_named else raw
        if not isinstance(text, str):
            raise ValueError(f"a text is needed (`text` in a dict), not {kind_of(text)}")
        if not text.strip():
            raise ValueError("an empty text has no token to hide")
        return {"text": text}

    # The vocabulary.

    @cached_property
    def input(self) -> TextInput:
        return TextInput(self.preprocess)

    @property
    def padding(self) -> dict[str, int]:
        return self.input.padding

    @cached_property
    def labels(self) -> list[str]:
        """The vocabulary in order of the logits."""
        return vocabulary(self.input.tokenizer)

    @cached_property
    def special(self) -> Array:
        """(V) whether a token is a special one."""
        is_special = np.zeros(len(self.labels), bool)
        for i, token in self.input.tokenizer.get_added_tokens_decoder().items():
            is_special[i] = token.special
        return is_special

    @cached_property
    def ordinary(self) -> Array:
        """The ids of the tokens that are not special."""
        return np.flatnonzero(~self.special)

    @cached_property
    def mask_id(self) -> int:
        """The special token that is called mask. Raises ValueError where there is none."""
        special = {int(i): self.labels[i] for i in np.flatnonzero(self.special)}
        for i, token in special.items():
            # BERT's is [MASK], RoBERTa's <mask>, and others write <|mask|>.
            if token.strip("[]<>|").lower() == "mask":
                return i
        raise ValueError(
            "task: masked-lm: the model's tokenizer has no mask token such as [MASK] or <mask>; "
            f"its special tokens: {', '.join(special.values()) or 'none'}. "
            "Take an encoder that was pre-trained with one (BERT, RoBERTa, MPNet, ...)"
        )

    # Rows of the model.

    def encode(self, rows: Rows) -> list[Encoded]:
        """One Encoded for as many neighbouring rows as fit, and for each piece of a row that is too
        long."""
        encoded = []
        for group, begins in self.packed(rows):
            for encoding in (group, *group.overflowing):
                ids = np.array(encoding.ids, np.int64)
                # The row is its own seed: it is asked the same in every evaluation.
                masked = self.masked(ids, np.random.default_rng(ids))
                begins_here = begins if encoding is group else 0
                encoded.append(replace(masked, begins=begins_here))
        return encoded

    def packed(self, rows: Rows) -> Iterator[tuple[Any, int]]:
        """Encodings of neighbouring rows together, with the special tokens, and how many rows begin
        in each; one that is too long has its further pieces in `overflowing`."""
        from tokenizers import Encoding

        tokenizer = self.input.tokenizer
        max_tokens = self.input.max_tokens
        # [CLS] and [SEP] come to the texts once they are together.
        room = max_tokens - tokenizer.num_special_tokens_to_add(False)
        texts = [row["text"] for row in rows]
        row_of_piece = (number for number, text in enumerate(texts) for _ in parts(text))
        # Those that have tokens, as `neighbours` gives them back.
        filled: list[int] = []

        def noted() -> Iterator[Any]:
            for row, piece in zip(row_of_piece, self.pieces(texts), strict=True):
                if len(piece):
                    filled.append(row)
                    yield piece

        num_pieces = begun = 0
        for group in neighbours(noted(), room):
            num_pieces += len(group)
            # A text without tokens counts with the one behind it, and at the end with that before.
            is_last = num_pieces == len(filled)
            end = filled[num_pieces - 1] + 1 if not is_last else len(texts)
            yield tokenizer.post_process(Encoding.merge(group)), end - begun
            begun = end

    def pieces(self, texts: Sequence[str]) -> Iterator[Any]:
        """The encodings of texts, without special tokens; a text of megabytes in parts, because the
        whole would fill the memory."""
        if all(len(text) <= MOST_CHARACTERS for text in texts):
            yield from self.input.uncut.encode_batch(texts, add_special_tokens=False)
            return
        for text in texts:
            for part in parts(text):
                yield encoded(part, self.input.uncut)

    def masked(
        self,
        ids: Array,
        generator: np.random.Generator,
    ) -> Encoded:
        """A row (T) with its chosen tokens hidden; `ids` themselves stay as they are."""
        inputs = {"input_ids": ids.copy(), "attention_mask": np.ones_like(ids)}
        # A user's question: it is answered where it asks, and nothing else is hidden.
        asked = np.flatnonzero(ids == self.mask_id)
        if len(asked):
            unknown = np.full(len(asked), UNKNOWN, np.int64)
            return Encoded(inputs, asked, unknown)
        # 1. Which tokens: at least one, where there is one to choose.
        free = np.flatnonzero(~self.special[ids])
        count = min(len(free), max(1, round(CHOSEN * len(free))))
        chosen = np.sort(generator.permutation(free)[:count])
        # 2. What becomes of each.
        fate = generator.random(count)
        random_ids = generator.choice(self.ordinary, count)
        replaced_or_kept = np.where(fate < MASKED + REPLACED, random_ids, ids[chosen])
        inputs["input_ids"][chosen] = np.where(fate < MASKED, self.mask_id, replaced_or_kept)
        return Encoded(inputs, chosen, ids[chosen])

    def draw(
        self,
        batch: Batch,
        generator: np.random.Generator,
    ) -> Batch:
        """The batch with other tokens chosen: those that `encode` hid are first put back."""
        ids = batch.inputs["input_ids"].copy()
        row, unit = np.nonzero(batch.mask & is_known(batch.labels))
        ids[row, batch.positions[row, unit]] = batch.labels[row, unit]
        # Without the padding, which would be chosen too.
        lengths = batch.inputs["attention_mask"].sum(1)
        rows = []
        for row_ids, length in zip(ids, lengths, strict=True):
            rows.append(self.masked(row_ids[:length], generator))
        return collate(rows, batch.rows, self.padding)

    # Answers and figures.

    def reduce(
        self,
        logits: Array,
        labels: Array,
    ) -> Array:
        """(W, V) logits to (W, 2): the nats of the true token, and whether it is the most probable;
        0 without a label."""
        likelihood = LIKELIHOODS[self.likelihood]
        nats = -likelihood.log_probability(logits, labels)
        is_right = likelihood.decide(logits) == labels
        figures = np.stack([nats, is_right], 1)
        return figures * is_known(labels)[:, None]

    def decode(
        self,
        row: Row,
        logits: Array,
    ) -> Answer:
        """(W, V) logits to the most probable token of each hidden one, and its probability."""
        probabilities = softmax(logits.astype(np.float64))
        return {
            "tokens": [self.labels[i] for i in probabilities.argmax(1)],
            "probabilities": probabilities.max(1).round(6).tolist(),
        }

    def decisions(self, scored: Scored) -> Array:
        """(P) whether each token is right, which is all that `reduce` keeps of a decision."""
        return scored.logits[:, 1] > 0

    def statistics(self, scored: Scored) -> Array:
        """(N, 3): nats, right tokens and tokens, row by row; `scored` holds what `reduce` left."""
        nats, is_right = scored.logits.T
        return sums_by_row((nats, is_right, is_known(scored.labels)), scored.offsets)

    def metrics(self, totals: Array) -> Figures:
        """Totals (..., 3) to nats a token, perplexity, and the share of right tokens in [0, 1]."""
        nats, right, tokens = np.moveaxis(totals, -1, 0)
        mean = defined(nats, tokens)
        return {
            "nats_per_token": mean,
            # Of the mean over tokens, not the mean of the tokens' own: as it is defined.
            "perplexity": np.exp(mean),
            "accuracy": defined(right, tokens),
        }

    def ranked(
        self,
        scored: Scored,
        weights: Array,
    ) -> Figures:
        """None: every metric is a function of sums over rows."""
        return {}

    def details(self, scored: Scored) -> Answer:
        """None: a report by label would have the vocabulary's length."""
        return {}


def neighbours(pieces: Iterable[Any], room: int) -> Iterator[list[Any]]:
    """Neighbouring pieces together while their lengths fit into `room`; one that is longer stands
    alone, one of no length nowhere."""
    group: list[Any] = []
    for piece in pieces:
        length = sum(map(len, group)) + len(piece)
        # A group is full before the piece that does not fit; the piece begins the next one.
        if group and length > room:
            yield group
            group = []
        if len(piece):
            group.append(piece)
    if group:
        yield group
