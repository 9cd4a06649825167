"""What a tensor of one element holds, as a Python number that can be read without a wait.

Python can branch on a tensor only after its device has computed everything up to it: on a GPU the
host stands still until then. A quantizer asks in every step whether it is calibrated, and the
answer changes a few times in a training. So the number is kept beside the tensor, and the tensor
is asked again only after it was written or replaced.
"""

from typing import Any

import torch


class HostCopy:
    """The number that a tensor holds, asked of its device once after each change.

    Example:
        >>> flag, copy = torch.tensor(False), HostCopy()
        >>> copy.of(flag)
        False
        >>> flag.fill_(True)
        tensor(True)
        >>> copy.of(flag)
        True
    """

    def __init__(self) -> None:
        self.tensor: torch.Tensor | None = None
        self.version = 0
        self.number: float = 0

    def of(self, tensor: torch.Tensor) -> float:
        """The only element of `tensor`: a bool, an int or a float."""
        # torch counts the writes to a tensor in `_version`, those of a restored checkpoint (a
        # `copy_` through a detached view) too; a model that moves to a device has new tensors.
        if tensor is not self.tensor or tensor._version != self.version:
            self.tensor = tensor
            self.version = tensor._version
            self.number = tensor.item()
        return self.number

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied or pickled, it knows nothing: the copy of a tensor counts writes anew."""
        return type(self), ()
