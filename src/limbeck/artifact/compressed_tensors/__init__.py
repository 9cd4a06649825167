"""compressed-tensors: a folder of transformers whose weights are integers, written and read back
bit for bit, and opened by transformers in a process of its own. No torch here.
"""
