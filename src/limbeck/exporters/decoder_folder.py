"""A trained causal language model as what a folder of transformers holds: config, tokenizer, chat
template and float weights. Formats of text generation are written from it.

The tokenizer comes from the artifact's own `dialogue.json`, by which the model was trained and is
proven, and never from the folder of the teacher: a student may have another (`trim_vocabulary`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from limbeck.artifact.group_codes import GroupCodes
from limbeck.exporters.onnx_decoder import one_table
from limbeck.quantization.group_codes import group_codes
from limbeck.quantization.modules.integer import Integer, IntegerLinear
from limbeck.tasks.inputs.dialogue import DialogueInput

# Files of transformers.
CONFIG = "config.json"
GENERATION = "generation_config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A converted model (`quantization.conversion`), and how it reads texts."""

    model: nn.Module
    reading: DialogueInput

    @property
    def config(self) -> Any:
        """Its config, transformers' own."""
        return self.model.config

    @cached_property
    def bare(self) -> nn.Module:
        """The model of the config without memory: its modules, and its weights' shapes."""
        import transformers

        with torch.device("meta"):
            # The class is one of transformers': nothing else has a config of its kind.
            made: nn.Module = transformers.AutoModelForCausalLM.from_config(
                self.config, trust_remote_code=False
            )
        return made

    @cached_property
    def codes(self) -> dict[str, GroupCodes]:
        """The integers by the weights' names; a table that input and output share once, under the
        input's. Raises ValueError for what is not quantized in groups with fp16 scales."""
        return one_table(integers_of(self.model), self.config, self.bare.state_dict())

    @cached_property
    def floats(self) -> dict[str, Tensor]:
        """The weights without integers, float32, by their names in transformers.

        Raises ValueError for a model that is not what its config says.
        """
        state = self.model.state_dict()
        is_tied = self.config.tie_word_embeddings
        found = {}
        for name, expected in self.bare.state_dict().items():
            # The file has a shared table once.
            if name in self.codes or (is_tied and name == "lm_head.weight"):
                continue
            weight = state.get(name)
            if weight is None or weight.shape != expected.shape:
                shape = "is not there" if weight is None else f"has the shape {list(weight.shape)}"
                raise ValueError(
                    f"`{name}` {shape}, and the model's config.json says {list(expected.shape)}: "
                    "no file of a model without code of its own can hold it. Take another surgery"
                )
            found[name] = weight.detach().float().cpu().contiguous()
        return found

    def lies_turned(self, name: str) -> bool:
        """Whether transformers has a weight as (inputs, outputs), as GPT-2's Conv1D."""
        from transformers.pytorch_utils import Conv1D

        module = self.bare.get_submodule(name.removesuffix(".weight"))
        return isinstance(module, Conv1D)

    def all_in_float(self) -> dict[str, Tensor]:
        """Every weight in float32, as transformers lays it out: integers by what they stand for,
        which float32 holds exactly."""
        found = dict(self.floats)
        for name, each in self.codes.items():
            values = torch.from_numpy(each.values())
            found[name] = values.t().contiguous() if self.lies_turned(name) else values
        return found

    def write_texts(self, folder: Path, changes: Mapping[str, Any]) -> None:
        """Write all but the weights.

        changes: keys of config.json beside or in place of the model's.
        """
        # 1. What the model is. Of a folder's name on this machine nothing is written.
        config = json.loads(self.config.to_json_string())
        config.pop("_name_or_path", None)
        write(folder / CONFIG, config | {"architectures": [type(self.bare).__name__]} | changes)
        # 2. Where it stops, and how it reads.
        self.write_ends(folder)
        self.write_tokenizer(folder)

    def write_ends(self, folder: Path) -> None:
        """Write where an answer stops: at any of several tokens."""
        told = {
            "eos_token_id": self.reading.end_ids,
            "pad_token_id": self.reading.parts["pad_id"],
        }
        write(folder / GENERATION, told)

    def write_tokenizer(self, folder: Path) -> None:
        """Write how texts are read: tokenizer, special tokens and chat template."""
        parts = self.reading.parts
        write(folder / TOKENIZER, parts["tokenizer"])
        told: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            # transformers would take blanks away before punctuation.
            "clean_up_tokenization_spaces": False,
            "model_max_length": self.config.max_position_embeddings,
        }
        special: dict[str, str] = parts["special_tokens"]
        write(folder / TOKENIZER_CONFIG, told | special)
        if parts["chat_template"] is not None:
            (folder / CHAT_TEMPLATE).write_text(parts["chat_template"], encoding="utf-8")


def read_model(model: nn.Module, folder: Path) -> Checkpoint:
    """A converted model, with the `dialogue.json` that lies in the exporter's folder.

    Raises ValueError where there is none: the model is of another task.
    """
    path = folder / DialogueInput.preprocess_file
    if not path.is_file():
        raise ValueError(
            f"{path.name} is not in the exporter's folder: a model that generates text is needed, "
            "with its tokenizer"
        )
    return Checkpoint(model, DialogueInput(path.read_text(encoding="utf-8")))


def integers_of(model: nn.Module) -> dict[str, GroupCodes]:
    """The codes of a converted model; none where it is float."""
    is_quantized = any(isinstance(module, Integer) for module in model.modules())
    return group_codes(model) if is_quantized else {}


def check_codes(
    file: str, found: Mapping[str, GroupCodes], expected: Mapping[str, GroupCodes]
) -> None:
    """Raise ValueError, with the file's name, where integers and scales that were read back of it
    are not those of a model to the bit."""
    if found.keys() != expected.keys():
        others = sorted(found.keys() ^ expected.keys())
        raise ValueError(f"{file}: {others[0]} is integers in the file or the model alone")
    for name, each in expected.items():
        other = found[name]
        is_equal = np.array_equal(each.codes, other.codes) and each.bits == other.bits
        # By their bytes: a scale of minus zero is another than zero.
        if not is_equal or each.scales.tobytes() != other.scales.tobytes():
            raise ValueError(f"{file}: {name} was read back with other integers or scales")


def activations_of(model: nn.Module) -> str:
    """How a converted model's integers meet what they read: `int8`, rounded by token and group, or
    `float`. Raises ValueError where some do this and some that: a graph says it once."""
    by_token: dict[bool, str] = {}
    for name, module in model.named_modules():
        if isinstance(module, IntegerLinear):
            by_token[bool(module.token_group)] = name
    if len(by_token) == 2:
        raise ValueError(
            f"`{by_token[True]}` reads int8-dynamic activations and `{by_token[False]}` float ones:"
            " a graph with a cache has one kind. Write the same `activations` in `quantize` and "
            "in its `modules`"
        )
    return "int8" if True in by_token else "float"


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file as transformers does; the same content gives the same bytes."""
    text = json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
