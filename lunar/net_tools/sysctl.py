"""sysctl(8): read and set the parameters that this stack obeys. One that it does not obey is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunar.net_tools.errors import CommandError, parsed

if TYPE_CHECKING:
    from lunar.host import Host

# name -> (smallest, largest)
_PARAMETERS: Final = {
    "net.ipv4.ip_forward": (0, 1),
    "net.ipv4.ip_default_ttl": (1, 255),
}


def run(host: Host, words: list[str]) -> str:
    """`sysctl -a`, `sysctl [-n] NAME`, `sysctl [-w] [-n] [-q] NAME=VALUE`; several at once."""
    if words == ["-a"]:
        return "".join(f"{name} = {_get(host, name)}\n" for name in sorted(_PARAMETERS))
    options: set[str] = set()
    while words and words[0] in ("-w", "-n", "-q"):
        options.add(words[0])
        words = words[1:]
    if not words:
        raise CommandError("sysctl: a parameter is missing; expected NAME or NAME=VALUE")
    if len(words) == 3 and words[1] == "=":
        words = ["".join(words)]
    parameters: list[tuple[str, int | None]] = []
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip().replace("/", ".")
        if name not in _PARAMETERS:
            known = ", ".join(sorted(_PARAMETERS))
            raise CommandError(f'sysctl: this stack does not obey "{name}"; expected one of {known}')
        if "-w" in options and not equals:
            raise CommandError(f"sysctl: -w {word}: expected NAME=VALUE")
        parameters.append((name, _value(name, value.strip()) if equals else None))
    # All words are good: only now does anything change.
    printed = ""
    for name, number in parameters:
        if number is not None:
            _set(host, name, number)
            if "-q" in options:
                continue
        printed += f"{_get(host, name)}\n" if "-n" in options else f"{name} = {_get(host, name)}\n"
    return printed


def _get(host: Host, name: str) -> int:
    return int(host.ip.forwarding) if name == "net.ipv4.ip_forward" else int(host.ip.default_ttl)


def _value(name: str, text: str) -> int:
    smallest, largest = _PARAMETERS[name]
    value = parsed(int, text, "an integer")
    if not smallest <= value <= largest:
        raise CommandError(f"sysctl: {name}={text}: expected {smallest} to {largest}")
    return value


def _set(host: Host, name: str, value: int) -> None:
    if name == "net.ipv4.ip_forward":
        host.ip.forwarding = value == 1
    else:
        host.ip.default_ttl = value
