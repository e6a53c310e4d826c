"""TCP_INFO of one program's connections, on the machine and on a virtual host: the fields that no clock decides.

Where the machine's kernel is older than the structure's last fields, those are left out.
"""

from __future__ import annotations

import socket
from typing import Any

from side_by_side import Settle, on_a_host, on_the_machine

from lunar.tcp.info import LAYOUT

EXACT = (
    "state", "ca_state", "retransmits", "probes", "backoff", "options", "snd_wscale", "rcv_wscale", "unacked",
    "lost", "retrans", "fackets", "last_ack_sent", "total_retrans", "max_pacing_rate", "bytes_acked",
    "bytes_received", "segs_out", "segs_in", "notsent_bytes", "data_segs_in", "data_segs_out", "rwnd_limited",
    "sndbuf_limited", "bytes_sent", "bytes_retrans", "dsack_dups", "reord_seen", "rcv_ooopack", "total_rto",
)  # fmt: skip


def unpack(packed: bytes) -> dict[str, int]:
    """The fields of `struct tcp_info` by name, read without the module that writes them."""
    found = {}
    at = bit = 0
    for field in LAYOUT:
        name = field.name.removeprefix("tcpi_")
        if at >= len(packed):
            break
        if field.bits:
            found[name] = packed[at] >> bit & (1 << field.bits) - 1
            bit += field.bits
            if field.ends_byte:
                at, bit = at + 1, 0
        else:
            found[name] = int.from_bytes(packed[at : at + field.size], "little")
            at += field.size
    return found


def told(sock: socket.socket) -> dict[str, int]:
    found = unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1024))
    return {name: found[name] for name in EXACT if name in found}


def program(settle: Settle) -> list[Any]:
    log: list[Any] = []

    def note(what: str, *socks: socket.socket) -> None:
        settle()
        log.append((what, [told(sock) for sock in socks]))

    with socket.socket() as fresh:
        note("new", fresh)
        log.append(fresh.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO))
        log.append([len(fresh.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)) for size in (1, 3, 100, 232)])
    with socket.create_server(("127.0.0.1", 0), backlog=7) as listener:
        note("listener", listener)
        near = socket.create_connection(listener.getsockname())
        settle()
        log.append(unpack(listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1024))["unacked"])
        log.append(unpack(listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1024))["sacked"])
        far, _ = listener.accept()
        note("connected", near, far)
        near.send(b"x" * 1000)
        note("sent", near, far)
        far.recv(1000)
        note("read", near, far)
        far.send(b"y" * 3000)
        far.send(b"z")
        note("answered", near, far)
        near.shutdown(socket.SHUT_WR)
        note("half closed", near, far)
        far.close()
        note("closed", near)
        near.close()
    return log


def test_a_connection_tells_what_it_tells_on_the_machine() -> None:
    for host, machine in zip(on_a_host(program), on_the_machine(program), strict=True):
        assert host == machine
