"""http.server and urllib, both blocking: one request after the other, a thread for each request, and files of a folder.

    use_http_server.py server
    use_http_server.py client SERVER
"""

import functools
import hashlib
import http.server
import json
import pathlib
import random
import sys
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

PAGES = 5
PAGE_BYTES = 60_000


def page(number):
    return random.Random(number).randbytes(PAGE_BYTES)


class Handler(http.server.BaseHTTPRequestHandler):
    """Pages, a form, a redirection, and a door with a password."""

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        if path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/page/1")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path == "/private" and self.headers["Authorization"] != "Basic YWxpY2U6c2VjcmV0":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="door"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path == "/private":
            self.answer(b"come in")
        elif path.startswith("/page/"):
            self.answer(page(int(path.removeprefix("/page/"))))
        else:
            self.send_error(404)

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        answer = {"bytes": len(data), "digest": hashlib.sha256(data).hexdigest(), "kind": self.headers["Content-Type"]}
        self.answer(json.dumps(answer).encode())

    def answer(self, data):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format, *args):
        pass


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


def serve():
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "page.txt").write_bytes(page(99))
        files = functools.partial(Quiet, directory=folder)
        servers = [
            http.server.HTTPServer(("", 80), Handler),
            http.server.ThreadingHTTPServer(("", 8080), Handler),
            http.server.ThreadingHTTPServer(("", 8081), files),
        ]
        for server in servers[1:]:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        servers[0].serve_forever()


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as response:
        assert response.status == 200
        return response.read()


def ask(server):
    for port in (80, 8080):
        base = f"http://{server}:{port}"
        assert [fetch(f"{base}/page/{number}") for number in range(PAGES)] == [page(number) for number in range(PAGES)]
        assert fetch(f"{base}/moved") == page(1)
        form = urllib.parse.urlencode({"name": "alice", "text": "x" * 200_000}).encode()
        told = json.loads(urllib.request.urlopen(f"{base}/form", data=form).read())
        assert told["digest"] == hashlib.sha256(form).hexdigest()
        assert told["kind"] == "application/x-www-form-urlencoded"
        try:
            fetch(f"{base}/nothing")
            raise SystemExit("there is no such page")
        except urllib.error.HTTPError as refused:
            assert refused.code == 404
            refused.close()
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, base, "alice", "secret")
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
        with opener.open(f"{base}/private") as response:
            assert response.read() == b"come in"

    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(lambda number: fetch(f"http://{server}:8080/page/{number}"), range(2 * PAGES)))
    assert at_once == [page(number) for number in range(2 * PAGES)]
    listing = fetch(f"http://{server}:8081/")
    assert b'<a href="page.txt">' in listing
    name, headers = urllib.request.urlretrieve(f"http://{server}:8081/page.txt")
    assert pathlib.Path(name).read_bytes() == page(99)
    urllib.request.urlcleanup()
    try:
        fetch(f"http://{server}:81/")
        raise SystemExit("nobody listens there")
    except urllib.error.URLError as refused:
        reason = type(refused.reason).__name__
    kind = headers.get_content_type()
    print(f"{2 * PAGES + len(at_once)} pages, 2 forms of {told['bytes']} bytes, 2 doors, a file of {kind}, {reason}")


if __name__ == "__main__":
    serve() if sys.argv[1] == "server" else ask(sys.argv[2])
