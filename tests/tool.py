"""The scripts of tools/, which are no package."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TOOLS = Path(__file__).parents[1] / "tools"


def load_tool(name: str) -> ModuleType:
    """A script of tools/ as a module."""
    return load_script(TOOLS / f"{name}.py")


def load_script(path: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    # Its dataclasses look for their module there.
    sys.modules[path.stem] = script
    spec.loader.exec_module(script)
    return script
