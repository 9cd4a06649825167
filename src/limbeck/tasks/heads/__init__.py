"""What the logits of a task are, and how they are judged: one file for each kind, without torch.

What a head must have is `Head` in `tasks/joined.py`.
"""
