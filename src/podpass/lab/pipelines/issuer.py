"""Signs the tokens of jobs, publishes their keys to the token service, and serves the request protocols.

GitHub: GET {ACTIONS_ID_TOKEN_REQUEST_URL}&audience=A, Bearer -> {"value": TOKEN}
Azure DevOps: POST {SYSTEM_OIDCREQUESTURI}?serviceConnectionId=ID, Bearer -> {"oidcToken": TOKEN}

The bearer token is signed too and contains the name of the job, so the instance stores nothing.
"""

import logging
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson

from podpass import files, names
from podpass.assertion.keys import KeyRing
from podpass.clock import Clock
from podpass.crypto import jose
from podpass.directory.resources import EXCHANGE_APP_ID
from podpass.errors import Error, UsageError
from podpass.exchange.client_auth.issuer_discovery import JsonFetcher
from podpass.http.fetcher import FetchError
from podpass.http.server import JSON, App, Receive, Scope, Send, header, respond
from podpass.kubernetes.service_account import discovery
from podpass.lab.data.disk_errors import translate_disk_errors
from podpass.lab.pipelines.platforms import (
    AZURE_DEVOPS,
    GITHUB,
    ISSUERS,
    Job,
    describe_environment,
    parse_job,
)

_log = logging.getLogger(__name__)

