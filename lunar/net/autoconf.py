"""IPv6 addresses of a host's devices: which it makes itself (RFC 4862), and that nobody else has them.

An address is under test until nobody has objected (section 5.4): until then it is not among its device's, so that
nobody receives or sends by it, but in `Interface.pending`. Only devices with `arp` test; without, the medium knows.
What an address is when it is free (routes, names) is the host's, through `Keeper`.

Addresses that a host is made with are there at once, as if it had booted before the run. A device has IPv6 from its
first address on, or when net.ipv6.conf.DEV.disable_ipv6=0 or accept_ra asks for it: then it has a link-local address
and looks for routers. Linux asks for them without end (RFC 7559); here that ends when the interval has reached its
largest, as idle hosts shall cost nothing.
"""

from __future__ import annotations

import hashlib
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from lunar.net import router_discovery
from lunar.net.address import (
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_MANAGETEMPADDR,
    IFA_F_PERMANENT,
    IFA_F_STABLE_PRIVACY,
    IFA_F_TENTATIVE,
    SCOPE_LINK,
    Address,
)
from lunar.net.device import Device
from lunar.net.interface6 import (
    EXPIRE,
    FOREVER,
    SOLICIT,
    TEST,
    Due,
    DueHandler,
    Interface,
    Pending,
)
from lunar.net.ip import Ip
from lunar.net.multicast import join_own, leave_own
from lunar.net.ndisc import ALL_ROUTERS, Ndisc, Tester, solicited_node
from lunar.net.router_discovery import Autonomous, accepts, sooner, until
from lunar.packet import AF_INET6, IcmpMessage
from lunar.wire import nd_option

_LINK_LOCAL: Final = 0xFE80 << 112
_S: Final = 1_000_000_000
_MS: Final = 1_000_000
_TWO_HOURS_NS: Final = 7200 * _S  # RFC 4862 (5.5.3 e)
_IDENTIFIER_BITS: Final = 64
_NONCE_BYTES: Final = 6  # RFC 7527 (4.1); RFC 3971 says 6 at least

# net.ipv6.conf.DEV.addr_gen_mode.
EUI64: Final = 0
NO_LINK_LOCAL: Final = 1
STABLE: Final = 2
RANDOM_STABLE: Final = 3

_TRIES: Final = 3  # RFC 7217 (6): stable addresses that were taken, before the device goes without (idgen_retries)


@mypyc_attr(allow_interpreted_subclasses=True)
class Keeper:
    """Who gives devices addresses, as this file sees it: the host."""

    def settle(self, device: Device, address: Address) -> None:
        """Give `device` the address, with all that goes with it."""
        raise NotImplementedError

    def withdraw(self, device: Device, address: Address) -> None:
        """Take it away."""
        raise NotImplementedError

    def name_servers(self) -> None:
        """Those that routers advertise have changed."""
        raise NotImplementedError


