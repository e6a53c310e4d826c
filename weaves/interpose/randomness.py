"""Chance inside a weave: its own generators, which begin from the run's seed.

`random` draws from the weave's generator. What the kernel gives (`os.urandom`, and by it `secrets`, `SystemRandom` and
`uuid4`) comes from another one, because a program may seed `random`, on every host with the same number. What OpenSSL
draws by itself, for keys and handshakes, stays OpenSSL's.
"""

from __future__ import annotations

import os
import random
import ssl
import tempfile
import types
from collections.abc import Callable
from typing import Any

from weaves.here import here
from weaves.interpose.replace import Replacements

# The machine's own, for the parts of this package that must not be interposed.
real_urandom = os.urandom


def install(replacements: Replacements) -> None:
    """Interpose `random`, `os.urandom`, `os.getrandom`, what `ssl` gives of it, and the names of temporary files."""
    replacements.put_all_c(random, _random_functions())
    # `random` has captured it, for SystemRandom, from which `secrets` draws.
    replacements.put_c(os, "urandom", _urandom)
    replacements.put_c(os, "getrandom", _getrandom())
    replacements.put_all_c(ssl, _ssl_functions())
    replacements.put(tempfile, "_get_candidate_names", _candidate_names())
    replacements.put(tempfile, "_gettempdir", _temporary_folder())
    _install_random_seed()


def _random_functions() -> dict[str, Callable[..., Any]]:
    """The functions of `random`, which are methods of one hidden generator; inside a weave, of the weave's."""
    hidden = random._inst

    def wrap(name: str) -> Callable[..., Any]:
        real = getattr(random, name)

        def drawn(_stand: object, *args: Any, **kwargs: Any) -> Any:
            weave = here.weave
            if weave is None:
                return real(*args, **kwargs)
            return getattr(weave.rng, name)(*args, **kwargs)

        return drawn

    return {
        name: wrap(name)
        for name in random.__all__
        if isinstance(getattr(random, name), (types.MethodType, types.BuiltinMethodType))
        and getattr(getattr(random, name), "__self__", None) is hidden
    }


def _urandom(_stand: object, size: int, /) -> bytes:
    weave = here.weave
    return real_urandom(size) if weave is None else weave.entropy.randbytes(size)


def _getrandom() -> Callable[..., bytes]:
    real = getattr(os, "getrandom", None)

    def getrandom(_stand: object, size: int, flags: int = 0) -> bytes:
        weave = here.weave
        if weave is None:
            assert real is not None, "there is no stand-in for what is not there"
            return bytes(real(size, flags))
        return bytes(weave.entropy.randbytes(size))

    return getrandom


def _ssl_functions() -> dict[str, Callable[..., Any]]:
    real_bytes, real_add, real_status = ssl.RAND_bytes, ssl.RAND_add, ssl.RAND_status

    def rand_bytes(_stand: object, n: int, /) -> bytes:
        weave = here.weave
        return real_bytes(n) if weave is None else weave.entropy.randbytes(n)

    def rand_add(_stand: object, string: Any, entropy: float, /) -> None:
        if here.weave is None:
            real_add(string, entropy)

    def rand_status(_stand: object) -> bool:
        return here.weave is not None or real_status()

    return {"RAND_bytes": rand_bytes, "RAND_add": rand_add, "RAND_status": rand_status}


def _candidate_names() -> Callable[[], Any]:
    module: Any = tempfile
    real = module._get_candidate_names

    def get_candidate_names() -> Any:
        """The names that `tempfile` tries, drawn by one object for all of the process; inside a weave, by its own."""
        weave = here.weave
        if weave is None:
            return real()
        process = weave.process
        if process.temporary_names is None:
            process.temporary_names = module._RandomNameSequence()
        return process.temporary_names

    return get_candidate_names


def _temporary_folder() -> Callable[[], str]:
    real: Callable[[], str] = tempfile._gettempdir  # type: ignore[attr-defined]

    def gettempdir() -> str:
        """Their folder, which is found once for all of the process: not by the environment of a program."""
        weave, here.weave = here.weave, None
        try:
            return real()
        finally:
            here.weave = weave

    return gettempdir


def _install_random_seed() -> None:
    """Let `random.Random()` and `random.seed()` inside a weave begin from its entropy, not from the machine's."""
    machine_seed = random.Random.seed

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None and here.weave is not None:
            a = int.from_bytes(os.urandom(32), "big")
        machine_seed(self, a, version)

    seed.__doc__ = machine_seed.__doc__
    random.Random.seed = seed  # type: ignore[method-assign]
