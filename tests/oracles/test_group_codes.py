"""Weights in groups with fp16 scales: against the blocks of ggml, enumeration, and the plain model that reads them back."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from limbeck.core.grids import GRIDS, Grid
from limbeck.quantization import half_scales
from limbeck.quantization.after_training import calibrate, quantize_after_training
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.equalizers._basis import scales_by_weight, sites
from limbeck.quantization.group_codes import GroupCodes, group_codes
from limbeck.quantization.modules.fake import FakeQuantizer, by_token
from limbeck.quantization.modules.key_values import Int8Cache
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model, quantization_components
from limbeck.quantization.ranges.lsq import Lsq
from limbeck.quantization.ranges.minmax import Minmax
from limbeck.quantization.ranges.mse import Mse
from limbeck.quantization.roundings.gptq import Gptq
from limbeck.recipe.model import Quantize, Recipe, Scheme

KEYS: dict[str, Any] = {
    "when": "after",
    "weights": "int4",
    "group": 32,
    "scale": "float16",
    "activations": "float",
    "range": "mse",
    "rounding": "nearest",
    "equalize": {},
}
SHAPE = {
    "vocab_size": 50,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}
IDS = torch.randint(0, 50, (3, 11), generator=torch.Generator().manual_seed(0))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def llama(*, tied: bool = True, **keys: Any) -> LlamaForCausalLM:
    """A small one whose weights and norms are far from those of a fresh model."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE | keys, tie_word_embeddings=tied)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.rand_like(parameter) * 2)
            else:
                parameter.mul_(4)
    return model


def logits(model: Any, ids: torch.Tensor = IDS) -> torch.Tensor:
    return model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits


def prepared(model: nn.Module, **keys: Any) -> tuple[Quantize, Any, dict[str, Any]]:
    asked = Quantize(**KEYS | keys)
    schemes = plan_schemes(model, asked, asked.activations or "float")
    components = quantization_components(asked)
    flow = prepare_model(model, schemes, asked.range_name, logits, **components)
    return asked, flow, components


@torch.no_grad()
def quantized(model: nn.Module, **keys: Any) -> nn.Module:
    _, flow, components = prepared(model, **keys)
    quantize_after_training(model, flow, [logits], **components)
    return model.eval()


def others(model: nn.Module) -> dict[str, torch.Tensor]:
    """What no quantizer holds: the weights of norms."""
    return {name: value for name, value in model.state_dict().items() if "norm" in name}


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"weights": "int8"},
        {"weights": "int3", "rounding": "adaround"},
        {"weights": "int2", "rounding": "gptq", "act_order": False},
        {"equalize": {"awq": {"steps": 4}}, "rounding": "gptq"},
    ],
    ids=str,
)
def test_the_plain_model_with_the_values_of_the_codes_answers_to_the_bit(
    keys: dict[str, Any],
) -> None:
    """In training form, converted, and in a model of transformers that knows nothing of codes, with the norms as AWQ left them."""
    model = quantized(llama(), **keys)
    codes = group_codes(model)
    assert "model.embed_tokens.weight" in codes
    assert "lm_head.weight" not in codes
    assert len(codes) == 1 + 2 * 7
    grid = GRIDS[keys.get("weights", "int4")]
    for name, each in codes.items():
        assert each.scales.dtype == np.float16
        assert (each.codes.shape[1], each.group) == (each.scales.shape[1] * 32, 32)
        assert (each.codes.min() >= grid.low) and (each.codes.max() <= grid.high)
        assert each.bits == int(keys.get("weights", "int4")[3:])
        weight = model.get_submodule(name.removesuffix(".weight")).rounded_weight()
        assert np.array_equal(each.values(), weight.detach().numpy())
    converted = convert_model(model)
    for name, each in group_codes(converted).items():
        assert np.array_equal(each.codes, codes[name].codes)
        assert np.array_equal(each.scales, codes[name].scales)
    plain = llama()
    values = {name: torch.from_numpy(each.values()) for name, each in codes.items()}
    left = plain.load_state_dict(values | others(model), strict=False)
    assert (left.missing_keys, left.unexpected_keys) == (["lm_head.weight"], [])
    with torch.no_grad():
        assert torch.equal(logits(plain), logits(model))
        torch.testing.assert_close(logits(converted), logits(model), rtol=1e-6, atol=1e-6)


def q4_0(each: GroupCodes) -> NDArray[np.uint8]:
    """Bytes of ggml's blocks: fp16 scale, then nibbles, the first half of the 32 in the low ones."""
    codes = (each.codes.reshape(-1, 2, 16) + 8).astype(np.uint8)
    nibbles = codes[:, 0] | codes[:, 1] << 4
    scales = each.scales.reshape(-1, 1).view(np.uint8)
    return np.concatenate([scales, nibbles], 1).reshape(len(each.codes), -1)


