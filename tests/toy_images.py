"""A run of seconds on random pictures, for tests of what is computed when: its recipe up to the losses, and its rows."""

import numpy as np

RECIPE = """
task: image-classification
data: {source: rows}
teacher: {model: small_cnn, width: 4, depth: 1, epochs: 1}
student: {model: small_cnn, width: 2, depth: 1}
train: {epochs: 1, threads: 1, batch_rows: 16, device: cpu}
"""


def images(count: int, shade: int = 0) -> list[dict[str, object]]:
    """Rows of three labels in turn. `shade`: of which random numbers."""
    generator = np.random.default_rng(shade)
    return [
        {"image": generator.integers(0, 256, (8, 8), np.uint8), "label": str(number % 3)}
        for number in range(count)
    ]
