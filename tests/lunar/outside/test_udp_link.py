"""UDP links between networks, and what comes to one that is no frame of its peer's."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import lunar
from lunar.outside.seal import OVERHEAD_BYTES
from lunar.outside.udp_link import read_key
from lunar.packet import AF_INET, UdpDatagram
from lunar.wire import ethernet
from tests.lunar.outside.ports import free_ports, has_ipv6
from tests.lunar.outside.two_networks import LIMIT_S, Pair, Side, connected, sink
from weaves.endpoints import KEY_OVERHEAD, link_mtu

KEY = "a text of many letters"
DATA = bytes(range(256)) * 1200


async def send_all() -> str:
    reader, writer = await connected()
    writer.write(DATA)
    writer.write_eof()
    return (await reader.read()).decode()


def test_a_transfer_arrives_intact_and_in_batches() -> None:
    with Pair() as pair:
        assert pair.run(sink, send_all) == hashlib.sha256(DATA).hexdigest()
        out, back = pair.client.figures(), pair.server.figures()
        assert out["frames_out"] == out["datagrams_out"] >= len(DATA) // 1460
        assert 0 < out["calls_out"] < out["datagrams_out"] / 2
        assert 0 < back["calls_in"] < back["datagrams_in"] / 2
        for one in (out, back):
            bad = ("foreign", "short", "long", "bad_tag", "replayed", "missing", "failed_out", "no_room_out")
            assert {name: one[name] for name in bad} == dict.fromkeys(bad, 0)
            assert one["keyed"] is False


def test_a_transfer_with_a_key() -> None:
    with Pair(key=KEY) as pair:
        assert pair.run(sink, send_all) == hashlib.sha256(DATA).hexdigest()
        out, back = pair.client.figures(), pair.server.figures()
        assert out["agreements"] == back["agreements"] == 1
        assert out["bad_tag"] == back["bad_tag"] == 0
        assert out["keyed"] is True


@pytest.mark.parametrize("key", [None, KEY], ids=["without a key", "with a key"])
def test_a_recorded_session_is_repeated_without_a_socket_and_without_the_key(key: str | None, tmp_path: Path) -> None:
    with Pair(record=tmp_path / "session", key=key, delay="1ms", loss="1%") as pair:
        found = pair.run(sink, send_all)
        digest = pair.client.net.digest()
        server, client = pair.ports
    with lunar.Network(replay=tmp_path / "session") as net:
        host = net.host("client", "10.0.0.2/24")
        link = net.udp_link(
            host, local=client, remote=f"127.0.0.1:{server}", delay="1ms", loss="1%", mtu=1458 if key is None else 1434
        )
        assert net.run(send_all, on=host) == found == hashlib.sha256(DATA).hexdigest()
        assert net.digest() == digest
        assert not link.socket.opened
        assert link.figures()["datagrams_out"] == link.figures()["datagrams_in"] == 0


@pytest.mark.parametrize("mtu", [1458, 8958, 65493])
def test_mtus_up_to_the_largest(mtu: int) -> None:
    with Pair(mtu=mtu) as pair:
        assert pair.client.host.devices["eth0"].mtu == mtu
        assert pair.run(sink, send_all) == hashlib.sha256(DATA).hexdigest()


def offload(host: Any) -> None:
    host.sh("ethtool -K eth0 gso on gro on")


@pytest.mark.parametrize("rate", [None, "200mbit"])
def test_devices_may_cut_segments_and_put_them_together(rate: str | None) -> None:
    with Pair(rate=rate) as pair:
        sizes: list[int] = []
        for side in (pair.client, pair.server):
            offload(side.host)
        device = pair.server.host.devices["eth0"]
        device.tap = lambda _device, frame: sizes.append(frame.size_bytes)
        assert pair.run(sink, send_all) == hashlib.sha256(DATA).hexdigest()
        # Outside there are frames of the MTU alone; inside they may be one.
        assert pair.client.figures()["bytes_out"] <= pair.client.figures()["frames_out"] * (14 + 1458)
        assert pair.server.figures()["long"] == 0
        assert device.rx_packets <= pair.server.figures()["frames_in"]
        if rate is None:
            assert max(sizes) > 1458


def test_what_came_together_comes_together_in_a_replay(tmp_path: Path) -> None:
    first, second = free_ports(2)
    log = tmp_path / "session"

    async def fetch(host: str) -> str:
        reader, _writer = await connected(host)
        return hashlib.sha256(await reader.read()).hexdigest()

    async def give() -> None:
        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(DATA)
            writer.close()

        async with await asyncio.start_server(serve, "0.0.0.0", 80) as server:
            await server.serve_forever()

    def client(**how: Any) -> tuple[lunar.Network, Any]:
        net = lunar.Network(**how)
        host = net.host("client", "10.0.0.2/24")
        net.udp_link(host, local=second, remote=f"127.0.0.1:{first}")
        offload(host)
        return net, host

    async def live() -> tuple[str, str]:
        server = Side("server", "10.0.0.1/24", first, second)
        net, host = client(clock="real", record=log)
        giving = asyncio.ensure_future(server.net.run_async(give, on=server.host))
        async with asyncio.timeout(LIMIT_S):
            got = await net.run_async(fetch, "10.0.0.1", on=host)
        giving.cancel()
        await asyncio.gather(giving, return_exceptions=True)
        result = got, net.digest()
        net.close()
        server.net.close()
        return result

    lived = asyncio.run(live())
    assert lived[0] == hashlib.sha256(DATA).hexdigest()
    net, host = client(replay=log)
    with net:
        assert (net.run(fetch, "10.0.0.1", on=host), net.digest()) == lived


@pytest.mark.skipif(not has_ipv6(), reason="the machine has no ::1")
def test_a_link_by_ipv6_that_carries_ipv6() -> None:
    first, second = free_ports(2, "::1")

    async def main() -> str:
        reader, writer = await connected("2001:db8::1")
        writer.write(DATA)
        writer.write_eof()
        return (await reader.read()).decode()

    async def serve() -> None:
        await sink("::")

    with lunar.Network(clock="real") as left, lunar.Network(clock="real") as right:
        server, client = left.host("server", "2001:db8::1/64"), right.host("client", "2001:db8::2/64")
        left.udp_link(server, local=f"[::1]:{first}", remote=f"[::1]:{second}")
        link = right.udp_link(client, local=f"[::1]:{second}", remote=f"[::1]:{first}")

        async def both() -> Any:
            serving = asyncio.ensure_future(left.run_async(serve, on=server))
            try:
                async with asyncio.timeout(60):
                    return await right.run_async(main, on=client)
            finally:
                serving.cancel()

        assert asyncio.run(both()) == hashlib.sha256(DATA).hexdigest()
        assert link.figures()["remote"] == f"[::1]:{first}"


def test_who_has_another_key_is_told_so_once() -> None:
    first, second = free_ports(2)
    told: list[str] = []

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(OSError, match="Errno 113"):
                await asyncio.open_connection("10.0.0.2", 80)

    with lunar.Network(clock="real", speed=20.0) as left, lunar.Network(clock="real") as right:
        host, other = left.host("left", "10.0.0.1/24"), right.host("right", "10.0.0.2/24")
        link = left.udp_link(host, local=first, remote=f"127.0.0.1:{second}", key=KEY)
        right.udp_link(other, local=second, remote=f"127.0.0.1:{first}", key=f"{KEY}, another")
        left.supervisor.trace.subscribe_changes(lambda _at, _name, what: told.append(what))

        async def both() -> None:
            waiting = asyncio.ensure_future(right.run_async(asyncio.Event().wait, on=other))
            try:
                async with asyncio.timeout(60):
                    await left.run_async(main, on=host)
            finally:
                waiting.cancel()

        asyncio.run(both())
        assert link.figures()["bad_tag"] > 0
        peer = f"127.0.0.1:{second}"
        assert [text for text in told if "key" in text] == [f"what comes from {peer} has a wrong tag: another key?"]


def test_each_side_has_rate_delay_and_loss_of_what_it_sends() -> None:
    with Pair(rate="50mbit", delay="1ms", loss="2%") as pair:
        assert pair.run(sink, send_all) == hashlib.sha256(DATA).hexdigest()
        lost = [side.net.link_figures()[0]["lost"] for side in (pair.client, pair.server)]
        assert lost[0] > 0


class Peer(asyncio.DatagramProtocol):
    """A peer of the tests' own: the datagrams that came, and who waits for one."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None

    def datagram_received(self, data: bytes, _address: Any) -> None:
        self.came.append(data)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def until(self, enough: Callable[[], bool]) -> None:
        while not enough():
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


