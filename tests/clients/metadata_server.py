"""Answer every request on port 80 of an address with an error that names the server: ADDRESS."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MESSAGE = "the server at 169.254.169.254 was asked, not the sidecar"


class Refusal(BaseHTTPRequestHandler):
    """Answers as IMDS does if it has no identity; clients do not repeat such a request."""

    protocol_version = "HTTP/1.1"

    def refuse(self) -> None:
        body = json.dumps({"error": "invalid_request", "error_description": MESSAGE}).encode()
        self.send_response(400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = refuse  # noqa: N815 the names that the base class calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer((sys.argv[1], 80), Refusal)
    print("ready", flush=True)
    server.serve_forever()
