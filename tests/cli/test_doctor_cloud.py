"""`podpass doctor` on an instance: both halves in one report, the resource, and its options."""

import asyncio
import json
from typing import Any

import pytest

from tests.cli.azure_world import AzureWorld, run_here
from tests.diagnose.doctor.cloud_world import Workload, connected
from tests.lab.instance.instances import Podpass


@pytest.fixture(scope="module")
def world(running: Podpass) -> AzureWorld:
    """Return an instance with a healthy workload, and one with a wrong letter and no role."""
    found = AzureWorld(podpass=running, status=running.status())

    async def create() -> None:
        async with connected(found) as cloud:
            await cloud.create_shared()
            healthy = Workload(name="reported", credentials=[cloud.credential("reported")])
            subject = "system:serviceaccount:default:Mistyped"
            wrong = Workload(
                name="mistyped",
                role=None,
                credentials=[cloud.credential("mistyped", subject=subject)],
            )
            for each in (healthy, wrong):
                await cloud.create(each)

    asyncio.run(create())
    return found


def _run(world: AzureWorld, *words: str) -> Any:
    return run_here("doctor", *words, "--data-dir", str(world.podpass.data_dir))


def test_healthy_workload_exits_with_0_and_every_check_is_made(world: AzureWorld) -> None:
    done = _run(world, "sa/reported", "--vault", "doctor-vault", "-o", "json")
    assert done.returncode == 0, done.stdout
    [shown] = json.loads(done.stdout)["workloads"]
    assert (shown["findings"], shown["not_checked"]) == ([], [])
    assert {"key-refused", "exchange-refused", "role-insufficient"} <= set(shown["passed"])


def test_problems_are_printed_in_the_order_of_the_stages_without_a_token(world: AzureWorld) -> None:
    done = _run(world, "sa/mistyped", "--vault", "https://doctor-vault.vault.azure.net/")
    assert done.returncode == 1
    named = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    named = [line for line in named if line.partition(":")[0] in ("directory", "resource")]
    assert named == ["directory: credential-subject-differs", "resource: role-missing"]
    assert "az identity federated-credential update --name trust" in done.stdout
    assert "az role assignment create --role 'Key Vault Secrets User'" in done.stdout
    assert "eyJ" not in done.stdout + done.stderr


def test_doctor_without_a_resource_skips_the_role_check_and_succeeds(world: AzureWorld) -> None:
    done = _run(world, "sa/reported")
    assert done.returncode == 0, done.stdout
    assert "no resource was named: pass --vault or --resource" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--vault", "x", "--resource", "/subscriptions/s"), "not both"),
        (("--resource", "storage"), "not a resource id"),
        (("--action", "x/read"), "needs a resource"),
        (("--auth-method", "magic"), "method unsupported"),
    ],
)
def test_wrong_option_is_refused(world: AzureWorld, options: tuple[str, ...], message: str) -> None:
    done = _run(world, "sa/reported", *options)
    assert done.returncode == 2
    assert message in done.stderr
