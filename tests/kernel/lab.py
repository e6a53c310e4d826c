"""A network in real time beside a namespace of the machine's kernel, whose programs run with it."""

from __future__ import annotations

import os
import shutil
from typing import Any, Self

import pytest

import lunar
from lunar.kernel.namespace import KernelUnavailable, Namespace
from lunar.kernel.tun import IFF_TAP, TunDevice
from lunar.outside.kernel import Kernel, KernelProgram

# Guards against a hang alone; nothing is measured by it.
PATIENCE = "60s"


def why_not(*programs: str) -> str:
    """Why this machine has no namespaces or no TAP devices for us, or lacks a program; empty if it has all."""
    for program in ("ip", *programs):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        TunDevice(Namespace(), "tap0", IFF_TAP).close()
    except KernelUnavailable as error:
        return str(error)
    return ""


def needs(*programs: str) -> pytest.MarkDecorator:
    reason = why_not(*programs)
    return pytest.mark.skipif(bool(reason), reason=reason)


class Lab:
    """`net`, and the kernel in `namespace`. What its programs print is in `said`, and what befell its devices."""

    def __init__(self, **options: Any) -> None:
        self.net = lunar.Network(seed=1, clock="real", **options)
        self.namespace = Namespace()
        self.kernel: Kernel = self.net.kernel("lab", netns=self.namespace)
        self.said: list[str] = []
        self.net.supervisor.trace.subscribe_changes(lambda _time, name, what: self.said.append(f"{name}: {what}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.net.close()
        self.namespace.close()

    def does(self, *commands: str) -> list[KernelProgram]:
        """Run the commands one after another, each when the one before it has ended well, until all have."""
        started = [self.kernel.start(f"timeout {PATIENCE} sh -c '{' && '.join(commands)}'")]
        self.net.run()
        return started

    def has_done(self, *commands: str) -> str:
        """The same, and what they printed; they must all end well."""
        (program,) = self.does(*commands)
        text = "\n".join(self.said)
        assert program.exit_code == 0, text
        return text


def free_name(what: str) -> str:
    """A name for a namespace, or a device of one that others use, too: tests may run beside themselves."""
    return f"{what}-{os.getpid()}"
