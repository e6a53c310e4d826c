"""A small service: counts who asks, and answers in JSON, to pages of other hosts as well (CORS).

    python api.py 80
"""

import http.server
import json
import socket
import sys
import time

visits: dict[str, int] = {}


class Api(http.server.BaseHTTPRequestHandler):
    """GET /visit."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        if self.path != "/visit":
            self.send_error(404)
            return
        client = self.client_address[0]
        visits[client] = visits.get(client, 0) + 1
        body = json.dumps(
            {
                "host": socket.gethostname(),
                "client": client,
                "visits": visits[client],
                "time": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Api).serve_forever()
