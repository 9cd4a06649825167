"""A decoder in OpenVINO on the CPU: models as `exporters.openvino_genai` writes them.

Keys and values are a state within a request: each conversation has a request of its own. That
activations are not rounded stands in the file, and OpenVINO reads it there.

Shapes: B rows, T tokens, V vocabulary.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.generation import Ids, Logits, check_capacity, check_ids, check_room
from limbeck.artifact.runtimes import text_by_text

# Where the file says how many tokens the model reads at most.
POSITIONS = ("limbeck", "positions")


@dataclass
class Cache:
    """A conversation. `length`: how many tokens it has read."""

    capacity: int
    request: Any
    length: int = 0


class OpenvinoDecoder:
    """A model with a state that was opened.

    Args:
        path: of its `.xml`.
        threads: of the CPU.

    Raises ValueError for a file that is no such model.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        import openvino

        settings = {
            # A CPU with bfloat16 would compute in it, and a toy's logits be .1 off.
            "INFERENCE_PRECISION_HINT": "f32",
            # By itself it keeps keys and values in eight bits.
            "KV_CACHE_PRECISION": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        core = openvino.Core()
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(f"{path}: OpenVINO does not open it: {reason}") from None
        if not model.has_rt_info([*POSITIONS]):
            raise ValueError(f"{path}: a model that `openvino_genai` in `export` wrote is needed")
        self.positions = int(model.get_rt_info([*POSITIONS]).astype(str))
        self.compiled = core.compile_model(model, "CPU", settings)
        shape = self.compiled.outputs[0].partial_shape
        self.vocabulary: int = shape[2].get_length()

    def __call__(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """(B, T, V) logits of rows that may be padded at their ends, where they are 0."""
        return text_by_text(lambda ids: self.logits(ids, self.cache(len(ids))), inputs)

    def cache(self, capacity: int) -> Cache:
        """An empty cache. Raises ValueError for more tokens than the model reads."""
        check_capacity(capacity, self.positions)
        return Cache(capacity, self.compiled.create_infer_request())

    def logits(self, ids: Ids, cache: Cache) -> Logits:
        """(T) ids to (T, V) logits. Raises ValueError where they do not fit into the cache."""
        check_room(len(ids), cache.length, cache.capacity)
        check_ids(ids, self.vocabulary)
        total = cache.length + len(ids)
        read = {
            "input_ids": ids[None].astype(np.int64),
            "attention_mask": np.ones((1, total), np.int64),
            "position_ids": np.arange(cache.length, total, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        logits = cache.request.infer(read)[self.compiled.outputs[0]]
        cache.length = total
        # The request writes its next answer over this memory.
        return logits[0].copy()
