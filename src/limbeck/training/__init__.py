"""The one training loop, its checkpoints and devices, and passes over a split without training.

It knows neither distillation nor bits.
"""
