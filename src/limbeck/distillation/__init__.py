"""Distillation changes the objective: how the teacher answers, what its answers are compared with,
and the weighted sum of losses that a training minimises."""
