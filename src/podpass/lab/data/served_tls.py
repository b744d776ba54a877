"""The TLS configuration of an instance's servers and fetchers; a rotation of the certificates replaces it."""

import ssl
from typing import TYPE_CHECKING

from podpass.lab.data.datadir import DataDir

if TYPE_CHECKING:
    from podpass.http.fetcher import Fetcher
    from podpass.http.server import RunningServer


class ServedTls:
    """The servers of an instance, with the certificates in the data directory."""

    def __init__(self, data_dir: DataDir) -> None:
        self._data_dir = data_dir
        self._servers: list[tuple[RunningServer, bool]] = []
        self._fetchers: list[Fetcher] = []

    def add_server(self, server: "RunningServer", *, clients: bool) -> None:
        """Register a server; with `clients`, its clients may present a certificate."""
        self._servers.append((server, clients))

    def add_fetcher(self, fetcher: "Fetcher") -> None:
        """Register a fetcher of this instance's own hosts."""
        self._fetchers.append(fetcher)

    def create_context(self, *, clients: bool, client_cas: bytes = b"") -> ssl.SSLContext:
        """Return the context of a server.

        `client_cas` are the CAs of client certificates as PEM, by default the CA of the instance.
        """
        from podpass.http.server import server_context

        context = server_context()
        certificate = self._data_dir.certificate("leaf")
        context.load_cert_chain(certificate, self._data_dir.key("leaf"))
        if clients:
            trusted = client_cas or self._data_dir.ca_file.read_bytes()
            context.load_verify_locations(cadata=trusted.decode())
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def reload(self, client_cas: bytes) -> None:
        """Serve the current leaf certificate, and accept client certificates of these CAs only."""
        for server, clients in self._servers:
            server.replace_tls(self.create_context(clients=clients, client_cas=client_cas))

    def reload_fetchers(self) -> None:
        """Verify this instance's own hosts with the CA in the data directory."""
        for fetcher in self._fetchers:
            fetcher.reload_own_ca()
