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


@dataclass(frozen=True)
class SetUp:
    """One broken set-up.

    `before` changes the workload before its objects are created, `after` changes the objects; `says` is a
    part of the message. `fix` is a part of its fix, with the ids of the workload in braces. `only` if
    nothing else may be found.
    """

    id: str
    says: str = ""
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
# The id of the check that must name each set-up first.
SETUPS = {
    "identity-unknown": (
        SetUp(
            "unknown-client-id",
            "no application and no managed identity",
            _set(client_id=_UNKNOWN),
            fix=_SET_CLIENT_ID,
        ),
        SetUp(
            "principal-id-as-client-id",
            "the object id of the service principal of principal-id-as-client-id; its client id is",
            _set(client_from="principal"),
            fix=_SET_CLIENT_ID,
        ),
        SetUp(
            "object-id-as-client-id",
            "the object id of the application of object-id-as-client-id",
            _set(kind="application", client_from="application"),
        ),
        SetUp("tenant-id-as-client-id", "not a client id but the tenant id", _use_tenant_id),
    ),
    "client-id-wrong": (
        SetUp(
            "annotation-changed-to-unknown-id",
            f"its annotation client-id is {_UNKNOWN}, and no application and no managed identity",
            _set(has_pod=True),
            _annotate(_UNKNOWN),
            fix=_SET_CLIENT_ID,
            only=True,
        ),
        SetUp(
            "annotation-changed-to-other-identity",
            "that of managed identity identity-of-another, which has no federated credential that trusts",
            _set(has_pod=True),
            _annotate_other_identity,
            fix=_SET_CLIENT_ID,
            only=True,
        ),
        SetUp(
            "annotation-changed-to-principal-id",
            "not a client id but the object id of the service principal",
            _set(has_pod=True),
            _annotate_principal,
            fix=_SET_CLIENT_ID,
            only=True,
        ),
    ),
    "pod-outdated": (
        SetUp(
            "pod-with-deleted-identity-and-right-annotation",
            f"AZURE_CLIENT_ID is {_UNKNOWN}, now it would be",
            _set(has_pod=True, client_id=_UNKNOWN),
            _annotate_own_identity,
            fix="kubectl delete pod",
        ),
    ),
    "client-id-malformed": (
        SetUp(
            "annotation-changed-to-name",
            "a client ID is a GUID",
            _set(has_pod=True),
            _annotate("my-identity"),
            fix=_SET_CLIENT_ID,
            only=True,
        ),
        SetUp(
            "name-in-place-of-client-id",
            "a client ID is a GUID",
            _set(client_id="name-in-place-of-client-id", credentials=[]),
            fix=_SET_CLIENT_ID,
        ),
    ),
    "client-id-missing": (
        SetUp(
            "annotation-removed",
            "AZURE_CLIENT_ID is not set",
            _set(has_pod=True),
            _annotate(None),
            fix=_SET_CLIENT_ID,
            only=True,
        ),
        SetUp(
            "no-annotation-but-an-identity-that-trusts",
            "AZURE_CLIENT_ID is not set",
            _set(client_id=NO_CLIENT_ID),
            fix=_SET_CLIENT_ID,
        ),
    ),
    "principal-missing": (
        SetUp(
            "no-service-principal",
            "no service principal",
            _set(kind="application-alone", role=None),
        ),
    ),
    "principal-disabled": (
        SetUp("disabled-service-principal", "disabled", _set(kind="application"), _disable),
    ),
    "credential-missing": (
        SetUp("no-credential", "trusts no ServiceAccount", _set(credentials=[])),
        SetUp(
            "no-credential-of-application",
            "trusts no ServiceAccount",
            _set(credentials=[], kind="application"),
        ),
    ),
    "credential-issuer-differs": (
        SetUp(
            "issuer-without-slash", "only the token ends with a slash", _trust(issuer="{issuer}")
        ),
        SetUp(
            "issuer-of-other-cluster",
            "it is another path of the same host, as of another cluster",
            _trust(issuer="https://eastus.oic.prod-aks.azure.com/t/other/"),
        ),
        SetUp(
            "issuer-of-other-host",
            "it is the issuer of another cluster",
            _trust(issuer="https://issuer.invalid/"),
        ),
        SetUp(
            "issuer-is-discovery-url",
            "the URL of the discovery document",
            _trust(issuer="{issuer}/.well-known/openid-configuration"),
        ),
        SetUp("slash-next-to-other-account", "only the token ends with a slash", _two),
    ),
    "credential-subject-differs": (
        SetUp(
            "subject-in-other-case",
            'character 31 is "S" and not "s"',
            _trust(subject="system:serviceaccount:default:Subject-in-other-case"),
        ),
        SetUp(
            "subject-of-other-namespace",
            "of another namespace",
            _trust(subject="system:serviceaccount:production:{name}"),
        ),
        SetUp(
            "subject-of-other-account",
            "of another ServiceAccount",
            _trust(subject="system:serviceaccount:default:frontend"),
        ),
        SetUp(
            "subject-with-one-letter-more",
            'is "s" and not missing',
            _trust(subject="system:serviceaccount:default:{name}s"),
        ),
        SetUp(
            "subject-exchanged",
            "namespace and ServiceAccount are exchanged",
            _trust(subject="system:serviceaccount:{name}:default"),
        ),
        SetUp(
            "subject-without-prefix",
            "a subject begins with system:serviceaccount:",
            _trust(subject="default:{name}"),
        ),
    ),
    "credential-audience-differs": (
        SetUp(
            "audience-of-credential",
            "it is the audience of another cloud",
            _trust(audiences=["api://AzureADTokenExchangeUSGov"]),
        ),
        SetUp(
            "audience-in-other-case",
            "only the case of letters differs",
            _trust(audiences=["api://azureadtokenexchange"]),
        ),
        SetUp(
            "audience-of-pod",
            "it is another audience",
            _set(audience="https://kubernetes.default.svc"),
        ),
    ),
    "credential-limit": (SetUp("twenty-others", "20 of 20", _twenty),),
    "tenant-unknown": (SetUp("unknown-tenant", "knows no such tenant", _set(tenant_id=_UNKNOWN)),),
    "authority-of-other-cloud": (
        SetUp(
            "authority-of-other-cloud",
            "the token service of AzureUSGovernment, and the identity is in AzureCloud",
            _set(authority_host="https://login.microsoftonline.us/"),
        ),
        SetUp(
            "misspelled-authority",
            "no token service of a known cloud",
            _set(authority_host="https://login.microsoftonline.co/"),
        ),
        SetUp(
            "authority-without-tls",
            "not an https URL",
            _set(authority_host="http://login.microsoftonline.com/"),
        ),
    ),
    "vault-unknown": (
        SetUp(
            "unknown-vault",
            "no such vault",
            _set(vault="wrong", role=None),
            fix="podpass vault list",
        ),
        SetUp(
            "misspelled-vault",
            "no such vault",
            _set(vault="doctor-valt", role=None),
            fix="in the pod: https://doctor-vault.",
        ),
        SetUp(
            "deleted-vault",
            "it was deleted, and can be recovered",
            _set(vault="deleted-vault", role=None),
            _delete_vault,
            fix="az keyvault recover --name deleted-vault",
        ),
    ),
    "role-missing": (
        SetUp("no-role", "has no role there", _set(role=None)),
        SetUp(
            "role-at-other-vault",
            "it has Key Vault Secrets User at /subscriptions/",
            _set(role=None),
            _assign_other_vault,
        ),
    ),
    "role-insufficient": (
        SetUp("role-for-management", "Key Vault Contributor", _set(role="Key Vault Contributor")),
        SetUp("role-for-metadata", "Key Vault Reader", _set(role="Key Vault Reader")),
    ),
    "access-policy-missing": (
        SetUp(
            "no-access-policy",
            "none lets managed identity no-access-policy read secrets",
            _BY_POLICY,
        ),
        SetUp(
            "access-policy-of-client-id",
            "names its client id",
            _BY_POLICY,
            _policy("client", "get"),
        ),
        SetUp(
            "access-policy-without-get",
            "read secrets",
            _BY_POLICY,
            _policy("principal", "list", "set"),
        ),
    ),
}


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


