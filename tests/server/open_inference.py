"""Requests of the Open Inference Protocol as their senders write them, and open artifacts of every task whose graph is numpy."""

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from limbeck.artifact import manifest
from limbeck.artifact.predictor import Predictor
from limbeck.core import registry
from limbeck.evaluation.decisions.decision import Decision
from limbeck.server.v2.infer import infer
from limbeck.server.v2.interface import Interface
from limbeck.server.v2.outputs import response_of
from limbeck.server.v2.request import parse
from limbeck.server.v2.response import encode
from limbeck.tasks import Task

Json = dict[str, Any]
DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


@dataclass
class Limits:
    body_bytes: int = 100_000
    rows: int = 64
    text_characters: int = 50_000


LIMITS = Limits()


def bytes_of(elements: Sequence[bytes]) -> bytes:
    """Elements of BYTES as the binary extension has them."""
    return b"".join(struct.pack("<I", len(each)) + each for each in elements)


def tensor(
    name: str, datatype: str, shape: Sequence[int], data: Any = None, **parameters: Any
) -> Json:
    """An input of JSON, or, without data, of the binary extension."""
    told: Json = {"name": name, "datatype": datatype, "shape": list(shape)}
    if data is not None:
        told["data"] = data
    return told | ({"parameters": parameters} if parameters else {})


def body_of(*inputs: Json, **keys: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **keys}).encode()


def binary_body(inputs: Sequence[tuple[Json, bytes]], **keys: Any) -> tuple[bytes, int]:
    """(body, bytes of JSON) of binary inputs, which are told how long they are."""
    told = [each | {"parameters": {"binary_data_size": len(content)}} for each, content in inputs]
    header = json.dumps({"inputs": told, **keys}).encode()
    return header + b"".join(content for _, content in inputs), len(header)


def texts(*values: str, name: str = "text") -> Json:
    return tensor(name, "BYTES", [len(values)], list(values))


def decoded(body: bytes, header_length: int | None) -> dict[str, np.ndarray]:
    """The outputs of a response by name, by the protocol's text alone; of BYTES an array of bytes."""
    told = json.loads(body[:header_length])
    rest = body[header_length:] if header_length else b""
    arrays = {}
    for output in told["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            flat = output["data"]
            if output["datatype"] == "BYTES":
                flat = [each.encode() for each in flat]
        else:
            content, rest = rest[:size], rest[size:]
            assert len(content) == size
            flat = (
                elements_of(content)
                if output["datatype"] == "BYTES"
                else np.frombuffer(content, DTYPES[output["datatype"]])
            )
        dtype = object if output["datatype"] == "BYTES" else DTYPES[output["datatype"]]
        arrays[output["name"]] = np.array(flat, dtype).reshape(output["shape"])
    assert not rest
    return arrays


def elements_of(content: bytes) -> list[bytes]:
    elements = []
    while content:
        (length,) = struct.unpack("<I", content[:4])
        elements.append(content[4 : 4 + length])
        assert len(elements[-1]) == length
        content = content[4 + length :]
    return elements


def finished(steps: Iterator[Any]) -> tuple[Any, int]:
    """(what the last step gives, how many there were), of which the others give nothing."""
    *others, result = steps
    assert others == [None] * len(others)
    return result, len(others) + 1


def ask(
    interface: Interface, body: bytes, header_length: int | None = None
) -> dict[str, np.ndarray]:
    """The outputs that a body is answered with."""
    request = parse(body, header_length, LIMITS)
    answered, steps = finished(infer(request, interface))
    assert steps == len(answered.logits)
    return decoded(*encode(response_of(request, answered, "model", "1")))


def opened(task: Task, folder: Path, fitted: Decision | None = None, recipe: str = "") -> Predictor:
    """An open artifact of a task, whose graph sums random rows of a table, or pixels."""
    folder.mkdir()
    name = next(
        each for each in registry.names("tasks") if registry.load("tasks", each) is type(task)
    )
    examples = example_inputs(task)
    tensors = {}
    for key, value in examples.items():
        is_image = value.dtype == np.float32
        tensors[f"shape.{key}" if is_image else f"input.{key}"] = (
            np.array(value.shape) if is_image else value
        )
    save_file(tensors, folder / "golden.safetensors")
    for file, text in (
        ("labels.json", json.dumps(list(task.labels))),
        (task.preprocess_file, task.preprocess),
        ("model.npy", ""),
    ):
        (folder / file).write_text(text, encoding="utf-8")
    if recipe:
        (folder / "recipe.yaml").write_text(recipe)
    manifest.write(folder, name, manifest.graphs_of({"table": "model.npy"}))
    return Predictor(task, graph_of(task), "table", folder, fitted)


def example_inputs(task: Task) -> dict[str, np.ndarray]:
    if "pixel_values" in task.input_names:
        settings = json.loads(task.preprocess)
        shape = (2, settings["channels"], settings["height"], settings["width"])
        return {"pixel_values": np.zeros(shape, np.float32)}
    return {name: np.ones((2, 5), np.int64) for name in task.input_names}


def graph_of(task: Task) -> Any:
    generator = np.random.default_rng(3)
    has_vectors = task.auto_model == "AutoModel"
    width = 4 if has_vectors else max(1, len(task.labels))
    if "pixel_values" in task.input_names:
        weights = generator.normal(size=(example_inputs(task)["pixel_values"][0].size, width))
        return lambda inputs: linear(inputs["pixel_values"], weights)
    table = generator.normal(size=(64, width))
    is_by_token = "label" not in task.row_keys

    def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
        by_token = table[inputs["input_ids"]] * inputs["attention_mask"][..., None]
        if is_by_token:
            return by_token.astype(np.float32)
        summed = by_token.sum(1)
        if has_vectors:
            summed /= np.linalg.norm(summed, axis=-1, keepdims=True)
        return summed.astype(np.float32)

    return run


def linear(pixels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Logits of images, without a word of what overflows, as graphs are."""
    with np.errstate(all="ignore"):
        return (pixels.reshape(len(pixels), -1) @ weights).astype(np.float32)
