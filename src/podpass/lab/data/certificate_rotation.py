"""Rotate the certificates of a running instance; no request fails during the rotation.

    1  begin         the new CA is stored; from here on, the next start completes an interrupted rotation
    2  serve         servers present a leaf certificate of the new CA, and accept clients of both CAs
    3  trust         the new CA replaces the old one in the files that programs read
    4  follow        webhook configuration, ConfigMaps of pods, and the instance's own clients use the new CA
    5  withdraw      servers refuse client certificates of the old CA: kubeconfigs must be fetched again. A
                     command that read its kubeconfig before step 3 has two seconds for its request
    6  complete

Programs that run since before step 3 trust only the old CA. They accept the leaf certificate, because servers
also send the new CA as signed by the old one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from podpass.clock import Clock
from podpass.crypto.x509 import encode_pem
from podpass.lab.data import ca, ca_rotation, trust
from podpass.lab.data.datadir import DataDir
from podpass.lab.data.served_tls import ServedTls

_CLIENT_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationHooks:
    """The parts of the cluster that follow a rotation.

    `accept` receives the CAs whose client certificates the API server accepts from now on. `follow` receives
    the new CA and returns when all parts use it. `withdraw` ends what authenticated with a certificate of the
    old CA.
    """

    accept: Callable[[bytes], None]
    follow: Callable[[bytes], Awaitable[None]]
    withdraw: Callable[[], None]


class CertificateRotation:
    """Rotates the CA of one instance and the certificates that it has signed."""

    def __init__(
        self,
        data_dir: DataDir,
        tls: ServedTls,
        hooks: RotationHooks,
        *,
        environ: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self._data_dir, self._tls, self._hooks = data_dir, tls, hooks
        self._environ, self._clock = environ, clock
        # The CAs whose clients the servers accept; after a failure, parts may have certificates of either.
        self._client_cas = data_dir.ca_file.read_bytes()

    def begin(self) -> None:
        """Store the new CA: from now on, the rotation is completed by `run` or by the next start.

        Raises DataDirError, OSError.
        """
        ca_rotation.begin(self._data_dir, self._clock)

    async def run(self) -> None:
        """Rotate; repeat all steps of a rotation that failed before.

        Raises DataDirError, OSError, KubeError.
        """
        data_dir, clock = self._data_dir, self._clock
        new = ca_rotation.begin(data_dir, clock)
        new_pem = encode_pem(new.certificate)
        ca_rotation.issue_leaf(data_dir, new, clock)
        both = self._client_cas if new_pem in self._client_cas else self._client_cas + new_pem
        self._accept_clients(both)
        ca_rotation.store(data_dir, new)
        ca.ensure_certificates(data_dir, clock)
        # In a thread: a trust store contains more than a hundred public CAs.
        await asyncio.to_thread(trust.write_stores, data_dir, self._environ)
        self._tls.reload_fetchers()
        await self._hooks.follow(new_pem)
        await asyncio.sleep(_CLIENT_SECONDS)
        self._accept_clients(new_pem)
        self._hooks.withdraw()
        ca_rotation.complete(data_dir)

    def _accept_clients(self, cas: bytes) -> None:
        """Accept client certificates of these CAs only, in handshakes and on open connections."""
        self._client_cas = cas
        self._hooks.accept(cas)
        self._tls.reload(cas)
