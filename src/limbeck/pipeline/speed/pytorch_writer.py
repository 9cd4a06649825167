"""The process that writes answers with a float model in PyTorch (`artifact.speed.writing`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from limbeck.artifact.generation import Decoder
from limbeck.artifact.speed.writing import serve
from limbeck.core.system import memory
from limbeck.models.folders import load_model
from limbeck.tasks.text_generation import TextGeneration
from limbeck.training.decoding import decoder_of


def open_model(subject: Mapping[str, Any]) -> tuple[Decoder, Any]:
    """The model of the folder `model`, with one thread, and its tokenizer."""
    # As a training does, without which PyTorch takes a tenth longer.
    memory.keep_freed_memory()
    torch.set_num_threads(1)
    task = TextGeneration([], subject["preprocess"])
    model = load_model(Path(subject["model"]), task)
    return decoder_of(model, task), task.input.tokenizer


if __name__ == "__main__":
    serve(open_model)
