"""Addresses, and what answers them."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

from limbeck.server.requests.http import Answer
from limbeck.server.requests.refusals import NothingThere, Refused

Handler = Callable[[Any], Awaitable[Any]]
# Those that need no token: what a probe asks, and pages that hold no data.
OPEN = (
    "/v2/health/live",
    "/v2/health/ready",
    "/",
    "/models/{model}",
    "/status",
    "/docs",
    "/openapi.json",
)


class Routes:
    """A table from address and method to a handler; a part in braces matches any name."""

    def __init__(self) -> None:
        # Most requests are of an address that stands here as it is.
        self.exact: dict[str, dict[str, Handler]] = {}
        # By the number of parts.
        self.patterns: dict[int, list[tuple[list[str], dict[str, Handler]]]] = {}

    def add(self, what: str, handler: Handler) -> None:
        """Add `METHOD /address/{name}`."""
        method, _, path = what.partition(" ")
        if "{" not in path:
            self.exact.setdefault(path, {})[method] = handler
            return
        parts = path.split("/")
        patterns = self.patterns.setdefault(len(parts), [])
        for known, methods in patterns:
            if known == parts:
                methods[method] = handler
                return
        patterns.append((parts, {method: handler}))

    def all(self) -> Iterator[tuple[str, str, Handler]]:
        """(method, address, handler) of everything, as they were added."""
        tables = dict(self.exact)
        for patterns in self.patterns.values():
            tables |= {"/".join(parts): methods for parts, methods in patterns}
        for path, methods in tables.items():
            for method, handler in methods.items():
                yield method, path, handler

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str], bool]:
        """(handler, the names in the address, whether it needs no token).

        Raises Refused for an address that is none (404), or that has no such method (405).
        """
        names: dict[str, str] = {}
        pattern = path
        if path in self.exact:
            methods = self.exact[path]
        else:
            pattern, methods, names = self.matched(path)
        # An answer to HEAD is that to GET, whose body is left out below.
        wanted = "GET" if method == "HEAD" else method
        if wanted not in methods:
            allowed = ", ".join(allowed_of(methods))
            if method == "OPTIONS":
                return told_of(allowed), names, pattern in OPEN
            raise Refused(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"this address answers {allowed}, and not {method[:20]}",
                (("allow", allowed),),
            )
        return methods[wanted], names, pattern in OPEN

    # Few addresses hold a name, and each has another number of parts or another first one.
    def matched(self, path: str) -> tuple[str, dict[str, Handler], dict[str, str]]:
        """(pattern, methods, names) of an address with names in it. Raises Refused for none."""
        parts = path.split("/")
        for pattern, methods in self.patterns.get(len(parts), []):
            names = {}
            for part, wanted in zip(parts, pattern, strict=True):
                if wanted.startswith("{") and part:
                    names[wanted[1:-1]] = part
                elif wanted != part:
                    break
            else:
                return "/".join(pattern), methods, names
        raise NothingThere


def allowed_of(methods: Iterable[str]) -> list[str]:
    """What may be asked of an address that has handlers for these methods."""
    found = []
    for method in methods:
        # RFC 9110, 9.3.2: HEAD is answered wherever GET is.
        found += ["GET", "HEAD"] if method == "GET" else [method]
    return [*found, "OPTIONS"]


def told_of(allowed: str) -> Handler:
    """A handler of OPTIONS, which tells what may be asked, and lets no page of elsewhere ask it."""

    async def options(request: Any) -> Answer:
        return Answer(b"", HTTPStatus.NO_CONTENT, headers=(("allow", allowed),))

    return options
