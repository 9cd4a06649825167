"""What every exporter of text generation keeps: the trained integers and the tokenizer, the same bytes twice, and refusals by name before anything is trained.

Nothing is run in another program here: `tests/test_llama_cpp_artifact.py` and its like do that.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf_toys as toys
import numpy as np
import pytest
import torch
from generation_artifacts import logits_of, task_of, trained, write_artifact
from transformers import AutoTokenizer

import limbeck
from limbeck.artifact.compressed_tensors.folder import FILE, OUTPUT, WeightFolder
from limbeck.artifact.gguf import writing as gguf_writing
from limbeck.artifact.gguf.file import read
from limbeck.artifact.group_codes import GroupCodes
from limbeck.core import registry
from limbeck.core.files import folder_digest
from limbeck.exporters import ForTasks, compressed_tensors
from limbeck.exporters.decoders import openvino_model
from limbeck.exporters.requirements import require_exporters, why_other_task
from limbeck.exporters.writing import read_with, write_graphs
from limbeck.pipeline.preflight.compatibility import mismatches
from limbeck.quantization.group_codes import group_codes
from limbeck.recipe.reading import parse

pytest.importorskip("gguf")

# Those that are made for text generation; `onnx` writes every task.
NAMES = [
    name
    for name in registry.names("exporters")
    if isinstance(registry.create("exporters", name), ForTasks)
]
KINDS = ("llama", "qwen2", "gpt2")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    below = tmp_path_factory.mktemp("toys")
    return {kind: toys.toy_folder(below / kind, kind) for kind in KINDS}


def exported(name: str, source: Path, out: Path, **keys: Any) -> Any:
    """A toy's files in `out`; the model that was trained."""
    for package in registry.load("exporters", name).needs:
        pytest.importorskip(package)
    model = trained(source, **keys)
    ids = torch.arange(6).reshape(2, 3)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    out.mkdir()
    write_graphs(model, [name], inputs, out, read_with(task_of(source)))
    return model


def assert_trained(found: Mapping[str, GroupCodes], model: Any, bits: int) -> None:
    """What a file holds is a model's integers, to the bit."""
    expected = group_codes(model)
    assert found.keys() == expected.keys() and len(found) > 8
    for name, each in expected.items():
        np.testing.assert_array_equal(found[name].codes, each.codes)
        assert found[name].scales.tobytes() == each.scales.tobytes()
        assert found[name].bits == bits


@pytest.mark.parametrize("name", NAMES)
def test_the_same_model_gives_the_same_bytes(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    for number in ("one", "two"):
        exported(name, folders["llama"], tmp_path / number)
    assert folder_digest(tmp_path / "one") == folder_digest(tmp_path / "two")


@pytest.mark.parametrize("name", NAMES)
def test_another_task_is_refused_with_the_key_to_change(name: str) -> None:
    assert why_other_task(name, "text-generation") is None
    told = why_other_task(name, "text-classification")
    assert told is not None and f"Leave `{name}` out of `export`" in told
    recipe = parse(
        "task: image-classification\ndata: {source: sklearn, dataset: digits}\n"
        f"student: {{model: small_cnn, width: 4}}\nquantize: {{}}\nexport: [onnx, {name}]\n"
    )
    (mistake,) = mismatches(recipe)
    assert mistake.path == ["export", "1"] and "image-classification" in mistake.message


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_without_a_tokenizer_is_refused(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    model = trained(folders["llama"])
    with pytest.raises(ValueError, match=r"dialogue\.json is not in the exporter's folder"):
        write_graphs(model, [name], {"input_ids": torch.zeros(2, 3)}, tmp_path)


# ONNX.


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_answers_as_torch_and_has_a_tokenizer_beside_it(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    model = trained(folders[kind])
    out = write_artifact(model, task_of(folders[kind]), ["onnx"], tmp_path / "artifact")
    text = toys.TEXTS[0]
    predictor = limbeck.load(out)
    row = predictor.encoded(predictor.row({"text": text}))
    expected = logits_of(model, row.inputs["input_ids"].tolist())
    np.testing.assert_allclose(predictor.computed(row)[-1], expected[-1], atol=1e-4)
    # By the files that ONNX Runtime GenAI and transformers read.
    tokenizer = AutoTokenizer.from_pretrained(out)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == row.inputs["input_ids"].tolist()
    messages = [{"role": "user", "content": "hello"}]
    written = tokenizer.apply_chat_template(messages, tokenize=False)
    assert written == predictor.task.input.template.render(messages)
    assert (tokenizer.eos_token, tokenizer.pad_token) == (toys.SPECIAL[2], toys.SPECIAL[0])


# OpenVINO GenAI; `tests/test_openvino_genai.py` opens what is written.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_openvino_genai_holds_the_trained_integers(
    kind: str, weights: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    model = exported("openvino_genai", folders[kind], out, weights=weights)
    found = openvino_model.codes_of(openvino_model.constants_of(out / "openvino_model.xml"))
    assert_trained(found, model, int(weights[3:]))
    # No path of this machine.
    for path in out.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("changes", "keys", "told"),
    [
        ({}, {"weights": "int3"}, r"`.*`: codes of 3 bits, and OpenVINO computes int8 and int4"),
        ({}, {"activations": "int8-dynamic"}, "does not round activations as the model"),
        ({"hidden_act": "relu"}, {}, "the activation `relu` is not written"),
        (
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}},
            {},
            r"`rope_type: dynamic`\) depends on the length of a text",
        ),
    ],
)
def test_what_openvino_genai_does_not_compute_is_refused_by_name(
    changes: dict[str, Any], keys: dict[str, Any], told: str, tmp_path: Path
) -> None:
    source = toys.toy_folder(tmp_path / "toy", "llama", **changes)
    with pytest.raises(ValueError, match=told):
        exported("openvino_genai", source, tmp_path / "out", **keys)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("constant", [".codes", ".scales", "norm.weight"])
