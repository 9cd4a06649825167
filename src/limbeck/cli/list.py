"""`limbeck list`: what a recipe can name."""

from typing import Annotated

import typer

Family = Annotated[str | None, typer.Argument(help="The family to list, such as losses.")]
Component = Annotated[str | None, typer.Argument(help="The component to explain, such as kl.")]


def list_components(family: Family = None, name: Component = None) -> None:
    """List the families of components, one family, or a component's keys."""
    from rich.console import Console

    from limbeck.cli import catalogue

    if family is None:
        parts = catalogue.families()
    elif name is None:
        parts = catalogue.family(family)
    else:
        parts = catalogue.component(family, name)
    # Formulas hold [brackets] and numbers, which rich would take for markup or colour.
    console = Console(highlight=False, markup=False)
    for part in parts:
        console.print(part)
