"""Signatures of segments, RFC 2385: what is signed and how, and what becomes of a segment that is not signed well."""

from __future__ import annotations

import errno
from typing import Any

from tcp_scenario import ACK, FIN, LOCAL, MASK, OWN, OWN_PORT, PEER, PEER_PORT, REMOTE, RST, SYN, Scenario, ms, server

from lunar.packet import AF_INET, PSH, TcpSegment
from lunar.sockets import options, tcp_options
from lunar.tcp import sockopt
from lunar.tcp.opening import md5
from lunar.tcp.sock import TcpSock

KEY = b"secret"


def sig(addr: int = PEER, key: bytes = KEY, prefix: int = 0, flags: int = 0, family: int = 2) -> bytes:
    """A `struct tcp_md5sig`."""
    name = family.to_bytes(2, "little") + b"\0\0" + addr.to_bytes(4, "big")
    size = len(key).to_bytes(2, "little")
    return name.ljust(128, b"\0") + bytes((flags, prefix)) + size + bytes(4) + key[:80].ljust(80, b"\0")


def keyed(t: Scenario, sock: TcpSock, key: bytes = KEY) -> TcpSock:
    assert sockopt.set_md5_key(sock, PEER, 32, key) == 0
    return sock


def signed(t: Scenario, at: int, key: bytes = KEY, flags: int = ACK, **fields: Any) -> None:
    """The host gets a segment that is signed with `key`."""
    t.run(at)
    seq, ack = fields.pop("seq", REMOTE + 1), fields.pop("ack", LOCAL + 1)
    wire_ack = (ack - LOCAL + t.iss) & MASK if flags & ACK else 0
    data = fields.pop("data", b"")
    segment = TcpSegment(AF_INET, PEER, OWN, PEER_PORT, OWN_PORT, seq & MASK, wire_ack, flags, 65535, data)
    for name, value in fields.items():
        setattr(segment, name, value)
    md5.sign(segment, key)
    t.tcp.receive(segment, t.host.device)


def is_signed(segment: TcpSegment, key: bytes = KEY) -> bool:
    found = segment.md5
    assert found is not None
    md5.sign(segment, key)
    return segment.md5 == found


def test_the_signature_is_that_of_linux() -> None:
    # What a kernel of Linux 6.18 sent.
    segment = TcpSegment(
        AF_INET, 0xC0A8_0001, 0xC000_0201, 8080, 1000, 3_010_428_390, 101, ACK | PSH, 65_160, b"hello"
    )  # fmt: skip
    md5.sign(segment, b"secret")
    assert segment.md5 is not None and segment.md5.hex() == "5de49930c1a418522e8547bdfeb0ce00"


def connected() -> Scenario:
    t = Scenario()
    sock = keyed(t, t.tcp.create(AF_INET))
    assert sock.bind(OWN, OWN_PORT) == 0 and sock.connect(PEER, PEER_PORT) == -errno.EINPROGRESS
    t.watch(sock)
    # With SACK there is no room for timestamps.
    assert is_signed(t.sends(at=0, flags=SYN, has_timestamps=False, sack_permitted=True))
    signed(t, ms(1), flags=SYN | ACK, seq=REMOTE, mss=1460, sack_permitted=True)
    assert is_signed(t.sends(at=ms(1), flags=ACK))
    assert sock.state == 1
    return t


def test_all_that_is_sent_is_signed_and_full_segments_have_room() -> None:
    t = connected()
    t.write(b"x" * 3000)
    assert is_signed(t.sends(at=ms(1), size=1440))  # 1460 less twenty
    assert is_signed(t.sends(at=ms(1), size=1440))
    t.sock.close()
    t.forget()
    signed(t, ms(2), ack=LOCAL + 3002)
    signed(t, ms(2), ack=LOCAL + 3002, flags=FIN | ACK)
    assert is_signed(t.sends(at=ms(2), flags=ACK, ack=REMOTE + 2))  # from TIME-WAIT


def test_what_is_not_signed_well_is_dropped_and_counted() -> None:
    t = connected()
    t.gets(at=ms(2), data=b"a")
    signed(t, ms(2), key=b"wrong", data=b"a")
    t.gets(at=ms(2), flags=RST)
    assert t.read() is None and t.sock.state == 1
    t.sends_nothing(until=ms(2))
    count = t.host.count
    assert (count.tcp_md5_not_found, count.tcp_md5_failure) == (2, 1)
    signed(t, ms(2), data=b"a")
    assert t.read() == b"a"


def test_a_signature_without_a_key_is_dropped() -> None:
    t = server()
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1000)
    t.iss = int(t.sends(at=0, flags=SYN | ACK).seq)
    signed(t, ms(10))
    assert t.sock.accept_one() is None and t.host.count.tcp_md5_unexpected == 1
    t.gets(at=ms(20), ack=LOCAL + 1)
    assert t.sock.accept_one() is not None


def test_a_listeners_key_goes_to_its_connections() -> None:
    t = server()
    keyed(t, t.sock)
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1460)
    t.sends_nothing(until=0)
    signed(t, 0, flags=SYN, seq=REMOTE, mss=1460, sack_permitted=True, has_timestamps=True, ts_val=1)
    answer = t.sends(at=0, flags=SYN | ACK, has_timestamps=False, sack_permitted=True)
    t.iss = int(answer.seq)
    assert is_signed(answer)
    signed(t, ms(1), ack=LOCAL + 1)
    child = t.sock.accept_one()
    assert child is not None and child.md5_key == KEY
    child.send(b"x", False)
    assert is_signed(t.sends(at=ms(1), data=b"x"))


def test_keys_of_networks() -> None:
    keys: list[md5.Md5Key] = []
    assert md5.add(keys, 0x0A00_0000, 8, b"wide") and md5.add(keys, 0x0A00_0002, 32, b"narrow")
    assert md5.find(keys, 0x0A00_0002) == b"narrow"
    assert md5.find(keys, 0x0AFF_0002) == b"wide"
    assert md5.find(keys, 0x0B00_0002) == b""
    assert md5.add(keys, 0x0A00_0002, 32, b"") and md5.find(keys, 0x0A00_0002) == b"wide"
    assert not md5.add(keys, 0x0A00_0002, 32, b"")


def test_the_option() -> None:
    sock = Scenario().tcp.create(AF_INET)

    def put(value: bytes, name: int = tcp_options.TCP_MD5SIG) -> int:
        return options.set_bytes(sock, options.IPPROTO_TCP, name, value)

    assert put(sig()) == 0
    assert md5.find(sock.md5_keys, PEER) == KEY
    assert put(sig(key=b"")) == 0
    assert put(sig(key=b"")) == -errno.ENOENT
    assert put(sig()[:-1]) == -errno.EINVAL
    assert put(sig(key=b"x" * 81)) == -errno.EINVAL
    assert put(sig(family=10)) == -errno.EINVAL
    assert put(sig(0x0A00_0000, prefix=8, flags=1), tcp_options.TCP_MD5SIG_EXT) == 0
    assert md5.find(sock.md5_keys, PEER) == KEY
    assert put(sig(prefix=33, flags=1), tcp_options.TCP_MD5SIG_EXT) == -errno.EINVAL
