"""Blocking strings beside threads and gevent: the cost of a switch, and memory.

    python benchmarks/strings.py [ROUNDS]

All contestants run the same functions below, which know of `threading`, `queue` and `socket` only. `lunar`: inside a
virtual host, where a thread is a string of the weave. `threads`: the machine's. `gevent`: its greenlets, after
`monkey.patch_all()`; left out where it is not installed (`pip install gevent`; it is no dependency of ours).

A switch: two threads hand a token to and fro, once by two queues, once by a socket pair. What is counted is processor
time, of program and kernel together, because threads of the machine that wake each other wait for what else it does.
Memory: what the process has grown by, a thread, while many of them wait, once in a `time.sleep` and once in a `recv` of
a socket pair of their own; a socket of the machine has most of its memory in the kernel, where it is not counted.
"""

from __future__ import annotations

import importlib.util
import pathlib
import queue
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable

import turns

SWITCHES = 40_000
WARM_UP = 2_000
# Threads of the machine that wait at once: each a mapping of memory, of which Linux gives a process 65,530.
WAITING = 2_000
_PAGE_KIB = 4


def processor_s() -> float:
    """The processor time of this process, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def by_queues() -> float:
    """Switches a second between two threads that wait for each other at queues."""
    there: queue.Queue[int] = queue.Queue()
    back: queue.Queue[int] = queue.Queue()

    def answer() -> None:
        while (number := there.get()) >= 0:
            back.put(number)

    thread = threading.Thread(target=answer)
    thread.start()

    def pass_token(times: int) -> None:
        for number in range(times // 2):
            there.put(number)
            assert back.get() == number

    pass_token(WARM_UP)
    begin = processor_s()
    pass_token(SWITCHES)
    elapsed = processor_s() - begin
    there.put(-1)
    thread.join()
    return SWITCHES / elapsed


def by_sockets() -> float:
    """The same for two threads that send each other a byte through a socket pair."""
    ours, theirs = socket.socketpair()

    def answer() -> None:
        while data := theirs.recv(1):
            theirs.sendall(data)

    thread = threading.Thread(target=answer)
    thread.start()

    def pass_token(times: int) -> None:
        for _ in range(times // 2):
            ours.sendall(b"x")
            assert ours.recv(1) == b"x"

    pass_token(WARM_UP)
    begin = processor_s()
    pass_token(SWITCHES)
    elapsed = processor_s() - begin
    ours.close()
    thread.join()
    theirs.close()
    return SWITCHES / elapsed


def resident_kib() -> int:
    """The resident memory of this process."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * _PAGE_KIB


def memory(target: Callable[[], object]) -> float:
    """KiB a thread, while WAITING of them wait in `target`."""
    before = resident_kib()
    threads = [threading.Thread(target=target, daemon=True) for _ in range(WAITING)]
    for thread in threads:
        thread.start()
    time.sleep(1)  # all have come to where they wait
    return (resident_kib() - before) / WAITING


def memory_asleep() -> float:
    return memory(lambda: time.sleep(5))


def memory_in_recv() -> float:
    pairs = []

    def receive() -> None:
        pair = socket.socketpair()
        pairs.append(pair)
        pair[0].recv(1)

    result = memory(receive)
    assert len(pairs) == WAITING
    for _, ours in pairs:
        ours.send(b"x")
    return result


MEASURES: dict[str, tuple[Callable[[], float], str, str]] = {
    "queues": (by_queues, "switches by queue.Queue", "switches/s"),
    "sockets": (by_sockets, "switches by a socket pair", "switches/s"),
    "asleep": (memory_asleep, f"memory of {WAITING:,} threads asleep", "KiB each"),
    "recv": (memory_in_recv, f"memory of {WAITING:,} threads in recv", "KiB each"),
}


def in_lunar(measure: Callable[[], float]) -> float:
    import lunar

    with lunar.Network(seed=1) as net:
        result: float = net.run(measure, on=net.host("one", "10.0.0.1/24"))
    return result


def in_gevent(measure: Callable[[], float]) -> float:
    from gevent import monkey

    monkey.patch_all()
    return measure()


CONTESTANTS: dict[str, Callable[[Callable[[], float]], float]] = {
    "lunar": in_lunar,
    "threads": lambda measure: measure(),
    "gevent": in_gevent,
}


def main() -> None:
    if len(sys.argv) == 3:
        print(CONTESTANTS[sys.argv[1]](MEASURES[sys.argv[2]][0]))
        return
    rounds = int(sys.argv[1]) if sys.argv[1:] else 5
    names = list(CONTESTANTS)
    if importlib.util.find_spec("gevent") is None:
        names.remove("gevent")
        print("gevent is not installed, and left out (pip install gevent)")
    for measure, (_, title, unit) in MEASURES.items():
        commands = {name: [sys.executable, __file__, name, measure] for name in names}
        turns.compare(title, unit, commands, rounds, goal=None)


if __name__ == "__main__":
    main()
