"""`random` and `os.urandom` inside a weave: from its own generators, which begin from the run's seed."""

from __future__ import annotations

import os
import random
import types
from collections.abc import Callable
from typing import Any

from weaves.here import here
from weaves.interpose.replace import Replacements

# The machine's own, for the parts of this package that must not be interposed.
real_urandom = os.urandom


def install(replacements: Replacements) -> None:
    """Interpose `random` and `os.urandom`."""
    replacements.put_all(random, _random_wrappers())
    replacements.put(os, "urandom", _urandom)
    _install_random_seed()


def _random_wrappers() -> dict[str, Callable[..., Any]]:
    """The functions of `random`, which are methods of one hidden generator; inside a weave, of the weave's."""
    hidden = random._inst

    def wrap(name: str) -> Callable[..., Any]:
        real = getattr(random, name)

        def drawn(*args: Any, **kwargs: Any) -> Any:
            weave = here.weave
            if weave is None:
                return real(*args, **kwargs)
            return getattr(weave.rng, name)(*args, **kwargs)

        drawn.__name__ = drawn.__qualname__ = name
        drawn.__module__ = "random"
        drawn.__doc__ = real.__doc__
        return drawn

    wrappers = {
        name: wrap(name)
        for name in random.__all__
        if isinstance(getattr(random, name), (types.MethodType, types.BuiltinMethodType))
        and getattr(getattr(random, name), "__self__", None) is hidden
    }
    # SystemRandom, and `secrets` by it, draws from this name.
    wrappers["_urandom"] = _urandom
    return wrappers


def _urandom(size: int, /) -> bytes:
    weave = here.weave
    return real_urandom(size) if weave is None else weave.entropy.randbytes(size)


def _install_random_seed() -> None:
    """Let `random.Random()` and `random.seed()` inside a weave begin from its entropy, not from the machine's."""
    machine_seed = random.Random.seed

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None and here.weave is not None:
            a = int.from_bytes(_urandom(32), "big")
        machine_seed(self, a, version)

    seed.__doc__ = machine_seed.__doc__
    random.Random.seed = seed  # type: ignore[method-assign]