async def beside(
    net: lunar.Network, main: Callable[[], Awaitable[Any]], host: Any, local: int, remote: int,
    peer_does: Callable[[asyncio.DatagramTransport, Peer], Awaitable[None]],
) -> Any:
    """Run `main` on `host`, whose link goes from `local` to `remote`, where `peer_does` something meanwhile."""
    loop = asyncio.get_running_loop()
    transport, peer = await loop.create_datagram_endpoint(
        Peer, local_addr=("127.0.0.1", remote), remote_addr=("127.0.0.1", local)
    )
    running = asyncio.ensure_future(net.run_async(main, on=host))
    try:
        async with asyncio.timeout(60):
            await peer_does(transport, peer)
            return await running
    finally:
        running.cancel()
        transport.close()


def test_a_datagram_is_one_ethernet_frame() -> None:
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("", 5000))
        await loop.sock_sendto(sock, b"question", ("10.0.0.9", 5000))
        return await loop.sock_recv(sock, 100)

    async def peer_does(transport: asyncio.DatagramTransport, peer: Peer) -> None:
        await peer.until(lambda: len(peer.came) >= 1)
        asked = peer.came[0]
        # ARP, RFC 826: to all, from the device; who has 10.0.0.9 tell 10.0.0.1. Without padding.
        mac = asked[6:12]
        assert mac[0] & 3 == 2  # one's own, of one
        assert asked == b"\xff" * 6 + mac + bytes.fromhex("0806 0001 0800 0604 0001") + mac + bytes(
            [10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 9]
        )
        ours = bytes.fromhex("02aabbccddee")
        answer = mac + ours + bytes.fromhex("0806 0001 0800 0604 0002")
        transport.sendto(answer + ours + bytes([10, 0, 0, 9]) + mac + bytes([10, 0, 0, 1]))
        await peer.until(lambda: len(peer.came) >= 2)
        question = ethernet.decode(peer.came[1])
        assert isinstance(question, UdpDatagram)
        assert question.payload == b"question"
        back = UdpDatagram(AF_INET, question.dst, question.src, 5000, 5000, b"answer")
        back.size_bytes = 20 + 8 + 6
        back.eth_dst, back.eth_src = int.from_bytes(mac, "big"), int.from_bytes(ours, "big")
        frame = ethernet.encode(back)
        transport.sendto(b"x")
        transport.sendto(frame[:13])  # no whole header
        transport.sendto(frame.ljust(1458 + 14 + 4 + 1, b"\0"))  # a byte too long, with room for a VLAN tag
        transport.sendto(frame.ljust(60, b"\0"))  # padded, as Ethernet does

    local, remote = free_ports(2)
    with lunar.Network(clock="real") as net:
        host = net.host("host", "10.0.0.1/24")
        link = net.udp_link(host, local=local, remote=f"127.0.0.1:{remote}")
        assert asyncio.run(beside(net, main, host, local, remote, peer_does)) == b"answer"
        figures = link.figures()
        assert (figures["short"], figures["long"], figures["frames_in"]) == (2, 1, 2)


