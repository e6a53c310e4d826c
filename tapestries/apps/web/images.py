"""Serves one picture, a PNG of coloured bands that it makes itself.

    python images.py 80
"""

import http.server
import struct
import sys
import zlib

WIDTH, HEIGHT = 480, 160
BANDS = [(31, 111, 84), (224, 160, 48), (32, 48, 60), (178, 58, 72), (64, 121, 178), (244, 247, 245)]


def png() -> bytes:
    """The picture: PNG's signature, and the chunks of header, data and end."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + b"".join(bytes(BANDS[x * len(BANDS) // WIDTH]) for x in range(WIDTH))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(row * HEIGHT)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


class Images(http.server.BaseHTTPRequestHandler):
    """GET /picture.png."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        if self.path != "/picture.png":
            self.send_error(404)
            return
        body = png()
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Images).serve_forever()
