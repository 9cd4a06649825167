"""`limbeck demo`: the whole flow on data that is at hand."""

from pathlib import Path

from limbeck.cli.options import Overrides, Overwrite, RunFolderToWrite
from limbeck.cli.run import run_to_verdict

RECIPE = Path(__file__).with_name("demo.yaml")


def demo(
    overrides: Overrides = None, out: RunFolderToWrite = None, overwrite: Overwrite = False
) -> None:
    """Run the whole flow on handwritten digits, in about a minute.

    The digits come with scikit-learn, so that nothing is downloaded. Without --out, the run folder
    is demo/.
    """
    from limbeck.recipe.reading import read

    recipe = read(RECIPE, overrides)
    title = "limbeck demo: handwritten digits"
    folder = out or Path("demo")
    run_to_verdict(recipe, folder, title, overwrite=overwrite, next_steps=True)
