"""`limbeck demo`: the whole flow on data that is at hand."""

from pathlib import Path

from limbeck.cli.options import Overrides, RunFolderToWrite
from limbeck.cli.run import run_to_verdict

RECIPE = Path(__file__).with_name("demo.yaml")


def demo(overrides: Overrides = None, out: RunFolderToWrite = None) -> None:
    """Run the whole flow on handwritten digits, in about a minute.

    The digits come with scikit-learn, so that nothing is downloaded. Without --out, the run folder
    is demo/.
    """
    from limbeck.recipe.reading import read

    recipe = read(RECIPE, overrides)
    title = "limbeck demo: handwritten digits"
    run_to_verdict(recipe, out or Path("demo"), title, next_steps=True)
