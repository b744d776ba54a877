"""Fetch URLs in an isolated network in which an attacker controls the DNS server.

test_16_fetch.py runs this module in a network namespace: public addresses are on loopback, the ports 53 and
443 are free, and nothing else is reachable. It prints DNS queries and connections as JSON.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from podpass.errors import Error
from podpass.exchange.client_auth.issuer_discovery import fetch_keys
from podpass.http.fetcher import Fetcher, FetchRules

PUBLIC, PUBLIC_6 = "93.184.216.34", "2606:4700::1111"
FORBIDDEN = ("10.0.0.9", "169.254.169.254", "fd00:ec2::254")
_A, _CNAME, _AAAA = 1, 5, 28
# The DNS records by name: one list for each lookup; the last list answers all later lookups.
ZONE: dict[str, list[list[str]]] = {
    "good.test": [[PUBLIC]],
    "six.test": [[PUBLIC_6]],
    "private.test": [["10.0.0.9"]],
    "loopback.test": [["127.0.0.1"]],
    "loopback6.test": [["::1"]],
    "zero.test": [["0.0.0.0"]],
    "link-local.test": [["169.254.169.254"]],
    "mapped.test": [["::ffff:169.254.169.254"]],
    "unique-local.test": [["fd00:ec2::254"]],
    "nat64.test": [["64:ff9b::a9fe:a9fe"]],
    "mixed.test": [[PUBLIC, "10.0.0.9"]],
    "mixed6.test": [[PUBLIC, "::1"]],
    "alias.test": [["metadata.google.internal"]],
    "metadata.google.internal": [["169.254.169.254"]],
    "rebinding.test": [[PUBLIC], ["127.0.0.1"]],
    "rebinding-later.test": [[PUBLIC], ["169.254.169.254"]],
    "nothing.test": [[]],
    "silent.test": [["silence"]],
    "garbage.test": [["garbage"]],
    "localhost": [["127.0.0.1"]],
}
asked: dict[str, int] = {}
connected: list[str] = []
heads: list[str] = []


def isolate(folder: Path) -> None:
    """Enable loopback, add foreign addresses to it, and configure our own DNS server."""
    flags = struct.pack("16sh22x", b"lo", 1)  # IFF_UP
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, flags)
    for address in (PUBLIC, PUBLIC_6, *FORBIDDEN):
        width = "128" if ":" in address else "32"
        subprocess.run(["ip", "addr", "add", f"{address}/{width}", "dev", "lo"], check=True)
    mount = ctypes.CDLL(None, use_errno=True).mount
    for name, text in (
        ("resolv.conf", "nameserver 127.0.0.1\n"),
        ("hosts", "127.0.0.1 localhost\n"),
    ):
        (folder / name).write_text(text)
        source, target = str(folder / name).encode(), f"/etc/{name}".encode()
        if mount(source, target, None, 4096, None) != 0:
            raise OSError(ctypes.get_errno(), f"cannot cover /etc/{name}")


def serve_dns() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 53))
    while True:
        query, peer = sock.recvfrom(4096)
        if answer := resolve(query):
            sock.sendto(answer, peer)


def parse_question(query: bytes) -> tuple[str, int, int]:
    labels, at = [], 12
    while size := query[at]:
        labels.append(query[at + 1 : at + 1 + size].decode())
        at += size + 1
    return ".".join(labels).lower(), struct.unpack(">H", query[at + 1 : at + 3])[0], at + 5


def resolve(query: bytes) -> bytes:
    name, kind, end = parse_question(query)
    if kind == _A:
        asked[name] = asked.get(name, 0) + 1
    rounds = ZONE.get(name)
    said = rounds[min(asked.get(name, 1), len(rounds)) - 1] if rounds else []
    if "silence" in said:
        return b""
    if "garbage" in said:
        return (
            query[:2] + b"\x81\x80\0\1\xff\xff\xff\xff\xff\xff" + query[12:end] + b"\xc0\x0c" * 40
        )
    records = b"".join(record for each in said for record in dns_records(each, kind))
    count = sum(len(dns_records(each, kind)) for each in said)
    code = 0 if rounds else 3
    head = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, count, 0, 0)
    return head + query[12:end] + records


def dns_records(said: str, kind: int) -> list[bytes]:
    """Return the record of an address if its type was requested; for a name, its CNAME and address."""
    if not said.replace(".", "").isdigit() and ":" not in said:
        target = b"".join(bytes([len(part)]) + part.encode() for part in said.split(".")) + b"\0"
        alias = b"\xc0\x0c" + struct.pack(">HHIH", _CNAME, 1, 0, len(target)) + target
        led = [target + struct.pack(">HHIH", _A, 1, 0, 4) + socket.inet_aton(ZONE[said][0][0])]
        return [alias, *(led if kind == _A else [])]
    family, wanted = (socket.AF_INET6, _AAAA) if ":" in said else (socket.AF_INET, _A)
    data = socket.inet_pton(family, said)
    return (
        [b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(data)) + data] if kind == wanted else []
    )


def serve_tcp(port: int, tls: ssl.SSLContext | None) -> None:
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        sock, _ = listener.accept()
        connected.append(f"{sock.getsockname()[0].removeprefix('::ffff:')}:{port}")
        threading.Thread(target=answer, args=(sock, tls), daemon=True).start()


def answer(sock: socket.socket, tls: ssl.SSLContext | None) -> None:
    with contextlib.suppress(OSError), sock:
        sock.settimeout(3)
        wrapped = tls.wrap_socket(sock, server_side=True) if tls else sock
        head = wrapped.recv(65536).decode("latin-1")
        heads.append(head)
        path = head.split(" ")[1]
        host = next(line[6:] for line in head.split("\r\n") if line.lower().startswith("host: "))
        wrapped.sendall(page(host, path))
        wrapped.close()


def page(host: str, path: str) -> bytes:
    if path.startswith("/redirect/"):
        _, _, status, where = path.split("/", 3)
        return f"HTTP/1.1 {status} Moved\r\nLocation: {where}\r\ncontent-length: 0\r\n\r\n".encode()
    issuer = f"https://{host}"
    document = {"issuer": issuer, "jwks_uri": f"{issuer}/keys", "keys": []}
    body = json.dumps(document).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


async def fetch_result(url: str) -> str:
    """Return the result of a fetch: `ok` or its reason. `issuer:` fetches an issuer's keys by discovery."""
    # Only this host never answers; a busy machine may need seconds for each of the others.
    fetcher = Fetcher(FetchRules(seconds=1.5 if url == "https://silent.test/" else 15.0))
    try:
        if url.startswith("issuer:"):
            await fetch_keys(fetcher, url.removeprefix("issuer:"), ())
        else:
            await fetcher.get_json(url)
    except Error as exc:
        return str(exc.facts.get("reason", exc.code))
    return "ok"


async def main(urls: list[str]) -> dict[str, object]:
    results: dict[str, object] = {}
    for url in urls:
        before = (len(connected), len(heads), dict(asked))
        began = time.monotonic()
        reason = await fetch_result(url)
        took = time.monotonic() - began
        lookups = {name: n - before[2].get(name, 0) for name, n in asked.items()}
        results[url] = {
            "reason": reason,
            "seconds": took,
            "connected": connected[before[0] :],
            "heads": heads[before[1] :],
            "lookups": {name: n for name, n in lookups.items() if n},
        }
    return results


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    isolate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "leaf.pem")
    threads = [threading.Thread(target=serve_dns, daemon=True)]
    threads += [
        threading.Thread(target=serve_tcp, args=(port, tls), daemon=True)
        for port, tls in ((443, context), (80, None))
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    print(json.dumps(asyncio.run(main(json.loads(sys.stdin.read())))), flush=True)
    os._exit(0)  # a lookup without a response blocks its thread for seconds
