"""The models of a worker: which version answers, which one did before, and who is tried beside it.

A version is an artifact that was checked and has replayed its golden inputs (`artifact.load`). All
models are changed at once, by another table in the place of this one between two requests: each
answer is of one version.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from http import HTTPStatus
from typing import Any

from limbeck.artifact.generation.text_model import TextModel, text_model_of
from limbeck.artifact.load import load
from limbeck.artifact.predictor import Predictor
from limbeck.server.drifting import Drift, path_of
from limbeck.server.pages.described import facts_of
from limbeck.server.plans import Plan, Shelf
from limbeck.server.requests.refusals import Refused
from limbeck.server.settings import Bounds, Settings
from limbeck.server.trials import Trial
from limbeck.server.v2.interface import Interface, interface_of


@dataclass(frozen=True)
class Version:
    """An open artifact, what its answers are told to come from, its tensors, and its counts.

    writer: what writes text; None where the task is another.
    """

    name: str
    predictor: Predictor
    interface: Interface
    drift: Drift
    writer: TextModel | None = None

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What it reads and answers, for who asks."""
        # Once: to know the keys of its answers it answers two examples.
        return facts_of(self.predictor)


@dataclass(frozen=True)
class Model:
    """What answers under a name.

    share: of the requests that `candidate` answers; 0 where it is scored beside `live` alone.
    trial: what the candidate is seen to do.
    """

    name: str
    live: Version
    previous: Version | None = None
    candidate: Version | None = None
    share: float = 0.0
    bounds: Bounds | None = None
    trial: Trial | None = None

    def version_for(self, request_id: str) -> Version:
        """Which version answers a request: the same one for the same id, in every worker."""
        if self.candidate is None or not self.share:
            return self.live
        # A share of all ids: nothing is drawn, so that a request that is sent again meets the same.
        place = zlib.crc32(request_id.encode()) / 2**32
        return self.candidate if place < self.share else self.live

    def version(self, name: str) -> Version:
        """One that is asked for by name. Raises Refused where it is not there."""
        # The one before too: a client that compares the two may ask for it until the next change.
        for version in (self.live, self.candidate, self.previous):
            if version is not None and version.name == name:
                return version
        raise Refused(
            HTTPStatus.NOT_FOUND,
            f"the model `{self.name}` has no such version here; {self.live.name} answers",
        )


class Models:
    """The models of a worker, by name, as the plan of a generation has them."""

    def __init__(self, by_name: Mapping[str, Model], generation: int) -> None:
        self.by_name = by_name
        self.generation = generation

    def versions(self) -> Iterator[tuple[str, str]]:
        """(model, version) of each that may answer."""
        for name, model in self.by_name.items():
            for version in (model.live, model.previous, model.candidate):
                if version is not None:
                    yield name, version.name

    def model(self, name: str | None) -> Model:
        """The model of a name; without a name the only one. Raises Refused where there is none."""
        # Who serves one model need not name it.
        if name is None and len(self.by_name) == 1:
            return next(iter(self.by_name.values()))
        names = ", ".join(self.by_name)
        if name is None:
            why = f"which model? Name it, as in POST /predict/NAME: {names}"
            raise Refused(HTTPStatus.BAD_REQUEST, why)
        if name not in self.by_name:
            why = f"no model of this name is served. There are: {names}"
            raise Refused(HTTPStatus.NOT_FOUND, why)
        return self.by_name[name]


Versions = Mapping[tuple[str, str], Version]


class Opener:
    """Opens versions, and keeps those that are open."""

    def __init__(self, settings: Settings, shelf: Shelf, row: int = 0) -> None:
        self.settings = settings
        self.shelf = shelf
        # The worker's, among all.
        self.row = row
        # By model and version: two models of one artifact count for themselves.
        self.versions: dict[tuple[str, str], Version] = {}

    def models(self, plan: Plan) -> Models:
        """The models of a plan, each version open. Raises ValueError where one cannot be, and
        OSError where there is no room for its counts."""
        opened: dict[tuple[str, str], Version] = {}
        by_name = {}
        for name, standing in plan.models.items():
            for version in standing.versions:
                opened[name, version] = self.version(name, version, opened)
            by_name[name] = Model(
                name=name,
                live=opened[name, standing.live],
                previous=opened.get((name, standing.previous or "")),
                candidate=opened.get((name, standing.candidate or "")),
                share=standing.share,
                bounds=standing.bounds,
                trial=self.trial(name, standing.trial),
            )
        # What is not named any more is closed.
        self.versions = opened
        return Models(by_name, plan.generation)

    def trial(self, model: str, number: int | None) -> Trial | None:
        """The counts of a model's candidate. Raises OSError where there is no room for them."""
        if number is None:
            return None
        return Trial(self.shelf.folder, model, number, self.row, self.settings.workers)

    def version(self, model: str, name: str, opened: Versions) -> Version:
        """A version of a model, checked and ready. Raises ValueError where it is broken."""
        known = {**self.versions, **opened}
        if (model, name) in known:
            return known[model, name]
        # Of another model, whose artifact is the same: it is opened once.
        same = next((each for (_, version), each in known.items() if version == name), None)
        settings = self.settings
        counts = path_of(self.shelf.folder, model, name)
        if same is not None:
            drift = Drift(same.predictor, counts, self.row, settings.workers)
            return replace(same, drift=drift)
        path = self.shelf.path(name)
        predictor = load(path, runtime=settings.runtime, threads=settings.threads)
        drift = Drift(predictor, counts, self.row, settings.workers)
        writer = text_model_of(predictor, settings.threads)
        return Version(
            name,
            predictor,
            interface_of(predictor),
            drift,
            writer,
        )
