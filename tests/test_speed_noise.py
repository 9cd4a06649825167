"""A gate or a SLOWER never stands on noise: one artifact against itself, twenty times, quiet and beside a load."""

from pathlib import Path
from typing import Any

import pytest
from tool import TOOLS, load_script

import limbeck

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 8}
train: {epochs: 1, learning_rate: 4.0e-3, threads: 1, batch_rows: 64}
quantize: {when: after, range: mse}
"""


@pytest.mark.nightly
@pytest.mark.parametrize("is_busy", [False, True], ids=["quiet", "busy"])
def test_an_artifact_does_not_differ_from_itself(
    tmp_path: Path, in_processes: None, is_busy: bool
) -> None:
    noise: Any = load_script(TOOLS.parent / "benchmarks" / "speed_noise.py")
    limbeck.run(limbeck.parse(RECIPE), tmp_path / "run")
    load = noise.machine.usable_cores() if is_busy else 0
    with noise.competing_load(load):
        found = list(noise.measure(tmp_path / "run" / "artifact"))
    assert len(found) == noise.TIMES
    told = [str(each.ratio) for each in found if each.is_significant]
    assert len(told) <= noise.MOST, "\n".join(told)
    called = [each for each in found if each.ratio.is_slower or each.ratio.inverse.is_slower]
    assert len(called) <= noise.MOST
