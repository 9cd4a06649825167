"""The weights of a folder of compressed-tensors, and what its config.json says of them.

    weight[o, i] = codes[o, i] * scales[o, i // group]

| format | tensors beside `NAME.weight_scale` (fp16) | for |
|---|---|---|
| `int-quantized` | `NAME.weight`: int8 | 8 bits, and tables of any bits |
| `pack-quantized` | `NAME.weight_packed`: int32, `NAME.weight_shape` | fewer bits |

transformers (5.24) opens no table that is packed (its `Embedding` has no `weight` then), so a table
of few bits takes a byte for each code. Where the output projection shares the table, the codes
lie in the file once, under the table's name, and the scales under both.

Names are those of the state dict of the transformers model.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from limbeck.artifact.compressed_tensors import packing
from limbeck.artifact.gguf.folder import read_object
from limbeck.artifact.group_codes import GroupCodes

FILE = "model.safetensors"
CONFIG = "config.json"
KEY = "quantization_config"
BYTES = "int-quantized"
PACKED = "pack-quantized"
MIXED = "mixed-precision"
OUTPUT = "lm_head"
# Weights that share a scale for activations, which are rounded to eight bits.
ACTIVATION_GROUP = 32


@dataclass(frozen=True)
class Stored:
    """How the weight of one module lies in the file.

    - `bits`, `group`: of its codes; `width`: how many of them a row has.
    - `is_packed`: in `pack-quantized`.
    - `rounds`: its activations are rounded to int8, by token and group of 32.
    """

    bits: int
    group: int
    width: int
    is_packed: bool
    rounds: bool

    def scheme(self) -> dict[str, Any]:
        """What config.json says of it."""
        # One scale a row has a name of its own.
        is_by_row = self.group == self.width
        weights: dict[str, Any] = {
            "num_bits": self.bits,
            "type": "int",
            "symmetric": True,
            "dynamic": False,
            "strategy": "channel" if is_by_row else "group",
            "group_size": None if is_by_row else self.group,
        }
        activations: dict[str, Any] = {
            "num_bits": 8,
            "type": "int",
            "symmetric": True,
            "dynamic": True,
            "strategy": "group",
            "group_size": ACTIVATION_GROUP,
        }
        return {
            "weights": weights,
            "input_activations": activations if self.rounds else None,
            "output_activations": None,
            "format": PACKED if self.is_packed else BYTES,
        }


def stored(weight: GroupCodes, *, is_table: bool, rounds: bool) -> Stored:
    """How a weight is written. `is_table`: an embedding reads it, or shares it."""
    return Stored(
        bits=weight.bits,
        group=weight.group,
        width=weight.codes.shape[1],
        is_packed=weight.bits < packing.BYTE_BITS and not is_table,
        rounds=rounds,
    )


def quantization_config(modules: Mapping[str, Stored]) -> dict[str, Any]:
    """What stands in config.json under `quantization_config`. `modules`: by their names."""
    # 1. Modules of one scheme are one group, by their own names: no pattern that could match more.
    schemes: list[dict[str, Any]] = []
    targets: list[list[str]] = []
    for name, module in modules.items():
        scheme = module.scheme()
        if scheme not in schemes:
            schemes.append(scheme)
            targets.append([])
        targets[schemes.index(scheme)].append(name)
    groups = {}
    for number, scheme in enumerate(schemes):
        groups[f"group_{number}"] = scheme | {"targets": targets[number]}
    # 2. What holds for all of them.
    formats = sorted({scheme["format"] for scheme in schemes})
    return {
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "format": formats[0] if len(formats) == 1 else MIXED,
        "config_groups": groups,
        "ignore": [],
        "kv_cache_scheme": None,
    }


def tensors_of(name: str, weight: GroupCodes, module: Stored) -> dict[str, np.ndarray]:
    """The tensors of one module, by their names in the file."""
    found: dict[str, np.ndarray] = {f"{name}.weight_scale": weight.scales}
    if module.is_packed:
        found[f"{name}.weight_packed"] = packing.pack(weight.codes, weight.bits)
        found[f"{name}.weight_shape"] = np.array(weight.codes.shape, np.int64)
    else:
        found[f"{name}.weight"] = weight.codes
    return found


class WeightFolder:
    """A folder that was written, open to be read. Raises ValueError for a broken one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_object(folder / CONFIG)
        try:
            self.file = safe_open(folder / FILE, framework="np")
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{folder / FILE}: no whole safetensors file: {error}") from None
        self.names = set(self.file.keys())
        self.modules = dict(_modules_of(self.config, folder))

    @property
    def rounds(self) -> bool:
        """Whether activations are rounded."""
        return any(scheme["input_activations"] for scheme in self.modules.values())

    def codes(self, module: str) -> GroupCodes:
        """The integers of one module. Raises ValueError where they are not there."""
        weights = self.modules[module]["weights"]
        scales = self._tensor(f"{module}.weight_scale")
        if self.modules[module]["format"] == PACKED:
            words = self._tensor(f"{module}.weight_packed")
            width = int(self._tensor(f"{module}.weight_shape")[1])
            codes = packing.unpack(words, weights["num_bits"], width)
        else:
            codes = self._tensor(f"{self._holder(module)}.weight")
        return GroupCodes(codes, scales, weights["num_bits"])

    def all_codes(self) -> dict[str, GroupCodes]:
        """The integers of every weight, by its name; a shared table once, under the table's."""
        found = {}
        for module in self.modules:
            if self._holder(module) == module:
                found[f"{module}.weight"] = self.codes(module)
        return found

    def values(self, name: str) -> np.ndarray | None:
        """A weight in float32: what integers stand for, or a float that is stored; None where the
        folder has none of that name."""
        module = name.removesuffix(".weight")
        if module in self.modules and name.endswith(".weight"):
            return self.codes(module).values()
        return self._tensor(name).astype(np.float32) if name in self.names else None

    def _holder(self, module: str) -> str:
        """The module under whose name the codes lie: of an output that shares the table, the
        table."""
        is_own = {f"{module}.weight", f"{module}.weight_packed"} & self.names
        if is_own or module != OUTPUT:
            return module
        tables = [each for each in self.modules if each.endswith(".embed_tokens")]
        return tables[0] if tables else module

    def _tensor(self, name: str) -> np.ndarray:
        if name not in self.names:
            raise ValueError(f"{self.folder / FILE}: `{name}` is missing. Export it again")
        tensor: np.ndarray = self.file.get_tensor(name)
        return tensor


def _modules_of(config: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each module whose weight is integers, and its scheme. Raises ValueError for a config.json
    that does not say it as it is written here."""
    told = config.get(KEY)
    if not isinstance(told, dict) or told.get("quant_method") != "compressed-tensors":
        raise ValueError(f"{folder / CONFIG}: no `{KEY}` of compressed-tensors. Export it again")
    groups: Iterable[dict[str, Any]] = told["config_groups"].values()
    for scheme in groups:
        for name in scheme["targets"]:
            yield name, scheme
