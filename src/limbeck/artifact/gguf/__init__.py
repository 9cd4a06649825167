"""GGUF, the file of llama.cpp: written from a folder of transformers and integer weights, read back
bit for bit, and held against the folder that it was made from. No torch.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""
