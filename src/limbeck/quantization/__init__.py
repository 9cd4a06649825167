"""Quantization changes the model.

Modules are swapped before training, fitted, trained or rounded, and converted to integers after it.
"""
