"""threading, _thread, queue and executors inside a weave: threads switch where they wait, in virtual time."""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import contextvars
import copy
import gc
import os
import pickle
import queue
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import lunar
from weaves import interpose
from weaves.realtime import Stalled
from weaves.strings import String


@pytest.fixture
def net() -> Iterator[lunar.Network]:
    with lunar.Network(seed=1) as made:
        yield made


@pytest.fixture
def host(net: lunar.Network) -> Any:
    return net.host("alpha", "10.0.0.1/24")


# Who runs, and when


def test_a_thread_runs_when_its_starter_waits_and_no_earlier(net: lunar.Network, host: Any) -> None:
    def main() -> list[str]:
        log: list[str] = []
        thread = _thread.start_new_thread(log.append, ("thread",))
        assert thread != threading.get_ident()
        log.append("starter")
        time.sleep(0)
        return log

    assert net.run(main, on=host) == ["starter", "thread"]


def test_threads_switch_where_they_wait_in_the_order_of_waking(net: lunar.Network, host: Any) -> None:
    def main() -> list[tuple[str, int]]:
        log: list[tuple[str, int]] = []

        def work(name: str) -> None:
            for step in range(3):
                log.append((name, step))
                log.append((name, step))  # between two waits nobody else runs
                time.sleep(1)

        threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return log

    expected = [(name, step) for step in range(3) for name in "aabbcc"]
    assert net.run(main, on=host) == expected


def test_the_threads_of_a_weave_know_each_other_and_no_others(net: lunar.Network, host: Any) -> None:
    def main() -> Any:
        gate = threading.Event()
        thread = threading.Thread(target=gate.wait, name="worker")
        before = threading.enumerate()
        thread.start()
        during = threading.enumerate(), threading.active_count(), _thread._count()
        alive = thread.is_alive()
        gate.set()
        thread.join()
        me = threading.current_thread()
        assert me is threading.main_thread() is before[0]
        assert (before, during, alive, thread.is_alive()) == ([me], ([me, thread], 2, 1), True, False)
        assert isinstance(me, threading._MainThread)  # type: ignore[attr-defined]
        return me.name, me.daemon, me.is_alive(), me.native_id == os.getpid(), thread.ident, me.ident

    outside = threading.enumerate()
    name, daemon, alive, is_process, ident, own = net.run(main, on=host)
    assert (name, daemon, alive, is_process) == ("MainThread", False, True, True)
    assert ident != own
    assert threading.enumerate() == outside


def test_names_count_in_each_weave_by_itself(net: lunar.Network, host: Any) -> None:
    def main() -> list[str]:
        def work() -> None:
            pass

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pooled = pool.submit(lambda: threading.current_thread().name).result()
        return [threading.Thread(target=work).name, threading.Thread().name, pooled]

    expected = ["Thread-1 (work)", "Thread-2", "ThreadPoolExecutor-0_0"]
    assert net.run(main, on=host) == net.run(main, on=net.host("beta")) == expected


def test_numbers_are_the_same_in_each_run() -> None:
    def main() -> list[int]:
        found = [threading.get_ident(), threading.get_native_id()]
        thread = threading.Thread(target=lambda: found.extend((threading.get_ident(), threading.get_native_id())))
        thread.start()
        thread.join()
        assert thread.ident == found[2]
        return found

    def run() -> list[int]:
        with lunar.Network(seed=1) as net:
            return net.run(main, on=net.host("alpha"))  # type: ignore[no-any-return]

    first = run()
    assert len(set(first)) == 4
    assert run() == first


def test_a_second_string_of_a_weave_is_a_thread_of_its_name(net: lunar.Network, host: Any) -> None:
    found: list[Any] = []

    def look() -> None:
        time.sleep(1)
        found.append((threading.current_thread().name, threading.current_thread() is threading.main_thread()))
        found.append(len(threading.enumerate()))

    first = net.start(host, look)
    second = String(first.weave, "second", look)
    net.supervisor.start(second, 0)
    net.run()
    assert found == [("MainThread", True), 1, ("second", False), 2]


def test_a_thread_begins_with_no_context_variables_and_belongs_to_its_string(net: lunar.Network, host: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    def main() -> Any:
        variable.set("starter's")
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(variable.get()))
        thread.start()
        thread.join()
        return found

    assert net.run(main, on=host) == ["unset"]


