"""Nothing that limbeck imports numbers the machine or keeps what was run for its maker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# onnxruntime leaves runners of checks alone by itself, and would leave this test alone.
HIDDEN = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
OPENED = (
    "import onnxruntime; "
    "onnxruntime.InferenceSession('one.onnx', providers=['CPUExecutionProvider'])"
)


def left_at_home(code: str, folder: Path) -> list[str]:
    """The files that a program leaves in a home of its own."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=folder, env=environment | {"HOME": str(home)}, check=True)
    return [path.name for path in home.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["limbeck", "limbeck.artifact.load", "limbeck.cli.main"])
def test_onnxruntime_is_told_to_tell_nobody(name: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(each, number, [1]) for each in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "one", ends[:1], ends[1:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "one.onnx")
    assert left_at_home(f"import {name}; {OPENED}", tmp_path) == []
    # By itself it does, or this test shows nothing.
    if not left_at_home(OPENED, tmp_path):
        pytest.skip("this onnxruntime, older than 1.29, keeps nothing")


def test_what_a_user_says_of_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    told = subprocess.run(
        [sys.executable, "-c", "import limbeck, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "0"
