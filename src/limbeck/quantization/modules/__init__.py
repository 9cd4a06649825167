"""Modules that quantize while they train, and those of integers that they become."""
