"""http.client over TLS: a connection that is kept, chunks both ways, a session that is resumed, and certificates.

    use_http_client.py server
    use_http_client.py client SERVER
"""

import hashlib
import http.client
import http.server
import pathlib
import random
import socket
import ssl
import sys

TLS = pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls"
CHUNK_BYTES = 10_000


def chunks(seed, count):
    generator = random.Random(seed)
    return [generator.randbytes(CHUNK_BYTES) for _ in range(count)]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """/seed/count: so many chunks."""
        _, seed, count = self.path.split("/")
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in [*chunks(int(seed), int(count)), b""]:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    def do_PUT(self):
        """The digest of a body in chunks."""
        if self.headers["Expect"] == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        digest = hashlib.sha256()
        while size := int(self.rfile.readline(), 16):
            digest.update(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        self.send_response(201)
        self.send_header("Content-Length", "64")
        self.end_headers()
        self.wfile.write(digest.hexdigest().encode())

    def log_message(self, format, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    """Each connection shakes hands in its own thread: one that is slow keeps nobody waiting."""

    def __init__(self, context):
        super().__init__(("", 443), Handler)
        self.context = context

    def finish_request(self, request, client_address):
        request.settimeout(20)
        with self.context.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client_address)
            secure.unwrap()

    def handle_error(self, request, client_address):
        error = sys.exc_info()[1]
        print("refused:", getattr(error, "reason", error), flush=True)


def serve():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    context.set_alpn_protocols(["http/1.1"])
    Server(context).serve_forever()


def ask(server):
    context = ssl.create_default_context(cafile=TLS / "authority.pem")
    context.set_alpn_protocols(["http/1.1"])
    idle = socket.create_connection((server, 443))  # it never shakes hands

    connection = http.client.HTTPSConnection(server, context=context, timeout=30)
    for seed in range(4):
        connection.request("GET", f"/{seed}/20")
        response = connection.getresponse()
        assert response.status == 200
        first = response.read(15_000)
        assert first + response.read() == b"".join(chunks(seed, 20))
    assert connection.sock.selected_alpn_protocol() == "http/1.1"
    version = connection.sock.version()
    body = chunks(9, 30)
    connection.request("PUT", "/", body=iter(body), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    response = connection.getresponse()
    assert (response.status, response.read().decode()) == (201, hashlib.sha256(b"".join(body)).hexdigest())
    session = connection.sock.session
    connection.close()

    plain = socket.create_connection((server, 443))
    with context.wrap_socket(plain, server_hostname=server, session=session) as again:
        again.sendall(b"GET /5/1 HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n")
        response = http.client.HTTPResponse(again)
        response.begin()
        assert response.read() == chunks(5, 1)[0]
        resumed = again.session_reused
        again.unwrap()
    failures = []
    for wrong, name in ((ssl.create_default_context(), server), (context, socket.gethostbyname(server))):
        try:
            http.client.HTTPSConnection(name, context=wrong, timeout=30).request("GET", "/1/1")
        except ssl.SSLCertVerificationError as refused:
            failures.append(refused.verify_code)
    assert failures[0] in (19, 20)  # the issuer is not known
    assert failures[1] == 64  # the address is not in the certificate
    idle.close()
    print(f"{version}: 4 bodies of {20 * CHUNK_BYTES} bytes, an upload, resumed: {resumed}, {len(failures)} refusals")


if __name__ == "__main__":
    serve() if sys.argv[1] == "server" else ask(sys.argv[2])
