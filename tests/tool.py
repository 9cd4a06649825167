"""The scripts of tools/, which are no package."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TOOLS = Path(__file__).parents[1] / "tools"
# Last: some have the name of a module of the tests. Run as scripts they find one another so, too.
sys.path.append(str(TOOLS))


def load_tool(name: str) -> ModuleType:
    """A script of tools/ as a module."""
    return load_script(TOOLS / f"{name}.py")


def load_script(path: Path) -> ModuleType:
    """A script as a module."""
    # A module of tests/ may have the same name.
    name = f"script_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    # Its dataclasses look for their module there.
    sys.modules[name] = script
    spec.loader.exec_module(script)
    return script
