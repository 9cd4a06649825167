"""The process: what it is asked, and how it is started and ended.

| verb | what is given | answer |
|---|---|---|
| `score` | `past`, `tokens`, `places`, `labels` | `log_probabilities`, `greedy` |
| `logits` | `past`, `tokens`, `places` | `width`, `logits`: float32 in base64 |
| `tokenize` | `text`, `special` | `tokens` |
| `generate` | `tokens`, `most` | `tokens`, `say_ms` |

Its first line comes once the model is loaded. Every answer has `taken` beside it, the process's CPU
time and memory so far, and what it refuses is `error`.
"""

import base64
import contextlib
import json
import queue
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# For an answer: a large model reads a context of 8,192 tokens in minutes.
SECONDS = 1800.0
MOST_TOLD = 2000  # characters of what it complained


class ModelProcess:
    """A model in a program, which is called `program` in messages. One question at a time."""

    def __init__(self, program: str, process: "subprocess.Popen[str]", complaints: Path) -> None:
        self.program = program
        self.process = process
        self.complaints = complaints
        # What the process has taken, as its last answer says.
        self.cpu_seconds = 0.0
        self.peak_mb = 0.0
        self.answers: queue.Queue[str] = queue.Queue()
        # A thread of its own, so that an answer that never comes can be given up.
        threading.Thread(target=self._listen, daemon=True).start()
        # The first line comes once the model is loaded: version and settings.
        self.told = self._answer()

    def _listen(self) -> None:
        """Take lines from the process, until it ends: an empty one says so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")

    def _answer(self) -> dict[str, Any]:
        """The next answer. Raises ValueError for what the program refuses, and where it
        ends."""
        try:
            line = self.answers.get(timeout=SECONDS)
        except queue.Empty:
            raise ValueError(f"{self.program} has not answered for {SECONDS:.0f} s") from None
        # It has ended: what it wrote to stderr says why, such as a tensor that is missing.
        if not line:
            text = self.complaints.read_text(encoding="utf-8", errors="replace").strip()
            told = text[-MOST_TOLD:] or "without a word"
            raise ValueError(f"{self.program} has ended: {told}")
        found = json.loads(line)
        taken = found.pop("taken")
        self.cpu_seconds = taken["cpu_ms"] / 1000
        self.peak_mb = taken["peak_mb"]
        if "error" in found:
            raise ValueError(f"{self.program}: {found['error']}")
        return found

    def ask(self, verb: str, **given: Any) -> dict[str, Any]:
        """The answer to one question."""
        assert self.process.stdin is not None
        # A process that has ended is told of by `_answer`.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"verb": verb} | given) + "\n")
            self.process.stdin.flush()
        return self._answer()

    def score(self, tokens: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Of each token but the first, its log-probability in nats after those before it, and
        which token is likeliest there: (T - 1) float64, (T - 1) int64."""
        known = list(tokens)
        places = list(range(len(known) - 1))
        return self.score_at(known[:-1], places, known[1:])

    def score_at(
        self, tokens: Sequence[int], places: Sequence[int], labels: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """What follows (T) tokens at (W) places among them: the log-probability of each place's
        label, in nats, and the likeliest token: (W) float64, (W) int64."""
        found = self.ask("score", past=0, tokens=tokens, places=places, labels=labels)
        return np.array(found["log_probabilities"]), np.array(found["greedy"], np.int64)

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """All logits (T, V) after each token; for small vocabularies."""
        return self.logits_at(list(tokens), list(range(len(tokens))))

    def logits_at(self, tokens: Sequence[int], places: Sequence[int], past: int = 0) -> np.ndarray:
        """All logits (W, V) at (W) places among tokens, float32.

        past: how many of the tokens that were read last stand before them and are kept.
        """
        found = self.ask("logits", past=past, tokens=tokens, places=places)
        content = base64.b64decode(found["logits"])
        # The worker runs on this machine, so that the order of bytes is the same.
        logits: np.ndarray = np.frombuffer(content, np.float32)
        return logits.reshape(len(places), found["width"])

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """The tokens of a text. `special`: special tokens are read as such in it."""
        return self.ask("tokenize", text=text, special=special)["tokens"]

    def generate(self, tokens: Sequence[int], most: int) -> dict[str, Any]:
        """`tokens` that greedy decoding says after a prompt, `read_ms`, `say_ms`."""
        return self.ask("generate", tokens=list(tokens), most=most)


@contextlib.contextmanager
def run(
    program: str, command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[ModelProcess]:
    """The process of a command, until the `with` block ends.

    program: what it is called in messages. environment: its variables, this process's where left
    out. Raises ValueError, with the program's own words, where it refuses the model.
    """
    with tempfile.TemporaryDirectory() as scratch:
        # A file, since a pipe that nobody reads would fill up and stop the process.
        complaints = Path(scratch) / "stderr"
        with open(complaints, "wb") as stderr:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
                text=True,
                encoding="utf-8",
            )
        try:
            yield ModelProcess(program, process, complaints)
        finally:
            # It holds nothing that must be put away.
            process.kill()
            process.communicate()
