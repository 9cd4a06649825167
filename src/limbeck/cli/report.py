"""`limbeck report`: the page of a run, from its figures."""

import typer

from limbeck.cli.options import RunFolder


def report(folder: RunFolder) -> None:
    """Draw a run's report.html anew from its report.json."""
    from limbeck.artifact.manifest import refuse_artifact
    from limbeck.core.files import read_json
    from limbeck.core.terminal.shell import quoted
    from limbeck.reports import page

    refuse_artifact(folder, "report")
    figures = folder / "report.json"
    if not figures.is_file():
        raise ValueError(
            f"{folder}: no report.json here. `limbeck run RECIPE --out {quoted(folder)}` writes one"
        )
    # With the training curves, which lie beside the figures in metrics.jsonl.
    page.redraw(read_json(figures), folder)
    typer.echo(folder / "report.html")
