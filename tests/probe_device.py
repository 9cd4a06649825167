"""A second device type without hardware: `with probe_device() as probe:` tensors made on, or moved to, `probe.device` hold real values
(computed on the CPU) and refuse to meet tensors of the CPU, as a GPU would; what makes the host wait (`item`, `bool`, `nonzero`, copies to the CPU)
is listed in `probe.syncs`, each with the line that asked.

What it proves: no tensor is made on, or left on, another device than its input's; how often a step waits for the device. What it does not: kernels,
dtypes, streams, speed. Built on torch's PrivateUse1 hooks for Python backends (torch >= 2.11, experimental); one process can set it up once.
"""

import contextlib
import traceback
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "probe"
READS = (
    "aten._local_scalar_dense",
    "aten.nonzero",
    "aten.is_nonzero",
    "aten.equal",
    "aten.masked_select",
    "aten._unique2",
)
CROSSES = (
    "aten._to_copy",
    "aten.copy_",
    "aten.to.",
    "aten._copy_from",
)  # what may have a foot on each side
_ready = False


class ProbeTensor(torch.Tensor):
    """A tensor on the probe device around `raw`, a tensor on the CPU."""

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> "ProbeTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.shape,
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=torch.device(NAME, 0),
        )
        made.raw = raw
        return made

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"probe:{self.raw!r}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {}, [])


def run(func: Any, args: Any, kwargs: dict[str, Any], syncs: list[str]) -> Any:
    """One operator on the raw tensors, after the check that they lie together."""
    name = str(func)
    tensors = [
        leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)
    ]
    inside = any(isinstance(each, ProbeTensor) for each in tensors)
    device = kwargs.get("device")
    goes_in = device is not None and torch.device(device).type == NAME
    goes_out = device is not None and not goes_in
    if not name.startswith(CROSSES) and (inside or goes_in):
        strangers = [
            each for each in tensors if not isinstance(each, ProbeTensor) and each.ndim > 0
        ]
        if strangers and inside:
            raise RuntimeError(
                f"{name}: a tensor of shape {tuple(strangers[0].shape)} lies on {strangers[0].device}, another on {NAME}:0"
            )
    # values[mask] has to be told how many there are; only a number put there has not.
    masked = name.startswith("aten.index") and any(
        each.dtype == torch.bool for each in indices(args)
    )
    if inside and (goes_out or masked or name.startswith(READS)):
        syncs.append(caller())
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}

    def bare(leaf: Any) -> Any:
        return leaf.raw if isinstance(leaf, ProbeTensor) else leaf

    out = func(*pytree.tree_map(bare, args), **pytree.tree_map(bare, kwargs))
    if goes_out or not (inside or goes_in):
        return out
    mutated = {id(each.raw): each for each in tensors if isinstance(each, ProbeTensor)}
    if name.startswith("aten.copy_") and not isinstance(args[0], ProbeTensor):
        return args[0]

    def dressed(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        return mutated.get(id(leaf)) if id(leaf) in mutated else ProbeTensor(leaf)

    return pytree.tree_map(dressed, out)


def indices(args: Any) -> list[torch.Tensor]:
    """Of values[...]: what stands in the brackets."""
    given = args[1] if len(args) > 1 and isinstance(args[1], (list, tuple)) else ()
    return [each for each in given if isinstance(each, torch.Tensor)]


def caller() -> str:
    """The innermost line outside torch and this file."""
    for frame in reversed(traceback.extract_stack()):
        if "torch/" not in frame.filename and frame.filename != __file__:
            return f"{frame.filename}:{frame.lineno}"
    return "unknown"


class Probe(TorchDispatchMode):
    """The device, and the reads so far."""

    def __init__(self) -> None:
        super().__init__()
        self.device = torch.device(NAME, 0)
        self.syncs: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {}, self.syncs)


@contextlib.contextmanager
def probe_device() -> Iterator[Probe]:
    """The probe device, for as long as the block runs."""
    global _ready
    if not _ready:
        _setup_privateuseone_for_python_backend(NAME)
        _ready = True
    with Probe() as probe:
        yield probe
