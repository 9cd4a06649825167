"""The student before training: cut from the teacher by a surgery, or any model by name."""

from typing import Any

from torch import nn

from limbeck import models, registry
from limbeck.recipe import Student
from limbeck.tasks import Task
from limbeck.timm_models import PREFIX


def build(student: Student, task: Task, teacher: nn.Module | None, *, seed: int) -> nn.Module:
    """The student's module. Raises ValueError where it cannot be built."""
    if student.from_ == "teacher":
        assert student.surgery is not None and teacher is not None
        return registry.create("surgeries", student.surgery, student.options).cut(teacher)
    assert student.model is not None
    return models.create(student.model, student.options, task, seed=seed)


def network_header(model_name: str | None, options: dict[str, Any], task: Any) -> dict[str, Any] | None:
    """What rebuilds one of our networks; None for a `transformers` model."""
    if model_name is None or not (models.is_network(model_name) or model_name.startswith(PREFIX)):
        return None
    return {"name": model_name, "options": options, "labels": len(task.labels), "channels": task.settings["channels"]}
