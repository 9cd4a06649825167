"""The command line: a table from verb to function.

Exit status: 0 done, 1 the verdict failed, 2 the user's mistake, 3 interrupted and resumable, 130 interrupted.
"""

import contextlib
import errno
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from limbeck.core.errors import Interrupted
from limbeck.core.store import Store

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

INTERRUPTED = 130  # the exit status of a verb that Ctrl-C ended and that has nothing to go on from
OPTIONAL = {
    "torch",
    "transformers",
    "accelerate",
    "onnx",
    "onnxscript",
    "sklearn",
    "scipy",
    "jinja2",
}  # of the extra `train`
USAGE_ERROR: Any = (
    typer.BadParameter.__base__
)  # of click, which newer versions of typer carry inside

Overrides = Annotated[
    list[str] | None, typer.Argument(help="key=value, for example train.epochs=2")
]
Out = Annotated[Path | None, typer.Option("--out", help="The run folder")]
ArtifactFolder = Annotated[
    Path, typer.Argument(help="An artifact's folder, for example RUN/artifact")
]
Runtime = Annotated[str | None, typer.Option(help="onnxruntime or openvino")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of the runtime")]


def show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        from limbeck import __version__

        typer.echo(f"limbeck {__version__}")
        raise typer.Exit


@app.callback()
def limbeck(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version", callback=show_version, is_eager=True),
    ] = False,
) -> None:
    """Distil and quantize in one training: one recipe in, a small integer model out, with the proof of what it kept."""


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe, YAML")],
    overrides: Overrides = None,
    out: Out = None,
) -> None:
    """Run a recipe to a verdict; the same command goes on after an interruption."""
    from limbeck.recipe.reading import read

    _run(read(recipe, overrides), out or Path("runs") / recipe.stem, recipe.stem)


@app.command()
def demo(overrides: Overrides = None, out: Out = None) -> None:
    """The whole flow on scikit-learn's digits, offline, in about a minute."""
    from limbeck.recipe.reading import read

    folder = out or Path("demo")
    _run(
        read(Path(__file__).with_name("demo.yaml"), overrides),
        folder,
        "limbeck demo: handwritten digits",
        next_steps=True,
    )


@app.command()
def check(
    recipe: Annotated[Path, typer.Argument(help="A recipe, YAML")],
    overrides: Overrides = None,
    data_only: Annotated[
        bool, typer.Option("--data-only", help="Recipe and data; no model, no forecast")
    ] = False,
) -> None:
    """Find every mistake before training, in a minute at most, and forecast time, memory and disk."""
    from limbeck.pipeline.check import check as check_recipe
    from limbeck.recipe.reading import read

    checked = check_recipe(read(recipe, overrides), rehearse=not data_only)
    for line in checked.lines:
        typer.echo(line)
    for mistake in checked.mistakes:
        typer.echo(f"limbeck: {mistake}", err=True)
    if checked.mistakes:
        raise typer.Exit(2)
    typer.echo("ok")


@app.command()
def label(
    recipe: Annotated[Path, typer.Argument(help="A recipe, YAML")], overrides: Overrides = None
) -> None:
    """Ask a recipe's teachers about the training rows, and keep the answers for its runs; start it twice to share the work."""
    from limbeck.core.console import on_stderr
    from limbeck.recipe.reading import read

    with _resumable(), on_stderr() as tell:
        from limbeck.pipeline.runs import label as fill

        fill(read(recipe, overrides), tell)


@app.command()
def init(
    data: Annotated[Path, typer.Argument(help="A file or folder of data")],
    out: Annotated[Path, typer.Option("--out", help="The recipe to write")] = Path("recipe.yaml"),
    model: Annotated[
        str | None, typer.Option(help="The teacher, for texts: a hub id or a folder")
    ] = None,
) -> None:
    """Look at data and write a commented recipe for it."""
    from limbeck.cli.starter import write

    for line in write(data, out, model):
        typer.echo(line)


