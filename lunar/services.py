"""What getservbyname(3), getservbyport(3) and getprotobyname(3) know: /etc/services and /etc/protocols of every host.

Fixed tables, because the machine's files differ from machine to machine. They have what programs name: from IANA's
registries the services that a Debian lists, as far as anybody meets them, and the protocols that a socket may have.
"""

from __future__ import annotations

from typing import Final

_T: Final = ("tcp",)
_U: Final = ("udp",)
_TU: Final = ("tcp", "udp")

# (name, port, protocols, aliases), in the order of the ports: of two with one port the first one has the name.
_SERVICES: Final[tuple[tuple[str, int, tuple[str, ...], tuple[str, ...]], ...]] = (
    ("echo", 7, _TU, ()), ("discard", 9, _TU, ("sink", "null")), ("systat", 11, _T, ("users",)),
    ("daytime", 13, _TU, ()), ("qotd", 17, _T, ("quote",)), ("chargen", 19, _TU, ("ttytst", "source")),
    ("ftp-data", 20, _T, ()), ("ftp", 21, _T, ()), ("ssh", 22, _T, ()), ("telnet", 23, _T, ()),
    ("smtp", 25, _T, ("mail",)), ("time", 37, _TU, ("timserver",)), ("whois", 43, _T, ("nicname",)),
    ("domain", 53, _TU, ()), ("bootps", 67, _U, ()), ("bootpc", 68, _U, ()), ("tftp", 69, _U, ()),
    ("gopher", 70, _T, ()), ("finger", 79, _T, ()), ("http", 80, _T, ("www",)), ("kerberos", 88, _TU, ("krb5",)),
    ("pop3", 110, _T, ("pop-3",)), ("sunrpc", 111, _TU, ("portmapper",)), ("auth", 113, _T, ("ident",)),
    ("nntp", 119, _T, ()), ("ntp", 123, _U, ()), ("imap2", 143, _T, ("imap",)), ("snmp", 161, _TU, ()),
    ("snmp-trap", 162, _TU, ("snmptrap",)), ("bgp", 179, _T, ()), ("irc", 194, _TU, ()), ("ldap", 389, _TU, ()),
    ("https", 443, _TU, ()), ("submissions", 465, _T, ("smtps",)), ("isakmp", 500, _U, ()), ("syslog", 514, _U, ()),
    ("shell", 514, _T, ("cmd",)), ("login", 513, _T, ()), ("who", 513, _U, ("whod",)), ("exec", 512, _T, ()),
    ("printer", 515, _T, ("spooler",)), ("rtsp", 554, _TU, ()), ("submission", 587, _T, ()), ("ldaps", 636, _TU, ()),
    ("domain-s", 853, _TU, ()), ("rsync", 873, _T, ()), ("ftps-data", 989, _T, ()), ("ftps", 990, _T, ()),
    ("telnets", 992, _T, ()), ("imaps", 993, _T, ()), ("pop3s", 995, _T, ()), ("socks", 1080, _T, ()),
    ("openvpn", 1194, _TU, ()), ("ms-sql-s", 1433, _T, ()), ("mqtt", 1883, _TU, ()), ("radius", 1812, _U, ()),
    ("nfs", 2049, _TU, ()), ("mysql", 3306, _T, ()), ("epmd", 4369, _T, ()), ("sip", 5060, _TU, ()),
    ("xmpp-client", 5222, _T, ()), ("xmpp-server", 5269, _T, ()), ("mdns", 5353, _U, ()), ("postgresql", 5432, _T, ()),
    ("amqps", 5671, _T, ()), ("amqp", 5672, _TU, ()), ("x11", 6000, _T, ()), ("redis", 6379, _T, ()),
    ("ircd", 6667, _T, ()), ("http-alt", 8080, _TU, ("webcache",)), ("secure-mqtt", 8883, _T, ()),
)  # fmt: skip

_PROTOCOLS: Final = {
    "ip": 0, "icmp": 1, "igmp": 2, "ggp": 3, "ipencap": 4, "st": 5, "tcp": 6, "egp": 8, "igp": 9, "pup": 12, "udp": 17,
    "rdp": 27, "dccp": 33, "ipv6": 41, "ipv6-route": 43, "ipv6-frag": 44, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51,
    "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "eigrp": 88, "ospf": 89, "pim": 103, "vrrp": 112, "l2tp": 115,
    "sctp": 132, "udplite": 136, "mptcp": 262,
}  # fmt: skip


def _by_name() -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for name, port, protocols, aliases in _SERVICES:
        for one in (name, *aliases):
            for protocol in protocols:
                found.setdefault((one, protocol), port)
    return found


def _by_port() -> dict[tuple[int, str], str]:
    found: dict[tuple[int, str], str] = {}
    for name, port, protocols, _aliases in _SERVICES:
        for protocol in protocols:
            found.setdefault((port, protocol), name)
    return found


_PORTS: Final = _by_name()
_NAMES: Final = _by_port()


def port_of(name: str, protocol: str | None = None) -> int | None:
    """The port of a service, of the first protocol that has it if none is named."""
    for one in _TU if protocol is None else (protocol,):
        if (name, one) in _PORTS:
            return _PORTS[name, one]
    return None


def name_of(port: int, protocol: str | None = None) -> str | None:
    """The name of the service at `port`."""
    for one in _TU if protocol is None else (protocol,):
        if (port, one) in _NAMES:
            return _NAMES[port, one]
    return None


def protocol_number(name: str) -> int | None:
    """The number of a protocol, by its name or its alias, which is the name in capitals."""
    return _PROTOCOLS.get(name.lower())