def test_an_exception_in_a_thread_is_told_as_python_tells_it(
    net: lunar.Network, host: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)  # pytest has put its own there

    def main() -> bool:
        thread = threading.Thread(target=lambda: 1 / 0, name="bad")
        thread.start()
        thread.join()
        raw = _thread.start_new_thread(lambda: {}[0], ())
        time.sleep(1)
        ended = threading.Thread(target=_thread.exit)
        ended.start()
        ended.join()
        return bool(raw)

    assert net.run(main, on=host) is True
    told = capsys.readouterr().err
    assert "Exception in thread bad:" in told
    assert "ZeroDivisionError" in told
    assert "Exception ignored in thread started by" in told
    assert "KeyError" in told
    assert "SystemExit" not in told


def test_wrong_use_is_refused_as_cpython_does(net: lunar.Network, host: Any) -> None:
    def main() -> None:
        start: Any = _thread.start_new_thread
        for wrong in ((1, ()), (int, []), (int, (), ())):
            with pytest.raises(TypeError):
                start(*wrong)
        with pytest.raises(RuntimeError, match="cannot join current thread"):
            threading.current_thread().join()
        with pytest.raises(RuntimeError, match="cannot join thread before it is started"):
            threading.Thread().join()
        thread = threading.Thread()
        thread.start()
        with pytest.raises(RuntimeError, match="threads can only be started once"):
            thread.start()

    net.run(main, on=host)


# Locks and what is made of them


def test_waiting_threads_get_a_lock_in_the_order_in_which_they_came(net: lunar.Network, host: Any) -> None:
    def main() -> list[tuple[int, float]]:
        lock = threading.Lock()
        log: list[tuple[int, float]] = []

        def work(number: int) -> None:
            for _ in range(2):
                with lock:
                    log.append((number, time.monotonic()))
                    time.sleep(1)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return log

    # Nobody has it twice while another waits.
    assert net.run(main, on=host) == [(0, 0.0), (1, 1.0), (2, 2.0), (0, 3.0), (1, 4.0), (2, 5.0)]


def test_the_timeouts_of_a_lock_are_virtual_time(net: lunar.Network, host: Any) -> None:
    def main() -> Any:
        lock = threading.Lock()
        assert lock.acquire()
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=0)
        assert not lock.acquire(timeout=2.5)
        at = time.monotonic()
        threading.Timer(1, lock.release).start()
        assert lock.acquire(timeout=2)
        return at, time.monotonic(), lock.locked()

    assert net.run(main, on=host) == (2.5, 3.5, True)


@pytest.mark.parametrize("name", ["Lock", "RLock"])
def test_locks_refuse_what_cpythons_refuse(net: lunar.Network, host: Any, name: str) -> None:
    def look() -> list[str]:
        lock = getattr(threading, name)()
        messages = []
        for call in (
            lambda: lock.acquire(False, 1),
            lambda: lock.acquire(True, -2),
            lambda: lock.acquire(True, 1e10),
            lock.release,
            lambda: pickle.dumps(lock),
            lambda: copy.deepcopy(lock),
        ):
            with pytest.raises((ValueError, OverflowError, RuntimeError, TypeError)) as raised:
                call()
            messages.append(f"{raised.type.__name__}: {raised.value}")
        return messages

    inside = net.run(look, on=host)
    assert inside[0] == "ValueError: can't specify a timeout for a non-blocking call"
    assert inside[:3] == look()[:3]
    assert inside[3].startswith("RuntimeError:")
    assert inside[4].startswith("TypeError: cannot pickle '_thread.")


def test_who_waits_for_a_lock_that_is_made_anew_waits_on(net: lunar.Network, host: Any) -> None:
    def main() -> tuple[list[bool], bool]:
        lock = threading.Lock()
        lock.acquire()
        got: list[bool] = []
        thread = threading.Thread(target=lambda: got.append(lock.acquire(timeout=1)))
        thread.start()
        time.sleep(0.5)
        lock._at_fork_reinit()  # type: ignore[attr-defined]
        thread.join()
        return got, lock.locked()

    assert net.run(main, on=host) == ([False], False)


