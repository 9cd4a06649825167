"""Writes a GGUF file: a folder of transformers, with integers in place of some of its weights.

The integers are written as they are, never computed anew; what has none is float32 or float16.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.artifact import group_codes
from limbeck.artifact.gguf import blocks, decoders
from limbeck.artifact.gguf.decoders import Sizes
from limbeck.artifact.gguf.folder import ModelFolder, read_folder
from limbeck.artifact.gguf.tokenizer import Vocabulary, vocabulary_of
from limbeck.artifact.group_codes import GroupCodes

if TYPE_CHECKING:
    from gguf import GGUFWriter

# `general.file_type`, by the bits of most weights; a file without integers is 0 or 1.
FILE_TYPES = {4: 2, 8: 7}
FLOATS: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
}
QUANTIZATION_VERSION = 2
# A key of our own: llama.cpp reads past what it does not know.
ACTIVATIONS = "limbeck.activations"


def write(
    folder: Path,
    codes: Mapping[str, GroupCodes],
    path: Path,
    others: str = "float32",
    *,
    activations: str = "float",
) -> None:
    """Write the model of a folder to `path`.

    codes: what transformers calls a matrix -> its integers; as transformers lays it out, (O, I), a
        table that input and output share once. GPT-2's Conv1D as well: (O, I), and not (I, O).
    others: `float32` or `float16`, for matrices without integers; vectors are float32.
    activations: what integers met in training, `float` or `int8`; llama.cpp rounds them anyway,
        and the file says it for whoever computes the trained model from it.

    Raises ValueError, with the tensor's name, for what GGUF or llama.cpp cannot take.
    """
    # 1. Everything that can be refused is refused before a byte is written.
    source = read_folder(folder)
    sizes = decoders.sizes_of_config(source.config)
    unknown = sorted(set(codes) - set(source.places))
    if unknown:
        raise ValueError(f"{folder} has no weight {unknown[0]}, for which integers are given")
    for name, weight in codes.items():
        group_codes.check(weight, name)
    vocabulary = vocabulary_of(source, source.num_rows)
    # 2. What stands before the tensors.
    # Whole or not there: a file that a kill cut off would look like a model.
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    writer = _writer(temporary, sizes.architecture)
    _write_sizes(writer, sizes, source, _file_type(codes, others))
    _write_vocabulary(writer, vocabulary, source.chat_template)
    if activations != "float":
        writer.add_string(ACTIVATIONS, activations)
    # 3. Tensors in the folder's order, each read when its turn comes.
    for name in source.places:
        _write_tensor(writer, name, source, codes.get(name), FLOATS[others])
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _writer(path: Path, architecture: str) -> "GGUFWriter":
    """The package's writer."""
    import gguf

    return gguf.GGUFWriter(path, architecture)


def _file_type(codes: Mapping[str, GroupCodes], others: str) -> int:
    """What `general.file_type` says: the type of most weights."""
    if not codes:
        return int(others == "float16")
    # Of weights and not of tensors, as llama.cpp's own converter counts.
    numbers = {bits: 0 for bits in FILE_TYPES}
    for weight in codes.values():
        numbers[weight.bits] += weight.codes.size
    return FILE_TYPES[max(numbers, key=numbers.__getitem__)]


def _write_sizes(writer: "GGUFWriter", sizes: Sizes, source: ModelFolder, file_type: int) -> None:
    """What llama.cpp must know beside the tensors."""
    writer.add_type("model")
    writer.add_name(source.path.resolve().name)
    writer.add_file_type(file_type)
    writer.add_quantization_version(QUANTIZATION_VERSION)
    keys = decoders.keys_of(sizes.architecture)
    for field, value in asdict(sizes).items():
        # GPT-2 has learned positions, and turns nothing.
        if field == "architecture" or (field == "rope_base" and sizes.architecture == "gpt2"):
            continue
        key = f"{sizes.architecture}.{keys[field][0]}"
        if isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_uint32(key, value)
    # llama.cpp would take the width over the heads, which Qwen3 does not keep to.
    writer.add_value_length(sizes.head_width)
    if sizes.architecture != "gpt2":
        writer.add_rope_dimension_count(sizes.head_width)


def _write_vocabulary(writer: "GGUFWriter", vocabulary: Vocabulary, template: str | None) -> None:
    """The tokenizer, whole."""
    writer.add_vocab_size(len(vocabulary.tokens))
    writer.add_tokenizer_model(vocabulary.model)
    # SentencePiece's merges cross no blank: nothing is split before.
    if vocabulary.pre is not None:
        writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.token_type)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    for flag, is_set in vocabulary.flags.items():
        writer.add_bool(f"tokenizer.ggml.{flag}", is_set)
    for key, index in vocabulary.special.items():
        writer.add_uint32(f"tokenizer.ggml.{key}", index)
    if template is not None:
        writer.add_chat_template(template)


def _write_tensor(
    writer: "GGUFWriter",
    name: str,
    source: ModelFolder,
    weight: GroupCodes | None,
    floats: np.dtype[Any],
) -> None:
    """One tensor, by what transformers calls it."""
    import gguf

    sizes = decoders.sizes_of_config(source.config)
    own_name = decoders.gguf_name(name, sizes.architecture)
    if own_name is None:
        raise ValueError(
            f"{source.path}: GGUF's {sizes.architecture} has no place for the tensor {name}"
        )
    if weight is None:
        laid_out = decoders.to_gguf(name, source.values(name), sizes)
        # llama.cpp wants vectors, which are few, in float32.
        is_matrix = laid_out.ndim > 1
        writer.add_tensor(own_name, laid_out.astype(floats if is_matrix else np.float32))
        return
    rows = decoders.permuted_rows(name, blocks.pack(weight), sizes)
    kind = gguf.GGMLQuantizationType[blocks.TYPES[weight.bits]]
    writer.add_tensor(own_name, rows, raw_dtype=kind)


def codes_of(path: Path) -> dict[str, GroupCodes]:
    """The integers of a GGUF file, by transformers' names and in its layout: what `write` was given
    where it wrote the file."""
    from limbeck.artifact.gguf.file import read

    opened = read(path)
    sizes = decoders.sizes_of_metadata(opened.metadata)
    found = {}
    for name, tensor in opened.tensors.items():
        own_name = decoders.transformers_name(name, sizes.architecture)
        if own_name is None or tensor.type not in blocks.BITS:
            continue
        # Blocks lie along a row, so that whole rows of bytes are moved.
        rows = decoders.unpermuted_rows(own_name, opened.rows(name), sizes)
        found[own_name] = blocks.unpack(rows, blocks.BITS[tensor.type])
    return found
