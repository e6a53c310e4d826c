"""Where a host looks names up: /etc/hosts, then its name servers if /etc/resolv.conf names one, else the tapestry.

That is nsswitch's "files dns", with the tapestry's names as if they stood in each host's /etc/hosts, until a host is
given a name server: then what the network does not tell it, it does not know. The host's own name it always knows.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from lunar import destinations
from lunar.address_info import LOOPBACK, LOOPBACK6, Found, Question, Reverse, failed
from lunar.hosts_file import HostsFile
from lunar.resolv_conf import ResolvConf
from lunar.resolver import ANSWERED, NO_ANSWER, NO_DATA, Resolver
from lunar.waits import Steps

if TYPE_CHECKING:
    from lunar.host import Host

_LOCAL_NAMES: Final = ("localhost", "ip4-localhost")
_LOCAL_NAMES6: Final = ("localhost", "ip6-localhost", "ip6-loopback")


class NameService:
    """The lookups of `host`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._resolver: Resolver | None = None
        self._hosts: tuple[int, HostsFile] | None = None
        self._resolv_conf: tuple[int, ResolvConf] | None = None

    def getaddrinfo(
        self, host: Any, port: Any, family: int, type: int, proto: int, flags: int
    ) -> Steps[list[Any]]:
        """socket.getaddrinfo. Raises socket.gaierror as there."""
        question = Question.of(host, port, family, type, proto, flags)
        answer = question.numeric(self._host)
        if answer is not None:
            return answer
        assert question.text is not None, "without a host there is a numeric answer"
        found: Found = yield from self._find(question.text, question)
        wanted = question.wanted(found.addresses, self._host.has_ipv6)
        if not wanted:
            raise failed(socket.EAI_NONAME)
        return question.answer(destinations.in_order(self._host.ip, wanted), found.canonical or question.text)

    def getnameinfo(self, sockaddr: Any, flags: int) -> Steps[tuple[str, str]]:
        """socket.getnameinfo: (host, service)."""
        reverse = Reverse.of(sockaddr, flags)
        name: str | None = None
        if reverse.asks_name:
            names: list[str] = yield from self.names_of(reverse.family, reverse.address)
            name = names[0] if names else None
        return reverse.answer(self._host, name)

    def names_of(self, family: int, address: int) -> Steps[list[str]]:
        """The names of an address, its own one first; empty if nobody has one."""
        written = self._written_hosts()
        if written is not None and (names := written.reverse(family, address)):
            return names
        if written is None and (family, address) in ((socket.AF_INET, LOOPBACK), (socket.AF_INET6, LOOPBACK6)):
            return ["localhost"]
        conf = self._servers()
        if conf is None:
            known = self._host.network.names.reverse(address)
            return [] if known is None else [known]
        if address in self._host.ip.local:
            return [self._host.name]
        result = yield from self._asks().names(conf, family, address)
        return list(result.names)

    def _find(self, text: str, question: Question) -> Steps[Found]:
        """The addresses of a name, of both families where both may be wanted."""
        name = text.lower().rstrip(".")
        found = self._in_files(name)
        if found is not None:
            return found
        conf = self._servers()
        if conf is None:
            addresses = self._host.network.names.pairs(name)
            if addresses:
                return Found(addresses)
        elif name == self._host.name.lower():
            return Found(self._own())
        else:
            families = [int(socket.AF_INET), int(socket.AF_INET6)]
            if question.family == socket.AF_INET or (question.flags & socket.AI_ADDRCONFIG and not self._host.has_ipv6):
                families = [int(socket.AF_INET)]
            elif question.family == socket.AF_INET6 and not question.maps:
                families = [int(socket.AF_INET6)]
            result = yield from self._asks().addresses(conf, text, families)
            if result.state == ANSWERED:
                return Found(list(result.addresses), result.canonical)
            if result.state == NO_ANSWER:
                raise failed(socket.EAI_AGAIN)
            if result.state == NO_DATA:
                raise failed(socket.EAI_NODATA)
        if name == self._host.name.lower():
            return Found([(int(socket.AF_INET), LOOPBACK)])  # a host without an address knows its own name all the same
        raise failed(socket.EAI_NONAME)

    def _in_files(self, name: str) -> Found | None:
        written = self._written_hosts()
        if written is not None:
            addresses = written.lookup(name)
            return Found(list(addresses), written.canonical(name)) if addresses else None
        found: list[tuple[int, int]] = []
        if name in _LOCAL_NAMES6 and self._host.has_ipv6:
            found.append((int(socket.AF_INET6), LOOPBACK6))
        if name in _LOCAL_NAMES:
            found.append((int(socket.AF_INET), LOOPBACK))
        return Found(found) if found else None

    def _own(self) -> list[tuple[int, int]]:
        return self._host.network.names.pairs(self._host.name) or [(int(socket.AF_INET), LOOPBACK)]

    def _written_hosts(self) -> HostsFile | None:
        """What somebody has written to /etc/hosts; None if nobody has."""
        paths = self._host.files_at_hand
        if paths is None or not paths.hosts.is_written:
            return None
        if self._hosts is None or self._hosts[0] != paths.hosts.version:
            self._hosts = (paths.hosts.version, HostsFile(paths.hosts.read().decode("utf-8", "replace")))
        return self._hosts[1]

    def _servers(self) -> ResolvConf | None:
        """How to ask the name servers; None if there are none."""
        paths = self._host.files_at_hand
        if paths is None:
            return None
        version = paths.resolv_conf.version
        if self._resolv_conf is None or self._resolv_conf[0] != version:
            text = paths.resolv_conf.read().decode("utf-8", "replace")
            self._resolv_conf = (version, ResolvConf.of(text))
        conf = self._resolv_conf[1]
        return conf if conf.servers else None

    @property
    def has_servers(self) -> bool:
        """Whether the host asks name servers."""
        return self._servers() is not None

    def _asks(self) -> Resolver:
        if self._resolver is None:
            self._resolver = Resolver(self._host)
        return self._resolver


