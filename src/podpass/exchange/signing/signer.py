"""Signs tokens after the requests of one event-loop iteration, in batches if a batch signer is available.

A signature takes a quarter of a millisecond and evicts other data from the processor's caches. The signer
therefore signs after all waiting requests are checked, so that both kinds of work use warm caches. With a
batch signer, it also waits a few iterations until a batch is full.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

from podpass.crypto import jose
from podpass.errors import Error
from podpass.tasks import CoalescedCallback

_log = logging.getLogger(__name__)

# The number of event-loop iterations that an incomplete batch waits. Requests on new connections arrive one
# or two in an iteration; an iteration without other work takes 15 us.
MAX_WAIT_TICKS = 4
OPENSSL, BATCH = "openssl", "batch"

_Waiting = tuple[asyncio.Future[bytes], jose.SigningKey, str]


class BatchKey(Protocol):
    """A key that signs several texts together; it returns only valid signatures."""

    def sign(self, texts: Sequence[bytes]) -> Sequence[bytes]: ...


class BatchSigner(Protocol):
    """A plugin that signs several texts together.

    `file` is the library that it uses. A batch has `min_batch` to `max_batch` texts; below `min_batch`,
    single signatures by OpenSSL are faster.
    """

    file: str

    @property
    def min_batch(self) -> int: ...
    @property
    def max_batch(self) -> int: ...

    def load(self, key: Any) -> BatchKey: ...


class SignatureMetrics(Protocol):
    """Counts signatures by their signer, and batch signers that were disabled after a failure."""

    def count_signatures(self, by: str, count: int) -> None: ...
    def count_batch_signer_disabled(self) -> None: ...


class Signer:
    """Sign claims at the end of an event-loop iteration, or a few iterations later in a batch."""

    def __init__(
        self, batch_signer: BatchSigner | None = None, metrics: SignatureMetrics | None = None
    ) -> None:
        self._batch_signer = batch_signer
        self._metrics = metrics
        self._loaded: tuple[jose.SigningKey, BatchKey] | None = None
        self._waiting: list[_Waiting] = []
        self._waited_ticks = 0
        self._sign_later = CoalescedCallback(self._sign_all)

    async def sign(
        self, key: jose.SigningKey, claims: Mapping[str, Any], header: Mapping[str, Any]
    ) -> str:
        """Sign claims as a compact JWS."""
        text = key.signing_input(claims, header)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, key, text))
        self._sign_later.schedule()
        return jose.attach_signature(text, await future)

    def _sign_all(self) -> None:
        if len(self._waiting) < self._max_batch and self._waited_ticks < MAX_WAIT_TICKS:
            self._waited_ticks += 1
            self._sign_later.schedule()
            return
        self._waited_ticks = 0
        waiting, self._waiting = self._waiting, []
        for key, batch in _split_batches(waiting, self._max_batch or len(waiting)):
            signatures = self._sign_batch(key, [text for _, text in batch])
            if signatures is None:
                _sign_each(key, batch)
            else:
                for (future, _), signature in zip(batch, signatures, strict=True):
                    future.set_result(signature)
            if self._metrics is not None:
                self._metrics.count_signatures(OPENSSL if signatures is None else BATCH, len(batch))

    @property
    def _max_batch(self) -> int:
        """Return the size of a full batch; 0 without a batch signer."""
        return self._batch_signer.max_batch if self._batch_signer is not None else 0

    def _sign_batch(self, key: jose.SigningKey, texts: Sequence[str]) -> Sequence[bytes] | None:
        """Sign texts by the batch signer; None if there is none, or the batch is too small."""
        if self._loaded is not None and self._loaded[0] is not key:
            self._loaded = None  # the key may have been withdrawn, and must not stay in memory
        if self._batch_signer is None or len(texts) < self._batch_signer.min_batch:
            return None
        try:
            if self._loaded is None:
                self._loaded = (key, self._batch_signer.load(key.key))
            return self._loaded[1].sign([text.encode() for text in texts])
        except Exception as exc:  # noqa: BLE001 after any error, OpenSSL signs for the waiting callers
            # From now on, only OpenSSL signs: a library that failed once is not used again.
            reason = exc.message if isinstance(exc, Error) else type(exc).__name__
            file = self._batch_signer.file if self._batch_signer else ""
            _log.error("batch_signer_disabled", extra={"reason": reason, "library": file})
            self._batch_signer = self._loaded = None
            if self._metrics is not None:
                self._metrics.count_batch_signer_disabled()
            return None


def _split_batches(
    waiting: Sequence[_Waiting], size: int
) -> Iterator[tuple[jose.SigningKey, list[tuple[asyncio.Future[bytes], str]]]]:
    """Split the texts of callers that still wait into batches, each for one key."""
    wanted = (each for each in waiting if not each[0].cancelled())
    for _, same in groupby(wanted, key=lambda each: id(each[1])):
        of_key = list(same)
        for at in range(0, len(of_key), size):
            batch = of_key[at : at + size]
            yield batch[0][1], [(future, text) for future, _, text in batch]


def _sign_each(key: jose.SigningKey, batch: Sequence[tuple[asyncio.Future[bytes], str]]) -> None:
    for future, text in batch:
        try:
            future.set_result(key.signature(text))
        except Exception as exc:  # noqa: BLE001 the error belongs to this caller, not to the batch
            future.set_exception(exc)
