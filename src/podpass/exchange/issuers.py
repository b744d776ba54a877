"""The keys of issuers that a credential trusts: fetched by discovery, kept for a while, never for ever.

    fresh     0 .. fresh_seconds                    used as they are
    due       .. after that                         fetched again; if that fails, used until
    stale     fresh_seconds + stale_seconds         after which the issuer counts as down

A withdrawn key stops working when its issuer's keys are next fetched, an unknown `kid` fetches at most
once an interval, and a failed issuer is left alone for a moment: a flood of bad tokens is no flood of
fetches. Callers must have matched the issuer to a credential first.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from podpass import jose, names
from podpass.clock import Clock
from podpass.errors import Error
from podpass.settings import AuthoritySettings

_log = logging.getLogger(__name__)

MAX_ISSUERS = 10_000


class Source(Protocol):
    """Whatever fetches JSON objects from addresses that others chose."""

    async def get_json(self, url: str) -> dict[str, Any]: ...


class IssuerDown(Error):
    """An issuer's keys cannot be had, or its documents are unfit; `reason` is a stable slug."""

    code = "issuer_down"
    status = 502


@dataclass(slots=True, kw_only=True)
class _Entry:
    """What is known of one issuer.

    Units:   seconds since the epoch; `keys` None until a fetch has succeeded.
    """

    keys: Mapping[str, Sequence[jose.PublicKey]] | None = None
    fetched: float = 0.0
    tried: float = float("-inf")
    failure: IssuerDown | None = None
    fetching: asyncio.Task[None] | None = None


class Issuers:
    """A cache of issuers' signing keys."""

    def __init__(self, source: Source, settings: AuthoritySettings, clock: Clock) -> None:
        self._source = source
        self._settings = settings
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    async def keys(self, issuer: str, key_id: str) -> Sequence[jose.PublicKey]:
        """Give the keys an issuer publishes under an id; none when it publishes no such key.

        Errors:  IssuerDown.
        """
        entry = self._entries.get(issuer) or self._remember(issuer)
        if self._age(entry.fetched) >= self._settings.issuer_fresh_seconds or entry.keys is None:
            await self._refresh(issuer, entry, self._settings.issuer_retry_seconds)
        found = self._usable(entry).get(key_id)
        if found is None:
            await self._refresh(issuer, entry, self._settings.issuer_refetch_seconds)
            found = self._usable(entry).get(key_id, ())
        return found

    def _age(self, since: float) -> float:
        age = self._clock() - since
        # A clock set back would keep a withdrawn key alive: what seems to come from the future is old.
        return age if age >= 0 else float("inf")

    def _remember(self, issuer: str) -> _Entry:
        while len(self._entries) >= MAX_ISSUERS:
            del self._entries[next(iter(self._entries))]
        self._entries[issuer] = entry = _Entry()
        return entry

    def _usable(self, entry: _Entry) -> Mapping[str, Sequence[jose.PublicKey]]:
        longest = self._settings.issuer_fresh_seconds + self._settings.issuer_stale_seconds
        if entry.keys is not None and self._age(entry.fetched) < longest:
            return entry.keys
        raise entry.failure or IssuerDown("the issuer's keys are too old", reason="stale")

    async def _refresh(self, issuer: str, entry: _Entry, interval: float) -> None:
        if entry.fetching is None:
            if self._age(entry.tried) < interval:
                return
            entry.tried = self._clock()
            entry.fetching = asyncio.create_task(self._fetch_into(issuer, entry))
        # Shielded: a caller who hangs up must not take the others' answer with him.
        await asyncio.shield(entry.fetching)

    async def _fetch_into(self, issuer: str, entry: _Entry) -> None:
        try:
            entry.keys = await fetch_keys(self._source, issuer, self._settings.jwks_origins)
            entry.fetched, entry.failure = self._clock(), None
            _log.info("issuer_keys_fetched", extra={"iss": issuer, "keys": len(entry.keys)})
        except Error as exc:
            reason = exc.facts.get("reason", exc.code)
            _log.warning(
                "issuer_keys_not_fetched", extra={"iss": issuer, **exc.facts, "reason": reason}
            )
            entry.failure = IssuerDown(exc.message, reason=reason)
        finally:
            entry.fetching = None


async def fetch_keys(
    source: Source, issuer: str, jwks_origins: Sequence[str]
) -> Mapping[str, Sequence[jose.PublicKey]]:
    """Read an issuer's keys by discovery, by key id.

    Errors:  IssuerDown for unfit documents; what the source raises.
    """
    document = await source.get_json(issuer.removesuffix("/") + names.DISCOVERY_PATH)
    check_document(document, issuer, jwks_origins)
    keys: dict[str, list[jose.PublicKey]] = {}
    for key in jose.load_jwks(await source.get_json(document["jwks_uri"])):
        if key.kid is not None:
            keys.setdefault(key.kid, []).append(key)
    return keys


def check_document(document: Mapping[str, Any], issuer: str, jwks_origins: Sequence[str]) -> None:
    """Check that a discovery document speaks for this issuer and names keys where they may be.

    Errors:  IssuerDown. Entra cannot read documents with an empty authorization_endpoint or an empty list
             of subject types either, so an issuer that works here works there.
    """
    if document.get("issuer") != issuer:
        raise IssuerDown("the document names another issuer", reason="issuer_mismatch")
    where = document.get("jwks_uri")
    if not isinstance(where, str):
        raise IssuerDown("the document names no jwks_uri", reason="no_jwks_uri")
    if _origin(where) not in (_origin(issuer), *jwks_origins):
        raise IssuerDown("the keys are on another origin than the issuer", reason="jwks_origin")
    if document.get("authorization_endpoint", "-") == "" or (
        document.get("subject_types_supported", "-") == []
    ):
        raise IssuerDown(
            "the document has an empty member that may not be empty", reason="empty_member"
        )


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}" + ("" if port == 443 else f":{port}")
