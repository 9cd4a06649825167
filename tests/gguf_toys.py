"""Toy decoders as folders of transformers, with a byte-level tokenizer of their own, and integers for their matrices."""

from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from limbeck.artifact.group_codes import GROUP, GroupCodes

TEXTS = [
    "The agent says hello, and asks for order number 12345.\n",
    "It's late; THEY'LL call back at 10:30, won't they?  Yes.",
    "naïve café, 你好，世界 and ½ of it costs $3.14\n\n\tdone",
]
CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = 384


def toy_tokenizer(pre: Any = None) -> Tokenizer:
    """A byte-level BPE of 384 pieces; `pre`: how it splits, GPT-2's where left out."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre or pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return tokenizer


def toy_folder(folder: Path, kind: str = "llama", pre: Any = None, **changes: Any) -> Path:
    """A toy model of random weights, saved as transformers saves it."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        GPT2Config,
        LlamaConfig,
        PreTrainedTokenizerFast,
        Qwen2Config,
        Qwen3Config,
    )

    sizes = dict(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        rope_parameters={"rope_theta": 10000.0, "rope_type": "default"},
    )
    gpt2 = dict(vocab_size=VOCABULARY, n_embd=64, n_layer=2, n_head=4, n_positions=128)
    configs: dict[str, Any] = {
        "llama": lambda: LlamaConfig(**(sizes | changes)),
        "qwen2": lambda: Qwen2Config(**(sizes | changes)),
        "qwen3": lambda: Qwen3Config(**(sizes | {"head_dim": 32} | changes)),
        "gpt2": lambda: GPT2Config(**(gpt2 | dict(bos_token_id=1, eos_token_id=2) | changes)),
    }
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(configs[kind]())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Random norms and biases as well, so that none of them can be forgotten.
            spread = 0.3 if weight.ndim < 2 else 0.15
            offset = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            weight.copy_(torch.randn_like(weight) * spread + offset)
    model.save_pretrained(folder)
    tokenizer = toy_tokenizer(pre)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        unk_token=SPECIAL[0],
        pad_token=SPECIAL[0],
        chat_template=CHAT,
    )
    fast.save_pretrained(folder)
    return folder


def nearest_codes(weight: np.ndarray, bits: int) -> GroupCodes:
    """Integers of a matrix (outputs, inputs) by rounding to nearest."""
    groups = weight.reshape(-1, GROUP)
    highest = {4: 7, 8: 127}[bits]
    scales = (np.abs(groups).max(1) / highest).astype(np.float16)
    safe = np.where(scales == 0, 1, scales).astype(np.float32)
    codes = np.rint(groups / safe[:, None]).clip(-highest - 1, highest).astype(np.int8)
    rows = len(weight)
    return GroupCodes(codes.reshape(rows, -1), scales.reshape(rows, -1), bits)


def codes_of_folder(folder: Path, bits: int) -> dict[str, GroupCodes]:
    """Integers of all matrices of a folder, of the embeddings as well."""
    from limbeck.artifact.gguf import decoders as shapes
    from limbeck.artifact.gguf.folder import read_folder

    source = read_folder(folder)
    sizes = shapes.sizes_of_config(source.config)
    found = {}
    for name, place in source.places.items():
        if len(place.shape) == 2 and not name.endswith("wpe.weight"):
            values = source.values(name)
            rows = values.T if shapes.is_turned(name, sizes) else values
            found[name] = nearest_codes(np.ascontiguousarray(rows), bits)
    return found


def rewrite(path: Path, out: Path, change: Any) -> Path:
    """A GGUF file with faults: `change(metadata, tensors)` edits both before they are written again.

    tensors: name -> (array of float32, or the bytes of blocks; the type's name).
    """
    import gguf

    from limbeck.artifact.gguf.file import read

    opened = read(path)
    metadata = dict(opened.metadata)
    tensors = {}
    for name, tensor in opened.tensors.items():
        is_float = tensor.type == "F32"
        content = opened.values(name) if is_float else opened.rows(name).copy()
        tensors[name] = (content, tensor.type)
    change(metadata, tensors)
    writer = gguf.GGUFWriter(out, metadata.pop("general.architecture"))
    for key, value in metadata.items():
        plain = value.tolist() if isinstance(value, np.ndarray) else value
        kind = gguf.GGUFValueType.get_type(plain)
        if kind == gguf.GGUFValueType.ARRAY:
            writer.add_array(key, plain)
        elif key.endswith("_id") or (isinstance(plain, int) and not isinstance(plain, bool)):
            writer.add_uint32(key, plain)
        else:
            writer.add_key_value(key, plain, kind)
    for name, (content, kind) in tensors.items():
        writer.add_tensor(name, content, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out
