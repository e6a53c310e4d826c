"""The verification of the thesis' chapter 4: its programs over real UDP links, and its star of five processes.

    python tests/verification/chapter4.py            runs every check and prints a line for each
    python tests/verification/chapter4.py star kill  runs those whose names have one of these words in them
    python tests/verification/chapter4.py --list     prints the names

The programs of tapestries/verification are ordinary ones, with blocking calls of the standard library. Each is run
twice as two processes: on the machine's own sockets, and as two `weave run` in real time whose tapestries are joined by
a UDP link. Both times the same bytes have to come, by SHA-256. The exit code is 0 when all checks succeed.
"""

from __future__ import annotations

import hashlib
import random
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import attrs
from processes import Process, Tapestries, WentWrong, all_of, free_ports

SIZE: Final = 1 << 20  # bytes of a transfer
DATAGRAMS: Final = -(-SIZE // 1000)
STAR: Final = ("a", "b", "c", "d")
# Where a host of the star is, and its router (tapestries/verification/star-*.toml).
ADDRESS: Final = {name: f"10.{number}.0.2" for number, name in enumerate(STAR, 1)}

# Exit codes of `weave run` (docs/cli.md), and what subprocess says of a process that SIGKILL ended.
FAILED: Final = 1
INTERRUPTED: Final = 130
KILLED: Final = -9


@attrs.frozen
class Outcome:
    """What a check has seen: bytes that came and were the right ones, and what the processes' figures add up to."""

    bytes: int
    datagrams: int = 0  # of the machine's, a frame each, that the links have sent
    lost: int = 0  # frames, by the links' loss
    missed: int = 0  # datagrams that nobody was there to take, or that the machine had no room for
    retransmitted: int = 0  # segments
    links: bool = False  # there were any


Check = Callable[[Tapestries], Outcome]


def sha256(name: str) -> str:
    """Of the megabyte that has this name in tapestries/verification/payload.py, made here anew."""
    return hashlib.sha256(random.Random(name).randbytes(SIZE)).hexdigest()


def transferred(who: str, name: str) -> str:
    """What a program says that has received the megabyte of this name."""
    return f"{who} received {SIZE:,} bytes, SHA-256 {sha256(name)}"


TRANSFER: Final = {"server": transferred("server", "visitor"), "visitor": transferred("visitor", "server")}
ALL_DATAGRAMS: Final = {who: f"{who} received {DATAGRAMS} of {DATAGRAMS} datagrams" for who in ("server", "visitor")}


def expect(held: bool, what: str, *processes: Process) -> None:
    if not held:
        raise WentWrong("\n".join([what, *(process.told() for process in processes)]))


def both_end(processes: dict[str, Process], lines: dict[str, str]) -> None:
    """Each says its line and ends well."""
    for name, process in processes.items():
        process.line_with(lines[name])
        process.ends()


# On the machine's own sockets


def on_the_machine(program: str) -> Check:
    def check(tapestries: Tapestries) -> Outcome:
        datagrams = program == "sendto_recvfrom.py"
        port = str(free_ports(1, socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM)[0])
        lines = ALL_DATAGRAMS if datagrams else TRANSFER
        with tapestries.program(program, "serve", port) as server:
            server.line_with("ready")
            with tapestries.program(program, "visit", "127.0.0.1", port) as visitor:
                both_end({"server": server, "visitor": visitor}, lines)
        return Outcome(2 * SIZE)

    return check


def star_on_the_machine(tapestries: Tapestries) -> Outcome:
    ports = dict(zip(STAR, free_ports(len(STAR), socket.SOCK_STREAM), strict=True))
    hosts = {}
    for own, port in ports.items():
        others = (f"{name}=127.0.0.1:{ports[name]}" for name in STAR if name != own)
        hosts[own] = tapestries.program("everyone.py", own, str(port), *others)
    with all_of(*hosts.values()):
        return Outcome(exchanged(hosts))


def exchanged(hosts: dict[str, Process]) -> int:
    """How many bytes the hosts of a star have sent each other, when all have come and the processes have ended."""
    for own, process in hosts.items():
        for name in STAR:
            if name != own:
                process.line_with(f"{own} received of {name} {SIZE:,} bytes, SHA-256 {sha256(f'{name} to {own}')}")
        process.line_with(f"{own}: 3 of 3 have what was sent to them")
        process.ends()
    return len(hosts) * (len(STAR) - 1) * SIZE


# Over UDP links


def over_a_udp_link(program: str, visitor_first: str = "") -> Check:
    """A program as two processes. With `visitor_first` the server is started when the visitor has said that."""
    lines = ALL_DATAGRAMS if program == "sendto_recvfrom.py" else TRANSFER

    def check(tapestries: Tapestries) -> Outcome:
        for name in lines:
            tapestries.change(name, "send_recv.py", program)
        first, second = ("visitor", "server") if visitor_first else ("server", "visitor")
        with tapestries.run(first) as earlier:
            earlier.line_with(visitor_first or "ready")
            with tapestries.run(second) as later:
                both_end({first: earlier, second: later}, lines)
        outcome = counted(2 * SIZE, tapestries, lines)
        expect(outcome.lost == 0, f"the links have lost {outcome.lost} frames")
        return outcome

    return check


def transfer_with_loss(tapestries: Tapestries) -> Outcome:
    for name in TRANSFER:
        tapestries.change(name, 'loss = "0%"', 'loss = "5%"')
    with tapestries.run("server") as server, tapestries.run("visitor") as visitor:
        both_end({"server": server, "visitor": visitor}, TRANSFER)
    outcome = counted(2 * SIZE, tapestries, TRANSFER)
    expect(outcome.lost > 0, "the links have lost nothing")
    expect(outcome.retransmitted > 0, "nothing was sent again")
    return outcome


def datagrams_with_loss(tapestries: Tapestries) -> Outcome:
    """What comes is right, and what does not come is what the links have lost."""
    tapestries.change("server", "send_recv.py", "sendto_recvfrom.py")
    tapestries.change("visitor", "send_recv.py visit 10.0.0.1 7000", "sendto_recvfrom.py visit 10.0.0.1 7000 0.1")
    for name in ("server", "visitor"):
        tapestries.change(name, 'loss = "0%"', 'loss = "5%"')
    with tapestries.run("server") as server, tapestries.run("visitor") as visitor:
        came = {}
        for name, process in (("server", server), ("visitor", visitor)):
            line = process.line_with(f" of {DATAGRAMS} datagrams")
            came[name] = int(re.findall(r"received (\d+) of", line)[0])
            process.ends()
        outcome = counted(sum(came.values()) * 1000, tapestries, came)
        there, back = DATAGRAMS - came["server"], came["server"] - came["visitor"]
        expect(there > 0 and back > 0, f"nothing was lost: {came}", server, visitor)
        expect(there + back <= outcome.lost + outcome.missed, f"more is missing than was lost: {came}, {outcome}")
    return outcome


# When the other side ends


def slow_transfer(tapestries: Tapestries) -> None:
    """One that takes a minute: whatever happens, happens in the middle of it."""
    for name in TRANSFER:
        tapestries.change(name, 'rate = "100mbit"', 'rate = "300kbit"')


def interrupted(tapestries: Tapestries) -> Outcome:
    """Ctrl-C ends one side; the other's calls fail as those of a program whose peer is gone without a word."""
    slow_transfer(tapestries)
    with tapestries.run("server") as server, tapestries.run("visitor") as visitor:
        server.line_with("connected")
        visitor.interrupt()
        visitor.ends(INTERRUPTED)
        server.line_with("nobody listens at 127.0.0.1:")
        server.line_with("TimeoutError: [Errno 110] Connection timed out")
        server.ends(FAILED)
    return counted(0, tapestries, TRANSFER)


def killed(tapestries: Tapestries) -> Outcome:
    """SIGKILL ends the process of one side: no word, no figures of it. The other side's exit is the same."""
    slow_transfer(tapestries)
    with tapestries.run("server") as server, tapestries.run("visitor") as visitor:
        server.line_with("connected")
        visitor.kill()
        visitor.ends(KILLED)
        server.line_with("nobody listens at 127.0.0.1:")
        server.line_with("TimeoutError: [Errno 110] Connection timed out")
        server.ends(FAILED)
    return counted(0, tapestries, ["server"])


def started_again(tapestries: Tapestries) -> Outcome:
    """A visitor that is killed while it looks for its server, and started again, finds it: a link has no state."""
    with tapestries.run("visitor") as visitor:
        visitor.line_with("not there yet")
        visitor.kill()
        visitor.ends(KILLED)
    with tapestries.run("server") as server, tapestries.run("visitor") as visitor:
        both_end({"server": server, "visitor": visitor}, TRANSFER)
    return counted(2 * SIZE, tapestries, TRANSFER)


# The star


def star(order: tuple[str, ...]) -> Check:
    """Four hosts and a router, started in this order: twelve transfers at once, ping and traceroute beside them."""

    def check(tapestries: Tapestries) -> Outcome:
        processes: dict[str, Process] = {}
        with all_of() as started:
            for name in order:
                processes[name] = started.enter_context(tapestries.run(f"star-{name}"))
            router = processes.pop("router")
            done = exchanged({name: processes[name] for name in STAR})
            router.interrupt()
            router.ends(INTERRUPTED)
            if order[-1] == "a":  # the others are there when it asks for them
                pinged(processes["a"])
        return counted(done, tapestries, [f"star-{name}" for name in order])

    return check


def pinged(host: Process) -> None:
    """Whether ping and traceroute of host a have found c and d behind the router."""
    host.line_with(f"64 bytes from {ADDRESS['c']}: icmp_seq=")
    host.line_with("5 packets transmitted, ")
    trace = [line for line in host.printed if re.search(r"\]  ?\d+  \S", line)]
    hops = [re.findall(r"\]  ?(\d+)  ([\d.*]+)", line)[0] for line in trace]
    expect(hops == [("1", "10.1.0.1"), ("2", ADDRESS["d"])], f"the trace is {hops}", host)


# All of them


def counted(size: int, tapestries: Tapestries, names: Iterable[str]) -> Outcome:
    """The figures of the runs of these names."""
    runs = [tapestries.figures(name) for name in names]
    udp_links = [link for run in runs for link in run["udp_links"]]
    return Outcome(
        size,
        sum(link["datagrams_out"] for link in udp_links),
        sum(link["lost"] for run in runs for link in run["links"]),
        sum(link[why] for link in udp_links for why in ("refused", "no_room_out", "failed_out", "no_room_in")),
        sum(run["tcp"]["retransmissions"] for run in runs),
        links=True,
    )


CHECKS: Final[dict[str, Check]] = {
    "send/recv on the machine": on_the_machine("send_recv.py"),
    "write/read on the machine": on_the_machine("write_read.py"),
    "writev/readv on the machine": on_the_machine("writev_readv.py"),
    "select on the machine": on_the_machine("select_loop.py"),
    "sendto/recvfrom on the machine": on_the_machine("sendto_recvfrom.py"),
    "everyone to everyone on the machine": star_on_the_machine,
    "send/recv": over_a_udp_link("send_recv.py"),
    "write/read": over_a_udp_link("write_read.py"),
    "writev/readv": over_a_udp_link("writev_readv.py"),
    "select": over_a_udp_link("select_loop.py"),
    "send/recv, 5% loss": transfer_with_loss,
    "sendto/recvfrom": over_a_udp_link("sendto_recvfrom.py"),
    "sendto/recvfrom, 5% loss": datagrams_with_loss,
    "send/recv, the visitor first": over_a_udp_link("send_recv.py", "not there yet"),
    "sendto/recvfrom, the visitor first": over_a_udp_link("sendto_recvfrom.py", "no answer yet"),
    "Ctrl-C": interrupted,
    "kill": killed,
    "kill, and start again": started_again,
    "star": star(("router", "d", "c", "b", "a")),
    "star, the router last": star(("a", "b", "c", "d", "router")),
}


def run(name: str) -> Outcome:
    """Do the check of this name. Raises `WentWrong`."""
    with tempfile.TemporaryDirectory(prefix="chapter4-") as folder:
        return CHECKS[name](Tapestries(Path(folder)))


def main(words: list[str]) -> int:
    if words == ["--list"]:
        print("\n".join(CHECKS))
        return 0
    names = [name for name in CHECKS if not words or any(word in name for word in words)]
    width = max(map(len, names), default=0)
    good = 0
    for name in names:
        try:
            outcome = run(name)
        except WentWrong as wrong:
            print(f"{name:{width}}  FAILED\n{wrong}", flush=True)
            continue
        good += 1
        print(f"{name:{width}}  {described(outcome)}", flush=True)
    print(f"{good} of {len(names)}")
    return 0 if names and good == len(names) else 1


def described(outcome: Outcome) -> str:
    text = f"{outcome.bytes:>10,} bytes" + (", SHA-256 ok" if outcome.bytes else "             ")
    if outcome.links:
        text += f"  {outcome.datagrams:>6,} datagrams, {outcome.lost:>3,} lost, {outcome.missed:,} missed"
        text += f", {outcome.retransmitted:,} segments sent again"
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
