"""What is sent back, in the form of OpenAI's API: whole answers, pieces of one, and refusals."""

import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from limbeck.artifact.generation.answering import Finish
from limbeck.server.requests.http import Answer, encoded, json_answer
from limbeck.server.requests.refusals import NothingThere, Refused

PREFIX = "/v1/"
# WHATWG's HTML, section 9.2.
EVENTS = "text/event-stream; charset=utf-8"
# By which OpenAI's clients know that a stream ended, and was not cut.
LAST_EVENT = b"data: [DONE]\n\n"
# What OpenAI's clients tell kinds of errors by.
KINDS = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "service_unavailable_error",
    HTTPStatus.GATEWAY_TIMEOUT: "timeout_error",
}


def is_openai(path: str) -> bool:
    """Whether an address is one of OpenAI's API."""
    return path.startswith(PREFIX)


def error_of(error: Refused) -> dict[str, Any]:
    """A refusal as an object of JSON."""
    # The client turns the status into an exception, and shows the message.
    # The server's own trouble is nothing that another request would mend.
    is_own = error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    kind = KINDS.get(error.status, "server_error" if is_own else "invalid_request_error")
    # Of an address that is none no model is missing.
    is_missing = error.status == HTTPStatus.NOT_FOUND and not isinstance(error, NothingThere)
    code = "model_not_found" if is_missing else None
    return {"error": {"message": error.why, "type": kind, "param": None, "code": code}}


def openai_refusal(error: Refused) -> Answer:
    """A refusal as OpenAI's clients read it."""
    return json_answer(error_of(error), error.status, error.headers)


def event(value: Any) -> bytes:
    """A server-sent event."""
    return b"data: " + encoded(value) + b"\n\n"


@dataclass
class Reply:
    """An answer as it grows.

    - `id`: of the answer. `model`, `version`: what answers.
    - `is_chat`: whether it is a message, or the rest of a text.
    """

    id: str
    model: str
    version: str
    is_chat: bool
    created: int = field(default_factory=lambda: int(time.time()))
    prompt_tokens: int = 0
    tokens: int = 0

    def head(self, kind: str) -> dict[str, Any]:
        """What all objects of an answer begin with."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            # Where it changes, the same seed may give another answer.
            "system_fingerprint": self.version,
        }

    def usage(self) -> dict[str, int]:
        """How many tokens there were."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.tokens,
            "total_tokens": self.prompt_tokens + self.tokens,
        }

    def whole(self, text: str, finish: Finish | None) -> dict[str, Any]:
        """The whole answer."""
        choice = choice_of(finish)
        if self.is_chat:
            # The model may refuse in its own words: those are content, too.
            choice["message"] = {
                "role": "assistant",
                "content": text,
                "refusal": None,
            }
        else:
            choice["text"] = text
        kind = "chat.completion" if self.is_chat else "text_completion"
        return self.head(kind) | {"choices": [choice], "usage": self.usage()}

    def first(self) -> dict[str, Any]:
        """The first piece of a message: whose it is."""
        opening = {"role": "assistant", "content": ""}
        return self.chunk(opening, "", None)

    def piece(self, text: str, finish: Finish | None) -> dict[str, Any]:
        """A further piece."""
        return self.chunk({"content": text} if text else {}, text, finish)

    def chunk(self, delta: dict[str, Any], text: str, finish: Finish | None) -> dict[str, Any]:
        """A piece: what is new of the message, or of the text."""
        choice = choice_of(finish)
        if self.is_chat:
            # What is new, and not the whole so far.
            choice["delta"] = delta
        else:
            choice["text"] = text
        kind = "chat.completion.chunk" if self.is_chat else "text_completion"
        return self.head(kind) | {"choices": [choice]}

    def counted(self) -> dict[str, Any]:
        """The piece after the last, which tells how many tokens there were."""
        kind = "chat.completion.chunk" if self.is_chat else "text_completion"
        # Without a choice, which is how a client tells it from a piece.
        return self.head(kind) | {"choices": [], "usage": self.usage()}


def choice_of(finish: Finish | None) -> dict[str, Any]:
    """What every choice begins with: it is the only one."""
    return {
        "index": 0,
        "finish_reason": finish,
        # Clients look for the key, although they did not ask for it.
        "logprobs": None,
    }
