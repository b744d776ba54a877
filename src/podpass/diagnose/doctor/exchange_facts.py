"""Read what the token service publishes about a tenant, and try one exchange. No token leaves this module."""

import json
import re
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode

from podpass import names
from podpass.crypto import jose
from podpass.diagnose.doctor.model import AuthorityFacts, ExchangeFacts, PodToken
from podpass.errors import SettingsError
from podpass.facts import Unread
from podpass.imds.http_client import HttpResponse
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.paths import path_of
from podpass.provision.api_client import quote_segment
from podpass.provision.connection import AzureConnection, header
from podpass.provision.errors import ApiError, sanitize

_NUMBER = re.compile(r"AADSTS([0-9]{4,8})")
_TENANT = re.compile(r"https://[^/]+/([^/]+)/v2\.0")
_SUFFIX = re.compile(r"\s*Trace ID:.*", re.DOTALL)
_TOKEN_SECONDS = 600  # the shortest lifetime that an API server accepts


class AuthorityReader:
    """Reads a token service; the address has been checked by the caller."""

    def __init__(self, connection: AzureConnection) -> None:
        self._connection = connection

    async def read_tenant(self, login: str, tenant: str) -> AuthorityFacts | Unread:
        """Return what the token service says about a tenant to anyone."""
        url = f"{login}/{quote_segment(tenant)}/v2.0/.well-known/openid-configuration"
        try:
            response = await self._connection.send("GET", url)
        except (ApiError, SettingsError) as exc:
            return Unread(exc.message)
        known = _TENANT.fullmatch(str(_json(response).get("issuer") or ""))
        if response.status != 200 and _find_number(_json(response)) == 0:
            return Unread(f"{url} returned status {response.status}")
        return AuthorityFacts(
            url=url,
            tenant_id=known[1].lower() if known and response.status == 200 else "",
            now=_parse_date(header(response, "date")),
        )

    async def exchange(
        self, login: str, tenant: str, client_id: str, assertion: str, resource: str
    ) -> ExchangeFacts | Unread:
        """Exchange a token of a ServiceAccount; the access token is discarded."""
        form = {
            "grant_type": names.CLIENT_CREDENTIALS,
            "client_id": client_id,
            "scope": f"{resource}/.default",
            "client_assertion_type": names.JWT_BEARER,
            "client_assertion": assertion,
        }
        url = f"{login}/{quote_segment(tenant)}/oauth2/v2.0/token"
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            token = parse_token(assertion)
            response = await self._connection.send(
                "POST", url, headers=headers, body=urlencode(form).encode()
            )
        except (ApiError, SettingsError, jose.MalformedToken) as exc:
            return Unread(exc.message)
        answer = _json(response)
        if response.status == 200:
            return ExchangeFacts(token=token, status=200)
        described = str(answer.get("error_description") or answer.get("error") or "")
        return ExchangeFacts(
            token=token,
            status=response.status,
            number=_find_number(answer),
            message=sanitize(_SUFFIX.sub("", described)),
        )


async def request_token(
    client: KubeClient, namespace: str, account: str, audience: str
) -> str | Unread:
    """Request a short token of a ServiceAccount, as the kubelet does for a pod."""
    path = path_of("ServiceAccount", account, namespace=namespace, part="token")
    body = {"spec": {"audiences": [audience], "expirationSeconds": _TOKEN_SECONDS}}
    try:
        made = await client.create(path, body)
    except KubeError as exc:
        return Unread(f"no token of the ServiceAccount could be requested: {exc.message}")
    return str((made.get("status") or {}).get("token") or "")


def parse_token(text: str) -> PodToken:
    """Return the parts of a token that may be shown. Raises MalformedToken."""
    token = jose.parse(text)
    claims = token.claims
    given = claims.get("aud") or []
    return PodToken(
        issuer=str(claims.get("iss") or ""),
        subject=str(claims.get("sub") or ""),
        audiences=tuple(str(each) for each in (given if isinstance(given, list) else [given])),
        expires=_number(claims.get("exp")),
        issued=_number(claims.get("iat")),
        key_id=token.kid or "",
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _json(response: HttpResponse) -> dict[str, object]:
    try:
        found = json.loads(response.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _find_number(answer: dict[str, object]) -> int:
    found = _NUMBER.search(str(answer.get("error_description") or ""))
    return int(found[1]) if found else 0


def _parse_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None
