"""A small artifact of any task, whose graph is a product of numbers that a runtime of the test's own computes."""

from pathlib import Path

import foreign_runtime
import numpy as np
import pytest
from task_examples import EXAMPLES

from limbeck.artifact import manifest
from limbeck.artifact.proof import golden
from limbeck.core.files import write_json
from limbeck.evaluation.decisions.decision import FILE, Decision

RUNTIME = '''"""Products with a table: summed over a text, of each token, or of all pixels."""

from pathlib import Path

import numpy as np


class Products:
    """Opens `.npy` files."""

    needs = {"numpy": "pip install numpy"}
    allowed_flips = 0.001

    def open(self, path, threads):
        table = np.load(path)
        kind = Path(path).stem

        def run(inputs):
            if kind == "pixels":
                pixels = inputs["pixel_values"]
                return (pixels.reshape(len(pixels), -1) @ table).astype(np.float32)
            tokens = table[inputs["input_ids"]] * inputs["attention_mask"][..., None]
            if kind == "tokens":
                return tokens.astype(np.float32)
            summed = tokens.sum(1)
            if kind == "vectors":
                summed /= np.linalg.norm(summed, axis=1, keepdims=True)
            return summed.astype(np.float32)

        return run
'''
# What the table of each task is multiplied with.
KINDS = {
    "image-classification": "pixels",
    "token-classification": "tokens",
    "masked-lm": "tokens",
    "text-generation": "tokens",
    "sentence-embedding": "vectors",
    "ranking": "vectors",
}
DIMENSIONS = 6  # of a vector


def install_products(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with the runtime, for this process and for those that it starts."""
    foreign_runtime.install(site, monkeypatch, name="products", target="Products", source=RUNTIME)


def write_model(
    folder: Path, name: str, labels: list[str] | None = None, decision: Decision | None = None
) -> Path:
    """An artifact of the task of a name, with other labels where they are given."""
    folder.mkdir(parents=True)
    task, _, raw = EXAMPLES[name]
    if labels is not None:
        task = type(task)(labels, task.preprocess)
    encoded = task.encode([task.row(raw)])[0]
    # What is read of an example is as many rows of a graph as it has texts.
    has_rows = encoded.positions is None and KINDS.get(name) == "vectors"
    example = {key: value if has_rows else value[None] for key, value in encoded.inputs.items()}
    kind = KINDS.get(name, "texts")
    width = DIMENSIONS if kind == "vectors" else len(task.labels)
    height = np.prod(example["pixel_values"].shape) if kind == "pixels" else 50
    table = np.random.default_rng(7).normal(0, 0.4, (int(height), width))
    np.save(folder / f"{kind}.npy", table)
    write_json(folder / "labels.json", list(task.labels))
    (folder / task.preprocess_file).write_text(task.preprocess, encoding="utf-8")
    files = {"products": f"{kind}.npy"}
    if decision is not None:
        write_json(folder / FILE, decision.to_json())
    golden.write(example, files, folder)
    manifest.write(folder, name, manifest.graphs_of(files))
    return folder
