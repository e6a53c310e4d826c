"""The files of /proc/net, by their names: the tables of the stack as Linux shows them (proc_net(5)).

Programs read them by `open` (lunar/host_files/proc.py). Each is made when it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lunar.net_tools import conntrack_text

if TYPE_CHECKING:
    from lunar.host import Host

FILES: Final[dict[str, Callable[[Host], str]]] = {
    "nf_conntrack": conntrack_text.proc_file,
}
