"""`limbeck bench`: how fast an artifact answers the user's inputs, or its recipe's test split."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from limbeck.cli.options import ArtifactFolder, Runtime, Threads

Source = Annotated[
    str | None,
    typer.Argument(help="Texts or images to time with; left out, inputs are drawn at random."),
]
TestSplit = Annotated[
    bool,
    typer.Option("--test", help="Time with the test split of the artifact's recipe, in order."),
]


def bench(
    artifact: ArtifactFolder,
    source: Source = None,
    runtime: Runtime = None,
    threads: Threads = 1,
    test: TestSplit = False,
) -> None:
    """Time an artifact from raw input to answer, one input at a time.

    Told are the median (p50), what 99 of 100 inputs do not exceed (p99) and inputs a second, for
    texts of 128 tokens and for the inputs in their order; and the artifact's bytes and memory.
    """
    # Each line as it comes: a large artifact takes minutes.
    for line in lines(artifact, source, runtime, threads, test=test):
        typer.echo(line)


def lines(
    artifact: Path, source: str | None, runtime: str | None, threads: int, *, test: bool
) -> Iterator[str]:
    """The lines of the table, each as soon as it is measured.

    `test`: time with the test split of the artifact's recipe. Raises ValueError for `source` and
    `test` together, and for a test split that cannot be read.
    """
    from limbeck.artifact.bench import bench as measure

    if test and source is not None:
        raise ValueError(
            f"--test times the recipe's test split, `{source}` its own inputs: give one of the two"
        )
    rows = read_test_split(artifact) if test else None
    yield from measure(artifact, source, runtime, threads, test_rows=rows)


def read_test_split(artifact: Path) -> list[Any]:
    """The first rows of the test split that the artifact's recipe names, in order, as raw inputs.

    Raises ValueError where the split cannot be read from here.
    """
    from limbeck.artifact.bench import MOST_ROWS
    from limbeck.artifact.manifest import checked_manifest
    from limbeck.artifact.rows.inputs import raw
    from limbeck.core import registry
    from limbeck.data.splits import load_splits
    from limbeck.recipe.reading import read

    task = registry.load("tasks", checked_manifest(artifact)["task"])
    data = read(artifact / "recipe.yaml").data
    # Unlabelled rows serve training alone: they may lie elsewhere, and reading them takes time.
    labelled = data.model_copy(update={"transfer": None, "unlabelled_rows": None})
    try:
        rows = load_splits(labelled, task).test[:MOST_ROWS]
    except (OSError, ValueError) as error:
        raise ValueError(
            "--test: the test split that this artifact's recipe names "
            f"cannot be read from here: {error}"
        ) from None
    return [raw(row) for row in rows]
