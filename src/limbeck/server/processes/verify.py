"""Opens an artifact in a process of its own, before a server takes it up; prints its version.

    python -m limbeck.server.processes.verify ARTIFACT FOLDER_OF_SERVER [RUNTIME]

Exit status 2, with the reason on standard error, where it is refused.
"""

import sys
from pathlib import Path

from limbeck.artifact.load import load
from limbeck.server.plans import Shelf


def main(folder: str, own: str, runtime: str | None = None) -> int:
    """Take up an artifact and open it; the exit status."""
    shelf = Shelf(Path(own))
    try:
        version = shelf.take_up(Path(folder))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        load(shelf.path(version), runtime=runtime)
    except (ValueError, OSError) as error:
        shelf.drop(version)
        print(error, file=sys.stderr)
        return 2
    print(version)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
