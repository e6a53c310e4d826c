"""redis' asyncio client, and a small server of its protocol (RESP 2 and 3): values, transactions, lists, channels.

    use_redis.py server
    use_redis.py client SERVER
"""

import asyncio
import random
import sys

import redis.asyncio
import redis.exceptions

PORT = 6379


class Store:
    """What the server keeps: values of the kinds that the commands below know, and who listens to which channel."""

    def __init__(self):
        self.values = {}
        self.expiries = {}
        self.channels = {}
        self.waiting = {}

    def get(self, key):
        if self.expiries.get(key, float("inf")) <= asyncio.get_running_loop().time():
            self.values.pop(key, None)
            self.expiries.pop(key, None)
        return self.values.get(key)


class Connection:
    """One client's: reads commands, writes replies."""

    def __init__(self, store, reader, writer):
        self.store = store
        self.reader = reader
        self.writer = writer
        self.resp3 = False
        self.queued = None  # commands since MULTI
        self.subscribed = []

    async def command(self):
        header = await self.reader.readline()
        if not header:
            return None
        words = []
        for _ in range(int(header[1:])):
            size = int((await self.reader.readline())[1:])
            words.append((await self.reader.readexactly(size + 2))[:-2])
        return words

    def encode(self, value):
        if value is None:
            return b"_\r\n" if self.resp3 else b"$-1\r\n"
        if isinstance(value, Exception):
            return b"-%s\r\n" % str(value).encode()
        if isinstance(value, int):
            return b":%d\r\n" % value
        if isinstance(value, str):
            return b"+%s\r\n" % value.encode()
        if isinstance(value, bytes):
            return b"$%d\r\n%s\r\n" % (len(value), value)
        if isinstance(value, dict):
            flat = [part for pair in value.items() for part in pair]
            head = b"%%%d\r\n" % len(value) if self.resp3 else b"*%d\r\n" % len(flat)
            return head + b"".join(map(self.encode, flat))
        return b"*%d\r\n" % len(value) + b"".join(map(self.encode, value))

    def push(self, *values):
        mark = b">" if self.resp3 else b"*"
        self.writer.write(mark + b"%d\r\n" % len(values) + b"".join(map(self.encode, values)))

    async def serve(self):
        while (words := await self.command()) is not None:
            name, arguments = words[0].decode().upper(), words[1:]
            if self.queued is not None and name not in ("EXEC", "DISCARD"):
                self.queued.append((name, arguments))
                answer = "QUEUED"
            else:
                answer = await self.obey(name, arguments)
            if answer is not self:
                self.writer.write(self.encode(answer))
            await self.writer.drain()
        for channel in self.subscribed:
            self.store.channels[channel].remove(self)
        self.writer.close()

    async def obey(self, name, arguments):
        method = getattr(self, f"do_{name.lower()}", None)
        if method is None:
            return RuntimeError(f"ERR unknown command '{name}'")
        answer = method(*arguments)
        return await answer if asyncio.iscoroutine(answer) else answer

    def do_hello(self, version=b"2", *_options):
        self.resp3 = version == b"3"
        return {b"server": b"redis", b"version": b"7.4.0", b"proto": int(version), b"id": 1, b"mode": b"standalone",
                b"role": b"master", b"modules": []}

    def do_client(self, *_arguments):
        return "OK"

    def do_ping(self, *message):
        return message[0] if message else "PONG"

    def do_set(self, key, value, *options):
        self.store.values[key] = value
        self.store.expiries.pop(key, None)
        if options and options[0].upper() == b"PX":
            self.store.expiries[key] = asyncio.get_running_loop().time() + int(options[1]) / 1000
        return "OK"

    def do_get(self, key):
        value = self.store.get(key)
        if isinstance(value, list):
            return RuntimeError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return value

    def do_incrby(self, key, by):
        self.store.values[key] = b"%d" % (int(self.store.get(key) or 0) + int(by))
        return int(self.store.values[key])

    def do_hset(self, key, *pairs):
        self.store.values.setdefault(key, {}).update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(pairs) // 2

    def do_hgetall(self, key):
        return self.store.get(key) or {}

    def do_rpush(self, key, *values):
        items = self.store.values.setdefault(key, [])
        items.extend(values)
        if self.store.waiting.get(key):
            self.store.waiting[key].pop(0).set()
        return len(items)

    async def do_blpop(self, key, timeout):
        deadline = asyncio.get_running_loop().time() + float(timeout)
        while not self.store.values.get(key):
            event = asyncio.Event()
            self.store.waiting.setdefault(key, []).append(event)
            try:
                await asyncio.wait_for(event.wait(), deadline - asyncio.get_running_loop().time())
            except TimeoutError:
                return None
        return [key, self.store.values[key].pop(0)]

    def do_multi(self):
        self.queued = []
        return "OK"

    async def do_exec(self):
        queued, self.queued = self.queued, None
        return [await self.obey(name, arguments) for name, arguments in queued]

    def do_subscribe(self, *channels):
        for channel in channels:
            self.subscribed.append(channel)
            self.store.channels.setdefault(channel, []).append(self)
            self.push(b"subscribe", channel, len(self.subscribed))
        return self

    def do_unsubscribe(self, *channels):
        for channel in channels or self.subscribed.copy():
            self.subscribed.remove(channel)
            self.store.channels[channel].remove(self)
            self.push(b"unsubscribe", channel, len(self.subscribed))
        return self

    def do_publish(self, channel, message):
        listeners = self.store.channels.get(channel, [])
        for listener in listeners:
            listener.push(b"message", channel, message)
        return len(listeners)


