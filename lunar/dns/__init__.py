"""A name server to put into a network: authoritative for zones, and a cache before other servers.

    strings = [{ run = "python -m lunar.dns --zone example.org=zones/example.org --forward 10.0.0.53" }]
    strings = [{ call = "lunar.dns.server:serve", kwargs = { zones = { "example.org" = { www = "10.0.0.2" } } } }]

zones.py knows the answers of its own zones, cache.py those that it has heard, upstream.py asks others for the rest;
server.py is UDP and TCP around them. It is an ordinary asyncio program on a host's sockets; messages are dnspython's.
"""
