"""By which names a server without tokens answers, and to which pages."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.server.requests.hosts import Hosts
from limbeck.server.requests.refusals import Refused

OWN = Hosts(["ML.internal", "10.1.2.3"])


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8000",
        "localhost.:80",
        "ml.localhost:3000",
        "127.0.0.1",
        "127.9.8.7:65535",
        "[::1]",
        "[::1]:8000",
        "ml.INTERNAL:1",
        "10.1.2.3:8000",
        "",
    ],
)
def test_names_of_this_machine_are_let_in(host: str) -> None:
    for method in ("GET", "POST"):
        OWN.check(method, host, f"http://{host}" if host else "")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "evil-localhost",
        "notml.internal",
        "127.0.0.1.evil.example",
        "127.1",
        "0177.0.0.1",
        "2130706433",
        "0.0.0.0",
        "10.1.2.4",
        "[::]",
        "[::1",
        "::1",
        "[evil.example]",
        "localhost@evil.example",
        "evil.example@localhost",
        "evil.example/localhost",
        "localhost evil.example",
        "localhost:evil",
        ":8000",
        "null",
    ],
)
def test_every_other_name_and_page_is_refused(host: str) -> None:
    with pytest.raises(Refused, match="Host") as refused:
        OWN.check("GET", host, "")
    assert refused.value.status == 421
    # A page of that name reads nothing of what it asks for, and may change nothing.
    OWN.check("GET", "localhost", f"https://{host}")
    for method in ("POST", "PUT", "DELETE"):
        with pytest.raises(Refused, match="page") as refused:
            OWN.check(method, "localhost", f"https://{host}")
        assert refused.value.status == 403


def test_a_page_without_an_address_is_nobodys() -> None:
    for origin in ("null", "file://", "localhost", "http:localhost"):
        with pytest.raises(Refused, match="page"):
            OWN.check("POST", "localhost", origin)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_an_address_is_let_in_where_it_is_of_loopback(address: object, port: int) -> None:
    written = f"[{address}]" if ":" in str(address) else str(address)
    expected = ipaddress.ip_address(str(address)).is_loopback
    assert Hosts().is_own(f"{written}:{port}") == expected


@given(st.text(max_size=30))
def test_nothing_else_is(text: str) -> None:
    known = text.lower().removesuffix(".").rpartition(":")[0] or text.lower()
    if Hosts().is_own(text):
        assert "localhost" in known or "127." in known or "::1" in known
