"""A model in a process of its own as a graph of an artifact, asked for logits.

All logits of a place cost a process more than the place itself (28 ms of 49,152 words, where a
model in llama.cpp takes 14): only those that are asked for are handed over, and of a token's label
no more than its log-probability.

Shapes: B rows, T tokens, W places, V vocabulary.
"""

import contextlib
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np

from limbeck.artifact.generation import Ids, Logits, check_room
from limbeck.artifact.model_process.process import ModelProcess
from limbeck.artifact.runtimes import text_by_text
from limbeck.core.system import outside

# Tokens of the first context. One of all that a model reads may take gigabytes, so it grows.
FIRST_CONTEXT = 512

# How many tokens a process must hold at once -> the process.
Start = Callable[[int], AbstractContextManager[ModelProcess]]


@dataclass
class Cache:
    """What a conversation has read. Keys and values lie in the process, of one conversation."""

    capacity: int
    ids: list[int] = field(default_factory=list)


class ProcessGraph:
    """A model that was opened. Several threads may ask; they are answered one by one.

    name: of its file, for messages. positions: how many tokens the model reads. first_context: how
        many the first process holds.

    Raises ValueError for a model that the program refuses.
    """

    def __init__(
        self, name: str, start: Start, positions: int, first_context: int = FIRST_CONTEXT
    ) -> None:
        self.name = name
        self.start = start
        self.positions = positions
        self.lock = threading.Lock()
        self.running = contextlib.ExitStack()
        # Nobody closes a graph: the process ends with it, or with Python.
        weakref.finalize(self, self.running.close)
        # What the process has read last.
        self.read_ids: list[int] = []
        self.context = 0
        # Of processes that were replaced.
        self.spent_seconds = 0.0
        self.model: ModelProcess = self._started(min(first_context, self.positions))
        outside.watch(self)

    @property
    def cpu_seconds(self) -> float:
        """CPU time that the program has taken."""
        return self.spent_seconds + self.model.cpu_seconds

    @property
    def peak_mb(self) -> float:
        """The most memory that the program has held."""
        return self.model.peak_mb

    def __call__(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """(B, T, V) logits of rows that may be padded at their ends, where they are 0."""
        return text_by_text(lambda ids: self.logits_at(ids, np.arange(len(ids))), inputs)

    def logits_at(self, ids: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(W, V) logits at some places of (T) ids."""
        with self.lock:
            model = self._model_for(len(ids))
            self.read_ids = []
            return model.logits_at(ids.tolist(), places.tolist())

    def scores_at(
        self, ids: np.ndarray, places: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """At some places of (T) ids the log-probability of each one's label, in nats, and the
        likeliest token: (W) float64, (W) int64."""
        with self.lock:
            model = self._model_for(len(ids))
            self.read_ids = []
            return model.score_at(ids.tolist(), places.tolist(), labels.tolist())

    # A decoder with a cache (`artifact.generation`).

    def cache(self, capacity: int) -> Cache:
        """An empty cache. Raises ValueError for more tokens than the model reads."""
        self._check(capacity)
        return Cache(capacity)

    def logits(self, ids: Ids, cache: Cache) -> Logits:
        """(T) ids after those of the cache to (1, V) logits of what follows the last of them.

        Where another conversation was read meanwhile, all of this one is read again.
        """
        earlier = len(cache.ids)
        check_room(len(ids), earlier, cache.capacity)
        cache.ids += ids.tolist()
        with self.lock:
            model = self._model_for(cache.capacity)
            past = earlier if self.read_ids == cache.ids[:earlier] else 0
            new = cache.ids[past:]
            logits = model.logits_at(new, [len(new) - 1], past)
            self.read_ids = list(cache.ids)
        return logits

    # The process.

    def _check(self, length: int) -> None:
        """Raise ValueError for more tokens than the model reads."""
        if not 0 < length <= self.positions:
            raise ValueError(
                f"{self.name}: {length:,} tokens, and the model reads 1 to "
                f"{self.positions:,}. Shorten the text"
            )

    def _model_for(self, length: int) -> ModelProcess:
        """The process with a context of at least so many tokens."""
        self._check(length)
        if length > self.context:
            # Twice as much: a conversation that grows token by token starts few processes.
            self.spent_seconds += self.model.cpu_seconds
            self.model = self._started(min(2 * length, self.positions))
        return self.model

    def _started(self, context: int) -> ModelProcess:
        """A new process in place of the one that runs."""
        self.running.close()
        self.read_ids = []
        model = self.running.enter_context(self.start(context))
        self.context = context
        return model
