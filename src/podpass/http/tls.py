"""TLS server contexts whose certificate and key are reloaded while the server runs.

    one revision   both files are read from one revision of a mounted Secret: the kubelet replaces a link to
                   the directory with both files
    tried first    a pair that is invalid never reaches the context in use
    unchanged      minimum version, ciphers and client CAs stay those of the first context

If an invalid pair were loaded into the context in use, the call would fail, and every later handshake too.
A pair is therefore loaded into another context first, from the same bytes.
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
from podpass.tasks import background_task

_log = logging.getLogger(__name__)

# The kubelet's link to the directory with the current revision of a mounted Secret.
_REVISION = "..data"
MAX_CHAIN_BYTES = 64 * 1024
MAX_KEY_BYTES = 16 * 1024
_DAY_SECONDS = 86400
_SOON_SECONDS = 7 * _DAY_SECONDS
# NOTE: 1.0 and 1.1 are raised to 1.2. RFC 8996 forbids both, and every API server of the last ten years
# supports 1.2.
_VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1_2,
    "1.1": ssl.TLSVersion.TLSv1_2,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}


class CertificateInvalid(Error):
    """Certificate and key cannot be read, or do not belong together."""

    code = "certificate_invalid"
    hint = "set the PEM files of a certificate chain and of its private key"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificatePair:
    """A certificate chain and its private key as PEM, read together.

    Units: `not_after` in seconds since the epoch.
    """

    chain: bytes
    key: bytes = field(repr=False)
    not_after: float

    @property
    def digest(self) -> str:
        return _digest(self.chain, self.key)


class ServerTls:
    """A server context whose certificate can be replaced while the server runs.

    `context` never changes its identity; servers may store it. Every handshake fails until a pair is loaded.
    `minimum` is "1.0", "1.1", "1.2" or "1.3"; versions below 1.2 are never used.
    """

    def __init__(self, *, client_ca: str | None = None, minimum: str = "1.2") -> None:
        self.context = server_context(client_ca=client_ca, minimum=_VERSIONS[minimum])

    def load(self, pair: CertificatePair) -> None:
        """Replace the certificate pair, starting with the next handshake.

        Raises CertificateInvalid; the previous pair then stays in use.
        """
        validate_pair(pair)
        with _as_file(pair) as path:
            self.context.load_cert_chain(path, path)


def validate_pair(pair: CertificatePair) -> None:
    """Check that a pair can be loaded. Raises CertificateInvalid."""
    with _as_file(pair) as path:
        try:
            server_context().load_cert_chain(path, path)
        except (ssl.SSLError, OSError, ValueError) as exc:
            raise _pair_error(exc, pair.digest) from exc


class ReloadingTls:
    """A TLS server context that reloads its certificate when its files change.

    `context` never changes its identity; servers may store it.
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
        self.on_check: Callable[[], None] = _do_nothing
        self._invalid = ""
        self._last_warning = ("", 0.0)
        self._pair = read_pair(certificate, key)
        ca = str(client_ca) if client_ca is not None else None
        self._tls = ServerTls(client_ca=ca, minimum=minimum)
        self._tls.load(self._pair)
        self.context = self._tls.context
        self._warn_about_expiry()

    @property
    def not_after(self) -> float:
        """Return when the certificate in use expires."""
        return self._pair.not_after

    @property
    def is_expired(self) -> bool:
        """Return whether the certificate in use is expired."""
        return self._pair.not_after <= self._clock()

    @property
    def is_stale(self) -> bool:
        """Return whether the last check found files that are missing or not loaded."""
        return bool(self._invalid)

    def reload(self) -> bool:
        """Load the pair in the files if it is new and valid; return whether it was loaded.

        An invalid pair is logged once and counted, and checked again at the next call. `on_check` is
        called afterwards.
        """
        is_loaded = self._reload()
        self._warn_about_expiry()
        self.on_check()
        return is_loaded

    def _reload(self) -> bool:
        try:
            pair = read_pair(*self._files)
            if pair.digest == self._pair.digest:
                self._invalid = ""
                return False
            self._load(pair)
        except CertificateInvalid as exc:
            # The files are replaced one after the other and checked often, so each error is logged once.
            found = str(exc.facts.get("found", exc.message))
            if found != self._invalid:
                self._invalid = found
                self.failures += 1
                _log.error("certificate_reload_failed", extra={"cause": exc.message})
            return False
        return True

    @contextlib.asynccontextmanager
    async def watching(self, seconds: float) -> AsyncIterator[None]:
        """Check the files at this interval until the context ends."""
        async with background_task(self._watch(seconds), "certificate files"):
            yield

    async def _watch(self, seconds: float) -> None:
        # Checked by content: a few kilobytes, and a change that keeps time and size is detected too.
        while True:
            await asyncio.sleep(seconds)
            self.reload()

    def _load(self, pair: CertificatePair) -> None:
        if pair.not_after <= self._clock() < self._pair.not_after:
            message = "the new certificate is expired, and the one in use is not"
            raise CertificateInvalid(message, found=pair.digest)
        self._tls.load(pair)
        self._pair, self._invalid, self._last_warning = pair, "", ("", 0.0)
        _log.info("certificate_reloaded", extra={"not_after": rfc3339(pair.not_after)})

    def _warn_about_expiry(self) -> None:
        """Log once a day that the certificate expires soon: its renewal may have failed for weeks."""
        now = self._clock()
        left = self._pair.not_after - now
        if left >= _SOON_SECONDS:
            return
        event = "certificate_expired" if left <= 0 else "certificate_expires_soon"
        warning = (event, now // _DAY_SECONDS)
        if warning != self._last_warning:
            self._last_warning = warning
            _log.warning(event, extra={"not_after": rfc3339(self._pair.not_after)})


def _do_nothing() -> None:
    """Do nothing; the default of `on_check`."""


def read_pair(certificate: Path, key: Path) -> CertificatePair:
    """Read both files from one revision, and check that they belong together. Raises CertificateInvalid."""
    certificate, key = resolve_revision(certificate, key)
    chain, private = _read_file(certificate, MAX_CHAIN_BYTES), _read_file(key, MAX_KEY_BYTES)
    pair = CertificatePair(chain=chain, key=private, not_after=_not_after(chain, certificate))
    if b"ENCRYPTED" in private:  # OpenSSL would prompt for a password on the terminal
        raise CertificateInvalid(
            f"{key} is encrypted; use a key without a password", found=pair.digest
        )
    with _as_file(pair) as path:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, path)
        except (ssl.SSLError, OSError, ValueError) as exc:
            raise _pair_error(exc, pair.digest) from exc
    return pair


