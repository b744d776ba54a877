"""The cloud half with a sign-in and the host names of Azure, by callers with and without rights."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from podpass.cli.account_options import AccountOptions
from podpass.cli.doctor import CloudOptions, open_cloud
from podpass.diagnose.doctor.checks import examine
from podpass.diagnose.doctor.directory_facts import RequestedResource
from podpass.diagnose.doctor.model import CloudFacts, Diagnosis, Facts
from podpass.directory.roles import GET_SECRET
from podpass.errors import UsageError
from podpass.facts import Unread
from tests.cli.azure_world import AzureWorld
from tests.diagnose.doctor.cloud_world import CloudWorld, Workload, connected
from tests.lab.instance.instances import Podpass

_GRAPH_APP = "00000003-0000-0000-c000-000000000000"
_READ_DIRECTORY = "7ab1d382-f21e-4acd-a863-ba3e13f7da61"


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The environment of an application with a secret, and its options."""

    environ: Mapping[str, str]
    subscription_id: str


async def _create_caller(world: CloudWorld, name: str, *, graph: bool, manager: bool) -> Caller:
    made = await world.graph("POST", "/applications", {"displayName": name})
    principal = await world.graph("POST", "/servicePrincipals", {"appId": made["appId"]})
    path = f"/applications/{made['id']}/addPassword"
    secret = await world.graph("POST", path, {"passwordCredential": {"displayName": name}})
    if graph:
        [of_graph] = await world.account.graph_api().list(
            "/v1.0/servicePrincipals", {"$filter": f"appId eq '{_GRAPH_APP}'"}
        )
        await world.graph(
            "POST",
            f"/servicePrincipals/{principal['id']}/appRoleAssignments",
            {
                "principalId": principal["id"],
                "resourceId": of_graph["id"],
                "appRoleId": _READ_DIRECTORY,
            },
        )
    if manager:
        await world.assign(principal["id"], "Reader", world.subscription)
    return Caller(
        environ={
            **world.world.environ(),
            "AZURE_TENANT_ID": world.account.tenant_id,
            "AZURE_CLIENT_ID": made["appId"],
            "AZURE_CLIENT_SECRET": secret["secretText"],
        },
        subscription_id=world.account.subscription_id,
    )


@dataclass(kw_only=True)
class RightsWorld:
    """An instance with three callers, a healthy workload and one with a wrong subject."""

    world: AzureWorld
    reader: Caller
    without_graph: Caller
    without_rights: Caller
    healthy: Workload
    wrong: Workload


@pytest.fixture(scope="module")
def rights(running: Podpass) -> RightsWorld:
    found = AzureWorld(podpass=running, status=running.status())

    async def create() -> RightsWorld:
        async with connected(found) as world:
            await world.create_shared()
            healthy = Workload(name="rights", credentials=[world.credential("rights")])
            subject = "system:serviceaccount:default:Wrongs"
            wrong = Workload(
                name="wrongs", credentials=[world.credential("wrongs", subject=subject)]
            )
            for each in (healthy, wrong):
                await world.create(each)
            return RightsWorld(
                world=found,
                reader=await _create_caller(world, "reads-all", graph=True, manager=True),
                without_graph=await _create_caller(world, "no-graph", graph=False, manager=True),
                without_rights=await _create_caller(world, "nothing", graph=False, manager=False),
                healthy=healthy,
                wrong=wrong,
            )

    return asyncio.run(create())


