"""Sending signals, timers, masks and waiting inside a weave; handlers are in ../test_signals.py."""

from __future__ import annotations

import errno
import os
import signal
import textwrap
import time
from typing import Any

import pytest
from lonely_hosts import Programs, World


@pytest.mark.parametrize(
    "send",
    [
        lambda: signal.raise_signal(signal.SIGUSR1),
        lambda: os.kill(os.getpid(), signal.SIGUSR1),
        lambda: os.kill(0, signal.SIGUSR1),
        lambda: os.killpg(os.getpgrp(), signal.SIGUSR1),
    ],
    ids=["raise_signal", "kill", "kill of the group", "killpg"],
)
def test_a_handler_has_run_when_a_signal_to_oneself_was_sent(world: World, send: Any) -> None:
    before = signal.getsignal(signal.SIGUSR1)

    def main() -> list[Any]:
        seen: list[Any] = []
        signal.signal(signal.SIGUSR1, lambda signum, frame: seen.append((signum, frame is not None)))
        send()
        return seen

    assert world.run(main) == [(signal.SIGUSR1, True)]
    assert signal.getsignal(signal.SIGUSR1) is before


def test_what_a_handler_raises_comes_out_of_the_call(world: World) -> None:
    def main() -> str:
        def handler(*_args: Any) -> None:
            raise LookupError("from the handler")

        signal.signal(signal.SIGUSR1, handler)
        try:
            signal.raise_signal(signal.SIGUSR1)
        except LookupError as error:
            return str(error)
        return "nothing"

    assert world.run(main) == "from the handler"


@pytest.mark.parametrize("send", ["signal.raise_signal(signal.SIGINT)", "_thread.interrupt_main()"])
def test_ctrl_c_to_oneself_is_a_keyboard_interrupt(programs: Programs, send: str) -> None:
    source = f"""
        import _thread, signal
        try:
            {send}
        except KeyboardInterrupt:
            print("caught")
        """
    assert programs(textwrap.dedent(source)) == ["caught"]


SENDS = """
import os, signal, time
time.sleep(1)
os.kill(2, 0)                                  # it is there
os.kill(2, signal.SIGUSR1)
try:
    os.kill(77, signal.SIGUSR1)
except ProcessLookupError as error:
    print(error.errno)
os.kill(1, signal.SIGTERM)                     # init has no handler, and stays
"""
RECEIVES = """
import os, signal, time
def handler(signum, frame):
    print("got", signal.Signals(signum).name, time.monotonic())
signal.signal(signal.SIGUSR1, handler)
signal.pause()
print("goes on", time.monotonic())
"""


def test_kill_reaches_the_other_programs_of_the_host_and_no_other(tmp_path: Any, capsys: Any) -> None:
    from weaves.loader import load

    (tmp_path / "sends.py").write_text(SENDS)
    (tmp_path / "receives.py").write_text(RECEIVES)
    (tmp_path / "sleeps.py").write_text("import time\ntime.sleep(3)\nprint('slept')\n")
    (tmp_path / "site.toml").write_text(
        '[hosts.a]\nstrings = [{ run = "receives.py" }, { run = "sends.py" }]\n'
        '[hosts.b]\nstrings = [{ run = "sleeps.py" }]\n'  # it is number 2 of its host as well
    )
    tapestry = load(tmp_path / "site.toml")
    tapestry.run_blocking()
    assert tapestry.ok
    tapestry.close()
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines[:3]) == [str(errno.ESRCH), "goes on 1.0", "got SIGUSR1 1.0"]
    assert lines[3:] == ["slept"]


def test_a_program_whose_default_is_to_end_ends_there(programs: Programs) -> None:
    source = "import signal\nprint('here')\nsignal.raise_signal(signal.SIGHUP)\nprint('never')\n"
    assert programs(source) == ["here"]


def test_signals_that_do_nothing_by_default(world: World) -> None:
    assert world.run(lambda: [signal.raise_signal(signal.SIGCHLD), os.kill(os.getpid(), signal.SIGCONT)]) == [None] * 2


def test_a_number_that_no_signal_has(world: World) -> None:
    with pytest.raises(OSError, match="Invalid argument") as raised:
        world.run(lambda: os.kill(os.getpid(), 1000))
    assert raised.value.errno == errno.EINVAL


# Timers


def test_an_alarm_comes_at_its_virtual_time(programs: Programs) -> None:
    source = """
        import signal, time
        signal.signal(signal.SIGALRM, lambda *_: print("alarm", time.monotonic()))
        print(signal.alarm(5))
        time.sleep(1.5)
        print(signal.alarm(2), signal.getitimer(signal.ITIMER_REAL))
        signal.pause()
        print(signal.alarm(0), signal.getitimer(signal.ITIMER_REAL))
        """
    assert programs(textwrap.dedent(source)) == ["0", "4 (2.0, 0.0)", "alarm 3.5", "0 (0.0, 0.0)"]


