"""Programs with threads as people write them: pools, timers, loops in threads, queues between sockets.

Each runs on virtual hosts, in virtual time: where a machine would give about two seconds, these give two seconds. The
table of whole libraries is in test_unmodified_programs.py.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import http.server
import logging
import logging.handlers
import multiprocessing.pool
import os
import queue
import random
import sched
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
import weakref
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import weaves
from lunar.host import Host
from lunar.network import Network

TIMEOUT_S = 60
DELAY_S = 0.005
ROUND_TRIP_S = 2 * DELAY_S


class Site:
    """A server and clients, 5 ms apart, on one switch."""

    def __init__(self, clients: int = 1) -> None:
        self.net = Network(seed=1)
        self.server = self.net.host("server", "10.0.0.1/16")
        self.clients = [self.net.host(f"client-{n}", f"10.0.1.{n + 1}/16") for n in range(clients)]
        self.net.link(self.server, *self.clients, delay="5ms")

    def serve(self, function: Callable[..., Any], *args: Any, on: Host | None = None) -> Any:
        return self.net.start(on or self.server, function, *args, background=True)

    def run(self, function: Callable[..., Any], *args: Any, on: Host | None = None) -> Any:
        return self.net.run(function, *args, on=on or self.clients[0])


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.net.close()


class Page(http.server.BaseHTTPRequestHandler):
    """Says the name of its host, after as long as the path says."""

    def do_GET(self) -> None:
        time.sleep(float(self.path.strip("/") or 0))
        body = socket.gethostname().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def serve_pages() -> None:
    with http.server.ThreadingHTTPServer(("", 80), Page) as server:
        server.serve_forever()


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return str(answer.read().decode())


# Queues and sockets


def test_producers_and_consumers_with_a_bounded_queue_between_sockets() -> None:
    hosts, items, workers = 4, 25, 3
    site = Site(clients=hosts)
    results: dict[int, int] = {}
    fullest = 0

    def serve() -> None:
        work: queue.Queue[tuple[int, bytes] | None] = queue.Queue(maxsize=5)
        lock = threading.Lock()

        def consume() -> None:
            nonlocal fullest
            while (item := work.get()) is not None:
                number, data = item
                time.sleep(0.01)
                with lock:
                    fullest = max(fullest, work.qsize())
                    assert number not in results
                    results[number] = zlib.crc32(data)
                work.task_done()
            work.task_done()

        def produce(sock: socket.socket) -> None:
            with sock, sock.makefile("rb") as file:
                while header := file.readline():
                    number, size = map(int, header.split())
                    work.put((number, file.read(size)))
            work.join()

        threads = [threading.Thread(target=consume) for _ in range(workers)]
        with socket.create_server(("", 7000)) as listener:
            for _ in range(hosts):
                threads.append(threading.Thread(target=produce, args=(listener.accept()[0],)))
        for thread in threads:
            thread.start()
        for thread in threads[workers:]:
            thread.join()
        for _ in range(workers):
            work.put(None)
        for thread in threads[:workers]:
            thread.join()
        assert work.empty()

    def send(first: int) -> dict[int, int]:
        sums = {}
        with socket.create_connection(("10.0.0.1", 7000)) as sock:
            for number in range(first, first + items):
                data = random.randbytes(random.randrange(1, 5000))
                sock.sendall(b"%d %d\n" % (number, len(data)) + data)
                sums[number] = zlib.crc32(data)
        return sums

    with site.net as net:
        server = net.start(site.server, serve)
        senders = [net.start(host, send, 100 * number) for number, host in enumerate(site.clients)]
        net.run()
        assert server.error is None, server.describe_failure()
        sent: dict[int, int] = {}
        for sender in senders:
            sent |= sender.result
    assert results == sent and len(sent) == hosts * items
    assert fullest == 5


def test_queues_of_all_kinds_with_and_without_timeouts(site: Site) -> None:
    def main() -> Any:
        found: list[Any] = []
        with pytest.raises(queue.Empty):
            queue.Queue().get(timeout=2.5)
        found.append(time.monotonic())
        with pytest.raises(queue.Empty):
            queue.SimpleQueue().get(timeout=1)
        found.append(time.monotonic())
        full: queue.Queue[int] = queue.Queue(1)
        full.put(1)
        with pytest.raises(queue.Full):
            full.put(2, timeout=0.5)
        found.append(time.monotonic())
        threading.Timer(3, full.get).start()
        full.put(2)  # waits for the timer
        found.append(time.monotonic())
        ordered: queue.PriorityQueue[int] = queue.PriorityQueue()
        stack: queue.LifoQueue[int] = queue.LifoQueue()
        for number in (3, 1, 2):
            threading.Timer(number, ordered.put, (number,)).start()
            threading.Timer(number, stack.put, (number,)).start()
        time.sleep(10)
        return found, [ordered.get() for _ in range(3)], [stack.get() for _ in range(3)]

    assert site.run(main) == ([2.5, 3.5, 4.0, 7.0], [1, 2, 3], [3, 2, 1])


# Pools


def test_a_pool_asks_fifty_hosts() -> None:
    hosts = 50
    site = Site(clients=hosts)
    urls = [f"http://10.0.1.{number + 1}/1" for number in range(hosts)]

    def ask() -> Any:
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            return list(pool.map(fetch, urls)), time.monotonic()

    with site.net:
        for host in site.clients:
            site.serve(serve_pages, on=host)
        names, elapsed = site.run(ask, on=site.server)
    assert names == [f"client-{number}" for number in range(hosts)]
    # Five rounds of ten, each of a second, with a handshake and a request in it.
    assert elapsed == pytest.approx(5 * (1 + 2 * ROUND_TRIP_S))


def test_requests_in_threads_of_an_asyncio_program(site: Site) -> None:
    requests = pytest.importorskip("requests")

    async def ask() -> Any:
        answers = await asyncio.gather(
            *(asyncio.to_thread(requests.get, f"http://10.0.0.1/{second}", timeout=60) for second in (3, 1, 2))
        )
        return [answer.text for answer in answers], asyncio.get_running_loop().time()

    site.serve(serve_pages)
    names, elapsed = site.run(ask)
    assert names == ["server"] * 3
    assert elapsed == pytest.approx(3 + 2 * ROUND_TRIP_S)


def test_futures_are_waited_for_in_all_ways(site: Site) -> None:
    def main() -> Any:
        def work(seconds: int) -> int:
            time.sleep(seconds)
            if seconds == 4:
                raise LookupError("four")
            return seconds

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(work, seconds) for seconds in (5, 3, 4, 1, 2)]
            first = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_COMPLETED)
            found: list[Any] = [(time.monotonic(), [future.result() for future in first.done])]
            failed = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
            found.append((time.monotonic(), len(failed.done), len(failed.not_done)))
            with pytest.raises(TimeoutError):
                futures[0].result(timeout=0.5)
            found.append(time.monotonic())
            order = [futures.index(future) for future in concurrent.futures.as_completed(futures)]
            found.append((time.monotonic(), order[-1], sorted(order)))
            more = [pool.submit(work, seconds) for seconds in (2, 1, 3)]
            found.append([future.result() for future in concurrent.futures.as_completed(more)])
        return found, time.monotonic()

    assert site.run(main) == (
        [(1.0, [1]), (4.0, 4, 1), 4.5, (5.0, 0, [0, 1, 2, 3, 4]), [1, 2, 3]],
        8.0,
    )


def test_a_pool_that_is_full_queues_cancels_and_shuts_down(site: Site) -> None:
    def main() -> Any:
        began: list[tuple[int, float]] = []

        def work(number: int) -> int:
            began.append((number, time.monotonic()))
            time.sleep(1)
            return number

        pool = concurrent.futures.ThreadPoolExecutor(2, initializer=lambda: began.append((-1, time.monotonic())))
        futures = [pool.submit(work, number) for number in range(6)]
        time.sleep(1.5)
        assert futures[5].cancel() and not futures[2].cancel()
        pool.shutdown(wait=True, cancel_futures=True)
        with pytest.raises(RuntimeError):
            pool.submit(work, 7)
        return began, [future.cancelled() for future in futures], time.monotonic()

    began, cancelled, ended = site.run(main)
    assert [number for number, _ in began if number >= 0] == [0, 1, 2, 3]
    assert [at for number, at in began if number >= 0] == [0.0, 0.0, 1.0, 1.0]
    assert cancelled == [False] * 4 + [True] * 2
    assert ended == 2.0


def test_the_thread_pool_of_multiprocessing(site: Site) -> None:
    site.serve(serve_pages)

    def main() -> Any:
        told: list[Any] = []
        with multiprocessing.pool.ThreadPool(4) as pool:
            names = pool.map(fetch, ["http://10.0.0.1/1"] * 8)
            between = time.monotonic()
            unordered = list(pool.imap_unordered(lambda seconds: (time.sleep(seconds), seconds)[1], [3, 1, 2]))
            later = pool.apply_async(lambda: "later", callback=told.append)
            assert later.get(timeout=10) == "later"
            failed = pool.apply_async(divmod, (1, 0), error_callback=lambda error: told.append(type(error)))
            failed.wait()
            assert not failed.successful()
            pool.close()
            pool.join()
        return names, between, unordered, told

    names, between, unordered, told = site.run(main)
    assert names == ["server"] * 8
    assert between == pytest.approx(2 * (1 + 2 * ROUND_TRIP_S), abs=0.2)  # its handler threads look ten times a second
    assert unordered == [1, 2, 3]
    assert told == ["later", ZeroDivisionError]


# Primitives


def test_timers_barriers_conditions_and_semaphores_keep_virtual_time(site: Site) -> None:
    def main() -> Any:
        found: list[Any] = []
        cancelled = threading.Timer(2, found.append, ("never",))
        cancelled.start()
        threading.Timer(1, lambda: found.append(("timer", time.monotonic()))).start()
        threading.Timer(1.5, cancelled.cancel).start()

        barrier = threading.Barrier(3, action=lambda: found.append(("barrier", time.monotonic())))

        def come(seconds: float) -> None:
            time.sleep(seconds)
            barrier.wait()

        threads = [threading.Thread(target=come, args=(seconds,)) for seconds in (0.5, 2, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        condition = threading.Condition()
        ready = False

        def announce() -> None:
            nonlocal ready
            time.sleep(3)
            with condition:
                ready = True
                condition.notify_all()

        threading.Thread(target=announce).start()
        with condition:
            assert not condition.wait_for(lambda: ready, timeout=1)
            found.append(("not yet", time.monotonic()))
            assert condition.wait_for(lambda: ready)
            found.append(("ready", time.monotonic()))

        places = threading.BoundedSemaphore(2)

        def park(number: int) -> None:
            with places:
                found.append((number, time.monotonic()))
                time.sleep(1)

        threads = [threading.Thread(target=park, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        broken = threading.Barrier(2)
        with pytest.raises(threading.BrokenBarrierError):
            broken.wait(timeout=1)
        return found, time.monotonic(), threading.active_count()

    assert site.run(main) == (
        [
            ("timer", 1.0), ("barrier", 2.0), ("not yet", 3.0), ("ready", 5.0),
            (0, 5.0), (1, 5.0), (2, 6.0), (3, 6.0),
        ],
        8.0,
        1,
    )  # fmt: skip


def test_a_lock_that_is_held_across_a_wait_keeps_the_others_out(site: Site) -> None:
    def main() -> Any:
        lock, again = threading.Lock(), threading.RLock()
        found: list[Any] = []
        inside: list[int] = []

        def hold(number: int) -> None:
            with lock, again, again:
                inside.append(number)
                time.sleep(1)
                assert inside == [number]
                found.append((inside.pop(), time.monotonic()))

        threads = [threading.Thread(target=hold, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=1)
        found.append(("gave up", time.monotonic()))
        for thread in threads:
            thread.join()
        return found

    assert site.run(main) == [(0, 1.0), ("gave up", 1.5), (1, 2.0), (2, 3.0)]


def test_a_schedule_of_events(site: Site) -> None:
    def main() -> Any:
        found: list[Any] = []
        schedule = sched.scheduler()
        for delay, priority, word in ((5, 1, "late"), (1, 2, "second"), (1, 1, "first")):
            schedule.enter(delay, priority, lambda word=word: found.append((word, time.monotonic())))
        thread = threading.Thread(target=schedule.run)
        thread.start()
        thread.join()
        return found

    assert site.run(main) == [("first", 1.0), ("second", 1.0), ("late", 5.0)]


def test_each_thread_has_its_own_local_data_and_name(site: Site) -> None:
    def main() -> Any:
        own = threading.local()
        own.word = "main"
        found: dict[str, Any] = {}

        def work(word: str) -> None:
            assert not hasattr(own, "word")
            own.word = word
            time.sleep(1)
            thread = threading.current_thread()
            found[thread.name] = own.word, thread.ident == threading.get_ident(), thread.daemon

        threads = [threading.Thread(target=work, args=(word,), name=word, daemon=word == "b") for word in "abc"]
        for thread in threads:
            thread.start()
        assert len({thread.ident for thread in threads} | {threading.get_ident()}) == 4
        alive = [thread.name for thread in threading.enumerate()][1:]
        for thread in threads:
            thread.join()
        return found, own.word, alive, [thread.is_alive() for thread in threads]

    assert site.run(main) == (
        {"a": ("a", True, False), "b": ("b", True, True), "c": ("c", True, False)},
        "main",
        ["a", "b", "c"],
        [False] * 3,
    )


def test_sets_of_threads_and_futures_have_the_order_of_their_making(site: Site) -> None:
    # By address it would be another one in each run: an executor joins its threads so, and `wait` returns sets.
    def main() -> Any:
        threads = [threading.Thread(name=str(number)) for number in range(50)]
        futures = [concurrent.futures.Future[int]() for _ in range(50)]
        return [thread.name for thread in set(threads)], [futures.index(future) for future in set(futures)]

    assert site.run(main) == ([str(number) for number in range(50)], list(range(50)))
    outside = threading.Thread()
    assert {outside: 1}[outside] == 1


def test_log_lines_of_many_threads_stay_whole(site: Site) -> None:
    def main() -> Any:
        records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        lines: list[str] = []

        class Slow(logging.Handler):
            """One that waits while it holds its lock."""

            inside = 0

            def emit(self, record: logging.LogRecord) -> None:
                self.inside += 1
                time.sleep(0.001)
                lines.append(f"{record.threadName}: {record.getMessage()}, {self.inside}")
                self.inside -= 1

        logger = logging.getLogger("many threads")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        listener = logging.handlers.QueueListener(records, Slow())
        handlers = [Slow(), logging.handlers.QueueHandler(records)]  # type: ignore[arg-type]
        for handler in handlers:
            logger.addHandler(handler)
        listener.start()

        def work() -> None:
            for number in range(20):
                logger.info("line %d", number)

        threads = [threading.Thread(target=work, name=f"worker-{n}") for n in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        listener.stop()
        for handler in handlers:
            logger.removeHandler(handler)
        return lines

    lines = site.run(main)
    # Each line by its handler and by the listener's.
    expected = [f"worker-{n}: line {number}, 1" for n in range(10) for number in range(20)]
    assert sorted(lines) == sorted(expected * 2)


# Loops in threads


def test_coroutines_are_sent_to_a_loop_in_another_thread(site: Site) -> None:
    site.serve(serve_pages)

    def main() -> Any:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="loop")
        thread.start()
        where: set[str] = set()

        async def ask(seconds: int) -> str:
            where.add(threading.current_thread().name)
            reader, writer = await asyncio.open_connection("10.0.0.1", 80)
            writer.write(b"GET /%d HTTP/1.0\r\n\r\n" % seconds)
            text = (await reader.read()).decode()
            writer.close()
            return text.rpartition("\r\n")[2]

        found: list[Any] = []

        def work(seconds: int) -> None:
            future = asyncio.run_coroutine_threadsafe(ask(seconds), loop)
            found.append((seconds, future.result(timeout=60)))

        threads = [threading.Thread(target=work, args=(seconds,)) for seconds in (3, 1, 2)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        late = asyncio.run_coroutine_threadsafe(ask(100), loop)
        with pytest.raises(TimeoutError):
            late.result(timeout=1)
        late.cancel()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        return found, where, time.monotonic()

    found, where, ended = site.run(main)
    assert found == [(1, "server"), (2, "server"), (3, "server")]
    assert where == {"loop"}
    assert ended == pytest.approx(4 + 2 * ROUND_TRIP_S)


def test_an_aiohttp_server_in_a_thread_and_a_blocking_client_in_the_main_thread(site: Site) -> None:
    web = pytest.importorskip("aiohttp.web")

    def main() -> Any:
        ready = threading.Event()
        over: Any = None
        loop: Any = None

        async def shout(request: Any) -> Any:
            await asyncio.sleep(1)
            return web.Response(text=(await request.text()).upper())

        async def serve() -> None:
            nonlocal over, loop
            loop, over = asyncio.get_running_loop(), asyncio.Event()
            application = web.Application()
            application.router.add_post("/", shout)
            runner = web.AppRunner(application)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 8080).start()
            ready.set()
            await over.wait()
            await runner.cleanup()

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        ready.wait()
        with urllib.request.urlopen("http://127.0.0.1:8080/", data=b"hello", timeout=60) as answer:
            text = answer.read()
        loop.call_soon_threadsafe(over.set)
        thread.join()
        return text, round(time.monotonic(), 3)

    assert site.run(main) == (b"HELLO", 1.0)


# Ends


class Count(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


def test_a_host_crashes_while_its_threads_wait_in_all_ways(site: Site) -> None:
    ran: list[str] = []
    lives: list[float] = []

    def serve() -> None:
        lives.append(time.monotonic())
        lock, event, items = threading.Lock(), threading.Event(), queue.Queue()  # type: ignore[var-annotated]
        ours, theirs = socket.socketpair()

        def wait(how: Callable[[], Any]) -> None:
            try:
                how()
            finally:
                ran.append("finally")

        def deadlock() -> None:
            with lock, lock:
                pass

        pool = concurrent.futures.ThreadPoolExecutor(2)
        ways = [deadlock, event.wait, items.get, lambda: ours.recv(1), lambda: time.sleep(1000), pool.shutdown]
        pool.submit(wait, lambda: theirs.recv(1))
        for way in ways:
            threading.Thread(target=wait, args=(way,)).start()
        with socketserver.ThreadingTCPServer(("", 80), Count) as server:
            server.serve_forever()

    def talk() -> Any:
        found = []
        with socket.create_connection(("10.0.0.1", 80), timeout=5) as sock:
            sock.sendall(b"line\n")
            found.append(sock.recv(100))
            time.sleep(10)
            sock.sendall(b"line\n")
            with pytest.raises(ConnectionResetError):
                sock.recv(100)  # the host that has booted knows nothing of this connection
        with socket.create_connection(("10.0.0.1", 80), timeout=5) as sock:
            sock.sendall(b"line\n")
            found.append(sock.recv(100))
        return found, threading.active_count()

    site.server.launches.append(lambda: site.serve(serve))
    site.serve(serve)
    site.net.at("5s", site.server.crash)
    site.net.at("8s", site.server.boot)
    assert site.run(talk) == ([b"line\n"] * 2, 1)
    assert ran == []
    assert lives == [0.0, 8.0]


def test_nothing_is_left_of_a_crashed_host_that_had_threads(site: Site) -> None:
    def serve() -> None:
        pool = concurrent.futures.ThreadPoolExecutor(2)  # its module has a lock, in each weave another one
        pool.submit(time.sleep, 1000)
        threading.Thread(target=threading.Event().wait).start()
        logging.getLogger("crashed").info("so has this one")
        pool.shutdown()

    lives = []
    for second in range(1, 6):
        site.serve(serve)
        lives.append(weakref.ref(site.server.weave))
        site.net.run(until=second)
        site.server.crash()
        site.server.boot()
    gc.collect()
    # The last one is still known to the greenlet in which its loop ran.
    assert [weave() for weave in lives[:-1]] == [None] * 4


def test_threads_of_a_host_do_not_hold_up_the_end_of_the_interpreter(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(
        """
