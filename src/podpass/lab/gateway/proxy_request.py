"""The request of a client to the gateway: its method and its target. Pure."""

from dataclasses import dataclass

from podpass.errors import Error


class BadProxyRequest(Error):
    """The request is not a valid proxy request."""

    code = "bad_proxy_request"
    status = 400


def split_target(target: str) -> tuple[str, int]:
    """Split `host:port` or `[address]:port`. Raises BadProxyRequest."""
    host, colon, port = target.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not (colon and host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise BadProxyRequest("the target of CONNECT must be host:port")
    return host, int(port)


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The request line of a proxy request."""

    method: str
    target: str


def parse_head(head: bytes) -> RequestHead:
    """Parse the request line; the headers of a CONNECT request are ignored. Raises BadProxyRequest."""
    line = head.split(b"\r\n", 1)[0].decode("latin-1")
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not parts[0].isalpha():
        raise BadProxyRequest("the request is not HTTP/1.1")
    return RequestHead(parts[0], parts[1])
