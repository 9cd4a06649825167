"""Activations of int8 in a graph with a cache: the runtime rounds what integers meet as the trained model does."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_decoder_graph import model_of

from limbeck.artifact.generation.onnx_decoder import OnnxDecoder
from limbeck.exporters.decoder_folder import activations_of
from limbeck.exporters.onnx_decoder import export_decoder
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.group_codes import group_codes
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model, quantization_components
from limbeck.recipe.model import Quantize, Recipe

IDS = torch.tensor([[5, 77, 200, 3, 9, 120, 44, 45, 46, 200, 1, 2]])


def logits(model: Any) -> np.ndarray:
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits[0].numpy()


def quantized(family: str, weights: str, activations: str, **keys: Any) -> Any:
    model = model_of(family)
    asked = Quantize.model_validate(
        {
            "weights": weights,
            "group": 32,
            "scale": "float16",
            "activations": activations,
            "range": "every_step",
            **keys,
        }
    )
    forward = partial(type(model).forward, input_ids=IDS, use_cache=False)
    schemes = plan_schemes(model, asked, activations)
    prepare_model(model, schemes, "every_step", forward, **quantization_components(asked))
    calibrate(model, [forward])
    return model.eval()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_the_graph_rounds_what_it_multiplies_as_the_model_does(
    family: str, weights: str, tmp_path: Path
) -> None:
    model = quantized(family, weights, "int8-dynamic")
    expected = logits(model)
    beside_float = logits(quantized(family, weights, "float"))
    rounding = np.abs(expected - beside_float).max()
    # Otherwise there were nothing to tell apart.
    assert rounding > 1e-3
    converted = convert_model(copy.deepcopy(model))
    export_decoder(converted, tmp_path, group_codes(converted), activations_of(converted))
    decoder = OnnxDecoder(tmp_path / "model.onnx", 48)
    at_once = decoder.logits(IDS[0].numpy(), decoder.cache(20))
    # A token after another, as it is answered.
    cache = decoder.cache(20)
    steps = [decoder.logits(IDS[0, i : i + 1].numpy(), cache) for i in range(IDS.shape[1])]
    for found in (at_once, np.concatenate(steps)):
        away = np.abs(found - expected)
        # Sums in another order put a value that lies between two codes on the other side of the edge
        # on some CPU: a code then, and not all of them.
        assert np.median(away) < 1e-6
        assert away.max() < rounding / 10


def test_a_graph_has_one_kind_of_activations() -> None:
    both = {"*mlp*": {"weights": "int8", "group": 32, "scale": "float16", "activations": "float"}}
    model = convert_model(quantized("llama", "int8", "int8-dynamic", modules=both))
    with pytest.raises(ValueError, match=r"int8-dynamic activations and .* float ones"):
        activations_of(model)
    assert activations_of(model_of("llama")) == "float"


RECIPE: dict[str, Any] = {
    "task": "text-generation",
    "data": {"source": "jsonl", "path": "x"},
    "student": {"model": "y"},
}


def test_a_recipe_may_ask_for_it_and_not_for_two_kinds() -> None:
    from limbeck.recipe.validate import _mistakes_of_groups

    def mistakes(**quantize: Any) -> list[str]:
        recipe = Recipe.model_validate(RECIPE | {"quantize": {"weights": "int4", **quantize}})
        assert recipe.quantize
        return [str(each.path) for each in _mistakes_of_groups(recipe.task, recipe.quantize)]

    assert mistakes() == [] and mistakes(activations="int8-dynamic") == []
    assert mistakes(activations="uint8") == ["['quantize', 'activations']"]
    modules = {"*mlp*": {"weights": "int8", "activations": "float"}}
    assert len(mistakes(activations="int8-dynamic", modules=modules)) == 1
    assert mistakes(modules=modules) == []
    kept = {"*mlp*": {"weights": "float", "activations": "float"}}
    assert mistakes(activations="int8-dynamic", modules=kept) == []
