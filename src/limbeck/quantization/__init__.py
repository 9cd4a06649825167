"""Quantization changes the model: modules are swapped before training, fitted, trained or rounded, and converted to integers after it."""
