"""`podpass connect` on an instance: from nothing, from half of the objects, and after each interruption."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from podpass.cli.account_options import AccountOptions
from podpass.cli.azure_account import sign_in
from podpass.errors import Error, UsageError
from podpass.kubernetes.client import KubeClient
from podpass.provision.account import AzureAccount
from podpass.provision.connect import Connected, ConnectRequest, connect, pod_lines
from podpass.provision.model import Action, StepEvent
from podpass.provision.service_accounts import ServiceAccountClient
from podpass.provision.steps import Clients
from tests.journey.instance import Instance, started

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with started(tmp_path_factory.mktemp("connect")) as running:
        yield running


class InterruptedStep(Exception):
    """Stands for Ctrl-C after a step."""


async def _run(instance: Instance, stop_after: int | None = None, **given: Any) -> Connected:
    """Connect a ServiceAccount to the vault of the seed; optionally fail after a number of steps."""
    options = AccountOptions(auth_method="instance", data_dir=str(instance.data_dir))
    account: AzureAccount = await sign_in(options, {}, lambda _: None)
    events: list[StepEvent] = []

    def finished(event: StepEvent) -> None:
        events.append(event)
        if len(events) == stop_after:
            raise InterruptedStep

    dry_run = given.pop("dry_run", False)
    values = {
        "vault": "journey-vault",
        "subscription_id": account.subscription_id,
        "tenant_id": account.tenant_id,
        "audience": account.endpoints.audience,
        "role": "Key Vault Secrets User",
        **given,
    }
    assert account.kubeconfig is not None
    async with KubeClient.from_kubeconfig(account.kubeconfig) as cluster:
        return await connect(
            ConnectRequest(**values),
            Clients(
                manager=account.manager(values["subscription_id"]),
                accounts=ServiceAccountClient(cluster),
            ),
            cluster,
            commit="test",
            dry_run=dry_run,
            finished=finished,
            report=lambda _: None,
        )


def _actions(done: Connected) -> set[Action]:
    return {step.action for step in done.outcome.steps}


def test_pod_with_the_printed_lines_reads_the_secret(instance: Instance) -> None:
    done = instance.podpass("connect", "journey-vault", "--auth-method", "instance")
    assert done.stdout == pod_lines("journey-vault-reader")
    assert len(done.stdout.splitlines()) == 5
    phase, log = instance.run_pod("connected", "journey-vault-reader")
    assert (phase, log.strip()) == ("Succeeded", "hello")
    again = instance.podpass("connect", "journey-vault", "--auth-method", "instance", "-o", "json")
    result = json.loads(again.stdout)
    assert {step["action"] for step in result["steps"]} == {"keep"}
    assert result["pod"] == done.stdout


def test_dry_run_changes_nothing(instance: Instance) -> None:
    planned = asyncio.run(_run(instance, account="dry", dry_run=True))
    assert _actions(planned) == {Action.CREATE}
    again = asyncio.run(_run(instance, account="dry", dry_run=True))
    assert again.outcome.steps == planned.outcome.steps


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_interrupted_command_is_resumed_by_the_same_command(instance: Instance, steps: int) -> None:
    account = f"stopped-{steps}"
    with pytest.raises(InterruptedStep):
        asyncio.run(_run(instance, steps, account=account))
    resumed = asyncio.run(_run(instance, account=account))
    actions = [step.action for step in resumed.outcome.steps]
    assert actions == [Action.KEEP] * steps + [Action.CREATE] * (4 - steps)
    assert _actions(asyncio.run(_run(instance, account=account))) == {Action.KEEP}


def test_account_of_another_identity_is_refused(instance: Instance) -> None:
    """Attack by mistake: the pods of `web` would lose the identity that they have."""
    before = instance.core.read_namespaced_service_account("web", "default").metadata
    with pytest.raises(UsageError, match="client id of another identity"):
        asyncio.run(_run(instance, account="web", identity="other"))
    after = instance.core.read_namespaced_service_account("web", "default").metadata
    assert after == before


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"vault": "journey-vualt"}, "has no key vault"),
        ({"namespace": "nix"}, "no namespace nix|no namespace 'nix'"),
        ({"account": "a" * 300}, "--service-account"),
        ({"identity": "i" * 200}, "--identity"),
        ({"group": "g" * 200}, "--resource-group"),
        ({"namespace": "n" * 64}, "namespace"),
        ({"role": "No Such Role", "account": "norole"}, "role"),
        ({"group": "no-such-group", "account": "nogroup"}, "no-such-group"),
        ({"subscription_id": "00000000-0000-4000-8000-000000000000"}, "failed to list the vaults"),
    ],
    ids=["vault", "namespace", "account", "identity", "group", "long", "role", "absent", "sub"],
)
def test_invalid_value_is_refused_before_the_first_change(
    instance: Instance, given: dict[str, Any], text: str
) -> None:
    before = instance.podpass("audit", "-o", "json").stdout
    accounts = [
        each.metadata.name
        for each in instance.core.list_namespaced_service_account("default").items
    ]
    with pytest.raises(Error, match=text) as refused:
        asyncio.run(_run(instance, **given))
    assert refused.value.hint
    after = [
        each.metadata.name
        for each in instance.core.list_namespaced_service_account("default").items
    ]
    assert (instance.podpass("audit", "-o", "json").stdout, after) == (before, accounts)


def test_vault_with_access_policies_is_refused(instance: Instance) -> None:
    status = instance.status
    account = AccountOptions(auth_method="instance", data_dir=str(instance.data_dir))

    async def create_vault() -> None:
        api = (await sign_in(account, {}, lambda _: None)).manager_api()
        path = f"/subscriptions/{status['subscription_id']}/resourceGroups/podpass/providers"
        properties = {
            "tenantId": status["tenant_id"],
            "sku": {"family": "A", "name": "standard"},
            "enableRbacAuthorization": False,
            "accessPolicies": [],
        }
        body = {"location": "eastus", "properties": properties}
        vault = f"{path}/Microsoft.KeyVault/vaults/policy-vault"
        await api.send("PUT", vault, body, {"api-version": "2023-07-01"})

    asyncio.run(create_vault())
    with pytest.raises(UsageError, match="access policies"):
        asyncio.run(_run(instance, vault="policy-vault"))


def test_rights_that_are_missing_are_named_with_their_step(instance: Instance) -> None:
    done = instance.podpass(
        *("connect", "journey-vault", "--auth-method", "client_secret"),
        check=False,
        env={"AZURE_CLIENT_ID": "", "AZURE_CLIENT_SECRET": ""},
    )
    assert done.returncode == 2
    assert "client-id" in done.stderr
