"""Figures and what they mean. Logits in, numbers out, no torch.

Figures: `scores.py` (metrics and agreement on a split), `chance.py` (what one answer for every row
scores). How sure they are: `compare.py` (of one model, and of two on the same rows) by `paired.py`
(shares of right rows) or `influence.py` and `score_interval.py` (any other metric); `holm.py` where
many are looked at. Judgement: `collapse.py` (told while a model trains) and `verdict.py` (said at
the end).
"""