def test_a_lock_that_its_holder_may_take_again(net: lunar.Network, host: Any) -> None:
    def main() -> Any:
        lock = threading.RLock()
        log: list[Any] = []

        def other() -> None:
            log.append(lock.acquire(blocking=False))
            with pytest.raises(RuntimeError):
                lock.release()
            with lock:
                log.append(time.monotonic())

        with lock, lock:
            thread = threading.Thread(target=other)
            thread.start()
            time.sleep(1)
        time.sleep(1)
        thread.join()
        return log

    assert net.run(main, on=host) == [False, 1.0]


def test_events_conditions_semaphores_barriers_and_queues(net: lunar.Network, host: Any) -> None:
    def main() -> Any:
        log: list[Any] = []
        event, condition, slots = threading.Event(), threading.Condition(), threading.BoundedSemaphore(2)
        barrier: threading.Barrier = threading.Barrier(3)
        items: queue.Queue[Any] = queue.Queue(maxsize=1)
        sorted_items: queue.PriorityQueue[int] = queue.PriorityQueue()
        simple: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def work(number: int) -> None:
            event.wait()
            with slots:
                time.sleep(1)
                log.append(("slot", number, time.monotonic()))
            barrier.wait()
            log.append(("barrier", number, time.monotonic()))
            with condition:
                condition.wait_for(lambda: "go" in log)
            items.put(number)
            sorted_items.put(-number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        event.set()
        time.sleep(5)
        with condition:
            log.append("go")
            condition.notify_all()
        log.append([items.get() for _ in threads])
        with pytest.raises(queue.Empty):
            items.get(timeout=2)
        with pytest.raises(queue.Empty):
            simple.get(timeout=1)
        threading.Timer(1, simple.put, ("late",)).start()
        log.append((simple.get(), time.monotonic()))
        for thread in threads:
            thread.join()
        log.append([sorted_items.get() for _ in threads])
        return log

    assert net.run(main, on=host) == [
        ("slot", 0, 1.0), ("slot", 1, 1.0), ("slot", 2, 2.0),
        ("barrier", 2, 2.0), ("barrier", 0, 2.0), ("barrier", 1, 2.0),
        "go", [2, 0, 1], ("late", 9.0), [-2, -1, 0],
    ]  # fmt: skip


def test_each_thread_has_its_own_of_a_local(net: lunar.Network, host: Any) -> None:
    class Own(threading.local):
        kind = "class"

        def __init__(self, start: int) -> None:
            self.number = start

    def main() -> Any:
        own, plain, log = Own(5), threading.local(), []
        own.number += 1
        plain.name = "main"

        def other() -> None:
            log.append((own.number, own.kind, hasattr(plain, "name"), vars(plain)))
            own.kind = plain.name = "other"
            del plain.name

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        with pytest.raises(AttributeError):
            own.__dict__ = {}
        with pytest.raises(TypeError, match="Initialization arguments are not supported"):
            threading.local(1)  # type: ignore[call-arg]
        log.append((own.number, own.kind, plain.name, "number" in dir(own)))
        return log

    assert net.run(main, on=host) == [(5, "class", False, {}), (6, "class", "main", True)]


def test_what_a_thread_has_of_a_local_is_gone_when_it_was_joined(net: lunar.Network, host: Any) -> None:
    class Connection:
        def __init__(self, name: str) -> None:
            self.name = name

        def __del__(self) -> None:
            closed.append(self.name)

    closed: list[str] = []

    def main() -> list[str]:
        first, second = threading.local(), threading.local()

        def work() -> None:
            first.connection, second.connection = Connection("first"), Connection("second")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return list(closed)

    assert net.run(main, on=host) == ["first", "second"]


def test_what_a_thread_has_of_a_local_goes_with_it(net: lunar.Network, host: Any) -> None:
    class Thing:
        pass

    def main() -> list[bool]:
        own = threading.local()
        kept: list[Any] = []

        def other() -> None:
            own.thing = Thing()
            kept.append(weakref.ref(own.thing))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        del thread
        time.sleep(1)
        gc.collect()
        return [reference() is None for reference in kept]

    assert net.run(main, on=host) == [True]


# Executors and loops


def test_an_executor_runs_as_many_at_once_as_it_has_threads(net: lunar.Network, host: Any) -> None:
    def main() -> Any:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(lambda number=number: (time.sleep(1), number)[1]) for number in range(5)]
            first = next(concurrent.futures.as_completed(futures)).result()
            done, rest = concurrent.futures.wait(futures, timeout=0.5)
            results = list(pool.map(str, range(3)))
        return first, len(done), len(rest), results, time.monotonic()

    assert net.run(main, on=host) == (0, 2, 3, ["0", "1", "2"], 3.0)


