"""Programs that look below IP: a sniffer with a filter, one that asks by ARP, and one that answers pings by itself."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import time
from typing import Any

import lunar
from lunar.wire import checksum

PACKET, RAW, DGRAM = socket.AF_PACKET, socket.SOCK_RAW, socket.SOCK_DGRAM
ALL, IPV4, ARP = 3, 0x800, 0x806
SOL_PACKET, ADD_MEMBERSHIP, PROMISC = 263, 1, 1


def site(net: lunar.Network, count: int) -> list[lunar.Host]:
    hosts = [net.host(f"host-{at}", f"10.0.0.{at + 1}/24") for at in range(count)]
    net.link(*hosts, delay="1ms")
    return hosts


def attach(sock: socket.socket, *instructions: tuple[int, int, int, int]) -> None:
    code = b"".join(struct.pack("HBBI", *one) for one in instructions)
    kept = ctypes.create_string_buffer(code, len(code))
    sock.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(kept)))


def lines(sock: socket.socket, for_s: float) -> list[str]:
    """What a small tcpdump prints of UDP in `for_s` seconds: when, which way, from where to where, how long."""
    found = []
    until = time.monotonic() + for_s
    while (left := until - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            frame, (device, _, kind, *_) = sock.recvfrom(2000)
        except TimeoutError:
            break
        sport, dport, length = struct.unpack_from("!HHH", frame, 34)
        src, dst = socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34])
        way = "Out" if kind == 4 else "In"
        found.append(f"{round(time.monotonic(), 6)} {device} {way} {src}.{sport} > {dst}.{dport}: {length - 8}")
    return found


def test_a_sniffer_sees_what_comes_and_goes_and_its_filter_wants() -> None:
    seen: list[list[str]] = []

    def sniff() -> None:
        sock = socket.socket(PACKET, RAW, socket.htons(ALL))
        sock.bind(("eth0", 0))
        # IPv4 and UDP, as tcpdump makes it of "udp".
        is_ipv4, is_udp = [(0x28, 0, 0, 12), (0x15, 0, 3, IPV4)], [(0x30, 0, 0, 23), (0x15, 0, 1, 17)]
        attach(sock, *is_ipv4, *is_udp, (6, 0, 0, 65_535), (6, 0, 0, 0))
        seen.append(lines(sock, 10))
        assert struct.unpack("II", sock.getsockopt(SOL_PACKET, 6, 8)) == (2, 0)

    def answer() -> None:
        sock = socket.socket(type=DGRAM)
        sock.bind(("", 53))
        data, sender = sock.recvfrom(100)
        sock.sendto(data + data, sender)

    def ask() -> None:
        sock = socket.socket(type=DGRAM)
        sock.bind(("", 4000))
        time.sleep(1)
        sock.sendto(b"who?", ("10.0.0.1", 53))
        sock.recv(100)
        with socket.create_server(("", 80)):  # and TCP, which the filter keeps out
            socket.create_connection(("10.0.0.2", 80)).close()

    with lunar.Network(seed=1) as net:
        hosts = site(net, 2)
        net.start(hosts[0], sniff)
        net.start(hosts[0], answer)
        net.start(hosts[1], ask)
        net.run()
    assert seen == [["1.001 eth0 In 10.0.0.2.4000 > 10.0.0.1.53: 4", "1.001 eth0 Out 10.0.0.1.53 > 10.0.0.2.4000: 8"]]


def test_arp_asked_and_read_by_a_program() -> None:
    told: list[str] = []

    def ask() -> None:
        sock = socket.socket(PACKET, RAW, socket.htons(ARP))
        sock.bind(("eth0", 0))
        own = sock.getsockname()[4]
        request = struct.pack("!HHBBH", 1, IPV4, 6, 4, 1) + own + socket.inet_aton("10.0.0.1")
        request += bytes(6) + socket.inet_aton("10.0.0.2")
        sock.send(b"\xff" * 6 + own + struct.pack("!H", ARP) + request)
        sock.settimeout(5)
        frame, name = sock.recvfrom(100)
        told.append(frame[22:28].hex(":"))
        assert name[:3] == ("eth0", ARP, 0) and frame[20:22] == b"\0\2"

    with lunar.Network(seed=1, arp=True) as net:
        hosts = site(net, 2)
        net.start(hosts[0], ask)
        net.run()
        mac = int(hosts[1].devices["eth0"].mac).to_bytes(6, "big").hex(":")
    assert told == [mac]


def test_a_program_of_asyncio_answers_pings_by_frames_of_its_own() -> None:
    """It is no address of the host that is asked for: the stack knows nothing of it."""
    heard: list[Any] = []

    async def answer() -> None:
        sock = socket.socket(PACKET, RAW, socket.htons(IPV4))
        sock.bind(("eth0", 0))
        sock.setblocking(False)
        index = socket.if_nametoindex("eth0")
        sock.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, struct.pack("iHH8s", index, PROMISC, 0, b""))
        frame = await asyncio.get_running_loop().sock_recv(sock, 2000)
        icmp = b"\0\0\0\0" + frame[38:]
        icmp = icmp[:2] + checksum.internet(icmp).to_bytes(2, "big") + icmp[4:]
        header = frame[14:24] + b"\0\0" + frame[30:34] + frame[26:30]
        header = header[:10] + checksum.internet(header).to_bytes(2, "big") + header[12:]
        sock.send(frame[6:12] + frame[:6] + frame[12:14] + header + icmp)

    def ping() -> None:
        time.sleep(1)
        sock = socket.socket(socket.AF_INET, RAW, socket.IPPROTO_ICMP)
        sock.settimeout(5)
        message = b"\x08\0\0\0\0\x07\0\x01hello"
        message = message[:2] + checksum.internet(message).to_bytes(2, "big") + message[4:]
        sock.sendto(message, ("10.0.0.77", 0))
        packet, sender = sock.recvfrom(100)
        heard.append((packet[20:22], packet[28:], sender))

    with lunar.Network(seed=1) as net:
        hosts = [net.host("answers", "10.0.0.1/24"), net.host("asks", "10.0.0.2/24")]
        net.link(*hosts, delay="1ms")
        # On the link to it, the address has the hardware address of nobody.
        hosts[1].sh("ifconfig eth0 arp")
        hosts[1].sh("arp -s 10.0.0.77 02:00:00:00:00:77")
        net.start(hosts[0], answer)
        net.start(hosts[1], ping)
        net.run()
        # The answer came to the asker's hardware address, from the one that it had sent to.
    assert heard == [(b"\0\0", b"hello", ("10.0.0.77", 0))]


def test_a_device_shows_nothing_to_nobody() -> None:
    with lunar.Network(seed=1) as net:
        host = site(net, 2)[0]
        device = host.devices["eth0"]
        net.run(lambda: socket.socket(PACKET, RAW, socket.htons(ALL)).close(), on=host)
        assert device.sniffer is None
