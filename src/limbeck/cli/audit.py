"""`limbeck audit`: anybody's GGUF file against the transformers folder that it was made from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli.exits import VERDICT_FAILED
from limbeck.cli.options import AsJson, Threads, nameable

GgufPath = Annotated[
    Path, typer.Argument(metavar="MODEL.gguf", help="The GGUF file.", callback=nameable)
]
Folder = Annotated[
    Path,
    typer.Argument(help="The transformers folder that it was made from.", callback=nameable),
]
Texts = Annotated[
    Path,
    typer.Argument(
        help="Texts: a line each, or .jsonl of `text` or `messages`.", callback=nameable
    ),
]
MaxDrop = Annotated[
    float, typer.Option("--max-drop", min=0, help="Of perplexity, relative: 0.05 is 5 %.")
]
MostTexts = Annotated[int, typer.Option("--most-texts", min=1, help="How many texts are read.")]
MostTokens = Annotated[int, typer.Option("--most-tokens", min=2, help="Of each text.")]
LlamaCppFolder = Annotated[
    Path | None,
    typer.Option("--llama-cpp", help="Where npm has installed node-llama-cpp.", callback=nameable),
]


@dataclass(frozen=True)
class Audit:
    """Hold a GGUF file against the transformers folder it was made from.

    Told are the types and errors of its tensors, those that are missing, swapped or laid out
    otherwise, settings and tokens that differ, and the perplexity of both on your texts. Exit
    status 1 where something is wrong.
    """

    # A class, whose fields are the verb's arguments: more of them than a function should take.
    file: GgufPath
    folder: Folder
    texts: Texts
    max_drop: MaxDrop = 0.05
    most_texts: MostTexts = 100
    most_tokens: MostTokens = 512
    llama_cpp: LlamaCppFolder = None
    threads: Threads = 1
    as_json: AsJson = False

    def __post_init__(self) -> None:
        """Compare, and tell. Raises ValueError for what cannot be read."""
        import json

        from limbeck.artifact.audit.auditing import Bounds, audit

        bounds = Bounds(self.max_drop, self.most_texts, self.most_tokens, self.threads)
        found = audit(self.file, self.folder, self.texts, bounds, self.llama_cpp)
        if self.as_json:
            typer.echo(json.dumps(found.as_json(), ensure_ascii=False))
        else:
            for line in found.lines():
                typer.echo(line)
        if found.faults:
            raise typer.Exit(VERDICT_FAILED)
