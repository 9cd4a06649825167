"""Everything that can be wrong, found before training: recipe, data, models, shapes, quantization patterns, export, room; and a forecast."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from limbeck.core import memory, registry
from limbeck.core.events import Event, Note, duration
from limbeck.core.store import Store
from limbeck.core.wording import some
from limbeck.data.splits import Splits, load_splits
from limbeck.pipeline import compatibility
from limbeck.recipe.model import Recipe

ROOM = 1.1  # what must be free, over what is forecast


@dataclass
class Checked:
    """What `check` found: `lines` for the terminal, and the mistakes."""

    lines: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    def attempt(self, check: Callable[[], Any]) -> Any:
        """The result of a check, or None with its mistake noted."""
        try:
            return check()
        except ValueError as error:
            self.mistakes.append(str(error))
            return None


def check(recipe: Recipe, *, rehearse: bool = True) -> Checked:
    """Check a recipe. `rehearse`: run its stages on a few batches too, which needs torch and up to a minute."""
    checked = Checked()
    checked.attempt(partial(compatibility.check_components, recipe))
    if checked.mistakes:
        return checked
    task_class = registry.load("tasks", recipe.task)
    began = time.perf_counter()
    found = checked.attempt(lambda: load_splits(recipe.data, task_class))
    seconds = time.perf_counter() - began
    if found:
        checked.lines += [f"data: {note}" for note in found.notes]
        checked.lines.append(
            f"data: {len(found.train):,} train, {len(found.validation):,} validation, {len(found.test):,} test rows"
        )
        checked.lines += [f"labels: {some(found.labels)}"] if found.labels else []
    if rehearse:
        check_models(recipe, checked)
        if found and not checked.mistakes:
            checked.attempt(
                lambda: check_costs(compatibility.resolved(recipe), found, seconds, checked)
            )
    return checked


def check_models(recipe: Recipe, checked: Checked) -> None:
    """Whether each model can be had, so that a wrong name is told together with wrong data. Components have been checked already."""
    from limbeck.models.create import is_network, require

    stages = [recipe.teacher, *recipe.teachers, recipe.assistant, recipe.student]
    names = [stage.model for stage in stages if stage and stage.model]
    for name in dict.fromkeys(names):
        if not is_network(name):
            checked.attempt(partial(require, name))


def check_costs(recipe: Recipe, found: Splits, reading_seconds: float, checked: Checked) -> None:
    """Rehearse, and compare the forecast with this machine."""
    from limbeck.distillation import binding
    from limbeck.pipeline import forecast

    def tell(event: Event) -> None:
        if isinstance(event, Note) and binding.MATCHED in event.text:
            checked.lines.append(event.text)

    costs = forecast.rehearse(recipe, found, reading_seconds, tell)
    seconds, peak_mb, disk_mb = (
        sum(c.seconds for c in costs),
        max(c.peak_mb for c in costs),
        sum(c.disk_mb for c in costs),
    )
    checked.lines += ["", f"{'forecast':18} {'time':>12} {'memory':>10} {'disk':>10}"]
    rows = [(c.stage, c.seconds, c.peak_mb, c.disk_mb) for c in costs] + [
        ("total", seconds, peak_mb, disk_mb)
    ]
    checked.lines += [
        f"{stage:18} {duration(spent):>12} {memory:7,.0f} MB {disk:7,.0f} MB"
        for stage, spent, memory, disk in rows
    ]
    checked.lines.append("(nothing reused; on this machine as busy as it is now)")
    folder = Store().folder
    free_mb = shutil.disk_usage(folder).free / 2**20
    memory_mb = memory.total_mb()
    if disk_mb * ROOM > free_mb:
        checked.mistakes.append(
            f"{folder}: {disk_mb:,.0f} MB are needed and {free_mb:,.0f} MB are free. Free some, or let LIMBECK_CACHE name a folder on another disk"
        )
    if peak_mb * ROOM > memory_mb:
        checked.mistakes.append(
            f"memory: {peak_mb:,.0f} MB are needed and this machine has {memory_mb:,.0f} MB. Lower train.batch_tokens, train.batch_rows or "
            "train.max_tokens, or take a smaller model"
        )
