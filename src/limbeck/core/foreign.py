"""What a library raises over a file that somebody else wrote, turned into one error of ours.

tokenizers raises bare Exceptions, and panics of Rust, which are no Exceptions; ONNX Runtime has a
dozen classes of its own; and a damaged number is taken for a size, an index or a key by any of
them.
"""

import contextlib
from collections.abc import Callable, Iterator

from limbeck.core import plug_ins
from limbeck.core.errors import Interrupted

MOST_REASON = 300  # characters of what a library says: some go on for pages
# The class of a panic in Rust. No library offers it by a name that can be imported.
PANIC = "PanicException"


@contextlib.contextmanager
def told_as(
    error_of: Callable[[str], ValueError], *, passing: type[ValueError] = ValueError
) -> Iterator[None]:
    """Raise `error_of(reason)` in place of whatever is raised in the `with` block.

    What goes on as it is: `passing`, which is told already; what the system refuses, such as a
    failing disk; a package that is not installed; and what is no error, such as Ctrl-C.
    """
    try:
        yield
    except (passing, ModuleNotFoundError, Interrupted):
        raise
    except BaseException as error:
        is_refused = isinstance(error, OSError) and error.errno is not None
        is_panic = type(error).__name__ == PANIC
        if is_refused or not (is_panic or isinstance(error, Exception)):
            raise
        # A plug-in's code may have raised it: then that is named, with its line.
        told = plug_ins.blame(error) or f"{type(error).__name__}: {error}"
        raise error_of(" ".join(told.split())[:MOST_REASON]) from error
