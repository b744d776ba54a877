"""Answer every request on port 80 of an address with the request itself, as JSON: ADDRESS."""

import gzip
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Echo(BaseHTTPRequestHandler):
    """The path selects the response: /status/NNN, /redirect, /gzip, /chunked, or another path."""

    protocol_version = "HTTP/1.1"

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def echo(self) -> None:
        found = re.match("/status/([0-9]{3})", self.path)
        status = 302 if self.path == "/redirect" else int(found[1]) if found else 200
        headers = [[name.lower(), value] for name, value in self.headers.items()]
        said = {"line": self.requestline, "headers": headers, "body": self._body().decode()}
        text = json.dumps(said).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/landed")
        self.send_header("Content-Type", "application/json")
        for name, value in (("X-Twice", "a"), ("X-Twice", "b"), ("x-Case", "c")):
            self.send_header(name, value)
        if self.path == "/gzip" and "gzip" in self.headers.get("Accept-Encoding", ""):
            text = gzip.compress(text)
            self.send_header("Content-Encoding", "gzip")
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            text = b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text)
        elif status not in (204, 304):
            self.send_header("Content-Length", "1000" if self.command == "HEAD" else str(len(text)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(text)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = echo  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer((sys.argv[1], 80), Echo)
    print("ready", flush=True)
    server.serve_forever()
