"""`podpass serviceaccount` without rights, with half of the objects, and interrupted at every request."""

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from podpass.kubernetes.client import KubeClient
from podpass.provision import workflow
from podpass.provision.model import ProvisionRequest, StepEvent
from podpass.provision.plan import PhaseFailed
from podpass.provision.request_checks import CREATE_ORDER, DELETE_ORDER, select_phases
from tests.cli.azure_world import AUDIENCE, AzureWorld, clients_of, graph_api, ignore
from tests.imds.raw_server import read_request, serving_connections
from tests.kubeconfigs import build_kubeconfig


@pytest.fixture(scope="module")
def unprivileged(world: AzureWorld) -> dict[str, str]:
    """Return the environment of an application that has a secret and no rights."""

    async def create(account: Any) -> dict[str, str]:
        made = await account.graph().create_application("unprivileged")
        await account.graph().create_principal(made.client_id, [])
        body = {"passwordCredential": {"displayName": "x"}}
        path = f"/v1.0/applications/{made.object_id}/addPassword"
        secret = await graph_api(account).send("POST", path, body)
        return {
            "AZURE_TENANT_ID": account.tenant_id,
            "AZURE_CLIENT_ID": made.client_id,
            "AZURE_CLIENT_SECRET": secret["secretText"],
        }

    return {**world.environ(), **world.call(create)}


def _create(world: AzureWorld, name: str, *more: str) -> tuple[str, ...]:
    named = ("--service-account-name", name, "--service-account-issuer-url", world.issuer)
    return ("serviceaccount", "create", *named, *more)


SECRET = ("--auth-method", "client_secret")


@pytest.mark.parametrize("method", ["client_secret", "default"])
def test_account_without_rights_is_refused_with_phase_role_and_resume(
    world: AzureWorld, unprivileged: dict[str, str], method: str
) -> None:
    subscription = ("--subscription-id", world.status["subscription_id"])
    words = _create(
        world, "norights", "--skip-phases", "ra", "--auth-method", method, *subscription
    )
    done = world.podpass(*words, env=unprivileged)
    assert done.returncode == 1
    assert "failed to run phase aad-application" in done.stderr
    assert "Authorization_RequestDenied" in done.stderr
    assert "Application Developer" in done.stderr
    assert "run the same command again" in done.stderr
    assert unprivileged["AZURE_CLIENT_SECRET"] not in done.stderr
    assert world.service_account("norights") is None


def test_subscription_without_access_is_refused_before_anything_is_created(
    world: AzureWorld, unprivileged: dict[str, str]
) -> None:
    subscription = ("--subscription-id", world.status["subscription_id"])
    managed = ("--managed-identity-name", "web", "--resource-group", "rg", "--skip-phases", "ra")
    done = world.podpass(*_create(world, "x", *managed, *SECRET, *subscription), env=unprivileged)
    assert done.returncode == 1
    assert "failed to run phase managed-identity: failed to get the subscription" in done.stderr
    assert "nothing was changed" in done.stderr


async def _run_until(
    world: AzureWorld, request: ProvisionRequest, number: int, *, deletes: bool
) -> int:
    """Run a workflow that is cancelled after its n-th request to Azure; return the number of requests."""
    account = await world.account()
    seen = 0

    def count(_: str) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            task.cancel()

    account.connection.trace = count
    async with KubeClient.from_kubeconfig(Path(world.kubeconfig)) as client:
        clients = clients_of(account, client)
        common: dict[str, Any] = {"dry_run": False, "finished": ignore, "report": ignore}
        run = (
            workflow.delete(request, clients, confirm=lambda _: False, **common)
            if deletes
            else workflow.create(request, clients, commit="c", **common)
        )
        task = asyncio.ensure_future(run)
        try:
            await task
        except asyncio.CancelledError:
            assert seen == number
    return seen


def _request(
    world: AzureWorld, account: str, *, is_managed: bool = False, deletes: bool = False
) -> ProvisionRequest:
    order = DELETE_ORDER if deletes else CREATE_ORDER
    return ProvisionRequest(
        phases=select_phases(order, (), is_managed=is_managed),
        tenant_id=world.status["tenant_id"],
        audience=AUDIENCE,
        account=account,
        issuer=world.issuer,
        scope=world.scope,
        role="Reader",
        managed_identity=account if is_managed else "",
        resource_group="rg" if is_managed else "",
    )


