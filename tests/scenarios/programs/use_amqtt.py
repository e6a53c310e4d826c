"""amqtt and aiomqtt: a broker, sensors that publish with each quality of service, a large retained message over TLS.

    use_amqtt.py server
    use_amqtt.py client SERVER
"""

import asyncio
import hashlib
import pathlib
import random
import ssl
import sys

import aiomqtt
from amqtt.broker import Broker

TLS = pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls"
SENSORS = 3
MESSAGES = 10


async def server():
    broker = Broker(
        {
            "listeners": {
                "default": {"type": "tcp", "bind": "0.0.0.0:1883"},
                "secure": {
                    "type": "tcp",
                    "bind": "0.0.0.0:8883",
                    "ssl": True,
                    "certfile": str(TLS / "server.pem"),
                    "keyfile": str(TLS / "server.pem"),
                },
            },
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    await asyncio.Event().wait()


async def sensor(host, number):
    async with aiomqtt.Client(host, identifier=f"sensor-{number}") as client:
        for count in range(MESSAGES):
            await client.publish(f"rooms/{number}/temperature", f"{number}:{count}", qos=number % 3)
            await asyncio.sleep(0.05)


async def listener(host, ready):
    heard = {number: [] for number in range(SENSORS)}
    async with aiomqtt.Client(host, identifier="listener") as client:
        await client.subscribe("rooms/+/temperature", qos=2)
        ready.set()
        async for message in client.messages:
            number, count = message.payload.decode().split(":")
            assert message.topic.matches(f"rooms/{number}/temperature")
            heard[int(number)].append(int(count))
            if sum(map(len, heard.values())) == SENSORS * MESSAGES:
                break
    assert heard == {number: list(range(MESSAGES)) for number in range(SENSORS)}, heard
    return sum(map(len, heard.values()))


async def picture(host):
    """A large retained message, for one who comes later."""
    data = random.randbytes(150_000)
    context = ssl.create_default_context(cafile=TLS / "authority.pem")
    async with aiomqtt.Client(host, 8883, identifier="camera", tls_context=context) as client:
        await client.publish("pictures/last", data, qos=1, retain=True)
    async with aiomqtt.Client(host, 8883, identifier="screen", tls_context=context) as client:
        await client.subscribe("pictures/#")
        message = await anext(client.messages)
    assert message.retain
    assert hashlib.sha256(message.payload).digest() == hashlib.sha256(data).digest()
    return len(data)


async def client(host):
    ready = asyncio.Event()
    listening = asyncio.create_task(listener(host, ready))
    await ready.wait()
    await asyncio.gather(*(sensor(host, number) for number in range(SENSORS)))
    heard = await asyncio.wait_for(listening, 60)
    size = await picture(host)
    print(f"heard {heard} of {SENSORS} sensors, retained {size} bytes")


if __name__ == "__main__":
    asyncio.run(server() if sys.argv[1] == "server" else client(sys.argv[2]))
