"""`limbeck.export`: a finished run's artifact once more, for other runtimes, without a training; what cannot be is told."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch  # noqa: F401  # left out without it: what runs needs it
from commands import call, mistake
from sklearn.datasets import load_digits
from test_inspect import finished as finished
from test_inspect import run as run

import limbeck
from limbeck.core.files import file_digest, read_json
from limbeck.studies import exporting

IMAGES = [np.round(image * 15.9375).astype(np.uint8) for image in load_digits().images[:40]]
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed"
)


@needs_openvino
def test_the_same_integers_for_another_runtime(run: Path, tmp_path: Path) -> None:
    before = {path.name: file_digest(path) for path in (run / "artifact").iterdir()}
    written = limbeck.export(run / "artifact", ["openvino", "onnx"], tmp_path / "new" / "both")
    assert written.runtimes == ["openvino", "onnxruntime"]
    assert (
        repr(written)
        == f"<limbeck artifact {tmp_path / 'new' / 'both'}: for openvino, onnxruntime>"
    )
    assert [(row.arm, row.runtime, row.holds) for row in written.parity] == [
        ("qat", "openvino", True),
        ("qat", "onnxruntime", True),
    ]
    # The graph is the run's to the byte, and the run's folder is as it was.
    after = {path.name: file_digest(path) for path in written.folder.iterdir()}
    assert after["model.onnx"] == before["model.onnx"]
    assert {path.name: file_digest(path) for path in (run / "artifact").iterdir()} == before
    old, new = limbeck.load(run / "artifact"), limbeck.load(written.folder)
    assert (old.runtime, new.runtime) == ("onnxruntime", "openvino")
    labels = [[answer["label"] for answer in model.predict(IMAGES)] for model in (old, new)]
    assert labels[0] == labels[1]
    assert limbeck.read(written.folder / "recipe.yaml").export == ["openvino", "onnx"]
    assert "openvino" in (written.folder / "README.md").read_text()


def test_the_command_says_the_proof_and_the_next_line(
    run: Path, tmp_path: Path, cache_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The export alone is made again.
    for entry in cache_folder.glob("export-*"):
        shutil.rmtree(entry)
    assert call("export", run, "--to", "onnx", "--out", tmp_path / "again") == 0
    told = capsys.readouterr().out
    assert "parity holds: qat, seed 0, onnxruntime: 0 of 359 decisions differ" in told
    assert f"limbeck predict {tmp_path / 'again'} FILE" in told
    # Of the same bytes as the run's own.
    names = sorted(path.name for path in (run / "artifact").iterdir() if path.name != "README.md")
    for name in names:
        assert file_digest(run / "artifact" / name) == file_digest(tmp_path / "again" / name)
    told = mistake(capsys, "export", run, "--to", "onnx", "--out", tmp_path / "again")
    assert "something lies there already. Name a new folder" in told


def test_what_cannot_be_exported_is_told(
    run: Path, tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"exporters has no component `onyx`. Did you mean `onnx`"):
        limbeck.export(run, ["onyx"], tmp_path / "out")
    with pytest.raises(TypeError, match=r'exporters: a list such as \["onnx"\] is expected'):
        limbeck.export(run, "onnx", tmp_path / "out")
    with pytest.raises(ValueError, match="no such folder"):
        limbeck.export(tmp_path / "nowhere", ["onnx"], tmp_path / "out")
    moved = tmp_path / "moved"
    shutil.copytree(run / "artifact", moved)
    with pytest.raises(ValueError, match="this is an artifact, not a run"):
        limbeck.export(moved, ["onnx"], tmp_path / "out")
    report = read_json(run / "report.json")
    # A graph that decides otherwise is not handed out.
    with monkeypatch.context() as patch:
        patch.setattr(
            exporting,
            "picked",
            lambda kind, row: kind(
                **dict.fromkeys(kind.__annotations__, 0)
                | {"runtime": "onnxruntime", "flips": 3, "units": 9}
            ),
        )
        with pytest.raises(ValueError, match="otherwise than the trained model in 3 of 9 answers"):
            limbeck.export(run, ["onnx"], tmp_path / "out")
    shutil.rmtree(cache_folder)
    with pytest.raises(ValueError, match=r"does not hold `student-.*then export it: `limbeck run"):
        limbeck.export(run, ["onnx"], tmp_path / "out")
    assert not (tmp_path / "out").exists() and read_json(run / "report.json") == report
