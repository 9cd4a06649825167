"""Rows to checked splits, splits to batches, and augmented views of them."""
