"""A server's certificate and key, read again when their files change, while connections come and go.

    one revision   both files as they were at one moment: kubelet swaps a link to a folder that holds both
    tried first    what does not load, or does not fit together, never touches the context in use
    kept           minimum version, ciphers and client authorities stay those of the first context

Loading a pair that does not fit into the context in use would break every handshake from then on, even
though the call fails; so a pair is loaded into another one first, from the very bytes that are then used.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from podpass.clock import Clock, rfc3339, system
from podpass.errors import Error
from podpass.http.server import server_context
from podpass.tasks import beside

_log = logging.getLogger(__name__)

# kubelet's name for the folder that holds the present revision of a mounted Secret.
_REVISION = "..data"
MAX_CHAIN_BYTES = 64 * 1024
MAX_KEY_BYTES = 16 * 1024
_DAY_SECONDS = 86400
_SOON_SECONDS = 7 * _DAY_SECONDS
# NOTE: 1.0 and 1.1 are taken as what they allow at best. RFC 8996 forbids both, and no API server of the
# last ten years speaks less than 1.2.
_VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1_2,
    "1.1": ssl.TLSVersion.TLSv1_2,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}


class CertificateUnfit(Error):
    """Certificate and key cannot be read, or are not a pair."""

    code = "certificate_unfit"
    hint = "give the PEM files of a certificate chain and of the private key that belongs to it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate chain and its key as PEM, of one moment.

    Units:   `not_after` in seconds since the epoch.
    """

    chain: bytes
    key: bytes = field(repr=False)
    not_after: float

    @property
    def digest(self) -> str:
        return _digest(self.chain, self.key)


class ServerTls:
    """One server context whose pair is exchanged while connections come and go.

    Shapes:  `context` is one object for good; servers may hold it. Until a pair was taken every handshake
             fails. `minimum` is "1.0", "1.1", "1.2" or "1.3"; nothing below 1.2 is spoken.
    """

    def __init__(self, *, client_ca: str | None = None, minimum: str = "1.2") -> None:
        self.context = server_context(client_ca=client_ca, minimum=_VERSIONS[minimum])

    def take(self, pair: Pair) -> None:
        """Serve a pair from the next handshake on.

        Errors:  CertificateUnfit, and then the pair before it stays.
        """
        check(pair)
        with _as_file(pair) as path:
            self.context.load_cert_chain(path, path)


def check(pair: Pair) -> None:
    """See whether a pair can be served.

    Errors:  CertificateUnfit.
    """
    with _as_file(pair) as path:
        try:
            server_context().load_cert_chain(path, path)
        except (ssl.SSLError, OSError, ValueError) as exc:
            raise _not_a_pair(exc, pair.digest) from exc


