"""Which version of each model is to answer: a plan that all workers follow, and their files.

A version's files are copied when it is taken up, so that nothing that happens to the user's folder
reaches a worker, whether it answers or is started anew. The plan is a file that is replaced as a
whole, with a number (`generation`) that rises; workers look at it several times a second.

```
FOLDER/plan.json
FOLDER/artifacts/3f2a91c07b1e/...
```
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel

from limbeck.artifact.manifest import MANIFEST, BrokenArtifact, checked_manifest, copy_artifact
from limbeck.core import registry
from limbeck.core.files import file_digest, read_json, write_bytes
from limbeck.server.requests.refusals import Refused
from limbeck.server.settings import Bounds, Candidate, Hosted
from limbeck.tasks import OverVocabulary

# A version that no plan has named for so long is removed at the next change: until then somebody
# may be about to name it (who verifies it), or to open it (a worker that follows the plan before).
UNNAMED_SECONDS = 600.0
# Hexadecimal digits of a version: those of its manifest's SHA-256, which names every file.
DIGITS = 12
PLAN = "plan.json"
ARTIFACTS = "artifacts"
# Of an artifact.
LABELS = "labels.json"


class Standing(BaseModel):
    """The versions of a model: what answers, what did before, what is tried beside it.

    share: of the requests that the candidate answers; 0 where it is scored beside the live one.
    trial: the generation of the plan that first had the candidate beside this live version.
    ended: what became of the last candidate, where its bounds decided.
    """

    live: str
    previous: str | None = None
    candidate: str | None = None
    share: float = 0.0
    bounds: Bounds | None = None
    trial: int | None = None
    ended: str | None = None

    @property
    def versions(self) -> list[str]:
        """All that must be open."""
        named = (self.live, self.previous, self.candidate)
        return [version for version in named if version]

    def replaced_by(self, version: str) -> "Standing":
        """Another version answers; without a candidate, which was compared with this one."""
        # Nothing would change, and the version before would be lost.
        if version == self.live:
            return self
        return Standing(live=version, previous=self.live)

    def undone_by(self, version: str) -> str:
        """What to tell where a version of before answers again, though that is not said to be
        meant, as a rollback is."""
        return (
            f"{version} answers again, as it did before {self.live} took its place: that is undone"
        )

    def tried(self, version: str, candidate: Candidate) -> "Standing":
        """A candidate stands beside it. Raises ValueError for the version that answers: it agrees
        with itself, and would take its own place again and again."""
        if version == self.live:
            raise ValueError(
                f"{candidate.folder}: the candidate is the artifact that answers already"
            )
        share = 0.0 if candidate.share == "shadow" else candidate.share
        changes = {"candidate": version, "share": share, "bounds": candidate.bounds}
        return self.model_copy(update=changes | {"ended": None})

    def without_candidate(self) -> "Standing":
        """The candidate is gone."""
        return Standing(live=self.live, previous=self.previous)


class Plan(BaseModel):
    """What all workers are to serve. generation: rises with every change."""

    generation: int
    models: dict[str, Standing]

    @property
    def versions(self) -> set[str]:
        """All that it names."""
        return {version for each in self.models.values() for version in each.versions}

    def followed_by(self, models: dict[str, Standing]) -> "Plan":
        """The next plan: a candidate's trial goes on where both its versions stay."""
        generation = self.generation + 1
        new = {}
        for name, standing in models.items():
            trial = None
            if standing.candidate:
                old = self.models.get(name)
                is_same = old and (old.live, old.candidate) == (standing.live, standing.candidate)
                trial = old.trial if old and is_same else generation
            new[name] = standing.model_copy(update={"trial": trial})
        return Plan(generation=generation, models=new)


# Before a server has any.
NO_PLAN = Plan(generation=0, models={})


