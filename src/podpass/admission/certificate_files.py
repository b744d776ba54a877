"""Interface of a serving certificate, and the implementation that loads it from files."""

import asyncio
import logging
import ssl
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from podpass.clock import Clock, rfc3339, system
from podpass.http.tls import CertificateInvalid, ReloadingTls
from podpass.tasks import cancel_and_wait

_log = logging.getLogger(__name__)

CERTIFICATE, KEY = "tls.crt", "tls.key"
_POLL_SECONDS = 10.0
_FIRST_POLL_SECONDS = 1.0


class ServingCertificate(Protocol):
    """A serving certificate that is replaced while the server runs.

    `context` is the same object for the lifetime of the process. Units: `not_after` and `ca_not_after` in
    seconds since the epoch, 0 if unknown; `rotations` counts the certificates loaded since the start.
    """

    context: ssl.SSLContext

    @property
    def not_after(self) -> float: ...

    @property
    def ca_not_after(self) -> float: ...

    @property
    def rotations(self) -> int: ...

    @property
    def is_degraded(self) -> bool:
        """Return whether renewal fails, even if the served certificate is valid for months."""

    def not_ready_reason(self) -> str:
        """Return why API servers do not trust the served certificate, or an empty text."""


class CertificateFiles:
    """A ServingCertificate in a directory whose files another program, such as cert-manager, renews.

    Entering the context waits until there is a valid pair: the kubelet may mount the Secret before it is
    filled. The webhook cannot know which CA API servers trust, so it accepts every pair that is valid now.
    """

    context: ssl.SSLContext

    def __init__(
        self,
        folder: Path,
        *,
        tls_min_version: str,
        clock: Clock = system,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        self._folder = folder
        self._minimum = tls_min_version
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._tls: ReloadingTls | None = None
        self._fault = f"{folder} has not been read yet"
        self._loaded = 0
        self._watch_task: asyncio.Task[None] | None = None

    @property
    def not_after(self) -> float:
        return self._tls.not_after if self._tls is not None else 0.0

    @property
    def ca_not_after(self) -> float:
        return 0.0

    @property
    def rotations(self) -> int:
        return self._loaded

    @property
    def is_degraded(self) -> bool:
        return self._tls is None or self._tls.is_stale

    def not_ready_reason(self) -> str:
        """Return why API servers cannot trust the served certificate, or an empty text."""
        if self._tls is None:
            return f"there is no certificate to serve: {self._fault}"
        if self._tls.not_after <= self._clock():
            return f"the certificate expired at {rfc3339(self._tls.not_after)}"
        return ""

    async def __aenter__(self) -> Self:
        while (tls := self._try_open()) is None:  # noqa: ASYNC110 there is no event for a changed file
            await asyncio.sleep(min(self._poll_seconds, _FIRST_POLL_SECONDS))
        self._tls, self.context = tls, tls.context
        self._watch_task = asyncio.create_task(self._watch(tls), name="certificate files")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await cancel_and_wait(self._watch_task)

    def _try_open(self) -> ReloadingTls | None:
        try:
            certificate, key = self._folder / CERTIFICATE, self._folder / KEY
            return ReloadingTls(certificate, key, self._clock, minimum=self._minimum)
        except CertificateInvalid as exc:
            if exc.message != self._fault:  # checked every second, logged once
                self._fault = exc.message
                _log.error("certificate_load_failed", extra={"cause": exc.message})
            return None

    async def _watch(self, tls: ReloadingTls) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            self._loaded += tls.reload()
