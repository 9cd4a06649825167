"""Affine changes of an image: each pixel is read elsewhere, bilinearly; where that is outside of the image, it is 0."""

import torch
from torch.nn import functional


def warped(image: torch.Tensor, matrix: list[list[float]]) -> torch.Tensor:
    """(C, H, W) whose pixel (x, y) is the image's at `matrix` (2 x 3) times (x, y, 1), counted in pixels from the centre."""
    height, width = image.shape[1:]
    (a, b, right), (c, d, down) = matrix
    # a grid counts each side as 2, whatever its pixels
    scaled = [
        [a, b * height / width, 2 * right / width],
        [c * width / height, d, 2 * down / height],
    ]
    grid = functional.affine_grid(
        torch.tensor([scaled], dtype=image.dtype), [1, *image.shape], align_corners=False
    )
    return functional.grid_sample(image[None], grid, align_corners=False)[0]
