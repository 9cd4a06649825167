"""limbeck distils a large teacher and quantizes the student in one training, and proves what the small model kept.

`run(recipe, out)` does the whole of it and `load(artifact)` answers with the result; every stage is also a function of its own module.
Nothing heavy is imported before it is used: `import limbeck` needs no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limbeck.own import Own
    from limbeck.pipeline import run, run_arm
    from limbeck.recipe import parse, read
    from limbeck.runtime import load

__version__ = "0.1.0"
__all__ = ["Own", "load", "parse", "read", "run", "run_arm"]

_HOME = {"Own": "own", "load": "runtime", "parse": "recipe", "read": "recipe", "run": "pipeline", "run_arm": "pipeline"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module `limbeck` has no `{name}`; it has {', '.join(__all__)}")
    import importlib

    return getattr(importlib.import_module(f"limbeck.{_HOME[name]}"), name)
