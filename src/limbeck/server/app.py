"""What each address of the server answers."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any

from limbeck.artifact.generation.text_model import TextModel
from limbeck.core.files import is_disk_full
from limbeck.server import logs
from limbeck.server.admin import Admin
from limbeck.server.candidates import Shadow, of_row, of_text
from limbeck.server.chat.completions import GONE, OF_TOKENS, Completions
from limbeck.server.chat.replies import is_openai, openai_refusal
from limbeck.server.chat.written import written_answers
from limbeck.server.engine import Engine
from limbeck.server.hosting import Model, Models, Version
from limbeck.server.meters import CONTENT_TYPE, Meters
from limbeck.server.pages.described import described
from limbeck.server.pages.site import Site
from limbeck.server.plans import Shelf
from limbeck.server.requests.access import Access
from limbeck.server.requests.asked import check_pairs, inputs_of
from limbeck.server.requests.bodies import Bodies
from limbeck.server.requests.heads import check_head, host_of
from limbeck.server.requests.hosts import Hosts
from limbeck.server.requests.http import Answer, Request, is_long, json_answer, refusal
from limbeck.server.requests.refusals import ClientGone, Refused
from limbeck.server.requests.routes import Routes
from limbeck.server.settings import Settings
from limbeck.server.tracing import Tracing
from limbeck.server.v2.errors import InvalidRequest
from limbeck.server.v2.infer import infer
from limbeck.server.v2.metadata import model_metadata, server_metadata
from limbeck.server.v2.outputs import response_of
from limbeck.server.v2.request import HEADER, header_length, parse
from limbeck.server.v2.response import encode

BYTES = "application/octet-stream"


class Application:
    """Answers requests: granian's RSGI application.

    Args:
        settings: of the server.
        models: open; another table takes its place when the plan changes.
        engine: computes. meters: count. access: lets in.
        shelf: where the plan lies, and the versions' files.
    """

    def __init__(
        self,
        settings: Settings,
        models: Models,
        engine: Engine,
        meters: Meters,
        access: Access,
        shelf: Shelf,
    ) -> None:
        self.settings = settings
        self.models = models
        self.engine = engine
        self.meters = meters
        self.access = access
        self.hosts = Hosts(settings.hosts)
        # Each worker has its share, and room for one body at least.
        share = settings.limits.bodies_bytes // settings.workers
        self.bodies = Bodies(max(share, settings.limits.body_bytes))
        self.shadow = Shadow(engine, meters)
        self.tracing = Tracing(settings.tracing) if settings.tracing else None
        # It reads the plan itself: another worker may have changed it.
        self.admin = Admin(settings, shelf, engine.board)
        meters.drifts = self.admin.drifts
        # Ids differ between workers, and between the lives of one.
        self.prefix = f"{time.time_ns():x}"[-8:]
        self.numbers = itertools.count(1)
        # Requests under way, and whether their connections are closed with the answer.
        self.under_way = 0
        self.is_stopping = False
        self.routes = self.table()

    def stop(self) -> None:
        """Make each answer the last of its connection, and have nothing changed any more."""
        self.is_stopping = True
        self.admin.stop()

    def table(self) -> Routes:
        """Every address, with its methods."""
        routes = Routes()
        routes.add("GET /v2/health/live", self.live)
        routes.add("GET /v2/health/ready", self.ready)
        routes.add("GET /metrics", self.metrics)
        for path in ("/predict", "/predict/{model}"):
            routes.add(f"GET {path}", self.describe)
            routes.add(f"POST {path}", self.predict)
        routes.add("GET /v2", self.server)
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes.add(f"GET {path}", self.metadata)
            routes.add(f"GET {path}/ready", self.model_ready)
            routes.add(f"POST {path}/infer", self.infer)
        # Those that change something need a token that may.
        routes.add("GET /admin/models", self.plan)
        routes.add("PUT /admin/models/{model}", self.change)
        routes.add("POST /admin/models/{model}/{action}", self.change)
        Completions(self).add_to(routes)
        Site(self).add_to(routes)
        return routes

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Answer one request."""
        if scope.proto != "http":
            protocol.close(HTTPStatus.NOT_FOUND)
            return
        began, began_ns = time.perf_counter(), time.time_ns()
        number = f"{self.prefix}-{next(self.numbers):x}"
        request = Request(scope, protocol, self.settings.limits, number, self.bodies)
        # Counted until the answer is sent: a server that is to stop waits for it.
        self.under_way += 1
        try:
            answer = await self.answer(request)
            await request.answer(answer, is_last=self.is_stopping)
            # A stream says 200 before it fails, or before its reader leaves.
            answer = replace(answer, status=request.ended or answer.status)
        finally:
            self.under_way -= 1
            request.release()
        seconds = time.perf_counter() - began
        status = int(answer.status)
        # To ask what a model is, or whether it is ready, is no work of the model.
        if request.model and request.method == "POST":
            self.meters.count(request.model, request.version, status, seconds)
        elif status >= HTTPStatus.BAD_REQUEST:
            # Of no model that is served: names that nobody serves are many.
            self.meters.count_refused(status)
        if self.tracing:
            self.tracing.record(request, answer, began_ns)
        if self.settings.logs.requests or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log(request, answer, seconds)
        # Last: nobody waits for it.
        await request.read_rest()

    def log(self, request: Request, answer: Answer, seconds: float) -> None:
        """Write a line about a request: nothing of what it holds."""
        fields: dict[str, Any] = {"id": request.id, "method": request.method, "path": request.path}
        if request.trace:
            fields["trace"] = request.trace
        if request.token:
            fields["by"] = request.token.name
        if request.model:
            fields |= {"model": request.model, "version": request.version}
        logs.log("request", **fields, status=int(answer.status), ms=round(1000 * seconds, 2))

    async def answer(self, request: Request) -> Answer:
        """The answer to a request, or its refusal."""
        try:
            # Before anything is told: whether an address is there, too.
            check_head(request.scope)
            if self.access.tokens is None:
                host = host_of(request.scope)
                self.hosts.check(request.method, host, request.header("origin"))
            handler, request.names, is_open = self.routes.find(request.method, request.path)
            # Before the body is read: strangers may not even send one.
            if not is_open:
                request.token = self.access.token_of(request.header("authorization"))
                self.access.count(request.token)
            return await handler(request)
        except Refused as error:
            # Its frames hold the request: in a circle with it they would be kept until a collection
            # of garbage, and an unread body's connection as long.
            refused = error.with_traceback(None)
        except OSError as error:
            logs.log("disk", logs.ERROR, id=request.id, why=str(error))
            refused = own_trouble(error)
        # A sentence, and nothing of what was sent or of this machine.
        return openai_refusal(refused) if is_openai(request.path) else refusal(refused)

    async def live(self, request: Request) -> Answer:
        """The process runs."""
        return json_answer({"live": True})

    async def ready(self, request: Request) -> Answer:
        """It takes requests: its models are open, and it is not about to stop."""
        # A balancer that asks sends no more requests here.
        status = HTTPStatus.SERVICE_UNAVAILABLE if self.is_stopping else HTTPStatus.OK
        return json_answer({"ready": not self.is_stopping}, status)

    async def server(self, request: Request) -> Answer:
        """What the server is, by the Open Inference Protocol."""
        return json_answer(server_metadata())

    async def metadata(self, request: Request) -> Answer:
        """The tensors of a model."""
        model, version = self.asked(request)
        names = [each.name for each in (model.live, model.candidate, model.previous) if each]
        return json_answer(model_metadata(model.name, names, version.interface))

    async def model_ready(self, request: Request) -> Answer:
        """A model that is there is open."""
        model, version = self.asked(request)
        return json_answer({"name": model.name, "version": version.name, "ready": True})

    async def describe(self, request: Request) -> Answer:
        """What a model reads and answers, for a client that has only its address."""
        model, version = self.asked(request)
        return json_answer(described(model.name, version))

    def asked(self, request: Request) -> tuple[Model, Version]:
        """The model of an address, and the version that answers: the one that is named, or by the
        request's id. Raises Refused where there is none."""
        # Taken once: what is changed meanwhile is for the next request.
        model = self.models.model(request.names.get("model"))
        name = request.names.get("version")
        version = model.version(name) if name else model.version_for(request.id)
        request.model, request.version = model.name, version.name
        return model, version

    async def metrics(self, request: Request) -> Answer:
        """The meters of all workers."""
        return Answer(self.meters.text(), content_type=CONTENT_TYPE)

    async def plan(self, request: Request) -> Answer:
        """The versions of all models."""
        self.access.require_admin(request.token)
        return json_answer(self.admin.told())

    async def change(self, request: Request) -> Answer:
        """Change a model: another artifact, a candidate, a promotion, a rollback."""
        self.access.require_admin(request.token)
        return await self.admin.change(request)

    async def received(self, request: Request) -> tuple[Model, Version, bytes, float]:
        """What a request asks (`asked`), its body, and the moment until which it may take:
        from its headers by its own word, else from its whole body. Raises Refused."""
        model, version = self.asked(request)
        # Before a body is read: under five times the load that a server can bear, refusals are most
        # of what it does.
        self.engine.check_room()
        body, until = await request.read()
        return model, version, body, until

    async def predict(self, request: Request) -> Answer:
        """Answers to the inputs of a body, each with the model and version it comes from."""
        model, version, body, until = await self.received(request)
        inputs, is_one = inputs_of(request, body, version.predictor)
        if version.predictor.needs_pair:
            check_pairs(inputs)
        left = max(0.0, until - time.monotonic())
        try:
            if version.writer is not None:
                answers = await self.written(request, version, inputs, left, is_long=is_long(body))
            else:
                answers = await self.engine.compute(
                    answers_of(version, inputs), left, version.name, is_long=is_long(body)
                )
        except ValueError as error:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        except ClientGone:
            # Nobody reads it; it is counted.
            return Answer(b"", GONE)
        self.after(model, version, inputs, answers, is_long=is_long(body))
        return json_answer(told(model, version, answers, is_one))

    async def written(
        self, request: Request, version: Version, inputs: list[Any], left: float, *, is_long: bool
    ) -> list[dict[str, Any]]:
        """The answers of a model that writes, token by token beside those of others; no further
        one is computed once who asked has gone. Raises Refused, ValueError and ClientGone."""
        assert version.writer is not None
        steps = written_answers(version.writer, inputs)
        gone = asyncio.ensure_future(request.protocol.client_disconnect())
        kind = OF_TOKENS + version.name
        answers: list[dict[str, Any]] = []
        try:
            async for step in self.engine.turns(steps, left, kind, gone, is_long=is_long):
                # All but the last are tokens, which nobody is shown here.
                if isinstance(step, list):
                    answers = step
        finally:
            gone.cancel()
        return answers

    async def infer(self, request: Request) -> Answer:
        """Answers as tensors, by the Open Inference Protocol."""
        model, version, body, until = await self.received(request)
        try:
            # One that is there and empty was meant to say something.
            told = request.header(HEADER) if HEADER in request.headers else None
            asked = parse(body, header_length(told), request.limits)
            left = max(0.0, until - time.monotonic())
            answered = await self.engine.compute(
                infer(asked, version.interface), left, version.name, is_long=is_long(body)
            )
            content, length = encode(response_of(asked, answered, model.name, version.name))
        except InvalidRequest as error:
            raise Refused(HTTPStatus(error.status), str(error)) from None
        except ValueError as error:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        if answered.rows is None:
            # Of tensors there is no row that could be answered, or scored, once more.
            abstained = int(answered.abstains.sum())
            self.meters.count_rows(model.name, version.name, len(answered.logits), abstained)
        else:
            counted = zip(answered.rows, answered.encoded, answered.answers, strict=True)
            for each in counted:
                version.drift.add(*each)
            self.after(model, version, answered.rows, answered.answers, is_long=is_long(body))
        if length is None:
            return Answer(content)
        return Answer(content, content_type=BYTES, headers=((HEADER.lower(), str(length)),))

    def after(
        self,
        model: Model,
        version: Version,
        inputs: list[Any],
        answers: list[dict[str, Any]],
        *,
        is_long: bool,
    ) -> None:
        """Count what was answered, and have a candidate scored on it."""
        abstained = sum(1 for each in answers if each.get("abstain") is True)
        self.meters.count_rows(model.name, version.name, len(answers), abstained)
        if model.candidate:
            of_rows = partial(of_text, TextModel.prompt_of)
            decide = of_row if version.writer is None else of_rows
            self.shadow.see(model, version, inputs, decide, is_long=is_long)


