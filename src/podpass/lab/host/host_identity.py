"""The identity of a ServiceAccount for a program on the host: the variables and the token of its pods.

The webhook decides both: a dry run of a pod with this ServiceAccount shows what it injects.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from kubeling.kubelet.token_manager import IssuedToken
from kubeling.secret import Secret

from podpass import names
from podpass.errors import Error, UsageError
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.service_account.names import USERNAME_PREFIX

# Variables with which an Azure SDK chooses an identity.
IDENTITY_VARIABLES = (
    names.ENV_CLIENT_ID,
    names.ENV_TENANT_ID,
    names.ENV_TOKEN_FILE,
    names.ENV_AUTHORITY_HOST,
    names.ENV_CLIENT_SECRET,
    names.ENV_CLIENT_CERTIFICATE,
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN",
    "AZURE_USERNAME",
    "AZURE_PASSWORD",
    names.ENV_TOKEN_PROXY,
    names.ENV_SNI_NAME,
    names.ENV_CA_FILE,
    names.ENV_CA_DATA,
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "IDENTITY_SERVER_THUMBPRINT",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
)
_PROOFS = (
    names.ENV_TOKEN_FILE,
    names.ENV_CLIENT_SECRET,
    names.ENV_CLIENT_CERTIFICATE,
    "AZURE_PASSWORD",
)
_CONTAINER = "main"


class NothingInjected(Error):
    """The webhook injects nothing into the pods of this instance."""

    code = "nothing_injected"
    hint = (
        "enable workload identity: az aks update --enable-workload-identity; "
        "check that the configuration of the webhook exists"
    )


class NoServiceAccount(Error):
    """The ServiceAccount does not exist, or the API server refuses its pods."""

    code = "no_service_account"
    exit_code = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The name of a ServiceAccount."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """What the webhook injects: variables, and audience and lifetime in seconds of the token."""

    variables: Mapping[str, str]
    audience: str
    seconds: int


def parse_account(text: str, namespace: str, short_forms: str) -> Account:
    """Parse NAME, NAMESPACE/NAME, or system:serviceaccount:NAMESPACE:NAME as kubectl's `--as` takes it.

    `short_forms` are the forms of the command without a slash or a colon, for its error. Raises UsageError.
    """
    name = text
    if text.startswith(USERNAME_PREFIX):
        namespace, _, name = text.removeprefix(USERNAME_PREFIX).partition(":")
    elif "/" in text:
        namespace, _, name = text.partition("/")
    if not name or not namespace or {"/", ":"} & {*name, *namespace}:
        raise UsageError(
            f"--as {text!r} is not a ServiceAccount",
            hint=f"use {short_forms}, NAMESPACE/NAME, or system:serviceaccount:NAMESPACE:NAME",
        )
    return Account(namespace=namespace, name=name)


def build_pod(account: Account) -> dict[str, Any]:
    """Return a pod of the ServiceAccount that the webhook mutates, and that the restricted profile allows."""
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "podpass-run-", "labels": {names.USE_LABEL: "true"}},
        "spec": {
            "serviceAccountName": account.name,
            "containers": [
                {"name": _CONTAINER, "image": "podpass-run", "securityContext": restricted}
            ],
        },
    }


def parse_injection(pod: Mapping[str, Any]) -> Injection:
    """Read what the webhook has injected into a pod. Raises NothingInjected."""
    (container,) = (each for each in pod["spec"]["containers"] if each["name"] == _CONTAINER)
    variables = {each["name"]: str(each.get("value", "")) for each in container.get("env") or ()}
    for volume in pod["spec"].get("volumes") or ():
        for source in volume.get("projected", {}).get("sources") or ():
            token = source.get("serviceAccountToken", {})
            if volume["name"].startswith(names.VOLUME_PREFIX) and token:
                return Injection(
                    variables={k: v for k, v in variables.items() if k in IDENTITY_VARIABLES},
                    audience=str(token["audience"]),
                    seconds=int(token["expirationSeconds"]),
                )
    raise NothingInjected("the webhook injected no token into a pod with the label")


async def request_injection(client: KubeClient, account: Account) -> Injection:
    """Read from a dry run what the webhook injects into a pod of the ServiceAccount.

    Raises NoServiceAccount, NothingInjected; KubeError if the API server does not respond.
    """
    path = f"/api/v1/namespaces/{quote(account.namespace, safe='')}/pods"
    try:
        pod = await client.create(path, build_pod(account), {"dryRun": "All"})
    except KubeError as exc:
        if exc.status >= 500:
            raise
        raise await _explain_refusal(client, account, exc) from exc
    return parse_injection(pod)


async def _explain_refusal(
    client: KubeClient, account: Account, refusal: KubeError
) -> NoServiceAccount:
    """Return the error that says what is missing: the namespace, the ServiceAccount, or something in it."""
    try:
        accounts = (await client.get("/api/v1/serviceaccounts"))["items"]
        namespaces = (await client.get("/api/v1/namespaces"))["items"]
    except KubeError:
        accounts = namespaces = []
    places = [
        each["metadata"]["namespace"]
        for each in accounts
        if each["metadata"]["name"] == account.name
    ]
    if account.namespace in places:
        return NoServiceAccount(
            f"no pod can use the ServiceAccount {account}: {refusal.message}",
            hint=f"correct it: kubectl edit serviceaccount {account.name} -n {account.namespace}",
        )
    if places:
        hint = f"its name exists in another namespace: -n {' or -n '.join(places)}"
    elif account.namespace in [each["metadata"]["name"] for each in namespaces]:
        hint = f"kubectl create serviceaccount {account.name} -n {account.namespace}"
    else:
        hint = f"the namespace is missing too: kubectl create namespace {account.namespace}"
    return NoServiceAccount(f"the ServiceAccount {account} does not exist", hint=hint)


async def request_token(client: KubeClient, account: Account, injection: Injection) -> IssuedToken:
    """Request a token as the kubelet does, but bound to no pod. Raises KubeError."""
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [injection.audience], "expirationSeconds": injection.seconds},
    }
    namespace, name = quote(account.namespace, safe=""), quote(account.name, safe="")
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
    now = time.time()
    status = (await client.create(path, body))["status"]
    expires = datetime.fromisoformat(status["expirationTimestamp"]).timestamp()
    return IssuedToken(token=Secret(status["token"]), issued_at=now, expires_at=expires)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedIdentity:
    """The identity of a ServiceAccount: the variables of its pods, its token, and how to renew it."""

    account: Account
    variables: Mapping[str, str]
    issued: IssuedToken
    renew: Callable[[], Awaitable[IssuedToken]]

    @property
    def description(self) -> str:
        client_id = self.variables.get(names.ENV_CLIENT_ID)
        described = f"client id {client_id}" if client_id else f"no annotation {names.CLIENT_ID}"
        return f"ServiceAccount {self.account}, {described}"


async def request_identity(
    open_client: Callable[[], KubeClient], account: Account
) -> RequestedIdentity:
    """Request what a pod of the ServiceAccount has.

    Raises NoServiceAccount, NothingInjected; KubeError if the API server does not respond.
    """
    async with open_client() as client:
        injection = await request_injection(client, account)
        issued = await request_token(client, account, injection)

    async def renew() -> IssuedToken:
        async with open_client() as client:
            return await request_token(client, account, injection)

    return RequestedIdentity(
        account=account, variables=injection.variables, issued=issued, renew=renew
    )


def without_identity(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the variables that choose an identity."""
    return {name: value for name, value in environ.items() if name not in IDENTITY_VARIABLES}


def describe_identity(environ: Mapping[str, str]) -> str | None:
    """Describe the identity that the variables choose; None if they choose none."""
    proof = next((name for name in _PROOFS if environ.get(name)), None)
    client = environ.get(names.ENV_CLIENT_ID) or environ.get("AZURE_USERNAME")
    if proof is None or not client:
        return None
    return f"{client}, with {proof} of your environment"
