"""Packing and rounding of compressed-tensors in numpy, against the package itself."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("compressed_tensors")

from compressed_tensors.compressors.pack_quantized.helpers import (  # noqa: E402
    pack_to_int32,
    unpack_from_int32,
)
from compressed_tensors.quantization import QuantizationArgs  # noqa: E402
from compressed_tensors.quantization import QuantizationConfig as Config  # noqa: E402
from compressed_tensors.quantization.lifecycle.forward import fake_quantize  # noqa: E402
from compressed_tensors.quantization.utils import compute_dynamic_scales_and_zp  # noqa: E402

from limbeck.artifact.compressed_tensors import packing  # noqa: E402
from limbeck.artifact.compressed_tensors.folder import (  # noqa: E402
    Stored,
    quantization_config,
    stored,
)
from limbeck.artifact.compressed_tensors.rounding import rounded  # noqa: E402
from limbeck.artifact.group_codes import GroupCodes  # noqa: E402


# Widths that fill words, and that leave some bits of the last one.
@pytest.mark.parametrize("width", [1, 5, 31, 32, 33, 96])
@pytest.mark.parametrize("bits", range(1, 9))
def test_words_are_those_of_the_package(bits: int, width: int, monkeypatch: Any) -> None:
    # Rows in several parts.
    monkeypatch.setattr(packing, "ROWS", 3)
    lowest = -(1 << (bits - 1))
    codes = np.random.default_rng(bits).integers(lowest, -lowest, (7, width)).astype(np.int8)
    codes[0, 0] = lowest
    words = packing.pack(codes, bits)
    assert words.dtype == np.int32 and words.shape == (7, packing.words_of(width, bits))
    np.testing.assert_array_equal(words, pack_to_int32(torch.from_numpy(codes), bits).numpy())
    np.testing.assert_array_equal(packing.unpack(words, bits, width), codes)
    theirs = unpack_from_int32(torch.from_numpy(words), bits, torch.Size(codes.shape))
    np.testing.assert_array_equal(theirs.numpy(), codes)


def test_activations_are_rounded_as_the_package_does() -> None:
    x = np.random.default_rng(0).normal(0, 3, (5, 96)).astype(np.float32)
    # A group of zeros, a lone value, values of one size, and tiny ones.
    x[0, :32] = 0
    x[1, :32] = 0
    x[1, 7] = -2.5
    x[2, :32] = 1.5
    x[3] *= 1e-30
    told = Stored(bits=8, group=32, width=96, is_packed=False, rounds=True).scheme()
    args = QuantizationArgs(**told["input_activations"])
    given = torch.from_numpy(x)[None]
    scale, zero_point = compute_dynamic_scales_and_zp(given, args, torch.nn.Identity())
    expected = fake_quantize(given, scale, zero_point, args)[0].numpy()
    np.testing.assert_array_equal(rounded(x), expected)
    # Nothing is rounded to itself: the largest of a group is no level.
    assert not np.array_equal(expected, x)


def weight(bits: int, group: int, width: int = 64) -> GroupCodes:
    scales = np.ones((4, width // group), np.float16)
    return GroupCodes(np.zeros((4, width), np.int8), scales, bits)


def test_the_config_is_one_that_the_package_takes() -> None:
    modules = {
        "model.embed_tokens": stored(weight(4, 32), is_table=True, rounds=False),
        "model.layers.0.mlp.up_proj": stored(weight(4, 32), is_table=False, rounds=True),
        "model.layers.1.mlp.up_proj": stored(weight(4, 32), is_table=False, rounds=True),
        "model.layers.1.mlp.down_proj": stored(weight(8, 64), is_table=False, rounds=False),
    }
    told = quantization_config(modules)
    read = Config.model_validate(told)
    assert read.format == "mixed-precision"
    groups = list(read.config_groups.values())
    assert [group.format for group in groups] == [
        "int-quantized",
        "pack-quantized",
        "int-quantized",
    ]
    assert groups[1].targets == ["model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"]
    assert [group.weights.strategy for group in groups] == ["group", "group", "channel"]
    assert groups[1].input_activations.dynamic and groups[0].input_activations is None
    of_one = {"lm_head": stored(weight(8, 32), is_table=False, rounds=False)}
    assert quantization_config(of_one)["format"] == "int-quantized"
