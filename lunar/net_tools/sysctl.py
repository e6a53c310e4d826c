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
    "net.ipv4.ping_group_range": (0, 2**31 - 1),
    "net.ipv4.tcp_stdurg": (0, 1),
}
# How many integers those have that have not one.
_COUNTS: Final = {"net.ipv4.ping_group_range": 2}


def run(host: Host, words: list[str]) -> str:
    """`sysctl -a`, `sysctl [-n] NAME`, `sysctl [-w] [-n] [-q] NAME=VALUE`; several at once."""
    if words == ["-a"]:
        return "".join(f"{name} = {_shown(host, name)}\n" for name in sorted(_PARAMETERS))
    options: set[str] = set()
    while words and words[0] in ("-w", "-n", "-q"):
        options.add(words[0])
        words = words[1:]
    if not words:
        raise CommandError("sysctl: a parameter is missing; expected NAME or NAME=VALUE")
    if len(words) == 3 and words[1] == "=":
        words = ["".join(words)]
    parameters: list[tuple[str, list[int] | None]] = []
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip().replace("/", ".")
        if name not in _PARAMETERS:
            known = ", ".join(sorted(_PARAMETERS))
            raise CommandError(f'sysctl: this stack does not obey "{name}"; expected one of {known}')
        if "-w" in options and not equals:
            raise CommandError(f"sysctl: -w {word}: expected NAME=VALUE")
        parameters.append((name, _values(name, value) if equals else None))
    # All words are good: only now does anything change.
    printed = ""
    for name, numbers in parameters:
        if numbers is not None:
            _set(host, name, numbers)
            if "-q" in options:
                continue
        printed += f"{_shown(host, name)}\n" if "-n" in options else f"{name} = {_shown(host, name)}\n"
    return printed


def _shown(host: Host, name: str) -> str:
    return "\t".join(str(int(number)) for number in _get(host, name))


def _values(name: str, text: str) -> list[int]:
    smallest, largest = _PARAMETERS[name]
    count = _COUNTS.get(name, 1)
    words = text.split() or [""]
    if len(words) != count:
        wanted = "an integer" if count == 1 else f"{count} integers"
        raise CommandError(f"sysctl: {name}={text.strip()}: expected {wanted}")
    values = [parsed(int, word, "an integer") for word in words]
    for value, word in zip(values, words, strict=True):
        if not smallest <= value <= largest:
            raise CommandError(f"sysctl: {name}={word}: expected {smallest} to {largest}")
    return values


def _get(host: Host, name: str) -> tuple[int, ...]:
    ip = host.ip
    if name == "net.ipv4.ip_forward":
        return (ip.forwarding,)
    if name == "net.ipv4.ping_group_range":
        return int(ip.ping_group_first), int(ip.ping_group_last)
    if name == "net.ipv4.tcp_stdurg":
        return (ip.tcp_stdurg,)
    return (int(ip.default_ttl),)


def _set(host: Host, name: str, values: list[int]) -> None:
    ip = host.ip
    if name == "net.ipv4.ip_forward":
        ip.forwarding = values[0] == 1
    elif name == "net.ipv4.ping_group_range":
        # Linux keeps its "nobody" for a range that is none.
        ip.ping_group_first, ip.ping_group_last = values if values[0] <= values[1] else (1, 0)
    elif name == "net.ipv4.tcp_stdurg":
        ip.tcp_stdurg = values[0] == 1
    else:
        ip.default_ttl = values[0]


def read(host: Host, name: str) -> tuple[int, ...]:
    """The value of a parameter, of a few parameters several. Raises `LookupError` for one that is not obeyed here."""
    if name not in _PARAMETERS:
        raise LookupError(name)
    return tuple(map(int, _get(host, name)))


def write(host: Host, name: str, values: tuple[int, ...]) -> None:
    """Set a parameter. Raises `LookupError`, and `ValueError` for a value that it cannot have."""
    if name not in _PARAMETERS:
        raise LookupError(name)
    try:
        _set(host, name, _values(name, " ".join(map(str, values))))
    except CommandError as refused:
        raise ValueError(str(refused)) from None
