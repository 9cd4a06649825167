"""Causal language models node by node: what each family is made of, and how a format writes it."""
