"""Affine changes of an image: each pixel is read elsewhere, bilinearly.

Where that is outside of the image, the pixel is 0.
"""

import torch
from torch.nn import functional

from limbeck.models.torch_batches import move

# The two rows of a 2 x 3 matrix.
Affine = list[list[float]]


def warped(image: torch.Tensor, matrix: Affine) -> torch.Tensor:
    """An image (C, H, W) changed by a 2 x 3 `matrix`.

    The pixel (x, y) is the one that was at `matrix` times (x, y, 1), x to the right and y down, in
    pixels from the centre.
    """
    height, width = image.shape[1:]
    # (x, y) goes to (a x + b y + right, c x + d y + down).
    (a, b, right), (c, d, down) = matrix
    # torch counts each side from -1 to 1, whatever its pixels.
    in_halves = [
        [a, b * height / width, 2 * right / width],
        [c * width / height, d, 2 * down / height],
    ]
    theta = move(torch.tensor([in_halves], dtype=image.dtype), image.device)
    grid = functional.affine_grid(theta, [1, *image.shape], align_corners=False)
    return functional.grid_sample(image[None], grid, align_corners=False)[0]
