"""Released clients of the protocols by which a job of a pipeline requests its token."""

import json
from subprocess import CompletedProcess

import pytest

from podpass.lab.pipelines.platforms import parse_job
from tests.clients import toolchains
from tests.clients.program_output import parse_output
from tests.journey.instance import Instance

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

CLIENT = "22222222-aaaa-4bbb-8ccc-000000000009"
GITHUB = "github:contoso@1/app@2:environment:prod"
TERRAFORM = "terraform:contoso/net/prod:run_phase:plan"
AZURE_DEVOPS = "azure-devops:contoso/project/connection"
# The tenant issues the tokens of a connection with ids.
CONNECTION = (
    "azure-devops:33333333-3333-4333-8333-333333333333/44444444-4444-4444-8444-444444444444"
)
# `terraform` is HashiCorp's package with which its providers for Azure sign in.
CLIENTS = ("python", "node", "java", "azidentity", "terraform")


@pytest.fixture(scope="module")
def jobs(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Instance:
    """Return the instance with an application that trusts four jobs, whose platforms a seed enables."""
    trusted = [
        parse_job(each).of_tenant(instance.status["tenant_id"])
        for each in (GITHUB, TERRAFORM, AZURE_DEVOPS, CONNECTION)
    ]
    credentials = [
        {"name": f"job-{number}", "issuer": job.issuer, "subject": job.subject}
        for number, job in enumerate(trusted)
    ]
    application = {
        "name": "pipelines",
        "kind": "application",
        "client_id": CLIENT,
        "federated_credentials": credentials,
    }
    vault = {
        "name": "pipelines-vault",
        "secrets": {"greeting": "hello from a job"},
        "access": [{"identity": "pipelines", "role": "Key Vault Secrets User"}],
    }
    seed = {
        "pipelines": ["github", "terraform", "azure-devops"],
        "identities": [application],
        "vaults": [vault],
    }
    file = tmp_path_factory.mktemp("pipelines") / "seed.yaml"
    file.write_text(json.dumps(seed))
    instance.podpass("apply", "-f", str(file))
    return instance


def run_job(jobs: Instance, job: str, client: str) -> CompletedProcess[str]:
    command = [*toolchains.pipelines(client), jobs.status["tenant_id"], CLIENT]
    return jobs.podpass("run", "--as", job, "--", *command, check=False)


@pytest.mark.parametrize("job", [GITHUB, AZURE_DEVOPS, CONNECTION])
@pytest.mark.parametrize("client", CLIENTS)
def test_client_reads_the_secret_as_a_job(jobs: Instance, client: str, job: str) -> None:
    done = run_job(jobs, job, client)
    assert parse_output(done.stdout) == {"secret": "hello from a job"}, done.stderr


@pytest.mark.parametrize(
    ("job", "number"),
    [(GITHUB.replace("prod", "test"), 700213), (AZURE_DEVOPS.replace("/connection", "/x"), 700213)],
)
@pytest.mark.parametrize("client", CLIENTS)
def test_client_shows_why_another_job_is_refused(
    jobs: Instance, client: str, job: str, number: int
) -> None:
    done = run_job(jobs, job, client)
    assert done.returncode != 0
    assert f"AADSTS{number}:" in done.stderr


def test_terraform_reads_the_secret_in_the_phase_that_is_trusted(jobs: Instance) -> None:
    done = run_job(jobs, TERRAFORM, "terraform")
    assert parse_output(done.stdout) == {"secret": "hello from a job"}, done.stderr
    refused = run_job(jobs, TERRAFORM.replace("plan", "apply"), "terraform")
    assert "AADSTS700213:" in refused.stderr
