"""Small networks of our own, by name.

`build(num_labels, channels) -> torch.nn.Module`, whose `blocks` are its layers and whose output is (B, V) logits.
"""
