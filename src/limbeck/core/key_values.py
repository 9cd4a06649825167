"""The value of a component's key against the type that the component gives it."""

from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

# Of layers, channels, heads, steps: whatever a component counts. A number above it is a slip, for
# which memory or hours would go before anything is said.
MOST_COUNT = 10**6


def checked(value: Any, annotation: Any) -> Any:
    """A key's value as its annotation says. Raises ValueError with what it should be."""
    try:
        # Only true and false are taken strictly: they would pass as 1 and 0.
        found = adapter(annotation).validate_python(value, strict=isinstance(value, bool))
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    if isinstance(found, int) and abs(found) > MOST_COUNT:
        raise ValueError(f"Input should be at most {MOST_COUNT:,}")
    return found


def adapter(annotation: Any) -> TypeAdapter[Any]:
    """What checks a value. Raises PydanticUserError for what is no type that it knows."""
    try:
        return TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False))
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        # A dataclass, such as a grid, which has a configuration of its own.
        return TypeAdapter(annotation)
