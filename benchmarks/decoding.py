"""Tokens a CPU second of one artifact of text generation, greedy, on one thread, side by side.

    python benchmarks/decoding.py ARTIFACT [--folder FOLDER] [--tokens N] [--rounds N]

ARTIFACT has an ONNX graph (`export: [onnx, ...]`); with `gguf` beside it llama.cpp takes part, and with
FOLDER, of transformers, its float32 model. Each subject is a process of its own that is open all the
while; they answer in turns, and the order is turned about every round. What counts is the CPU time of
the process and of all that it runs (llama.cpp's is told by itself). Every subject reads the same prompt
of 64 random tokens first, whose time is told apart, and then says N tokens (64), whatever they are.

- `limbeck`: our loop (`artifact.generation`), with choosing and text.
- `graph`: the same graph by `OnnxDecoder` alone: the difference from `limbeck` is our loop.
- `genai`: onnxruntime-genai on the same folder, where it is installed.
- `openvino`: our loop over the model of `openvino_genai`, where that was exported.
- `openvino genai`: OpenVINO's own `LLMPipeline` on it, where that is installed.
- `llama.cpp`: node-llama-cpp on model.gguf, greedy inside llama.cpp.
- `transformers`: float32, with a cache.

Machines that do something else meanwhile give other figures: run it on a quiet one.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

OPENVINO_FILE = "openvino_model.xml"
# Tokens of the prompt.
PROMPT = 64
# (prompt, tokens) -> CPU seconds of reading the prompt, and of saying the tokens.
Say = Callable[[list[int], int], tuple[float, float]]


def measured_steps(
    read: Callable[[], Any], step: Callable[[], Any], tokens: int
) -> tuple[float, float]:
    """CPU seconds of reading and of all steps."""
    began = time.process_time()
    read()
    between = time.process_time()
    for _ in range(tokens):
        step()
    return between - began, time.process_time() - between


def limbeck_loop(artifact: Path) -> Say:
    import limbeck
    from limbeck.artifact.generation.answering import Asked
    from limbeck.artifact.generation.text_model import text_model_of

    writer = text_model_of(limbeck.load(artifact, runtime="onnxruntime"))
    assert writer is not None

    def say(prompt: list[int], tokens: int) -> tuple[float, float]:
        # No end token: every subject says as many. The first token follows from the prompt alone.
        pieces = writer.answer(prompt, Asked(max_tokens=tokens + 1))
        said = (piece for piece in pieces if piece.token is not None)
        return measured_steps(lambda: next(said), lambda: next(said), tokens)

    return say


def bare_graph(artifact: Path) -> Say:
    from limbeck.artifact.generation.onnx_decoder import OnnxDecoder

    told = json.loads((artifact / "genai_config.json").read_text())
    return said_by(OnnxDecoder(artifact / "model.onnx", told["model"]["context_length"]))


def openvino(artifact: Path) -> Say:
    from limbeck.artifact.generation.openvino_decoder import OpenvinoDecoder

    return said_by(OpenvinoDecoder(artifact / OPENVINO_FILE))


def said_by(decoder: Any) -> Say:
    """What a decoder of ours says, without choosing and text."""

    def say(prompt: list[int], tokens: int) -> tuple[float, float]:
        cache = decoder.cache(len(prompt) + tokens)
        last = np.array(prompt[-1:], np.int64)

        def step() -> None:
            last[0] = decoder.logits(last, cache)[-1].argmax()

        def read() -> None:
            last[0] = decoder.logits(np.array(prompt, np.int64), cache)[-1].argmax()

        return measured_steps(read, step, tokens)

    return say


def onnxruntime_genai(artifact: Path) -> Say:
    genai: Any = importlib.import_module("onnxruntime_genai")
    config = genai.Config(str(artifact))
    options = {"intra_op_num_threads": 1, "inter_op_num_threads": 1}
    told = {"model": {"decoder": {"session_options": options}}}
    config.overlay(json.dumps(told))
    model = genai.Model(config)

    def say(prompt: list[int], tokens: int) -> tuple[float, float]:
        settings = genai.GeneratorParams(model)
        length = len(prompt) + tokens + 1
        # No answer ends before it has so many tokens.
        settings.set_search_options(max_length=length, min_length=length, do_sample=False)
        generator = genai.Generator(model, settings)

        def read() -> None:
            generator.append_tokens(np.array(prompt, np.int32))
            generator.generate_next_token()

        return measured_steps(read, generator.generate_next_token, tokens)

    return say


def openvino_genai(artifact: Path) -> Say:
    genai: Any = importlib.import_module("openvino_genai")
    tensor: Any = importlib.import_module("openvino").Tensor
    scheduler = genai.SchedulerConfig()
    # A prompt that is asked a second time is read a second time.
    scheduler.enable_prefix_caching = False
    pipeline = genai.LLMPipeline(
        str(artifact),
        "CPU",
        INFERENCE_PRECISION_HINT="f32",
        KV_CACHE_PRECISION="f32",
        INFERENCE_NUM_THREADS=1,
        scheduler_config=scheduler,
    )

    def generate(prompt: list[int], tokens: int) -> float:
        asked = genai.GenerationConfig()
        asked.max_new_tokens, asked.do_sample, asked.ignore_eos = tokens, False, True
        began = time.process_time()
        pipeline.generate(tensor(np.array([prompt], np.int64)), asked)
        return time.process_time() - began

    def say(prompt: list[int], tokens: int) -> tuple[float, float]:
        # The prompt is read twice, and counted once.
        reading = generate(prompt, 1)
        return reading, generate(prompt, tokens + 1) - reading

    return say


def llama_cpp(artifact: Path) -> Say:
    from limbeck.artifact.llama_cpp.graph import open_file

    # Held by what it gives: the process ends with the graph.
    graph = open_file(artifact / "model.gguf", 1)

    def say(prompt: list[int], tokens: int) -> tuple[float, float]:
        model = graph.model
        # One token first: its answer tells what was taken up to here.
        before = model.cpu_seconds
        model.generate(prompt, 1)
        between = model.cpu_seconds
        said = len(model.generate(prompt, tokens + 1)["tokens"])
        # The prompt was read once more; an end token may have come early.
        reading = between - before
        rest = model.cpu_seconds - between - reading
        return reading, rest * tokens / max(1, said - 1)

    return say


def transformers_float(folder: Path) -> Say:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    model: Any = (
        AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False).float().eval()
    )

    def say(prompt: list[int], tokens: int) -> tuple[float, float]:
        state: dict[str, Any] = {"ids": torch.tensor([prompt]), "cache": None}

        def step() -> None:
            with torch.no_grad():
                answer = model(
                    input_ids=state["ids"], past_key_values=state["cache"], use_cache=True
                )
            state["ids"] = answer.logits[:, -1:].argmax(-1)
            state["cache"] = answer.past_key_values

        return measured_steps(step, step, tokens)

    return say


SUBJECTS: dict[str, Callable[[Path], Say]] = {
    "limbeck": limbeck_loop,
    "graph": bare_graph,
    "genai": onnxruntime_genai,
    "openvino": openvino,
    "openvino genai": openvino_genai,
    "llama.cpp": llama_cpp,
    "transformers": transformers_float,
}


def serve(name: str, path: Path) -> None:
    """A subject's process: a line in, [prompt, tokens]; a line out, the two times."""
    say = SUBJECTS[name](path)
    print("ready", flush=True)
    for line in sys.stdin:
        prompt, tokens = json.loads(line)
        print(json.dumps(say(prompt, tokens)), flush=True)


