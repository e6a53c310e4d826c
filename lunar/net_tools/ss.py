"""ss(8) of iproute2: the sockets of a host, in columns as wide as what is in them.

What is known of a socket is in seen.py, expressions are in ss_filter.py, what -i tells of a connection in ss_info.py.
Left out, and refused: netlink, vsock and the like, `-E` (events), `-K` (kill), BPF, SELinux contexts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from lunar import services
from lunar.net_tools.errors import CommandError
from lunar.net_tools.options import Options
from lunar.net_tools.seen import Look, Seen, unix_name
from lunar.net_tools.ss_filter import ALL, LISTENING, OPEN, Expression, states_of
from lunar.net_tools.ss_info import extended, info, memory, timer
from lunar.packet import AF_INET, AF_INET6, ICMP, ICMPV6
from lunar.sockets.unix import SOCK_DGRAM, SOCK_STREAM
from lunar.tcp.tcb import ESTABLISHED, TIME_WAIT
from lunar.wire.address import ipv4_text, ipv6_text

if TYPE_CHECKING:
    from lunar.host import Host

_NAMES: Final = {
    "numeric": "n", "all": "a", "listening": "l", "options": "o", "extended": "e", "memory": "m", "processes": "p",
    "info": "i", "summary": "s", "ipv4": "4", "ipv6": "6", "tcp": "t", "udp": "u", "raw": "w", "unix": "x",
    "no-header": "H", "oneline": "O", "family": "f", "query": "A", "socket": "A",
}  # fmt: skip
_STATES: Final = {
    1: "ESTAB", 2: "SYN-SENT", 3: "SYN-RECV", 4: "FIN-WAIT-1", 5: "FIN-WAIT-2", 6: "TIME-WAIT", 7: "UNCONN",
    8: "CLOSE-WAIT", 9: "LAST-ACK", 10: "LISTEN", 11: "CLOSING",
}  # fmt: skip
_KINDS: Final = ("unix", "raw", "udp", "tcp")  # in the order in which they are shown
_PROTOCOLS: Final = {ICMP: "icmp", ICMPV6: "ipv6-icmp", 2: "igmp", 6: "tcp", 17: "udp", 255: "raw"}
_UNIX: Final = {SOCK_STREAM: "u_str", SOCK_DGRAM: "u_dgr"}


@attrs.define
class _Wanted:
    """What the command line says."""

    options: Options
    kinds: list[str]
    families: set[int]
    states: frozenset[int]
    one_state: bool
    expression: Expression


def run(host: Host, words: list[str]) -> str:
    """`ss [-tuwx46] [-a|-l] [-n] [-p] [-e] [-m] [-o] [-i] [-H] [-O] [-s] [state S] [exclude S] [EXPRESSION]`."""
    options = Options("ss", words, "naloempisHO46tuwxf:A:", _NAMES)
    wanted = _read(options)
    if options.has("s"):
        return _summary(host)
    look = Look(host)
    found: list[Seen] = []
    for kind in wanted.kinds:
        for seen in getattr(look, kind)():
            if kind != "unix" and seen.family not in wanted.families:
                continue
            if seen.state in wanted.states and wanted.expression.condition(seen):
                found.append(seen)
    return _table(found, wanted)


def _read(options: Options) -> _Wanted:
    kinds = [kind for kind, letter in zip(_KINDS, "xwut", strict=True) if options.has(letter)]
    families = {AF_INET, AF_INET6}
    if options.has("4") != options.has("6"):
        families = {AF_INET if options.has("4") else AF_INET6}
    if options.has("f"):
        family = options.text("f")
        if family not in ("inet", "inet6", "unix"):
            raise CommandError(f'ss: -f "{family}": expected inet, inet6 or unix')
        if family == "unix":
            kinds = ["unix"]
        else:
            families = {AF_INET if family == "inet" else AF_INET6}
    if options.has("A"):
        for name in options.text("A").split(","):
            kinds += {"all": list(_KINDS), "inet": ["raw", "udp", "tcp"]}.get(name, [name])
        if set(kinds) - set(_KINDS):
            raise CommandError(f'ss: -A "{options.text("A")}": expected all, inet, {", ".join(_KINDS)}')
    if not kinds:
        kinds = list(_KINDS) if families == {AF_INET, AF_INET6} else ["raw", "udp", "tcp"]
    states = ALL if options.has("a") else LISTENING if options.has("l") else OPEN
    rest, chosen, without = list(options.operands), frozenset[int](), False
    while rest and rest[0] in ("state", "exclude"):
        word = rest.pop(0)
        if not rest:
            raise CommandError(f"ss: {word}: a state is missing")
        named = states_of(rest.pop(0))
        if word == "state":
            chosen, without = chosen | named, True
        else:
            states = states - named
    if without:
        states = chosen
    ordered: list[str] = [kind for kind in _KINDS if kind in kinds]
    return _Wanted(options, ordered, families, states, len(states) == 1, Expression(rest))


# The table


def _table(found: list[Seen], wanted: _Wanted) -> str:
    options = wanted.options
    several = len(wanted.kinds) > 1 or wanted.kinds == ["unix"]
    columns = [*(["Netid"] if several else []), *([] if wanted.one_state else ["State"]), "Recv-Q", "Send-Q"]
    shown = [_cells(seen, wanted, several) for seen in found]
    rows = [cells for cells, _ in shown]
    head = [*columns, "Local Address:", "Port", "Peer Address:", "Port", "Process"]
    without = options.has("H")
    # A head that is not shown makes its columns as wide all the same, but for the last.
    measured = [[*head[:-1], "" if without else head[-1]], *rows]
    widths = [max(len(row[at]) for row in measured) for at in range(len(head))]
    if not without:
        rows = [head, *rows]
    lines = []
    for number, row in enumerate(rows):
        text = ""
        for at, (cell, width) in enumerate(zip(row, widths, strict=True)):
            place = at - len(columns)
            # Addresses to the right, up to the colon; ports follow without a space.
            text += ("" if at == 0 or place in (1, 3, 4) else " ") + (
                cell.rjust(width) if place in (0, 2) else cell.ljust(width)
            )
        told = "" if number == len(rows) - len(found) - 1 else shown[number - (len(rows) - len(found))][1]
        if told and not options.has("O"):
            text = f"{text.rstrip()}\n\t {told}"
        elif told:
            text += f" {told}"
        lines.append(f"{text}\n")
    return "".join(lines)


def _cells(seen: Seen, wanted: _Wanted, several: bool) -> tuple[list[str], str]:
    """The cells of a row, and what comes in a line of its own."""
    options = wanted.options
    cells = []
    if several:
        cells.append(_netid(seen))
    if not wanted.one_state:
        cells.append(_STATES.get(seen.state, "UNKNOWN"))
    cells += [str(seen.recv_q), str(seen.send_q)]
    if seen.kind == "unix":
        cells += [f"{unix_name(seen) or '*'} ", str(seen.inode), "* ", str(seen.remote_port)]
    else:
        numeric = options.has("n")
        cells += [f"{_address(seen, seen.local, True)}:", _port(seen, seen.local_port, numeric)]
        cells += [f"{_address(seen, seen.remote, False)}:", _port(seen, seen.remote_port, numeric)]
    process = ""
    if options.has("p") and seen.users:
        users = ",".join(f'("{name}",pid={pid},fd={fd})' for name, pid, fd in seen.users)
        process += f" users:({users})"
    if options.has("o") and seen.timer_ns:
        process += f" {timer(seen)}"
    if options.has("e"):
        process += f" {extended(seen)}"
    told = []
    if options.has("m") and seen.sock is not None:
        told.append(memory(seen))
    if options.has("i") and seen.kind == "tcp":
        told.append(info(seen, numeric=options.has("n"), with_options=True))
    return [*cells, process], " ".join(filter(None, told))


def _netid(seen: Seen) -> str:
    if seen.kind != "unix":
        return seen.kind
    return _UNIX.get(int(seen.sock.type) if seen.sock is not None else 0, "u_seq")


def _address(seen: Seen, address: int, local: bool) -> str:
    device = f"%{seen.device}" if local and seen.device else ""
    if seen.family == AF_INET:
        return ipv4_text(address) + device
    if seen.mapped and address:
        return f"[::ffff:{ipv4_text(address)}]{device}"
    if address == 0 and seen.both and (local or not seen.local):
        return f"*{device}"
    return f"[{ipv6_text(address)}]{device}"


def _port(seen: Seen, port: int, numeric: bool) -> str:
    if port == 0:
        return "*"
    if numeric:
        return str(port)
    if seen.kind == "raw":
        return _PROTOCOLS.get(port, str(port))
    return services.name_of(port, seen.kind) or str(port)


# -s


def _summary(host: Host) -> str:
    look = Look(host)
    kinds = {kind: list(getattr(look, kind)()) for kind in _KINDS}
    tcp = kinds["tcp"]
    waiting = sum(1 for seen in tcp if seen.state == TIME_WAIT or seen.sock is None)
    established = sum(1 for seen in tcp if seen.state == ESTABLISHED)
    total = sum(len(ones) for ones in kinds.values()) - waiting
    orphaned = int(host.tcp.tables.orphans)
    text = f"Total: {total}\nTCP:   {len(tcp)} (estab {established}, closed {waiting}, "
    text += f"orphaned {orphaned}, timewait {waiting})\n\nTransport Total     IP        IPv6\n"
    rows = []
    for kind in ("raw", "udp", "tcp"):
        of_inet = sum(1 for seen in kinds[kind] if seen.family == AF_INET and seen.sock is not None)
        of_inet6 = sum(1 for seen in kinds[kind] if seen.family == AF_INET6 and seen.sock is not None)
        rows.append((kind.upper(), of_inet, of_inet6))
    rows.append(("INET", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    rows.append(("FRAG", 0, 0))
    for name, of_inet, of_inet6 in rows:
        text += f"{name}\t  {of_inet + of_inet6:<9} {of_inet:<9} {of_inet6:<9}\n"
    return f"{text}\n"
