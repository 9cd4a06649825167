"""Standard output, which is named where it cannot be written: a file on a full disk, perhaps; of a
file that is open already the system does not say which one it is.

What a plug-in prints goes to standard error: a program reads answers, JSON or a schema here.
"""

import contextlib
import io
import sys
from typing import Any

from limbeck.core import plug_ins
from limbeck.core.files import naming

NAME = "standard output"


class _NamedOutput(io.RawIOBase):
    """The bytes of standard output; the process's own file stays open."""

    def __init__(self, descriptor: int) -> None:
        self.file = open(descriptor, "wb", buffering=0, closefd=False)  # noqa: SIM115

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.file.fileno()

    def write(self, content: Any) -> int:
        """Raises OSError that names standard output."""
        with naming(NAME):
            return self.file.write(content)


class _OwnOutput(io.TextIOWrapper):
    """Text of limbeck's own; a plug-in's goes to standard error."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text) if plug_ins.is_speaking() else super().write(text)


def named_output() -> contextlib.AbstractContextManager[Any]:
    """In the `with` block, standard output is named in the errors of writing it.

    A terminal is left as it is: on some systems it is no file.
    """
    output = sys.stdout
    # A program without a window has none on Windows.
    if output is None or output.isatty():
        return contextlib.nullcontext()
    try:
        raw = _NamedOutput(output.fileno())
    except OSError:  # it is closed, or none of the system's
        return contextlib.nullcontext()
    named_text = _OwnOutput(io.BufferedWriter(raw), encoding=output.encoding, errors=output.errors)
    return contextlib.redirect_stdout(named_text)