@final
class Autoconf(Tester):
    """IPv6's addresses of one host."""

    def __init__(self, ip: Ip, keeper: Keeper) -> None:
        self.ip: Ip = ip
        self.keeper: Keeper = keeper
        self.ndisc: Ndisc = Ndisc(ip, self)
        self.interfaces: dict[Device, Interface] = {}  # a device may get another name
        self._clock: Clock = Clock(self)
        ip.inet6.neighbors = self.ndisc.table

    # IPv6 of a device

    def find(self, device: Device) -> Interface | None:
        """IPv6 of `device`; None where it has none."""
        return self.interfaces.get(device)

    def enable(self, device: Device, at_once: bool) -> Interface:
        """Let `device` have IPv6, with a link-local address. `at_once`: without a test."""
        found = self.find(device)
        if found is not None:
            return found
        made = Interface(device)
        self.interfaces[device] = made
        if device.inet6.forwarding != 0:
            made.all_routers = join_own(self.ip, device, ALL_ROUTERS)
        if device.up:
            self._make_link_local(made, at_once)
        return made

    def disable(self, device: Device) -> None:
        """Take IPv6 from `device`: its addresses, routes and neighbours."""
        interface = self.find(device)
        if interface is None:
            return
        self._stop(interface)
        for own in list(device.addresses):
            if own.family == AF_INET6:
                self.keeper.withdraw(device, own)
        if interface.all_routers is not None:
            leave_own(self.ip, interface.all_routers)
        self.ndisc.table.flush(device)
        del self.interfaces[device]

    def _stop(self, interface: Interface) -> None:
        for pending in list(interface.pending):
            self._end_test(interface, pending)
        self._disarm(interface.solicit)
        self._disarm(interface.expire)
        interface.solicit = None
        interface.expire = None
        router_discovery.forget(self.ip, interface)

    def went_down(self, device: Device) -> None:
        """The administrator has taken `device` down: it loses its IPv6 addresses, as on Linux (keep_addr_on_down 0)."""
        interface = self.find(device)
        if interface is None:
            return
        self._stop(interface)
        if device.inet6.keep_addr_on_down == 0:
            for own in list(device.addresses):
                if own.family == AF_INET6:
                    self.keeper.withdraw(device, own)

    def came_up(self, device: Device) -> None:
        """`device` is up again."""
        interface = self.find(device)
        if interface is not None and device.inet6.disable_ipv6 == 0:
            self._make_link_local(interface, False)

    def ask_for_routers(self, device: Device) -> None:
        """The administrator wants `device` configured by routers."""
        interface = self.enable(device, False)
        if not interface.asks:
            interface.asks = True
            self._begin_asking(interface)

    def role_changed(self, device: Device) -> None:
        """net.ipv6.conf.DEV.forwarding has changed."""
        interface = self.find(device)
        if interface is None:
            return
        if device.inet6.forwarding != 0:
            if interface.all_routers is None:
                interface.all_routers = join_own(self.ip, device, ALL_ROUTERS)
            if not accepts(device):
                for router in list(interface.routers):
                    router_discovery.drop_router(self.ip, interface, router)
        elif interface.all_routers is not None:
            leave_own(self.ip, interface.all_routers)
            interface.all_routers = None

    # Making addresses

    def _make_link_local(self, interface: Interface, at_once: bool) -> None:
        device = interface.device
        for own in device.addresses:
            if own.family == AF_INET6 and own.scope == SCOPE_LINK:
                self._begin_asking(interface)
                return
        if device.inet6.addr_gen_mode == NO_LINK_LOCAL:
            return
        made = Address(AF_INET6, _LINK_LOCAL | self._identifier(interface, _LINK_LOCAL), 64)
        if device.inet6.addr_gen_mode >= STABLE:
            made.flags |= IFA_F_STABLE_PRIVACY
        self.add(device, made, at_once)

    def _identifier(self, interface: Interface, prefix: int) -> int:
        """The interface's 64 bits of an address: by its hardware address (RFC 4291, appendix A), or by RFC 7217."""
        device = interface.device
        if device.inet6.addr_gen_mode < STABLE:
            mac = int(device.mac)
            return ((mac >> 24) << 40 | 0xFF_FE00_0000 | (mac & 0xFF_FFFF)) ^ (2 << 56)
        if not interface.secret:
            # net.ipv6.conf.DEV.stable_secret is not here: the key is the run's.
            interface.secret = self.ip.rng.randbytes(16)
        count: i64 = interface.tries.get(prefix, 0)
        text = prefix.to_bytes(16, "big") + int(device.mac).to_bytes(6, "big") + bytes([count]) + interface.secret
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")

    def add(self, device: Device, made: Address, at_once: bool) -> None:
        """Give `device` an address, after a test of it unless it is to be there `at_once`."""
        interface = self.enable(device, at_once) if made.scope != SCOPE_LINK else self._interface(device)
        if interface.find(made.address) is not None or device.has_address(made.address):
            return
        conf = device.inet6
        if at_once or not device.arp or not device.up or conf.accept_dad < 1 or conf.dad_transmits == 0:
            self._settle(interface, made)
            return
        made.flags |= IFA_F_TENTATIVE
        pending = Pending(made, conf.dad_transmits)
        interface.pending.append(pending)
        pending.member = join_own(self.ip, device, solicited_node(made.address))
        # RFC 4862 (5.4.2): hosts that come up together shall not all ask at once.
        self._arm_test(interface, pending, self.ip.rng.randrange(_S))

    def _interface(self, device: Device) -> Interface:
        found = self.find(device)
        if found is None:
            found = Interface(device)
            self.interfaces[device] = found
        return found

    def _settle(self, interface: Interface, made: Address) -> None:
        """Nobody else has it."""
        device = interface.device
        made.flags &= ~IFA_F_TENTATIVE
        interface.members[made.address] = join_own(self.ip, device, solicited_node(made.address))
        self.keeper.settle(device, made)
        if device.inet6.ndisc_notify != 0 and device.arp:
            self.ndisc.tell(device, 0xFF02 << 112 | 1, made.address, 0x2000_0000, True)
        if made.scope == SCOPE_LINK:
            self._begin_asking(interface)
        self._arm_expiry(interface)

    def removed(self, device: Device, address: Address) -> None:
        """The host has taken an address from `device`."""
        interface = self.find(device)
        if interface is None:
            return
        member = interface.members.pop(address.address, None)
        if member is not None:
            leave_own(self.ip, member)

    def take_back(self, device: Device, address: int) -> bool:
        """End the test of `address`, for who does not want it any more; False where there is none."""
        interface = self.find(device)
        pending = interface.find(address) if interface is not None else None
        if interface is None or pending is None:
            return False
        self._end_test(interface, pending)
        return True

    def pending(self, device: Device) -> list[Address]:
        """The addresses of `device` that are under test, or have failed."""
        interface = self.find(device)
        if interface is None:
            return []
        return [pending.address for pending in interface.pending]

    def name_servers(self) -> list[tuple[int, str]]:
        """(address, device) of those that routers advertise to devices that ask for routers."""
        found: list[tuple[int, str]] = []
        for interface in self.interfaces.values():
            if interface.asks:
                for server in interface.servers:
                    found.append((server, interface.device.name))
        return found

    # Tests

    def _arm_test(self, interface: Interface, pending: Pending, delay_ns: i64) -> None:
        pending.event = Due(self._clock, interface, TEST, pending)
        self.ip.scheduler.post(pending.event, self.ip.lane, self.ip.scheduler.now_ns + delay_ns)

    def _disarm(self, event: Due | None) -> None:
        if event is not None:
            self.ip.scheduler.cancel(event)

    def _end_test(self, interface: Interface, pending: Pending) -> None:
        self._disarm(pending.event)
        pending.event = None
        if pending.member is not None:
            leave_own(self.ip, pending.member)
            pending.member = None
        interface.pending.remove(pending)

    def test(self, interface: Interface, pending: Pending) -> None:
        """Ask once more; when nobody has answered all questions, the address is free."""
        pending.event = None
        if pending.left <= 0:
            self._end_test(interface, pending)
            self._settle(interface, pending.address)
            return
        pending.left -= 1
        device = interface.device
        address = pending.address.address
        if device.inet6.enhanced_dad != 0:
            pending.nonce = self.ip.rng.randbytes(_NONCE_BYTES)
        self.ndisc.ask(device, 0, address, solicited_node(address), pending.nonce)
        self._arm_test(interface, pending, max(device.inet6.neigh_retrans_time_ms, 10) * _MS)

    def is_tested(self, device: Device, address: int) -> bool:
        interface = self.find(device)
        return interface is not None and bool(interface.pending) and interface.find(address) is not None

    def heard_test(self, device: Device, address: int, nonce: bytes) -> None:
        """RFC 4862 (5.4.3): two test the same address; neither may have it. A nonce of our own is our own question."""
        interface = self.find(device)
        pending = interface.find(address) if interface is not None else None
        if interface is not None and pending is not None and not pending.failed:
            if not nonce or nonce != pending.nonce:
                self._fail(interface, pending)

    def heard_owner(self, device: Device, address: int) -> None:
        interface = self.find(device)
        pending = interface.find(address) if interface is not None else None
        if interface is not None and pending is not None and not pending.failed:
            self._fail(interface, pending)

    def _fail(self, interface: Interface, pending: Pending) -> None:
        """Another has the address (RFC 4862, 5.4.5): it stays as a warning. A stable one is made anew (RFC 7217, 6)."""
        self._disarm(pending.event)
        pending.event = None
        pending.failed = True
        address = pending.address
        address.flags |= IFA_F_DADFAILED
        device = interface.device
        if address.flags & IFA_F_STABLE_PRIVACY:
            prefix = (address.address >> _IDENTIFIER_BITS) << _IDENTIFIER_BITS
            count: i64 = interface.tries.get(prefix, 0) + 1
            interface.tries[prefix] = count
            if count <= _TRIES:
                self._end_test(interface, pending)
                other = Address(AF_INET6, prefix | self._identifier(interface, prefix), address.prefix)
                other.flags = address.flags & ~(IFA_F_DADFAILED | IFA_F_TENTATIVE)
                other.valid_until_ns = address.valid_until_ns
                other.preferred_until_ns = address.preferred_until_ns
                self.add(device, other, False)
                return
        if device.inet6.accept_dad > 1 and address.address == _LINK_LOCAL | self._identifier(interface, _LINK_LOCAL):
            # Its hardware address is another's too: nothing that is made of it can be right.
            self.ip.inet6.confs.set_own(device, "disable_ipv6", 1)
            self.disable(device)

    # Routers

    def _begin_asking(self, interface: Interface) -> None:
        """RFC 4861 (6.3.7): ask for routers, now that there is an address to ask by."""
        device = interface.device
        if not interface.asks or not device.up or interface.routers or not accepts(device):
            return
        if device.inet6.router_solicitations == 0 or interface.solicit is not None:
            return
        interface.asked = 0
        self.ask_again(interface)

    def ask_again(self, interface: Interface) -> None:
        """Ask, and when to ask again (RFC 7559: twice as late each time, give or take a tenth)."""
        interface.solicit = None
        device = interface.device
        source: int = 0
        for own in device.addresses:
            if own.family == AF_INET6 and own.scope == SCOPE_LINK:
                source = own.address
        if source == 0 or not accepts(device):
            return
        self.ndisc.ask_routers(device, source)
        interface.asked += 1
        conf = device.inet6
        most: i64 = conf.router_solicitation_max_interval * _S
        tenth: float = 0.1 * (2.0 * self.ip.rng.random() - 1.0)
        if interface.asked == 1:
            first: float = float(conf.router_solicitation_interval * _S)
            interface.interval_ns = int(first * (1.0 + tenth))
        elif most and interface.interval_ns >= most:
            return
        else:
            before: float = float(interface.interval_ns)
            interface.interval_ns = int(before * (2.0 + tenth))
            if most:
                interface.interval_ns = min(interface.interval_ns, most)
        if conf.router_solicitations < 0 or interface.asked < conf.router_solicitations:
            interface.solicit = Due(self._clock, interface, SOLICIT, None)
            at: i64 = self.ip.scheduler.now_ns + max(interface.interval_ns, _MS)
            self.ip.scheduler.post(interface.solicit, self.ip.lane, at)

    def heard_router(self, message: IcmpMessage, device: Device) -> None:
        interface = self.find(device)
        body = message.payload
        if interface is None or len(body) < 8:
            return
        options = nd_option.parse(body[8:])
        if options is None:
            return
        own = self.ip.has_address(message.src) and device.inet6.accept_ra_from_local == 0
        if accepts(device) and not own:
            # It is answered: ask no more.
            self._disarm(interface.solicit)
            interface.solicit = None
            servers = list(interface.servers)
            for found in router_discovery.heard(self.ip, interface, message, options):
                self._heard_autonomous(interface, found)
            if servers != list(interface.servers):
                self.keeper.name_servers()
            self._arm_expiry(interface)
        self.ndisc.learn_router(device, message.src, options)

    def is_no_router(self, device: Device, address: int) -> None:
        interface = self.find(device)
        router = interface.router(address) if interface is not None else None
        if interface is not None and router is not None:
            router_discovery.drop_router(self.ip, interface, router)

    def router_answers(self, device: Device, address: int, answers: bool) -> None:
        """A default router does not answer any more, or does again (RFC 4861, 6.3.6)."""
        interface = self.find(device)
        router = interface.router(address) if interface is not None else None
        if interface is not None and router is not None and router.silent == answers:
            router.silent = not answers
            if len(interface.routers) > 1:
                router_discovery.place_routers(self.ip, interface)

    def _heard_autonomous(self, interface: Interface, found: Autonomous) -> None:
        """RFC 4862 (5.5.3)."""
        device = interface.device
        if found.length != 128 - _IDENTIFIER_BITS:
            return
        now: i64 = self.ip.scheduler.now_ns
        known: Address | None = None
        for own in [*device.addresses, *self.pending(device)]:
            if own.family == AF_INET6 and own.flags & IFA_F_MANAGETEMPADDR and own.address >> 64 == found.prefix >> 64:
                known = own
        if known is None:
            if found.valid_s == 0 or self._has_too_many(device):
                return
            made = Address(AF_INET6, found.prefix | self._identifier(interface, found.prefix), found.length)
            # Linux has this flag on each address of which it could make temporary ones.
            made.flags = (made.flags & ~IFA_F_PERMANENT) | IFA_F_MANAGETEMPADDR
            if device.inet6.addr_gen_mode >= STABLE:
                made.flags |= IFA_F_STABLE_PRIVACY
            made.valid_until_ns = until(self.ip, found.valid_s)
            self._prefer(made, found)
            self.add(device, made, False)
            return
        valid: i64 = until(self.ip, found.valid_s)
        left: i64 = known.valid_until_ns - now
        if valid == FOREVER or valid - now > _TWO_HOURS_NS:
            known.valid_until_ns = valid
        elif known.valid_until_ns == FOREVER or left > _TWO_HOURS_NS:
            known.valid_until_ns = max(valid, now + _TWO_HOURS_NS)
        elif valid - now > left:
            known.valid_until_ns = valid
        self._prefer(known, found)

    def _prefer(self, address: Address, found: Autonomous) -> None:
        """Until when `address` is preferred."""
        address.preferred_until_ns = until(self.ip, found.preferred_s)
        if found.preferred_s == 0:
            address.flags |= IFA_F_DEPRECATED
        else:
            address.flags &= ~IFA_F_DEPRECATED

    def _has_too_many(self, device: Device) -> bool:
        """net.ipv6.conf.DEV.max_addresses: a flood of prefixes must not fill memory."""
        most: i64 = device.inet6.max_addresses
        count: i64 = 0
        for own in device.addresses:
            if own.family == AF_INET6:
                count += 1
        return most != 0 and count + len(self.pending(device)) >= most

    # Ends

    def _arm_expiry(self, interface: Interface) -> None:
        """One event for all that ends, at the first of the times; one that comes too early looks again."""
        first: i64 = router_discovery.next_end(interface)
        for own in interface.device.addresses:
            if own.family == AF_INET6 and not own.flags & IFA_F_PERMANENT:
                first = sooner(first, own.valid_until_ns)
                if not own.flags & IFA_F_DEPRECATED:
                    first = sooner(first, own.preferred_until_ns)
        event = interface.expire
        if first == FOREVER:
            return
        if event is not None:
            if event.at_ns <= first:
                return
            self.ip.scheduler.cancel(event)
        interface.expire = Due(self._clock, interface, EXPIRE, None)
        self.ip.scheduler.post(interface.expire, self.ip.lane, max(first, self.ip.scheduler.now_ns))

    def expire(self, interface: Interface) -> None:
        """Some lifetime is over."""
        interface.expire = None
        now: i64 = self.ip.scheduler.now_ns
        servers = list(interface.servers)
        router_discovery.expire(self.ip, interface)
        if servers != list(interface.servers):
            self.keeper.name_servers()
        device = interface.device
        for own in list(device.addresses):
            if own.family != AF_INET6 or own.flags & IFA_F_PERMANENT:
                continue
            if own.valid_until_ns != FOREVER and own.valid_until_ns <= now:
                self.keeper.withdraw(device, own)
            elif own.preferred_until_ns != FOREVER and own.preferred_until_ns <= now:
                own.flags |= IFA_F_DEPRECATED
        self._arm_expiry(interface)


@final
class Clock(DueHandler):
    """Calls the host's `Autoconf` when something is due."""

    def __init__(self, autoconf: Autoconf) -> None:
        self.autoconf: Autoconf = autoconf

    def due(self, interface: Interface, what: i64, pending: Pending | None) -> None:
        if what == TEST:
            assert pending is not None, "a test is an address'"
            self.autoconf.test(interface, pending)
        elif what == SOLICIT:
            self.autoconf.ask_again(interface)
        else:
            self.autoconf.expire(interface)
