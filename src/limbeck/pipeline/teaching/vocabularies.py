"""Whether teacher and student have one vocabulary, where a recipe needs one: asked of their
tokenizers, before either is trained.
"""

from collections.abc import Sequence

from limbeck.distillation import objective
from limbeck.distillation.binding import difference, refuse_other_vocabulary
from limbeck.distillation.objective import Term
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.stored_model import StoredModel
from limbeck.recipe.model import Recipe
from limbeck.tasks import OverVocabulary, Task


def refuse_before_training(run: RunContext, student: StoredModel) -> None:
    """Refuse a student whose tokens are not those of a teacher that is still to be tuned.

    Args:
        run: what the arms share.
        student: one that is no teacher's, before its training.

    Raises:
        ValueError: a loss, or `on_policy`, needs one vocabulary.
    """
    recipe = run.recipe
    # An assistant has the student's or a teacher's, and stands in between.
    if recipe.distill is None or recipe.teacher is None or recipe.assistant:
        return
    terms = objective.terms(student.task.hard_loss, recipe.distill)
    for teacher in (recipe.teacher, *recipe.teachers):
        refuse_other_tokens(recipe, student.task, run.new_task(teacher.model), terms)


def refuse_other_tokens(
    recipe: Recipe, student: Task, teacher: Task, terms: Sequence[Term]
) -> None:
    """Refuse two models whose labels are the tokens of two vocabularies, where one is needed.

    Raises:
        ValueError: a loss compares them label by label, or the teacher judges the student's tokens.
    """
    if not isinstance(student, OverVocabulary) or list(student.labels) == list(teacher.labels):
        return
    if recipe.distill and recipe.distill.on_policy:
        raise ValueError(
            "distill.on_policy: the teacher judges the student's tokens, and these are two "
            f"vocabularies: {difference(student.labels, teacher.labels)}. Take a teacher with the "
            "student's tokenizer, or distill.sequence_level, which hands on whole texts"
        )
    refuse_other_vocabulary(terms, student.labels, teacher.labels)
