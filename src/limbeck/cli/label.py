"""`limbeck label`: the teachers' answers, kept for the runs of a recipe."""

from limbeck.cli.exits import resumable
from limbeck.cli.options import Overrides, RecipeFile


def label(recipe: RecipeFile, overrides: Overrides = None) -> None:
    """Fill the cache with the teachers' answers that a recipe trains on.

    Runs of the recipe then find them there. Start the command twice to share the work between two
    processes.
    """
    from limbeck.core.terminal.console import on_stderr
    from limbeck.recipe.reading import read

    with resumable(), on_stderr() as tell:
        # Within: importing torch takes seconds, in which Ctrl-C may come.
        from limbeck.pipeline import runs

        runs.label(read(recipe, overrides), tell)
