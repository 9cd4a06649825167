"""Integer products are exact in ONNX Runtime on every CPU, also on one that adds two of them in 16 bits (any x86 without VNNI)."""

from pathlib import Path

import numpy as np
import pytest

from limbeck.artifact.runtimes.onnxruntime import Onnxruntime
from limbeck.cli.speed_probe import INT8, INT32, ROWS, UINT8, onnx_model
from limbeck.core.system import machine


@pytest.mark.parametrize("is_this_cpu", [True, False])
@pytest.mark.parametrize("largest", [127, 64])
def test_sums_of_products_are_exact(
    is_this_cpu: bool, largest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uint8 x int8, with sums that no int16 holds: in the first column each pair adds up to 255 x 127 x 2."""
    if not is_this_cpu:
        monkeypatch.setattr(machine, "multiplies_exactly", lambda: False)
    generator = np.random.default_rng(0)
    weight = generator.integers(-largest, largest + 1, (32, 48)).astype(np.int8)
    weight[:, 0] = largest
    x = generator.integers(0, 256, (ROWS, 32)).astype(np.uint8)
    x[0] = 255
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_model("MatMulInteger", weight, (UINT8, INT8, INT32)))
    product = Onnxruntime().open(path, 1)({"x": x})
    np.testing.assert_array_equal(product, x.astype(np.int64) @ weight.astype(np.int64))
