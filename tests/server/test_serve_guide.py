"""What the guide says of serving is run as it is printed."""

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limbeck.server.reading import read_settings

pytest.importorskip("granian")
GUIDE = (Path(__file__).parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")


def blocks(language: str, section: str = "Serving") -> list[str]:
    text = GUIDE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A newcomer's, with a run and three images."""
    limbeck = pytest.importorskip("limbeck")
    pytest.importorskip("sklearn")
    recipe = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 8}
train: {epochs: 1, learning_rate: 4.0e-3, threads: 1, batch_rows: 64}
quantize: {when: after, range: mse}
"""
    limbeck.run(limbeck.parse(recipe), tmp_path / "demo")
    (tmp_path / "some-images").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "some-images" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    bin_of_python = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", bin_of_python, prepend=":")
    return tmp_path


@pytest.mark.services
def test_every_call_is_answered(folder: Path) -> None:
    # The other one asks a model that writes text, which a run of images is not.
    calls, _ = blocks("sh")
    first, *rest = calls.splitlines()
    assert first.startswith("limbeck serve ") and len(rest) > 4
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(first.split(), stdout=log, stderr=log)
    try:
        until = time.monotonic() + 30
        while '"ready"' not in (folder / "log").read_text():
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.05)
        for line in rest:
            done = subprocess.run(
                line.replace("curl ", "curl --fail --silent --show-error ", 1),
                shell=True,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            assert "error" not in done.stdout, line
        (program,) = blocks("py")
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.stdout.strip() in map(str, range(10)), done.stderr
    finally:
        server.terminate()
        assert server.wait(30) == 0


def test_the_settings_that_are_printed_are_settings(tmp_path: Path) -> None:
    printed = blocks("yml")
    assert len(printed) == 2
    for number, text in enumerate(printed):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        assert "demo" in read_settings(path, [], {}).models


@pytest.mark.services
@pytest.mark.parametrize("section", ["When the world has changed", "The Open Inference Protocol"])
def test_what_is_printed_for_python_runs(section: str, folder: Path) -> None:
    (program,) = blocks("py", section)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
