"""A GGUF file, opened: its metadata, and its tensors on disk.

Read here and not by the package `gguf`, whose reader believes every count and every length: one
that lies makes it loop for hours. Here nothing is read that cannot lie in the file.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.gguf import blocks
from limbeck.artifact.group_codes import GroupCodes
from limbeck.core import files

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_DIMENSIONS = 4
# A name of 64 bytes at most, its length, the dimensions, the type, the offset: at least.
SMALLEST_TENSOR = 8 + 4 + 8 + 4 + 8
SMALLEST_PAIR = 8 + 4 + 1
ALIGNMENT = 32

STRING, ARRAY = 8, 9
# The number of a type -> how `struct` reads it.
SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True)
class Tensor:
    """One tensor of the file. `shape`: rows first, as numpy has it; the file has it reversed."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    num_bytes: int


@dataclass(frozen=True)
class GgufFile:
    """What a file says of itself, and where its tensors lie."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Tensor]

    @cached_property
    def content(self) -> np.ndarray:
        """The bytes of the file, mapped."""
        return np.memmap(self.path, np.uint8, mode="r")

    @property
    def architecture(self) -> str:
        """What llama.cpp takes the file for, such as `llama`."""
        return str(self.metadata.get("general.architecture", ""))

    def rows(self, name: str) -> np.ndarray:
        """The bytes of a tensor, (rows, bytes of a row) uint8."""
        tensor = self.tensors[name]
        end = tensor.offset + tensor.num_bytes
        num_rows = int(np.prod(tensor.shape[:-1]))
        return np.asarray(self.content[tensor.offset : end]).reshape(num_rows, -1)

    # Not cached: a tensor of a large model is a gigabyte as float32.
    def values(self, name: str) -> np.ndarray:
        """The values of a tensor, float32, in its shape. Raises ValueError for a type that the
        package `gguf` does not read."""
        from gguf import GGMLQuantizationType, quants

        tensor = self.tensors[name]
        rows = self.rows(name)
        # What numpy knows itself, and the package does not take.
        kinds = {"F64": np.float64, "I8": np.int8, "I16": np.int16, "I32": np.int32}
        if tensor.type in kinds:
            found = rows.view(kinds[tensor.type]).astype(np.float32)
        else:
            try:
                found = quants.dequantize(rows, GGMLQuantizationType[tensor.type])
            except NotImplementedError:
                raise ValueError(
                    f"{self.path}: {name} is of the type {tensor.type}, which the package gguf "
                    "does not read"
                ) from None
        return found.reshape(tensor.shape)

    def codes(self, name: str) -> GroupCodes:
        """The integers of a tensor of the type Q4_0 or Q8_0."""
        return blocks.unpack(self.rows(name), blocks.BITS[self.tensors[name].type])


def read(path: Path) -> GgufFile:
    """Open a GGUF file, without its tensors' bytes.

    Raises ValueError, with the place, for what is no GGUF file, is cut off, or lies of its lengths.
    """
    files.require_file(path)
    with files.naming(path), open(path, "rb") as file:
        size = path.stat().st_size
        if size < len(MAGIC) or file.read(len(MAGIC)) != MAGIC:
            raise ValueError(f"{path}: this is no GGUF file: it does not begin with `GGUF`")
        # Mapped, so that a header of a million tokens is read in place.
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return Header(path, content).read()


class Header:
    """Reads the part before the tensors' bytes, from its beginning to its end."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self.path = path
        self.content = content
        self.place = len(MAGIC)

    def read(self) -> GgufFile:
        """The whole header, checked."""
        # 1. Version and counts.
        version = self.scalar("I")
        if version not in VERSIONS:
            # Of the other byte order as well: its version is a huge number.
            raise ValueError(
                f"{self.path}: GGUF of version {version}, and versions 2 and 3 of the byte order "
                "of PCs are read. Convert it anew with llama.cpp's convert_hf_to_gguf.py"
            )
        num_tensors = self.count(SMALLEST_TENSOR, "tensors")
        num_pairs = self.count(SMALLEST_PAIR, "metadata")
        # 2. Metadata, which say how tensors are aligned.
        metadata: dict[str, Any] = {}
        for _ in range(num_pairs):
            key = self.text()
            if key in metadata:
                raise self.broken(f"the key {key} is there twice")
            metadata[key] = self.value(self.scalar("I"))
        # 3. Descriptions of tensors, and only then where their bytes begin.
        described = [self.tensor() for _ in range(num_tensors)]
        alignment = metadata.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise self.broken(f"general.alignment is {alignment}")
        # The tensors' bytes begin at the next multiple of it.
        start = -(-self.place // alignment) * alignment
        # 4. Checked against the file's end here, so that nobody reads beyond it later.
        tensors = dict(self.placed(described, start))
        if len(tensors) < len(described):
            raise self.broken("a name stands for two tensors")
        return GgufFile(self.path, metadata, tensors)

    def tensor(self) -> Tensor:
        """The description of the next tensor, its offset still from where tensors begin."""
        name = self.text()
        num_dimensions = self.scalar("I")
        # ggml's own limit.
        if not 1 <= num_dimensions <= MOST_DIMENSIONS:
            raise self.broken(f"{name} has {num_dimensions} dimensions")
        shape = [self.scalar("Q") for _ in range(num_dimensions)]
        kind = self.scalar("I")
        offset = self.scalar("Q")
        block, block_bytes, type_name = self.kind(kind, name)
        # The first is the length of a row, along which blocks lie.
        if shape[0] % block:
            raise self.broken(f"{name} has rows of {shape[0]}, and {type_name} takes {block}")
        count = 1
        for length in shape:
            # Python's integers do not overflow: a product beyond the file is refused below.
            count *= length
        num_bytes = count // block * block_bytes
        return Tensor(name, tuple(reversed(shape)), type_name, offset, num_bytes)

    def kind(self, number: int, name: str) -> tuple[int, int, str]:
        """(weights a block, bytes a block, name) of a type by its number."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        try:
            kind = GGMLQuantizationType(number)
        except ValueError:
            raise self.broken(f"{name} is of the unknown type {number}") from None
        block, block_bytes = GGML_QUANT_SIZES[kind]
        return block, block_bytes, kind.name

    def placed(self, described: list[Tensor], start: int) -> Iterator[tuple[str, Tensor]]:
        """Each tensor with its offset from the beginning of the file."""
        for each in described:
            offset = start + each.offset
            if offset + each.num_bytes > len(self.content):
                raise self.broken(
                    f"{each.name} ends at byte {offset + each.num_bytes:,}, and the file has "
                    f"{len(self.content):,}: it is cut off, download or copy it again"
                )
            yield each.name, Tensor(each.name, each.shape, each.type, offset, each.num_bytes)

    def value(self, kind: int) -> Any:
        """The next value of a type by its number. Arrays of numbers are numpy's."""
        if kind in SCALARS:
            return self.scalar(SCALARS[kind])
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            raise self.broken(f"metadata of the unknown type {kind}")
        kind = self.scalar("I")
        if kind in SCALARS:
            code = SCALARS[kind]
            num_bytes = self.count(struct.calcsize(code), "values") * struct.calcsize(code)
            return np.frombuffer(self.bytes(num_bytes), f"<{code}")
        if kind != STRING:
            # Lists of lists are legal; nothing that is read here has any.
            raise self.broken(f"a list of the type {kind}")
        return [self.text() for _ in range(self.count(8, "texts"))]

    def count(self, smallest: int, what: str) -> int:
        """How many of something follow, each of so many bytes at least."""
        count = self.scalar("Q")
        # A list of that length is made only where the file can hold it.
        if count * smallest > len(self.content) - self.place:
            raise self.broken(f"it says that {count:,} {what} follow, which it has no room for")
        return count

    def text(self) -> str:
        """The next text."""
        content = self.bytes(self.count(1, "bytes of a text"))
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise self.broken(f"a text is not UTF-8: {error}") from None

    def scalar(self, code: str) -> Any:
        """The next number."""
        return struct.unpack(f"<{code}", self.bytes(struct.calcsize(code)))[0]

    def bytes(self, count: int) -> bytes:
        """The next bytes."""
        found = self.content[self.place : self.place + count]
        if len(found) < count:
            raise self.broken("the file ends in the middle of its header: it is cut off")
        self.place += count
        return found

    def broken(self, reason: str) -> ValueError:
        """The error for a file that is no whole GGUF file."""
        return ValueError(f"{self.path}: a broken GGUF file, at byte {self.place:,}: {reason}")
