"""Set-ups whose cloud half is broken by one object; each must be named exactly, a healthy one not at all."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from podpass.diagnose.doctor.checks import CHECKS, examine
from podpass.diagnose.doctor.model import Diagnosis, Facts
from podpass.facts import Unread
from podpass.lab.cluster.control_plane.programs import ASSETS
from tests.cli.azure_world import AzureWorld
from tests.diagnose.doctor.broken_cluster import STOPPED, build_status
from tests.diagnose.doctor.cloud_world import NO_CLIENT_ID, CloudWorld, Workload, connected
from tests.lab.instance.instances import Podpass

Break = Callable[[CloudWorld, Workload], None]
BreakLater = Callable[[CloudWorld, Workload], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class SetUp:
    """One broken set-up.

    `before` changes the workload before its objects are created, `after` changes the objects; `finding` is
    the id of the check that must name it first, `says` a part of the message. `fix` is a part of its fix,
    with the ids of the workload in braces. `only` if nothing else may be found.
    """

    id: str
    finding: str
    says: str
    before: Break = lambda _world, _workload: None
    after: BreakLater | None = None
    fix: str = ""
    only: bool = False


def _trust(**changes: object) -> Break:
    """Return a change of the only credential; `{name}` stands for the ServiceAccount."""

    def change(world: CloudWorld, workload: Workload) -> None:
        filled = {
            key: value.format(name=workload.name, issuer=world.world.issuer.rstrip("/"))
            if isinstance(value, str)
            else value
            for key, value in changes.items()
        }
        workload.credentials = [world.credential(workload.name, **filled)]

    return change


def _set(**changes: object) -> Break:
    def change(_: CloudWorld, workload: Workload) -> None:
        for key, value in changes.items():
            setattr(workload, key, value)

    return change


def _twenty(world: CloudWorld, workload: Workload) -> None:
    workload.credentials = [
        world.credential(f"team-{number}", name=f"trust-{number}") for number in range(20)
    ]


def _two(world: CloudWorld, workload: Workload) -> None:
    """Trust another ServiceAccount of this cluster, and the right one without the slash."""
    issuer = world.world.issuer
    workload.credentials = [
        world.credential("another", name="another"),
        world.credential(workload.name, name="meant", issuer=issuer.rstrip("/")),
    ]


def _use_tenant_id(world: CloudWorld, workload: Workload) -> None:
    workload.client_id = world.account.tenant_id


async def _disable(world: CloudWorld, workload: Workload) -> None:
    path = f"/servicePrincipals/{workload.ids['principal']}"
    await world.graph("PATCH", path, {"accountEnabled": False})


async def _assign_other_vault(world: CloudWorld, workload: Workload) -> None:
    await world.assign(
        workload.ids["principal"], "Key Vault Secrets User", world.vault_id("other-vault")
    )


def _policy(id_name: str, *permissions: str) -> BreakLater:
    async def change(world: CloudWorld, workload: Workload) -> None:
        policy = {
            "tenantId": world.account.tenant_id,
            "objectId": workload.ids[id_name],
            "permissions": {"secrets": list(permissions)},
        }
        await world.put_vault("policies", uses_roles=False, policies=[policy])

    return change


def _annotate(client_id: str | None) -> BreakLater:
    """Return a change of the annotation while the pod runs."""

    async def change(world: CloudWorld, workload: Workload) -> None:
        await world.annotate(workload.name, client_id)

    return change


async def _annotate_other_identity(world: CloudWorld, workload: Workload) -> None:
    """Set the client id of an identity that trusts another ServiceAccount."""
    other = Workload(name="identity-of-another", credentials=[world.credential("another")])
    await world.create(other)
    await world.annotate(workload.name, other.ids["client"])


async def _annotate_own_identity(world: CloudWorld, workload: Workload) -> None:
    await world.annotate(workload.name, workload.ids["client"])


async def _annotate_principal(world: CloudWorld, workload: Workload) -> None:
    await world.annotate(workload.name, workload.ids["principal"])


async def _delete_vault(world: CloudWorld, workload: Workload) -> None:
    await world.put_vault(workload.vault, uses_roles=True)
    await world.delete_vault(workload.vault)


_REAL = "kube-apiserver"
_SET_CLIENT_ID = "--overwrite azure.workload.identity/client-id={client}"
_UNKNOWN = "99999999-aaaa-4bbb-8ccc-000000000001"
_BY_POLICY = _set(vault="policies", role=None)
SETUPS = (
    SetUp(
        id="unknown-client-id",
        finding="identity-unknown",
        says="no application and no managed identity",
        before=_set(client_id=_UNKNOWN),
        fix=_SET_CLIENT_ID,
    ),
    SetUp(
        id="principal-id-as-client-id",
        finding="identity-unknown",
        says="the object id of the service principal of principal-id-as-client-id; its client id is",
        before=_set(client_from="principal"),
        fix=_SET_CLIENT_ID,
    ),
    SetUp(
        id="object-id-as-client-id",
        finding="identity-unknown",
        says="the object id of the application of object-id-as-client-id",
        before=_set(kind="application", client_from="application"),
    ),
    SetUp(
        id="tenant-id-as-client-id",
        finding="identity-unknown",
        says="not a client id but the tenant id",
        before=_use_tenant_id,
    ),
    SetUp(
        id="annotation-changed-to-unknown-id",
        finding="client-id-wrong",
        says=f"its annotation client-id is {_UNKNOWN}, and no application and no managed identity",
        before=_set(has_pod=True),
        after=_annotate(_UNKNOWN),
        fix=_SET_CLIENT_ID,
        only=True,
    ),
    SetUp(
        id="annotation-changed-to-other-identity",
        finding="client-id-wrong",
        says="that of managed identity identity-of-another, which has no federated credential that trusts",
        before=_set(has_pod=True),
        after=_annotate_other_identity,
        fix=_SET_CLIENT_ID,
        only=True,
    ),
    SetUp(
        id="annotation-changed-to-principal-id",
        finding="client-id-wrong",
        says="not a client id but the object id of the service principal",
        before=_set(has_pod=True),
        after=_annotate_principal,
        fix=_SET_CLIENT_ID,
        only=True,
    ),
    SetUp(
        id="pod-with-deleted-identity-and-right-annotation",
        finding="pod-outdated",
        says=f"AZURE_CLIENT_ID is {_UNKNOWN}, now it would be",
        before=_set(has_pod=True, client_id=_UNKNOWN),
        after=_annotate_own_identity,
        fix="kubectl delete pod",
    ),
    SetUp(
        id="annotation-changed-to-name",
        finding="client-id-malformed",
        says="a client ID is a GUID",
        before=_set(has_pod=True),
        after=_annotate("my-identity"),
        fix=_SET_CLIENT_ID,
        only=True,
    ),
    SetUp(
        id="annotation-removed",
        finding="client-id-missing",
        says="AZURE_CLIENT_ID is not set",
        before=_set(has_pod=True),
        after=_annotate(None),
        fix=_SET_CLIENT_ID,
        only=True,
    ),
    SetUp(
        id="no-annotation-but-an-identity-that-trusts",
        finding="client-id-missing",
        says="AZURE_CLIENT_ID is not set",
        before=_set(client_id=NO_CLIENT_ID),
        fix=_SET_CLIENT_ID,
    ),
    SetUp(
        id="name-in-place-of-client-id",
        finding="client-id-malformed",
        says="a client ID is a GUID",
        before=_set(client_id="name-in-place-of-client-id", credentials=[]),
        fix=_SET_CLIENT_ID,
    ),
    SetUp(
        id="no-service-principal",
        finding="principal-missing",
        says="no service principal",
        before=_set(kind="application-alone", role=None),
    ),
    SetUp(
        id="disabled-service-principal",
        finding="principal-disabled",
        says="disabled",
        before=_set(kind="application"),
        after=_disable,
    ),
    SetUp(
        id="no-credential",
        finding="credential-missing",
        says="trusts no ServiceAccount",
        before=_set(credentials=[]),
    ),
    SetUp(
        id="no-credential-of-application",
        finding="credential-missing",
        says="trusts no ServiceAccount",
        before=_set(credentials=[], kind="application"),
    ),
    SetUp(
        id="issuer-without-slash",
        finding="credential-issuer-differs",
        says="only the token ends with a slash",
        before=_trust(issuer="{issuer}"),
    ),
    SetUp(
        id="issuer-of-other-cluster",
        finding="credential-issuer-differs",
        says="it is another path of the same host, as of another cluster",
        before=_trust(issuer="https://eastus.oic.prod-aks.azure.com/t/other/"),
    ),
    SetUp(
        id="issuer-of-other-host",
        finding="credential-issuer-differs",
        says="it is the issuer of another cluster",
        before=_trust(issuer="https://issuer.invalid/"),
    ),
    SetUp(
        id="issuer-is-discovery-url",
        finding="credential-issuer-differs",
        says="the URL of the discovery document",
        before=_trust(issuer="{issuer}/.well-known/openid-configuration"),
    ),
    SetUp(
        id="slash-next-to-other-account",
        finding="credential-issuer-differs",
        says="only the token ends with a slash",
        before=_two,
    ),
    SetUp(
        id="subject-in-other-case",
        finding="credential-subject-differs",
        says='character 31 is "S" and not "s"',
        before=_trust(subject="system:serviceaccount:default:Subject-in-other-case"),
    ),
    SetUp(
        id="subject-of-other-namespace",
        finding="credential-subject-differs",
        says="of another namespace",
        before=_trust(subject="system:serviceaccount:production:{name}"),
    ),
    SetUp(
        id="subject-of-other-account",
        finding="credential-subject-differs",
        says="of another ServiceAccount",
        before=_trust(subject="system:serviceaccount:default:frontend"),
    ),
    SetUp(
        id="subject-with-one-letter-more",
        finding="credential-subject-differs",
        says='is "s" and not missing',
        before=_trust(subject="system:serviceaccount:default:{name}s"),
    ),
    SetUp(
        id="subject-exchanged",
        finding="credential-subject-differs",
        says="namespace and ServiceAccount are exchanged",
        before=_trust(subject="system:serviceaccount:{name}:default"),
    ),
    SetUp(
        id="subject-without-prefix",
        finding="credential-subject-differs",
        says="a subject begins with system:serviceaccount:",
        before=_trust(subject="default:{name}"),
    ),
    SetUp(
        id="audience-of-credential",
        finding="credential-audience-differs",
        says="it is the audience of another cloud",
        before=_trust(audiences=["api://AzureADTokenExchangeUSGov"]),
    ),
    SetUp(
        id="audience-in-other-case",
        finding="credential-audience-differs",
        says="only the case of letters differs",
        before=_trust(audiences=["api://azureadtokenexchange"]),
    ),
    SetUp(
        id="audience-of-pod",
        finding="credential-audience-differs",
        says="it is another audience",
        before=_set(audience="https://kubernetes.default.svc"),
    ),
    SetUp(
        id="twenty-others",
        finding="credential-limit",
        says="20 of 20",
        before=_twenty,
    ),
    SetUp(
        id="unknown-tenant",
        finding="tenant-unknown",
        says="knows no such tenant",
        before=_set(tenant_id=_UNKNOWN),
    ),
    SetUp(
        id="authority-of-other-cloud",
        finding="authority-of-other-cloud",
        says="the token service of AzureUSGovernment, and the identity is in AzureCloud",
        before=_set(authority_host="https://login.microsoftonline.us/"),
    ),
    SetUp(
        id="misspelled-authority",
        finding="authority-of-other-cloud",
        says="no token service of a known cloud",
        before=_set(authority_host="https://login.microsoftonline.co/"),
    ),
    SetUp(
        id="authority-without-tls",
        finding="authority-of-other-cloud",
        says="not an https URL",
        before=_set(authority_host="http://login.microsoftonline.com/"),
    ),
    SetUp(
        id="unknown-vault",
        finding="vault-unknown",
        says="no such vault",
        before=_set(vault="wrong", role=None),
        fix="podpass vault list",
    ),
    SetUp(
        id="misspelled-vault",
        finding="vault-unknown",
        says="no such vault",
        before=_set(vault="doctor-valt", role=None),
        fix="in the pod: https://doctor-vault.",
    ),
    SetUp(
        id="deleted-vault",
        finding="vault-unknown",
        says="it was deleted, and can be recovered",
        before=_set(vault="deleted-vault", role=None),
        after=_delete_vault,
        fix="az keyvault recover --name deleted-vault",
    ),
    SetUp(
        id="no-role",
        finding="role-missing",
        says="has no role there",
        before=_set(role=None),
    ),
    SetUp(
        id="role-at-other-vault",
        finding="role-missing",
        says="it has Key Vault Secrets User at /subscriptions/",
        before=_set(role=None),
        after=_assign_other_vault,
    ),
    SetUp(
        id="role-for-management",
        finding="role-insufficient",
        says="Key Vault Contributor",
        before=_set(role="Key Vault Contributor"),
    ),
    SetUp(
        id="role-for-metadata",
        finding="role-insufficient",
        says="Key Vault Reader",
        before=_set(role="Key Vault Reader"),
    ),
    SetUp(
        id="no-access-policy",
        finding="access-policy-missing",
        says="none lets managed identity no-access-policy read secrets",
        before=_BY_POLICY,
    ),
    SetUp(
        id="access-policy-of-client-id",
        finding="access-policy-missing",
        says="names its client id",
        before=_BY_POLICY,
        after=_policy("client", "get"),
    ),
    SetUp(
        id="access-policy-without-get",
        finding="access-policy-missing",
        says="read secrets",
        before=_BY_POLICY,
        after=_policy("principal", "list", "set"),
    ),
)


def _start_real(make_podpass: Callable[[], Podpass]) -> Podpass:
    """Start an instance with a real API server, or skip."""
    from tests.control_plane import plane  # needs the programs of bench

    with pytest.MonkeyPatch.context() as patch:
        if folder := plane.environ().get(ASSETS):
            patch.setenv(ASSETS, folder)
        podpass = make_podpass()
        podpass.up("--kubernetes", _REAL)
    return podpass


@pytest.fixture(
    scope="module", params=["embedded", pytest.param(_REAL, marks=pytest.mark.kubernetes)]
)
def world(request: pytest.FixtureRequest, make_podpass: Callable[[], Podpass]) -> AzureWorld:
    is_real = request.param == _REAL
    podpass = _start_real(make_podpass) if is_real else request.getfixturevalue("running")
    found = AzureWorld(podpass=podpass, status=podpass.status())

    async def create_shared() -> None:
        async with connected(found) as world:
            await world.create_shared()

    asyncio.run(create_shared())
    return found


def _stop(facts: Facts, state: dict[str, Any]) -> Facts:
    """Return the facts of a pod whose container has stopped, and whose log cannot be read."""
    cluster = facts.cluster
    if not isinstance(pod := cluster.pod or getattr(cluster.preview, "pod", None), dict):
        return facts
    stopped = pod | {"status": build_status("app", state, restarts=1)}
    return replace(facts, cluster=replace(cluster, pod=stopped, log=Unread("no log")))


def _diagnose(world: AzureWorld, setup: SetUp) -> tuple[Diagnosis, str, list[Diagnosis]]:
    """Return the diagnosis of a set-up, the expected part of the fix, and the diagnoses of stopped pods."""

    async def run() -> tuple[Diagnosis, str, list[Diagnosis]]:
        async with connected(world) as cloud:
            workload = Workload(name=setup.id, credentials=[cloud.credential(setup.id)])
            setup.before(cloud, workload)
            await cloud.create(workload)
            if setup.after is not None:
                await setup.after(cloud, workload)
            facts = await cloud.read(workload)
            stopped = [examine(_stop(facts, state)) for state in STOPPED.values()]
            return examine(facts), setup.fix.format_map(workload.ids), stopped

    return asyncio.run(run())


@pytest.mark.parametrize("setup", SETUPS, ids=lambda each: each.id)
def test_broken_cloud_setup_is_reported_with_its_fix(world: AzureWorld, setup: SetUp) -> None:
    found, fix, stopped = _diagnose(world, setup)
    assert found.findings, found.not_checked
    first, *others = found.findings
    checks = [each.check for each in found.findings]
    for each in stopped:  # an ended and a crash-looping pod
        assert [one.check for one in each.findings] == [*checks, "container-not-running"]
    assert first.check == setup.finding
    assert setup.says in first.message
    assert first.fix
    assert fix in first.fix
    if setup.only:
        assert others == []


_HEALTHY = (
    SetUp(id="healthy-managed-identity", finding="", says=""),
    SetUp(id="healthy-application", finding="", says="", before=_set(kind="application")),
    SetUp(
        id="healthy-by-access-policy",
        finding="",
        says="",
        before=_BY_POLICY,
        after=_policy("principal", "get"),
    ),
)


@pytest.mark.parametrize("setup", _HEALTHY, ids=lambda each: each.id)
def test_healthy_setup_is_not_named_and_every_check_is_made(
    world: AzureWorld, setup: SetUp
) -> None:
    found, _, _ = _diagnose(world, setup)
    assert list(found.findings) == []
    assert list(found.not_checked) == []
    assert len(found.passed) == len(CHECKS)
