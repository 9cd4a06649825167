"""The command line: a table from verb to function. Exit status 0 done, 1 the verdict failed, 2 the user's mistake, 3 interrupted and resumable."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from limbeck.store import Interrupted

app = typer.Typer(
    help="Distil and quantize in one training: one recipe in, a small integer model out, with the proof of what it kept.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Overrides = Annotated[list[str] | None, typer.Argument(help="key=value, for example train.epochs=2")]
Out = Annotated[Path | None, typer.Option("--out", help="The run folder")]
ArtifactFolder = Annotated[Path, typer.Argument(help="An artifact's folder, for example RUN/artifact")]
Runtime = Annotated[str | None, typer.Option(help="onnxruntime or openvino")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of the runtime")]


@app.command()
def run(recipe: Annotated[Path, typer.Argument(help="A recipe, YAML")], overrides: Overrides = None, out: Out = None) -> None:
    """Run a recipe to a verdict; the same command goes on after an interruption."""
    from limbeck.recipe import read

    _run(read(recipe, overrides), out or Path("runs") / recipe.stem, recipe.stem)


@app.command()
def demo(overrides: Overrides = None, out: Out = None) -> None:
    """The whole flow on scikit-learn's digits, offline, in about a minute."""
    from limbeck.recipe import read

    folder = out or Path("demo")
    _run(read(Path(__file__).with_name("demo.yaml"), overrides), folder, "limbeck demo: handwritten digits", next_steps=True)


@app.command()
def check(recipe: Annotated[Path, typer.Argument(help="A recipe, YAML")], overrides: Overrides = None) -> None:
    """Check a recipe and its data; trains nothing."""
    from limbeck import data, registry
    from limbeck.recipe import read

    checked = read(recipe, overrides)
    checked.check_components()
    found = data.read(checked.data, registry.load("tasks", checked.task))
    for note in found.notes:
        typer.echo(note)
    counts = f"{len(found.train)} train, {len(found.validation)} validation, {len(found.test)} test rows"
    labels = f"; {len(found.labels)} labels: {data.some(found.labels)}" if found.labels else ""
    typer.echo(f"{recipe}: {counts}{labels}")


@app.command()
def predict(
    artifact: ArtifactFolder,
    source: Annotated[str | None, typer.Argument(help="A file or folder; standard input if left out")] = None,
    runtime: Runtime = None,
    threads: Threads = 1,
) -> None:
    """Answer with an artifact: texts (one a line) or images in, JSON lines out."""
    import json

    from limbeck.runtime import load, read_inputs

    predictor = load(artifact, runtime=runtime, threads=threads)
    images = "pixel_values" in predictor.task.input_names
    for given in read_inputs(source, iter(sys.stdin), images=images):
        sys.stdout.write(json.dumps({"input": given, **predictor.predict(given)}, ensure_ascii=False) + "\n")
        sys.stdout.flush()


@app.command()
def bench(
    artifact: ArtifactFolder,
    source: Annotated[str | None, typer.Argument(help="Texts or images to time with; drawn at random if left out")] = None,
    runtime: Runtime = None,
    threads: Threads = 1,
) -> None:
    """Time an artifact end to end, one input at a time: p50, p99, units a second, bytes."""
    from limbeck.bench import measure

    for line in measure(artifact, source, runtime, threads):
        typer.echo(line)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run folder")]) -> None:
    """Draw a run's report.html anew from its report.json."""
    import json

    from limbeck import report as pages
    from limbeck.store import read_json

    if not (folder / "report.json").is_file():
        raise ValueError(f"{folder}: no report.json here. `limbeck run RECIPE --out {folder}` writes one")
    curves = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    pages.write(read_json(folder / "report.json"), curves, folder)
    typer.echo(folder / "report.html")


@app.command(name="list")
def list_components(
    family: Annotated[str | None, typer.Argument(help="A family")] = None,
    name: Annotated[str | None, typer.Argument(help="A component")] = None,
) -> None:
    """The families, a family's components, or what one component does and its keys."""
    from limbeck import registry

    if family is None:
        for each in registry.FAMILIES:
            typer.echo(f"{each:10} {', '.join(registry.names(each))}")
    elif family not in registry.FAMILIES:
        raise ValueError(f"no family `{family}`. {registry.suggest(family, registry.FAMILIES)}")
    elif name is None:
        for each in registry.names(family):
            typer.echo(f"{each:22} {_documentation(family, each).splitlines()[0]}")
    else:
        typer.echo(_documentation(family, name))
        for key, parameter in registry.keys(family, name).items():
            default = "required" if parameter.default is parameter.empty else f"default {parameter.default!r}"
            typer.echo(f"  {key}: {default}")


def main() -> None:
    """Answer a foreseen mistake in a sentence and with its exit status, never with a traceback."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_status(lambda: app(standalone_mode=False)))


def _status(command: Callable[[], Any]) -> int:
    import click

    try:
        result = command()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.exceptions.Abort):
        typer.echo("interrupted; the same command goes on from here", err=True)
        return 3
    except BrokenPipeError:
        return 0
    except (ValueError, OSError) as error:
        typer.echo(f"limbeck: {error}", err=True)
        return 2
    except Interrupted as error:
        typer.echo(f"limbeck: {error}", err=True)
        return 3


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(recipe: Any, out: Path, name: str, *, next_steps: bool = False) -> None:
    """Run, print the table, and exit with the verdict."""
    from limbeck.pipeline import run as run_recipe
    from limbeck.progress import on_stderr
    from limbeck.summary import lines

    with on_stderr() as tell:
        found = run_recipe(recipe, out, name=name, tell=tell)
    for line in lines(found, out, next_steps=next_steps):
        typer.echo(line)
    if (found["verdict"] and not found["verdict"]["kept"]) or not all(row["holds"] for row in found["parity"]):
        raise typer.Exit(1)


def _documentation(family: str, name: str) -> str:
    from limbeck import registry

    return (sys.modules[registry.load(family, name).__module__].__doc__ or "").strip()