def q8_0(each: GroupCodes) -> NDArray[np.uint8]:
    codes = each.codes.reshape(-1, 32).view(np.uint8)
    scales = each.scales.reshape(-1, 1).view(np.uint8)
    return np.concatenate([scales, codes], 1).reshape(len(each.codes), -1)


@pytest.mark.parametrize(("weights", "blocks"), [("int4", q4_0), ("int8", q8_0)])
def test_ggml_reads_the_same_values_and_rounds_no_better(weights: str, blocks: Any) -> None:
    """Its own library reads the blocks made of the codes to the bit; its own quantizer errs no less."""
    quants = pytest.importorskip("gguf.quants")
    kind = pytest.importorskip("gguf").GGMLQuantizationType
    form = kind.Q4_0 if weights == "int4" else kind.Q8_0
    model = llama()
    floats = {name: value.detach().numpy().copy() for name, value in model.named_parameters()}
    for name, each in group_codes(quantized(model, weights=weights)).items():
        assert np.array_equal(quants.dequantize(blocks(each), form), each.values())
        theirs = quants.dequantize(quants.quantize(floats[name], form), form)
        bound = ((theirs - floats[name]) ** 2).mean()
        assert ((each.values() - floats[name]) ** 2).mean() <= bound * 1.001


def test_a_row_without_weights_and_the_smallest_and_largest_scales_stay_fp16() -> None:
    quantizer = FakeQuantizer(GRIDS["int4"], Minmax, 4)
    quantizer.keep_half()
    x = torch.tensor([[0.0, 0.0], [1e-12, -1e-12], [1e9, 1.0], [-3.0, 1.0]])
    quantizer.begin()
    quantizer(x)
    quantizer.finish()
    expected = [half_scales.SMALLEST, -half_scales.SMALLEST, -half_scales.LARGEST, 0.375]
    # Of two ends as far out the sign stays.
    expected[1] = half_scales.SMALLEST
    assert quantizer.scale.tolist() == expected
    assert torch.equal(quantizer.scale.half().float(), quantizer.scale)
    assert quantizer(x).isfinite().all()
    assert quantizer(x)[3].tolist() == [-3.0, 1.125]


@pytest.mark.parametrize("name", ["int4", "int3", "int2"])
def test_the_sign_comes_near_the_best_scale_of_all(name: str) -> None:
    """Enumerated over both signs; without the sign the error is far from it."""
    grid = GRIDS[name]
    rows = normal(60, 32)
    tried = torch.linspace(0.02, 1.2, 400) * rows.abs().amax(1, keepdim=True) / -grid.low
    candidates = torch.cat([tried, -tried], 1).unsqueeze(-1)
    steps = rows.unsqueeze(1) / candidates
    errors = steps.round().clamp(grid.low, grid.high) * candidates - rows.unsqueeze(1)
    best = errors.square().mean(-1).amin(1).mean()
    found = []
    for is_half in (True, False):
        quantizer = FakeQuantizer(grid, Mse, len(rows))
        if is_half:
            quantizer.keep_half()
        quantizer.begin()
        quantizer(rows)
        quantizer.finish()
        found.append((quantizer(rows) - rows).square().mean())
    assert found[0] <= 1.04 * best
    assert found[1] >= 1.1 * best


def test_a_learned_scale_is_an_fp16_number_in_every_step_and_its_gradient_is_that_without() -> None:
    rows = normal(6, 32)
    half, exact = FakeQuantizer(GRIDS["int4"], Lsq, 6), FakeQuantizer(GRIDS["int4"], Lsq, 6)
    half.keep_half()
    turned = rows * half_scales.signs(rows, GRIDS["int4"]).unsqueeze(1)
    for quantizer, values in ((half, rows), (exact, turned)):
        quantizer.begin()
        quantizer(values)
        quantizer.finish()
    # From the same scale, an fp16 number, both are one function of values that are turned.
    with torch.no_grad():
        half.log_scale.copy_(half.scale.abs().log())
        exact.log_scale.copy_(half.log_scale)
    upstream = normal(6, 32, seed=1)
    half(rows).backward(upstream)
    exact(turned).backward(upstream * half.sign.unsqueeze(1))  # type: ignore[union-attr]
    torch.testing.assert_close(half.log_scale.grad, exact.log_scale.grad, rtol=1e-3, atol=1e-5)
    optimizer = torch.optim.Adam([half.log_scale], 1e-3)
    before = half.scale.clone()
    for _ in range(20):
        optimizer.zero_grad()
        rounded = half(rows)
        (rounded - rows).square().sum().backward()
        optimizer.step()
        assert torch.equal(half.scale.half().float(), half.scale)
        assert torch.equal(half.codes(rows) * half.scale.unsqueeze(1), half(rows))
    assert not torch.equal(half.scale, before)
    assert torch.equal(half.scale.sign(), before.sign())


