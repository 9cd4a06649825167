"""What every exporter keeps: the graph answers as the model does, holds integers only, and the scales that were learned; the artifact refuses tampering.

A new exporter is tested without a line of this file changing. What it writes is read as ONNX; of another format the tests ask what can be asked of any
file: its answers, its size, and that other scales give other answers.
"""

import copy
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from task_examples import TAGS, VOCABULARY, sentence, tokenizer_text
from tiny_models import bert, cnn, logits, pixels, tokens
from torch import nn

from limbeck.artifact.load import load
from limbeck.artifact.manifest import BrokenArtifact
from limbeck.artifact.proof import golden, parity
from limbeck.artifact.runtimes import Graph, open_graph
from limbeck.core import registry
from limbeck.core.files import file_digest, folder_digest, read_json, write_json
from limbeck.evaluation.scores import Scored
from limbeck.exporters import ForTasks, onnx_kernels, writing
from limbeck.exporters.onnx_kernels import check_kernels, optimized_ops
from limbeck.exporters.requirements import require_exporters, runtimes_of
from limbeck.models.weights import model_state
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.modules import attention
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.integer import ActivationQuantizer, Integer, IntegerConvolution
from limbeck.quantization.modules.swap import Quantized
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize, Scheme
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.token_classification import TokenClassification
from limbeck.training.scoring import score_split

Inputs = dict[str, torch.Tensor]
WORDS = 9000  # enough codes that names and structure stay under a tenth of the file


def installed(name: str) -> bool:
    """Whether all that writes and opens the exporter's graphs is installed."""
    try:
        require_exporters([name])
    except ValueError:
        return False
    return True


# Those of text generation alone are asked by `test_text_exporters`.
ALL = [
    name
    for name in registry.names("exporters")
    if not isinstance(registry.create("exporters", name), ForTasks)
]
EXPORTERS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not installed(name), reason=f"the runtime of `{name}` is not installed"
        ),
    )
    for name in ALL
]
INSTALLED = [name for name in ALL if installed(name)]
# The first writes the graph that an artifact opens by default.
INSTALLED.sort(key=lambda name: name != "onnx")


def quantized(model: nn.Module, inputs: Inputs, activations: str, **keys: Any) -> nn.Module:
    schemes = plan_schemes(model, Quantize(**keys), activations)
    prepare_model(model, schemes, "minmax", lambda m: m(**inputs))
    calibrate(model, [lambda m: m(**inputs)])
    return model.eval()


@cache
def bert_static() -> nn.Module:
    return quantized(bert(WORDS, layers=1), tokens(4, 13, WORDS), "uint8")


@cache
def bert_attention() -> nn.Module:
    model, inputs = bert(WORDS, layers=1), tokens(4, 13, WORDS)
    prepare_model(model, plan_schemes(model, Quantize(), "uint8"), "minmax", lambda m: m(**inputs))
    attention.attach(model, "minmax", lambda m: m(**inputs))
    calibrate(model, [lambda m: m(**inputs)])
    return model.eval()


@cache
def bert_dynamic() -> nn.Module:
    return quantized(bert(WORDS, layers=1), tokens(4, 13, WORDS), "uint8-dynamic")


@cache
def cnn_static() -> nn.Module:
    return quantized(cnn(48), pixels(6), "uint8")


@cache
def cnn_mixed() -> nn.Module:
    return quantized(
        cnn(48), pixels(6), "uint8", modules={"classifier": Scheme(activations="uint8-dynamic")}
    )


LOW: dict[str, dict[str, str]] = {  # every format of fewer than 8 bits, in each kind of module
    "bert": {
        "*embeddings*": "int4",
        "*query": "ternary",
        "*key": "int2",
        "*value": "int3",
        "*output.dense": "binary",
        "*intermediate.dense": "int4",
        "classifier": "int8",
    },
    "cnn": {
        "blocks.0.0": "int3",
        "blocks.1.0": "ternary",
        "blocks.2.0": "binary",
        "classifier": "int2",
    },
}


