"""Toy decoders with trained-looking integers, as artifacts of text generation in a second."""

from pathlib import Path
from typing import Any

import gguf_toys as toys
import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from limbeck.exporters import writing
from limbeck.models.preprocessing import preprocess
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.modules import kv_cache
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize
from limbeck.tasks.text_generation import TextGeneration

RECIPE = "task: text-generation\ndata: {source: text, path: data}\nstudent: {model: toy}\n"
ROWS = [{"text": text} for text in toys.TEXTS]


def trained(folder: Path, weights: str = "int8", **keys: Any) -> nn.Module:
    """The fake-quantized model of a folder, with ranges that were fitted to random tokens."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    settings: dict[str, Any] = {"weights": weights, "group": 32, "scale": "float16"}
    asked = Quantize(**settings | keys)
    schemes = plan_schemes(model, asked, str(keys.get("activations", "float")))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, toys.VOCABULARY, (3, 11), generator=generator)

    def forward(each: nn.Module) -> Any:
        return each(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)

    prepare_model(model, schemes, "mse", forward)
    if asked.kv_cache == "int8":
        kv_cache.attach(model, forward)
    calibrate(model, [forward])
    return model.eval()


def task_of(folder: Path, max_tokens: int = 48) -> TextGeneration:
    """The task with the tokenizer of a folder."""
    return TextGeneration([], preprocess(str(folder), TextGeneration, [], max_tokens))


def write_artifact(model: nn.Module, task: TextGeneration, names: list[str], folder: Path) -> Path:
    """An artifact of a model, by the exporters of these names."""
    content = writing.Artifact(model, task, "text-generation", RECIPE, names)
    writing.write(content, task.encode(ROWS), folder)
    return folder


def logits_of(model: nn.Module, ids: list[int]) -> np.ndarray:
    """(T, V) of one text, by torch."""
    read = torch.tensor([ids])
    with torch.no_grad():
        answer = model(input_ids=read, attention_mask=torch.ones_like(read), use_cache=False)
    logits: np.ndarray = answer.logits[0].float().numpy()
    return logits
