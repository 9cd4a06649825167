"""Figures and what they mean. Logits in, numbers out, no torch.

Statistics: `scores.py` (metrics and agreement on a split), `chance.py` (what one answer for every
row scores), `bootstrap.py` (intervals and a test by resampling rows). Judgement: `collapse.py`
(told while a model trains) and `verdict.py` (said at the end).
"""
