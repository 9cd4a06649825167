"""A decoder in ONNX Runtime on the CPU: graphs as `exporters.onnx_decoder` writes them.

The cache is a buffer that lies still: the graph reads earlier keys and values from it and writes
new ones behind them (`past` and `present` are one piece of memory, as GroupQueryAttention allows).
With a tensor that grows, every token would copy all those before it. Keys and values are float32,
or codes of int8 with fp16 scales: the graph's inputs say which.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.generation import Ids, Logits, check_capacity, check_ids, check_room
from limbeck.artifact.runtimes import CACHE_TYPES

PAST = "past_key_values."
PRESENT = "present."
# What the first layer keeps, in float and in int8.
FIRST = (f"{PAST}0.key", f"{PAST}0.codes")


@dataclass
class Cache:
    """The keys and values of a conversation. `length`: how many tokens are in it."""

    capacity: int
    binding: Any
    # The buffers that are bound: ONNX Runtime does not keep them alive by itself.
    buffers: list[Any] = field(default_factory=list)
    length: int = 0


class OnnxDecoder:
    """A graph with a cache that was opened.

    Args:
        path: of the graph.
        threads: of the CPU.
        positions: tokens that the model reads at most.

    Raises ValueError for a file that is no decoder's graph.
    """

    def __init__(self, path: Path, positions: int, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # As every graph of an artifact (`runtimes.onnxruntime`).
        options.inter_op_num_threads = 1
        # It would keep a plan of its memory for every length that it has seen.
        options.enable_mem_pattern = False
        options.log_severity_level = 3  # errors only
        # A thread that spins for the next token takes the core from the tokens of others.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        state = onnxruntime.capi.onnxruntime_pybind11_state
        self.refusals = (state.Fail, state.InvalidArgument, state.RuntimeException)
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except (*self.refusals, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile) as why:
            reason = str(why).splitlines()[0]
            raise ValueError(f"{path}: ONNX Runtime does not open it: {reason}") from None
        self.inputs = {each.name: each for each in self.session.get_inputs()}
        if "input_ids" not in self.inputs or not any(first in self.inputs for first in FIRST):
            names = ", ".join(list(self.inputs)[:8])
            raise ValueError(
                f"{path}: a graph with inputs `input_ids` and `{FIRST[0]}`, or `{FIRST[1]}`, is "
                f"needed, and this one has {names}"
            )
        self.positions = positions
        self.vocabulary = self.session.get_outputs()[0].shape[-1]

    def cache(self, capacity: int) -> Cache:
        """An empty cache. Raises ValueError for more tokens than the model reads."""
        from onnxruntime import OrtValue

        check_capacity(capacity, self.positions)
        cache = Cache(capacity, self.session.io_binding())
        for name, argument in self.inputs.items():
            if name.startswith(PAST):
                _, heads, _, width = argument.shape
                # Taken from the system once it is written to: long answers are rare.
                zeros = np.zeros((1, heads, capacity, width), CACHE_TYPES[argument.type])
                buffer = OrtValue.ortvalue_from_numpy(zeros)
                cache.buffers.append(buffer)
                cache.binding.bind_ortvalue_input(name, buffer)
                present = name.replace(PAST, PRESENT)
                cache.binding.bind_ortvalue_output(present, buffer)
        return cache

    def logits(self, ids: Ids, cache: Cache) -> Logits:
        """(T) ids to (T, V) logits. Raises ValueError where they do not fit into the cache."""
        check_room(len(ids), cache.length, cache.capacity)
        check_ids(ids, self.vocabulary)
        total = cache.length + len(ids)
        binding = cache.binding
        binding.bind_cpu_input("input_ids", np.ascontiguousarray(ids[None], np.int64))
        binding.bind_cpu_input("attention_mask", np.ones((1, total), np.int64))
        if "position_ids" in self.inputs:
            places = np.arange(cache.length, total, dtype=np.int64)
            binding.bind_cpu_input("position_ids", places[None])
        # Anew, since the number of its rows differs from call to call.
        binding.bind_output("logits", "cpu")
        try:
            self.session.run_with_iobinding(binding)
        except (*self.refusals, RuntimeError) as error:
            # Bound calls raise Python's own class.
            reason = str(error).splitlines()[0]
            raise ValueError(f"ONNX Runtime cannot run this input: {reason}") from None
        cache.length = total
        # In the order in which they were bound: the logits were bound last.
        return binding.get_outputs()[-1].numpy()[0]


def has_cache(path: Path) -> bool:
    """Whether a file is a graph that keeps what it has read: by its inputs' names, which stand in
    it as they are."""
    if path.suffix != ".onnx":
        return False
    content = path.read_bytes()
    return any(first.encode() in content for first in FIRST)
