"""Ask API servers which keys they accept, and which key they sign with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podpass.assertion.publishing import documents
from podpass.assertion.publishing.model import IssuerError
from podpass.crypto import jose
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.service_account import discovery
from podpass.kubernetes.service_account.names import JWKS_PATH

# No service accepts tokens with this audience, so a token that shows the key is of no use to anyone.
PROBE_AUDIENCE = "podpass-issuer-key-check"
_PROBE_SECONDS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerKeys:
    """The keys of one API server.

    `accepted` are the key IDs of its JWKS; `signing` is the key ID of a new token; `issuer` and `time` are
    `iss` and `iat` of this token.
    """

    server: str
    accepted: frozenset[str]
    signing: str
    issuer: str
    time: float


async def read_all(kubeconfigs: Sequence[Path], probe_account: str) -> list[ApiServerKeys]:
    """Return the keys of the API server of each kubeconfig.

    Raises IssuerError if one of them cannot be asked.
    """
    return [await _read(path, probe_account) for path in kubeconfigs]


async def _read(kubeconfig: Path, probe_account: str) -> ApiServerKeys:
    namespace, _, account = probe_account.partition("/")
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    spec = {"audiences": [PROBE_AUDIENCE], "expirationSeconds": _PROBE_SECONDS}
    async with KubeClient.from_kubeconfig(kubeconfig) as client:
        try:
            jwks = await client.text(JWKS_PATH, accept=discovery.JWKS_TYPE.decode())
            made = await client.create(
                path,
                {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
            )
        except KubeError as exc:
            raise IssuerError(
                f"the API server {client.server} cannot be asked for its keys:"
                f" {exc.message.splitlines()[0]}",
                hint=f"check {kubeconfig}: it needs the permission to create tokens of {probe_account}",
            ) from exc
        try:
            token = jose.parse(str(made["status"]["token"]))
            return ApiServerKeys(
                server=client.server,
                accepted=frozenset(documents.key_ids(jwks.encode())),
                signing=token.kid or "",
                issuer=str(token.claims.get("iss", "")),
                time=float(token.claims["iat"]),
            )
        except (KeyError, TypeError, ValueError, jose.MalformedToken) as exc:
            raise IssuerError(
                f"the API server {client.server} returned a token that cannot be parsed",
                hint="check that the kubeconfig names an API server",
            ) from exc
