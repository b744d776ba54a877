"""Tokens signed in batches: those of one turn of the loop one by one, those of a few turns eight at a time.

A signature takes a quarter of a millisecond and drives everything else out of the processor's caches. Doing
the judging of all waiting requests first, then the signing, keeps both warm, and gives the multi-buffer
library, where there is one, its eight.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

from podpass.crypto import jose
from podpass.crypto.multibuffer.library import LANES
from podpass.errors import Error
from podpass.tasks import EndOfTurn

_log = logging.getLogger(__name__)

# A batch takes as long as two and a half signatures, with the checks of what it made three.
LEAST = 3
# Turns that a batch waits until it is full. Requests on new connections come one or two in a turn; a turn of
# a loop that has nothing else to do takes 15 us.
PATIENCE = 4

_Waiting = tuple[asyncio.Future[bytes], jose.SigningKey, str]
SINGLY, TOGETHER = "openssl", "multibuffer"


class LoadedKey(Protocol):
    """A key that signs several texts at once, and gives no signature that is not right."""

    def sign(self, texts: Sequence[bytes]) -> Sequence[bytes]: ...


class Library(Protocol):
    """Whatever loads such keys, as `podpass.crypto.multibuffer.library.Library`."""

    file: str

    def load(self, key: Any) -> LoadedKey: ...


class Tally(Protocol):
    """Whoever counts signatures, by what made them, and the end of a library that was given up."""

    def signed(self, by: str, count: int) -> None: ...

    def gave_up(self) -> None: ...


class Signer:
    """Sign claims at the end of the loop's turn, or of a later one that brings more of them."""

    def __init__(self, library: Library | None = None, tally: Tally | None = None) -> None:
        self._library = library
        self._tally = tally
        self._loaded: tuple[jose.SigningKey, LoadedKey] | None = None
        self._waiting: list[_Waiting] = []
        self._waited = 0
        self._turn = EndOfTurn(self._sign_all)

    async def sign(
        self, key: jose.SigningKey, claims: Mapping[str, Any], header: Mapping[str, Any]
    ) -> str:
        """Sign claims as a compact JWS."""
        text = key.text(claims, header)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, key, text))
        self._turn.want()
        return jose.attach(text, await future)

    def _sign_all(self) -> None:
        has_room = self._library is not None and len(self._waiting) < LANES
        if has_room and self._waited < PATIENCE:
            self._waited += 1
            self._turn.want()
            return
        self._waited = 0
        waiting, self._waiting = self._waiting, []
        for key, batch in _batches(waiting):
            signatures = self._together(key, [text for _, text in batch])
            if signatures is None:
                _singly(key, batch)
            else:
                for (future, _), signature in zip(batch, signatures, strict=True):
                    future.set_result(signature)
            if self._tally is not None:
                self._tally.signed(SINGLY if signatures is None else TOGETHER, len(batch))

    def _together(self, key: jose.SigningKey, texts: Sequence[str]) -> Sequence[bytes] | None:
        """Sign texts by the library; None where there is none, or too few texts for it."""
        if self._loaded is not None and self._loaded[0] is not key:
            self._loaded = None  # it may have been withdrawn: what signs no more is not kept
        if self._library is None or len(texts) < LEAST:
            return None
        try:
            if self._loaded is None:
                self._loaded = (key, self._library.load(key.key))
            return self._loaded[1].sign([text.encode() for text in texts])
        except Exception as exc:  # noqa: BLE001 whatever it is, OpenSSL signs for those who wait
            self._give_up(exc)
            return None

    def _give_up(self, exc: Exception) -> None:
        """Sign by OpenSSL alone: what failed once, by its own fault or the machine's, is not asked again."""
        reason = exc.message if isinstance(exc, Error) else type(exc).__name__
        library = self._library.file if self._library else ""
        _log.error("multibuffer_given_up", extra={"reason": reason, "library": library})
        self._library = self._loaded = None
        if self._tally is not None:
            self._tally.gave_up()


def _batches(
    waiting: Sequence[_Waiting],
) -> Iterator[tuple[jose.SigningKey, list[tuple[asyncio.Future[bytes], str]]]]:
    """Share out what callers still wait for: up to eight of one key."""
    wanted = (each for each in waiting if not each[0].cancelled())
    for _, same in groupby(wanted, key=lambda each: id(each[1])):
        of_key = list(same)
        for at in range(0, len(of_key), LANES):
            batch = of_key[at : at + LANES]
            yield batch[0][1], [(future, text) for future, _, text in batch]


def _singly(key: jose.SigningKey, batch: Sequence[tuple[asyncio.Future[bytes], str]]) -> None:
    for future, text in batch:
        try:
            future.set_result(key.signature(text))
        except Exception as exc:  # noqa: BLE001 it belongs to the one who asked, not to the batch
            future.set_exception(exc)
