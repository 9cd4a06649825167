"""How compressed-tensors rounds activations to eight bits, in groups of 32 of each token:

    d = max |x| / 127.5,  q = clip(round(x / d), -128, 127),  x^ = d q

all in float32. A training (`activations: int8-dynamic`) and llama.cpp divide by 127, so that the
largest of a group is hit exactly; here it is off by half a step, to one side or the other. The
sources are `calculate_qparams` and `_quantize_dequantize` of compressed-tensors 0.20.
"""

import numpy as np

from limbeck.artifact.compressed_tensors.folder import ACTIVATION_GROUP

LOWEST, HIGHEST = -128, 127
STEPS = (HIGHEST - LOWEST) / 2


def rounded(x: np.ndarray) -> np.ndarray:
    """Activations (..., I), float32, as a product with a weight takes them."""
    groups = x.reshape(-1, ACTIVATION_GROUP)
    largest = np.abs(groups).max(axis=1, keepdims=True)
    scales = largest / np.float32(STEPS)
    # A group of zeros stays one, whatever it is divided by.
    divisors = np.where(scales == 0, np.float32(1), scales)
    codes = np.rint(groups / divisors).clip(LOWEST, HIGHEST)
    values = codes * scales
    return values.astype(np.float32).reshape(x.shape)
