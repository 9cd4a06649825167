"""OpenVINO on the CPU, in float32, with a model of texts that keeps what it has read: the file that
OpenVINO GenAI opens (`artifact.generation.openvino_decoder`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from limbeck.artifact.generation.openvino_decoder import OpenvinoDecoder
from limbeck.artifact.runtimes import Graph


class OpenvinoGenai:
    """Opens the `openvino_model.xml` of a folder for OpenVINO GenAI."""

    needs: ClassVar[Mapping[str, str]] = {"openvino": "pip install 'limbeck[openvino-genai]'"}

    # Integers meet floats that nothing rounds: only the order of additions differs.
    allowed_flips: ClassVar[float] = 0.001

    def open(self, path: Path, threads: int) -> Graph:
        """A compiled model, which answers whole texts, or a token after another."""
        return OpenvinoDecoder(path, threads)