def test_both_readers_of_one_table_are_trained_on_one_set_of_codes() -> None:
    """In a joint training: ids and products meet the same values, and both move one scale."""
    model = llama()
    prepared(model, when="train", range="lsq", equalize={})
    calibrate(model, [logits])
    model.train()
    table, head = model.model.embed_tokens, model.lm_head
    ids = torch.arange(50)
    assert torch.equal(table(ids), head.rounded_weight())
    assert table.quantizer is head.quantizer
    logits(model).square().mean().backward()
    assert head.quantizer.log_scale.grad.abs().amin() > 0
    with torch.no_grad():
        head.quantizer.log_scale.sub_(0.1)
    assert torch.equal(table(ids), head.rounded_weight())
    with torch.no_grad():
        assert torch.equal(
            torch.from_numpy(group_codes(model)["model.embed_tokens.weight"].values()), table(ids)
        )


@pytest.mark.parametrize("act_order", [True, False])
def test_gptq_with_signed_scales_is_that_of_turned_levels(act_order: bool) -> None:
    """A group whose scale is below 0 is one whose grid reaches from -7 to 8: every column by itself, in float64."""
    grid, weight = GRIDS["int4"], normal(5, 8)
    x = normal(60, 2, seed=1) @ normal(2, 8, seed=2) + 0.4 * normal(60, 8, seed=3)
    sign = torch.tensor([[1.0, -1.0]]).expand(5, 2)
    scale = weight.view(5, 2, 4).abs().amax(-1) / 7 * sign
    columns = scale.repeat_interleave(4, 1).double().numpy()
    hessian = 2 * (x.double().T @ x.double()).numpy()
    order = np.argsort(-np.diag(hessian), kind="stable") if act_order else np.arange(8)
    hessian += 0.01 * np.diag(hessian).mean() * np.eye(8)
    left, rest = list(order), weight.double().numpy().copy()
    expected = np.zeros_like(rest)
    while left:
        first, inverse = left[0], np.linalg.inv(hessian[np.ix_(left, left)])
        steps = np.arange(grid.low, grid.high + 1) * columns[:, first, None]
        nearest = np.abs(steps - rest[:, first, None]).argmin(1)
        expected[:, first] = steps[np.arange(5), nearest]
        rest[:, left] -= np.outer((rest[:, first] - expected[:, first]) / inverse[0, 0], inverse[0])
        left.pop(0)
    solved = Gptq(act_order).solve(weight, scale, grid, x)
    plain = (weight / torch.tensor(columns).float()).round().clamp(grid.low, grid.high)
    plain = plain * torch.tensor(columns).float()
    for row in range(5):
        rows = torch.tensor(expected[row]).float(), plain[row]
        errors = [((x @ (each - weight[row])) ** 2).sum() for each in rows]
        torch.testing.assert_close(solved[row], rows[int(errors[1] <= errors[0])])
    assert not torch.equal(solved, plain)


def test_awq_scales_what_norms_and_the_gated_product_hold_and_nothing_else() -> None:
    model = llama()
    _, flow, _ = prepared(model, equalize={"awq": {}})
    makers = {
        "/".join(name.split(".")[-1] for name in s.layers): s.maker for s in sites(model, flow)
    }
    assert set(makers) == {"q_proj/k_proj/v_proj", "gate_proj/up_proj", "down_proj"}
    last = model.model.layers[1]
    assert makers["q_proj/k_proj/v_proj"] is last.input_layernorm
    assert makers["gate_proj/up_proj"] is last.post_attention_layernorm
    assert makers["down_proj"] is last.mlp.up_proj
    with torch.no_grad():
        before = logits(model)
        weights = {name: value.clone() for name, value in model.named_parameters()}
        for index, site in enumerate(sites(model, flow)):
            width = site.first.weight.shape[1]
            site.rescale("awq", normal(width, seed=index).exp())
        torch.testing.assert_close(logits(model), before, rtol=1e-3, atol=1e-3)
    moved = {
        name for name, value in model.named_parameters() if not torch.equal(value, weights[name])
    }
    assert not any(
        "o_proj" in name or "embed" in name or name == "model.norm.weight" for name in moved
    )
    assert sum("norm" in name for name in moved) == 4