def test_openvino_genai_is_refused_where_the_file_has_other_numbers(
    constant: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if OpenVINO had written one number otherwise."""
    read_back = openvino_model.constants_of

    def other(path: Path) -> dict[str, Any]:
        found: dict[str, Any] = read_back(path)
        name = next(each for each in sorted(found) if each.endswith(constant))
        changed = found[name].data.copy()
        changed.reshape(-1).view(np.uint8)[0] ^= 1
        kept = found[name]
        found[name] = SimpleNamespace(
            data=changed,
            get_element_type=kept.get_element_type,
            get_output_shape=kept.get_output_shape,
        )
        return found

    monkeypatch.setattr(openvino_model, "constants_of", other)
    with pytest.raises(ValueError, match=r"openvino_model\.xml: .* was read back with other"):
        exported("openvino_genai", folders["llama"], tmp_path / "out", weights="int4")


def test_without_openvino_genai_s_packages_the_recipe_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *more: None if name == "openvino_tokenizers" else find(name, *more),
    )
    told = r"`openvino\w*` is not installed\. pip install 'limbeck\[openvino-genai\]', or leave"
    with pytest.raises(ValueError, match=told):
        require_exporters(["onnx", "openvino_genai"])


def test_openvino_names_the_exporter_of_texts() -> None:
    told = why_other_task("openvino", "text-generation")
    assert told is not None and told.endswith("say `openvino_genai` in its place")
    assert why_other_task("openvino", "text-classification") is None


# GGUF.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_gguf_holds_the_trained_integers(
    kind: str, weights: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    model = exported("gguf", folders[kind], out, weights=weights)
    assert [path.name for path in out.iterdir()] == ["model.gguf"]
    found = gguf_writing.codes_of(out / "model.gguf")
    # GPT-2's table of positions stays float in ggml's files, and is quantized by no recipe.
    assert_trained(found, model, int(weights[3:]))


def test_gguf_holds_tokenizer_template_and_ends(folders: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported("gguf", folders["llama"], out)
    told = read(out / "model.gguf").metadata
    task = task_of(folders["llama"])
    assert told["tokenizer.chat_template"] == toys.CHAT
    # The table of embeddings has more rows than the tokenizer has pieces.
    assert told["tokenizer.ggml.tokens"][: len(task.labels)] == task.labels
    assert told["tokenizer.ggml.eos_token_id"] == 2
    assert told["tokenizer.ggml.padding_token_id"] == 0
    # No path of this machine.
    assert told["general.name"] == "model"
    assert str(tmp_path).encode() not in (out / "model.gguf").read_bytes()


def test_what_stays_float_is_float32_without_loss(folders: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    model = exported("gguf", folders["qwen2"], out, keep_float=["*q_proj"])
    opened = read(out / "model.gguf")
    query = "blk.0.attn_q.weight"
    assert opened.tensors[query].type == "F32"
    weight = model.get_submodule("model.layers.0.self_attn.q_proj").weight
    np.testing.assert_array_equal(opened.values(query), weight.detach().numpy())


@pytest.mark.parametrize(
    ("changes", "keys", "told"),
    [
        ({}, {"weights": "int3"}, r"codes of 3 bits\. Blocks of 4 and of 8 bits can be written"),
        ({}, {"weights": "int2"}, r"codes of 2 bits"),
        ({"hidden_act": "relu"}, {}, r"the activation `relu` is not what llama\.cpp computes"),
    ],
)
def test_what_gguf_does_not_have_is_refused_by_name(
    changes: dict[str, Any], keys: dict[str, Any], told: str, tmp_path: Path
) -> None:
    source = toys.toy_folder(tmp_path / "toy", "llama", **changes)
    with pytest.raises(ValueError, match=told):
        exported("gguf", source, tmp_path / "out", **keys)
    # Nothing of a file that was begun.
    assert list((tmp_path / "out").iterdir()) == []


def test_without_llama_cpp_the_recipe_is_refused_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_LLAMA_CPP", str(tmp_path / "none"))
    told = r"(npm install --ignore-scripts|Node\.js 20 or newer).*, or leave `gguf` out of `export`"
    with pytest.raises(ValueError, match=told):
        require_exporters(["onnx", "gguf"])


# compressed-tensors.


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("weights", ["int8", "int4", "int3", "int2"])
def test_compressed_tensors_holds_the_trained_integers(
    kind: str, weights: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    model = exported("compressed_tensors", folders[kind], out, weights=weights)
    opened = WeightFolder(out)
    found = opened.all_codes()
    assert_trained(found, model, int(weights[3:]))
    # The table that input and output share lies there once.
    assert f"{OUTPUT}.weight" not in opened.names and f"{OUTPUT}.weight_packed" not in opened.names
    table = group_codes(model)["model.embed_tokens.weight"]
    np.testing.assert_array_equal(opened.codes(OUTPUT).values(), table.values())


def test_compressed_tensors_is_as_large_as_its_integers(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """Tables take a byte for each code of four bits; all else takes its bits."""
    out = tmp_path / "out"
    model = exported("compressed_tensors", folders["llama"], out, weights="int4")
    # Shared, the scales of the table lie there twice.
    numbers = sum(weight.codes.size // 2 for weight in group_codes(model).values())
    scales = sum(weight.scales.nbytes for weight in group_codes(model).values())
    table = group_codes(model)["model.embed_tokens.weight"]
    norms = 5 * 64 * 4
    shapes = 14 * 16
    budget = numbers + scales + table.codes.size // 2 + table.scales.nbytes + norms + shapes
    header = int.from_bytes((out / FILE).read_bytes()[:8], "little")
    assert (out / FILE).stat().st_size == 8 + header + budget


def test_compressed_tensors_takes_a_table_of_its_own_and_scales_by_row(tmp_path: Path) -> None:
    source = toys.toy_folder(tmp_path / "toy", "llama", tie_word_embeddings=False)
    out = tmp_path / "out"
    model = exported("compressed_tensors", source, out, weights="int4", group=None)
    opened = WeightFolder(out)
    assert f"{OUTPUT}.weight_packed" in opened.names
    schemes = opened.config["quantization_config"]["config_groups"].values()
    assert {scheme["weights"]["strategy"] for scheme in schemes} == {"channel"}
    for name, each in group_codes(model).items():
        np.testing.assert_array_equal(opened.all_codes()[name].codes, each.codes)


def test_compressed_tensors_keeps_floats_and_the_texts_beside_them(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    kept = ["*q_proj", "*embed_tokens", "lm_head"]
    model = exported("compressed_tensors", folders["qwen2"], out, keep_float=kept)
    opened = WeightFolder(out)
    for name in ("model.layers.0.self_attn.q_proj.weight", "model.embed_tokens.weight"):
        expected = model.state_dict()[name].numpy()
        np.testing.assert_array_equal(opened.values(name), expected)
    assert OUTPUT not in opened.modules and opened.values("lm_head.weight") is None
    assert opened.config["dtype"] == "float32"
    # No path of this machine.
    assert str(tmp_path) not in (out / "config.json").read_text()
    assert AutoTokenizer.from_pretrained(out).chat_template == toys.CHAT


@pytest.mark.parametrize(
    ("kind", "changes", "keys", "told"),
    [
        ("gpt2", {}, {}, r"`transformer\.h\.0\.attn\.c_attn` is a Conv1D, and compressed-tensors"),
        ("llama", {"hidden_act": "relu"}, {}, r"could not be proven.*the activation `relu`"),
        (
            "llama",
            {},
            {"activations": "int8-dynamic", "group": 64},
            r"groups of 64, and here they are written in groups of 32: say `group: 32`",
        ),
    ],
)
def test_what_compressed_tensors_does_not_have_is_refused_by_name(
    kind: str, changes: dict[str, Any], keys: dict[str, Any], told: str, tmp_path: Path
) -> None:
    # Widths that are multiples of 64.
    sizes = {} if kind == "gpt2" else {"intermediate_size": 128}
    source = toys.toy_folder(tmp_path / "toy", kind, **(sizes | changes))
    with pytest.raises(ValueError, match=told):
        exported("compressed_tensors", source, tmp_path / "out", **keys)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("tensor", ["weight", "weight_scale", "weight_packed", "norm"])
def test_a_file_of_other_numbers_is_refused(
    tensor: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the writer had changed one number: what is read back is held against the model."""
    save = compressed_tensors.save_file

    def other(tensors: dict[str, np.ndarray], path: Path, notes: dict[str, str]) -> None:
        name = next(
            each
            for each in sorted(tensors)
            if each.split(".")[-1] == tensor or (tensor == "norm" and "norm" in each)
        )
        changed = tensors[name].copy()
        # The lowest bit of one number.
        changed.reshape(-1).view(np.uint8)[0] ^= 1
        save({**tensors, name: changed}, path, notes)

    monkeypatch.setattr(compressed_tensors, "save_file", other)
    with pytest.raises(ValueError, match=r"model\.safetensors: .* was read back with other"):
        exported("compressed_tensors", folders["llama"], tmp_path / "out", weights="int4")
