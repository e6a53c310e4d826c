"""A Raft cluster of five (pysyncobj, with its own poller and thread in each node) under faults.

The leader is cut off: the others elect another and go on, what it takes meanwhile is not agreed on, and when it is back
it follows. Then the new leader's host loses its power, boots, and gets the log from the others.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lunar.network import Network

# Importing it puts in the place of these, for the whole process, what is meant for Windows.
_kept = socket.inet_ntop, socket.inet_pton
pysyncobj = pytest.importorskip("pysyncobj")
socket.inet_ntop, socket.inet_pton = _kept

NODES = 5
PORT = 4321
ADDRESSES = [f"10.0.0.{number + 1}" for number in range(NODES)]


class Log(pysyncobj.SyncObj):  # type: ignore[misc]
    def __init__(self, number: int) -> None:
        names = [f"{address}:{PORT}" for address in ADDRESSES]
        own = names.pop(number)
        super().__init__(own, names, pysyncobj.SyncObjConf(connectionRetryTime=1))
        self.entries: list[Any] = []

    @pysyncobj.replicated
    def append(self, entry: Any) -> None:
        if entry not in self.entries:
            self.entries.append(entry)


class Cluster:
    """Five hosts, each with a node that is told what to write; `nodes` has them as they are now."""

    def __init__(self) -> None:
        self.net = Network(seed=3)
        self.hosts = [self.net.host(f"node-{n}", f"{address}/24") for n, address in enumerate(ADDRESSES)]
        self.net.link(*self.hosts, rate="10mbit", delay="5ms", loss="0.5%")
        self.nodes: dict[int, Log] = {}
        self.orders: dict[int, list[Any]] = {number: [] for number in range(NODES)}
        for number, host in enumerate(self.hosts):
            host.launches.append(lambda number=number: self._launch(number))
            self._launch(number)

    def _launch(self, number: int) -> None:
        self.net.start(self.hosts[number], self._node, number, background=True)

    def _node(self, number: int) -> None:
        log = self.nodes[number] = Log(number)
        orders = self.orders[number]
        while True:
            time.sleep(0.2)
            while orders:
                log.append(orders.pop(0))

    def run(self, seconds: float) -> None:
        self.net.run(until=self.net.now + seconds)

    def leaders(self, among: list[int]) -> list[int]:
        """The nodes that think that they lead."""
        return [number for number in among if self.nodes[number]._isLeader()]

    def leader_of(self, among: list[int]) -> int:
        """The one that leads, and all agree on it."""
        leaders = self.leaders(among)
        assert len(leaders) == 1
        seen = {str(self.nodes[number]._getLeader()) for number in among}
        assert seen == {f"{ADDRESSES[leaders[0]]}:{PORT}"}
        return leaders[0]

    def write(self, number: int, *entries: Any) -> None:
        self.orders[number].extend(entries)

    def entries(self, number: int) -> list[Any]:
        return list(self.nodes[number].entries)

    def plug(self, number: int, plugged: bool) -> None:
        self.hosts[number].devices["eth0"].plugged = plugged


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.net.close()


def scenario(cluster: Cluster) -> list[Any]:
    everybody = list(range(NODES))
    cluster.run(10)
    first = cluster.leader_of(everybody)
    for number in everybody:
        cluster.write(number, *((number, count) for count in range(20)))
    cluster.run(5)
    agreed = cluster.entries(first)
    assert sorted(agreed) == [(number, count) for number in everybody for count in range(20)]
    assert all(cluster.entries(number) == agreed for number in everybody)

    # Cut off, the leader is not heard; it keeps what it is told to write, but nobody agrees.
    cluster.plug(first, False)
    rest = [number for number in everybody if number != first]
    cluster.run(10)
    second = cluster.leader_of(rest)
    cluster.write(first, "alone")
    for number in rest:
        cluster.write(number, ("later", number))
    cluster.run(5)
    longer = cluster.entries(second)
    assert longer[: len(agreed)] == agreed and sorted(longer[len(agreed) :]) == [("later", number) for number in rest]
    assert all(cluster.entries(number) == longer for number in rest)
    assert cluster.entries(first) == agreed

    # Back again, it follows, and what it had taken alone is gone.
    cluster.plug(first, True)
    cluster.run(40)
    assert cluster.leader_of(everybody) != first
    assert all(cluster.entries(number) == longer for number in everybody)

    # The leader's host crashes; a third one leads. It boots with an empty log, and gets all of it.
    leader = cluster.leader_of(everybody)
    cluster.hosts[leader].crash()
    rest = [number for number in everybody if number != leader]
    cluster.run(10)
    third = cluster.leader_of(rest)
    assert third != leader
    cluster.write(third, "without it")
    cluster.run(2)
    cluster.hosts[leader].boot()
    cluster.run(20)
    cluster.leader_of(everybody)
    assert all(cluster.entries(number) == [*longer, "without it"] for number in everybody)
    return [first, second, third, *cluster.entries(first)]


def test_leaders_come_and_go_and_the_log_stays_agreed_on(cluster: Cluster) -> None:
    told = scenario(cluster)
    again = Cluster()
    try:
        assert scenario(again) == told
        assert again.net.digest() == cluster.net.digest()
    finally:
        again.net.close()
