"""Where a training computes: on which device, in which process, in which number format.

`accelerate` owns the device. This file makes the accelerator and moves a model; a batch is moved by
`models.torch_batches.to_device`. Nothing else in limbeck names a device, and every tensor that a
component makes is made on the device of its input.

Scores that a verdict or parity stands on are computed on the CPU in float32.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from limbeck.core.events import Reporter, silent
from limbeck.core.system import launch, machine
from limbeck.training import rendezvous

Model = TypeVar("Model", bound=nn.Module)

# Read by accelerate itself: how a device that no recipe can name (a test's, an experiment's) is
# chosen.
OVERRIDE = "ACCELERATE_TORCH_DEVICE"
# Read by accelerate too, which complains where it is not set, and sets threads that
# `train.threads` sets anew.
THREADS = "OMP_NUM_THREADS"
CPU_BUILD = (
    "this PyTorch ({version}) was built without {kind}. On a machine with an {maker} install "
    "the build of torch for it (pytorch.org, Get Started, lists the command); else say "
    "`train.device: cpu`"
)
# Whose hardware each kind of device is; torch calls AMD's `cuda` too.
MAKERS = {
    "cuda": "NVIDIA or AMD GPU",
    "xpu": "Intel GPU",
    "mps": "Apple chip",
}
# What `auto` looks for, in this order; a machine has seldom more than one of them.
PREFERRED = ("cuda", "mps", "xpu")


def resolve(choice: str) -> torch.device:
    """The device that a recipe's `train.device` stands for on this machine.

    Args:
        choice: `auto` (the first of cuda, mps, xpu that is here, else the CPU), or one by name:
            cpu, cuda, cuda:N, mps, xpu.

    Raises:
        ValueError: the machine, or this build of PyTorch, lacks it; with the cure.
    """
    if choice == "auto":
        if os.environ.get(OVERRIDE):
            return torch.device(os.environ[OVERRIDE])
        here = [kind for kind in PREFERRED if is_available(kind)]
        return _numbered(torch.device(here[0] if here else "cpu"))
    device = torch.device(choice)
    if device.type != "cpu" and not is_available(device.type):
        raise ValueError(f"train.device: {choice}: {_why_not(device.type)}")
    # Of the choices that a recipe may make, only `cuda:N` has a number.
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise ValueError(f"train.device: {choice}: {_which_numbers()}")
    return _numbered(device)


def _which_numbers() -> str:
    """How many GPUs there are, and which numbers may be said."""
    count = torch.cuda.device_count()
    if count > 1:
        return (
            f"this machine has {count} GPUs, numbered from 0. Say cuda:0 to cuda:{count - 1}, "
            "or auto"
        )
    return f"this machine has {count} GPU, numbered from 0. Say cuda:0, or auto"


def _numbered(device: torch.device) -> torch.device:
    """A GPU with its number: of several processes, each takes the one that `torchrun` gives it."""
    if device.type in ("cuda", "xpu") and device.index is None:
        number = int(os.environ.get(launch.LOCAL_RANK, 0))
        return torch.device(device.type, number)
    return device


def is_available(kind: str) -> bool:
    """Whether tensors can be put on a device of this kind here."""
    if kind == "mps":
        return torch.backends.mps.is_available()
    return bool(torch.get_device_module(kind).is_available())


def _why_not(kind: str) -> str:
    """Why a kind of device is not to be had, and the cure."""
    maker = MAKERS[kind]
    is_built = {
        # `hip` is the version of AMD's library, in a build for AMD's GPUs.
        "cuda": torch.backends.cuda.is_built() or torch.version.hip is not None,
        "mps": torch.backends.mps.is_built(),
        "xpu": torch.xpu._is_compiled(),
    }
    if not is_built[kind]:
        return CPU_BUILD.format(version=torch.__version__, kind=kind.upper(), maker=maker)
    return (
        f"no {maker} is visible to PyTorch here. Look at its driver and at "
        "CUDA_VISIBLE_DEVICES, or say `train.device: cpu`"
    )


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively."""
    if device.type == "cuda":
        # Not where it is emulated (NVIDIA's before Ampere), which saves no time.
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return machine.has_bfloat16()
    # Intel's GPUs have it; of Apple's the newer ones do, and torch does not tell which these are.
    return device.type == "xpu"


