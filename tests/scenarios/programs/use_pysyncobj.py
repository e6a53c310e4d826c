"""pysyncobj: a Raft cluster, each node with its poller in a thread of its own. Its leader dies, and comes back.

    use_pysyncobj.py OWN OTHER...

All are addresses, HOST:PORT. Every node writes to the log. Then the leader notes in the log that it dies, and kills
itself; whatever started it is to start it again after some ten seconds. The others elect another leader and go on
writing; the one that died gets the log from them, writes, too, and at the end all have the same entries in the same
order.
"""

import hashlib
import os
import signal
import sys
import threading
import time

from pysyncobj import SyncObj, SyncObjConf, SyncObjException, replicated
from pysyncobj.batteries import ReplCounter, ReplDict

ENTRIES = 10


class Log(SyncObj):
    def __init__(self, own, others, counter, notes):
        super().__init__(own, others, SyncObjConf(connectionRetryTime=1), consumers=[counter, notes])
        self.entries = []

    @replicated
    def append(self, entry):
        if entry in self.entries:  # sent again, because its answer did not come
            return len(self.entries)
        self.entries.append(entry)
        return len(self.entries)


def written(function, *arguments):
    """Call a replicated function until the cluster has agreed; without a leader it cannot."""
    while True:
        try:
            return function(*arguments, sync=True, timeout=5)
        except SyncObjException:
            time.sleep(0.2)


def until(condition):
    while not condition():
        time.sleep(0.1)


def write(log, own, first):
    for number in range(first, first + ENTRIES):
        written(log.append, (own, number))


def main(own, others):
    nodes = 1 + len(others)
    counter, notes = ReplCounter(), ReplDict()
    log = Log(own, others, counter, notes)

    def noted(what):
        return sum(key[0] == what for key in notes.rawData())

    log.waitReady()
    until(lambda: log._getLeader() is not None)
    written(notes.set, ("was here", own), True)
    if notes.get("dies") != own:
        write(log, own, 0)
        until(lambda: len(log.entries) >= nodes * ENTRIES and noted("was here") == nodes)
        time.sleep(2)
        while "dies" not in notes.rawData():
            if log._isLeader():
                written(notes.set, "dies", own)
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.1)
        until(lambda: str(log._getLeader()) not in ("None", notes["dies"]))
        written(notes.set, ("saw another leader", own), True)
    write(log, own, ENTRIES)
    written(counter.inc)
    until(lambda: len(log.entries) == 2 * nodes * ENTRIES and counter.get() >= nodes)
    digest = hashlib.sha256(repr(log.entries).encode()).hexdigest()
    written(notes.set, ("digest", own), digest)
    until(lambda: noted("digest") == nodes)
    assert {value for key, value in notes.items() if key[0] == "digest"} == {digest}, "all have the same order"
    assert sorted(log.entries) == [(node, n) for node in sorted([own, *others]) for n in range(2 * ENTRIES)]
    assert noted("saw another leader") == nodes - 1
    came_back = "came back" if notes["dies"] == own else "saw the leader die"
    time.sleep(5)  # for those that have not seen all digests yet
    log.destroy_synchronous()
    assert threading.active_count() == 1
    print(f"{came_back}: {nodes} nodes agree on {len(log.entries)} entries")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
