"""Programs of the machine reach virtual hosts: a SOCKS5 and HTTP proxy, and forwarded ports. It needs no privileges.

A gateway has two halves. The outside half (gateway.py, client.py, socks.py, http.py ...) has real sockets on the
machine, and parses what its clients say. The inside half (inside.py) is a weave on a virtual host and opens connections
there, as any program of that host does. Between them are messages (messages.py). Those that go in pass a gate
(weaves/outside.py), which stamps each with a virtual time and records it; so a replay needs no client. Those that come
out go to real sockets, and in a replay nowhere.
"""
