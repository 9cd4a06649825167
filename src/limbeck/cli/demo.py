"""`limbeck demo`: the whole flow on data that is at hand."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from limbeck.cli.options import Overrides, Overwrite, RunFolderToWrite
from limbeck.cli.run import end, run_to_report

if TYPE_CHECKING:
    from limbeck.recipe.model import Recipe

RECIPE = Path(__file__).with_name("demo.yaml")
# From black to white, each pixel twice, as letters are twice as high as they are wide.
SHADES = " .:-=+*#%@"
PIXEL_LETTERS = 2


def demo(
    overrides: Overrides = None, out: RunFolderToWrite = None, overwrite: Overwrite = False
) -> None:
    """Run the whole flow on handwritten digits, in about a minute.

    The digits come with scikit-learn, so that nothing is downloaded. Without --out, the run folder
    is demo/.
    """
    from limbeck.recipe.reading import read
    from limbeck.reports.summary import commands, lines

    recipe = read(RECIPE, overrides)
    folder = out or Path("demo")
    title = "limbeck demo: handwritten digits"
    report = run_to_report(recipe, folder, title, overwrite=overwrite)
    # The picture last of all: it is answered where somebody reads it, and not by every process.
    told = chain(lines(report, folder), one_answer(recipe, folder), commands(folder))
    end(report, told)


def one_answer(recipe: "Recipe", folder: Path) -> Iterator[str]:
    """A picture, and what the artifact of a run answers to it; nothing without an artifact, or of
    data that the user has named in place of the demo's."""
    import limbeck
    from limbeck.core import registry

    artifact = folder / "artifact"
    if recipe.data.source != "sklearn" or not artifact.is_dir():
        return
    splits = registry.create("sources", "sklearn", recipe.data.options).read()
    # Without hidden labels there is one split, of which every row is as good.
    row = (splits.get("test") or splits["train"])[0]
    answer = limbeck.load(artifact).predict(row["image"])
    yield ""
    for line in row["image"]:
        shades = (SHADES[int(pixel) * len(SHADES) // 256] for pixel in line)
        yield "  " + "".join(shade * PIXEL_LETTERS for shade in shades).rstrip()
    yield f"is answered `{answer['label']}` ({answer['probability']:.3f}); it is a `{row['label']}`"
