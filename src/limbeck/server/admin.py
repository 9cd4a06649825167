"""Changing models while the server runs: another artifact, a candidate, a promotion, a rollback.

- `PUT /admin/models/NAME` with `{"artifact": FOLDER}`: it answers once it is verified, and the
  version before is kept.
- `PUT /admin/models/NAME` with `{"candidate": FOLDER, "share": "shadow"}`: it is scored beside the
  live one; with `"share": 0.05` it answers that share.
- An artifact of another task, or with other labels, is taken with `"other": true` alone.
- `POST /admin/models/NAME/promote`: the candidate answers (with `{"other": true}` where it is such
  an artifact); `drop`: it goes.
- `POST /admin/models/NAME/rollback`: the version before answers again.

An artifact is first opened by a process of its own, which replays its golden inputs: one that is
broken, or that kills what opens it, changes nothing.
"""

import asyncio
import contextlib
import os
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from limbeck.evaluation.drift import reference
from limbeck.server import logs, trials
from limbeck.server.drifting import seen_of
from limbeck.server.plans import Shelf, acted
from limbeck.server.processes.board import FAILED, GENERATION, READY, Board
from limbeck.server.processes.task import BROKEN, verifying
from limbeck.server.reading import mistakes
from limbeck.server.requests.asked import json_of
from limbeck.server.requests.http import Answer, Request, json_answer
from limbeck.server.requests.refusals import Refused, bad_request
from limbeck.server.settings import Candidate, Settings

# Until all workers follow a change: each opens the artifact by itself.
FOLLOW_SECONDS = 60.0
LOOK_SECONDS = 0.05


