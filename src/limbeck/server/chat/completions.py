"""The addresses under `/v1`: a request is read, and answered token by token."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from limbeck.artifact.generation.answering import Piece
from limbeck.artifact.generation.text_model import TextModel
from limbeck.server.candidates import of_text
from limbeck.server.chat.asking import ChatBody, TextBody, read
from limbeck.server.chat.replies import (
    EVENTS,
    LAST_EVENT,
    Reply,
    error_of,
    event,
)
from limbeck.server.hosting import Model, Version
from limbeck.server.requests.asked import json_of
from limbeck.server.requests.http import Answer, Request, is_long, json_answer
from limbeck.server.requests.refusals import ClientGone, Refused, bad_request
from limbeck.server.requests.routes import Routes

if TYPE_CHECKING:
    from limbeck.server.app import Application

# Nginx's status for who has gone: nobody reads it, and meters count it.
GONE = 499
# Of answers, apart from those of rows, in the times that the engine knows.
OF_TOKENS = "tokens of "


class Completions:
    """Answers what OpenAI's clients ask, by the models of a server that write text."""

    def __init__(self, app: "Application") -> None:
        self.app = app

    def add_to(self, routes: Routes) -> None:
        """Add the addresses."""
        routes.add("GET /v1/models", self.models)
        routes.add("GET /v1/models/{model}", self.model)
        routes.add("POST /v1/chat/completions", self.chat)
        routes.add("POST /v1/completions", self.text)

    async def models(self, request: Request) -> Answer:
        """The models that write text."""
        listed = self.app.models.by_name.values()
        told = [described(model) for model in listed if model.live.writer]
        return json_answer({"object": "list", "data": told})

    async def model(self, request: Request) -> Answer:
        """One of them."""
        model, _, _ = self.asked(request, request.names["model"])
        return json_answer(described(model))

    async def chat(self, request: Request) -> Answer:
        """The next message of a conversation."""
        return await self.answer(request, ChatBody)

    async def text(self, request: Request) -> Answer:
        """How a text goes on."""
        return await self.answer(request, TextBody)

    def asked(self, request: Request, name: str | None) -> tuple[Model, Version, TextModel]:
        """The model of a name, the version that answers, and what writes. Raises Refused."""
        model = self.app.models.model(name)
        version = model.version_for(request.id)
        request.model, request.version = model.name, version.name
        if version.writer is None:
            # Of this API's models it is none.
            why = f"the model `{model.name}` writes no text: ask /predict/{model.name}"
            raise Refused(HTTPStatus.NOT_FOUND, why)
        return model, version, version.writer

    async def answer(self, request: Request, kind: type[ChatBody] | type[TextBody]) -> Answer:
        """The answer to a body of a kind, whole or as a stream of events. Raises Refused."""
        # 1. What is asked.
        self.app.engine.check_room()
        content, until = await request.read()
        body = read(json_of(content), kind)
        model, version, writer = self.asked(request, body.model)
        # Clients tell the two by the beginning of the id.
        prefix = "chatcmpl" if kind is ChatBody else "cmpl"
        reply = Reply(f"{prefix}-{request.id}", model.name, version.name, kind is ChatBody)
        # 2. The work, which ends with whoever closes the connection.
        gone = asyncio.ensure_future(request.protocol.client_disconnect())
        left = max(0.0, until - time.monotonic())
        steps = steps_of(body, writer, reply)
        kind_of_work = OF_TOKENS + version.name
        pieces = self.app.engine.turns(steps, left, kind_of_work, gone, is_long=is_long(content))
        is_streamed = False
        try:
            # What is wrong with a request shows in the first step: then the status is still open.
            await anext(pieces)
            # A candidate reads the same prompt, once nobody waits for a token any more.
            decide = partial(of_text, prompt_of)
            self.app.shadow.see(model, version, [body], decide, is_long=is_long(content))
            # 3. The answer: as it comes, or whole.
            if body.stream:
                options = body.stream_options
                with_usage = options is not None and bool(options.include_usage)
                events = self.events(request, pieces, reply, gone, with_usage=with_usage)
                is_streamed = True
                # Proxies keep small pieces back, unless they are told not to.
                headers = (("cache-control", "no-store"), ("x-accel-buffering", "no"))
                return Answer(b"", content_type=EVENTS, headers=headers, pieces=events)
            text, last = "", Piece()
            async for last in pieces:
                text += last.text
            self.app.meters.count_rows(model.name, version.name, 1, 0)
            return json_answer(reply.whole(text, last.finish))
        except ValueError as error:
            raise bad_request(str(error)) from None
        except ClientGone:
            # Nobody reads it; it is counted.
            return Answer(b"", GONE)
        finally:
            # The events go on waiting for it.
            if not is_streamed:
                gone.cancel()

    async def events(
        self,
        request: Request,
        pieces: AsyncGenerator[Piece],
        reply: Reply,
        gone: asyncio.Future,
        *,
        with_usage: bool,
    ) -> AsyncGenerator[bytes]:
        """The pieces of an answer as events, until it ends or nobody reads it."""
        # Until it has ended: a reader who leaves closes this in the middle.
        request.ended = GONE
        try:
            if reply.is_chat:
                yield event(reply.first())
            async for piece in pieces:
                # A token that is a part of a character, or a part of the prompt.
                if piece.text or piece.finish:
                    yield event(reply.piece(piece.text, piece.finish))
            if with_usage:
                yield event(reply.counted())
            self.app.meters.count_rows(reply.model, reply.version, 1, 0)
            request.ended = HTTPStatus.OK
            yield LAST_EVENT
        except Refused as error:
            request.ended = error.status
            # The status was sent long ago: clients look for this.
            yield event(error_of(error))
        except ValueError as error:
            request.ended = HTTPStatus.INTERNAL_SERVER_ERROR
            yield event(error_of(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))))
        except ClientGone:
            # There is nobody to whom an event could be sent.
            return
        finally:
            gone.cancel()
            # Where this generator is closed in the middle, its request still counts as waiting.
            await pieces.aclose()


def described(model: Model) -> dict[str, object]:
    """A model as the list has it."""
    return {"id": model.name, "object": "model", "created": 0, "owned_by": "limbeck"}


def prompt_of(writer: TextModel, body: ChatBody | TextBody) -> list[int]:
    """What a body asks a model to go on from. Raises ValueError."""
    return body.prompt(writer)


def steps_of(body: ChatBody | TextBody, writer: TextModel, reply: Reply) -> Iterator[Piece]:
    """The work of an answer, in steps; the first reads what is asked, and gives an empty piece.

    Raises ValueError for what cannot be answered.
    """
    # Templates, tokenizers and schemas take milliseconds: not in the event loop.
    prompt = body.prompt(writer)
    pieces = writer.answer(prompt, body.asked(writer, body.most_tokens()))
    reply.prompt_tokens = len(prompt)
    yield Piece()
    for piece in pieces:
        # The end of an answer is a token, too: it was computed.
        reply.tokens += piece.token is not None
        yield piece
