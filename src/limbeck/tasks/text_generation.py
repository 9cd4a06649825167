"""The next token of answers in dialogues, or of plain texts. Metric: nats a token; perplexity,
which is exp(nats), bits a byte and the share of right tokens beside it.

The labels are the tokenizer's vocabulary, and a row's units are its answer tokens
(`inputs/dialogue.py`). Rows are documents, read one by one: nothing attends across two of them, and
since batches are of rows of like length, padding them costs little.

Shapes: T tokens, W answer tokens of a row, P of all rows, V the vocabulary, N rows.
"""

# As `masked_lm`, this task joins no input with a head: its labels are made from its inputs. Of a
# model's answer it keeps three numbers a token, because logits of 50,000 would fill the memory.

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from limbeck.sources import Row, place_of
from limbeck.tasks import Encoded, Scored
from limbeck.tasks.chat.conversation import conversation
from limbeck.tasks.inputs.dialogue import DialogueInput
from limbeck.tasks.inputs.token_bytes import byte_lengths
from limbeck.tasks.inputs.tokenized import kind_of, vocabulary
from limbeck.tasks.likelihood import LIKELIHOODS, is_known, softmax
from limbeck.tasks.metrics import defined, sums_by_row
from limbeck.tasks.types import Answer, Array, Figures, Names, Rows

# What an answer to "what comes next" names.
MOST_PROBABLE = 5


