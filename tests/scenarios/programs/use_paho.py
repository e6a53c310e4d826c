"""paho-mqtt with its network threads, and amqtt for a broker: each quality of service, keepalive, TLS, a reconnection.

    use_paho.py server
    use_paho.py client SERVER
"""

import asyncio
import hashlib
import pathlib
import queue
import random
import sys
import threading
import time

import paho.mqtt.client as mqtt
import paho.mqtt.publish
import paho.mqtt.subscribe
from amqtt.broker import Broker

TLS = pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls"
SENSORS = 3
MESSAGES = 10
PORT = 1883
SECURE_PORT = 8883


async def server():
    secure = {"ssl": True, "certfile": str(TLS / "server.pem"), "keyfile": str(TLS / "server.pem")}
    broker = Broker(
        {
            "listeners": {
                "default": {"type": "tcp", "bind": f"0.0.0.0:{PORT}"},
                "secure": {"type": "tcp", "bind": f"0.0.0.0:{SECURE_PORT}", **secure},
            },
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    await asyncio.Event().wait()


def new_client(name, **options):
    return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, **options)


class Listener:
    """A client whose callbacks run in its network thread and put what they hear into a queue."""

    def __init__(self, host, name, topic, **connect):
        self.heard = queue.Queue()
        self.subscribed = threading.Event()
        self.disconnected = threading.Event()
        self.threads = set()
        self.topic = topic
        self.client = new_client(name)
        self.client.on_connect = self.on_connect
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = self.on_message
        self.client.on_disconnect = lambda *_: self.disconnected.set()
        self.client.reconnect_delay_set(1, 4)
        self.client.connect(host, PORT, **connect)
        self.client.loop_start()
        assert self.subscribed.wait(60)

    def on_connect(self, client, _data, _flags, reason, _properties):
        assert not reason.is_failure, reason
        client.subscribe(self.topic, qos=2)

    def on_message(self, client, _data, message):
        self.threads.add(threading.current_thread().name)
        self.heard.put((message.topic, message.payload.decode()))

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()
        assert self.disconnected.is_set()


def sensor(host, number):
    """Publishes from its own thread while the client's network thread sends."""
    client = new_client(f"sensor-{number}")
    client.connect(host, PORT)
    client.loop_start()
    for count in range(MESSAGES):
        sent = client.publish(f"rooms/{number}/temperature", f"{number}:{count}", qos=number % 3)
        sent.wait_for_publish(60)
        assert sent.is_published()
        time.sleep(0.05)
    client.disconnect()
    client.loop_stop()


def gather(host):
    listener = Listener(host, "listener", "rooms/+/temperature")
    sensors = [threading.Thread(target=sensor, args=(host, number)) for number in range(SENSORS)]
    for thread in sensors:
        thread.start()
    heard = {number: [] for number in range(SENSORS)}
    for _ in range(SENSORS * MESSAGES):
        topic, payload = listener.heard.get(timeout=60)
        number, count = map(int, payload.split(":"))
        assert topic == f"rooms/{number}/temperature"
        heard[number].append(count)
    for thread in sensors:
        thread.join()
    assert heard == {number: list(range(MESSAGES)) for number in range(SENSORS)}, heard
    assert len(listener.threads) == 1, "all callbacks run in the network thread"
    listener.stop()
    return SENSORS * MESSAGES


def stay(host):
    """An idle connection lives by its pings; one that the client loses comes back by itself, and hears again."""
    listener = Listener(host, "idle", "news", keepalive=3)
    time.sleep(15)
    assert listener.client.is_connected() and not listener.disconnected.is_set()
    paho.mqtt.publish.single("news", "after the silence", qos=1, hostname=host, port=PORT)
    assert listener.heard.get(timeout=60)[1] == "after the silence"
    listener.subscribed.clear()
    listener.client.socket().shutdown(2)  # the cable is pulled
    assert listener.disconnected.wait(60)
    assert listener.subscribed.wait(60)
    paho.mqtt.publish.single("news", "after the loss", qos=2, hostname=host, port=PORT)
    assert listener.heard.get(timeout=60)[1] == "after the loss"
    listener.stop()


def picture(host):
    """A large retained message over TLS, for one who comes later."""
    data = random.randbytes(150_000)
    tls = {"ca_certs": str(TLS / "authority.pem")}
    paho.mqtt.publish.single("pictures/last", data, qos=1, retain=True, hostname=host, port=SECURE_PORT, tls=tls)
    message = paho.mqtt.subscribe.simple("pictures/#", hostname=host, port=SECURE_PORT, tls=tls)
    assert message.retain
    assert hashlib.sha256(message.payload).digest() == hashlib.sha256(data).digest()
    return len(data)


def client(host):
    heard = gather(host)
    stay(host)
    size = picture(host)
    left = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    print(f"heard {heard} of {SENSORS} sensors, came back, retained {size} bytes, {len(left)} threads left")


if __name__ == "__main__":
    asyncio.run(server()) if sys.argv[1] == "server" else client(sys.argv[2])
