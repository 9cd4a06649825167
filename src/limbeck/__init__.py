"""limbeck distils a large teacher and quantizes the student in one training.

It proves what the small model kept. `run("recipe.yaml")` does the whole of it, and `load(artifact)`
answers with the result (docs/api.md); every stage is also a function of its own module. Nothing
heavy is imported before it is used: `import limbeck` needs no torch.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limbeck.artifact.evaluating import evaluate
    from limbeck.artifact.load import load
    from limbeck.losses._from_python import loss
    from limbeck.models.user_model import Own
    from limbeck.pipeline.arm import run_arm
    from limbeck.pipeline.from_python import check, run
    from limbeck.recipe.reading import parse, read
    from limbeck.reports.typed import read_report
    from limbeck.studies.exporting import export

# Here, as it is read when onnxruntime is imported: from 1.29 on that numbers the machine, keeps
# what was run in ~/.cache/Microsoft, and sends it to its maker. The hub is told no more than which
# model is wanted.
for _name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_name, "1")

__version__ = "0.1.0"
__all__ = [
    "Own",
    "check",
    "evaluate",
    "export",
    "load",
    "loss",
    "parse",
    "read",
    "read_report",
    "run",
    "run_arm",
]

# Public name -> its module, which is imported when the name is first asked for.
_MODULES = {
    "Own": "models.user_model",
    "check": "pipeline.from_python",
    "evaluate": "artifact.evaluating",
    "export": "studies.exporting",
    "load": "artifact.load",
    "loss": "losses._from_python",
    "parse": "recipe.reading",
    "read": "recipe.reading",
    "read_report": "reports.typed",
    "run": "pipeline.from_python",
    "run_arm": "pipeline.arm",
}


if not TYPE_CHECKING:
    # A type checker that saw it would take any name for one of limbeck's.

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module `limbeck` has no `{name}`; it has {', '.join(__all__)}")
        try:
            module = importlib.import_module(f"limbeck.{_MODULES[name]}")
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package == "limbeck":
                raise
            from limbeck.core import wording

            # A bare install brings what an artifact needs, and no training.
            message = wording.needs_package(f"limbeck.{name}", package)
            raise ModuleNotFoundError(message, name=error.name) from None
        return getattr(module, name)


def __dir__() -> list[str]:
    """What is public, imported yet or not."""
    return sorted([*__all__, "__version__"])
