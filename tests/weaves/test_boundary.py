"""docs/boundary.md, checked: each row of its tables has a check here, and each check a row.

A check looks from inside a string and from outside at the same moment: a thread of the machine looks while the turn
waits for it. What a row says besides in words is tested in interpose/ and in test_interpose.py.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import contextvars
import copyreg
import datetime
import errno
import gc
import io
import logging
import os
import platform
import queue
import random
import re
import select
import selectors
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import uuid
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import lunar
import weaves
from weaves import interpose
from weaves.clock import EPOCH_NS
from weaves.here import here
from weaves.loader import load
from weaves.strings import String

interpose.install()

PAGE: Final = Path(__file__).parents[2] / "docs" / "boundary.md"
START: Final = EPOCH_NS / 10**9

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Ring:
    """Only the collector finds it, if it is closed."""

    def __init__(self, closed: bool = True) -> None:
        self.ring = self if closed else None


def rows() -> list[str]:
    """The first cell of each row, without its backquotes."""
    names = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and not line.startswith(("| name |", "| --- |")):
            names.append(re.split(r"(?<!\\)\|", line)[1].strip().strip("`"))
    return names


class Moment:
    """A run that stands at 2.5 s, with a host "alpha", where a function or a program looks."""

    def __init__(self, folder: Path, outside: Callable[[Callable[[], Any]], Any]) -> None:
        self.folder = folder
        self.outside = outside
        self.net = lunar.Network(seed=1)
        self.host = self.net.host("alpha", "10.0.0.1/24")
        self.net.run(until=2.5)

    def both(self, look: Callable[[], Any]) -> tuple[Any, Any]:
        """What `look` returns inside a function and outside meanwhile."""
        found: tuple[Any, Any] = self.net.run(lambda: (look(), self.outside(look)), on=self.host)
        return found

    def both_in_program(self, look: Callable[[], Any]) -> tuple[Any, Any]:
        """The same with a program, whose environment and directory are its own."""
        weave = self.host.new_weave("program", ["program", "--flag"], {"COLOUR": "blau"}, str(self.folder))
        found: list[tuple[Any, Any]] = []
        string = String(weave, "main", lambda: found.append((look(), self.outside(look))))
        self.net.supervisor.start(string, 0)
        self.net.run()
        assert string.error is None
        return found[0]

    def both_in_file(self, source: str, outside: Callable[[], Any]) -> tuple[Any, Any]:
        """The global `seen` of a program in a file, and what `outside` returns while it runs."""
        folder = self.folder / "tapestry"
        folder.mkdir()
        tail = "\nimport boundary_mailbox\nboundary_mailbox.put(seen)\n"
        (folder / "program.py").write_text(textwrap.dedent(source) + tail)
        (folder / "site.toml").write_text('[hosts.a]\nstrings = [{ run = "program.py --flag" }]\n')
        found: list[Any] = []
        mailbox: Any = type(sys)("boundary_mailbox")
        mailbox.put = lambda seen: found.append((seen, self.outside(outside)))
        sys.modules["boundary_mailbox"] = mailbox
        try:
            tapestry = load(folder / "site.toml")
            tapestry.run_blocking()
            assert tapestry.ok
            tapestry.close()
        finally:
            del sys.modules["boundary_mailbox"]
        seen: tuple[Any, Any] = found[0]
        return seen

    def refused(self, call: Callable[[], Any]) -> BaseException:
        """The exception that `call` raises inside."""

        def look() -> Any:
            try:
                return call()
            except (OSError, RuntimeError) as error:
                return error

        found = self.net.run(look, on=self.host)
        assert isinstance(found, BaseException)
        return found


@pytest.fixture
def moment(tmp_path: Path, outside: Callable[[Callable[[], Any]], Any]) -> Iterator[Moment]:
    made = Moment(tmp_path, outside)
    yield made
    made.net.close()


CHECKS: dict[str, Callable[[Moment], None]] = {}


def row(name: str) -> Callable[[Callable[[Moment], None]], Callable[[Moment], None]]:
    def register(check: Callable[[Moment], None]) -> Callable[[Moment], None]:
        assert name not in CHECKS
        CHECKS[name] = check
        return check

    return register


def test_each_row_has_a_check_and_each_check_a_row() -> None:
    assert sorted(rows()) == sorted(CHECKS)


@pytest.mark.parametrize("name", rows())
def test_row(moment: Moment, name: str) -> None:
    CHECKS[name](moment)


# Virtual


@row("time.time")
def _(moment: Moment) -> None:
    inside, machine = moment.both(
        lambda: (time.time(), time.time_ns() / 10**9, time.gmtime().tm_year, time.strftime("%Y"), time.ctime()[-4:])
    )
    local = time.localtime(START)
    assert inside == (START + 2.5, START + 2.5, 2000, time.strftime("%Y", local), time.asctime(local)[-4:])
    assert machine[0] > START + 10**8
    assert machine[2] > 2000


@row("time.monotonic")
def _(moment: Moment) -> None:
    before = interpose.real_perf_counter()
    inside, machine = moment.both(lambda: (time.monotonic(), time.perf_counter(), time.monotonic_ns()))
    assert inside == (2.5, 2.5, 2_500_000_000)
    assert before <= machine[1] <= interpose.real_perf_counter()


@row("time.process_time")
def _(moment: Moment) -> None:
    inside, machine = moment.both(lambda: (time.process_time(), time.thread_time_ns()))
    assert inside == (0.0, 0)
    assert machine[0] > 0


@row("time.clock_gettime")
def _(moment: Moment) -> None:
    clocks = (time.CLOCK_REALTIME, time.CLOCK_TAI, time.CLOCK_BOOTTIME, time.CLOCK_PROCESS_CPUTIME_ID)
    inside, machine = moment.both(lambda: [*map(time.clock_gettime, clocks), time.clock_getres(clocks[0])])
    assert inside == [START + 2.5, START + 2.5, 2.5, 0.0, 1e-9]
    assert machine[0] > START + 10**8
    assert machine[3] > 0


@row("time.sleep")
def _(moment: Moment) -> None:
    inside, machine = moment.both(lambda: (time.sleep(1e-3), time.monotonic() == 2.501))
    assert inside == (None, True)
    assert machine == (None, False)


@row("datetime.datetime.now")
def _(moment: Moment) -> None:
    def look() -> list[Any]:
        utc = datetime.datetime.now(datetime.UTC)
        return [utc.timestamp(), datetime.datetime.today().timestamp(), datetime.date.today(), type(utc)]

    inside, machine = moment.both(look)
    assert inside == [START + 2.5, START + 2.5, datetime.date.fromtimestamp(START), datetime.datetime]
    assert machine[0] > START + 10**8
    assert machine[2].year > 2000


@row("random.random")
def _(moment: Moment) -> None:
    state = random.getstate()
    (first, second), machine = moment.both(lambda: (random.random(), random.Random().random()))
    other = lunar.Network(seed=1)
    repeated = other.run(lambda: (random.random(), random.Random().random()), on=other.host("alpha"))
    assert repeated == (first, second)
    other.close()
    random.setstate(state)
    assert random.random() == machine[0]


@row("os.urandom")
def _(moment: Moment) -> None:
    def look() -> tuple[Any, ...]:
        return os.urandom(8), os.getrandom(8), uuid.uuid4(), ssl.RAND_bytes(8), random.SystemRandom().random()

    inside, machine = moment.both(look)
    other = lunar.Network(seed=1)
    assert other.run(look, on=other.host("alpha")) == inside
    other.close()
    assert not set(machine) & set(inside)
    assert not set(machine) & set(look())


@row("uuid.uuid1")
def _(moment: Moment) -> None:
    inside, machine = moment.both(uuid.uuid1)
    assert inside.node == moment.host.devices["eth0"].mac
    # RFC 4122: in 100 ns since 1582-10-15, which is 0x01B21DD213814000 before the Unix epoch.
    assert inside.time - 0x01B2_1DD2_1381_4000 == EPOCH_NS // 100 + 25_000_000
    assert machine.node != inside.node


@row("tempfile.NamedTemporaryFile")
def _(moment: Moment) -> None:
    def look() -> str:
        with tempfile.NamedTemporaryFile(dir=moment.folder) as file:
            return file.name

    inside, machine = moment.both(look)
    other = lunar.Network(seed=1)
    assert other.run(look, on=other.host("alpha")) == inside
    other.close()
    assert machine != inside


@row("socket.socket")
def _(moment: Moment) -> None:
    def look() -> tuple[type, bool, bool]:
        with socket.socket() as sock:
            return type(sock), isinstance(sock, socket.socket), sock.fileno() >= 2**30

    inside, machine = moment.both(look)
    assert inside[1:] == (True, True)
    assert inside[0] is not socket.socket
    assert machine == (socket.socket, True, False)


@row("socket.socketpair")
def _(moment: Moment) -> None:
    def look() -> tuple[bool, bytes, bool]:
        one, other = socket.socketpair()
        read, write = os.pipe()
        one.sendall(b"by the pair")
        os.write(write, other.recv(100))
        found = one.fileno() >= 2**30, os.read(read, 100), read >= 2**30
        for close in (one.close, other.close, lambda: os.close(read), lambda: os.close(write)):
            close()
        return found

    assert moment.both(look) == ((True, b"by the pair", True), (False, b"by the pair", False))


@row("select.select")
def _(moment: Moment) -> None:
    def look() -> tuple[bool, bool, bool]:
        one, other = socket.socketpair()
        with one, other, select.epoll() as epoll, selectors.DefaultSelector() as selector:
            one.send(b"x")
            selector.register(other, selectors.EVENT_READ)
            epoll.register(other, select.EPOLLIN)
            found = (
                select.select([other], [], [], 5) == ([other], [], []) and epoll.poll(5) == [(other.fileno(), 1)],
                len(selector.select(5)) == 1,
                epoll.fileno() >= 2**30,
            )
            with open(os.devnull) as file:
                assert select.select([file], [], [], 5) == ([file], [], [])
        return found

    assert moment.both(look) == ((True, True, True), (True, True, False))


@row("ssl.SSLContext.wrap_socket")
def _(moment: Moment) -> None:
    certificates = Path(__file__).parents[2] / "tapestries" / "apps" / "tls"
    accepting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    accepting.load_cert_chain(certificates / "server.pem")
    connecting = ssl.create_default_context(cafile=certificates / "authority.pem")

    def look() -> tuple[bool, bool, bytes]:
        one, other = socket.socketpair()
        one.setblocking(False)
        other.setblocking(False)
        client = connecting.wrap_socket(one, server_hostname="server", do_handshake_on_connect=False)
        server = accepting.wrap_socket(other, server_side=True, do_handshake_on_connect=False)
        with client, server:
            while client.version() is None or server.version() is None:
                for sock in (client, server):
                    with contextlib.suppress(ssl.SSLWantReadError):
                        sock.do_handshake()
            client.send(b"over TLS")
            return isinstance(client, ssl.SSLSocket), client.fileno() >= 2**30, server.recv(100)

    assert moment.both(look) == ((True, True, b"over TLS"), (True, False, b"over TLS"))


@row("socket.getaddrinfo")
def _(moment: Moment) -> None:
    def look() -> Any:
        try:
            address = socket.getaddrinfo("alpha", 80, socket.AF_INET, socket.SOCK_STREAM)[0][4]
            return address, socket.gethostbyname("alpha")
        except OSError as error:
            return type(error)

    inside, machine = moment.both(look)
    assert inside == (("10.0.0.1", 80), "10.0.0.1")
    assert machine != inside


@row("os.stat")
def _(moment: Moment) -> None:
    def look() -> tuple[str, bool]:
        return Path("/etc/hosts").read_text(encoding="utf-8"), os.stat("/proc/sys/net/ipv4/ip_forward").st_size == 0

    inside, machine = moment.both(look)
    assert inside == ("127.0.0.1\tlocalhost\n10.0.0.1\talpha\n", True)
    assert machine[0] != inside[0]


@row("socket.getservbyname")
def _(moment: Moment) -> None:
    def look() -> tuple[int, str, int]:
        return socket.getservbyname("domain"), socket.getservbyport(53, "udp"), socket.getprotobyname("tcp")

    inside, _machine = moment.both(look)
    assert inside == (53, "domain", 6)
    # The machine's files need not have it, and may be none.
    assert moment.net.run(socket.getservbyname, "mqtt", on=moment.host) == 1883


@row("socket.if_nameindex")
def _(moment: Moment) -> None:
    def look() -> tuple[list[tuple[int, str]], str, int]:
        return socket.if_nameindex(), socket.if_indextoname(1), socket.if_nametoindex("lo")

    inside, machine = moment.both(look)
    assert inside == ([(1, "lo"), (2, "eth0")], "lo", 1)
    assert machine == (socket.if_nameindex(), socket.if_indextoname(1), socket.if_nametoindex("lo"))


@row("socket.setdefaulttimeout")
def _(moment: Moment) -> None:
    def set_and_look() -> tuple[float | None, float | None]:
        socket.setdefaulttimeout(3)
        with socket.socket() as sock:
            return socket.getdefaulttimeout(), sock.gettimeout()

    assert moment.net.run(set_and_look, on=moment.host) == (3.0, 3.0)
    assert socket.getdefaulttimeout() is None


@row("socket.gethostname")
def _(moment: Moment) -> None:
    inside, machine = moment.both(lambda: (socket.gethostname(), platform.node(), os.uname().nodename, os.uname()[2:]))
    assert inside == ("alpha", "alpha", "alpha", os.uname()[2:])
    assert machine == (socket.gethostname(), platform.node(), os.uname().nodename, os.uname()[2:])


@row("os.getpid")
def _(moment: Moment) -> None:
    inside, machine = moment.both(lambda: (os.getpid(), os.getppid(), os.getpgid(0)))
    assert inside == (2, 1, 2)
    assert machine == (os.getpid(), os.getppid(), os.getpgid(0))


@row("os.environ")
def _(moment: Moment) -> None:
    def look() -> tuple[Any, ...]:
        return os.getenv("COLOUR"), sorted(os.environ), os.environb.get(b"HOSTNAME")

    inside, machine = moment.both_in_program(look)
    names = ["COLOUR", "HOME", "HOSTNAME", "LANG", "PATH", "PWD", "TZ", "USER"]
    assert inside == ("blau", names, b"alpha")
    assert machine == (None, sorted(os.environ), os.environb.get(b"HOSTNAME"))


@row("os.getcwd")
def _(moment: Moment) -> None:
    (moment.folder / "note").write_text("here")
    before = os.getcwd()
    inside, _ = moment.both_in_program(lambda: (os.getcwd(), Path("note").read_text()))
    assert inside == (str(moment.folder), "here")
    assert os.getcwd() == before


@row("signal.signal")
def _(moment: Moment) -> None:
    handler: Callable[..., None] = lambda *_args: None  # noqa: E731
    before = signal.getsignal(signal.SIGUSR1)
    inside, machine = moment.both(
        lambda: (threading.current_thread() is threading.main_thread() and signal.signal(signal.SIGUSR1, handler),
                 signal.getsignal(signal.SIGUSR1))
    )  # fmt: skip
    assert inside == (signal.SIG_DFL, handler)
    assert machine == (False, before)


@row("os.kill")
def _(moment: Moment) -> None:
    def look() -> list[Any]:
        seen: list[Any] = []
        signal.signal(signal.SIGUSR1, lambda signum, _frame: seen.append(signum))
        os.kill(os.getpid(), signal.SIGUSR1)
        try:
            os.kill(moment.outside(os.getpid), 0)
        except ProcessLookupError:
            seen.append("not here")
        return [*seen, moment.outside(lambda: os.kill(os.getpid(), 0))]

    assert moment.net.run(look, on=moment.host) == [signal.SIGUSR1, "not here", None]


@row("signal.alarm")
def _(moment: Moment) -> None:
    def look() -> Any:
        seen: list[float] = []
        signal.signal(signal.SIGALRM, lambda *_: seen.append(time.monotonic()))
        signal.alarm(3)
        signal.setitimer(signal.ITIMER_PROF, 0.5)
        machine = moment.outside(lambda: signal.getitimer(signal.ITIMER_REAL))
        signal.pause()
        return seen, machine

    assert moment.net.run(look, on=moment.host) == ([5.5], (0.0, 0.0))


@row("atexit.register")
def _(moment: Moment) -> None:
    seen: list[str] = []
    before = atexit._ncallbacks()
    inside, machine = moment.both_in_program(
        lambda: (here.weave is not None and atexit.register(seen.append, "end") is not None, atexit._ncallbacks())
    )
    assert inside == (True, 1)
    assert machine == (False, before)
    assert seen == ["end"]


@row("os._exit")
def _(moment: Moment) -> None:
    seen: list[str] = []

    def main() -> None:
        seen.append("begun")
        os._exit(0)
        seen.append("never")

    string = String(moment.host.new_weave("program", ["program"]), "main", main)
    moment.net.supervisor.start(string, 0)
    moment.net.run()
    assert (seen, string.over, string.error) == (["begun"], True, None)


@row("logging.Logger")
def _(moment: Moment) -> None:
    logger = logging.getLogger("tests.boundary")

    def look() -> tuple[int, int, list[Any], bool]:
        if here.weave is not None:
            logger.setLevel("ERROR")
            logging.basicConfig(level="DEBUG", stream=io.StringIO())
        return logger.level, logging.root.level, list(logging.root.handlers), logger.isEnabledFor(logging.WARNING)

    before = look()
    inside, machine = moment.both_in_program(look)
    assert (inside[0], inside[1], len(inside[2]), inside[3]) == (logging.ERROR, logging.DEBUG, 1, False)
    assert machine == look() == before


@row("logging.LogRecord")
def _(moment: Moment) -> None:
    def look() -> tuple[Any, ...]:
        made = logging.getLogger("tests.boundary").makeRecord("tests", logging.INFO, "file", 1, "hello", (), None)
        fields = made.__dict__
        return tuple(fields[name] for name in ("host", "weave", "string", "created", "relativeCreated", "process"))

    inside, machine = moment.both_in_program(look)
    assert inside == ("alpha", "program", "main", START + 2.5, 2500.0, 2)
    assert machine[:3] == ("-", "-", "-")
    assert machine[3] > START + 10**8
    assert machine[5] == os.getpid()


@row("contextvars.copy_context")
def _(moment: Moment) -> None:
    token = VARIABLE.set("the test's")
    try:
        inside, _ = moment.both_in_program(VARIABLE.get)
        assert (inside, moment.net.run(VARIABLE.get, on=moment.host)) == ("unset", "the test's")
    finally:
        VARIABLE.reset(token)


@row("gc.disable")
def _(moment: Moment) -> None:
    def look() -> tuple[bool, bool]:
        dropped = weakref.ref(Ring())
        gc.disable()
        gc.set_threshold(1)
        gc.collect()
        return gc.isenabled(), dropped() is None

    before = gc.isenabled(), gc.get_threshold()
    found = moment.net.run(lambda: (look(), moment.outside(gc.get_threshold)), on=moment.host)
    assert found == ((False, True), before[1])
    assert (gc.isenabled(), gc.get_threshold()) == before


@row("asyncio.new_event_loop")
def _(moment: Moment) -> None:
    def look() -> str:
        loop = asyncio.new_event_loop()
        loop.close()
        return type(loop).__module__

    inside, machine = moment.both(look)
    assert inside.startswith("lunar.")
    assert not machine.startswith("lunar.")


@row("asyncio.all_tasks")
def _(moment: Moment) -> None:
    async def look() -> list[str]:
        return sorted(task.get_name() for task in asyncio.all_tasks())

    async def main() -> tuple[list[str], list[str]]:
        return await asyncio.create_task(look(), name="look"), moment.outside(lambda: asyncio.run(look()))

    inside, machine = moment.net.run(main, on=moment.host)
    assert "look" in inside
    assert len(machine) == 1
    assert not set(machine) & set(inside)


@row("sys.argv")
def _(moment: Moment) -> None:
    before = list(sys.argv)
    assert moment.both_in_program(lambda: list(sys.argv)) == (["program", "--flag"], before)


@row("sys.modules")
def _(moment: Moment) -> None:
    source = """
        import sys
        main = sys.modules["__main__"]
        seen = main.__name__, "--flag" in sys.argv, main.__file__
        """
    inside, machine = moment.both_in_file(source, lambda: getattr(sys.modules["__main__"], "__file__", None))
    assert inside[:2] == ("__main__", True)
    assert inside[2].endswith("program.py")
    assert machine != inside[2]


@row("sys.path")
def _(moment: Moment) -> None:
    before = list(sys.path)
    source = "import sys\nsys.path.append('/nowhere')\nseen = list(sys.path)"
    inside, machine = moment.both_in_file(source, lambda: list(sys.path))
    assert inside[0] == str(moment.folder / "tapestry")
    assert inside[-1] == "/nowhere"
    assert "/nowhere" not in machine
    assert sys.path == before


@row("sys.stdout")
def _(moment: Moment) -> None:
    source = """
        import io, sys
        sys.stdout = io.StringIO()
        print("to the buffer")
        seen = sys.stdout.getvalue()
        """
    stdout = sys.stdout
    inside, machine = moment.both_in_file(source, lambda: sys.stdout is stdout)
    assert inside == "to the buffer\n"
    assert machine is True


@row("a module's data")
def _(moment: Moment) -> None:
    folder = moment.folder / "tapestry"
    folder.mkdir()
    (folder / "state.py").write_text("number = 0\nclass Kind:\n    number = 0\n")
    (folder / "program.py").write_text(
        "import state, time\n"
        "state.number += 1\n"
        "state.Kind.number += 1\n"
        "time.sleep(1)\n"  # the other host has counted by now
        "assert (state.number, state.Kind.number) == (1, 1)\n"
    )
    (folder / "site.toml").write_text(
        '[hosts.a]\nstrings = [{ run = "program.py" }]\n[hosts.b]\nstrings = [{ run = "program.py" }]\n'
    )
    tapestry = load(folder / "site.toml")
    tapestry.run_blocking()
    assert tapestry.ok
    tapestry.close()
    assert "state" not in sys.modules


# Shared


@row("the standard library")
def _(moment: Moment) -> None:
    inside, machine = moment.both_in_file("import json\nseen = json", lambda: sys.modules["json"])
    assert inside is machine


@row("files")
def _(moment: Moment) -> None:
    inside, machine = moment.both(lambda: (moment.folder / "note").write_text("here"))
    assert inside == machine == len("here")
    assert (moment.folder / "note").read_text() == "here"


@row("the zone")
def _(moment: Moment) -> None:
    inside, machine = moment.both(lambda: (time.tzset(), time.tzname, time.localtime(0).tm_hour))
    assert inside == machine


@row("warnings.filters")
def _(moment: Moment) -> None:
    inside, machine = moment.both(lambda: warnings.filters)
    assert inside is machine


@row("weakref.ref")
def _(moment: Moment) -> None:
    names: list[str] = []

    def look() -> None:
        thing = Ring(closed=False)
        reference = weakref.ref(thing, lambda _reference: names.append(socket.gethostname()))
        del thing
        kept = Ring()
        other = weakref.ref(kept, lambda _reference: names.append(socket.gethostname()))
        del kept
        gc.collect()
        assert reference() is None
        assert other() is None

    moment.net.run(look, on=moment.host)
    assert names == ["alpha", "collector"]


@row("copyreg.dispatch_table")
def _(moment: Moment) -> None:
    inside, machine = moment.both(lambda: copyreg.dispatch_table)
    assert inside is machine


@row("threading.get_ident")
def _(moment: Moment) -> None:
    inside, machine = moment.both(threading.get_ident)
    assert inside not in (threading.get_ident(), machine)
    inside, machine = moment.both(lambda: threading.get_native_id() == os.getpid())
    assert inside
    assert not machine  # it is not the first thread of the machine's process


@row("os.cpu_count")
def _(moment: Moment) -> None:
    def look() -> tuple[int | None, set[int]]:
        return os.cpu_count(), os.sched_getaffinity(0)

    inside, machine = moment.both(look)
    assert inside == (1, {0})
    assert len(machine[1]) <= machine[0]

    def pool_size() -> int:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            return pool._max_workers

    assert moment.net.run(pool_size, on=moment.host) == 5


@row("os.getuid")
def _(moment: Moment) -> None:
    inside, machine = moment.both(lambda: (os.getuid(), os.getgid()))
    assert inside == machine


@row("threading.excepthook")
def _(moment: Moment) -> None:
    inside, machine = moment.both(lambda: threading.excepthook)
    assert inside is machine


@row("threading.Lock")
def _(moment: Moment) -> None:
    def look() -> tuple[bool, int]:
        lock = threading.Lock()
        lock.acquire()
        begun = time.monotonic_ns()
        return lock.acquire(timeout=0.01), time.monotonic_ns() - begun

    inside, machine = moment.both(look)
    assert inside == (False, 10_000_000)
    assert machine[0] is False
    assert machine[1] != 10_000_000


@row("threading.local")
def _(moment: Moment) -> None:
    own = threading.local()
    own.name = "the test's"

    def look() -> str | None:
        return getattr(own, "name", None)

    assert moment.both(look) == (None, None)
    assert look() == "the test's"


@row("queue.SimpleQueue")
def _(moment: Moment) -> None:
    def look() -> tuple[int, int]:
        items: queue.SimpleQueue[int] = queue.SimpleQueue()
        threading.Timer(0.01, items.put, (7,)).start()
        begun = time.monotonic_ns()
        return items.get(), time.monotonic_ns() - begun

    inside, machine = moment.both(look)
    assert inside == (7, 10_000_000)
    assert machine[0] == 7
    assert machine[1] != 10_000_000


@row("os.write")
def _(moment: Moment) -> None:
    def look() -> int:
        return os.write(1, b"by number\n")

    reader, writer = os.pipe()
    kept = os.dup(1)
    os.dup2(writer, 1)
    try:
        with weaves.Output() as output:
            assert moment.both(look) == (10, 10)
    finally:
        os.dup2(kept, 1)
        for descriptor in (kept, writer):
            os.close(descriptor)
    assert output.text("alpha") == "by number\n"
    assert os.read(reader, 100) == b"by number\n"  # once, by the one outside
    os.close(reader)


@row("OpenSSL's own randomness")
def _(moment: Moment) -> None:
    # What it draws by itself shows in the random value of a ClientHello.
    def look() -> bytes:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(incoming, outgoing, server_hostname="alpha")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        return outgoing.read()[11:43]

    inside, machine = moment.both(look)
    other = lunar.Network(seed=1)
    assert other.run(look, on=other.host("alpha")) != inside
    other.close()
    assert len(inside) == len(machine) == 32


# Refused


@row("subprocess.Popen")
def _(moment: Moment) -> None:
    error = moment.refused(lambda: subprocess.Popen([sys.executable, "-c", "pass"]))
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSYS
    for call in (os.fork, lambda: os.system("true"), lambda: os.execv(sys.executable, ["x"])):
        assert str(moment.refused(call)) == str(error)
    done = moment.net.run(
        moment.outside, lambda: subprocess.run([sys.executable, "-c", "pass"], check=False).returncode, on=moment.host
    )
    assert done == 0


@row("os.wait")
def _(moment: Moment) -> None:
    assert isinstance(moment.refused(os.wait), ChildProcessError)
    assert isinstance(moment.refused(lambda: os.waitpid(-1, 0)), ChildProcessError)

    def machine() -> int:
        child = subprocess.Popen([sys.executable, "-c", "pass"])
        return os.waitpid(child.pid, 0)[0] - child.pid

    assert moment.net.run(moment.outside, machine, on=moment.host) == 0


@row("threading.Thread.start")
def _(moment: Moment) -> None:
    def inside() -> list[float]:
        found: list[float] = []
        begun = time.monotonic()

        def work(seconds: float) -> None:
            time.sleep(seconds)
            found.append(time.monotonic() - begun)

        threads = [threading.Thread(target=work, args=(seconds,)) for seconds in (3, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    before = threading.active_count()
    assert moment.net.run(inside, on=moment.host) == [1.0, 3.0]
    assert threading.active_count() == before

    def machine() -> list[int]:
        found: list[int] = []
        thread = threading.Thread(target=found.append, args=(1,))
        thread.start()
        thread.join()
        return found

    assert moment.net.run(moment.outside, machine, on=moment.host) == [1]


@row("time.clock_settime")
def _(moment: Moment) -> None:
    for call in (lambda: time.clock_settime(time.CLOCK_REALTIME, 0.0), os.setsid):
        assert isinstance(moment.refused(call), PermissionError)
