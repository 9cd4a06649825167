"""Small networks of our own, one a file, by name.

`build(num_labels, channels)` gives a torch module with new weights. Its `blocks` are its layers,
its input is called `pixel_values` (B, C, H, W), and its output is logits (B, V).
"""
