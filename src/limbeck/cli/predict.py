"""`limbeck predict`: an artifact's answers, one JSON object a line."""

import sys
from typing import Annotated

import typer

from limbeck.cli.options import ArtifactFolder, Runtime, Threads

Source = Annotated[
    str | None,
    typer.Argument(help="Texts or images: a file or folder; left out, standard input is read."),
]


def predict(
    artifact: ArtifactFolder, source: Source = None, runtime: Runtime = None, threads: Threads = 1
) -> None:
    """Answer texts or images with an artifact, as JSON lines.

    Texts stand one a line. Standard input holds texts, or paths of images.
    """
    import json

    from limbeck.artifact.inputs import read_inputs
    from limbeck.artifact.load import load

    predictor = load(artifact, runtime=runtime, threads=threads)
    for raw in read_inputs(source, iter(sys.stdin), images=predictor.reads_images):
        answer = {"input": raw, **predictor.predict(raw)}
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
        # Whoever writes a line into a pipe waits for its answer.
        sys.stdout.flush()
