"""The bytes of bodies that a worker holds at once: of those that are coming, and of those whose
answer is awaited.

A body that comes slowly is held for minutes, and a thousand senders need no more than a thousand
connections for it. So all together are bounded: where one more piece is too much, the body that has
been coming for longest is given up. One that comes at the speed of a network is whole long before.
"""

import asyncio
from dataclasses import dataclass

from limbeck.server.requests.refusals import too_busy

RETRY_SECONDS = 1


@dataclass(eq=False)
class Body:
    """One that is read. patience: ends the reading. is_given_up: others needed its room."""

    patience: asyncio.Timeout
    size: int = 0
    is_given_up: bool = False


class Bodies:
    """What a worker holds.

    Args:
        most: bytes, of all bodies together.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        # The one that has been coming for longest stands first.
        self.coming: dict[Body, None] = {}

    def begin(self, patience: asyncio.Timeout) -> Body:
        """A body begins to come."""
        body = Body(patience)
        self.coming[body] = None
        return body

    def hold(self, body: Body, size: int) -> None:
        """So many bytes more of a body are held.

        Raises Refused (429) where there is no room, though no other body is coming, and
        TimeoutError for one that was given up.
        """
        if body.is_given_up:
            raise TimeoutError
        body.size += size
        self.held += size
        while self.held > self.most:
            oldest = next((each for each in self.coming if each is not body), None)
            if oldest is None:
                raise too_busy(RETRY_SECONDS)
            self.give_up(oldest)

    def give_up(self, body: Body) -> None:
        """End the reading of a body; its bytes count as free from now on."""
        self.release(body)
        body.is_given_up = True
        # One whose time is up at this moment ends by itself.
        if not body.patience.expired():
            body.patience.reschedule(asyncio.get_running_loop().time())

    def give_up_all(self) -> None:
        """End the reading of all that still comes: the server stops."""
        for body in list(self.coming):
            self.give_up(body)

    def is_whole(self, body: Body) -> None:
        """Nothing more comes of it; it is held until its request is answered."""
        self.coming.pop(body, None)

    def release(self, body: Body) -> None:
        """Nothing of it is held any more."""
        self.coming.pop(body, None)
        self.held -= body.size
        body.size = 0
