"""Figures and what they mean: scores of answers, collapse to one answer, intervals, the verdict. Logits in, numbers out, no torch."""