def low(model: nn.Module, inputs: Inputs, activations: str, formats: dict[str, str]) -> nn.Module:
    return quantized(
        model,
        inputs,
        activations,
        modules={
            name: Scheme(weights=each, activations=activations) for name, each in formats.items()
        },
    )


@cache
def bert_low() -> nn.Module:
    return low(bert(WORDS, hidden=96, layers=1), tokens(4, 13, WORDS), "uint8", LOW["bert"])


@cache
def bert_low_dynamic() -> nn.Module:
    return low(bert(WORDS, hidden=96, layers=1), tokens(4, 13, WORDS), "uint8-dynamic", LOW["bert"])


@cache
def cnn_low() -> nn.Module:
    return low(cnn(48), pixels(6), "uint8", LOW["cnn"])


GROUPS = {"weights": "int4", "group": 48}


@cache
def bert_groups() -> nn.Module:
    return quantized(bert(WORDS, hidden=96, layers=1), tokens(4, 13, WORDS), "float", **GROUPS)


@cache
def cnn_groups() -> nn.Module:
    return quantized(cnn(48), pixels(6), "float", keep_float=["blocks.0.0"], **GROUPS)


FLOAT8 = {
    "bert": {"*embeddings*": "fp8-e5m2", "*query": "fp8-e5m2", "*dense": "fp8-e4m3"},
    "cnn": {"blocks.*": "fp8-e4m3", "classifier": "fp8-e5m2"},
}


@cache
def bert_float8() -> nn.Module:
    return low(bert(WORDS, hidden=96, layers=1), tokens(4, 13, WORDS), "float", FLOAT8["bert"])


@cache
def cnn_float8() -> nn.Module:
    return low(cnn(48), pixels(6), "float", FLOAT8["cnn"])


KINDS: dict[str, tuple[Callable[[], nn.Module], Inputs, list[Inputs]]] = {
    "bert-static": (
        bert_static,
        tokens(4, 13, WORDS),
        [tokens(rows, length, WORDS, seed=9) for rows, length in ((1, 7), (6, 21), (1, 1))],
    ),
    "bert-attention": (
        bert_attention,
        tokens(4, 13, WORDS),
        [tokens(rows, length, WORDS, seed=9) for rows, length in ((1, 7), (6, 21), (1, 1))],
    ),
    "bert-dynamic": (
        bert_dynamic,
        tokens(4, 13, WORDS),
        [tokens(1, length, WORDS, seed=9) for length in (7, 40, 2)],
    ),
    "bert-low": (
        bert_low,
        tokens(4, 13, WORDS),
        [tokens(rows, length, WORDS, seed=9) for rows, length in ((1, 7), (6, 21))],
    ),
    "bert-groups": (
        bert_groups,
        tokens(4, 13, WORDS),
        [tokens(rows, length, WORDS, seed=9) for rows, length in ((1, 7), (6, 21))],
    ),
    "bert-float8": (
        bert_float8,
        tokens(4, 13, WORDS),
        [tokens(rows, length, WORDS, seed=9) for rows, length in ((1, 7), (6, 21))],
    ),
    "cnn-float8": (cnn_float8, pixels(4), [pixels(rows, seed=9) for rows in (1, 9)]),
    "cnn-groups": (cnn_groups, pixels(4), [pixels(rows, seed=9) for rows in (1, 9)]),
    "bert-low-dynamic": (
        bert_low_dynamic,
        tokens(4, 13, WORDS),
        [tokens(1, length, WORDS, seed=9) for length in (7, 40)],
    ),
    "cnn-low": (cnn_low, pixels(4), [pixels(rows, seed=9) for rows in (1, 9)]),
    "cnn-static": (cnn_static, pixels(4), [pixels(rows, seed=9) for rows in (1, 9)]),
    "cnn-mixed": (cnn_mixed, pixels(4), [pixels(1, seed=seed) for seed in range(9, 14)]),
}
# What test_format_parity holds for each layer, and other kinds for the rest of an encoder.
SLOW_KINDS = ("bert-low", "bert-low-dynamic", "bert-groups", "bert-float8")
kinds = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind in SLOW_KINDS)) for kind in KINDS]
)
exporters = pytest.mark.parametrize("name", EXPORTERS)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """(kind, exporter) to the graph's file; one folder a kind, as in an artifact, and each graph written once."""
    folders: dict[str, Path] = {}

    @cache
    def graph(kind: str, name: str) -> Path:
        folder = folders.setdefault(kind, tmp_path_factory.mktemp(kind))
        if name != "onnx":
            graph(kind, "onnx")
        build, inputs, _ = KINDS[kind]
        files = registry.create("exporters", name).export(convert_model(build()), inputs, folder)
        assert files.keys() == set(registry.load("exporters", name).runtimes)
        return folder / next(iter(files.values()))

    return graph


