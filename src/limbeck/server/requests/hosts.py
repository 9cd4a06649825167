"""By which names a server without tokens is called, so that no page of somebody else's uses it.

A browser on this machine reaches loopback addresses for any page that it shows:

- A page whose name comes to mean 127.0.0.1 once it is loaded (DNS rebinding) is of the server's own
  origin to the browser, and may read every answer. `Host` still holds the page's name, and no page
  can change that: RFC 9110, 7.4, and its status 421.
- A page of another name may send what a form can (text/plain is enough for `POST /predict`), though
  not read the answer. Such a request names its page in `Origin`.

Where tokens are needed neither is of use: no page has one, and browsers keep none for this server.
"""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus

from limbeck.server.requests.refusals import Refused

# HOST[:PORT], where an address of IPv6 stands in brackets.
ADDRESS = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^][:/@\s]+))(?::\d{1,5})?", re.IGNORECASE)
# They change nothing, and what they answer is read by no page of another origin.
READING = ("GET", "HEAD", "OPTIONS")
# Addresses that were asked for and are remembered: one for each client's way of writing it.
REMEMBERED = 256


class Hosts:
    """The names of a server.

    Args:
        further: names and addresses beside those of loopback, such as a proxy's in front of it.
    """

    def __init__(self, further: Sequence[str] = ()) -> None:
        self.further = {name.lower() for name in further}
        # To take an address apart is a tenth of what a small request takes.
        self.is_known = lru_cache(REMEMBERED)(self.is_own)

    def check(self, method: str, host: str, origin: str) -> None:
        """Let a request in, by its headers `Host` and `Origin`.

        Raises Refused for a host that is none of the server's (421), and for one that may change
        something and is sent by a page of elsewhere (403).
        """
        # Every browser sends one; of a program that does not, there is no page to fear.
        if host and not self.is_known(host):
            raise Refused(
                HTTPStatus.MISDIRECTED_REQUEST,
                "the header Host names neither this machine (localhost, 127.0.0.1) nor one of the "
                "server's `hosts`. Ask by such a name, or add the name to `hosts` in its settings",
            )
        if not origin or method in READING:
            return
        # `null`, of a file or a sandbox, has no address and is nobody's.
        if not self.is_known(origin.partition("://")[2]):
            raise Refused(
                HTTPStatus.FORBIDDEN,
                "the page that sends this is not of this machine, nor of one of the server's "
                "`hosts`: a server without tokens answers no page of elsewhere",
            )

    def is_own(self, address: str) -> bool:
        """Whether HOST or HOST:PORT is a name or an address of this server."""
        match = ADDRESS.fullmatch(address)
        if match is None:
            return False
        name = (match[1] or match[2]).lower().removesuffix(".")
        # Browsers take names below it for loopback without asking anybody (RFC 6761, 6.3).
        if name == "localhost" or name.endswith(".localhost") or name in self.further:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False