async def server():
    store = Store()
    site = await asyncio.start_server(lambda reader, writer: Connection(store, reader, writer).serve(), "0.0.0.0", PORT)
    await site.serve_forever()


async def subscriber(shelf, ready):
    heard = []
    async with shelf.pubsub() as channel:
        await channel.subscribe("news")
        async for message in channel.listen():
            if message["type"] == "subscribe":
                ready.set()
            elif message["data"] == b"end":
                break
            else:
                heard.append(message["data"])
    return heard


async def worker(shelf, count):
    return [(await shelf.blpop("jobs", timeout=30))[1] for _ in range(count)]


async def client(host):
    async with redis.asyncio.Redis(host=host, port=PORT) as shelf:
        assert await shelf.ping()
        values = {f"value-{size}": random.randbytes(size) for size in (0, 100, 200_000)}
        await asyncio.gather(*(shelf.set(key, value) for key, value in values.items()))
        assert [await shelf.get(key) for key in values] == list(values.values())
        await shelf.set("brief", "here", px=1500)
        brief = [await shelf.get("brief")]
        await asyncio.sleep(1.6)
        brief.append(await shelf.get("brief"))
        assert brief == [b"here", None]
        counts = await asyncio.gather(*(shelf.incrby("visits", 3) for _ in range(20)))
        assert sorted(counts) == list(range(3, 61, 3))
        async with shelf.pipeline(transaction=True) as pipeline:
            pipeline.hset("book", mapping={"title": "Ulysses", "pages": 732}).hgetall("book").incrby("visits", 40)
            changed = await pipeline.execute()
        assert changed == [2, {b"title": b"Ulysses", b"pages": b"732"}, 100]
        working = asyncio.create_task(worker(shelf, 4))
        for number in range(4):
            await asyncio.sleep(0.2)
            await shelf.rpush("jobs", f"job-{number}")
        assert await working == [f"job-{number}".encode() for number in range(4)]
        ready = asyncio.Event()
        listening = asyncio.create_task(subscriber(shelf, ready))
        await ready.wait()
        news = [random.randbytes(1000) for _ in range(10)]
        for item in [*news, b"end"]:
            assert await shelf.publish("news", item) == 1
        assert await listening == news
        try:
            await shelf.get("jobs")
            raise SystemExit("a list is no value")
        except redis.exceptions.ResponseError as error:
            wrong = str(error).split()[0]
    print(f"kept {sum(map(len, values.values()))} bytes, counted to {changed[2]}, heard {len(news)}, {wrong}")


if __name__ == "__main__":
    asyncio.run(server() if sys.argv[1] == "server" else client(sys.argv[2]))
