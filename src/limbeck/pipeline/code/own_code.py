"""What code a module of the user's own consists of, as part of a key.

`code_digest` follows files; a class may stand in a script or a notebook, where a file holds much
else. Here objects are followed, as this process has loaded them: the classes of the module and of
all that is inside it, their functions, what these call by name, enclose or have for defaults,
hooks, and plain attributes. Of a function its syntax tree counts, without comments and docstrings;
what belongs to an installed package counts by the package's version.

A function whose source has changed since it was loaded, or that another tool has rewritten (as
pytest does), counts by its compiled form. One without any source cannot be read: the user is asked
for a version.
"""

from typing import Any

from limbeck.core import registered
from limbeck.models.user_model import Own
from limbeck.pipeline.code.own_functions import FUNCTIONS
from limbeck.pipeline.code.own_objects import ANYTHING, CLASSES
from limbeck.pipeline.code.own_values import DATA
from limbeck.pipeline.code.own_walk import Unreadable, Visits, Walk

# The first whose types fit.
VISITS: Visits = (*CLASSES, *FUNCTIONS, *DATA, *ANYTHING)


def reference(own: Own, name: str) -> dict[str, Any]:
    """The code of a user's module, as part of a key; the version that the user states, if any.

    Args:
        own: the module.
        name: what the recipe calls it.

    Raises:
        ValueError: its code cannot be read, and no version is stated.
    """
    if own.version is not None:
        return {"version": own.version}
    walk = Walk(VISITS)
    try:
        walk.visit(own.module, type(own.module).__name__)
    except Unreadable as error:
        raise ValueError(
            f"model `{name}`: {error}, so that a change of it would not be seen, and an earlier "
            "training be taken for this one. Put the class into a file, or say which version it "
            f'is, and another one after each change: models={{"{name}": limbeck.Own(module, '
            'version="1")}'
        ) from None
    return {"code": walk.sha.hexdigest()}


def of_component(family: str, name: str) -> str:
    """SHA-256 (hex) of the code of a component that was registered from Python.

    Raises:
        ValueError: it cannot be read.
    """
    found = registered.find(family, name)
    assert found is not None, (family, name)
    walk = Walk(VISITS)
    # What the user wrote: of a function the class around it is ours, and alike for all.
    try:
        walk.visit(found.written, name)
    except Unreadable as error:
        raise ValueError(
            f"{family}: `{name}`: {error}, so that a change of it would not be seen, and an "
            "earlier training be taken for this one. Put it into a file"
        ) from None
    return walk.sha.hexdigest()
