"""Unmodified kademlia, a distributed hash table over UDP, with IPv6 addresses: what one node stores others find."""

from __future__ import annotations

import asyncio
from typing import Any

from kademlia.network import Server

import lunar

PORT, NODES, KEYS = 8468, 24, 20


async def node(at: int, found: dict[int, list[Any]]) -> None:
    """Join by the first node; the last but one stores, and everybody that lives then looks up."""
    server = Server()
    await server.listen(PORT, interface="::")
    await asyncio.sleep(at * 0.2)
    if at:
        assert await server.bootstrap([("2001:db8::1", PORT)])
    await asyncio.sleep(10 - at * 0.2)
    if at == NODES - 2:
        for key in range(KEYS):
            assert await server.set(f"key-{key}", f"value-{key}")
    await asyncio.sleep(20)
    found[at] = list(await asyncio.gather(*(server.get(f"key-{key}") for key in range(KEYS))))
    await asyncio.sleep(120)  # for the others, who wait 5 s for each that has crashed
    server.stop()


def test_what_one_node_stores_all_find_though_a_third_has_crashed() -> None:
    found: dict[int, list[Any]] = {}
    with lunar.Network(seed=1) as net:
        hosts = [net.host(f"node-{at}", f"2001:db8::{at + 1:x}/64") for at in range(NODES)]
        net.link(*hosts, delay="2ms")
        for at, host in enumerate(hosts):
            net.start(host, node, at, found)
        crashed = range(0, NODES, 3)  # the first one, by which all have joined, too
        for at in crashed:
            net.at("25s", hosts[at].crash)
        net.run()
    living = [at for at in range(NODES) if at not in crashed]
    assert found == {at: [f"value-{key}" for key in range(KEYS)] for at in living}