class Admin:
    """Changes the plan of a server.

    Args:
        settings: of the server.
        shelf: where the plan lies; the worker's, which knows what is served without its folder.
        board: on which workers say which plan they follow.
    """

    def __init__(self, settings: Settings, shelf: Shelf, board: Board) -> None:
        self.settings = settings
        self.shelf = shelf
        self.board = board
        # The process that verifies an artifact, one after another: ten at once are done later than
        # ten in turn. And whether none is worth waiting for any more.
        self.turn = asyncio.Lock()
        self.verifier: asyncio.subprocess.Process | None = None
        self.is_stopping = False

    def stop(self) -> None:
        """Give up what is verified: the server stops, and its plan goes with it."""
        self.is_stopping = True
        if self.verifier is not None:
            # It may just have ended.
            with contextlib.suppress(ProcessLookupError):
                self.verifier.kill()

    def told(self) -> dict[str, Any]:
        """The plan, with what each candidate was seen to do."""
        plan = self.shelf.plan()
        models = {}
        for name, standing in plan.models.items():
            told = standing.model_dump(exclude_none=True, exclude={"trial"})
            if standing.trial is not None:
                counts = trials.seen_of(self.shelf.folder, name, standing.trial)
                told["seen"] = {
                    "rows": counts.rows,
                    # Before a row was scored there is neither.
                    "agreement": round(counts.agreement, 6) if counts.rows else None,
                    "failed": counts.failed,
                    "slowdown": round(counts.slowdown, 3) if counts.live_ns else None,
                }
            models[name] = told
        return {"generation": plan.generation, "models": models}

    def drifts(self) -> list[tuple[str, str, dict[str, Any]]]:
        """(name, version, what was seen of its requests) of each model that answers and is watched:
        an artifact of a model that writes has nothing to hold its requests against."""
        models = self.shelf.plan().models
        return [
            (name, each.live, seen_of(self.shelf.folder, name, each.live))
            for name, each in models.items()
            if (self.shelf.path(each.live) / reference.FILE).is_file()
        ]

    async def change(self, request: Request) -> Answer:
        """Do what a request asks for, and wait until all workers have.

        Raises Refused for what is not there, or an artifact that is broken.
        """
        name = request.names["model"]
        if name not in self.shelf.plan().models:
            raise Refused(HTTPStatus.NOT_FOUND, "no model of this name is served")
        # Of two changes at one moment the second sees what the first has done (`Shelf.changed`).
        action = request.names.get("action")
        warning = None
        body = await request.body()
        if action is None:
            warning = await self.put(name, json_of(body))
        else:
            # A client may send an empty body, or an empty object.
            self.act(name, action, json_of(body) if body else {})
        generation = self.shelf.plan().generation
        who = request.token.name if request.token else None
        logs.log("change", model=name, action=action or "put", by=who, generation=generation)
        # As this change left it: another may follow while the workers open it.
        told = self.told()["models"][name] | {"generation": generation}
        if warning:
            logs.log("a decision is undone", logs.WARNING, model=name, why=warning)
            told["warning"] = warning
        await self.wait_for(generation)
        return json_answer(told)

    async def put(self, name: str, asked: Any) -> str | None:
        """Have another artifact answer, or a candidate beside it; what to warn of. Raises
        Refused."""
        if not isinstance(asked, dict) or not {"artifact", "candidate"} & set(asked):
            raise bad_request('{"artifact": FOLDER} is expected, or {"candidate": FOLDER}')
        if "artifact" in asked:
            if set(asked) - {"artifact", "other"}:
                raise bad_request('{"artifact": FOLDER} is expected, and nothing beside it')
            version = await self.verified(asked["artifact"])
            self.check_alike(name, version, asked)
            with self.shelf.changed() as models:
                old = models[name]
                models[name] = old.replaced_by(version)
            return old.undone_by(version) if version == old.previous else None
        try:
            own = ("candidate", "other")
            given = {key: value for key, value in asked.items() if key not in own}
            candidate = Candidate.model_validate({"folder": asked["candidate"]} | given)
        except ValidationError as error:
            wrong = [f"{'.'.join(path)}: {why}" for path, why in mistakes(error, Candidate)]
            raise bad_request("; ".join(wrong)) from None
        version = await self.verified(str(candidate.folder))
        self.check_alike(name, version, asked)
        # Under the lock, as another change may have made it the one that answers.
        with self.shelf.changed() as models:
            if version == models[name].live:
                why = f"the candidate is what `{name}` answers by already"
                raise Refused(HTTPStatus.CONFLICT, why)
            models[name] = models[name].tried(version, candidate)
        return None

    def act(self, name: str, action: str, asked: Any) -> None:
        """Promote or drop a model's candidate, or roll it back. Raises Refused."""
        self.check_runs()
        with self.shelf.changed() as models:
            # First, as it says which actions there are.
            standing = acted(models[name], action)
            # `is`, as 1 equals true in Python.
            is_other = isinstance(asked, dict) and asked.get("other") is True and len(asked) == 1
            if asked != {} and not (action == "promote" and is_other):
                expected = 'nothing, or {"other": true}' if action == "promote" else "nothing"
                raise bad_request(f"{expected} is expected as the body of `{action}`")
            # To score one of another task is less than to have clients meet it.
            if action == "promote":
                self.check_alike(name, standing.live, asked)
            models[name] = standing

    def check_alike(self, name: str, version: str, asked: dict[str, Any]) -> None:
        """Raise Refused (409) for a version that answers otherwise than clients of the model
        expect, unless that is asked for."""
        why = self.shelf.why_unlike(self.shelf.plan().models[name].live, version)
        if why is not None and asked.get("other") is not True:
            cure = 'Serve it by a name of its own, or send "other": true beside it'
            raise Refused(HTTPStatus.CONFLICT, f"clients of `{name}` would break: {why}. {cure}")

    def check_runs(self) -> None:
        """Raise Refused (503) once the server stops: its plan goes with it."""
        if self.is_stopping:
            stops = "nothing was changed: the server stops. Ask it again once it runs"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, stops)

    async def verified(self, folder: Any) -> str:
        """The version of an artifact that a process of its own has opened. Raises Refused."""
        # What follows a NUL would be left out of what the system opens.
        if not isinstance(folder, str) or not folder or "\0" in folder:
            raise bad_request("the folder of an artifact is expected, as a text")
        # Who may change models may know that much of this machine.
        if not os.path.isdir(folder):
            none = "there is no such folder on the server's machine: give the path of an artifact"
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, none)
        async with self.turn:
            process, told, why = await self.ran(Path(folder))
        self.check_runs()
        if process.returncode == BROKEN:
            logs.log("artifact not taken up", logs.ERROR, folder=folder, why=why.decode()[-1000:])
            full = "nothing was changed: the server's disk is full, or its folder is gone"
            raise Refused(HTTPStatus.INSUFFICIENT_STORAGE, full)
        if process.returncode:
            logs.log("refused artifact", logs.WARNING, folder=folder, why=why.decode()[-1000:])
            # The reason names paths of this machine, and is for its log.
            raise Refused(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "this artifact is not taken: it is none, or broken. The server's log says why",
            )
        return told.decode().strip()

    async def ran(self, folder: Path) -> tuple[asyncio.subprocess.Process, bytes, bytes]:
        """A process that has opened an artifact, and what it said."""
        process = await asyncio.create_subprocess_exec(
            *verifying(folder, self.shelf.folder, self.settings),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self.verifier = process
        # While others had their turn the server may have been told to stop.
        if self.is_stopping:
            process.kill()
        try:
            told, why = await process.communicate()
        finally:
            self.verifier = None
        return process, told, why

    async def wait_for(self, generation: int) -> None:
        """Wait until every worker that runs follows a plan. Raises Refused where one cannot."""
        until = asyncio.get_running_loop().time() + FOLLOW_SECONDS
        while asyncio.get_running_loop().time() < until:
            of_all = zip(
                self.board.of_all(READY),
                self.board.of_all(GENERATION),
                self.board.of_all(FAILED),
                strict=True,
            )
            states = [(reached, failed) for ready, reached, failed in of_all if ready]
            if any(failed >= generation for _, failed in states):
                why = "a worker could not open it, and goes on as before: the log says why"
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, why)
            if all(reached >= generation for reached, _ in states):
                return
            await asyncio.sleep(LOOK_SECONDS)
        why = f"not all workers have followed within {FOLLOW_SECONDS:g} s"
        raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, why)
