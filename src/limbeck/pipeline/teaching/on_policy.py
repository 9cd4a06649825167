"""The answers that a student writes in its training (`distill.on_policy`), for the loop."""

from torch import nn

from limbeck.distillation.on_policy import OnPolicy
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.stored_model import StoredModel
from limbeck.pipeline.teaching.decoding import decoding_of
from limbeck.recipe.model import Recipe
from limbeck.sources import place_of
from limbeck.training.job import Rewrite, keep_texts


def rewriting(recipe: Recipe, run: RunContext, student: StoredModel, model: nn.Module) -> Rewrite:
    """What puts the student's answers into a batch; nothing does where the recipe does not ask.

    Args:
        recipe: the arm's.
        run: what the arms share.
        student: before its training.
        model: the student that is trained, on its device, quantized where the recipe is joint.

    Raises:
        ValueError: rows of plain texts, which hold no answers, or a model without an end token.
    """
    settings = recipe.distill.on_policy if recipe.distill else None
    if settings is None:
        return keep_texts
    for number, row in enumerate(run.data.train, 1):
        if "messages" not in row:
            raise ValueError(
                f"{place_of(row, number)} of train is a plain text, and distill.on_policy lets the "
                "student write the answers of dialogues. Give messages, or prompts and responses, "
                "or leave it out"
            )
    decoding = decoding_of(settings, student.task.input, student.name, run.dtype())
    return OnPolicy(model, settings.share, decoding, recipe.train.seed)
