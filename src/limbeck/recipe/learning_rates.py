"""The learning rate of a training that names none: what is usual for its kind of network.

    kind     rate    what is usual
    tuned    1e-4    a pretrained model, tuned as it is: 2e-5 to 5e-5 for BERT (Devlin et al., 2019,
                     arXiv 1810.04805, A.3), 1e-4 and 3e-4 for the base and the small model of
                     ELECTRA (Clark et al., 2020, arXiv 2003.10555, table 7)
    cut      2e-4    cut from a pretrained or tuned one: what was taken out has to be made up for,
                     and a smaller model bears larger steps
    new      2e-3    one of our networks, from random weights, by AdamW: a convolutional network of
                     this size bears ten to a hundred times what is tuned
    own      1e-3    a module of the user's, of which nothing is known

All arms of a verdict have the one rate of `train`, a joint training too: they begin with the same
weights, and a rate of its own would be a second difference. Rates rise over `train.warmup`, a tenth
of the steps, of each kind: what is tuned needs it most, where rows are few (Mosbach et al., 2021,
arXiv 2006.04884).
"""

from collections.abc import Collection

from limbeck.core import registry
from limbeck.recipe.model import Recipe, Student, Teacher

TUNED = 1e-4
CUT = 2e-4
NEW = 2e-3
OWN = 1e-3


def of_model(name: str, own: Collection[str] = ()) -> float:
    """The rate of a whole model that a recipe names.

    Args:
        name: as a recipe has it.
        own: names of the user's modules.
    """
    if name in own:
        return OWN
    return NEW if name in registry.names("networks") else TUNED


def of_student(student: Student, teacher: Teacher | None, own: Collection[str] = ()) -> float:
    """The rate of a student, which may be cut from its teacher or another model."""
    origin = student.origin
    if origin is None:
        assert teacher is not None  # which `from: teacher` asks for
        origin = teacher.model
    whole = of_model(origin, own)
    is_cut = student.surgery not in (None, "same")
    return CUT if is_cut and whole == TUNED else whole


def with_rates(recipe: Recipe, own: Collection[str] = ()) -> Recipe:
    """The recipe with every learning rate that it leaves open; what it names stays.

    A teacher's open rate is that which `train` names, where it names one. Whoever names a rate has
    chosen it: nothing else is tried (`teacher.tries`) unless the recipe says so.
    """
    named = recipe.train.learning_rate
    rate = named or of_student(recipe.student, recipe.teacher, own)

    def filled(teacher: Teacher) -> Teacher:
        its_named = teacher.learning_rate or named
        update = {
            "learning_rate": its_named or of_model(teacher.model, own),
            "tries": teacher.tries or (1 if its_named else "auto"),
        }
        return teacher.model_copy(update=update)

    changes = {
        "train": recipe.train.model_copy(update={"learning_rate": rate}),
        "teacher": filled(recipe.teacher) if recipe.teacher else None,
        "teachers": [filled(teacher) for teacher in recipe.teachers],
    }
    return recipe.model_copy(update=changes)
