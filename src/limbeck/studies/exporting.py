"""`limbeck.export`: what a finished run trained, written once more for other runtimes.

An artifact holds integers that were made for its own graphs. So the run's stages are found again in
the cache, and only the export is made anew: with its proof against the trained model, as in a run.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.core.cache import entries
from limbeck.core.cache.store import Store
from limbeck.core.contract import require_argument
from limbeck.core.files import write_bytes
from limbeck.exporters.requirements import require_exporters, why_other_kv_cache, why_other_task
from limbeck.models.user_model import Own, wrapped
from limbeck.pipeline.arm import run_arm
from limbeck.pipeline.context import RunContext
from limbeck.recipe.reading import read
from limbeck.reports.card.text import FILE as CARD
from limbeck.reports.card.text import card
from limbeck.reports.typed import ParityReport, picked
from limbeck.studies.finished_run import (
    Rows,
    check_given,
    finished_report,
    quantized_arm,
    refuse_others,
)

REPORT = "report.json"
# The one stage that may be computed here.
EXPORT = "export-"


@dataclass(frozen=True, repr=False)
class Exported:
    """What `limbeck.export` wrote. `folder`: the artifact's. `runtimes`: which open it, the default
    first. `parity`: that each graph decides as the trained model, as in a report."""

    folder: Path
    runtimes: list[str]
    parity: list[ParityReport]

    def __repr__(self) -> str:
        return f"<limbeck artifact {self.folder}: for {', '.join(self.runtimes)}>"


def export(
    run: str | Path,
    exporters: Sequence[str],
    out: str | Path,
    *,
    models: Mapping[str, nn.Module | Own] | None = None,
    rows: Rows | None = None,
) -> Exported:
    """Write the artifact of a finished run again, for other runtimes; nothing is trained.

    Args:
        run: the folder of the run, or of the artifact in it.
        exporters: what the recipe's `export` may name: `onnx`, `openvino`, and of text generation
            `openvino_genai`, `gguf`, `compressed_tensors`. The first one's runtime opens the
            artifact by default.
        out: the folder to write, which must not be there yet.
        models, rows: as `limbeck.run` was given them, where it was.

    Raises:
        ValueError: the folder is no finished run, or quantized nothing; the cache no longer holds
            what it trained; an exporter is unknown or not installed; a graph decides otherwise than
            the trained model does.

    ```
    limbeck.export("runs/digits", ["onnx", "openvino"], "for-openvino").parity[0].flips
    ```
    """
    require_argument("run", run, (str, Path), "the path of a run folder")
    require_argument("exporters", exporters, (list, tuple), 'a list such as ["onnx"]')
    require_argument("out", out, (str, Path), "the path of a folder to write")
    # 1. What can be refused without the data and the models.
    folder, target = run_of(Path(run)), Path(out)
    if target.exists():
        raise ValueError(f"{target}: something lies there already. Name a new folder")
    report = finished_report(folder, "export")
    call = f"limbeck.export({str(run)!r}, {exporters}, {str(out)!r}, models={{...}}, rows={{...}})"
    check_given(folder, report, models or {}, rows, call)
    name, arm_recipe = quantized_arm(folder)
    require_exporters(exporters)
    for each in exporters:
        reason = why_other_task(each, arm_recipe.task)
        if reason is None and arm_recipe.quantize:
            reason = why_other_kv_cache(each, arm_recipe.quantize.kv_cache)
        if reason:
            raise ValueError(reason)
    # 2. The run's stages, found again; one that is not there is not computed here.
    recipe = read(folder / "recipe.yaml")
    store = Store(may_build=partial(refuse_others, folder, EXPORT, "export"))
    context = RunContext(recipe, store, wrapped(models), rows)
    asked = {"export": list(exporters)}
    arm = run_arm(arm_recipe.model_copy(update=asked), store, run=context)
    assert arm.artifact is not None
    # 3. The proof, then the artifact, whole or not at all.
    where = {"arm": name, "seed": arm.recipe.train.seed}
    proof = [where | row for row in arm.artifact.parity]
    parity = [picked(ParityReport, row) for row in proof]
    for row in parity:
        if not row.holds:
            raise ValueError(
                f"export: the graph for {row.runtime} decides otherwise than the trained model in "
                f"{row.flips} of {row.units} answers, and is not handed out. Leave its exporter out"
            )
    install(arm.artifact.folder, target, report | {"parity": proof})
    return Exported(target, [row.runtime for row in parity], parity)


def run_of(folder: Path) -> Path:
    """The folder of a run, by its own path or that of the artifact in it."""
    above = folder.resolve().parent
    # Of `RUN/artifact` the run is meant; an artifact that lies elsewhere has none.
    is_within = folder.name == "artifact" and (above / REPORT).is_file()
    return above if is_within else folder


def install(artifact: Path, target: Path, report: Mapping[str, Any]) -> None:
    """Copy a proven artifact out of the cache, with its card."""
    unfinished = target.with_name(target.name + ".tmp")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    try:
        entries.copy_part(artifact, unfinished)
        # Beside what the manifest covers, as in a run.
        write_bytes(unfinished / CARD, card(dict(report), unfinished).encode())
    except (ValueError, OSError):
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    unfinished.rename(target)
