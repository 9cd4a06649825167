"""A language model of numpy for tests of what lies around one, and its tokenizer of bytes."""

from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

END = 256
TEXT = "Grüße, 你好! "


def byte_tokenizer() -> Tokenizer:
    """A token for each byte, two merges, and one special token that ends an answer."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {each: i for i, each in enumerate(alphabet)}
    merges = [("t", "h"), ("th", "e")]
    vocabulary |= {"<end>": END, "th": END + 1, "the": END + 2}
    made = Tokenizer(models.BPE(vocabulary, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<end>"])
    return made


@dataclass
class ToyCache:
    capacity: int
    ids: list[int]


class ToyDecoder:
    """Its logits are a fixed function of the last two tokens and of how many there are; with
    `script`, of the prompt's end alone: it says these tokens."""

    def __init__(self, positions: int = 64, script: list[int] | None = None) -> None:
        self.positions = positions
        self.script = script
        self.table = np.random.default_rng(0).normal(0, 3, (3, 259, 259)).astype(np.float32)
        self.reads: list[int] = []

    def cache(self, capacity: int) -> ToyCache:
        assert 0 < capacity <= self.positions
        return ToyCache(capacity, [])

    def logits(self, ids: np.ndarray, cache: ToyCache) -> np.ndarray:
        self.reads.append(len(ids))
        rows = []
        for each in ids.tolist():
            cache.ids.append(each)
            before = cache.ids[-2] if len(cache.ids) > 1 else 0
            rows.append(
                self.table[0][each] + self.table[1][before] + self.table[2][len(cache.ids) % 259]
            )
        assert len(cache.ids) <= cache.capacity
        logits = np.stack(rows)
        if self.script is not None:
            said = sum(1 for each in self.reads[1:]) if len(self.reads) > 1 else 0
            logits[-1] = 0
            logits[-1, self.script[min(said, len(self.script) - 1)]] = 9
        return logits