def vocabulary_of(artifact: Path) -> int:
    """How many ids the model knows."""
    told = json.loads((artifact / "genai_config.json").read_text())
    return int(told["model"]["vocab_size"])


def chosen(artifact: Path, folder: Path | None) -> dict[str, Path]:
    """The subjects that can take part, with what each opens."""
    found = {"limbeck": artifact, "graph": artifact}
    if importlib.util.find_spec("onnxruntime_genai"):
        found["genai"] = artifact
    if (artifact / OPENVINO_FILE).is_file():
        found["openvino"] = artifact
        if importlib.util.find_spec("openvino_genai"):
            found["openvino genai"] = artifact
    if (artifact / "model.gguf").is_file():
        found["llama.cpp"] = artifact
    if folder is not None:
        found["transformers"] = folder
    return found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve")
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve, asked.artifact)
        return
    # 1. All are open before any is measured.
    processes = {}
    for name, path in chosen(asked.artifact, asked.folder).items():
        command = [sys.executable, __file__, str(path), "--serve", name]
        process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)
        assert process.stdin and process.stdout
        if process.stdout.readline().strip() != "ready":
            sys.exit(f"{name}: it does not open {path}")
        processes[name] = process
    # 2. In turns; the first answer fills caches and is left out.
    generator = np.random.default_rng(0)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in processes}
    order = list(processes)
    for number in range(asked.rounds + 1):
        prompt = generator.integers(3, vocabulary_of(asked.artifact), PROMPT).tolist()
        for name in order:
            process = processes[name]
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps([prompt, asked.tokens]) + "\n")
            process.stdin.flush()
            taken = json.loads(process.stdout.readline())
            if number:
                times[name].append(taken)
        order.reverse()
    for process in processes.values():
        assert process.stdin
        process.stdin.close()
        process.wait()
    # 3. Medians over rounds.
    print(f"{'':14} {'tokens a CPU s':>15} {'ms a token':>11} {'prompt tokens a CPU s':>22}")
    for name, rows in times.items():
        reading, saying = np.median(np.array(rows), axis=0)
        print(
            f"{name:14} {asked.tokens / saying:15.1f} {1000 * saying / asked.tokens:11.3f} "
            f"{PROMPT / reading:22.1f}"
        )


if __name__ == "__main__":
    main()