@app.command()
def predict(
    artifact: ArtifactFolder,
    source: Annotated[
        str | None, typer.Argument(help="A file or folder; standard input if left out")
    ] = None,
    runtime: Runtime = None,
    threads: Threads = 1,
) -> None:
    """Answer with an artifact: texts (one a line) or images in, JSON lines out."""
    import json

    from limbeck.artifact.inputs import read_inputs
    from limbeck.artifact.load import load

    predictor = load(artifact, runtime=runtime, threads=threads)
    images = "pixel_values" in predictor.task.input_names
    for given in read_inputs(source, iter(sys.stdin), images=images):
        sys.stdout.write(
            json.dumps({"input": given, **predictor.predict(given)}, ensure_ascii=False) + "\n"
        )
        sys.stdout.flush()


@app.command()
def bench(
    artifact: ArtifactFolder,
    source: Annotated[
        str | None, typer.Argument(help="Texts or images to time with; drawn at random if left out")
    ] = None,
    runtime: Runtime = None,
    threads: Threads = 1,
    test: Annotated[
        bool,
        typer.Option("--test", help="Time with the test split of the artifact's recipe, in order"),
    ] = False,
) -> None:
    """Time an artifact end to end, one input at a time: p50, p99 and units a second, at 128 tokens and in order; bytes and memory."""
    from limbeck.cli.bench import lines

    for line in lines(artifact, source, runtime, threads, test=test):
        typer.echo(line)


