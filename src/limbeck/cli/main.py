"""The command line: a table from verb to function.

Exit status: 0 done, 1 the verdict failed, 2 the user's mistake, 3 interrupted and resumable, 130
interrupted (`exits`).

`limbeck --help` imports this file, and with it every verb: what a verb needs beyond its arguments
is imported inside its function.
"""

import contextlib
import inspect as signatures
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from limbeck.cli import exits
from limbeck.cli.audit import Audit
from limbeck.cli.bench import bench
from limbeck.cli.cache import cache
from limbeck.cli.chat import chat
from limbeck.cli.check import Check
from limbeck.cli.demo import demo
from limbeck.cli.doctor import doctor
from limbeck.cli.evaluate import Evaluate
from limbeck.cli.export import export
from limbeck.cli.init import init
from limbeck.cli.inspect import inspect
from limbeck.cli.label import label
from limbeck.cli.list import list_components
from limbeck.cli.predict import Predict
from limbeck.cli.report import report
from limbeck.cli.run import run
from limbeck.cli.schema import schema
from limbeck.cli.search import Search
from limbeck.cli.serve import Serve
from limbeck.cli.standard_output import named_output
from limbeck.core.system import launch, waiting_threads
from limbeck.core.terminal.shell import PROGRAM

# In the order of the help: what a newcomer needs first.
VERBS: dict[str, Callable[..., Any]] = {
    "run": run,
    "demo": demo,
    "check": Check,
    "label": label,
    "init": init,
    "predict": Predict,
    "chat": chat,
    "evaluate": Evaluate,
    "bench": bench,
    "serve": Serve,
    "export": export,
    "inspect": inspect,
    "audit": Audit,
    "search": Search,
    "report": report,
    "list": list_components,
    "cache": cache,
    "doctor": doctor,
    "schema": schema,
}

# Those in which several processes (`torchrun`) share the work.
TOGETHER = ("run", "demo", "label")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # Foreseen mistakes are told by `exits`; the traceback of another is Python's own.
    pretty_exceptions_enable=False,
    # Importing rich would take longer than showing the help.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        from limbeck import __version__

        typer.echo(f"limbeck {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", help="Print the version.", callback=show_version, is_eager=True),
]


@app.callback()
def limbeck(version: Version = False) -> None:
    """Distil and quantize in one training: one recipe in, a small integer model out, with the
    proof of what it kept.
    """


for name, verb in VERBS.items():
    first_line = (signatures.getdoc(verb) or "").partition("\n")[0]
    # Given by itself, since click cuts what it takes from the whole text after 45 characters.
    app.command(name, short_help=first_line)(verb)


def exit_status(arguments: Sequence[str] | None = None) -> int:
    """Run `limbeck ARGUMENTS` (those of the process where left out); its exit status."""
    waiting_threads.spin_briefly()
    words = [at_home(word) for word in (sys.argv[1:] if arguments is None else arguments)]

    def work() -> Any:
        refuse_empty(words)
        # Not standalone: click would tell mistakes itself, and leave the process.
        return app(words, standalone_mode=False)

    with named_output():
        return exits.exit_status(work, verb_of(words))


def at_home(word: str) -> str:
    """An argument with the user's folder for `~`, which no shell expands in quotes, nor in
    `--out=~/run`; else a folder of that name would be made."""
    option, mark, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return option + mark + str(Path(value).expanduser()) if value.startswith("~/") else word


def refuse_empty(words: Sequence[str]) -> None:
    """Raise ValueError for an empty argument, which as a path would be the current folder."""
    for place, word in enumerate(words):
        if word and not (word.startswith("--") and word.endswith("=")):
            continue
        before = " ".join([PROGRAM, *words[:place], word or '""'])
        raise ValueError(
            f"`{before}`: an empty argument, as where a shell's variable is not set. Name the "
            "file or folder (`.` is this one), or leave the argument out"
        )


def verb_of(arguments: Sequence[str]) -> str | None:
    """The verb of `limbeck ARGUMENTS`; None where help is asked for, or nothing."""
    if {"-h", "--help"} & set(arguments):
        return None
    return next((word for word in arguments if not word.startswith("-")), None)


def main() -> None:
    """Run the process's command line, and leave with its exit status."""
    exits.answer_sigterm_as_ctrl_c()
    try:
        status = _status_of_process()
    finally:
        exits.leave_sigterm_to_the_system()
    exits.end_in_time(status)
    sys.exit(status)


def _status_of_process() -> int:
    """The exit status of the process's command, which may be one of several of a run."""
    verb = verb_of(sys.argv[1:])
    if verb in TOGETHER:
        return exit_status()
    # Of several processes (`torchrun`) the first alone does the rest, and waits for no other.
    if launch.process_index() > 0:
        return exits.DONE
    # `check` needs their number, for which it judges.
    is_check = verb == "check"
    with contextlib.nullcontext() if is_check else launch.alone():
        return exit_status()