class ReloadingTls:
    """A TLS server context whose certificate follows its files.

    Shapes:  `context` is one object for good; servers may hold it.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        clock: Clock = system,
        *,
        client_ca: Path | None = None,
        minimum: str = "1.2",
    ) -> None:
        self._files = (certificate, key)
        self._clock = clock
        self.failures = 0
        self.looked: Callable[[], None] = _nothing
        self._unfit = ""
        self._warned = ("", 0.0)
        self._pair = read_pair(certificate, key)
        ca = str(client_ca) if client_ca is not None else None
        self._tls = ServerTls(client_ca=ca, minimum=minimum)
        self._tls.take(self._pair)
        self.context = self._tls.context
        self._warn()

    @property
    def not_after(self) -> float:
        """When the certificate in use expires."""
        return self._pair.not_after

    @property
    def is_behind(self) -> bool:
        """Tell whether the files hold something that was not taken, or nothing, when last looked at."""
        return bool(self._unfit)

    def reload(self) -> bool:
        """Take the files' pair if it is another one and fit; tell whether it was taken.

        What is unfit is told once in the log and counted, and tried again the next time. `looked` is
        called afterwards.
        """
        taken = self._reload()
        self._warn()
        self.looked()
        return taken

    def _reload(self) -> bool:
        try:
            pair = read_pair(*self._files)
            if pair.digest == self._pair.digest:
                self._unfit = ""
                return False
            self._take(pair)
        except CertificateUnfit as exc:
            self._refused(exc)
            return False
        return True

    @contextlib.asynccontextmanager
    async def watching(self, seconds: float) -> AsyncIterator[None]:
        """Look at the files every so many seconds for as long as the context lasts."""
        async with beside(self._watch(seconds), "certificate files"):
            yield

    async def _watch(self, seconds: float) -> None:
        # Looked at by reading: a few kilobytes, and no change can hide behind an equal time or size.
        while True:
            await asyncio.sleep(seconds)
            self.reload()

    def _take(self, pair: Pair) -> None:
        if pair.not_after <= self._clock() < self._pair.not_after:
            said = "the new certificate has expired, the one in use has not"
            raise CertificateUnfit(said, found=pair.digest)
        self._tls.take(pair)
        self._pair, self._unfit, self._warned = pair, "", ("", 0.0)
        _log.info("certificate_reloaded", extra={"not_after": rfc3339(pair.not_after)})

    def _refused(self, exc: CertificateUnfit) -> None:
        # Files are replaced one after the other, and looked at often: one fault is told once.
        found = str(exc.facts.get("found", exc.message))
        if found != self._unfit:
            self._unfit = found
            self.failures += 1
            _log.error("certificate_not_reloaded", extra={"cause": exc.message})

    def _warn(self) -> None:
        """Say once a day that the certificate runs out: whoever replaces it may have failed for weeks."""
        now = self._clock()
        left = self._pair.not_after - now
        if left >= _SOON_SECONDS:
            return
        event = "certificate_expired" if left <= 0 else "certificate_expires_soon"
        said = (event, now // _DAY_SECONDS)
        if said != self._warned:
            self._warned = said
            _log.warning(event, extra={"not_after": rfc3339(self._pair.not_after)})


def _nothing() -> None:
    """Do nothing, where nobody wants to be told."""


def read_pair(certificate: Path, key: Path) -> Pair:
    """Read both files as they are at one moment, and check that they are a pair.

    Errors:  CertificateUnfit.
    """
    certificate, key = of_one_revision(certificate, key)
    chain, private = _read(certificate, MAX_CHAIN_BYTES), _read(key, MAX_KEY_BYTES)
    pair = Pair(chain=chain, key=private, not_after=_not_after(chain, certificate))
    if b"ENCRYPTED" in private:  # OpenSSL would ask for its password at the terminal
        raise CertificateUnfit(f"{key} is encrypted; give a key that is not", found=pair.digest)
    with _as_file(pair) as path:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, path)
        except (ssl.SSLError, OSError, ValueError) as exc:
            raise _not_a_pair(exc, pair.digest) from exc
    return pair


def of_one_revision(certificate: Path, key: Path) -> tuple[Path, Path]:
    """Name both files by the folder that kubelet's link leads to now, if there is such a link."""
    link = certificate.parent / _REVISION
    if certificate.parent != key.parent or not link.is_symlink():
        return certificate, key
    folder = Path(os.path.realpath(link))
    return folder / certificate.name, folder / key.name


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as exc:
        raise CertificateUnfit(f"{path} cannot be read: {exc.strerror}") from exc
    if len(data) > limit:
        raise CertificateUnfit(f"{path} is longer than {limit} bytes")
    return data


def _not_after(chain: bytes, path: Path) -> float:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(chain)[0].not_valid_after_utc.timestamp()
    except ValueError as exc:
        found = _digest(chain, b"")
        raise CertificateUnfit(f"{path} holds no certificate as PEM", found=found) from exc


def _not_a_pair(exc: Exception, digest: str) -> CertificateUnfit:
    why = getattr(exc, "reason", None) or type(exc).__name__
    said = f"certificate and key are not a pair that can be used: {why}"
    return CertificateUnfit(said, found=digest)


def _digest(chain: bytes, key: bytes) -> str:
    return hashlib.sha256(chain + b"\0" + key).hexdigest()


@contextlib.contextmanager
def _as_file(pair: Pair) -> Iterator[str]:
    """Give the pair under a path, which is what OpenSSL reads; in memory where the system can."""
    if hasattr(os, "memfd_create"):
        handle, path = os.memfd_create("podpass-tls"), None
    else:
        handle, path = tempfile.mkstemp(prefix="podpass-tls-")
    try:
        os.write(handle, pair.chain + b"\n" + pair.key)
        yield path or f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
        if path is not None:
            Path(path).unlink()
