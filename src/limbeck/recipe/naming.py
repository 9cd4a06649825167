"""What a run is called, in its report and on its artifact's card."""

from pathlib import PurePath

from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import last_part

# Names of files that say nothing of the run; `limbeck init` writes the first.
NAMELESS = ("recipe", "run", "config", "default")


def title_of(recipe: Recipe, stem: str = "") -> str:
    """The name of the recipe's file, or where that says nothing the data and the task.

    stem: of the file, without its suffix; none of a recipe that was made in Python.

    `recipe.yaml` of `data/reviews.csv` is `reviews, text-classification`.
    """
    if stem and stem.lower() not in NAMELESS:
        return stem
    path = recipe.data.options.get("path")
    # The file's name without its suffixes, which a folder's may look like: `v1.2`.
    parts = PurePath(last_part(path)) if isinstance(path, str) else PurePath()
    is_file = len(parts.suffix) > 2 and not parts.suffix[1:].isdigit()
    name = parts.name.split(".")[0] if is_file else parts.name
    named = name or recipe.data.options.get("dataset") or recipe.data.source
    return f"{named}, {recipe.task}"