def resolve_revision(certificate: Path, key: Path) -> tuple[Path, Path]:
    """Return both paths in the directory of the current revision, if the kubelet's link exists."""
    link = certificate.parent / _REVISION
    if certificate.parent != key.parent or not link.is_symlink():
        return certificate, key
    folder = Path(os.path.realpath(link))
    return folder / certificate.name, folder / key.name


def _read_file(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as exc:
        raise CertificateInvalid(f"{path} cannot be read: {exc.strerror}") from exc
    if len(data) > limit:
        raise CertificateInvalid(f"{path} is larger than {limit} bytes")
    return data


def _not_after(chain: bytes, path: Path) -> float:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(chain)[0].not_valid_after_utc.timestamp()
    except ValueError as exc:
        found = _digest(chain, b"")
        raise CertificateInvalid(f"{path} contains no PEM certificate", found=found) from exc


def _pair_error(exc: Exception, digest: str) -> CertificateInvalid:
    reason = getattr(exc, "reason", None) or type(exc).__name__
    message = f"certificate and key are not a valid pair: {reason}"
    return CertificateInvalid(message, found=digest)


def _digest(chain: bytes, key: bytes) -> str:
    return hashlib.sha256(chain + b"\0" + key).hexdigest()


@contextlib.contextmanager
def _as_file(pair: CertificatePair) -> Iterator[str]:
    """Yield the path of a file with the pair, for OpenSSL; in memory if the system supports it."""
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
