"""requests: a session that keeps connections and cookies, uploads, streams, retries, TLS; from threads at once, too.

    use_requests.py server
    use_requests.py client SERVER
"""

import hashlib
import http.server
import io
import json
import pathlib
import random
import ssl
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

TLS = pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    failures = 2  # how often /shaky fails

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/login":
            self.answer(b"", {"Set-Cookie": "who=alice; Path=/", "Location": "/who"}, 303)
        elif url.path == "/who":
            self.answer(json.dumps({"cookie": self.headers["Cookie"], "agent": self.headers["User-Agent"]}).encode())
        elif url.path == "/bytes":
            self.answer(random.Random(int(query["seed"])).randbytes(int(query["count"])))
        elif url.path == "/slow":
            time.sleep(float(query["seconds"]))
            self.answer(b"at last")
        elif url.path == "/shaky" and Handler.failures:
            Handler.failures -= 1
            self.answer(b"try again", {"Retry-After": "1"}, 503)
        else:
            self.answer(b"fine")

    def do_POST(self):
        if self.headers["Transfer-Encoding"] == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            data = b"".join(parts)
        else:
            data = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.headers.get("Content-Type", "").partition(";")[0]
        self.answer(json.dumps({"kind": kind, "digest": hashlib.sha256(data).hexdigest()}).encode())

    def answer(self, data, headers=(), status=200):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        print("refused:", sys.exc_info()[1], flush=True)


def serve():
    secure = Server(("", 443), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=secure.serve_forever, daemon=True).start()
    Server(("", 80), Handler).serve_forever()


def ask(server):
    for base in (f"http://{server}", f"https://{server}"):
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(TLS / "authority.pem")
            session.headers["User-Agent"] = "visitor"
            who = session.get(f"{base}/login", timeout=30)
            assert [step.status_code for step in who.history] == [303]
            assert who.json() == {"cookie": "who=alice", "agent": "visitor"}
            data = random.Random(1).randbytes(150_000)
            assert session.get(f"{base}/bytes", params={"seed": 1, "count": len(data)}).content == data
            with session.get(f"{base}/bytes", params={"seed": 2, "count": 100_000}, stream=True) as response:
                pieces = [len(piece) for piece in response.iter_content(30_000)]
            assert pieces == [30_000, 30_000, 30_000, 10_000]
            told = session.post(f"{base}/", data=iter([data[:70_000], data[70_000:]])).json()
            assert told["digest"] == hashlib.sha256(data).hexdigest()
            told = session.post(f"{base}/", files={"file": ("data", io.BytesIO(data))}).json()
            assert told["kind"] == "multipart/form-data"
            try:
                session.get(f"{base}/slow", params={"seconds": 5}, timeout=(10, 1.5))
                raise SystemExit("that came too early")
            except requests.ReadTimeout:
                pass
            session.get(f"{base}/", timeout=30).raise_for_status()

    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", HTTPAdapter(pool_maxsize=8, max_retries=Retry(3, status_forcelist=[503])))
        start = time.monotonic()
        assert session.get(f"http://{server}/shaky").content == b"fine"
        waited = time.monotonic() - start
        with ThreadPoolExecutor(8) as pool:
            start = time.monotonic()
            answers = list(pool.map(lambda _: session.get(f"http://{server}/slow?seconds=2").text, range(16)))
            together = time.monotonic() - start
    assert answers == ["at last"] * 16
    refusals = []
    for url in (f"http://{server}:81/", f"https://{server}/", "http://nobody.example/"):
        try:
            requests.get(url, timeout=30, proxies={"no_proxy": "*"})
        except requests.ConnectionError as refused:
            refusals.append(type(refused).__name__)
    print(
        f"2 sessions, {len(answers)} slow pages in {together:.0f} s, retried for {waited:.0f} s, {' '.join(refusals)}"
    )


if __name__ == "__main__":
    serve() if sys.argv[1] == "server" else ask(sys.argv[2])
