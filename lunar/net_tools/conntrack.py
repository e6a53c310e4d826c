"""conntrack(8): the connections that a host tracks, listed, looked up and deleted.

Commands are -L, -G, -D, -F, -C and -S; a connection is chosen by its addresses, ports, protocol, mark and status, and
by whether it is translated. Output is that of conntrack-tools 1.4.7, less what it says on its standard error. Left out:
making and changing entries, events, expectations, zones and labels.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from lunar.net_tools.conntrack_text import line
from lunar.net_tools.errors import CommandError
from lunar.netfilter.conntrack import ASSURED, DST_NAT, SEEN_REPLY, SRC_NAT, Conntrack, Statistics, Track
from lunar.netfilter.conntrack_tuple import ICMPV6
from lunar.netfilter.netfilter import Netfilter
from lunar.packet import AF_INET, AF_INET6, ICMP, TCP, UDP

if TYPE_CHECKING:
    from lunar.host import Host

_VERSION: Final = "conntrack v1.4.7 (conntrack-tools)"
_PROTOCOLS: Final = {"tcp": TCP, "udp": UDP, "icmp": ICMP, "icmpv6": ICMPV6}
_FAMILIES: Final = {"ipv4": AF_INET, "ipv6": AF_INET6}
_COMMANDS: Final = {
    "-L": "L", "--dump": "L", "-G": "G", "--get": "G", "-D": "D", "--delete": "D", "-F": "F", "--flush": "F",
    "-C": "C", "--count": "C", "-S": "S", "--stats": "S", "-V": "V", "--version": "V",
}  # fmt: skip
# Of options, which one it is; those of a protocol's ports can stand behind -p alone.
_OPTIONS: Final = {
    "-s": "src", "--src": "src", "--orig-src": "src", "-d": "dst", "--dst": "dst", "--orig-dst": "dst",
    "-r": "reply-src", "--reply-src": "reply-src", "-q": "reply-dst", "--reply-dst": "reply-dst",
    "-p": "protocol", "--protonum": "protocol", "-f": "family", "--family": "family", "-m": "mark", "--mark": "mark",
    "-u": "status", "--status": "status", "-o": "output", "--output": "output",
}  # fmt: skip
_PORTS: Final = {
    "--sport": "sport", "--orig-port-src": "sport", "--dport": "dport", "--orig-port-dst": "dport",
    "--reply-port-src": "reply-sport", "--reply-port-dst": "reply-dport",
}  # fmt: skip
_NAT: Final = {
    "-n": SRC_NAT, "--src-nat": SRC_NAT, "-g": DST_NAT, "--dst-nat": DST_NAT,
    "-j": SRC_NAT | DST_NAT, "--any-nat": SRC_NAT | DST_NAT,
}  # fmt: skip

Test = Callable[[Track], bool]


def run(host: Host, words: list[str]) -> str:
    """`conntrack -L|-G|-D [OPTIONS]`, `conntrack -F|-C|-S|-V`."""
    commands = [word for word in words if word in _COMMANDS]
    if len(commands) != 1:
        raise _refused("Invalid commands combination" if commands else "expected one of -L, -G, -D, -F, -C, -S")
    command = _COMMANDS[commands[0]]
    rest = [word for word in words if word not in _COMMANDS]
    if rest and not rest[0].startswith("-"):
        table = rest.pop(0)
        if table != "conntrack":
            raise _refused(f"there is no table `{table}' here; expected conntrack")
    tests, extended = _read(rest)
    if command == "V":
        return f"{_VERSION}\n"
    found = host.ip.filter
    conntrack = found.conntrack if isinstance(found, Netfilter) else None
    if command == "S":
        return _statistics(conntrack.statistics if conntrack is not None else Statistics())
    if command == "C":
        return f"{conntrack.count() if conntrack is not None else 0}\n"
    if conntrack is None:
        if command == "G":
            raise _refused("Operation failed: such conntrack doesn't exist", 1)
        return ""
    if command == "F":
        conntrack.flush()
        return ""
    return _chosen(conntrack, command, tests, extended)


def _chosen(conntrack: Conntrack, command: str, tests: list[Test], extended: bool) -> str:
    shown = ""
    for track in conntrack.all():
        if not all(test(track) for test in tests):
            continue
        shown += line(conntrack, track, extended=extended) + "\n"
        if command == "D":
            conntrack.remove(track)
        elif command == "G":
            break
    if command == "G" and not shown:
        raise _refused("Operation failed: such conntrack doesn't exist", 1)
    return shown


def _statistics(counts: Statistics) -> str:
    # Linux counts what is found and inserted where it has to look twice only, which never happens here.
    return (
        f"cpu=0   \tfound=0 invalid={counts.invalid} insert=0 insert_failed={counts.insert_failed} "
        f"drop={counts.drop} early_drop={counts.early_drop} error={counts.error} search_restart=0 clash_resolve=0 "
        "chaintoolong=0 \n"
    )


def _read(words: list[str]) -> tuple[list[Test], bool]:
    """What the options ask of a connection, all of which it must meet; and whether lines begin with the family."""
    given: dict[str, str] = {}
    tests: list[Test] = []
    while words:
        word, *words = words
        if word in _NAT:
            tests.append(_is_translated(_NAT[word]))
            continue
        if word in _PORTS and "protocol" not in given:
            raise _refused(f"unknown option `{word}'")
        name = _OPTIONS.get(word) or _PORTS.get(word)
        if name is None:
            raise _refused(f"unknown option `{word}'")
        if not words:
            raise _refused(f"option `{word}' requires an argument")
        given[name], *words = words
    for name, value in given.items():
        if name != "output":
            tests.append(_test(name, value))
        elif value != "extended":
            raise _refused(f"output type `{value}' is not here; expected extended")
    return tests, given.get("output") == "extended"


def _test(name: str, value: str) -> Test:
    if name == "protocol":
        return _has_protocol(value)
    if name == "family":
        if value not in _FAMILIES:
            raise _refused(f"`{value}' unknown family")
        family = _FAMILIES[value]
        return lambda track: track.original.family == family
    if name == "mark":
        return _has_mark(value)
    if name == "status":
        return _has_status(value)
    if name in ("src", "dst", "reply-src", "reply-dst"):
        return _has_address(name, value)
    return _has_port(name, value)


def _has_protocol(value: str) -> Test:
    number = _PROTOCOLS.get(value.lower())
    if number is None:
        if not value.isdigit() or int(value) > 255:
            raise _refused(f"`{value}' unsupported protocol")
        number = int(value)
    return lambda track: track.original.protocol == number


def _has_mark(value: str) -> Test:
    mark, slash, mask = value.partition("/")
    try:
        wanted, bits = int(mark, 0), int(mask, 0) if slash else 0xFFFF_FFFF
    except ValueError:
        raise _refused(f"`{value}' is not a mark") from None
    return lambda track: track.mark & bits == wanted


def _has_status(value: str) -> Test:
    if value == "ASSURED":
        return lambda track: track.status & ASSURED != 0
    if value == "SEEN_REPLY":
        return lambda track: track.status & SEEN_REPLY != 0
    if value == "UNREPLIED":
        return lambda track: not track.status & SEEN_REPLY
    raise _refused(f"Bad status: {value}")


def _has_address(name: str, value: str) -> Test:
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise _refused(f"Invalid IP address `{value}'") from None
    mask, wanted = int(network.netmask), int(network.network_address)
    family = AF_INET if network.version == 4 else AF_INET6

    def has(track: Track) -> bool:
        one = track.reply if name.startswith("reply-") else track.original
        address = one.src if name.endswith("src") else one.dst
        return one.family == family and address & mask == wanted

    return has


def _has_port(name: str, value: str) -> Test:
    if not value.isdigit() or int(value) > 65535:
        raise _refused(f"`{value}' is not a port")
    port = int(value)

    def has(track: Track) -> bool:
        one = track.reply if name.startswith("reply-") else track.original
        return one.protocol in (TCP, UDP) and (one.sport if name.endswith("sport") else one.dport) == port

    return has


def _is_translated(bits: int) -> Test:
    return lambda track: track.status & bits != 0


def _refused(text: str, code: int = 2) -> CommandError:
    hint = "" if code == 1 else "\nTry `conntrack -h' or 'conntrack --help' for more information."
    return CommandError(f"{_VERSION}: {text}{hint}")
