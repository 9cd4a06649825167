"""What a run's layers lose, and how sensitive they are, as stages of the store.

`analysis` computes both from a model and rows; here stands what they depend on.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from limbeck.analysis import layers
from limbeck.analysis.changed_answers import LEAVES, MOST_ROWS
from limbeck.analysis.sensitivities import JudgedModel, Scores, judge
from limbeck.core import registry
from limbeck.core.files import read_json, write_json
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.stage import Stage, Work
from limbeck.pipeline.steps.quantizing import quantization_code
from limbeck.recipe.model import Recipe

# A row whose signals are taken goes through both models, and once more through the float one
# forwards and backwards, which is as much as three passes; others go through the float one alone.
ONE_OF_PASSES = 1 / 6

# Only a type checker needs it: at run time it would make every step's code part of these keys.
if TYPE_CHECKING:
    from limbeck.pipeline.arm import Arm


def analyse_layers(run: RunContext, arm: "Arm") -> dict[str, Any]:
    """The layers of an arm's quantized model on its test rows (`analysis.layers.measure`).

    Args:
        run: what the arms share.
        arm: one that quantizes.
    """
    settings = arm.recipe.quantize
    assert settings is not None
    encoded = run.encode("test", arm.task)

    def build(folder: Path) -> None:
        answers = None if settings.when == "train" else arm.of_trained
        # Two models, not a copy of one: one of them gets its quantizers turned off.
        table = layers.measure(arm.model(), arm.model(), arm.task, encoded, answers)
        write_json(folder / "layers.json", table)

    stage = Stage(
        name="layers",
        inputs={
            "weights": arm.weights.name,
            "quantize": settings.model_dump(mode="json"),
            "data": run.fingerprint("test"),
            "rows": [layers.ROWS, MOST_ROWS],
            "leaves": LEAVES,
            **run.environment(),
        },
        build=build,
        components=[*run.task_component, *quantization_code(settings)],
        # Signals are taken from a few rows. The rest of the split is passed over where answers are
        # compared, and in float alone.
        work=Work(
            split="test",
            task=arm.task,
            once=arm.model,
            most_rows=layers.ROWS,
            later=0.0 if settings.when == "train" else ONE_OF_PASSES,
        ),
    )
    return read_json(run.compute(stage) / "layers.json")


def judge_layers(
    run: RunContext,
    recipe: Recipe,
    trained: Path,
    judged: JudgedModel,
    sensitivity: str,
) -> Scores:
    """What each module loses in each format: another budget reads it again.

    Args:
        run: the run.
        recipe: the student's, whose `quantize` says how ranges are fitted.
        trained: the folder with the student's float weights.
        judged: the student with those weights, and the rows that it is judged on.
        sensitivity: the name of the component that judges.

    Raises:
        ValueError: no sensitivity has this name.
    """
    settings = recipe.quantize
    assert settings is not None
    sensitivity_of = registry.create("sensitivities", sensitivity)

    def build(folder: Path) -> None:
        scores = judge(sensitivity, sensitivity_of, judged)
        write_json(folder / "scores.json", scores)

    stage = Stage(
        name="sensitivity",
        inputs={
            "trained": trained.name,
            "data": run.fingerprint("train"),
            "seed": recipe.train.seed,
            "sensitivity": sensitivity,
            "formats": sorted(judged.formats),
            "range": settings.range,
            "rows": settings.calibration_rows,
            # Which weights share a scale, which a recipe may say of each module.
            "groups": {name: layer.quantizer.groups for name, layer in judged.layers.items()},
            **run.environment(),
        },
        build=build,
        components=[
            *run.task_component,
            ("sensitivities", sensitivity),
            ("ranges", settings.range_name),
        ],
        title=f"sensitivity ({sensitivity})",
        work=Work(calibration_rows=settings.calibration_rows),
    )
    scores: Scores = read_json(run.compute(stage) / "scores.json")
    return scores
