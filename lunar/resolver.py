"""The stub resolver of a host: questions to its name servers, over its own sockets, as glibc asks (resolv.conf(5)).

For each name that is tried, A and AAAA go out together by one UDP socket; each server is waited for `timeout` seconds,
all of them are gone through `attempts` times. An answer that was cut comes again over TCP. What is no answer to the
question (another id, another name, from elsewhere) is not looked at: RFC 5452. There is no cache, as in glibc.

Messages are dnspython's. It is imported when a host first asks, because most runs have no name server.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import attrs

from lunar import interfaces
from lunar.net.sock import POLLIN, POLLOUT, Sock
from lunar.packet import AF_INET
from lunar.resolv_conf import ResolvConf
from lunar.sockets import syscalls
from lunar.waits import Steps, Wait

if TYPE_CHECKING:
    from lunar.host import Host

_NS: Final = 1_000_000_000
_PORT: Final = 53
# What RFC 1035 allows a UDP message, and what glibc says with the option edns0.
_EDNS_BYTES: Final = 1200
_MESSAGE_MAX: Final = 65_535
# RFC 1035 section 2.3.4, of a name as text.
_NAME_MAX: Final = 253

# What becomes of a question.
ANSWERED: Final = "answered"
NO_DATA: Final = "no data"
NO_NAME: Final = "no name"
NO_ANSWER: Final = "no answer"


@attrs.frozen
class Result:
    """`state`, and the addresses or names of an answer, with the last name of a chain of CNAMEs."""

    state: str
    addresses: tuple[tuple[int, int], ...] = ()
    names: tuple[str, ...] = ()
    canonical: str | None = None


class Resolver:
    """The resolver of `host`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._turns = 0  # of `rotate`: with which server the next question begins

    def addresses(self, conf: ResolvConf, name: str, families: list[int]) -> Steps[Result]:
        """The addresses of `name`, tried as `conf` says."""
        kinds = ["A" if family == AF_INET else "AAAA" for family in families]
        if "no-aaaa" in conf.flags:
            kinds = ["A"]
        return (yield from self._search(conf, name, kinds))

    def names(self, conf: ResolvConf, family: int, address: int) -> Steps[Result]:
        """The names of an address, from in-addr.arpa or ip6.arpa (RFC 1035 section 3.5, RFC 3596 section 2.5)."""
        digits = address.to_bytes(4 if family == AF_INET else 16, "big")
        if family == AF_INET:
            name = ".".join(str(byte) for byte in reversed(digits)) + ".in-addr.arpa."
        else:
            name = ".".join(reversed(digits.hex())) + ".ip6.arpa."
        return (yield from self._search(conf, name, ["PTR"]))

    def _search(self, conf: ResolvConf, name: str, kinds: list[str]) -> Steps[Result]:
        """Glibc's search: the first name that has an answer; else that one exists, or that nobody would say."""
        worst = NO_NAME
        for full in conf.names(name):
            if not _is_name(full):
                continue
            result: Result = yield from self._ask(conf, full, kinds)
            if result.state == ANSWERED:
                return result
            if result.state == NO_ANSWER:
                return result  # another name would be asked of the same servers
            if result.state == NO_DATA:
                worst = NO_DATA
        return Result(worst)

    def _ask(self, conf: ResolvConf, name: str, kinds: list[str]) -> Steps[Result]:
        """All kinds of one name, of the servers in turn."""
        missing = kinds
        gathered: list[Result] = []
        apart = "single-request" in conf.flags or "single-request-reopen" in conf.flags
        first = self._turns % len(conf.servers) if "rotate" in conf.flags else 0
        self._turns += 1
        for _attempt in range(conf.attempts):
            for number in range(len(conf.servers)):
                server = conf.servers[(first + number) % len(conf.servers)]
                # resolv.conf(5): the later ones are waited for longer, in parts.
                seconds = conf.timeout_s if number == 0 else max((conf.timeout_s << number) // len(conf.servers), 1)
                for group in [[kind] for kind in missing] if apart else [missing]:
                    answers: dict[str, Result] = yield from self._exchange(conf, server, name, group, seconds)
                    gathered += answers.values()
                    missing = [kind for kind in missing if kind not in answers]
                if not missing:
                    return _together(gathered)
        if any(result.state == ANSWERED for result in gathered):
            return _together(gathered)  # of one family nobody knows; the other will do
        return Result(NO_ANSWER)

    def _exchange(
        self, conf: ResolvConf, server: tuple[int, int, str], name: str, kinds: list[str], seconds: int
    ) -> Steps[dict[str, Result]]:
        """The kinds of `name` that the server answers within the time, by UDP, or TCP where it must be."""
        deadline_ns = int(self._host.scheduler.now_ns) + seconds * _NS
        if "use-vc" in conf.flags:
            return (yield from self._by_tcp(conf, server, name, kinds, deadline_ns))
        sock = self._connected(server, socket.SOCK_DGRAM)
        if sock is None:
            return {}
        found: dict[str, Result] = {}
        cut: list[str] = []
        try:
            queries = {kind: self._query(conf, name, kind) for kind in kinds}
            for query in queries.values():
                if syscalls.send(sock, query.to_wire(), 0) < 0:
                    return found
            while len(found) + len(cut) < len(kinds):
                got = syscalls.recvfrom(sock, _MESSAGE_MAX, 0)
                if got.errno == errno.EAGAIN:
                    if self._host.scheduler.now_ns >= deadline_ns:
                        break
                    yield Wait(sock, POLLIN, deadline_ns)
                    continue
                if got.errno:
                    break  # nobody is there (ECONNREFUSED): on to the next server
                for kind, query in queries.items():
                    if kind in found or kind in cut:
                        continue
                    result = _read(got.data, query)
                    if result is None:
                        continue
                    if isinstance(result, str):
                        if result == _REFUSED:
                            return found  # it does not want to answer: on to the next server
                        cut.append(kind)
                    else:
                        found[kind] = result
        finally:
            _end(sock)
        if cut:
            deadline_ns = int(self._host.scheduler.now_ns) + seconds * _NS
            found |= yield from self._by_tcp(conf, server, name, cut, deadline_ns)
        return found

    def _by_tcp(
        self, conf: ResolvConf, server: tuple[int, int, str], name: str, kinds: list[str], deadline_ns: int
    ) -> Steps[dict[str, Result]]:
        """The same over one connection, each message after its length (RFC 1035 section 4.2.2)."""
        sock = self._connected(server, socket.SOCK_STREAM)
        found: dict[str, Result] = {}
        if sock is None:
            return found
        try:
            queries = {kind: self._query(conf, name, kind) for kind in kinds}
            rest = b"".join(len(wire).to_bytes(2, "big") + wire for wire in (q.to_wire() for q in queries.values()))
            received = b""
            while len(found) < len(kinds) and self._host.scheduler.now_ns < deadline_ns:
                if rest:
                    sent = syscalls.send(sock, rest, 0)
                    if sent < 0 and sent not in (-errno.EAGAIN, -errno.EINPROGRESS, -errno.ENOTCONN):
                        break
                    rest = rest[max(sent, 0) :]
                    if rest:
                        if (yield from _waited(sock, POLLOUT, deadline_ns)):
                            break
                        continue
                got = syscalls.recvfrom(sock, _MESSAGE_MAX, 0)
                if got.errno == errno.EAGAIN:
                    yield Wait(sock, POLLIN, deadline_ns)
                    continue
                if got.errno or not got.data:
                    break
                received += got.data
                while len(received) >= 2 and len(received) >= 2 + int.from_bytes(received[:2], "big"):
                    size = int.from_bytes(received[:2], "big")
                    message, received = received[2 : 2 + size], received[2 + size :]
                    for kind, query in queries.items():
                        result = _read(message, query)
                        if isinstance(result, Result):
                            found[kind] = result
                        elif result == _REFUSED:
                            return found
        finally:
            _end(sock)
        return found

    def _connected(self, server: tuple[int, int, str], type: int) -> Sock | None:
        """A socket of the host's own that speaks to `server`; None where there is no way to it."""
        family, address, scope = server
        sock = syscalls.socket(self._host.tcp, self._host.udp, family, type, 0)
        assert sock is not None, "each family has stream and datagram sockets"
        sock.nonblocking = True
        sock.held += 1  # no descriptor names it
        if scope and sock.ipv6 is not None:
            sock.ipv6.named_scope = self._index(scope)
        result = syscalls.connect(sock, address, _PORT)
        if result in (0, -errno.EINPROGRESS):
            return sock
        _end(sock)
        return None

    def _index(self, scope: str) -> int:
        """The number of the device on whose link a server is; 0 if there is none."""
        device = self._host.devices.get(scope)
        if device is not None:
            return interfaces.index_of(self._host, device)
        return int(scope) if scope.isascii() and scope.isdigit() else 0

    def _query(self, conf: ResolvConf, name: str, kind: str) -> Any:
        import dns.message
        import dns.rdatatype

        # An id that nobody guesses: from the host's own numbers, as its ports are.
        number = self._host.ip.rng.getrandbits(16)
        edns = 0 if "edns0" in conf.flags else None
        return dns.message.make_query(
            f"{name.rstrip('.')}.", dns.rdatatype.from_text(kind), id=number, use_edns=edns, payload=_EDNS_BYTES
        )


_CUT: Final = "cut"
_REFUSED: Final = "refused"


def _read(data: bytes, query: Any) -> Result | str | None:
    """What `data` says to `query`: a result; "cut" or "refused"; None if it is no answer to it."""
    import dns.exception
    import dns.flags
    import dns.message
    import dns.rcode
    import dns.rdatatype

    try:
        message = dns.message.from_wire(data, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return None  # not a message, whoever sent it
    if not query.is_response(message) or message.opcode() != 0:
        return None
    if message.flags & dns.flags.TC:
        return _CUT
    if message.rcode() == dns.rcode.NXDOMAIN:
        return Result(NO_NAME)
    if message.rcode() != dns.rcode.NOERROR:
        return _REFUSED
    asked = query.question[0]
    name = asked.name
    answers = [rrset for rrset in message.answer if rrset.rdclass == asked.rdclass]
    for _link in range(len(answers) + 1):
        for rrset in answers:
            if rrset.name == name and rrset.rdtype == asked.rdtype:
                return _of_rrset(rrset, name)
        alias = next((s for s in answers if s.name == name and s.rdtype == dns.rdatatype.CNAME), None)
        if alias is None:
            break
        name = alias[0].target
    return Result(NO_DATA)


def _of_rrset(rrset: Any, name: Any) -> Result:
    import dns.rdatatype

    if rrset.rdtype == dns.rdatatype.PTR:
        return Result(ANSWERED, names=tuple(_text(rdata.target) for rdata in rrset))
    family, parse = (
        (socket.AF_INET, _four) if rrset.rdtype == dns.rdatatype.A else (socket.AF_INET6, _six)
    )  # fmt: skip
    return Result(
        ANSWERED, tuple((int(family), parse(rdata.address)) for rdata in rrset), canonical=_text(name)
    )


def _four(text: str) -> int:
    import _socket

    return int.from_bytes(_socket.inet_pton(_socket.AF_INET, text), "big")


def _six(text: str) -> int:
    import _socket

    return int.from_bytes(_socket.inet_pton(_socket.AF_INET6, text), "big")


def _text(name: Any) -> str:
    return str(name.to_text(omit_final_dot=True))


def _together(results: Iterable[Result]) -> Result:
    """One result of those of several kinds: what any of them has; that the name exists, if one says so."""
    known = list(results)
    addresses = tuple(pair for result in known for pair in result.addresses)
    names = tuple(name for result in known for name in result.names)
    canonical = next((result.canonical for result in known if result.canonical), None)
    if addresses or names:
        return Result(ANSWERED, addresses, names, canonical)
    states = {result.state for result in known}
    return Result(NO_DATA if NO_DATA in states else NO_NAME)


def _waited(sock: Sock, mask: int, deadline_ns: int) -> Steps[bool]:
    """Wait for a connection or for room; whether the socket has failed meanwhile."""
    yield Wait(sock, mask, deadline_ns)
    return sock.take_error() != 0


def _end(sock: Sock) -> None:
    sock.held -= 1
    syscalls.close_unused(sock)


def _is_name(name: str) -> bool:
    """Whether DNS can be asked of it (RFC 1035 section 2.3.4)."""
    labels = name.rstrip(".").split(".")
    return len(name) <= _NAME_MAX and all(0 < len(label) <= 63 for label in labels)
