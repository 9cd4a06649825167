"""A runtime of another package, as pip leaves one on the path."""

import os
import sys
from pathlib import Path

import pytest


def install(
    site: Path, monkeypatch: pytest.MonkeyPatch, *, name: str, target: str, source: str
) -> None:
    """A package with a runtime, for this process and for those that it starts.

    name: of the runtime. target: the class in its module, NAME_runtime. source: of that module.
    """
    module = f"{name}_runtime"
    information = site / f"{name}-1.dist-info"
    information.mkdir(parents=True)
    (site / f"{module}.py").write_text(source)
    (information / "METADATA").write_text(f"Name: {name}\nVersion: 1\n")
    entry_points = f"[limbeck.runtimes]\n{name} = {module}:{target}\n"
    (information / "entry_points.txt").write_text(entry_points)
    monkeypatch.syspath_prepend(site)
    paths = [str(site), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    # Another test has imported it from another folder.
    sys.modules.pop(module, None)
