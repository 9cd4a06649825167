"""The products of attention against whole numbers, and a model through the attention interface of `transformers`."""

import copy
from pathlib import Path
from typing import Any

import integer_reference as reference
import numpy as np
import pytest
import torch
from torch import nn

from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.exporters.onnx_kernels import check_kernels, optimized_ops
from limbeck.models.anatomy.attention import Products, attend
from limbeck.models.weights import model_state, restore_state
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.modules import attention
from limbeck.quantization.modules.attention import quantized_products
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.quantization.ranges.minmax import Minmax
from limbeck.recipe.model import Quantize

B, H, T, D = 2, 3, 5, 4
Inputs = dict[str, torch.Tensor]


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def factors(heads: int = H) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        random(B, H, T, D, seed=0),
        random(B, heads, T, D, seed=1) + 0.3,
        random(B, heads, T, D, seed=2) - 0.2,
    )


def padded() -> torch.Tensor:
    """(B, 1, 1, T) 0, and the lowest float32 at the second row's last tokens."""
    mask = torch.zeros(B, 1, 1, T)
    mask[1, ..., 3:] = torch.finfo(torch.float32).min
    return mask


def fitted(*given: torch.Tensor, mask: torch.Tensor | None = None) -> Products:
    products = quantized_products(Minmax).eval()
    for quantizer in products.children():
        quantizer.begin()
    products(*given, mask, scaling=0.5, dropout=0.0)
    for quantizer in products.children():
        quantizer.finish()
    return products


def codes(x: np.ndarray, quantizer: FakeQuantizer) -> tuple[np.ndarray, int, np.float64]:
    """(int64 codes, zero point, scale)."""
    zero, scale = int(quantizer.zero_point.item()), quantizer.scale.numpy()[0]
    return (
        reference.input_codes(x.astype(np.float32), scale, zero).astype(np.int64),
        zero,
        np.float64(scale),
    )


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whole numbers, one by one."""
    out = np.zeros((len(a), b.shape[1]), np.int64)
    for i in range(len(a)):
        for j in range(b.shape[1]):
            out[i, j] = sum(int(x) * int(y) for x, y in zip(a[i], b[:, j], strict=True))
    return out


def expected(
    products: Products,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
) -> np.ndarray:
    out = np.zeros((B, T, H, D))
    for b in range(B):
        for h in range(H):
            (q, q_zero, q_scale) = codes(0.5 * query[b, h].numpy(), products.query)
            (k, k_zero, k_scale) = codes(key[b, h].numpy(), products.key)
            (v, v_zero, v_scale) = codes(value[b, h].numpy(), products.value)
            scores = product(q - q_zero, (k - k_zero).T) * q_scale * k_scale + mask[
                b, 0
            ].numpy().astype(np.float64)
            shifted = np.exp(scores - scores.max(-1, keepdims=True))
            p, p_zero, p_scale = codes(
                shifted / shifted.sum(-1, keepdims=True), products.probabilities
            )
            assert p_zero == 0
            out[b, :, h] = product(p, v - v_zero) * p_scale * v_scale
    return out


def test_both_products_are_whole_numbers() -> None:
    given = factors()
    products = fitted(*given, mask=padded())
    found, probabilities = products(*given, padded(), scaling=0.5, dropout=0.0)
    np.testing.assert_allclose(
        found.detach().numpy(), expected(products, *given, padded()), atol=1e-5
    )
    assert (probabilities[1, ..., 3:] == 0).all()


def test_probabilities_have_a_fixed_scale_that_no_gradient_and_no_batch_moves() -> None:
    products = fitted(*factors())
    assert products.probabilities.scale.item() == pytest.approx(1 / 255, rel=1e-6)
    assert products.probabilities.zero_point.item() == 0
    assert not products.probabilities.log_scale.requires_grad
    grid = torch.arange(256) / 255
    assert torch.allclose(products.probabilities(grid), grid, atol=1e-6)


def test_the_mask_reaches_no_range() -> None:
    for masked, plain in zip(
        fitted(*factors(), mask=padded()).children(), fitted(*factors()).children(), strict=True
    ):
        assert masked.scale == plain.scale


def test_heads_may_share_keys_and_values() -> None:
    query, key, value = factors(heads=1)
    shared, repeated = (
        fitted(query, key, value),
        fitted(query, key.expand(-1, H, -1, -1), value.expand(-1, H, -1, -1)),
    )
    assert torch.equal(
        shared(query, key, value, None, scaling=0.5, dropout=0.0)[0],
        repeated(
            query,
            key.expand(-1, H, -1, -1),
            value.expand(-1, H, -1, -1),
            None,
            scaling=0.5,
            dropout=0.0,
        )[0],
    )


# A whole model.


def bert(**keys: Any) -> nn.Module:
    from transformers import BertConfig, BertForTokenClassification

    config = BertConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_position_embeddings=64,
        num_labels=3, attn_implementation="eager", initializer_range=0.3, **keys,
    )  # fmt: skip
    torch.manual_seed(0)
    return BertForTokenClassification(config).eval()


def tokens(rows: int, length: int, seed: int = 0) -> Inputs:
    ids = torch.randint(0, 40, (rows, length), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    mask[1:, length - length // 3 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def logits(model: nn.Module, inputs: Inputs) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs).logits


def prepared(range_name: str = "minmax", build: Any = bert) -> nn.Module:
    model = build()
    forward = lambda m: m(**tokens(4, 13))  # noqa: E731
    prepare_model(
        model, plan_schemes(model, Quantize(attention="uint8"), "uint8"), range_name, forward
    )
    attention.attach(model, range_name, forward)
    return model


def calibrated(range_name: str = "minmax") -> nn.Module:
    model = prepared(range_name)
    calibrate(model, [lambda m: m(**tokens(4, 13))])
    return model


def test_a_prepared_model_is_the_float_model() -> None:
    torch.testing.assert_close(
        logits(prepared(), tokens(3, 9)), logits(bert(), tokens(3, 9)), atol=1e-5, rtol=1e-4
    )


def test_every_attention_module_gets_its_products_once() -> None:
    model = prepared()
    attention.attach(model, "minmax", lambda m: m(**tokens(2, 5)))
    names = [name for name, module in model.named_modules() if isinstance(module, Products)]
    assert names == [f"bert.encoder.layer.{i}.attention.self.products" for i in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("range_name", ["lsq", "mse"])
def test_the_converted_model_and_its_graph_are_the_fake_quantized_one(
    tmp_path: Path, range_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In ONNX Runtime both products of every layer are integer kernels."""
    model = calibrated(range_name)
    converted = convert_model(model)
    assert not any(isinstance(module, FakeQuantizer) for module in converted.modules())
    onnx = registry.create("exporters", "onnx")
    path = tmp_path / onnx.export(converted, tokens(3, 9), tmp_path)["onnxruntime"]
    run = open_graph(path, "onnxruntime", 1)
    for rows, length in ((4, 13), (1, 7), (6, 21)):
        wanted = logits(model, tokens(rows, length, seed=5))
        assert (logits(converted, tokens(rows, length, seed=5)) - wanted).abs().max() <= 1e-4
        found = torch.from_numpy(
            run({name: tensor.numpy() for name, tensor in tokens(rows, length, seed=5).items()})
        )
        assert (found - wanted).square().mean().sqrt() <= 0.01 * wanted.square().mean().sqrt()
    ops = optimized_ops(path)
    with capsys.disabled():
        print("", dict(sorted(ops.items())))
    assert (
        sum(ops[name] for name in ("MatMulIntegerToFloat", "QLinearMatMul", "MatMulInteger"))
        == 2 * 6 + 1 + 2 * 2
    )
    assert not {"MatMul", "FusedMatMul", "Gemm"} & set(ops)
    check_kernels(converted, path)
    assert (
        logits(model, tokens(4, 13)) - logits(bert(), tokens(4, 13))
    ).abs().max() > 1e-4  # it does quantize