def test_two_processes_do_not_give_the_same_hardware_address() -> None:
    macs = set()
    for port in range(1, 50):
        with lunar.Network(clock="real") as net:
            host = net.host("host", "10.0.0.1/24")
            net.udp_link(host, local=port, remote="127.0.0.1:99")
            macs.add(int(host.devices["eth0"].mac))
    assert len(macs) == 49


def test_without_a_peer_a_run_goes_on_and_tells_of_it_once() -> None:
    async def main() -> None:
        for _ in range(5):
            with pytest.raises(OSError, match="Errno 113"):
                await asyncio.wait_for(asyncio.open_connection("10.0.0.9", 80), 20)

    local, remote = free_ports(2)
    told: list[str] = []
    with lunar.Network(clock="real", speed=50.0) as net:
        host = net.host("host", "10.0.0.1/24")
        link = net.udp_link(host, local=local, remote=f"127.0.0.1:{remote}")
        net.supervisor.trace.subscribe_changes(lambda _at, name, what: told.append(f"{name}: {what}"))
        net.run(main, on=host)
        assert told == [f"host.eth0 - 127.0.0.1:{remote}: nobody listens at 127.0.0.1:{remote}"]
        assert link.figures()["refused"] >= 1


def test_a_port_that_is_taken_is_told_with_the_link() -> None:
    local, remote = free_ports(2)

    async def main() -> None:
        raise AssertionError("the run must not begin")

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken, lunar.Network(clock="real") as net:
        taken.bind(("127.0.0.1", local))
        host = net.host("host", "10.0.0.1/24")
        net.udp_link(host, local=local, remote=f"127.0.0.1:{remote}", name="uplink")
        with pytest.raises(OSError, match=f"UDP link uplink, 127.0.0.1:{local} to .*: Address already in use"):
            net.run(main, on=host)