def own_trouble(error: OSError) -> Refused:
    """What the system refuses the server, as a refusal: nothing of it is the request's fault."""
    if is_disk_full(error):
        why = "the server's disk is full: nothing was changed. Make room there, and try again"
        return Refused(HTTPStatus.INSUFFICIENT_STORAGE, why)
    why = "the server cannot read or write its own files: its log says why"
    return Refused(HTTPStatus.SERVICE_UNAVAILABLE, why)


def answers_of(version: Version, inputs: list[Any]) -> Iterator[list[dict[str, Any]] | None]:
    """Answer raw inputs, one in each step, and count them; the last step gives the answers.

    Raises ValueError for one that cannot be answered.
    """
    answers: list[dict[str, Any]] = []
    for place, each in enumerate(inputs):
        # Between two rows others have their turn.
        if place:
            yield None
        try:
            answers.append(answer_of(version, each))
        except ValueError as error:
            # Of one there is no place to name.
            if len(inputs) == 1:
                raise
            raise ValueError(f"inputs[{place}]: {error}") from None
    yield answers


def answer_of(version: Version, raw: Any) -> dict[str, Any]:
    """The answer to one raw input, as `Predictor.predict` gives it, counted. Raises ValueError."""
    predictor = version.predictor
    row = predictor.row(raw)
    encoded = predictor.encoded(row)
    answer = predictor.answer(row, predictor.computed(encoded))
    version.drift.add(row, encoded, answer)
    return answer


def told(
    model: Model, version: Version, answers: list[dict[str, Any]], is_one: bool
) -> dict[str, Any]:
    """What is sent: one answer with its origin, or a list of them."""
    # Every answer says what it comes from, so that one can be asked for again.
    origin = {"model": model.name, "version": version.name}
    if is_one:
        return answers[0] | origin
    return origin | {"answers": answers}
