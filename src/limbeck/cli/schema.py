"""`limbeck schema`: the JSON Schema by which an editor completes and checks recipes."""

import typer


def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    import json

    from limbeck.cli.recipe_schema import recipe_schema

    typer.echo(json.dumps(recipe_schema(), indent=1))