# A switch with a port outside


def test_several_devices_and_the_outside_are_on_one_switch() -> None:
    first, second = free_ports(2)

    async def main() -> list[bytes]:
        found = []
        for address in ("10.0.0.1", "10.0.0.12"):
            reader, writer = await connected(address)
            writer.write(b"hello")
            writer.write_eof()
            found.append(await reader.read())
            writer.close()
        return found

    with lunar.Network(clock="real") as inside, lunar.Network(clock="real") as net:
        server = inside.host("server", "10.0.0.1/24")
        inside.udp_link(server, local=first, remote=f"127.0.0.1:{second}")
        a, b = net.host("a", "10.0.0.11/24"), net.host("b", "10.0.0.12/24")
        link = net.udp_link(a, b, local=second, remote=f"127.0.0.1:{first}", delay="1ms")
        net.start(b, sink, background=True)

        async def both() -> Any:
            serving = asyncio.ensure_future(inside.run_async(sink, on=server))
            try:
                async with asyncio.timeout(60):
                    return await net.run_async(main, on=a)
            finally:
                serving.cancel()

        digest = hashlib.sha256(b"hello").hexdigest().encode()
        assert asyncio.run(both()) == [digest, digest]
        # What goes between a and b stays inside; their ARP is for all.
        out = link.figures()["frames_out"]
        assert 0 < out < net.totals()["packets"] / 2


# What is asked for wrongly


