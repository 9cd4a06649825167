"""What every runtime keeps, and that a new one takes a file here and an exporter, nothing else.

A new runtime is tested without a line of this file changing, as long as an exporter writes for it.
"""

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from test_exporters import INSTALLED, quantized, relative_error
from tiny_models import cnn, logits, pixels
from torch import nn

import limbeck
from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.exporters.requirements import package_versions, require_exporters, runtimes_of
from limbeck.exporters.writing import write_graphs

RUNTIMES = registry.names("runtimes")
EXPORTER_OF = {runtime: name for name in INSTALLED for runtime in runtimes_of([name])}
runtimes = pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                name not in EXPORTER_OF, reason=f"`{name}` or its exporter is not installed"
            ),
        )
        for name in RUNTIMES
    ],
)


@cache
def model() -> nn.Module:
    return quantized(cnn(48), pixels(6), "uint8")


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runtime -> the graph that its exporter wrote."""
    folder = tmp_path_factory.mktemp("graphs")
    files = write_graphs(model(), list(EXPORTER_OF.values()), pixels(4), folder)
    return {runtime: folder / file for runtime, file in files.items()}


def images(rows: int, seed: int) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in pixels(rows, seed=seed).items()}


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_says_what_it_needs_and_how_exact_it_is(name: str) -> None:
    runtime = registry.load("runtimes", name)
    assert all(line.startswith("pip install ") for line in runtime.needs.values())
    assert 0 < runtime.allowed_flips <= 0.01


@runtimes
def test_it_answers_as_the_model_whatever_the_number_of_rows(
    graphs: dict[str, Path], name: str
) -> None:
    graph = open_graph(graphs[name], name, 1)
    for rows in (1, 7):
        answers = graph(images(rows, seed=3))
        assert answers.dtype == np.float32
        assert relative_error(answers, logits(model(), pixels(rows, seed=3)).numpy()) < 0.1


@runtimes
def test_reopened_it_answers_alike(graphs: dict[str, Path], name: str) -> None:
    first = open_graph(graphs[name], name, 1)(images(5, seed=3))
    again = open_graph(graphs[name], name, 1)(images(5, seed=3))
    np.testing.assert_array_equal(first, again)


@runtimes
def test_an_answer_is_not_overwritten_by_the_next(graphs: dict[str, Path], name: str) -> None:
    graph = open_graph(graphs[name], name, 1)
    first = graph(images(5, seed=3))
    kept = first.copy()
    assert not np.array_equal(graph(images(5, seed=4)), kept)
    np.testing.assert_array_equal(first, kept)


@runtimes
def test_an_input_that_the_graph_does_not_read_is_ignored(
    graphs: dict[str, Path], name: str
) -> None:
    graph = open_graph(graphs[name], name, 1)
    more = {**images(5, seed=3), "token_type_ids": np.zeros((5, 2), np.int64)}
    np.testing.assert_array_equal(graph(more), graph(images(5, seed=3)))


@runtimes
def test_it_runs_without_torch(graphs: dict[str, Path], name: str) -> None:
    code = (
        "import sys, numpy\n"
        "from pathlib import Path\n"
        "from limbeck.artifact.runtimes import open_graph\n"
        f"graph = open_graph(Path({str(graphs[name])!r}), {name!r}, 1)\n"
        "graph({'pixel_values': numpy.zeros((1, 1, 8, 8), numpy.float32)})\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_package_that_is_missing_is_told_with_the_line_that_installs_it(
    graphs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"`onnxruntime` is not installed\. pip install"):
        open_graph(graphs["onnxruntime"], "onnxruntime", 1)


def test_an_unknown_runtime_is_told_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Did you mean `onnxruntime`"):
        open_graph(tmp_path / "model.onnx", "onxruntime", 1)


# A target with a runtime of its own, as an installed package.

RUNTIME = '''"""A toy: the bytes of an ONNX file, from the last to the first."""

from typing import ClassVar


class Mirrored:
    """Opens `.mirrored` files."""

    needs: ClassVar[dict[str, str]] = {"onnxruntime": "pip install onnxruntime"}
    allowed_flips: ClassVar[float] = 0.001

    def open(self, path, threads):
        import onnxruntime

        session = onnxruntime.InferenceSession(path.read_bytes()[::-1])
        return lambda inputs: session.run(None, inputs)[0]
'''
EXPORTER = '''"""Writes a toy."""

from typing import ClassVar

from limbeck.exporters.onnx_graph import NEEDS, to_onnx
from limbeck.exporters.onnx_ops import dynamic_quantize_linear


class Mirror:
    """No keys."""

    runtimes: ClassVar[tuple[str, ...]] = ("mirrored",)
    needs: ClassVar[dict[str, str]] = NEEDS

    def export(self, model, inputs, folder):
        path = folder / "model.mirrored"
        to_onnx(model, inputs, path, dynamic_translation=dynamic_quantize_linear)
        path.write_bytes(path.read_bytes()[::-1])
        return {"mirrored": path.name}
'''
WITH_RUNTIME = "[limbeck.runtimes]\nmirrored = mirrored:Mirrored\n"
WITH_EXPORTER = "[limbeck.exporters]\nmirror = mirror:Mirror\n"
RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 4}
train: {epochs: 1, learning_rate: 4.0e-3, threads: 1, batch_rows: 64}
quantize: {when: after}
export: [mirror]
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, entry_points: str) -> None:
    """A distribution in `folder`, for this process and for those that it starts."""
    information = folder / "toy_target-1.2.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-target\nVersion: 1.2\n")
    (information / "entry_points.txt").write_text(entry_points)
    (folder / "mirrored.py").write_text(RUNTIME)
    (folder / "mirror.py").write_text(EXPORTER)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")


def test_a_target_of_another_package_is_as_old_as_the_packages_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a run trains, proves and answers with such a target, `test_examples.py` shows."""
    install(tmp_path / "packages", monkeypatch, WITH_RUNTIME + WITH_EXPORTER)
    require_exporters(["mirror"])
    assert package_versions(["mirror"]).keys() == {"onnx", "onnxruntime", "onnxscript"}


def test_an_exporter_without_its_runtime_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "packages", monkeypatch, WITH_EXPORTER)
    with pytest.raises(
        ValueError, match=r"`mirror` writes a graph that no runtime opens here: .*`mirrored`"
    ):
        limbeck.run(limbeck.parse(RECIPE), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_two_exporters_for_one_runtime_are_told_before_any_work() -> None:
    with pytest.raises(ValueError, match="`onnx` and `onnx` both write the graph of `onnxruntime`"):
        require_exporters(["onnx", "onnx"])
