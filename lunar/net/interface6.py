"""What a host keeps for IPv6 on a device: addresses under test, what routers have advertised, when something is due.

Who works on it are autoconf.py (addresses) and router_discovery.py (routers). A device without IPv6 has none of this.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net.address import Address
from lunar.net.device import Device
from lunar.net.groups import Membership
from lunar.net.route import Route
from weaves.scheduler import Event

FOREVER: Final = -1

# What a `Due` is for.
TEST: Final = 0  # the next question of a test
SOLICIT: Final = 1  # routers are asked again
EXPIRE: Final = 2  # something that was advertised has come to its end

# RFC 4191 (2.1); the order of the numbers is that of preference.
LOW: Final = 0
MEDIUM: Final = 1
HIGH: Final = 2


class DueHandler:
    """Who is called when something is due."""

    def due(self, interface: Interface, what: i64, pending: Pending | None) -> None:
        raise NotImplementedError


@final
class Due(Event):
    """Something of an interface's at its time."""

    def __init__(self, handler: DueHandler, interface: Interface, what: i64, pending: Pending | None) -> None:
        super().__init__()
        self.handler: DueHandler = handler
        self.interface: Interface = interface
        self.what: i64 = what
        self.pending: Pending | None = pending

    def fire(self) -> None:
        self.handler.due(self.interface, self.what, self.pending)


@final
class Pending:
    """An address under test (RFC 4862 section 5.4), or one whose test has failed."""

    def __init__(self, address: Address, left: i64) -> None:
        self.address: Address = address
        self.left: i64 = left  # questions that are still to be asked
        self.nonce: bytes = b""  # of the last question: a host may hear its own (RFC 7527)
        self.failed: bool = False
        self.event: Due | None = None
        self.member: Membership | None = None


@final
class Router:
    """A default router that has advertised itself."""

    def __init__(self, address: int) -> None:
        self.address: int = address
        self.preference: i64 = MEDIUM
        self.until_ns: i64 = 0
        self.silent: bool = False  # it does not answer: others are tried first (RFC 4861, 6.3.6)
        self.route: Route | None = None


@final
class Advertised:
    """A route that was advertised: a prefix on the link, or one by a router (RFC 4191)."""

    def __init__(self, route: Route, until_ns: i64) -> None:
        self.route: Route = route
        self.until_ns: i64 = until_ns


@final
class Interface:
    """IPv6 on one device."""

    def __init__(self, device: Device) -> None:
        self.device: Device = device
        self.pending: list[Pending] = []
        self.members: dict[int, Membership] = {}  # of the groups in which its addresses are asked for, by address
        self.all_routers: Membership | None = None  # while it is a router's
        self.routers: list[Router] = []
        self.routes: list[Advertised] = []
        self.servers: dict[int, i64] = {}  # name servers, and until when (RFC 8106)
        self.managed: bool = False  # the advertisement's flags M and O: there is DHCP
        self.other: bool = False
        self.asks: bool = False  # whether it asks for routers: not where all addresses were given by hand
        self.asked: i64 = 0  # questions since it began
        self.interval_ns: i64 = 0
        self.solicit: Due | None = None
        self.expire: Due | None = None
        self.secret: bytes = b""  # RFC 7217's key, once drawn
        self.tries: dict[int, i64] = {}  # by prefix: how often its stable address was taken

    def find(self, address: int) -> Pending | None:
        """The test of `address`."""
        for pending in self.pending:
            if pending.address.address == address:
                return pending
        return None

    def router(self, address: int) -> Router | None:
        for known in self.routers:
            if known.address == address:
                return known
        return None