def test_a_loop_in_a_thread_and_calls_into_it_from_another(net: lunar.Network, host: Any) -> None:
    def main() -> Any:
        loops: queue.Queue[asyncio.AbstractEventLoop] = queue.Queue()

        async def serve() -> None:
            loop = asyncio.get_running_loop()
            loops.put(loop)
            await stop.wait()

        stop = asyncio.Event()
        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        loop = loops.get()
        result = asyncio.run_coroutine_threadsafe(asyncio.sleep(3, "slept"), loop).result()
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        return result, time.monotonic(), loop.is_closed()

    assert net.run(main, on=host) == ("slept", 3.0, True)


def test_a_second_ctrl_c_ends_a_thread_that_spins_and_only_the_run_tells(
    net: lunar.Network, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_type))
    before = signal.getsignal(signal.SIGINT)

    def spins() -> None:
        # The person at the machine, whose signals come while this runs.
        handler: Any = interpose.real_getsignal(signal.SIGINT)
        for _ in range(2):
            handler(signal.SIGINT, None)

    def main() -> None:
        threading.Thread(target=spins).start()
        time.sleep(60)

    interpose.real_signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            net.run(main, on=host)
    finally:
        interpose.real_signal(signal.SIGINT, before)
    assert (told, net.now) == ([], 0)


def test_a_keyboard_interrupt_of_the_threads_own_is_told(
    net: lunar.Network, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_type))

    def fails() -> None:
        raise KeyboardInterrupt

    def main() -> None:
        thread = threading.Thread(target=fails)
        thread.start()
        thread.join()

    net.run(main, on=host)
    assert told == [KeyboardInterrupt]


def test_only_the_main_thread_handles_signals(net: lunar.Network, host: Any) -> None:
    def add() -> str:
        loop = asyncio.new_event_loop()
        try:
            with pytest.raises(RuntimeError) as raised:
                loop.add_signal_handler(signal.SIGUSR1, print)
        finally:
            loop.close()
        return str(raised.value)

    def main() -> str:
        with concurrent.futures.ThreadPoolExecutor() as executor:
            return executor.submit(add).result()

    assert net.run(main, on=host) == "set_wakeup_fd only works in main thread of the main interpreter"


def test_a_handler_gets_the_frame_that_waits_and_none_of_ours(net: lunar.Network, host: Any) -> None:
    def sleeps() -> None:
        time.sleep(2)

    def waits() -> None:
        threading.Event().wait(2)

    def main() -> list[str]:
        seen = []
        signal.signal(signal.SIGALRM, lambda _signum, frame: seen.append(frame.f_code.co_qualname))
        for call in (sleeps, waits):
            signal.alarm(1)
            call()
        return seen

    assert net.run(main, on=host) == [sleeps.__qualname__, "Condition.wait"]


