"""Anybody's GGUF file against the transformers folder that it was made from: what differs, where,
and what it costs (`limbeck audit`). No torch."""
