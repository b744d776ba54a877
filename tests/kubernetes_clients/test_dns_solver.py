"""cert-manager's solver for Azure DNS, as a process with the identity of a ServiceAccount."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from podpass.database import Database
from podpass.lab.services import answer_names, create_directory
from tests.journey.instance import CLIENT, NO_ROLE_CLIENT, Instance, started
from tests.lab.names.server import running
from tests.programs import built

ZONE = """
dns_zones:
  - name: example.test
    access: [{identity: web, role: DNS Zone Contributor}]
"""


@pytest.fixture(scope="module")
def solver() -> Path:
    return built("cert-manager-solver")


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("dns")
    with started(folder) as found:
        seed = folder / "zone.yaml"
        seed.write_text(ZONE)
        found.podpass("apply", "-f", str(seed))
        for account in ("web", "other"):
            found.account(account, {"azure.workload.identity/client-id": CLIENT})
        yield found


def solve(
    instance: Instance,
    solver: Path,
    verb: str,
    value: str,
    client: str = CLIENT,
    account: str = "web",
) -> str:
    """Run the solver with the identity of a ServiceAccount; return its error, empty if it succeeds."""
    subscription = instance.status["subscription_id"]
    command = (str(solver), verb, subscription, "podpass", "example.test", client, "www", value)
    done = instance.podpass("run", "--as", account, "--", *command, check=False)
    return done.stderr if done.returncode else ""


async def find_texts(instance: Instance) -> list[str]:
    """Ask the resolver, on the directory of the instance, for the record of the challenge."""
    database = Database(f"sqlite:///{instance.data_dir / 'directory.db'}")
    async with (
        create_directory(database) as directory,
        running(answer_name=answer_names(directory)) as dns,
    ):
        reply = await dns.ask("_acme-challenge.www.example.test", "TXT")
        return sorted(str(item) for each in reply.answer for item in each)


async def test_solver_writes_and_removes_the_record_of_a_challenge(
    instance: Instance, solver: Path
) -> None:
    for value in ("first", "second"):
        assert solve(instance, solver, "present", value) == ""
    assert await find_texts(instance) == ['"first"', '"second"']
    assert solve(instance, solver, "clean-up", "first") == ""
    assert await find_texts(instance) == ['"second"']
    assert solve(instance, solver, "clean-up", "second") == ""
    assert await find_texts(instance) == []


async def test_solver_without_role_or_trust_shows_the_reason(
    instance: Instance, solver: Path
) -> None:
    roleless = solve(instance, solver, "present", "x", client=NO_ROLE_CLIENT)
    assert "AuthorizationFailed" in roleless
    assert "Microsoft.Network/dnsZones/TXT/read" in roleless
    assert "AADSTS700213" in solve(instance, solver, "present", "x", account="other")
    assert await find_texts(instance) == []