@dataclass(frozen=True)
class Place:
    """Where one run computes.

    accelerator: the one of this process (`accelerate.Accelerator`).
    """

    accelerator: Any

    @property
    def device(self) -> torch.device:
        """The device of every tensor of a training."""
        device: torch.device = self.accelerator.device
        return device

    def move_model(self, model: Model) -> Model:
        """`model` on the device, in place.

        Move it before anything holds its parameters: on some devices they become other objects.
        """
        return model.to(self.device)

    def dtype(self, choice: str, *, reads_text: bool) -> torch.dtype:
        """What a training multiplies in.

        Args:
            choice: the recipe's `train.dtype`. `auto` is bfloat16 on a device that has it;
                on a CPU for text alone, where images gain nothing (docs/log.md).
            reads_text: whether the task reads texts.

        Raises:
            ValueError: bfloat16 is asked of a GPU without it.
        """
        on_cpu = self.device.type == "cpu"
        if choice == "auto":
            is_worth_it = reads_text or not on_cpu
            is_wanted = is_worth_it and has_bfloat16(self.device)
        else:
            is_wanted = choice == "bfloat16"
            # A CPU without it emulates it: slow, but a recipe may ask for it.
            if is_wanted and not on_cpu and not has_bfloat16(self.device):
                raise ValueError(
                    f"train.dtype: {self.device} has no bfloat16. "
                    "Say `train.dtype: float32`, or auto"
                )
        return torch.bfloat16 if is_wanted else torch.float32

    def describe(self) -> dict[str, str]:
        """The device's kind and name, for the key of what was trained on it; empty for the CPU.

        The CPU's own features belong in every key (`core.system.machine`).
        """
        if self.device.type == "cpu":
            return {}
        kind = self.device.type
        name = kind
        if kind == "cuda":
            # Two kinds of GPU may add up in another order, and end with other last bits.
            name = torch.cuda.get_device_name(self.device)
        return {"device": kind, "device_name": name}


def open_place(choice: str, tell: Reporter = silent) -> Place:
    """The place that `train.device` names, in this process; the accelerator is made here alone.

    Of several processes (`torchrun`) each waits here until all have come.

    Args:
        choice: as `resolve` takes it.
        tell: hears for which processes this one waits.

    Raises:
        ValueError: the machine lacks the device (see `resolve`), or the environment's variables
            name processes that do not fit, or do not come.
    """
    from accelerate.state import AcceleratorState, PartialState

    own = launch.read()
    device = resolve(choice)
    if _is_distributed():
        return Place(_accelerator(device))
    # One process may train on several devices after another, and accelerate keeps its first; it
    # may also have computed alone (`check`) before it joins the others.
    known = PartialState._shared_state.get("device")
    if known is not None and (torch.device(known) != device or own.num_processes > 1):
        AcceleratorState._reset_state(reset_partial_state=True)
    if own.num_processes == 1:
        # accelerate would make a group of one process, for which other variables may be missing.
        with launch.alone():
            return Place(_accelerator(device))
    if device.type != "cpu" and not os.environ.get(launch.LOCAL_RANK):
        raise ValueError(
            f"environment variables: {launch.WORLD_SIZE}={own.num_processes} is set, and "
            f"{launch.LOCAL_RANK}, which says whose GPU is whose, is not. {launch.cure()}"
        )
    # Held until accelerate has made the group, since process 0 serves it.
    store = rendezvous.meet(own, tell)
    accelerator = _accelerator(device)
    del store
    return Place(accelerator)


def _accelerator(device: torch.device) -> Any:
    """accelerate's object for one device."""
    from accelerate import Accelerator

    if device.type == "cpu":
        threads = os.environ.get(THREADS) or str(torch.get_num_threads())
        with _environment({THREADS: threads}):
            return Accelerator(cpu=True)
    # A variable and no argument: accelerate has none that names one device of several.
    with _environment({OVERRIDE: str(device)}):
        return Accelerator()


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Inside, the environment variables are `values`, and accelerate's others are not set.

    They would ask for a precision or a placement that the recipe does not name.
    """
    before = dict(os.environ)
    for name in before:
        if name.startswith("ACCELERATE_"):
            del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        # Put back, for `resolve` reads them too: the next run would take them for the user's wish.
        for name in values:
            del os.environ[name]
        for name in before.keys() - os.environ.keys():
            os.environ[name] = before[name]


def arithmetic() -> dict[str, Any]:
    """How torch computes in this process, as far as it can be asked: whoever calls limbeck from
    Python may have set it, and other settings give other bits."""
    return {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "default_dtype": str(torch.get_default_dtype()),
        "matmul": torch.get_float32_matmul_precision(),
        "mkldnn": torch.backends.mkldnn.enabled,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "tf32": [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32],
    }
