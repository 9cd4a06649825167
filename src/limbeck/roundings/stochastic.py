"""Up or down by chance, in training: floor(t) + 1 with the probability t - floor(t), so that E[round(t)] = t (Gupta et al., 2015, arXiv 1502.02551,
section 3.1). In eval mode, and in the codes that are kept, the nearest level.

The draws come from torch's generator, which training seeds at every step: a resumed training draws the same.
"""

import torch


class Stochastic:
    """No keys."""

    def round(self, steps: torch.Tensor, *, training: bool) -> torch.Tensor:
        """Integers of the shape of `steps`."""
        if not training:
            return torch.round(steps)
        low = steps.floor()
        return low + (torch.rand_like(steps) < steps - low)  # not floor(t + u): in float32 that leaves some integers