def _state(world: AzureWorld, request: ProvisionRequest) -> dict[str, Any]:
    """Return what exists, without ids."""
    trusts: list[list[Any]]
    state: dict[str, Any] = {"account": world.service_account(request.account) is not None}
    if request.is_managed:
        path = (
            f"{world.scope}/resourceGroups/rg/providers/Microsoft.ManagedIdentity"
            "/userAssignedIdentities"
        )
        params = {"api-version": "2023-01-31"}
        found = world.call(lambda account: account.manager_api().list(path, params))
        found = [each for each in found if each["name"] == request.account]
        principals = [each["properties"]["principalId"] for each in found]
        trusts = [world.managed_trusts("rg", each["name"]) for each in found]
    else:
        found = world.applications(request.resolved_name)
        principals = [
            principal["id"]
            for each in found
            for principal in world.graph(
                "/v1.0/servicePrincipals", {"$filter": f"appId eq '{each['appId']}'"}
            )
        ]
        trusts = [world.trusts(each) for each in found]
    state["identities"] = len(found)
    state["principals"] = len(principals)
    state["trusts"] = [len(each) for each in trusts]
    state["roles"] = [len(world.assignments(each)) for each in principals]
    return state


COMPLETE = {"account": True, "identities": 1, "principals": 1, "trusts": [1], "roles": [1]}
NOTHING = {"account": False, "identities": 0, "principals": 0, "trusts": [], "roles": []}


@pytest.mark.processes
@pytest.mark.timeout(600)
@pytest.mark.parametrize("is_managed", [False, True], ids=["application", "managed-identity"])
def test_run_that_is_interrupted_at_any_request_is_resumed_by_the_same_command(
    world: AzureWorld, is_managed: bool
) -> None:
    creation = _request(world, "resumed", is_managed=is_managed)
    deletion = _request(world, "resumed", is_managed=is_managed, deletes=True)
    number, seen = 0, 0
    while seen == number:  # until a run ends before its cancellation
        number += 1
        seen = asyncio.run(_run_until(world, creation, number, deletes=False))
        asyncio.run(_run_until(world, creation, 0, deletes=False))
        assert _state(world, creation) == COMPLETE, number
        asyncio.run(_run_until(world, deletion, number, deletes=True))
        asyncio.run(_run_until(world, deletion, 0, deletes=True))
        assert _state(world, deletion) == NOTHING, number
    assert number > 7  # the last one was not interrupted


def test_failed_phase_lists_completed_and_remaining_steps(world: AzureWorld) -> None:
    request = _request(world, "failed")

    async def work(account: Any) -> tuple[list[StepEvent], PhaseFailed]:
        finished: list[StepEvent] = []
        async with KubeClient.from_kubeconfig(Path(world.kubeconfig)) as client:
            clients = clients_of(account, client)

            def break_cluster(event: StepEvent) -> None:
                finished.append(event)
                if event.step.kind == "service principal":
                    object.__setattr__(client.target, "server", "https://127.0.0.1:9")

            with pytest.raises(PhaseFailed) as caught:
                await workflow.create(
                    request,
                    clients,
                    commit="c",
                    dry_run=False,
                    finished=break_cluster,
                    report=ignore,
                )
        return finished, caught.value

    finished, error = world.call(work)
    assert [str(each.step.kind) for each in finished] == ["application", "service principal"]
    assert error.message.startswith(
        "failed to run phase service-account: failed to create kubernetes service account: no answer"
    )
    assert error.hint.endswith(
        "done: application (create), service principal (create); not done: ServiceAccount,"
        " federated credential, role assignment; run the same command again to resume"
    )
    asyncio.run(_run_until(world, request, 0, deletes=False))
    assert _state(world, request) == COMPLETE


def _write_kubeconfig(path: Path, port: int) -> Path:
    path.write_text(yaml.safe_dump(build_kubeconfig(f"http://127.0.0.1:{port}")))
    return path


async def test_ctrl_c_lists_the_interrupted_phase_and_completed_and_remaining_steps(
    world: AzureWorld, tmp_path: Path
) -> None:
    creating = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await read_request(reader)
            if not head.startswith(b"GET"):
                creating.set()
                await reader.read()
                return
            body = json.dumps({"kind": "Status", "code": 404}).encode()
            writer.write(b"HTTP/1.1 404 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with serving_connections(handle) as port:
        kubeconfig = ("--kubeconfig", str(_write_kubeconfig(tmp_path / "kubeconfig", port)))
        words = _create(world, "ctrlc", "--skip-phases", "ra", "--auth-method", "instance")
        process = await asyncio.create_subprocess_exec(
            *world.podpass.command(*words, *kubeconfig),
            env=world.podpass.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        await creating.wait()
        os.kill(process.pid, signal.SIGINT)
        _, error = await process.communicate()
    text = error.decode()
    assert process.returncode == 130, text
    assert (
        "interrupted in phase service-account: done: application (create), service principal (create);"
        " not done: ServiceAccount, federated credential" in text
    )
    assert "Traceback" not in text
    done = await asyncio.to_thread(
        world.run, *_create(world, "ctrlc", "--skip-phases", "ra")[1:], "-o", "json"
    )
    assert [each["action"] for each in json.loads(done.stdout)["steps"]] == [
        "keep",
        "keep",
        "create",
        "create",
    ]
