"""xmlrpc: a server of one call at a time, and one with threads; values of all kinds, faults, many calls in one.

    use_xmlrpc.py server
    use_xmlrpc.py client SERVER
"""

import datetime
import functools
import random
import socketserver
import sys
import threading
import time
import xmlrpc.client
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer


class Threading(socketserver.ThreadingMixIn, SimpleXMLRPCServer):
    daemon_threads = True


class Shelf:
    """What is served: values by their names, and a counter."""

    def __init__(self):
        self.values = {}
        self.lock = threading.Lock()
        self.counted = 0

    def put(self, name, value):
        self.values[name] = value
        return True

    def get(self, name):
        return self.values[name]

    def count(self, seconds):
        """Only one at a time is within the lock."""
        with self.lock:
            before = self.counted
            time.sleep(seconds)
            self.counted = before + 1
            return self.counted

    def wait(self, seconds):
        time.sleep(seconds)
        return threading.active_count() > 1

    def reversed(self, binary):
        return xmlrpc.client.Binary(binary.data[::-1])


class Handler(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/rpc",)


def serve():
    shelf = Shelf()
    servers = []
    for kind, port in ((SimpleXMLRPCServer, 80), (Threading, 8080)):
        server = kind(("", port), requestHandler=Handler, allow_none=True, logRequests=False)
        server.register_introspection_functions()
        server.register_multicall_functions()
        server.register_instance(shelf)
        servers.append(server)
    threading.Thread(target=servers[1].serve_forever, daemon=True).start()
    servers[0].serve_forever()


def ask(server):
    values = {
        "numbers": [1, -2, 3.5, True],
        "text": "gr\u00fc\u00dfe & <marks>" * 2000,
        "nothing": None,
        "tree": {"a": [{"b": [[], {}, ""]}], "c": 2**31 - 1},
        "date": datetime.datetime(2026, 1, 2, 3, 4, 5),
    }
    data = random.Random(1).randbytes(200_000)
    for port in (80, 8080):
        with xmlrpc.client.ServerProxy(
            f"http://{server}:{port}/rpc", allow_none=True, use_builtin_types=True
        ) as shelf:
            assert all(shelf.put(name, value) for name, value in values.items())
            assert {name: shelf.get(name) for name in values} == values
        with xmlrpc.client.ServerProxy(f"http://{server}:{port}/rpc", allow_none=True) as shelf:
            assert shelf.reversed(xmlrpc.client.Binary(data)).data == data[::-1]
            assert {"get", "put", "system.listMethods"} <= set(shelf.system.listMethods())
            calls = xmlrpc.client.MultiCall(shelf)
            for name in ("nothing", "numbers"):
                calls.get(name)
            assert list(calls()) == [None, values["numbers"]]
            faults = []
            for function in (functools.partial(shelf.get, "missing"), shelf.missing):
                try:
                    function()
                except xmlrpc.client.Fault as fault:
                    faults.append(fault.faultString.partition(":")[0])
    try:
        xmlrpc.client.ServerProxy(f"http://{server}/elsewhere").system.listMethods()
        raise SystemExit("nothing is served there")
    except xmlrpc.client.ProtocolError as refused:
        faults.append(str(refused.errcode))

    def at_once(port, call, count):
        answers = []

        def one():
            with xmlrpc.client.ServerProxy(f"http://{server}:{port}/rpc") as shelf:
                answers.append(call(shelf))

        start = time.monotonic()
        threads = [threading.Thread(target=one) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(answers), time.monotonic() - start

    answers, together = at_once(8080, lambda shelf: shelf.wait(3), 10)
    assert answers == [True] * 10
    _, in_turn = at_once(80, lambda shelf: shelf.wait(3), 3)
    counted, locked = at_once(8080, lambda shelf: shelf.count(1), 5)
    assert counted == [1, 2, 3, 4, 5]
    print(
        f"{len(values)} values twice, 10 calls at once in {together:.0f} s, 3 in turn in {in_turn:.0f} s, "
        f"5 by a lock in {locked:.0f} s, faults {faults[0][8:-2]} {faults[1][8:-2]} {faults[2]}"
    )


if __name__ == "__main__":
    serve() if sys.argv[1] == "server" else ask(sys.argv[2])
