"""How a row becomes what a model reads: one file for each kind, without torch.

What an input must have is `Input` in `tasks/joined.py`.
"""
