"""The arguments that several verbs take, each with its help text."""

from pathlib import Path
from typing import Annotated

import typer

RecipeFile = Annotated[Path, typer.Argument(help="The recipe, a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Keys of the recipe with other values, such as train.epochs=2."),
]
RunFolder = Annotated[Path, typer.Argument(help="The folder of a run.")]
RunFolderToWrite = Annotated[
    Path | None, typer.Option("--out", help="The run folder to write, or to go on with.")
]
ArtifactFolder = Annotated[
    Path, typer.Argument(help="The folder of an artifact, such as RUN/artifact.")
]
Runtime = Annotated[
    str | None,
    typer.Option(help="onnxruntime or openvino; left out, the first that the artifact offers."),
]
Threads = Annotated[int, typer.Option(min=1, help="How many threads the runtime may use.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
