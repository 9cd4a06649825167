"""How fast every arm answers, and where the speed-up over the teacher comes from.

- `measuring`: one measurement, which every figure of speed in a report is taken from.
- `subjects`: what is timed. `graphs`: the float graphs among it, as stages of the store.
- `pytorch_worker`: the process of a model in PyTorch.
"""
