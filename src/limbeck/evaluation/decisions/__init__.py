"""From logits to what a user is answered: probabilities that are true shares, when to abstain, and
which label costs least. Fitted on validation through the artifact; numpy alone, as the artifact.

`decision.py` is what ships; `fitting.py`, `promise.py`, `conformal.py` and `thresholds.py` find its
numbers, `reliability.py` and `coverage.py` judge them.
"""
