"""Rows to splits, splits to batches, images to augmented views. The order of rows is a pure function of (seed, epoch, position)."""