def test_a_training_step_reaches_the_scales_through_dropout() -> None:
    model = calibrated("lsq").train()
    model(**tokens(4, 13)).logits.square().sum().backward()
    for module in model.modules():
        if isinstance(module, Products):
            for quantizer in (module.query, module.key, module.value):
                assert quantizer.log_scale.grad.abs().item() > 0
    convert_model(model)


def test_state_and_restore_make_the_same_model() -> None:
    model = calibrated("lsq")
    tensors = {name: tensor.clone() for name, tensor in model_state(model).items()}
    fresh = prepared("lsq")
    restore_state(fresh, tensors)
    assert torch.equal(logits(fresh, tokens(4, 13)), logits(model, tokens(4, 13)))
    assert torch.equal(logits(copy.deepcopy(model), tokens(4, 13)), logits(model, tokens(4, 13)))


# What cannot be reached.


def test_a_model_without_the_interface_is_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match=r"the attention of `Linear` does not go through the attention interface"
    ):
        attention.attach(nn.Linear(2, 2), "minmax", lambda m: m(torch.zeros(1, 2)))


def test_a_transformers_model_with_products_of_its_own_is_refused_by_name() -> None:
    from transformers import MPNetConfig, MPNetForTokenClassification

    config = MPNetConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
    )
    with pytest.raises(
        ValueError, match=r"the attention of `MPNetForTokenClassification` does not go through"
    ):
        attention.attach(MPNetForTokenClassification(config), "minmax", lambda m: m(**tokens(2, 5)))


def test_scores_with_another_term_are_refused() -> None:
    module = nn.Linear(1, 1)
    module.add_module("products", quantized_products(Minmax))
    with pytest.raises(ValueError, match=r"`Linear` adds `softcap` to its products"):
        attend(module, *factors(), None, softcap=30.0)


def test_a_module_that_was_never_seen_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"a `Linear` runs now that did not run on the first batch"
    ):
        attend(nn.Linear(1, 1), *factors(), None)