def test_what_can_hold_a_scale_is_found_by_experiment() -> None:
    gemma = GemmaForCausalLM(GemmaConfig(**SHAPE, head_dim=16))
    assert scales_by_weight(llama().model.norm)
    assert scales_by_weight(nn.LayerNorm(8))
    assert scales_by_weight(nn.RMSNorm(8))
    assert not scales_by_weight(gemma.model.norm)
    assert not scales_by_weight(nn.PReLU(8))
    assert not scales_by_weight(nn.BatchNorm1d(8))
    assert not scales_by_weight(nn.Linear(8, 8))
    assert not scales_by_weight(nn.LayerNorm(8, elementwise_affine=False))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([8, 16, 32]), st.booleans())
def test_a_token_is_rounded_by_itself_and_by_half_a_step_at_most(
    seed: int, group: int, is_half: bool
) -> None:
    x = normal(2, 5, 32, seed=seed) * 10
    x[0, 0] = 0
    found = by_token(x, group, is_half=is_half)
    assert torch.equal(found[:, 2:3], by_token(x[:, 2:3], group, is_half=is_half))
    largest = x.unflatten(-1, (-1, group)).abs().amax(-1, keepdim=True)
    error = (found - x).unflatten(-1, (-1, group)).abs()
    # An fp16 scale moves 127 steps by 2^-11 of themselves.
    share = 0.5 / 127 + (2**-11 if is_half else 0)
    assert (error <= share * largest * 1.0001).all()
    assert torch.equal(found[0, 0], x[0, 0])
    x.requires_grad_()
    by_token(x, group, is_half=is_half).sum().backward()
    assert (x.grad == 1).all()


def test_dynamic_activations_are_the_blocks_that_llama_cpp_makes_of_them() -> None:
    quants = pytest.importorskip("gguf.quants")
    form = pytest.importorskip("gguf").GGMLQuantizationType.Q8_0
    x = normal(40, 64)
    theirs = torch.from_numpy(quants.dequantize(quants.quantize(x.numpy(), form), form))
    found = by_token(x, 32, is_half=True)
    # x * (1 / d) there and x / d here fall to either side of an edge now and then.
    assert (found == theirs).float().mean() > 0.999
    model = quantized(llama(), activations="int8-dynamic")
    layer = model.model.layers[0].mlp.down_proj
    assert layer.token_group == 32
    y = normal(2, 3, 96)
    expected = by_token(y, 32, is_half=False) @ layer.rounded_weight().T
    torch.testing.assert_close(layer(y), expected)
    with torch.no_grad():
        torch.testing.assert_close(logits(convert_model(model)), logits(model))
        together, alone = logits(model), logits(model, IDS[1:2])
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-4)


def test_without_groups_a_token_is_one_group() -> None:
    model = quantized(llama(), activations="int8-dynamic", group=None)
    assert model.model.layers[0].mlp.down_proj.token_group == 96
    (head,) = {each.group for name, each in group_codes(model).items() if "down" in name}
    assert head == 96


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"group": 64},
            r"`model\.layers\.0\.mlp\.down_proj`: 96 weights a channel are not whole groups of 64\. Fitting: 8, 16, 24, 32",
        ),
        (
            {"equalize": {"hadamard": {}}},
            r"hadamard: `model\.layers\.0\.self_attn\.q_proj` has scales of float16",
        ),
        (
            {"modules": {"lm_head": Scheme(weights="int8", group=32, activations="float")}},
            r"`lm_head` and `model\.embed_tokens` share one weight, .* cannot be int8, 32, float32 for one and int4, 32, float16",
        ),
    ],
)
def test_what_no_file_of_groups_holds_is_refused_by_name(
    keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        prepared(llama(), **keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"scale": "float32"},
        {"weights": "fp8-e4m3", "rounding": "nearest"},
        {"weights": "binary"},
    ],
    ids=str,
)
def test_other_scales_and_levels_have_no_group_codes(keys: dict[str, Any]) -> None:
    model = quantized(llama(), **keys)
    for form in (model, convert_model(model)):
        with pytest.raises(
            ValueError, match=r"`model\.embed_tokens`: files of text generation hold"
        ):
            group_codes(form)


def test_a_float_model_and_a_basis_have_none_either() -> None:
    with pytest.raises(ValueError, match=r"no weight of the model is quantized.*scale: float16"):
        group_codes(llama())
    model = quantized(llama(), scale="float32", equalize={"awq": {"steps": 1}})
    for form in (model, convert_model(model)):
        with pytest.raises(
            ValueError, match=r"self_attn\.o_proj` reads what `awq`|embed_tokens`: files"
        ):
            group_codes(form)


