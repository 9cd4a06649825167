"""What is wrong with a request by its head alone, whatever it asks for (RFC 9112).

Granian takes what its parser can read. Three things that it takes are refused here:

- No `Host` in HTTP/1.1, or an empty one, or one that is no text (section 3.2).
- A transfer coding beside `chunked` (section 6.1): the body would be read packed, as it is.
- A header twice of which one alone would count: nobody knows which one was meant.

Of a length beside `Transfer-Encoding` (section 6.3) granian goes by the chunks, as it may, and does
not hand the length on.
"""

from typing import Any

from limbeck.server.requests.refusals import bad_request

# The version in which every request names its host.
WITH_HOST = "1.1"
# As they are called in messages. A proxy in front may go by the other one of two.
ONCE = (
    "Host",
    "Content-Type",
    "Content-Encoding",
    "Transfer-Encoding",
    "Authorization",
    "Inference-Header-Content-Length",
    "X-Request-Timeout",
)


def check_head(scope: Any) -> None:
    """Raise Refused (400) for a head that is not as it should be. scope: granian's."""
    headers = scope.headers
    for name in ONCE:
        # Without those that are no ASCII.
        if len(headers.get_all(name)) > 1:
            raise bad_request(f"{name}: it is there twice. Send one")
    if not headers.get("host"):
        if headers.get_all("host") != [""] and "host" in headers:
            raise bad_request("Host: a name or an address in ASCII is expected, such as localhost")
        if scope.http_version == WITH_HOST:
            raise bad_request("Host: HTTP/1.1 needs this header, with the server's name in it")
    coding: str = headers.get("transfer-encoding", "chunked")
    if coding.strip().lower() != "chunked":
        why = f"Transfer-Encoding {coding[:40]}: bodies are read as they are. Send `chunked` alone"
        raise bad_request(why)


def host_of(scope: Any) -> str:
    """The host that a request is for: as its address has it, else its header; nothing where neither
    is there."""
    # RFC 9112, 3.2.2: a whole URL counts, and the header beside it does not.
    authority: str | None = scope.authority
    host: str = authority or scope.headers.get("host") or ""
    return host
