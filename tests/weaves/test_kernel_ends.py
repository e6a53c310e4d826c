"""The machine's kernel in a tapestry: what tapN and [kernels.NAME] say, and what is refused."""

from __future__ import annotations

import pytest

from weaves.tapestry import parse
from weaves.tapestry_errors import TapestryError

LEFT = '[kernels.left]\neth0 = "10.0.0.1/24"\n'
RIGHT = '[kernels.right]\neth0 = "10.0.0.2/24"\n'
LINK = '[[links]]\nends = ["left", "right.eth0"]\n'


def test_a_kernel_is_an_end_of_links() -> None:
    table = 'netns = "lab"\nnet = """\nip route add default via 10.0.0.2\n# no comment\n"""\nrun = ["a b", "c"]\n'
    described = parse(f'{LEFT}{table}background = "d"\n{RIGHT}{LINK}rate = "1mbit"\n', "site.toml")
    left, right = described.kernels
    assert (left.name, left.netns, right.netns) == ("left", "lab", None)
    assert [line.text for line in left.net] == ["ip route add default via 10.0.0.2"]
    assert [line.text for line in left.run] == ["a b", "c"]
    assert [line.text for line in left.background] == ["d"]
    assert left.devices[0].addresses == ((0x0A00_0001, 24),)
    (link,) = described.links
    assert link.ends == (("left", "eth0"), ("right", "eth0"))


def test_a_text_or_an_array_is_short_for_the_addresses_of_a_tap() -> None:
    for value in ('"10.9.0.1/24"', '["10.9.0.1/24"]', '{ address = "10.9.0.1/24" }'):
        (host,) = parse(f"[hosts.a]\ntap0 = {value}\n", "site.toml").hosts
        (tap,) = host.taps
        assert (tap.addresses, tap.kernel) == (((0x0A09_0001, 24),), ())


MISTAKES = [
    ("[hosts.a]\ntap0 = {}", "2: [hosts.a] tap0: tap0 has no address; expected an IPv4 address with a prefix length"),
    ("[hosts.a]\ntap0 = 7", "2: [hosts.a] tap0: 7 is an integer; expected an address such as"),
    ('[hosts.a]\ntap0 = "10.9.0.300/24"', "2: [hosts.a] tap0: 10.9.0.300/24"),
    ('[hosts.a]\ntap0 = "auto"', '2: [hosts.a] tap0: tap0 cannot have "auto"; expected an IPv4 address'),
    ('[hosts.a]\ntap0 = { address = "10.9.0.1/8", knl = "" }', "2: [hosts.a] tap0.knl: unknown key; did you mean"),
    (
        '[hosts.a]\ntap0 = { address = "10.9.0.1/24", kernel = "10.8.0.2/24" }',
        "2: [hosts.a] tap0: 10.9.0.1/24 of a.tap0 is in no network of this link; expected an address in 10.8.0.0/24",
    ),
    (
        '[hosts.a]\ntap0 = { address = "10.9.0.1/24", device = "a-long-device-name" }',
        '2: [hosts.a] tap0.device: "a-long-device-name" is not a name for a device of the kernel; ',
    ),
    (
        '[hosts.a]\ntap0 = { address = "10.9.0.1/24", netns = "a/b" }',
        '2: [hosts.a] tap0.netns: "a/b" is not the name of a network namespace',
    ),
    (
        '[hosts.a]\ncount = 2\ntap0 = "10.9.0.{i+1}/24"',
        "3: [hosts.a] tap0: a-0.tap0 and a-1.tap0 both lead to the device tap0 of the machine; expected",
    ),
    (
        f'[hosts.a]\ntap0 = "10.9.0.1/24"\neth0 = "10.0.0.9/24"\n{RIGHT}[[links]]\nends = ["a.tap0", "right"]',
        "7: [[links]] ends[0]: a.tap0 leads to the machine's kernel already; expected an ethN",
    ),
    (f"{LEFT}tap0 = 1", "3: [kernels.left] tap0: unknown key; expected one of"),
    ('[kernels.left]\neth0 = "auto"', '2: [kernels.left] eth0: a kernel cannot have "auto" here'),
    (f'{LEFT}netns = ""', '3: [kernels.left] netns: "" is not the name of a network namespace'),
    (f"{LEFT}run = \"echo 'a\"", "3: [kernels.left] run: \"echo 'a\": No closing quotation; expected a command"),
    (f'[hosts.left]\neth0 = "10.0.0.3/24"\n{LEFT}', '3: [kernels.left]: a host has the name "left" already, in line 1'),
    (f'{LEFT}{RIGHT}[[links]]\nends = ["left", "right.eth1"]', "6: [[links]] ends[1]: right has no eth1"),
    (f'{LEFT}[kernels.right]\neth0 = "10.1.0.2/24"\n{LINK}', "is in no network of this link"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES, ids=[str(number) for number in range(len(MISTAKES))])
def test_a_mistake_has_its_place(text: str, message: str) -> None:
    with pytest.raises(TapestryError) as caught:
        parse(text + "\n", "site.toml")
    assert message in str(caught.value)
