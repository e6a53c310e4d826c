"""Kernels of the machine, as far as no namespace is needed for it."""

from __future__ import annotations

import pytest

import lunar


def test_a_program_of_the_run_is_not_told_what_a_kernel_says() -> None:
    with lunar.Network() as net:
        host = net.host("host", "10.0.0.1/24")
        kernel = net.kernel("kernel", "10.0.0.2/24")
        with pytest.raises(RuntimeError, match="by no gate, and in no replay"):
            net.run(lambda: kernel.command("true"), on=host)
