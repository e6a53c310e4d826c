"""The keys proxy, forward and gateway of [tapestry]: what they say, and what is wrong with them."""

from __future__ import annotations

import pytest

from weaves.clock_plan import REAL, VIRTUAL
from weaves.endpoints import parse_forward, parse_listen, parse_target
from weaves.tapestry import GatewayDescription, TapestryError, parse

HOSTS = '[hosts.client]\neth0 = "10.0.0.2/24"\n[hosts.server]\neth0 = "10.0.0.1/24"\n'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1080", ("127.0.0.1", 1080)),
        ("0", ("127.0.0.1", 0)),
        ("localhost:1080", ("127.0.0.1", 1080)),
        ("0.0.0.0:65535", ("0.0.0.0", 65_535)),
        (" [::1]:1080 ", ("::1", 1080)),
    ],
)
def test_where_to_listen(text: str, found: tuple[str, int]) -> None:
    assert parse_listen(text) == found


@pytest.mark.parametrize(
    "text", ["", "x", ":1080", "65536", "-1", "1.5", "127.0.0.1", "127.0.0.1:", "::1:80", "[10.0.0.1]:80", "a:80", "٣"]
)
def test_no_place_to_listen(text: str) -> None:
    with pytest.raises(ValueError, match="is no place to listen; expected a port, or an address of the machine"):
        parse_listen(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("server:80", ("server", 80)),
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("[2001:db8::1]:80", ("2001:db8::1", 80)),
        ("[fe80::1%eth0]:80", ("fe80::1%eth0", 80)),
    ],
)
def test_where_it_leads(text: str, found: tuple[str, int]) -> None:
    assert parse_target(text) == found


@pytest.mark.parametrize("text", ["server", ":80", "server:0", "server:x", "2001:db8::1:80", "[x:y]:80", "a b:80"])
def test_it_leads_nowhere(text: str) -> None:
    with pytest.raises(ValueError, match='is no port of a host; expected a name and a port, such as "server:80"'):
        parse_target(text)


def test_a_forward_is_both() -> None:
    assert parse_forward("127.0.0.1:8080 -> server:80") == ("127.0.0.1", 8080, "server", 80)
    assert parse_forward("8080->server:80") == ("127.0.0.1", 8080, "server", 80)


def test_without_the_keys_nobody_comes_in() -> None:
    found = parse(HOSTS, "site.toml")
    assert found.gateway == GatewayDescription("client")
    assert not found.gateway.is_open and found.clock.kind == VIRTUAL


def test_a_gateway_makes_the_clock_real() -> None:
    found = parse('[tapestry]\nproxy = 1080\ngateway = "server"\n' + HOSTS, "site.toml")
    assert found.gateway == GatewayDescription("server", ("127.0.0.1", 1080))
    assert found.gateway.is_open and found.clock.kind == REAL
    found = parse('[tapestry]\nforward = ["81 -> server:80", "[::1]:82 -> 10.0.0.1:82"]\n' + HOSTS, "site.toml")
    assert found.gateway.forwards == (("127.0.0.1", 81, "server", 80), ("::1", 82, "10.0.0.1", 82))
    assert found.clock.kind == REAL
    assert len(parse('[tapestry]\nforward = ["0 -> a:80", "0 -> b:80"]\n' + HOSTS, "site.toml").gateway.forwards) == 2


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("proxy = true", "site.toml:2: [tapestry] proxy: true is a boolean; expected a port"),
        ("proxy = 70000", 'site.toml:2: [tapestry] proxy: "70000" is no place to listen'),
        ('forward = "8080"', 'site.toml:2: [tapestry] forward: "8080" forwards nothing; expected a form as'),
        ('clock = "virtual"\nproxy = 1080', 'site.toml:3: [tapestry] proxy: is of a real clock; expected'),
        ('forward = "81 -> a:80"\nclock = "virtual"', "site.toml:2: [tapestry] forward: is of a real clock"),
        ('forward = ["81 -> a:80", "81 -> b:80"]', "site.toml:2: [tapestry] forward: 127.0.0.1:81 is taken already;"),
        ('proxy = 81\nforward = "81 -> a:80"', "site.toml:3: [tapestry] forward: 127.0.0.1:81 is taken already;"),
        ("forward = 8080", "site.toml:2: [tapestry] forward: 8080 is an integer"),
        ('gateway = "clinet"', 'site.toml:2: [tapestry] gateway: there is no host "clinet"; did you mean "client"?'),
    ],
)
def test_mistakes_name_their_place(keys: str, message: str) -> None:
    with pytest.raises(TapestryError) as caught:
        parse(f"[tapestry]\n{keys}\n{HOSTS}", "site.toml")
    assert str(caught.value).startswith(message)
