"""Write the table in sysctl.md: `python docs/make_sysctl.py`. All of it comes from the code (lunar/parameters)."""

from __future__ import annotations

from pathlib import Path

import lunar
from lunar.parameters import device, table
from lunar.parameters.parameter import WRITE_ONLY

PAGE = Path(__file__).parent / "sysctl.md"
BEGIN = "<!-- made by make_sysctl.py -->\n"
END = "<!-- end -->\n"

def rows() -> str:
    """A row for each parameter; those of a device have DEV in their name."""
    net = lunar.Network(seed=0)
    host = net.host("host", "10.0.0.1/24")
    found = [(name, name, parameter) for name, parameter in table.PARAMETERS.items()]
    for tree, of_devices in device.ROWS.items():
        found += [(f"{tree}.DEV.{name}", f"{tree}.eth0.{name}", row.of("eth0")) for name, row in of_devices.items()]
    lines = ["| parameter | default | range | effect |", "| --- | --- | --- | --- |"]
    for name, of_host, parameter in sorted(found, key=lambda row: row[0]):
        default = "none" if parameter.mode == WRITE_ONLY else " ".join(host.sh(f"sysctl -n {of_host}").split())
        if name == "net.ipv4.tcp_fastopen_key":
            default = "drawn"
        lines.append(f"| `{name}` | {default} | {parameter.bounds} | {parameter.effect} |")
    return "\n".join(lines) + "\n"


def renewed(text: str) -> str:
    """sysctl.md with the table of today."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{rows()}\n{END}{after}"


def main() -> None:
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