def opened(name: str, path: Path) -> Graph:
    """The graph of an exporter in the first runtime that opens it."""
    return open_graph(path, registry.load("exporters", name).runtimes[0], threads=1)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))


def is_exact(name: str) -> bool:
    """Whether the first runtime of an exporter computes the trained integers, and nothing by itself."""
    runtime = registry.load("exporters", name).runtimes[0]
    return registry.load("runtimes", runtime).allowed_flips <= 0.001


def is_onnx(path: Path) -> bool:
    """Whether the graph can be read here."""
    try:
        return bool(onnx.load(str(path)).graph.node)
    except DecodeError:
        return False


def initializers(path: Path) -> dict[str, np.ndarray]:
    """Every constant of the graph; the test is skipped where it is no ONNX."""
    if not is_onnx(path):
        pytest.skip(f"{path.name} is no ONNX: the exporter's own oracle reads it")
    graph = onnx.load(str(path)).graph
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    constants = {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant"
    }
    return found | constants


def key(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    return str(array.dtype), array.shape, array.tobytes()


@exporters
@kinds
def test_the_graph_answers_as_the_model_at_shapes_it_was_not_traced_with(
    exported: Callable[[str, str], Path], name: str, kind: str
) -> None:
    """Relative error and decisions. OpenVINO quantizes activations by itself, by group, where they are dynamic."""
    build, _, others = KINDS[kind]
    run = opened(name, exported(kind, name))
    allowed = 0.01 if is_exact(name) else 0.1
    flips = units = 0
    for inputs in others:
        expected = logits(build(), inputs).numpy()
        found = run({key: value.numpy() for key, value in inputs.items()})
        assert found.shape == expected.shape
        assert relative_error(found, expected) <= allowed
        flips += int((found.argmax(-1) != expected.argmax(-1)).sum())
        units += expected[..., 0].size
    assert flips <= max(1, (0.001 if is_exact(name) else 0.05) * units)


@exporters
@kinds
def test_every_quantized_weight_is_integers_and_no_other_copy_is_left(
    exported: Callable[[str, str], Path], name: str, kind: str
) -> None:
    source = KINDS[kind][0]()
    constants = initializers(exported(kind, name))
    wanted = Counter(
        key(module.stored.numpy())
        for module in convert_model(source).modules()
        if isinstance(module, Integer)
    )
    integers = [array for array in constants.values() if array.dtype in (np.int8, np.uint8)]
    assert not wanted - Counter(key(array) for array in integers)
    assert sum(array.size for array in integers if array.ndim) == sum(
        math.prod(shape) * n for (_, shape, _), n in wanted.items()
    )
    weights = [
        module.float_weight().detach().numpy()
        for module in source.modules()
        if isinstance(module, Quantized)
    ]
    shapes = {weight.shape for weight in weights} | {weight.T.shape for weight in weights}
    large = {
        name: array.shape
        for name, array in constants.items()
        if array.dtype.kind == "f" and array.ndim > 1 and array.shape in shapes
    }
    assert large == {}


def learned(model: nn.Module) -> list[np.ndarray]:
    """Every scale and zero point that the converted model holds."""
    found = []
    for module in convert_model(model).modules():
        if isinstance(module, Integer):
            found.append(module.scale.numpy())
        if isinstance(module, IntegerConvolution) and module.has_codes:
            found.append(module.bias_scale.numpy())
        if isinstance(module, ActivationQuantizer):
            found += [module.scale.numpy(), module.zero_point.numpy()]
    return found


def holds(path: Path, wanted: np.ndarray) -> bool:
    """Bit for bit, whatever axes of length 1 the graph adds."""
    return any(
        array.dtype == wanted.dtype
        and array.size == wanted.size
        and array.tobytes() == wanted.tobytes()
        for array in initializers(path).values()
    )


@exporters
@kinds
def test_the_scales_of_the_graph_are_the_learned_ones_bit_for_bit(
    exported: Callable[[str, str], Path], name: str, kind: str
) -> None:
    model = KINDS[kind][0]()
    weights = {m.quantizer: m for m in model.modules() if isinstance(m, Quantized)}
    for quantizer in (module for module in model.modules() if isinstance(module, FakeQuantizer)):
        scale = quantizer.log_scale.detach().exp().numpy()
        if quantizer in weights:  # a norm is folded into it
            scale = weights[quantizer].scale().numpy()
        assert holds(exported(kind, name), scale if quantizer.groups > 1 else scale.reshape(()))
    assert all(holds(exported(kind, name), array) for array in learned(model))


@exporters
def test_other_scales_give_another_graph(
    name: str, exported: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """An exporter that recomputed scales from weights or data would write the same graph; the learned ones are written."""
    model, inputs = copy.deepcopy(cnn_mixed()), KINDS["cnn-mixed"][1]
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, FakeQuantizer):
                module.log_scale.add_(
                    0.3 * torch.rand(module.log_scale.shape, generator=generator) + 0.1
                )
    exporter = registry.create("exporters", name)
    path = tmp_path / next(iter(exporter.export(convert_model(model), inputs, tmp_path).values()))
    if is_onnx(path):
        assert all(holds(path, array) for array in learned(model))
        old = [array for array in learned(cnn_mixed()) if array.dtype == np.float32]
        assert not any(holds(path, array) for array in old)
    run = opened(name, path)
    others = KINDS["cnn-mixed"][2]
    for each in others:
        assert (
            relative_error(
                run({key: value.numpy() for key, value in each.items()}),
                logits(model, each).numpy(),
            )
            < 0.1
        )


@exporters
@kinds
def test_the_file_is_within_two_percent_of_its_bits(
    exported: Callable[[str, str], Path], name: str, kind: str
) -> None:
    """Its bits a code, four bytes for each scale, bias and float parameter that is left, and the nodes of the graph."""
    converted = convert_model(KINDS[kind][0]())
    packed = [module for module in converted.modules() if isinstance(module, Integer)]
    others = {
        key: tensor for key, tensor in model_state(converted).items() if not key.endswith("stored")
    }
    codes = sum(
        math.prod(module.shape) * (module.grid.bits if module.is_packed else 8) / 8
        for module in packed
    )
    budget = codes + sum(tensor.numel() * tensor.element_size() for tensor in others.values())
    # Names and nodes, which every format has: as ONNX writes them.
    proto = onnx.load(str(exported(kind, name if is_onnx(exported(kind, name)) else "onnx")))
    for tensor in proto.graph.initializer:
        tensor.ClearField("raw_data")
    assert codes > 0.4 * budget
    assert exported(kind, name).stat().st_size - len(proto.SerializeToString()) <= 1.02 * budget


@kinds
def test_quantized_products_run_in_integer_kernels(
    exported: Callable[[str, str], Path], kind: str
) -> None:
    path = exported(kind, "onnx")
    ops = optimized_ops(path)
    assert not {"Conv", "Gemm"} & set(ops) or kind.endswith(
        ("groups", "float8")
    )  # weights alone are stored in few bits
    check_kernels(convert_model(KINDS[kind][0]()), path)


def test_a_product_without_an_integer_kernel_is_told(
    exported: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exported("bert-static", "onnx")
    ops = optimized_ops(path)
    kernel = next(name for name in onnx_kernels.INTEGER_KERNELS if ops[name])
    fewer = ops - Counter({kernel: 1})
    monkeypatch.setattr(onnx_kernels, "optimized_ops", lambda _: fewer)
    with pytest.raises(ValueError, match=r"products are quantized, but ONNX Runtime runs only"):
        check_kernels(convert_model(bert_static()), path)


@kinds
def test_the_graph_tells_nothing_of_this_machine(
    exported: Callable[[str, str], Path], kind: str
) -> None:
    content = exported(kind, "onnx").read_bytes()
    for trace in (
        b".py",
        b"site-packages",
        str(Path.home()).encode() + b"/",
        b"pkg.torch",
        b"namespace",
    ):
        assert trace not in content


# The artifact.

IMAGE = ImageClassification(
    [*"abcde"], json.dumps({"height": 8, "width": 8, "channels": 1, "mean": [0.5], "std": [0.25]})
)
TEXT = TokenClassification(TAGS, tokenizer_text(32))
IMAGE_ROWS = [
    {
        "image": np.random.default_rng(i).integers(0, 256, (8, 8), np.uint8),
        "label": str(np.random.default_rng(i).choice(list("abcde"))),
    }
    for i in range(40)
]
TEXT_ROWS = [
    sentence(
        " ".join(words),
        " ".join("O" if word.islower() or word == "." else "B-PER" for word in words),
    )
    for words in (
        np.random.default_rng(i).choice(
            ["Ada", "Lovelace", "in", "New", "York", "a", ".", "Yorker"], 1 + 3 * i
        )
        for i in range(16)
    )
]


@cache
def image_model() -> nn.Module:
    return quantized(
        cnn(),
        {
            "pixel_values": torch.from_numpy(
                np.stack([row.inputs["pixel_values"] for row in IMAGE.encode(IMAGE_ROWS)])
            )
        },
        "uint8",
    )


@cache
def text_model() -> nn.Module:
    return quantized(bert(len(VOCABULARY)), tokens(8, 20, len(VOCABULARY)), "uint8-dynamic")


ARTIFACTS: dict[str, tuple[Any, str, list[Any], Callable[[], nn.Module], list[str]]] = {
    "image": (IMAGE, "image-classification", IMAGE_ROWS, image_model, INSTALLED),
    "text": (TEXT, "token-classification", TEXT_ROWS, text_model, ["onnx"]),
}


def write(kind: str, folder: Path) -> None:
    task, task_name, rows, build, names = ARTIFACTS[kind]
    content = writing.Artifact(build(), task, task_name, f"task: {task_name}\n", names)
    writing.write(content, task.encode(rows), folder)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @cache
    def artifact(kind: str) -> Path:
        folder = tmp_path_factory.mktemp("artifacts") / kind
        write(kind, folder)
        return folder

    return artifact


artifacts = pytest.mark.parametrize("kind", list(ARTIFACTS))


@artifacts
def test_an_artifact_answers_raw_inputs_as_the_model_does(
    written: Callable[[str], Path], kind: str
) -> None:
    task, _, rows, build, _ = ARTIFACTS[kind]
    scored = score_split(build(), task.encode(rows), task, one_by_one=True)
    predictor = load(written(kind))
    assert predictor.runtime == "onnxruntime"
    found = np.concatenate([predictor.logits(row) for row in rows])
    assert relative_error(found, scored.logits) < 0.01
    row = rows[1]
    raw = tuple(row["words"]) if "words" in row else row["image"]
    assert predictor.predict(raw) == task.decode(task.row(raw), predictor.logits(row))
    assert predictor.predict([row, raw]) == [predictor.predict(raw)] * 2


@artifacts
def test_an_artifact_is_complete_and_names_every_file(
    written: Callable[[str], Path], kind: str
) -> None:
    task, task_name, _, _, names = ARTIFACTS[kind]
    folder = written(kind)
    manifest = read_json(folder / "manifest.json")
    there = {path.name for path in folder.iterdir()}
    assert there >= {
        "model.onnx",
        task.preprocess_file,
        "labels.json",
        "recipe.yaml",
        "golden.safetensors",
    }
    assert manifest["files"] == {
        name: file_digest(folder / name) for name in there - {"manifest.json"}
    }
    assert manifest["task"] == task_name
    assert [graph["runtime"] for graph in manifest["graphs"]] == [
        runtime for name in names for runtime in registry.load("exporters", name).runtimes
    ]
    assert read_json(folder / "labels.json") == list(task.labels)
    assert (folder / task.preprocess_file).read_text() == task.preprocess


@artifacts
def test_the_golden_inputs_are_none_of_the_user_s_rows(
    written: Callable[[str], Path], kind: str
) -> None:
    task, _, rows, _, _ = ARTIFACTS[kind]
    inputs = golden.inputs_of(written(kind))
    name = task.input_names[0]
    own = {row.inputs[name].tobytes() for row in task.encode(rows)}
    assert not any(value.tobytes() in own for value in inputs[name])


@pytest.fixture
def artifact(written: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(written("image"), tmp_path / "artifact"))


def test_a_change_of_any_file_is_refused(artifact: Path) -> None:
    load(artifact)
    for path in sorted(artifact.iterdir()):
        original = path.read_bytes()
        for changed in (
            original[:-1] + bytes([original[-1] ^ 1]),
            original + b"\n",
            original[: len(original) // 2],
            b"",
        ):
            if path.name == "manifest.json" and changed == original + b"\n":
                continue  # space at its end is no change of JSON
            path.write_bytes(changed)
            with pytest.raises(BrokenArtifact):
                load(artifact)
        path.write_bytes(original)
    load(artifact)


def test_a_missing_file_is_named(artifact: Path) -> None:
    for path in sorted(artifact.iterdir()):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(ValueError, match=path.name):
            load(artifact)
        path.write_bytes(content)


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="this is no artifact"):
        load(tmp_path)
    with pytest.raises(ValueError, match="missing: there is no such folder"):
        load(tmp_path / "missing")


def sign(folder: Path, **changes: Any) -> None:
    """Write the manifest anew over the files as they are."""
    files = {
        path.name: file_digest(path) for path in folder.iterdir() if path.name != "manifest.json"
    }
    write_json(
        folder / "manifest.json", read_json(folder / "manifest.json") | {"files": files} | changes
    )


@pytest.mark.parametrize("name", runtimes_of(INSTALLED))
def test_a_machine_that_computes_otherwise_is_refused(artifact: Path, name: str) -> None:
    """Golden outputs that this machine does not reproduce, every digest being right."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(artifact / "golden.safetensors")
    save_file(
        tensors | {f"output.{name}": tensors[f"output.{name}"] * 1.02},
        artifact / "golden.safetensors",
    )
    sign(artifact)
    load(artifact, runtime=name)
    for wrong in (
        tensors[f"output.{name}"] * 1.2,
        tensors[f"output.{name}"][:1],
        np.full_like(tensors[f"output.{name}"], np.nan),
    ):
        save_file(tensors | {f"output.{name}": wrong}, artifact / "golden.safetensors")
        sign(artifact)
        with pytest.raises(BrokenArtifact, match="computes other answers here"):
            load(artifact, runtime=name)


def test_a_manifest_may_not_reach_outside_its_folder(artifact: Path) -> None:
    (artifact.parent / "outside").write_text("x")
    manifest = read_json(artifact / "manifest.json")
    manifest["files"]["../outside"] = file_digest(artifact.parent / "outside")
    write_json(artifact / "manifest.json", manifest)
    with pytest.raises(BrokenArtifact, match="outside"):
        load(artifact)


def test_a_manifest_of_another_schema_is_refused(artifact: Path) -> None:
    sign(artifact, schema=2)
    with pytest.raises(BrokenArtifact, match="schema 2"):
        load(artifact)


DAMAGE: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "no graphs": lambda manifest: {
        name: value for name, value in manifest.items() if name != "graphs"
    },
    "graphs of none": lambda manifest: manifest | {"graphs": []},
    "no task": lambda manifest: {name: value for name, value in manifest.items() if name != "task"},
    "a graph without a file": lambda manifest: manifest | {"graphs": [{"runtime": "onnxruntime"}]},
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_a_manifest_with_a_hole_is_refused(
    artifact: Path, damage: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    write_json(artifact / "manifest.json", damage(read_json(artifact / "manifest.json")))
    with pytest.raises(BrokenArtifact):
        load(artifact)


@pytest.mark.parametrize(
    "name", ["model.onnx", "labels.json", "preprocess.json", "golden.safetensors"]
)
def test_a_file_that_the_manifest_does_not_vouch_for_is_not_used(artifact: Path, name: str) -> None:
    manifest = read_json(artifact / "manifest.json")
    del manifest["files"][name]
    write_json(artifact / "manifest.json", manifest)
    with pytest.raises(BrokenArtifact):
        load(artifact)


def test_an_unknown_runtime_is_refused_with_those_there_are(artifact: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no graph for `onxruntime`\. Did you mean `onnxruntime`\?"
    ):
        load(artifact, runtime="onxruntime")


def test_two_exports_write_the_same_bytes(written: Callable[[str], Path], tmp_path: Path) -> None:
    write("image", tmp_path / "again")
    assert folder_digest(tmp_path / "again") == folder_digest(written("image"))


@artifacts
def test_the_proof_holds_in_a_fresh_process_and_leaves_nothing_behind(
    written: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    task, _, rows, build, _ = ARTIFACTS[kind]
    scored = score_split(build(), task.encode(rows), task, one_by_one=True)
    graphs = read_json(written(kind) / "manifest.json")["graphs"]
    found = parity.prove(written(kind), scored, rows, task, tmp_path)
    assert [row["runtime"] for row in found] == [graph["runtime"] for graph in graphs]
    for row in found:
        assert row["rows"] == len(rows)
        assert row["units"] == len(scored.labels)
        assert row["agreement"] == 1 - row["flips"] / row["units"]
    assert found[0]["holds"]
    assert found[0]["flips"] <= 1
    assert list(tmp_path.glob("*.tmp*")) == []


def test_the_proof_fails_for_another_model_s_answers() -> None:
    scored = score_split(image_model(), IMAGE.encode(IMAGE_ROWS), IMAGE)
    moved = np.roll(scored.logits, 1, 1)
    found = parity.compare(
        scored, Scored(moved, scored.labels, scored.offsets), IMAGE, "onnxruntime"
    )
    assert not found["holds"]
    assert found["flips"] == 40
    assert parity.compare(scored, scored, IMAGE, "onnxruntime")["holds"]


@pytest.mark.parametrize(
    ("name", "units", "flips", "holds"),
    [
        ("onnxruntime", 1000, 1, True),
        ("onnxruntime", 1000, 2, False),
        ("onnxruntime", 3000, 3, True),
        ("openvino", 1000, 5, True),
        ("openvino", 1000, 6, False),
        ("onnxruntime", 10, 1, True),
    ],
)
def test_how_many_decisions_may_differ(name: str, units: int, flips: int, holds: bool) -> None:
    """max(1, 0.1 %) in ONNX Runtime and max(1, 0.5 %) elsewhere; the flips here change no metric by more than one flip and 0.002."""
    labels = np.zeros(units, np.int64)
    own, other = (
        np.tile([0.0, 2.0, 1.0, 0.0, 0.0], (units, 1)),
        np.tile([0.0, 2.0, 1.0, 0.0, 0.0], (units, 1)),
    )
    other[:flips, 2] = 3
    offsets = np.arange(units + 1)
    found = parity.compare(
        Scored(own, labels, offsets), Scored(other, labels, offsets), IMAGE, name
    )
    assert (found["flips"], found["holds"]) == (flips, holds)


@pytest.mark.parametrize(("flips", "holds"), [(1, True), (2, False)])
def test_a_close_call_that_falls_otherwise_counts(flips: int, holds: bool) -> None:
    """Though no logit is far off."""
    labels = np.zeros(1000, np.int64)
    own = np.tile([0.0, 1.0, 0.995, 0.0, 0.0], (1000, 1))
    other = own.copy()
    other[:flips, 2] = 1.005
    offsets = np.arange(1001)
    found = parity.compare(
        Scored(own, labels, offsets), Scored(other, labels, offsets), IMAGE, "onnxruntime"
    )
    assert (found["flips"], found["far_off"], found["holds"]) == (flips, 0, holds)
