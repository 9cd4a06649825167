"""`limbeck report`: the page of a run, its tables, and several runs beside each other."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from limbeck.cli.options import nameable

Runs = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="The folder of a run, or of several.")
]
Tables = Annotated[
    Path | None,
    typer.Option("--tables", help="A folder for every table as csv and JSON.", callback=nameable),
]
Open = Annotated[bool, typer.Option("--open", help="Show the page in the browser.")]


def report(folders: Runs, tables: Tables = None, show: Open = False) -> None:
    """Draw a run's report.html anew, or compare runs.

    Of one run the page is drawn from its report.json; of several a table tells what each ships,
    what it kept, and what that costs.
    """
    from limbeck.core.foreign import told_as
    from limbeck.reports import comparison, page
    from limbeck.reports import tables as of_report
    from limbeck.reports.earlier import as_today, unreadable

    found = {str(folder): read_report(folder) for folder in folders}
    # A file that somebody has written to, or that was cut off where that still makes JSON.
    with told_as(partial(unreadable, " ".join(found))):
        today = {name: as_today(each) for name, each in found.items()}
        if len(found) == 1:
            (name,) = found
            rows = of_report.tables(today[name])
        else:
            runs = comparison.compared(today)
            rows = {"runs": runs}
            typer.echo("\n".join(comparison.lines(runs)))
            note = comparison.of_other_data(today)
            if note:
                typer.echo(f"limbeck: {note}", err=True)
    # First: they may go elsewhere, where the run itself lies in a folder that cannot be written.
    if tables is not None:
        tables.mkdir(parents=True, exist_ok=True)
        for file in of_report.write(rows, tables):
            typer.echo(file)
    if len(found) == 1:
        with told_as(partial(unreadable, " ".join(found))):
            page.redraw(found[name], Path(name))
        typer.echo(Path(name) / "report.html")
    if show:
        open_pages(folders)


def read_report(folder: Path) -> dict[str, Any]:
    """The figures of a run. Raises ValueError for a folder without any."""
    from limbeck.artifact.manifest import refuse_artifact
    from limbeck.core.files import read_json
    from limbeck.reports.typed import figures_of

    nameable(folder)
    refuse_artifact(folder, "report")
    found: dict[str, Any] = read_json(figures_of(folder))
    return found


def open_pages(folders: list[Path]) -> None:
    """Show the pages of runs in the browser. Raises ValueError where there is no browser."""
    import webbrowser

    for folder in folders:
        page = (folder / "report.html").resolve()
        if not page.is_file():
            raise ValueError(f"{page}: no such page. `limbeck report {folder}` draws it")
        if not webbrowser.open(page.as_uri()):
            raise ValueError(f"no browser is known here. Open {page} in yours")
