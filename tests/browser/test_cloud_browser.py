"""A real Chromium as `podpass cloud browser` starts it: it trusts the cloud of its profile and no other CA.

A proxy stands for the background process of `podpass cloud env`. It connects to no other host.
"""

import contextlib
import os
import shutil
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from podpass.lab.data.datadir import DataDir
from podpass.lab.host import browser
from tests.browser import programs

pytestmark = pytest.mark.browser

_LOGIN, _GRAPH = "login.microsoftonline.com", "graph.microsoft.com"
_PAGE = b"<!doctype html><title>of the cloud</title>"
_SECONDS = 60.0


def build_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


class Proxy(socketserver.ThreadingTCPServer):
    """Two sites behind a proxy: one with a certificate of the cloud, and one with that of another CA."""

    daemon_threads, block_on_close = True, False

    def __init__(self, cloud: trustme.CA, other: trustme.CA) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.contexts = {
            _LOGIN: build_context(cloud.issue_cert(_LOGIN)),
            _GRAPH: build_context(other.issue_cert(_GRAPH)),
        }


class Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Proxy)
        words = read_head(self.rfile).split()
        context = self.server.contexts.get(words[1].decode().removesuffix(":443") if words else "")
        if context is None:
            self.wfile.write(b"HTTP/1.1 502 not served\r\n\r\n")
            return
        self.wfile.write(b"HTTP/1.1 200 connected\r\n\r\n")
        # Chromium opens connections that it does not use, and ends those that it does not trust.
        with contextlib.suppress(OSError), context.wrap_socket(self.connection, True) as tls:
            if read_head(tls.makefile("rb")):
                about = (
                    f"content-type: text/html\r\ncontent-length: {len(_PAGE)}\r\nconnection: close"
                )
                tls.sendall(f"HTTP/1.1 200 OK\r\n{about}\r\n\r\n".encode() + _PAGE)


def read_head(file: Any) -> bytes:
    """Read the head of a request; return its first line, nothing if there is none."""
    first: bytes = file.readline()
    while file.readline().strip():
        pass
    return first


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path)


@pytest.fixture
def proxy(data_dir: DataDir) -> Iterator[Proxy]:
    cloud = trustme.CA()
    data_dir.ca_file.parent.mkdir(parents=True)
    cloud.cert_pem.write_to_path(data_dir.ca_file)
    with Proxy(cloud, trustme.CA()) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def read_page(data_dir: DataDir, proxy: Proxy, url: str) -> str:
    """Start the browser with an address; return the page that it printed, or its error."""
    if problem := programs.missing() or programs.missing_certutil():
        pytest.skip(problem)
    path = os.environ.get("PATH", os.defpath)
    folder = browser.prepare_profile(data_dir, path)
    program = shutil.which(programs.PROGRAM)
    assert program is not None
    command = [
        *browser.build_command(program, folder, proxy.server_address[1], url),
        "--headless",
        "--dump-dom",
    ]
    command += ["--no-sandbox"] if os.geteuid() == 0 else []
    browser.start(command, folder, {"PATH": path})
    log, deadline = folder / "browser.log", time.monotonic() + _SECONDS
    while not any(each in (text := log.read_text()) for each in ("<html", "Page load failed")):
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
    return text


def test_browser_opens_pages_of_the_cloud_under_azures_names(
    data_dir: DataDir, proxy: Proxy
) -> None:
    assert "<title>of the cloud</title>" in read_page(data_dir, proxy, f"https://{_LOGIN}/x")


def test_browser_does_not_trust_another_ca(data_dir: DataDir, proxy: Proxy) -> None:
    assert "ERR_CERT_AUTHORITY_INVALID" in read_page(data_dir, proxy, f"https://{_GRAPH}/x")
