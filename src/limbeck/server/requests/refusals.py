"""What a request is refused with: a status of HTTP and a sentence, never a traceback or a path."""

from http import HTTPStatus


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP, 400 to 599.
        why: a sentence for who sent it: what is wrong, and what to send instead.
        headers: that go with it, such as Retry-After.
    """

    def __init__(
        self, status: HTTPStatus, why: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.headers = headers


class NothingThere(Refused):
    """404: the address is none."""

    def __init__(self) -> None:
        super().__init__(HTTPStatus.NOT_FOUND, "there is nothing at this address")


class ClientGone(Exception):
    """Who asked has closed the connection before the answer was there."""


def bad_request(why: str) -> Refused:
    """400: what was sent cannot be read as what was asked for."""
    return Refused(HTTPStatus.BAD_REQUEST, why)


def too_large(why: str) -> Refused:
    """413: more was sent than the server reads."""
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, why)


def too_busy(seconds: int) -> Refused:
    """429: as many requests wait as may; in so many seconds there may be room."""
    # A whole number of seconds, as the header has it.
    why = f"the server is busy: as many requests wait as may. Try again in {seconds} s"
    return Refused(HTTPStatus.TOO_MANY_REQUESTS, why, (("retry-after", str(seconds)),))


def too_late() -> Refused:
    """504: the request waited until its deadline, and its work was dropped."""
    why = "no answer in the time that the request may take, and its work was dropped. A header "
    why += "X-Request-Timeout asks for more seconds"
    return Refused(HTTPStatus.GATEWAY_TIMEOUT, why)


def is_stopping() -> Refused:
    """503: the server stops before it could have answered."""
    why = (
        "the server stops, and this took longer than it waits for requests under way. Send it again"
    )
    return Refused(HTTPStatus.SERVICE_UNAVAILABLE, why, (("retry-after", "1"),))