@app.command()
def inspect(
    folder: Annotated[Path, typer.Argument(help="A run folder")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs")] = False,
) -> None:
    """What each layer of a run's quantized model loses, saturates and takes, and where its changed answers begin; it joins the report."""
    import json

    from rich.console import Console

    from limbeck.cli.inspect import inspect as inspect_run
    from limbeck.cli.inspect import lines

    found = inspect_run(folder)
    if as_json:
        typer.echo(json.dumps(found))
        return
    console = Console(highlight=False)
    for line in lines(found):
        console.print(line, markup=False)


@app.command(name="search")
@dataclass(frozen=True)
class Search:
    """Find the format of each module that keeps the most quality within a budget: bits a weight, bytes or milliseconds."""

    recipe: Annotated[Path, typer.Argument(help="A recipe, YAML")]
    overrides: Overrides = None
    bits: Annotated[float | None, typer.Option(help="Budget: average bits of a weight")] = None
    size: Annotated[
        str | None, typer.Option("--bytes", help="Budget: bytes of all weights, for example 9MB")
    ] = None
    milliseconds: Annotated[
        float | None,
        typer.Option(help="Budget: milliseconds of one input on this machine, one thread"),
    ] = None
    formats: Annotated[
        str | None, typer.Option(help="What to choose from, for example int8,int4,float")
    ] = None
    sensitivity: Annotated[
        str, typer.Option(help="How loss is estimated: gradient, kl or hessian")
    ] = "gradient"
    as_json: Annotated[bool, typer.Option("--json", help="For programs")] = False
    out: Annotated[Path | None, typer.Option("--out", help="A file for the block to paste")] = None

    def __post_init__(self) -> None:
        import json

        from rich.console import Console

        from limbeck.core.console import on_stderr
        from limbeck.recipe.reading import read
        from limbeck.studies import report, search
        from limbeck.studies.budget import parse_budget, parse_formats

        budget = parse_budget(self.bits, self.size, self.milliseconds)
        formats = parse_formats(self.formats, budget.unit)
        with _resumable(), on_stderr() as tell:
            found = search.search(
                read(self.recipe, self.overrides),
                budget,
                formats,
                self.sensitivity,
                Store(tell=tell),
            )
        if self.out:
            self.out.write_text(report.as_yaml(found), encoding="utf-8")
        if self.as_json:
            typer.echo(json.dumps(found))
            return
        console = Console(highlight=False)
        for line in report.lines(found):
            console.print(line, markup=False, soft_wrap=True)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run folder")]) -> None:
    """Draw a run's report.html anew from its report.json."""
    from limbeck.core.files import read_json
    from limbeck.reports import page

    if not (folder / "report.json").is_file():
        raise ValueError(
            f"{folder}: no report.json here. `limbeck run RECIPE --out {folder}` writes one"
        )
    page.redraw(read_json(folder / "report.json"), folder)
    typer.echo(folder / "report.html")


@app.command(name="list")
def list_components(
    family: Annotated[str | None, typer.Argument(help="A family")] = None,
    name: Annotated[str | None, typer.Argument(help="A component")] = None,
) -> None:
    """The families, a family's components, or what one component does and its keys."""
    from rich.console import Console

    from limbeck.cli import catalogue

    parts = (
        catalogue.families()
        if family is None
        else catalogue.family(family)
        if name is None
        else catalogue.component(family, name)
    )
    console = Console(highlight=False, markup=False)
    for part in parts:
        console.print(part)


@app.command()
def doctor() -> None:
    """What this machine can do: CPU, memory, versions, extras, cache, speed of int8."""
    from limbeck.cli import doctor as doctors

    for line in doctors.lines():
        typer.echo(line)


@app.command()
def schema() -> None:
    """The JSON Schema of recipes, for editors."""
    import json

    from limbeck.cli.schema import schema as recipe_schema

    typer.echo(json.dumps(recipe_schema(), indent=1))


def main() -> None:
    """Answer a foreseen mistake in a sentence and with its exit status, never with a traceback."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_status(lambda: app(standalone_mode=False)))


def _status(command: Callable[[], Any]) -> int:
    try:
        result = command()
        if result == INTERRUPTED:  # what newer versions of typer make of Ctrl-C
            return _interrupted()
        return result if isinstance(result, int) else 0
    except typer.Exit as error:
        return error.exit_code
    except USAGE_ERROR as error:
        error.show()
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except BrokenPipeError:
        return 0
    except OSError as error:
        typer.echo(f"limbeck: {explained(error)}", err=True)
        return 2
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        typer.echo(
            f'limbeck: this needs the package {error.name}, which is not installed. pip install "limbeck[train]"',
            err=True,
        )
        return 2
    except ValueError as error:
        typer.echo(f"limbeck: {error}", err=True)
        return 2
    except Interrupted as error:
        typer.echo(f"limbeck: {error}", err=True)
        return 3


def _interrupted() -> int:
    typer.echo("interrupted", err=True)
    return INTERRUPTED


def explained(error: OSError) -> str:
    """What the system refused, for which file, and the cure."""
    place = error.filename or "a file"
    cache = f"The cache is {Store().folder}; LIMBECK_CACHE names another folder, --out another run folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "requested and" in str(
        error
    ):  # numpy: '8 requested and 0 written'
        return f"{place}: no space left on this disk. Free some and give the same command again: it goes on from what is stored. {cache}"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{place}: may not be written or read ({error.strerror}). Choose a folder of your own. {cache}"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{place}: a file stands where a folder should be. Remove it, or choose another folder. {cache}"
    return str(error)


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _resumable() -> Iterator[None]:
    """Ctrl-C within is answered as what can go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("stopped; the same command goes on from here") from None


def _run(recipe: Any, out: Path, name: str, *, next_steps: bool = False) -> None:
    """Run, print the table, and exit with the verdict."""
    from limbeck.core.console import on_stderr
    from limbeck.reports.summary import lines

    with _resumable(), on_stderr() as tell:
        from limbeck.pipeline.runs import run as run_recipe

        found = run_recipe(recipe, out, name=name, tell=tell)
    for line in lines(found, out, next_steps=next_steps):
        typer.echo(line)
    if (found["verdict"] and not found["verdict"]["kept"]) or not all(
        row["holds"] for row in found["parity"]
    ):
        raise typer.Exit(1)