class Shelf:
    """The plan and the versions' files of a server.

    Args:
        folder: the server's own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # What was read last.
        self.known: Plan | None = None
        self.lock = FileLock(folder / "plan.lock")
        (folder / ARTIFACTS).mkdir(exist_ok=True)

    def plan(self) -> Plan:
        """The plan as it is now; the last one that was read, where the folder is gone. Raises
        FileNotFoundError where there was none."""
        try:
            self.known = Plan.model_validate_json((self.folder / PLAN).read_bytes())
        except FileNotFoundError:
            if self.known is None:
                raise
        return self.known

    def write(self, plan: Plan) -> None:
        """Make a plan the one to follow."""
        write_bytes(self.folder / PLAN, plan.model_dump_json().encode())

    def stamp(self) -> tuple[int, int]:
        """What differs once the plan was replaced; cheap to ask for."""
        found = os.stat(self.folder / PLAN)
        return found.st_mtime_ns, found.st_ino

    @contextlib.contextmanager
    def changed(self) -> Iterator[dict[str, Standing]]:
        """The models of the plan, to be changed in the `with` block; then it is the next plan."""
        with self.lock:
            plan = self.plan()
            models = dict(plan.models)
            yield models
            new = plan.followed_by(models)
            self.write(new)
            self.tidy(plan.versions, new.versions)

    def tidy(self, before: set[str], named: set[str]) -> None:
        """Remove what was given up long ago. before, named: the versions of a plan, and of the one
        that follows it."""
        for version in before - named:
            # From now on it counts as given up.
            os.utime(self.path(version))
        oldest = time.time() - UNNAMED_SECONDS
        # What a killed process left unfinished lies there, too.
        for path in (self.folder / ARTIFACTS).iterdir():
            if path.name not in named and path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)

    def drop(self, version: str) -> None:
        """Remove a version that was refused, unless the plan names it."""
        with self.lock:
            if version not in self.plan().versions:
                shutil.rmtree(self.path(version), ignore_errors=True)

    def is_there(self, version: str) -> bool:
        """Whether the files of a version are here; if so they are kept for whoever asks."""
        # Under the lock: nobody removes them between the look and the touch.
        with self.lock:
            path = self.path(version)
            if not path.is_dir():
                return False
            os.utime(path)
            return True

    def path(self, version: str) -> Path:
        """Where the files of a version lie."""
        return self.folder / ARTIFACTS / version

    def take_up(self, folder: Path) -> str:
        """Copy an artifact; its version. Raises ValueError for a folder that is none."""
        # Every file is hashed: what is copied is what was exported.
        checked_manifest(folder)
        version = file_digest(folder / MANIFEST)[:DIGITS]
        if self.is_there(version):
            return version
        target = self.path(version)
        # Under another name until it is whole: a worker may look for it at any moment.
        unfinished = target.with_name(f"{version}.{os.getpid()}.tmp")
        try:
            copy_artifact(folder, unfinished)
            # It may have been written to meanwhile.
            checked_manifest(unfinished)
            if file_digest(unfinished / MANIFEST)[:DIGITS] != version:
                raise BrokenArtifact(f"{folder}: it was changed while it was read. Try again")
            # Somebody else may have been as quick.
            with contextlib.suppress(OSError):
                unfinished.rename(target)
            if not self.is_there(version):
                raise BrokenArtifact(f"{folder}: its copy was not kept. Try again")
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return version

    def why_unlike(self, live: str, version: str) -> str | None:
        """Why clients of one version could not read another one's answers; None where they can."""
        task, new_task = (read_json(self.path(each) / MANIFEST)["task"] for each in (live, version))
        if task != new_task:
            return f"its task is {new_task}, and this model's {task}"
        labels, new_labels = (read_json(self.path(each) / LABELS) for each in (live, version))
        # A vocabulary is no set of answers that clients know, and a new training may trim it.
        is_vocabulary = issubclass(registry.load("tasks", task), OverVocabulary)
        if not is_vocabulary and labels != new_labels:
            return "its labels, or their order, are others"
        return None

    def standing_of(self, hosted: Hosted, version_of: Callable[[Path], str]) -> Standing:
        """The versions of a model of the settings.

        version_of: takes a folder up, at once (`take_up`) or once it was verified. Raises
        ValueError where that does, and for a candidate that clients of the model could not read.
        """
        standing = Standing(live=version_of(hosted.folder))
        if hosted.candidate is None:
            return standing
        version = version_of(hosted.candidate.folder)
        why = self.why_unlike(standing.live, version)
        if why:
            raise ValueError(
                f"{hosted.candidate.folder}: it cannot be a candidate beside {hosted.folder}: {why}"
            )
        return standing.tried(version, hosted.candidate)

    def remove_unfinished(self) -> None:
        """Remove what this process has begun to copy."""
        for path in (self.folder / ARTIFACTS).glob(f"*.{os.getpid()}.tmp"):
            shutil.rmtree(path, ignore_errors=True)


def acted(standing: Standing, action: str) -> Standing:
    """A model after `promote`, `drop` or `rollback`. Raises Refused where there is nothing to."""
    if action == "rollback":
        if not standing.previous:
            raise Refused(HTTPStatus.CONFLICT, "there is no version before this one")
        return standing.replaced_by(standing.previous)
    if action not in ("promote", "drop"):
        raise Refused(HTTPStatus.NOT_FOUND, "promote, drop and rollback are what can be done")
    if not standing.candidate:
        raise Refused(HTTPStatus.CONFLICT, "there is no candidate beside this model")
    if action == "drop":
        return standing.without_candidate()
    return standing.replaced_by(standing.candidate)
