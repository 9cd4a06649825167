"""A program that opens a folder with plain transformers and answers about it, and imports nothing
of limbeck: it shows what everybody gets from the folder.

`python folder_worker.py FOLDER THREADS`: a JSON object a line in, one a line out, as
`artifact.model_process` says.
"""

import base64
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

# What models of transformers call keys and values, the second until version 5.24.
CACHES = ("cache", "past_key_values")


class Folder:
    """A model and its tokenizer, opened as the model card of any model says."""

    def __init__(self, path: str) -> None:
        import transformers

        self.tokenizer = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            path, trust_remote_code=False
        ).eval()
        names = inspect.signature(self.model.forward).parameters
        self.cache_name = next(name for name in CACHES if name in names)
        # Keys and values of what was read last, and of how many tokens.
        self.cache: Any = None
        self.num_read = 0

    def read(self, given: Mapping[str, Any]) -> torch.Tensor:
        """(W, V) logits at places of the tokens that follow the first `past` that were read."""
        beyond = self.num_read - given["past"]
        if not given["past"]:
            self.cache = None
        elif beyond:
            # Below 0: how many are forgotten.
            self.cache.crop(-beyond)
        inputs: dict[str, Any] = {
            "input_ids": torch.tensor([given["tokens"]]),
            "logits_to_keep": torch.tensor(given["places"]),
            "use_cache": True,
            self.cache_name: self.cache,
        }
        found = self.model(**inputs)
        self.cache = found[self.cache_name]
        self.num_read = given["past"] + len(given["tokens"])
        logits: torch.Tensor = found.logits[0]
        return logits

    def score(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Of each place the log-probability of its label, and the likeliest token."""
        logits = self.read(given)
        labels = torch.tensor(given["labels"])[:, None]
        # The sum of 150,000 exponentials is no float32's.
        found = logits.log_softmax(-1, dtype=torch.float64).gather(1, labels)[:, 0]
        return {"log_probabilities": found.tolist(), "greedy": logits.argmax(-1).tolist()}

    def logits(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All logits of each place, one row behind the other."""
        logits = self.read(given).float()
        content = base64.b64encode(logits.numpy().tobytes()).decode()
        return {"width": logits.shape[1], "logits": content}

    def tokenize(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The tokens of a text."""
        self.tokenizer.split_special_tokens = not given["special"]
        ids = self.tokenizer.encode(given["text"], add_special_tokens=False)
        return {"tokens": ids}

    def generate(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What `generate` says after a prompt, greedily, and how long it took in all."""
        prompt = torch.tensor([given["tokens"]])
        began = time.perf_counter()
        whole = self.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=given["most"],
        )
        taken = time.perf_counter() - began
        said = whole[0, prompt.shape[1] :].tolist()
        return {"tokens": said, "say_ms": 1000 * taken}


def taken() -> dict[str, float]:
    """CPU time and memory of this process so far."""
    cpu_ms = 1000 * time.process_time()
    # Windows does not tell it this way.
    if sys.platform == "win32":
        return {"cpu_ms": cpu_ms, "peak_mb": 0.0}
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    # Linux counts kilobytes, macOS bytes.
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return {"cpu_ms": cpu_ms, "peak_mb": used.ru_maxrss / unit}


def main(path: str, threads: str) -> None:
    """Answer until the input ends."""
    # 1. Standard output is for answers alone: what libraries print goes to standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(content: Mapping[str, Any]) -> None:
        answers.write(json.dumps({**content, "taken": taken()}) + "\n")
        answers.flush()

    # 2. The folder. What it lacks ends the process, with transformers' own words.
    torch.set_num_threads(int(threads))
    torch.set_grad_enabled(False)
    folder = Folder(path)
    reply({"ready": True})
    # 3. Questions.
    verbs: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
        "score": folder.score,
        "logits": folder.logits,
        "tokenize": folder.tokenize,
        "generate": folder.generate,
    }
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            reply(verbs[asked["verb"]](asked))
        except (ValueError, RuntimeError, IndexError) as error:
            reply({"error": str(error)})


if __name__ == "__main__":
    main(*sys.argv[1:])
