"""Commands that take virtual time, as ping does: what they are, and who waits for them.

A tool whose command takes time reads its words at once, so that a mistake is found without a run, and gives a
`Program`. Its `main` is blocking code with sockets of the host: it runs in a string of the host's own weave. Who waits
for it says where the command came from: `Host.sh` outside of a run drives the network until the program has ended;
inside it blocks the string that asks; a `net` line starts it beside the others.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import attrs

from lunar.net_tools.errors import CommandError
from weaves.bridge import current_flow
from weaves.here import here

if TYPE_CHECKING:
    from lunar.host import Host

Write = Callable[[str], None]

# How often who waits for a command of another host looks whether that host is still there: a crash tells nobody.
_LOOK_EVERY_S: Final = 1


@attrs.frozen
class Program:
    """A command that takes time. `main(write)` writes what it prints; it may raise `CommandError`.

    An `endless` one goes on until it is stopped.
    """

    name: str
    main: Callable[[Write], None]
    endless: bool = False


def finish(host: Host, program: Program, write: Write) -> None:
    """Run `program` on `host` until it ends. Raises what it raises, and `CommandError` if its host crashes."""
    if here.weave is None:
        try:
            host.network.run(_called(program, write), on=host)
        except asyncio.CancelledError:
            raise _killed(host, program) from None
        return
    flow = current_flow()
    if flow.weave.host is host:
        program.main(write)
        return
    ended: list[BaseException | None] = []

    def end(_result: object, error: BaseException | None) -> None:
        ended.append(error)
        flow.wake()

    weave = host.weave
    weave.spawn(lambda: program.main(write), end)
    while not ended:
        flow.park_for(_LOOK_EVERY_S * 1_000_000_000)
        if not ended and weave.gone:
            raise CommandError(f"{program.name}: host {host.name} crashed")
    if ended[0] is not None:
        raise ended[0]


async def finish_async(host: Host, program: Program, write: Write) -> None:
    """The same, awaited: inside a string by its loop, outside by a loop of the machine, which gets its turns."""
    if here.weave is None:
        try:
            await host.network.run_async(_called(program, write), on=host)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # it is not the command that was killed, but who waits for it
            raise _killed(host, program) from None
        return
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end(_result: object, error: BaseException | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, ended, error)

    weave = host.weave
    weave.spawn(lambda: program.main(write), end)
    while not (await asyncio.wait([ended], timeout=_LOOK_EVERY_S))[0]:
        if weave.gone:
            raise CommandError(f"{program.name}: host {host.name} crashed")
    ended.result()


def start(host: Host, program: Program) -> None:
    """Let it run beside all else from now on, as a shell's `COMMAND &`; it prints as programs of the host do."""

    def command(write: Write) -> None:
        try:
            program.main(write)
        except CommandError as refused:
            sys.exit(str(refused))  # a program says what is wrong, not where in its code that is

    beside = Program(program.name, command, program.endless)
    host.network.start(host, _called(beside, _print), name=program.name, background=program.endless)


def _killed(host: Host, program: Program) -> CommandError:
    what = f"host {host.name} crashed" if host.state == "down" else "killed"
    return CommandError(f"{program.name}: {what}")


def _called(program: Program, write: Write) -> Callable[[], None]:
    # A function of its own: a string is named after it, and its arguments are none of the program's.
    def command() -> None:
        program.main(write)

    command.__qualname__ = program.name
    return command


def _print(text: str) -> None:
    print(text, end="", flush=True)


def _settle(future: asyncio.Future[Any], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