PATH = "/_podpass/pipelines"
_REQUESTS = "podpass:pipelines"
_REQUEST_SECONDS = 6 * 3600  # the longest time of a job at GitHub
_MAX_AUDIENCE = 1024
_KEYS_PATH = "/.well-known/jwks"
_METHODS = {GITHUB: "GET", AZURE_DEVOPS: "POST"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EntraSigner:
    """The tenant, and the function that signs claims with the key of its token service."""

    tenant_id: str
    sign: Callable[[dict[str, Any]], str]


class PipelineIssuer:
    """The issuers of the enabled platforms, with one set of keys.

    The keys are opened with the first job: most instances have none, and the generation of a key is slow.
    """

    def __init__(
        self,
        folder: Path,
        find_platforms: Callable[[], Collection[str]],
        base: str,
        clock: Clock,
        entra: EntraSigner,
    ) -> None:
        self._folder = folder
        self._opened: KeyRing | None = None
        self._find_platforms = find_platforms
        self._base = base + PATH
        self._clock = clock
        self._entra = entra

    @property
    def _ring(self) -> KeyRing:
        """Open or create the keys. Raises KeyRingError, DiskNotWritable."""
        if self._opened is None:
            with translate_disk_errors():
                self._opened = KeyRing.open(self._folder, self._clock)
        return self._opened

    def end_jobs(self) -> bool:
        """Delete the keys: the tokens of all jobs are refused, and the next job has a new key.

        Returns whether there were keys; then the token service must fetch the keys again.
        """
        self._opened = None
        stored = list(self._folder.glob("*"))  # also what an interrupted write left
        for path in stored:
            files.remove(path)
        return bool(stored)

    def start_job(self, text: str, seconds: str = "") -> dict[str, str]:
        """Return the environment of a job. Raises UsageError, KeyRingError, DiskNotWritable.

        `seconds` shortens the lifetime of its tokens; without it, the lifetime is that of the platform.
        """
        job = self._parse(text, seconds)
        now = int(self._clock())
        request = {"iss": _REQUESTS, "sub": text, "seconds": seconds}
        request_token = self._ring.sign({**request, "iat": now, "exp": now + _REQUEST_SECONDS})
        return describe_environment(
            job,
            self._base,
            request_token,
            lambda: self._sign(job, names.EXCHANGE_AUDIENCE),
        )

    def _parse(self, text: str, seconds: str) -> Job:
        job = parse_job(text)
        if seconds:
            if not (seconds.isdecimal() and 0 < int(seconds) <= job.seconds):
                raise UsageError(
                    f"a token of {job.platform} cannot be valid for {seconds} seconds",
                    hint=f"--token-seconds can be 1 to {job.seconds}",
                )
            job = replace(job, seconds=int(seconds))
        job = job.of_tenant(self._entra.tenant_id)
        enabled = self._find_platforms()
        if job.platform not in enabled:
            wanted = ",".join(sorted({*enabled, job.platform}))
            raise UsageError(
                f"this instance does not trust local tokens of {job.platform}",
                hint=(
                    f"start it again with --pipelines {wanted}, or apply a seed with"
                    f" pipelines: [{job.platform}]"
                ),
            )
        return job

    def _sign(self, job: Job, audience: str) -> str:
        now = int(self._clock())
        times = {"iat": now, "nbf": now, "exp": now + job.seconds}
        identifiers = {"iss": job.issuer, "sub": job.subject, "aud": audience}
        claims = {"jti": str(uuid.uuid4()), **identifiers, **job.claims, **times}
        if not job.is_entra:
            return self._ring.sign(claims)
        return self._entra.sign({**claims, "aud": EXCHANGE_APP_ID, "tid": self._entra.tenant_id})

    def find_document(self, url: str) -> dict[str, Any] | None:
        """Return the discovery document or the keys of an enabled platform's issuer; None for another URL."""
        for suffix in (jose.DISCOVERY_PATH, _KEYS_PATH):
            issuer = url.removesuffix(suffix)
            if issuer != url and self._is_issuer(issuer):
                if suffix == _KEYS_PATH:
                    return discovery.jwks_document(self._ring.public)
                return {"issuer": issuer, "jwks_uri": issuer + _KEYS_PATH}
        return None

    def wrap_fetcher(self, others: JsonFetcher) -> JsonFetcher:
        """Return a fetcher that reads the documents of these issuers here, and all others by another one."""
        return _PipelineFetcher(self, others)

    def _is_issuer(self, issuer: str) -> bool:
        enabled = self._find_platforms()
        return any(
            platform in enabled
            and (issuer.startswith(known) if platform == AZURE_DEVOPS else issuer == known)
            for platform, known in ISSUERS.items()
        )

    def wrap(self, app: App) -> App:
        """Serve the request protocols, and everything else by another application."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or not scope["path"].startswith(f"{PATH}/"):
                await app(scope, receive, send)
                return
            try:
                status, body = self._answer(scope)
            except Error as exc:
                extra = {"code": exc.code, "cause": exc.message, **exc.facts}
                _log.error("pipeline_request_failed", extra=extra)
                status = 503
                body = {"message": "the keys that sign the tokens of jobs are unavailable"}
            await respond(send, status, orjson.dumps(body), (JSON,))

        return answer

    def _answer(self, scope: Scope) -> tuple[int, dict[str, str]]:
        platform = scope["path"].removeprefix(f"{PATH}/")
        # Check this before the keys are opened: an instance without pipelines must not create keys.
        if platform not in _METHODS or platform not in self._find_platforms():
            return 404, {"message": "there is no such request protocol"}
        if scope["method"] != _METHODS[platform]:
            return 405, {"message": f"use {_METHODS[platform]}"}
        job = self._authenticate(header(scope, b"authorization") or "")
        if job is None or job.platform != platform:
            return 401, {"message": "the bearer token is not the request token of a job"}
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if platform == AZURE_DEVOPS:
            if query.get("serviceConnectionId") != [job.connection]:
                return 404, {"message": "the job has no service connection with this id"}
            return 200, {"oidcToken": self._sign(job, names.EXCHANGE_AUDIENCE)}
        default = f"https://github.com/{job.claims['repository_owner']}"
        audience = query.get("audience", [default])[-1]
        if len(audience) > _MAX_AUDIENCE:
            return 400, {"message": "the audience is too long"}
        return 200, {"value": self._sign(job, audience)}

    def _authenticate(self, authorization: str) -> Job | None:
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            token = jose.parse(text)
            keys = [each for each in self._ring.public if each.kid == token.header.get("kid")]
            if not keys:
                return None
            jose.verify(token, keys[0])
            claims = token.claims
            # A token of a job has the issuer of its platform, so it is never a request token.
            if claims.get("iss") != _REQUESTS or self._clock() >= float(claims["exp"]):
                return None
            return self._parse(str(claims["sub"]), str(claims["seconds"]))
        except (jose.MalformedToken, jose.BadSignature, KeyError, ValueError, UsageError):
            return None


class _PipelineFetcher:
    def __init__(self, issuer: PipelineIssuer, others: JsonFetcher) -> None:
        self._issuer = issuer
        self._others = others

    async def get_json(self, url: str) -> dict[str, Any]:
        """Fetch one JSON object. Raises FetchError."""
        try:
            found = self._issuer.find_document(url)
        except Error as exc:
            raise FetchError(exc.message, reason="bad_key") from exc
        return await self._others.get_json(url) if found is None else found
