"""dnspython: a name server for one zone, on port 53 of UDP and TCP and on 853, and a resolver that asks it.

    use_dnspython.py server
    use_dnspython.py client SERVER
"""

import asyncio
import pathlib
import random
import socket
import ssl
import sys

import dns.asyncquery
import dns.asyncresolver
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset
import dns.zone

TLS = pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls"
ORIGIN = dns.name.from_text("example.com.")
HOSTS = 1_500
LONG = "".join(random.Random("txt").choices("abcdefghijklmnopqrstuvwxyz", k=3_000))
ZONE = dns.zone.from_text(
    "\n".join(
        [
            "@ 3600 IN SOA ns hostmaster 7 3600 600 86400 60",
            "@ 3600 IN NS ns",
            "@ 3600 IN MX 10 mail",
            "ns 3600 IN A 192.0.2.1",
            "mail 3600 IN A 192.0.2.2",
            "www 60 IN CNAME host-7",
            "slow 60 IN A 192.0.2.3",
            "long 60 IN TXT " + " ".join(f'"{LONG[start : start + 250]}"' for start in range(0, len(LONG), 250)),
            *(f"host-{number} 60 IN A 198.51.{number // 256}.{number % 256}" for number in range(HOSTS)),
        ]
    ),
    origin=ORIGIN,
    relativize=False,
)
asked = 0


def answer(query):
    response = dns.message.make_response(query, our_payload=1232)
    response.flags |= dns.flags.AA
    question = query.question[0]
    name = question.name
    if not name.is_subdomain(ORIGIN):
        response.set_rcode(dns.rcode.REFUSED)
        return response
    alias = ZONE.get_rrset(name, dns.rdatatype.CNAME)
    if alias is not None:
        response.answer.append(alias)
        name = alias[0].target
    found = ZONE.get_rrset(name, question.rdtype)
    if found is not None:
        response.answer.append(found)
    elif ZONE.get_node(name) is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    if not response.answer:
        response.authority.append(ZONE.get_rrset(ORIGIN, dns.rdatatype.SOA))
    return response


class OverUdp(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        global asked
        query = dns.message.from_wire(data)
        if query.question[0].name.labels[0] == b"slow":
            asked += 1
            if asked == 1:
                return  # the resolver has to ask again
        size = query.payload if query.edns >= 0 else 512
        response = answer(query)
        try:
            wire = response.to_wire(max_size=size)
        except dns.exception.TooBig:
            response.answer.clear()
            response.flags |= dns.flags.TC
            wire = response.to_wire(max_size=size)
        self.transport.sendto(wire, address)


async def over_tcp(reader, writer):
    while head := await reader.read(2):
        query = dns.message.from_wire(await reader.readexactly(int.from_bytes(head)))
        if query.question[0].rdtype == dns.rdatatype.AXFR:
            soa = ZONE.get_rrset(ORIGIN, dns.rdatatype.SOA)
            others = [
                dns.rrset.from_rdata_list(name, data.ttl, data)
                for name, data in ZONE.iterate_rdatasets()
                if data.rdtype != dns.rdatatype.SOA
            ]
            sets = [soa, *others, soa]
            responses = []
            for start in range(0, len(sets), 200):
                response = dns.message.make_response(query)
                response.answer.extend(sets[start : start + 200])
                responses.append(response)
        else:
            responses = [answer(query)]
        for response in responses:
            wire = response.to_wire()
            writer.write(len(wire).to_bytes(2) + wire)
            await writer.drain()
    writer.close()


async def serve():
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    await loop.create_datagram_endpoint(OverUdp, local_addr=("0.0.0.0", 53))
    await asyncio.start_server(over_tcp, "0.0.0.0", 53)
    await asyncio.start_server(over_tcp, "0.0.0.0", 853, ssl=context)
    await loop.create_future()


async def ask(server):
    address = socket.gethostbyname(server)
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [address]
    numbers = random.sample(range(HOSTS), 40)
    found = await asyncio.gather(*(resolver.resolve(f"host-{number}.example.com", "A") for number in numbers))
    assert [one[0].address for one in found] == [f"198.51.{n // 256}.{n % 256}" for n in numbers]

    alias = await resolver.resolve("www.example.com", "A")
    assert alias.canonical_name.to_text() == "host-7.example.com."
    assert (await resolver.resolve("example.com", "MX"))[0].exchange.to_text() == "mail.example.com."
    assert (await resolver.resolve("slow.example.com", "A"))[0].address == "192.0.2.3"
    for name, kind, error in (
        ("nowhere.example.com", "A", dns.resolver.NXDOMAIN),
        ("host-1.example.com", "MX", dns.resolver.NoAnswer),
        ("example.org", "A", dns.resolver.NoNameservers),
    ):
        try:
            await resolver.resolve(name, kind)
        except error:
            pass
        else:
            raise AssertionError(f"{name} has an answer")

    # Too long for a datagram: truncated, then asked for over TCP, by the resolver and by hand.
    text = (await resolver.resolve("long.example.com", "TXT"))[0]
    assert b"".join(text.strings).decode() == LONG
    query = dns.message.make_query("long.example.com", "TXT")
    response, by_tcp = await dns.asyncquery.udp_with_fallback(query, address)
    assert by_tcp
    assert response.answer[0][0] == text
    context = ssl.create_default_context(cafile=TLS / "authority.pem")
    response = await dns.asyncquery.tls(query, address, ssl_context=context, server_hostname=server)
    assert response.answer[0][0] == text

    copy = dns.zone.Zone(ORIGIN, relativize=False)
    await dns.asyncquery.inbound_xfr(address, copy)
    assert copy == ZONE, "the transferred zone differs"
    names = len(copy.nodes)
    print(f"{len(numbers)} lookups at once, an alias, {len(LONG)} bytes by TCP and TLS, a zone of {names} names")


if __name__ == "__main__":
    asyncio.run(serve() if sys.argv[1] == "server" else ask(sys.argv[2]))