def wrong(**asked: Any) -> str:
    with lunar.Network(clock="real") as net:
        host = net.host("host", "10.0.0.1/24")
        with pytest.raises(ValueError) as caught:
            net.udp_link(host, **{"local": 8192, "remote": "127.0.0.1:8193", **asked})
        assert not net.udp_links
        assert host.devices["eth0"].medium is None
        return str(caught.value)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"local": 0}, "0: 0 is no port; expected local with one from 1 to 65535"),
        ({"remote": "8193"}, '"8193" has no port; expected remote = "ADDRESS:PORT"'),
        ({"remote": "peer:8193"}, '"peer" is no address; expected remote = "ADDRESS:PORT"'),
        ({"remote": "::1:8193"}, '"::1:8193" is ambiguous'),
        ({"remote": "[::1]:8193"}, "one is IPv4 and the other IPv6"),
        ({"remote": "224.0.0.1:8193"}, "is the address of many"),
        ({"remote": "127.0.0.1:8192"}, "local and remote are both 127.0.0.1:8192"),
        ({"remote": "192.0.2.1:8193"}, "local 127.0.0.1:8192 is of this machine alone"),
        (
            {"local": "192.0.2.2:8192", "remote": "192.0.2.1:8193"},
            '192.0.2.1:8193 is not of this machine\'s loopback; expected key = "SECRET" or key_file = "FILE"',
        ),
        ({"local": "0.0.0.0:8192"}, "0.0.0.0:8192 is of every network; expected key"),
        ({"local": "[::]:8192", "remote": "[::1]:8193"}, "[::]:8192 is of every network; expected key"),
        ({"remote": "0.0.0.0:8193", "key": KEY}, "is no address of a peer"),
        ({"arp": False}, "nobody here knows the hardware address of who is behind a UDP link; expected True"),
        ({"key": "short"}, "a key of 5 characters; expected 16 or more"),
        ({"key": KEY, "key_file": "x"}, "key and key_file: expected one of the two"),
        ({"mtu": 65_494}, "mtu 65494: its frames have no room in datagrams; expected 65493 at most"),
        ({"mtu": 65_493, "key": KEY}, "expected 65469 at most on a UDP link with a key"),
    ],
)  # fmt: skip
def test_what_is_asked_for_wrongly_is_told(asked: dict[str, Any], told: str) -> None:
    assert told in wrong(**asked)


def test_the_mtu_is_what_fits_a_packet_of_ethernet() -> None:
    assert link_mtu(("127.0.0.1", 1), False) == 1458
    assert link_mtu(("::1", 1), False) == 1438
    assert link_mtu(("192.0.2.1", 1), True) == 1458 - KEY_OVERHEAD
    assert KEY_OVERHEAD == OVERHEAD_BYTES


# Files with keys


def test_a_key_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"\n {KEY}\n")
    path.chmod(0o600)
    assert read_key(path) == KEY


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    for mode in (0o640, 0o604, 0o620, 0o602):
        path.chmod(mode)
        with pytest.raises(ValueError, match=rf"has mode {mode:04o}; expected one that its owner alone may read"):
            read_key(path)


def test_what_is_no_key_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(ValueError, match="No such file"):
        read_key(path)
    path.write_bytes(b"\xff\xfe\xfd" * 20)
    path.chmod(0o600)
    with pytest.raises(ValueError, match="is no text"):
        read_key(path)
    path.write_text("short\n")
    with pytest.raises(ValueError, match=r"key: a key of 5 characters"):
        read_key(path)
    with pytest.raises(ValueError, match=r"Is a directory|is no file"):
        read_key(tmp_path)


class Heard:
    """A gate that keeps what is let in."""

    def __init__(self, together: bool) -> None:
        self.together = together
        self.rows: list[list[bytes]] = []

    def admit(self, data: bytes) -> None:
        size = int.from_bytes(data[:2], "big") if self.together else len(data)
        body = data[2:] if self.together else data
        self.rows.append([body[at : at + size] for at in range(0, len(body), size)])


def test_frames_of_one_length_in_a_row_are_let_in_together() -> None:
    with lunar.Network(clock="real") as net:
        link = net.udp_link(net.host("host", "10.0.0.1/24"), local=8192, remote="127.0.0.1:8193", key=KEY)
        alone, together = Heard(False), Heard(True)
        together.rows = alone.rows
        link._gate, link._together = alone, together  # type: ignore[misc, assignment]
        sizes = [60, 100, 100, 60, 60, 1472, 1472, 1472, 700, 800, *[90] * 65]
        frames = [bytes([number]) * size for number, size in enumerate(sizes)]
        link._admit(frames)
        assert [frame for row in alone.rows for frame in row] == frames
        assert [len(row) for row in alone.rows] == [1, 3, 1, 4, 1, 64, 1]
