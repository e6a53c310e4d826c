"""grpclib: a ledger over gRPC with all four kinds of calls, a deadline and an error.

    use_grpclib.py server
    use_grpclib.py client SERVER

The messages are those that come with protobuf, so that no generated file is needed; handlers and stubs are written as
the generated code has them.
"""

import asyncio
import hashlib
import random
import sys

import grpclib.client
import grpclib.const
import grpclib.exceptions
import grpclib.server
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue

PORT = 50051
SIZES = [1, 10_000, 120_000]


class Ledger:
    async def Digest(self, stream):
        request = await stream.recv_message()
        await stream.send_message(StringValue(value=hashlib.sha256(request.value).hexdigest()))

    async def Count(self, stream):
        request = await stream.recv_message()
        for number in range(request.value):
            await stream.send_message(Int64Value(value=number))

    async def Total(self, stream):
        total = 0
        async for message in stream:
            total += message.value
        answer = Struct()
        answer.update({"total": total})
        await stream.send_message(answer)

    async def Echo(self, stream):
        async for message in stream:
            await stream.send_message(message)

    async def Slow(self, stream):
        await stream.recv_message()
        await asyncio.sleep(3600)

    async def Refuse(self, stream):
        await stream.recv_message()
        raise grpclib.exceptions.GRPCError(grpclib.const.Status.PERMISSION_DENIED, "not you")

    def __mapping__(self):
        kinds = grpclib.const.Cardinality
        return {
            "/ledger.Ledger/Digest": grpclib.const.Handler(self.Digest, kinds.UNARY_UNARY, BytesValue, StringValue),
            "/ledger.Ledger/Count": grpclib.const.Handler(self.Count, kinds.UNARY_STREAM, Int64Value, Int64Value),
            "/ledger.Ledger/Total": grpclib.const.Handler(self.Total, kinds.STREAM_UNARY, Int64Value, Struct),
            "/ledger.Ledger/Echo": grpclib.const.Handler(self.Echo, kinds.STREAM_STREAM, BytesValue, BytesValue),
            "/ledger.Ledger/Slow": grpclib.const.Handler(self.Slow, kinds.UNARY_UNARY, Int64Value, Int64Value),
            "/ledger.Ledger/Refuse": grpclib.const.Handler(self.Refuse, kinds.UNARY_UNARY, Int64Value, Int64Value),
        }


class LedgerStub:
    def __init__(self, channel):
        name = "/ledger.Ledger/"
        self.Digest = grpclib.client.UnaryUnaryMethod(channel, f"{name}Digest", BytesValue, StringValue)
        self.Count = grpclib.client.UnaryStreamMethod(channel, f"{name}Count", Int64Value, Int64Value)
        self.Total = grpclib.client.StreamUnaryMethod(channel, f"{name}Total", Int64Value, Struct)
        self.Echo = grpclib.client.StreamStreamMethod(channel, f"{name}Echo", BytesValue, BytesValue)
        self.Slow = grpclib.client.UnaryUnaryMethod(channel, f"{name}Slow", Int64Value, Int64Value)
        self.Refuse = grpclib.client.UnaryUnaryMethod(channel, f"{name}Refuse", Int64Value, Int64Value)


async def server():
    site = grpclib.server.Server([Ledger()])
    await site.start("0.0.0.0", PORT)
    await site.wait_closed()


async def digest(ledger, data):
    reply = await ledger.Digest(BytesValue(value=data))
    assert reply.value == hashlib.sha256(data).hexdigest()
    return len(data)


async def client(host):
    async with grpclib.client.Channel(host, PORT) as channel:
        ledger = LedgerStub(channel)
        sizes = await asyncio.gather(*(digest(ledger, random.randbytes(size)) for size in SIZES))
        counted = [message.value for message in await ledger.Count(Int64Value(value=100))]
        assert counted == list(range(100))
        total = await ledger.Total([Int64Value(value=number) for number in range(1000)])
        assert total["total"] == 499_500
        echoed = 0
        async with ledger.Echo.open() as stream:
            await stream.send_request()
            for _ in range(5):
                message = BytesValue(value=random.randbytes(20_000))
                await stream.send_message(message)
                assert await stream.recv_message() == message
                echoed += len(message.value)
            await stream.end()
            assert await stream.recv_message() is None
        try:
            await ledger.Slow(Int64Value(value=1), timeout=2)
            raise SystemExit("no deadline")
        except TimeoutError:
            slow = "late"
        try:
            await ledger.Refuse(Int64Value(value=1))
            raise SystemExit("not refused")
        except grpclib.exceptions.GRPCError as error:
            refused = f"{error.status.name}: {error.message}"
    print(f"digests of {sum(sizes)} bytes, counted {len(counted)}, echoed {echoed} bytes, {slow}, {refused}")


if __name__ == "__main__":
    asyncio.run(server() if sys.argv[1] == "server" else client(sys.argv[2]))
