"""The vault's edge: a request in, an operation run, an answer or a refusal out. It only translates.

The order is: which vault, who calls, what is asked, may they, do it; the verdicts are `authorise`'s and
`guard`'s. A body is read only after the caller is known; every client's first request has neither body nor
token and is answered with the challenge.
"""

import logging
import time
import uuid
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import orjson

from podpass import database, log
from podpass.clock import Clock
from podpass.directory.actor import Actor, acting
from podpass.directory.model import Vault
from podpass.directory.resources import VAULT_APP_ID, audiences
from podpass.errors import Error
from podpass.http.server import (
    JSON,
    App,
    BodyTooLarge,
    Headers,
    Receive,
    Scope,
    Send,
    fit_request_id,
    header,
    header_values,
    read_body,
    respond,
)
from podpass.resource import authorization, errors, guard, vault, vault_hosts, wire
from podpass.resource.authorization import Directory
from podpass.resource.guard import Principal, PublishedKeys
from podpass.resource.store import SecretStore
from podpass.settings import VaultSettings

_log = logging.getLogger(__name__)

_NO_CONTENT = 204


@dataclass(slots=True, kw_only=True)
class _Progress:
    """What is known of a request so far, for the answer's headers and the log."""

    client_request_id: str | None
    request_id: str
    began: float
    challenge: str = ""
    allow: str = ""
    asked: str = "a vault"
    checked: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def create_app(
    settings: VaultSettings,
    directory: Directory,
    store: SecretStore,
    keys: PublishedKeys,
    clock: Clock,
) -> App:
    """Make the application that serves every vault of the directory."""
    return _VaultApp(settings, directory, store, keys, clock)