def test_a_default_executor_that_was_shut_down_takes_nothing_more(net: lunar.Network, host: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(time.sleep, 1)
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            await asyncio.to_thread(print)

    net.run(main, on=host)


def test_a_thread_that_is_not_the_main_one_has_no_loop_by_itself(net: lunar.Network, host: Any) -> None:
    def main() -> str:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            with pytest.raises(RuntimeError) as raised:
                pool.submit(asyncio.get_event_loop_policy().get_event_loop).result()
            return str(raised.value)

    assert net.run(main, on=host) == "There is no current event loop in thread 'ThreadPoolExecutor-0_0'."


def test_asyncio_run_waits_for_functions_in_threads(net: lunar.Network, host: Any) -> None:
    def main() -> Any:
        log: list[float] = []

        def work() -> None:
            time.sleep(5)
            log.append(time.monotonic())

        async def body() -> str:
            asyncio.get_running_loop().run_in_executor(None, work)
            await asyncio.sleep(1)
            return threading.current_thread().name

        return asyncio.run(body()), log, time.monotonic()

    assert net.run(main, on=host) == ("MainThread", [5.0], 5.0)


def test_the_end_of_the_run_finds_a_loop_that_waits_for_its_threads(net: lunar.Network, host: Any) -> None:
    log: list[str] = []

    def main() -> None:
        async def body() -> None:
            asyncio.get_running_loop().run_in_executor(None, time.sleep, 1000)

        try:
            asyncio.run(body())
        finally:
            log.append("left")

    net.start(host, main)
    net.run(until="1s")
    assert log == []
    net.close()
    assert log == ["left"]


def test_a_thread_is_started_and_joined_in_a_coroutine(net: lunar.Network, host: Any) -> None:
    async def main() -> Any:
        log: list[float] = []
        thread = threading.Thread(target=lambda: (time.sleep(2), log.append(time.monotonic())))
        thread.start()
        thread.join()
        return log, time.monotonic(), threading.current_thread() is threading.main_thread()

    assert net.run(main, on=host) == ([2.0], 2.0, True)


# Ends


def test_the_run_waits_for_threads_that_are_no_daemons(net: lunar.Network, host: Any) -> None:
    log: list[float] = []

    def work() -> None:
        time.sleep(7)
        log.append(time.monotonic())

    net.start(host, lambda: threading.Thread(target=work).start())
    net.start(host, lambda: threading.Thread(target=time.sleep, args=(100,), daemon=True).start())
    net.run()
    assert (log, net.now) == ([7.0], 7.0)


def test_a_thread_that_waits_for_ever_stalls_the_run_and_is_named(net: lunar.Network, host: Any) -> None:
    net.start(host, lambda: threading.Thread(target=threading.Event().wait, name="forgotten").start())
    with pytest.raises(Stalled, match="'forgotten' waits to be notified"):
        net.run()


def test_a_stalled_run_says_who_waits_for_what(net: lunar.Network, host: Any) -> None:
    first, second = threading.Lock(), threading.Lock()

    def take(mine: Any, other: Any) -> None:
        with mine:
            time.sleep(1)
            other.acquire()

    net.start(host, take, first, second)
    net.start(net.host("beta"), take, second, first)
    with pytest.raises(Stalled) as raised:
        net.run()
    assert str(raised.value).count("waits for a lock that thread 'MainThread' holds, at ") == 2
    assert "test_threads.py" in str(raised.value)


def test_a_crash_takes_the_threads_with_it_and_their_locks_too(net: lunar.Network, host: Any) -> None:
    log: list[str] = []
    lock = threading.Lock()  # shared with another host

    def work() -> None:
        try:
            with lock:
                time.sleep(100)
        finally:
            log.append("no code of a host without power runs")

    net.start(host, lambda: threading.Thread(target=work).start())
    other = net.start(net.host("beta"), lambda: (time.sleep(1), lock.acquire(), time.monotonic())[2])
    net.at("10s", host.crash)
    net.run()
    assert (log, other.result) == ([], 10.0)


def test_a_function_in_a_thread_of_the_loops_executor_leaves_its_locks_at_a_crash(
    net: lunar.Network, host: Any
) -> None:
    lock = threading.Lock()

    async def main() -> None:
        await asyncio.to_thread(lambda: (lock.acquire(), time.sleep(100)))

    net.start(host, main)
    other = net.start(net.host("beta"), lambda: (time.sleep(1), lock.acquire(), time.monotonic())[2])
    net.at("10s", host.crash)
    net.run()
    assert other.result == 10.0


def test_threads_that_end_with_their_program_leave_the_locks_that_others_wait_for(
    net: lunar.Network, host: Any
) -> None:
    lock = threading.Lock()

    def main() -> None:
        threading.Thread(target=lambda: (lock.acquire(), time.sleep(100)), daemon=True).start()
        time.sleep(100)

    string = net.start(host, main)
    other = net.start(net.host("beta"), lambda: (time.sleep(1), lock.acquire(), time.monotonic())[2])
    net.at("10s", string.weave.kill)
    net.run()
    assert other.result == 10.0


@pytest.mark.parametrize("kind", ["Queue", "SimpleQueue"])
def test_who_waited_at_a_crash_takes_no_item_from_others(net: lunar.Network, host: Any, kind: str) -> None:
    items = getattr(queue, kind)()
    net.start(host, items.get)
    other = net.start(net.host("beta"), lambda: (time.sleep(2), items.get(timeout=100), time.monotonic()))
    net.at("1s", host.crash)
    net.start(net.host("gamma"), lambda: (time.sleep(3), items.put("item")))
    net.run()
    assert other.result == (None, "item", 3.0)


def test_an_item_for_which_a_thread_was_woken_goes_to_the_next_if_that_one_is_gone(
    net: lunar.Network, host: Any
) -> None:
    items: queue.SimpleQueue[str] = queue.SimpleQueue()
    net.start(host, items.get)
    other = net.start(net.host("beta"), lambda: (time.sleep(1), items.get(timeout=100))[1])
    net.start(net.host("gamma"), lambda: (time.sleep(2), items.put("item"), host.crash()))
    net.run()
    assert other.result == "item"


def test_crashed_hosts_leave_nothing_in_a_lock_that_they_waited_for(net: lunar.Network, host: Any) -> None:
    lock = threading.Lock()
    lock.acquire()
    weaves: list[weakref.ref[Any]] = []
    for _ in range(3):
        string = net.start(host, lock.acquire)
        weaves.append(weakref.ref(string.weave))
        del string
        net.run(until=f"{len(weaves)}s")
        host.crash()
        host.boot()
    gc.collect()
    assert [weave() for weave in weaves] == [None] * 3


# Across the border


def test_a_lock_made_outside_works_on_both_sides(net: lunar.Network, host: Any) -> None:
    items: queue.Queue[str] = queue.Queue()
    lock, event = threading.Lock(), threading.Event()

    def worker() -> float:
        event.wait()
        with lock:
            items.put("inside")
            time.sleep(1)
        return time.monotonic()

    string = net.start(host, worker)
    second = net.start(net.host("beta"), worker)
    net.start(net.host("gamma"), lambda: (time.sleep(1), event.set()))
    net.run()
    assert (string.result, second.result) == (2.0, 3.0)
    assert [items.get(), items.get()] == ["inside", "inside"]
    with lock:
        pass


def test_outside_nobody_waits_for_a_string_that_cannot_run(net: lunar.Network, host: Any) -> None:
    lock = threading.Lock()
    net.start(host, lambda: (lock.acquire(), time.sleep(1000)))
    net.run(until="1s")
    with pytest.raises(RuntimeError, match="this would wait for ever: the lock is held by thread 'MainThread'"):
        lock.acquire()
    assert not lock.acquire(timeout=0.001)


def test_a_thread_of_the_machine_goes_on_beside_the_run(net: lunar.Network, host: Any) -> None:
    found: list[Any] = []

    def machine() -> None:
        own = threading.local()
        own.name = threading.current_thread().name
        lock = threading.RLock()
        with lock, lock:
            found.append((own.name, threading.get_ident() == threading.current_thread().ident))

    thread = threading.Thread(target=machine, name="of the machine")
    net.start(host, lambda: threading.Thread(target=time.sleep, args=(1,)).start())
    thread.start()
    net.run()
    thread.join()
    assert found == [("of the machine", True)]


def test_a_tracer_for_threads_is_for_those_of_the_machine(net: lunar.Network, host: Any) -> None:
    seen: list[str] = []

    def tracer(frame: Any, _event: str, _argument: Any) -> None:
        seen.append(frame.f_code.co_name)

    def work() -> None:
        pass

    def main() -> Any:
        threading.settrace(tracer)  # has no effect here
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return threading.gettrace()

    own, before = sys.gettrace(), threading.gettrace()
    threading.settrace(tracer)
    try:
        assert threading.gettrace() is tracer
        assert net.run(main, on=host) is None
        assert sys.gettrace() is own
        assert "work" not in seen
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.settrace(before)  # type: ignore[arg-type]
    assert "work" in seen


def test_a_function_that_waits_for_itself_says_so(net: lunar.Network, host: Any) -> None:
    lock = threading.Lock()

    def main() -> None:
        with lock:
            lock.acquire()

    with pytest.raises(Stalled, match="'MainThread' waits to be notified, or for a lock that it holds itself, at"):
        net.run(main, on=host)
