"""Gossip: the first node has news; each that hears it tells three others, until it has heard it often enough."""

import asyncio
import random


class Gossip(asyncio.DatagramProtocol):
    def __init__(self, enough):
        self.heard = asyncio.Queue()
        self.enough = asyncio.get_running_loop().create_future()
        self.left = enough

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.left -= 1
        self.heard.put_nowait((int(data), address))
        if self.left == 0:
            self.enough.set_result(None)


async def tell(gossip, count):
    while True:
        try:
            # Not wait_for, which takes other turns in Python 3.11 than later.
            async with asyncio.timeout(random.uniform(1, 2)):
                hops, _address = await gossip.heard.get()
        except TimeoutError:
            hops = 0
        for peer in random.sample(range(count), 3):
            gossip.transport.sendto(b"%d" % (hops + 1), (f"10.0.0.{peer + 1}", 5000))
            await asyncio.sleep(random.uniform(0, 0.05))


async def gossip(index, count):
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: Gossip(20), local_addr=("0.0.0.0", 5000))
    if index == "0":
        protocol.heard.put_nowait((0, None))
    tellers = [asyncio.create_task(tell(protocol, count)) for _ in range(2)]
    await asyncio.wait([protocol.enough, *tellers], return_when=asyncio.FIRST_COMPLETED)
    for teller in tellers:
        teller.cancel()
    await asyncio.gather(*tellers, return_exceptions=True)
    transport.close()