class _VaultApp:
    def __init__(
        self,
        settings: VaultSettings,
        directory: Directory,
        store: SecretStore,
        keys: PublishedKeys,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._store = store
        self._keys = keys
        self._clock = clock
        self._doors: dict[str, guard.Guard] = {}
        origins = [origin.resource for origin in settings.origins]
        self._audiences = audiences(VAULT_APP_ID, origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        progress = _begin(scope)
        log.correlation_id.set(progress.client_request_id or progress.request_id)
        status, body = await self._answer(scope, receive, progress)
        content = b"" if body is None else orjson.dumps(body)
        await respond(send, status, content, _headers(progress, status))

    async def _answer(self, scope: Scope, receive: Receive, progress: _Progress) -> vault.Answer:
        try:
            answer = await self._serve(scope, receive, progress)
        except errors.VaultRefusal as exc:
            _hop(progress, _outcome(exc), **_cause(exc))
            if isinstance(exc, errors.MethodNotAllowed):
                progress.allow = ", ".join(exc.allowed)
            return exc.status, wire.error(exc)
        except database.DatabaseFailed as exc:
            told = errors.of_database(exc)
            _hop(progress, exc.code, level=logging.ERROR, **exc.facts)
            return told.status, wire.error(told)
        except Exception:  # noqa: BLE001 the edge answers for bugs too
            _log.exception("vault_request_failed", extra={"stage": "resource", **progress.facts})
            text = f"Something went wrong in the vault. Request id: {progress.request_id}."
            return 500, {"error": {"code": "InternalServerError", "message": text}}
        _hop(progress, "ok")
        return answer

    async def _serve(self, scope: Scope, receive: Receive, progress: _Progress) -> vault.Answer:
        place = vault_hosts.locate(header(scope, b"host"), self._settings.origins)
        found = await authorization.find_vault(self._directory, place.vault)
        progress.asked = f"{scope['method']} in vault {found.name}"
        progress.facts["vault"] = found.name
        progress.challenge = wire.challenge(place.authority, found.tenant_id, place.resource)
        principal = await self._admit(scope, found, place, progress)
        operation, name, version = vault.route(scope["method"], _segments(scope))
        progress.asked = f"{operation.title} {name}".strip() + f" in vault {found.name}"
        progress.facts["secret"] = name
        query = wire.read_query(scope["query_string"])
        allowed = await authorization.authorise(
            self._directory,
            principal,
            found,
            action=operation.action,
            permission=operation.permission,
            secret=name,
        )
        progress.checked.append(allowed)
        call = vault.Call(
            store=self._store,
            vault=found,
            base=place.base,
            name=name,
            version=version,
            query=query,
            body=await _body(receive, operation.max_body),
            now=self._clock(),
            action=operation.action,
        )
        if not operation.changes:
            return await operation.run(call)
        who = await authorization.name_of(self._directory, principal)
        with acting(Actor(object_id=principal.object_id, name=who)):
            return await operation.run(call)

    async def _admit(
        self, scope: Scope, found: Vault, place: vault_hosts.Place, progress: _Progress
    ) -> Principal:
        given = header_values(scope, b"authorization")
        if given:
            token = given[0].partition(" ")[2].strip()
            progress.facts["token_sha256"] = log.fingerprint(token)
        door = self._door(found.tenant_id)
        try:
            principal = await door.admit(given)
            authorization.check_scope(principal)
        except guard.TokenRefused as exc:
            raise errors.of_token(exc, door.accepted.issuer, place.resource) from exc
        except guard.KeysUnavailable as exc:
            raise errors.Unavailable(
                "The vault cannot check tokens at the moment.", hint=exc.hint
            ) from exc
        # The authority logs the token's `uti` too, which ties the two hops together.
        progress.facts |= {"client_id": principal.app_id, "uti": principal.claims.get("uti")}
        progress.checked += [
            f"signature by key {principal.key_id}",
            f"issuer {door.accepted.issuer}",
            f"audience {principal.claims['aud']}",
            "lifetime",
        ]
        return principal

    def _door(self, tenant_id: str) -> guard.Guard:
        if (kept := self._doors.get(tenant_id)) is not None:
            return kept
        door = guard.Guard(
            tenant_id=tenant_id,
            audiences=self._audiences,
            # Version 1 only, as the real vault: a version 2 token is for somebody's own API.
            authorities=(),
            keys=self._keys,
            leeway_seconds=self._settings.leeway_seconds,
            clock=self._clock,
        )
        return self._doors.setdefault(tenant_id, door)


def _begin(scope: Scope) -> _Progress:
    fit = fit_request_id(header(scope, b"x-ms-client-request-id"))
    return _Progress(client_request_id=fit, request_id=str(uuid.uuid4()), began=time.perf_counter())


def _headers(progress: _Progress, status: int) -> Headers:
    headers = [
        *([JSON] if status != _NO_CONTENT else []),
        (b"cache-control", b"no-cache"),
        (b"pragma", b"no-cache"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-ms-request-id", progress.request_id.encode()),
    ]
    if progress.client_request_id is not None:
        headers.append((b"x-ms-client-request-id", progress.client_request_id.encode()))
    if status == errors.Unavailable.status:
        headers.append((b"retry-after", str(database.DatabaseBusy.retry_seconds).encode()))
    if status == errors.Unauthorized.status:
        headers.append((b"www-authenticate", progress.challenge.encode()))
    if progress.allow:
        headers.append((b"allow", progress.allow.encode()))
    return headers


def _segments(scope: Scope) -> list[str]:
    """Split the path before decoding it, so that an encoded slash stays inside its name."""
    path = bytes(scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    segments = [unquote(part) for part in path.partition("?")[0].split("/")[1:]]
    while segments and not segments[-1]:
        segments.pop()
    return segments


async def _body(receive: Receive, limit: int) -> bytes:
    try:
        return await read_body(receive, limit)
    except BodyTooLarge as exc:
        raise _too_large(limit) from exc


def _too_large(limit: int) -> errors.BadParameter:
    refused = errors.BadParameter(f"The body is over {limit} bytes.")
    refused.status = BodyTooLarge.status
    return refused


def _outcome(refused: errors.VaultRefusal) -> str:
    return "challenge" if isinstance(refused, errors.MissingToken) else refused.code


def _cause(refused: errors.VaultRefusal) -> dict[str, Any]:
    cause = refused.__cause__
    facts: dict[str, Any] = {"cause": refused.message}
    if isinstance(cause, Error):
        facts |= {"cause": cause.message, **cause.facts}
    return facts


def _hop(progress: _Progress, outcome: str, *, level: int = logging.INFO, **facts: object) -> None:
    log.hop(
        _log,
        "vault_request_answered",
        level=level,
        stage="resource",
        asked=progress.asked,
        checked=progress.checked,
        seconds=time.perf_counter() - progress.began,
        outcome=outcome,
        **{**progress.facts, **facts},
    )
