"""The model card of an artifact: what it is, how good it was, and how it is loaded. Torch-free."""

import json
from typing import Any

from limbeck.core import registry

Json = dict[str, Any]

CARD_FILES = {
    "labels.json": "the classes, in the order of the logits",
    "tokenizer.json` or `preprocess.json": "how raw input becomes tensors",
    "recipe.yaml": "the recipe of the training, every default written out",
    "golden.safetensors": "inputs and outputs that are replayed when the model is loaded",
    "manifest.json": "SHA-256 of every file, and the list of graphs",
}

LOGITS = {
    "categorical": "the largest on the last axis is the index of a label",
    "bernoulli": "a label is given where its number is above 0",
    "gaussian": "a vector, or a score as a share of the range in labels.json",
}


def card(
    *,
    task: str,
    labels: list[str],
    metrics: dict[str, float],
    formats: dict[str, str],
    graphs: list[Json],
) -> str:
    """The model card of an artifact in Markdown; no time, path or latency, so that a resumed run writes the same bytes.

    metrics: name -> value on the test split, in the order to print; formats: what -> format, such as weights -> int8.
    """
    graph_files = {
        graph["file"]: f"the {graph['role']} graph for {graph['runtime']}" for graph in graphs
    }
    return "\n".join(
        [
            f"# A small model for {task.replace('-', ' ')}",
            "",
            "Trained and quantized by `limbeck`. This folder is complete: it runs without the code that trained it.",
            *_table("format", "value", formats),
            *_table(
                "quality on the test split",
                "value",
                {name: f"{value:.4f}" for name, value in metrics.items()},
            ),
            *(
                _fenced(
                    f"## Labels ({len(labels)})", "json", json.dumps(labels, ensure_ascii=False)
                )
                if labels
                else []
            ),
            *_usage(
                [graph["file"] for graph in graphs if graph["file"].endswith(".onnx")],
                registry.load("tasks", task).likelihood,
            ),
            *_table(
                "file",
                "what it is",
                {f"`{file}`": what for file, what in (graph_files | CARD_FILES).items()},
            ),
            "",
        ]
    )


def _table(left: str, right: str, rows: dict[str, str]) -> list[str]:
    cells = [
        (str(key).replace("|", "\\|"), str(value).replace("|", "\\|"))
        for key, value in rows.items()
    ]
    return [
        "",
        f"| {left} | {right} |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in cells),
    ]


def _fenced(title: str, language: str, text: str) -> list[str]:
    return ["", title, "", f"```{language}", text, "```"]


def _usage(onnx_files: list[str], likelihood: str) -> list[str]:
    """How to load the artifact with limbeck and, when it has an ONNX graph, without; what its logits mean by the task's `likelihood`."""
    code = (
        "import limbeck\n\n"
        'model = limbeck.load("path/to/this/folder")  # checks every file and replays the golden outputs\n'
        "model.predict(...)  # a text, or the path or bytes of an image"
    )
    lines = _fenced("## With limbeck", "python", code)
    if not onnx_files:
        return lines
    code = (
        "import json\nimport onnxruntime\n\n"
        f'session = onnxruntime.InferenceSession("{onnx_files[0]}")\n'
        'labels = json.load(open("labels.json", encoding="utf-8"))\n'
        "print([(tensor.name, tensor.type, tensor.shape) for tensor in session.get_inputs()])\n"
        f"# logits = session.run(None, {{name: array, ...}})[0]: {LOGITS[likelihood]}"
    )
    return lines + _fenced("## With ONNX Runtime alone", "python", code)
