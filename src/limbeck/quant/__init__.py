"""The affine quantizer: grids, arithmetic, fake quantization with a straight-through gradient, and the modules that use it."""