import concurrent.futures, time
from lunar.network import Network

net = Network(seed=1)
host = net.host("one", "10.0.0.1/24")
pools = []

def serve():
    pools.append(concurrent.futures.ThreadPoolExecutor(2))
    pools[0].submit(time.sleep, 1000).result()

net.start(host, serve, background=True)
net.run(until=1)
print("ends")
"""
    )
    process = start_python(tmp_path, "p.py")
    assert process.communicate(timeout=TIMEOUT_S) == ("ends\n", "")
    assert process.returncode == 0


def start_python(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Python with `arguments` in a process of its own, which finds our packages."""
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, str(Path(weaves.__file__).parents[1])])}
    return subprocess.Popen(
        [sys.executable, *(["-P"] if sys.flags.safe_path else []), *arguments],
        env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def start_program(folder: Path, program: str) -> subprocess.Popen[str]:
    """`weave run` of one host with this program, in a process of its own."""
    (folder / "p.py").write_text(program, encoding="utf-8")
    (folder / "one.toml").write_text('[hosts.one]\neth0 = "10.0.0.1/24"\nstrings = [{ run = "p.py" }]\n')
    return start_python(folder, "-m", "weaves.cli", "run", "one.toml")


def run_program(folder: Path, program: str) -> tuple[int, list[str], str]:
    """Its exit code, what the program printed with the times, and the standard error."""
    process = start_program(folder, program)
    out, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, [line for line in out.splitlines() if line.startswith("[")], err


def test_at_its_end_a_program_waits_for_threads_and_leaves_daemons(tmp_path: Path) -> None:
    code, lines, err = run_program(
        tmp_path,
        """
import atexit, queue, threading, time

def for_ever():
    try:
        while True:
            time.sleep(1)
    finally:
        print("no daemon comes to its end")

def last():
    time.sleep(3.5)
    print("the last thread")

for function, daemon in ((for_ever, True), (queue.Queue().get, True), (last, False)):
    threading.Thread(target=function, daemon=daemon).start()
atexit.register(lambda: print("at exit", threading.active_count()))
print("the end of main")
""",
    )
    assert (code, err) == (0, "")
    assert lines == [
        "[   0.000000 one] the end of main",
        "[   3.500000 one] the last thread",
        "[   3.500000 one] at exit 3",
    ]


def test_an_interrupt_reaches_the_main_thread_while_it_waits_for_another(tmp_path: Path) -> None:
    code, lines, err = run_program(
        tmp_path,
        """
import os, signal, threading

stop = threading.Event()

def work():
    while not stop.wait(1):
        print("works")
    print("stops")

thread = threading.Thread(target=work)
thread.start()
threading.Timer(2.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    thread.join()
except KeyboardInterrupt:
    print("interrupted", threading.current_thread() is threading.main_thread())
    stop.set()
    thread.join()
""",
    )
    assert (code, err) == (0, "")
    assert lines == [
        "[   1.000000 one] works",
        "[   2.000000 one] works",
        "[   2.500000 one] interrupted True",
        "[   2.500000 one] stops",
    ]


def test_an_exception_in_a_thread_ends_the_thread_alone(tmp_path: Path) -> None:
    code, lines, err = run_program(
        tmp_path,
        """
import sys, threading, time

def fail():
    raise LookupError("in a thread")

threads = [threading.Thread(target=function, name=function.__name__) for function in (fail, sys.exit)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("goes on")
threading.excepthook = lambda args: print("hooked", args.exc_value, args.thread.name)
thread = threading.Thread(target=fail, name="second")
thread.start()
thread.join()
""",
    )
    assert code == 0
    assert [line.partition("] ")[2] for line in lines] == ["goes on", "hooked in a thread second"]
    assert "Exception in thread fail:" in err and err.rstrip().endswith("LookupError: in a thread")


def test_ctrl_c_ends_a_run_whose_threads_go_on_for_ever(tmp_path: Path) -> None:
    process = start_program(
        tmp_path,
        """
import queue, threading, time

def tick():
    while True:
        time.sleep(1)
        print("tick", flush=True)

for function in (tick, queue.Queue().get, threading.Event().wait):
    threading.Thread(target=function).start()
""",
    )
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline().endswith("tick\n")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (130, "")
    assert out.endswith("\ninterrupted these are the figures so far\n")