@pytest.mark.parametrize(
    ("finding", "setup"),
    [pytest.param(check, each, id=each.id) for check, all_of in SETUPS.items() for each in all_of],
)
def test_broken_cloud_setup_is_reported_with_its_fix(
    world: AzureWorld, finding: str, setup: SetUp
) -> None:
    found, fix, stopped = _diagnose(world, setup)
    assert found.findings, found.not_checked
    first, *others = found.findings
    checks = [each.check for each in found.findings]
    for each in stopped:  # an ended and a crash-looping pod
        assert [one.check for one in each.findings] == [*checks, "container-not-running"]
    assert first.check == finding
    assert setup.says in first.message
    assert first.fix
    assert fix in first.fix
    if setup.only:
        assert others == []


_HEALTHY = (
    SetUp("healthy-managed-identity"),
    SetUp("healthy-application", before=_set(kind="application")),
    SetUp("healthy-by-access-policy", "", _BY_POLICY, _policy("principal", "get")),
)


@pytest.mark.parametrize("setup", _HEALTHY, ids=lambda each: each.id)
def test_healthy_setup_is_not_named_and_every_check_is_made(
    world: AzureWorld, setup: SetUp
) -> None:
    found, _, _ = _diagnose(world, setup)
    assert list(found.findings) == []
    assert list(found.not_checked) == []
    assert len(found.passed) == len(CHECKS)