@pytest.fixture
def shell(rights: RightsWorld, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that diagnoses a workload in the shell of a caller."""

    def diagnose(
        caller: Caller, workload: Workload, method: str = "client_secret", *, exchange: bool = False
    ) -> tuple[CloudFacts, Diagnosis]:
        environ = {key: each for key, each in caller.environ.items() if key != "PODPASS_ENV"}
        for key, value in environ.items():
            monkeypatch.setenv(key, value)

        async def run() -> tuple[CloudFacts, Diagnosis]:
            account = AccountOptions(auth_method=method, subscription_id=caller.subscription_id)
            wanted = RequestedResource(vault=workload.vault, action=GET_SECRET, is_data=True)
            chosen = CloudOptions(account=account, wanted=wanted, exchange=exchange)
            async with connected(rights.world) as world:
                reader = await open_cloud(chosen, environ, world.cluster)
                cluster = await world.read_cluster(workload)
                facts = await reader.read(cluster)
            return facts, examine(Facts(cluster=cluster, cloud=facts))

        return asyncio.run(run())

    return diagnose


@pytest.mark.parametrize("method", ["client_secret", "default"])
def test_reader_gets_the_position_of_the_wrong_letter_in_the_subject(
    rights: RightsWorld, shell: Any, method: str
) -> None:
    facts, found = shell(rights.reader, rights.wrong, method)
    assert [each.check for each in found.findings] == ["credential-subject-differs"]
    assert 'character 31 is "W" and not "w"' in found.findings[0].message
    assert not facts.is_only_directory


def test_healthy_workload_has_no_findings_and_no_token_is_requested(
    rights: RightsWorld, shell: Any
) -> None:
    facts, found = shell(rights.reader, rights.healthy)
    assert list(found.findings) == []
    assert facts.exchange == Unread("no exchange was tried: pass --exchange")
    assert {each.check for each in found.not_checked} == {
        "token-lives-too-long",
        "token-not-yet-valid",
        "credential-not-visible",
        "exchange-refused",
    }


def test_requested_exchange_leaves_no_check_unread(rights: RightsWorld, shell: Any) -> None:
    facts, found = shell(rights.reader, rights.healthy, exchange=True)
    assert facts.exchange.status == 200
    assert (list(found.findings), list(found.not_checked)) == ([], [])


def test_without_graph_a_managed_identity_is_found_in_the_subscription(
    rights: RightsWorld, shell: Any
) -> None:
    _, found = shell(rights.without_graph, rights.wrong)
    assert [each.check for each in found.findings] == ["credential-subject-differs"]
    unread = {each.check: each.reason for each in found.not_checked}
    assert unread["principal-disabled"] == "Graph may not be read"


def test_caller_without_permissions_gets_a_list_of_unread_checks(
    rights: RightsWorld, shell: Any
) -> None:
    _, found = shell(rights.without_rights, rights.wrong)
    assert list(found.findings) == []
    unread = {each.check: each.reason for each in found.not_checked}
    for check in ("identity-unknown", "credential-subject-differs", "role-missing"):
        assert "Microsoft Graph refused GET" in unread[check]
        assert "Authorization_RequestDenied" in unread[check]
    assert {"discovery-unreachable", "key-refused", "tenant-unknown"} <= set(found.passed)


def test_without_a_sign_in_the_issuer_and_the_tenant_are_checked(
    rights: RightsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {**rights.world.environ(), "PATH": "/nowhere", "PODPASS_ENV": ""}
    for key in ("SSL_CERT_FILE", "HTTPS_PROXY"):
        monkeypatch.setenv(key, environ[key])

    async def run() -> Diagnosis:
        account = AccountOptions(subscription_id=rights.reader.subscription_id)
        async with connected(rights.world) as world:
            reader = await open_cloud(CloudOptions(account=account), environ, world.cluster)
            cluster = await world.read_cluster(rights.wrong)
            return examine(Facts(cluster=cluster, cloud=await reader.read(cluster)))

    found = asyncio.run(run())
    assert list(found.findings) == []
    reason = next(e.reason for e in found.not_checked if e.check == "identity-unknown")
    assert "there is no `az` on the PATH" in reason
    assert {"issuer-private", "discovery-unreachable", "tenant-unknown"} <= set(found.passed)


def test_unsupported_sign_in_method_is_a_usage_error(rights: RightsWorld) -> None:
    async def run() -> None:
        async with connected(rights.world) as world:
            chosen = CloudOptions(account=AccountOptions(auth_method="magic"))
            await open_cloud(chosen, {}, world.cluster)

    with pytest.raises(UsageError, match="method unsupported"):
        asyncio.run(run())