def test_a_convolution_has_no_fp16_scales() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3))
    with pytest.raises(ValueError, match=r"`0` is of the type Conv2d; scales of float16 are"):
        plan_schemes(model, Quantize(weights="int8", scale="float16"), "uint8")
    with pytest.raises(ValueError, match=r"`0` is a convolution; .* not int8-dynamic"):
        plan_schemes(model, Quantize(weights="int8"), "int8-dynamic")


def test_a_grid_of_equal_ends_has_no_sign() -> None:
    def turned(grid: Grid) -> bool:
        return bool((half_scales.signs(torch.tensor([[-1.0, 2.0]]), grid) < 0).any())

    assert [name for name, grid in GRIDS.items() if turned(grid)] == ["int4", "int3", "int2"]


@pytest.mark.parametrize("group", [None, 8])
@torch.no_grad()
def test_a_cache_of_int8_is_read_as_it_is_kept_whether_tokens_come_at_once_or_one_by_one(
    group: int | None,
) -> None:
    model = llama()
    # Its name until transformers 5.24, and from then on.
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    at_once = model(input_ids=IDS, **{name: Int8Cache(group)}).logits
    cache = Int8Cache(group)
    steps = [model(input_ids=IDS[:, i : i + 1], **{name: cache}).logits for i in range(11)]
    torch.testing.assert_close(torch.cat(steps, 1), at_once, rtol=1e-3, atol=1e-2)
    kept = cache.layers[1].keys
    assert torch.equal(by_token(kept, group or 16, is_half=True), kept)
    exact = logits(model)
    error = (at_once - exact).norm() / exact.norm()
    assert 0 < error < 0.02
    with pytest.raises(ValueError, match=r"heads are 16 wide, which are not whole groups of 32"):
        model(input_ids=IDS, **{name: Int8Cache(32)})


RECIPE = {
    "task": "text-generation",
    "data": {"source": "jsonl", "path": "."},
    "student": {"model": "folder"},
}


def test_a_recipe_that_generates_text_has_the_integers_of_its_runtimes() -> None:
    quantize = {
        "weights": "int4",
        "modules": {"lm_head": {"weights": "int8"}, "*.0.*": {"weights": "float"}},
    }
    found = Recipe.model_validate(RECIPE | {"quantize": quantize}).quantize
    assert found is not None
    assert (found.group, found.scale, found.activations) == (32, "float16", "float")
    head = found.modules["lm_head"]
    assert (head.weights, head.group, head.scale, head.activations) == (
        "int8",
        32,
        "float16",
        "float",
    )
    assert found.modules["*.0.*"].scale == "float32"
    said = {"group": None, "scale": "float32", "activations": "uint8-dynamic"}
    found = Recipe.model_validate(RECIPE | {"quantize": said}).quantize
    assert found is not None
    assert (found.group, found.scale, found.activations) == (None, "float32", "uint8-dynamic")


def test_conv1d_of_gpt2_is_a_linear_layer_whose_weight_lies_turned() -> None:
    """The float model answers the same once it is prepared, and the plain one with the turned values of the codes to the bit."""

    def gpt2() -> GPT2LMHeadModel:
        torch.manual_seed(0)
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=50,
                n_embd=32,
                n_layer=2,
                n_head=4,
                n_positions=32,
                bos_token_id=None,
                eos_token_id=None,
            )
        ).eval()

    model = gpt2()
    with torch.no_grad():
        before = logits(model)
        prepared(model)
        torch.testing.assert_close(logits(model), before)
    model = quantized(gpt2(), equalize={"awq": {"steps": 3}}, rounding="gptq")
    codes = group_codes(model)
    turned = {name for name, each in codes.items() if "c_" in name}
    assert len(turned) == 2 * 4
    assert codes["transformer.h.1.attn.c_attn.weight"].codes.shape == (96, 32)
    values = {}
    for name, each in codes.items():
        value = torch.from_numpy(each.values())
        values[name] = value.t() if name in turned else value
    rest = {
        name: value
        for name, value in model.state_dict().items()
        if "ln_" in name or name.endswith("bias")
    }
    plain = gpt2()
    left = plain.load_state_dict(values | rest, strict=False)
    assert left.missing_keys == ["lm_head.weight"]
    with torch.no_grad():
        torch.testing.assert_close(logits(plain), logits(model), rtol=1e-5, atol=1e-5)
    with pytest.raises(
        ValueError,
        match=r"`transformer\.h\.0\.attn\.c_attn`: 32 weights a channel are not whole groups of 48",
    ):
        prepared(gpt2(), group=48, keep_float=["transformer.w?e", "lm_head"])
