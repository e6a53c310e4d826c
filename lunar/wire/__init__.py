"""Headers <-> bytes: what the typed packets of lunar/packet.py look like on a real wire.

Inside a run packets travel as objects. Bytes are made only at an edge: a capture, a real link, another process, a test
mode, a fragment. Start at `ethernet.encode` and `ethernet.decode` for frames, at `inet.encode` and `inet.decode` for
packets, which are ipv4.py's or ipv6.py's by the family; what follows their header is transport.py's, by the protocol. A
file for each protocol does its own header, extension.py those between IPv6's and the transport's, checksum.py the sums,
address.py the text forms of addresses.

Nothing here raises for what comes in: a decoder returns a packet, or a `Malformed` (malformed.py) that names the layer
and the reason, for the caller to count. What goes out is ours: a field that does not fit its header is a bug, and an
`assert` or `struct.error` says so. Values are not judged here (an MSS on a segment without SYN, a window scale above
14): the protocols do that, so that they do it for packets that never were bytes too.

Left out: ARP (net/neighbor.py answers without packets), VLAN tags.
"""
