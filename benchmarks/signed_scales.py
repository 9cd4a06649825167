"""What a sign of the scale saves of the squared error of groups of 32 drawn weights.

    python benchmarks/signed_scales.py [--groups N]

By format and distribution, at the scale of least squared error (the range `mse`): with a scale
above 0, with one whose sign puts the farther end of the grid on the side of the largest weight, and
on the grid without its farther level (-7 to 7); and Q4_0 as ggml rounds it.
"""

import argparse
from dataclasses import replace

import torch
from torch import Tensor

from limbeck.core.grids import GRIDS, Grid
from limbeck.quantization.affine import squared_error
from limbeck.quantization.half_scales import signs
from limbeck.quantization.ranges.mse import Mse

GROUP = 32


def error(values: Tensor, grid: Grid) -> float:
    """The mean squared error of (G, GROUP) values at their best scales above 0."""
    found = Mse(grid)
    found.observe(values)
    scale, zero_point = found.fit()
    return float(squared_error(values, scale, zero_point, grid).mean())


def q4_0(values: Tensor) -> float:
    """That of ggml's own rounding (quantize_row_q4_0_ref)."""
    largest = values.gather(1, values.abs().argmax(1, keepdim=True))
    scale = (largest / -8).half().float()
    codes = (values / scale + 8.5).floor().clamp_max(15) - 8
    return float((codes * scale - values).square().mean())


def main() -> None:
    """Draw, round and print a line a format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=20_000)
    count = parser.parse_args().groups
    torch.manual_seed(0)
    drawn = {
        "normal": torch.randn(count, GROUP),
        "Laplace": torch.distributions.Laplace(0.0, 1.0).sample((count, GROUP)),
    }
    for name, values in drawn.items():
        for form in ("int8", "int4", "int3", "int2"):
            grid = GRIDS[form]
            above = error(values, grid)
            signed = error(values * signs(values, grid).unsqueeze(1), grid)
            narrow = error(values, replace(grid, low=-grid.high))
            print(
                f"{name} {form}: above 0 {above:.3e}, signed {signed:.3e} "
                f"({signed / above - 1:+.1%}), without the farther level {narrow / above - 1:+.1%}"
            )
        print(f"{name} Q4_0 of ggml: {q4_0(values):.3e}")


if __name__ == "__main__":
    main()