def test_an_interval_repeats_until_it_is_cleared(programs: Programs) -> None:
    source = """
        import signal, time
        times = []
        signal.signal(signal.SIGALRM, lambda *_: times.append(time.monotonic()))
        signal.setitimer(signal.ITIMER_REAL, 0.5, 2)
        for _ in range(3):
            signal.pause()
        print(signal.setitimer(signal.ITIMER_REAL, 0), times)
        time.sleep(9)
        print(len(times))
        """
    assert programs(textwrap.dedent(source)) == ["(2.0, 2.0) [0.5, 2.5, 4.5]", "3"]


def test_an_alarm_without_a_handler_ends_the_program_and_one_of_an_ended_program_nobody(programs: Programs) -> None:
    ends = "import signal, time\nsignal.alarm(1)\ntime.sleep(9)\nprint('never')\n"
    leaves = "import signal\nsignal.alarm(1)\nprint('left')\n"
    assert programs(ends, leaves) == ["left"]


def test_timers_of_the_processor_never_expire(world: World) -> None:
    def main() -> Any:
        signal.setitimer(signal.ITIMER_VIRTUAL, 1)
        return signal.setitimer(signal.ITIMER_PROF, 1), signal.getitimer(signal.ITIMER_PROF)

    before = signal.getitimer(signal.ITIMER_VIRTUAL)
    assert world.run(main) == ((0.0, 0.0), (0.0, 0.0))
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == before
    with pytest.raises(signal.ItimerError):
        world.run(lambda: signal.setitimer(signal.ITIMER_REAL, -1))


# Masks and waiting


def test_a_blocked_signal_waits(world: World) -> None:
    def main() -> list[Any]:
        seen: list[Any] = []
        signal.signal(signal.SIGUSR1, lambda signum, _frame: seen.append(signum))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGKILL])
        signal.raise_signal(signal.SIGUSR1)
        answers = [before, list(seen), signal.sigpending(), signal.pthread_sigmask(signal.SIG_BLOCK, [])]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        time.sleep(0)
        return [*answers, list(seen), signal.sigpending()]

    one = {signal.SIGUSR1}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert world.run(main) == [set(), [], one, one, [signal.SIGUSR1], set()]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_a_handler_has_run_when_its_signal_was_unblocked(world: World) -> None:
    def main() -> list[Any]:
        seen: list[Any] = []

        def handler(signum: int, _frame: Any) -> None:
            seen.append(signum)
            if len(seen) == 3:
                raise LookupError

        signal.signal(signal.SIGUSR1, handler)
        for _ in range(2):
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
            signal.raise_signal(signal.SIGUSR1)
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, [])
                seen.append("unblocked")
            except LookupError:
                seen.append("raised")
        return seen

    assert world.run(main) == [signal.SIGUSR1, "unblocked", signal.SIGUSR1, "raised"]


def test_a_thread_sets_no_handlers(programs: Programs) -> None:
    source = """
        import signal, threading
        def thread():
            for call in (lambda: signal.signal(signal.SIGUSR1, print), lambda: signal.set_wakeup_fd(-1)):
                try:
                    call()
                except ValueError as error:
                    print(error)
        one = threading.Thread(target=thread)
        one.start()
        one.join()
        """
    assert programs(textwrap.dedent(source)) == [
        "signal only works in main thread of the main interpreter",
        "set_wakeup_fd only works in main thread of the main interpreter",
    ]


def test_sigwait_takes_a_signal_that_is_not_blocked(programs: Programs) -> None:
    source = """
        import os, signal, threading, time
        def kill_later():
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGUSR1)
        threading.Thread(target=kill_later).start()
        print(signal.sigwait([signal.SIGUSR1]).name, time.monotonic())
        """
    assert programs(textwrap.dedent(source)) == ["SIGUSR1 1.0"]


def test_sigwait_takes_what_comes(programs: Programs) -> None:
    source = """
        import signal, time
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGUSR1])
        signal.alarm(3)
        print(signal.sigtimedwait([signal.SIGALRM], 1), time.monotonic())
        print(signal.sigwait([signal.SIGALRM, signal.SIGUSR1]).name, time.monotonic())
        signal.raise_signal(signal.SIGUSR1)
        print(signal.sigwaitinfo([signal.SIGUSR1]).si_signo == signal.SIGUSR1)
        """
    assert programs(textwrap.dedent(source)) == ["None 1.0", "SIGALRM 3.0", "True"]


def test_outside_signals_are_the_machines_at_the_same_moment(world: World, outside: Any) -> None:
    def main() -> Any:
        signal.alarm(60)
        return signal.getitimer(signal.ITIMER_REAL), outside(lambda: signal.getitimer(signal.ITIMER_REAL))

    assert world.run(main) == ((60.0, 0.0), (0.0, 0.0))
