"""What exporting a model is made of, so that a forecast can do less of it than a run.

A run writes and proves every arm's artifact. A forecast writes one for models that differ by their
weights alone, for their graphs are one and the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import nn


class Prove(Protocol):
    """Writes the proof of the artifact in a stage's folder."""

    def __call__(self, folder: Path, *, asks_last_bits: bool = True) -> None:
        """`asks_last_bits`: whether answers that differ are excused by what the model's own last
        bits change, which takes three more passes over the test split."""
        ...


@dataclass(frozen=True)
class ExportWork:
    """The work of one export stage.

    model: fake-quantized, in evaluation mode, on the CPU.
    write: fills the stage's folder with the artifact and what decides.
    prove: holds the artifact's answers against the model's.
    """

    model: nn.Module
    write: Callable[[Path], None]
    prove: Prove


def write_and_prove(work: ExportWork, folder: Path) -> None:
    """What a run does with it."""
    work.write(folder)
    work.prove(folder)
