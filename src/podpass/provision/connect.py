"""Let the pods of a ServiceAccount read a key vault: find what is needed, then run the steps of `create`."""

import difflib
from dataclasses import dataclass

from podpass import names
from podpass.directory.model import ResourceInfo
from podpass.errors import UsageError
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.paths import DISCOVERY_PATH, path_of
from podpass.provision import naming
from podpass.provision.connection import Report
from podpass.provision.errors import ApiError, SignInFailed
from podpass.provision.model import ACCOUNT, CREDENTIAL, IDENTITY, ROLE, ProvisionRequest
from podpass.provision.plan import PhaseFailed
from podpass.provision.resource_manager import ManagerClient
from podpass.provision.steps import Clients, Finished
from podpass.provision.workflow import Outcome, create

_TARGET = "target"
_RETRY = "nothing was changed; correct this, then run the same command again"
_PHASES = (IDENTITY, ACCOUNT, CREDENTIAL, ROLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectRequest:
    """What `podpass connect` requests; an empty text stands for the default.

    The ServiceAccount is named after the vault, the identity after the ServiceAccount; the identity is in the
    resource group of the vault.
    """

    vault: str
    subscription_id: str
    tenant_id: str
    audience: str
    role: str
    namespace: str = "default"
    account: str = ""
    identity: str = ""
    group: str = ""
    location: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """The result: the vault, the complete request, and the steps."""

    vault: ResourceInfo
    request: ProvisionRequest
    outcome: Outcome


def pod_lines(account: str) -> str:
    """Return what a pod needs, as five lines of its manifest."""
    return (
        "metadata:\n"
        "  labels:\n"
        f'    {names.USE_LABEL}: "true"\n'
        "spec:\n"
        f"  serviceAccountName: {account}\n"
    )


async def connect(
    wanted: ConnectRequest,
    clients: Clients,
    cluster: KubeClient,
    *,
    commit: str,
    dry_run: bool,
    finished: Finished,
    report: Report,
) -> Connected:
    """Create what is missing; a second run changes nothing.

    Raises UsageError for a value that does not fit; PhaseFailed, with the step and how to resume.
    """
    vault = await _find_vault(clients.of_manager, wanted)
    issuer = await _read_issuer(cluster, wanted.namespace)
    account = wanted.account or f"{vault.name.lower()}-reader"
    request = ProvisionRequest(
        phases=_PHASES,
        tenant_id=wanted.tenant_id,
        audience=wanted.audience,
        namespace=wanted.namespace,
        account=account,
        issuer=issuer,
        managed_identity=wanted.identity or account,
        resource_group=wanted.group or vault.group,
        location=wanted.location,
        scope=vault.id,
        role=wanted.role,
    )
    _check_names(request)
    await _check_account(request, clients)
    outcome = await create(
        request, clients, commit=commit, dry_run=dry_run, finished=finished, report=report
    )
    return Connected(vault=vault, request=request, outcome=outcome)


def _check_names(request: ProvisionRequest) -> None:
    """Check every name before the first request that writes.

    Raises UsageError, naming the option of this command.
    """
    for option, kind, value in (
        ("--namespace", "namespace", request.namespace),
        ("--service-account", "account", request.account),
        ("--identity", "identity", request.managed_identity),
        ("--resource-group", "group", request.resource_group),
    ):
        if problem := naming.find_problem(kind, value):
            raise UsageError(f"{option} {value[:100]!r} {problem}", hint=_RETRY)


async def _find_vault(manager: ManagerClient, wanted: ConnectRequest) -> ResourceInfo:
    try:
        found = await manager.list_vaults()
    except (ApiError, SignInFailed) as exc:
        hint = f"check the subscription and the sign-in; {_RETRY}"
        raise PhaseFailed(_TARGET, f"failed to list the vaults: {exc.message}", hint=hint) from exc
    by_name = {each.name.lower(): each for each in found}
    vault = by_name.get(wanted.vault.lower())
    if vault is None:
        near = difflib.get_close_matches(wanted.vault.lower(), by_name, n=3)
        proposal = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(
            f"the subscription {wanted.subscription_id} has no key vault {wanted.vault[:100]!r}",
            hint=f"{proposal}`az keyvault list` shows the vaults; {_RETRY}",
        )
    if not vault.uses_roles:
        raise UsageError(
            f"the vault {vault.name} authorizes callers by access policies, not by roles",
            hint=f"switch it: az keyvault update --name {vault.name} --enable-rbac-authorization true",
        )
    return vault


async def _read_issuer(cluster: KubeClient, namespace: str) -> str:
    """Return the issuer of the cluster's tokens; the namespace must exist."""
    try:
        await cluster.get(path_of("Namespace", namespace))
        found = await cluster.get(DISCOVERY_PATH)
    except KubeError as exc:
        if exc.status == 404:
            raise UsageError(
                f"the cluster {cluster.server} has no namespace {namespace[:100]!r}",
                hint=f"create it with `kubectl create namespace {namespace[:63]}`, or pass --namespace",
            ) from exc
        raise PhaseFailed(
            "cluster", f"failed to read namespace and issuer: {exc.message}", hint=_RETRY
        ) from exc
    issuer = str(found.get("issuer") or "")
    if not issuer.startswith("https://") or ".svc" in issuer.partition("://")[2].partition("/")[0]:
        raise UsageError(
            f"the issuer of the cluster, {issuer[:200]!r}, is not a public https URL, which Entra requires",
            hint="for AKS: `az aks update --enable-oidc-issuer`; other clusters: docs/operate/issuers.md",
        )
    return issuer


async def _check_account(request: ProvisionRequest, clients: Clients) -> None:
    """Reject a ServiceAccount of another identity: its pods would lose their access."""
    try:
        account = await clients.of_accounts.find(request.namespace, request.account)
        current = account.annotations.get(names.CLIENT_ID) if account else None
        if current is None:
            return
        identity = await clients.of_manager.find_identity(
            request.resource_group, request.managed_identity
        )
    except (ApiError, KubeError, SignInFailed) as exc:
        raise PhaseFailed(ACCOUNT, f"failed to read: {exc.message}", hint=_RETRY) from exc
    if identity is None or identity.client_id != current:
        raise UsageError(
            f"the ServiceAccount {request.namespace}/{request.account} has the client id of another identity,"
            f" {current[:100]}, not that of {request.managed_identity}",
            hint="pass --identity with that identity, or another --service-account",
        )
