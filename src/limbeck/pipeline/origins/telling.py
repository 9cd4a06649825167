"""report.json's `origins`: the models, the data and the number formats of a run, by name.

Paths are told as in the artifact's recipe.yaml: of an absolute one the last part.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from limbeck.data.paths import relocate
from limbeck.models.create import is_network
from limbeck.models.published import timm_models
from limbeck.models.published.gguf_files import notes_of
from limbeck.models.published.hub import folder_of
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.origins.licences import licence_of
from limbeck.pipeline.steps.quantizing import activations
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import last_part

# Only a type checker needs it, as in `layer_analysis`.
if TYPE_CHECKING:
    from limbeck.pipeline.arm import Arm

Json = dict[str, Any]

OWN_NETWORK = "nobody else's, a network of limbeck's that began with random weights"
# The keys of sources that name what is read; `path` of nearly all.
PLACES = ("path", "train")


def describe_origins(run: RunContext, shipped: "Arm") -> Json:
    """Models, data, formats, the most tokens that are read and what was cut.

    Args:
        run: what the arms share.
        shipped: the arm whose model is handed out.
    """
    recipe = run.recipe
    models = {"student": student_of(shipped.recipe, run)}
    if recipe.teacher:
        models = {"teacher": model_of(recipe.teacher.model, run), **models}
    formats = {"weights": "float32"}
    if shipped.recipe.quantize:
        stored = activations(shipped.recipe, run)
        formats = {"weights": shipped.recipe.quantize.weights, "activations": stored}
    return {
        "models": models,
        "data": data_of(run),
        "formats": formats,
        "max_tokens": recipe.train.max_tokens if run.reads_tokens else None,
        "token_notes": run.notes_of_tokens(shipped.task),
    }


def model_of(name: str, run: RunContext) -> Json:
    """A model's name and licence, and where its weights lie on a grid of a few bits already."""
    if name in run.own:
        return {"name": f"{name} (given from Python)", "licence": None}
    if is_network(name):
        return {"name": name, "licence": OWN_NETWORK}
    # Its weights are a package's download, which has no folder of its own.
    folder = None if name.startswith(timm_models.PREFIX) else folder_of(name)
    told: Json = {"name": last_part(name), "licence": licence_of(folder) if folder else None}
    notes = notes_of(folder) if folder else None
    if notes and notes["coarse_grid"]:
        told["coarse_grid"] = notes["coarse_grid"]
    return told


def student_of(recipe: Recipe, run: RunContext) -> Json:
    """The student's: its own model's, or that of what it was cut from."""
    student = recipe.student
    origin = student.origin
    if origin is None:
        # A surgery of the teacher, tuned or not, whose licence it has.
        assert recipe.teacher is not None
        whose, found = "the teacher", model_of(recipe.teacher.model, run)
    else:
        found = model_of(origin, run)
        whose = found["name"]
    # A copy of the whole model has no surgery.
    name = f"{student.surgery} of {whose}" if student.surgery else whose
    return {"name": name, "licence": found["licence"]}


def data_of(run: RunContext) -> Json:
    """The data's name, source, rows a split and licence."""
    asked, splits = run.recipe.data, run.data
    # Of rows that are counted, those with labels: a transfer set is told by itself.
    rows = {"train": len(splits.labelled)}
    if splits.num_unlabelled:
        rows["unlabelled"] = splits.num_unlabelled
    rows["validation"] = len(splits.validation)
    if splits.promise:
        rows["promise"] = len(splits.promise)
    rows["test"] = len(splits.test)
    places = [asked.options[key] for key in PLACES if isinstance(asked.options.get(key), str)]
    if run.rows is not None or not places:
        # A package's own set is named by its source's key.
        named = asked.options.get("dataset") or asked.source
        name = "rows given from Python" if run.rows is not None else str(named)
        return {"name": name, "source": asked.source, "rows": rows, "licence": None}
    licence = licence_of(Path(relocate(places[0])).expanduser())
    return {"name": last_part(places[0]), "source": asked.source, "rows": rows, "licence": licence}
