"""The released `az` in a job of a pipeline: signed in with the job's token, until it expires."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from podpass.pytest.instance import Podpass
from tests.az.az_cli import VERSIONS, install_az
from tests.journey.instance import Instance

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]

JOB = "github:contoso/app:ref:refs/heads/main"
CLIENT = "22222222-aaaa-4bbb-8ccc-000000000009"
SEED = {
    "pipelines": ["github"],
    "identities": [
        {
            "name": "deploy",
            "kind": "application",
            "client_id": CLIENT,
            "federated_credentials": [
                {
                    "name": "main",
                    "issuer": "https://token.actions.githubusercontent.com",
                    "subject": "repo:contoso/app:ref:refs/heads/main",
                }
            ],
        }
    ],
    "vaults": [
        {
            "name": "jobs-vault",
            "secrets": {"greeting": "hello"},
            "access": [{"identity": "deploy", "role": "Key Vault Secrets User"}],
        }
    ],
}
REQUEST = """
import json, os, ssl, urllib.request
url = os.environ["ACTIONS_ID_TOKEN_REQUEST_URL"] + "&audience=api%3A%2F%2FAzureADTokenExchange"
bearer = {"Authorization": "Bearer " + os.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]}
tls = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
answer = urllib.request.urlopen(urllib.request.Request(url, headers=bearer), context=tls)
print(json.load(answer)["value"])
"""
LOGIN = (
    f"token=$({sys.executable} -c '{REQUEST}') && az login --service-principal -u {CLIENT}"
    ' --tenant "$TENANT" --federated-token "$token" --allow-no-subscriptions -o none'
)
READ = "az keyvault secret show --vault-name jobs-vault -n greeting --query value -o tsv"


@pytest.fixture
def running(podpass_instance: Podpass) -> Iterator[Podpass]:
    podpass_instance.reset()
    podpass_instance.apply(SEED)
    yield podpass_instance
    podpass_instance.reset()


@pytest.mark.parametrize("version", VERSIONS)
def test_az_signs_in_with_the_token_of_a_job_and_cannot_renew_it(
    running: Podpass, version: str, tmp_path: Path
) -> None:
    instance = Instance(running.data_dir)
    path = os.pathsep.join([str(install_az(version).parent), os.environ["PATH"]])

    def run(*lines: str, folder: str = "first") -> tuple[str, str]:
        own = f"export AZURE_CONFIG_DIR={tmp_path / folder} TENANT={running.tenant_id}"
        words = ("sh", "-c", " && ".join([own, *lines]))
        done = instance.podpass("run", "--as", JOB, "--", *words, check=False, env={"PATH": path})
        return done.stdout, done.stderr

    printed, said = run(LOGIN, READ)
    assert printed == "hello\n", said
    assert run(LOGIN, folder="second")[0] == ""
    # A job of six minutes: az has the first token, and no way to request another one.
    running.move_clock(minutes=6)
    refused = run(READ, folder="second")[1]
    assert "AADSTS700024:" in refused
    assert "az login" in instance.podpass("explain", refused).stdout
    assert run(LOGIN, READ, folder="second")[0] == "hello\n"
