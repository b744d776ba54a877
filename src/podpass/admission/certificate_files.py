"""What the webhook needs of whoever keeps its serving certificate: files, or the rotation in the cluster."""

import asyncio
import logging
import ssl
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from podpass.clock import Clock, rfc3339, system
from podpass.http.tls import CertificateUnfit, ReloadingTls
from podpass.tasks import end

_log = logging.getLogger(__name__)

CERTIFICATE, KEY = "tls.crt", "tls.key"
_POLL_SECONDS = 10.0
_FIRST_POLL_SECONDS = 1.0


class Serving(Protocol):
    """A serving certificate that changes under a running server.

    Shapes:  `context` is one object for good; servers hold it.
    Units:   `not_after` and `ca_not_after` in seconds since the epoch, 0 where unknown; `rotations` counts
             the certificates taken since the start.
    """

    context: ssl.SSLContext

    @property
    def not_after(self) -> float: ...

    @property
    def ca_not_after(self) -> float: ...

    @property
    def rotations(self) -> int: ...

    @property
    def is_hindered(self) -> bool:
        """Tell whether a renewal has something in its way, however long what is served will do."""

    def trouble(self) -> str:
        """Say why API servers do not trust what is served; empty when they do."""


class CertificateFiles:
    """A pair in a folder that somebody else renews, such as cert-manager; it is a Serving.

    Entering waits until there is a pair that fits: kubelet may mount the Secret before it is filled.
    Nobody here knows what API servers trust then, so a pair that is valid now is all that is asked for.
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
        self._fault = f"{folder} has not been looked at yet"
        self._taken = 0
        self._watching: asyncio.Task[None] | None = None

    @property
    def not_after(self) -> float:
        return self._tls.not_after if self._tls is not None else 0.0

    @property
    def ca_not_after(self) -> float:
        return 0.0

    @property
    def rotations(self) -> int:
        return self._taken

    @property
    def is_hindered(self) -> bool:
        return self._tls is None or self._tls.is_behind

    def trouble(self) -> str:
        """Say why nobody can trust what is served; empty where that is not known."""
        if self._tls is None:
            return f"there is no certificate to serve: {self._fault}"
        if self._tls.not_after <= self._clock():
            return f"the certificate expired at {rfc3339(self._tls.not_after)}"
        return ""

    async def __aenter__(self) -> Self:
        while (tls := self._open()) is None:  # noqa: ASYNC110 files tell nobody of a change
            await asyncio.sleep(min(self._poll_seconds, _FIRST_POLL_SECONDS))
        self._tls, self.context = tls, tls.context
        self._watching = asyncio.create_task(self._watch(tls), name="certificate files")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await end(self._watching)

    def _open(self) -> ReloadingTls | None:
        try:
            certificate, key = self._folder / CERTIFICATE, self._folder / KEY
            return ReloadingTls(certificate, key, self._clock, minimum=self._minimum)
        except CertificateUnfit as exc:
            if exc.message != self._fault:  # looked at every second, told once
                self._fault = exc.message
                _log.error("certificate_not_usable", extra={"cause": exc.message})
            return None

    async def _watch(self, tls: ReloadingTls) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            self._taken += tls.reload()
