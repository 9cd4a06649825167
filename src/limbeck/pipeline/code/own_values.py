"""How what holds data is digested, for a walk through a user's module (`own_walk`): containers,
tensors, arrays, and what changes no result.

Each function is given the walk, a value, and the way to it for a message.
"""

import logging
import threading
import weakref
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from limbeck.models.weights import content_of
from limbeck.pipeline.code.own_walk import Visits, Walk

# They change no result, and hold what cannot be read: locks, streams, other objects.
WITHOUT_EFFECT = (
    logging.Logger,
    weakref.ref,
    type(threading.Lock()),
    type(threading.RLock()),
)


def visit_mapping(walk: Walk, value: Mapping[Any, Any], where: str) -> None:
    """A dict, in its own order, which a loop over it follows."""
    walk.emit("mapping", len(value))
    walk.visit(type(value), where)
    for key, item in value.items():
        walk.visit(key, where)
        walk.visit(item, f"{where}[{key!r:.40}]")


def visit_sequence(walk: Walk, value: Any, where: str) -> None:
    """A list or tuple."""
    walk.emit("sequence", len(value))
    walk.visit(type(value), where)
    walk.visit_all(value, where)


def visit_set(walk: Walk, value: Iterable[Any], where: str) -> None:
    """A set, whose order is another in every process."""
    digests: list[str] = []
    for item in value:
        reader = Walk(walk.visits)
        reader.visit(item, where)
        digests.append(reader.sha.hexdigest())
    walk.emit("set", sorted(digests))


def visit_tensor(walk: Walk, value: torch.Tensor, where: str) -> None:
    """A tensor that is no weight of a module."""
    walk.emit("tensor", str(value.dtype), tuple(value.shape), value.requires_grad)
    if value.device.type != "meta":
        walk.sha.update(content_of(value))


def visit_array(walk: Walk, value: np.ndarray, where: str) -> None:
    """An array of numpy's."""
    walk.emit("array", str(value.dtype), value.shape)
    if value.dtype.hasobject:
        walk.visit(value.tolist(), where)
    else:
        walk.sha.update(value.tobytes())


def visit_without_effect(walk: Walk, value: Any, where: str) -> None:
    """A logger, or a weak reference."""
    walk.emit("without effect", type(value).__name__)


DATA: Visits = (
    (torch.Tensor, visit_tensor),
    (np.ndarray, visit_array),
    (WITHOUT_EFFECT, visit_without_effect),
    ((list, tuple), visit_sequence),
    ((set, frozenset), visit_set),
    ((dict, MappingProxyType), visit_mapping),
)