@dataclass(frozen=True)
class TextGeneration:
    """`data_labels`: none; `preprocess`: the text of a `dialogue.json`."""

    data_labels: Sequence[str]
    preprocess: str

    metric: ClassVar[str] = "nats_per_token"
    metric_names: ClassVar[Names] = ("nats_per_token", "perplexity", "bits_per_byte", "accuracy")
    hard_loss: ClassVar[str] = "cross_entropy"
    likelihood: ClassVar[str] = "categorical"
    auto_model: ClassVar[str] = "AutoModelForCausalLM"
    examples: ClassVar[Rows] = ()
    preprocess_file: ClassVar[str] = DialogueInput.preprocess_file
    input_names: ClassVar[Names] = DialogueInput.input_names
    # Either of two, which `find_labels` checks.
    row_keys: ClassVar[Names] = ()

    # What rows hold.

    @staticmethod
    def find_labels(rows: Rows) -> list[str]:
        """None: they are the vocabulary. Raises ValueError for a row that is neither a dialogue nor
        a text."""
        for row in rows:
            if "messages" not in row and "text" not in row:
                raise ValueError(
                    "task: text-generation: rows of messages, of a prompt and its response, or of "
                    f"texts are needed, not of {', '.join(row)}. Name the columns: data.messages, "
                    "or data.prompt and data.response"
                )
        return []

    @staticmethod
    def stratum(row: Row) -> str:
        # Dialogues without labels are not drawn in shares.
        return ""

    @staticmethod
    def content(row: Row) -> Any:
        if "messages" in row:
            return tuple((each["role"], each["content"]) for each in row["messages"])
        return row["text"]

    def row(self, raw: Any) -> Row:
        """A row whose answer is still to come: of a text, or of a dict of `messages`, `prompt` or
        `text`. Raises ValueError for what is none of these, and for an empty one."""
        if isinstance(raw, str):
            raw = {"text": raw}
        if isinstance(raw, dict) and raw.keys() == {"prompt"}:
            raw = {"messages": [{"role": "user", "content": raw["prompt"]}]}
        if isinstance(raw, dict) and raw.keys() == {"messages"}:
            return {"messages": conversation(raw["messages"]), "asked": True}
        text = raw["text"] if isinstance(raw, dict) and raw.keys() == {"text"} else None
        if not isinstance(text, str):
            raise ValueError(
                "a text is needed, or a dict of `messages` (each with role and content), of "
                f"`prompt` or of `text`; not {kind_of(raw)}"
            )
        if not text.strip():
            raise ValueError("an empty text has nothing to go on from")
        return {"text": text, "asked": True}

    # The vocabulary.

    @cached_property
    def input(self) -> DialogueInput:
        return DialogueInput(self.preprocess)

    @property
    def padding(self) -> dict[str, int]:
        return self.input.padding

    @cached_property
    def labels(self) -> list[str]:
        """The vocabulary in order of the logits."""
        return vocabulary(self.input.tokenizer)

    @cached_property
    def bytes_of_token(self) -> Array:
        """(V) how many bytes of text each token stands for; 0 for special ones."""
        return byte_lengths(self.input.tokenizer, self.labels)

    # Rows of the model.

    def encode(self, rows: Rows) -> list[Encoded]:
        """One Encoded for a dialogue, one or several for a text. Raises ValueError for a dialogue
        that the chat template refuses, or of which no answer can be read."""
        encoded: list[Encoded] = []
        for number, row in enumerate(rows, 1):
            try:
                encoded += self.input.rows_of(row)
            except ValueError as error:
                raise ValueError(f"{place_of(row, number)}: {error}") from None
        return encoded

    # Answers and figures.

    def reduce(self, logits: Array, labels: Array) -> Array:
        """(W, V) logits to (W, 3): the nats of the true token, 0 without one; the most probable
        token; the bytes that the true one stands for."""
        likelihood = LIKELIHOODS[self.likelihood]
        log_probabilities = likelihood.log_probability(logits, labels)
        return self.reduced(log_probabilities, logits.argmax(-1), labels)

    def reduced(self, log_probabilities: Array, top: Array, labels: Array) -> Array:
        """As `reduce`, by a runtime that tells the log-probability of each label and the most
        probable token, and not the logits of all: (W), (W), (W) to (W, 3)."""
        known = is_known(labels)
        nats = -log_probabilities * known
        # A model's table may be longer than the vocabulary; those of no token are 0 bytes long.
        of_label = np.where(known & (labels < len(self.bytes_of_token)), labels, 0)
        num_bytes = self.bytes_of_token[of_label] * known
        return np.stack([nats, top, num_bytes], 1).astype(np.float32)

    def decode(self, row: Row, logits: Array) -> Answer:
        """(W, V) logits to the tokens that most probably come next, at the last unit."""
        probabilities = softmax(logits[-1].astype(np.float64))
        best = np.argsort(-probabilities, kind="stable")[:MOST_PROBABLE]
        return {
            "tokens": [self.text_of(int(i)) for i in best],
            "probabilities": probabilities[best].round(6).tolist(),
        }

    def text_of(self, token: int) -> str:
        """What one token is as text."""
        return str(self.input.tokenizer.decode([token], skip_special_tokens=False))

    def decisions(self, scored: Scored) -> Array:
        """(P) the token that each model would have said."""
        return scored.logits[:, 1].astype(np.int64)

    def statistics(self, scored: Scored) -> Array:
        """(N, 4): nats, right tokens, tokens and bytes, row by row; `scored` holds what `reduce`
        left."""
        nats, top, num_bytes = scored.logits.astype(np.float64).T
        known = is_known(scored.labels)
        is_right = known & (top == scored.labels)
        return sums_by_row((nats, is_right, known, num_bytes), scored.offsets)

    def metrics(self, totals: Array) -> Figures:
        """Totals (..., 4) to nats a token, perplexity, bits a byte of text, and the share of tokens
        that the model would have said, in [0, 1]."""
        nats, right, tokens, num_bytes = np.moveaxis(totals, -1, 0)
        mean = defined(nats, tokens)
        return {
            "nats_per_token": mean,
            # Of the mean over tokens, as it is defined.
            "perplexity": np.exp(mean),
            # Other tokenizers have other tokens; bytes are everybody's.
            "bits_per_byte": defined(nats / np.log(2), num_bytes),
            "accuracy": defined(right, tokens),
        }

    def ranked(self, scored: Scored, weights: Array) -> Figures:
        """None: every metric is a function of sums over rows."""
        return {}

    def details(self, scored: Scored) -> Answer:
        """None: a report by label would have the vocabulary's length."""
        return {}
