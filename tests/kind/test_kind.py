"""The guide for kind with kind itself: its commands, its workflow, and commands of the host."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.engine import Engine
from tests.guides import read_listings
from tests.node import images, user_machine
from tests.node.user_machine import GUIDE, UserMachine, read_commands

SECRET = "hello from the vault\n"
COREFILE = "kubectl get configmap coredns -n kube-system -o 'jsonpath={.data.Corefile}'"
_UNINSTALL = "podpass cloud uninstall --yes"
_READ = """
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient

vault = SecretClient("https://demo-vault.vault.azure.net/", DefaultAzureCredential())
print(vault.get_secret("greeting").value)
"""


def test_each_command_of_the_guide_works(machine: UserMachine) -> None:
    outputs, corefile = {}, {}
    for line in read_commands(GUIDE):
        if line.startswith("podpass cloud install"):
            corefile["before"] = machine.run(COREFILE)
        outputs[line] = machine.run(line)
        if line == _UNINSTALL:
            corefile["after"] = machine.run(COREFILE)
            secrets = machine.run("kubectl get secrets -A")
    assert outputs["kubectl logs job/app"] == SECRET
    assert "podpass cloud is removed" in outputs[_UNINSTALL]
    assert corefile["after"] == corefile["before"]
    assert "azure-wi-webhook-server-cert" not in secrets
    assert machine.run("kind get clusters") == ""


@pytest.fixture(scope="module")
def workflow(machine: UserMachine, docker: Engine) -> Iterator[dict[str, str]]:
    """Run the guide's workflow with an image of the user, without podpass; return its outputs."""
    folder = docker.sandbox.folder
    base = images.Image(
        name="client:1", layers=[images.client_layer()], variables={"PATH": "/usr/local/bin"}
    )
    docker.load(images.write_archive(base, folder / "client.tar"))
    (machine.checkout / "Dockerfile").write_text("FROM client:1\nUSER 65532:65532\n")
    example = machine.checkout / "examples" / "ci" / "app.yaml"
    example.write_text(example.read_text().replace("podpass:0.1.0", "app:1"))
    yield user_machine.run_workflow(machine).outputs
    machine.run("kind delete cluster")


def test_workflow_of_the_guide_is_green(machine: UserMachine, workflow: dict[str, str]) -> None:
    assert machine.run("kubectl logs job/app") == SECRET
    status = json.loads(machine.run('"$PODPASS_BIN" cloud status -o json'))
    assert workflow["tenant-id"] == status["tenant_id"]
    assert len(user_machine.read_workflow()[0].splitlines()) <= 15


def test_manifest_of_the_guide_is_that_of_the_examples() -> None:
    listed = [each for each in read_listings(GUIDE, "yaml") if "kind: Job" in each]
    file = Path(GUIDE).parents[2] / "examples" / "ci" / "app.yaml"
    assert listed == [file.read_text().split("\n", 1)[1]]


@pytest.mark.usefixtures("workflow")
def test_program_of_the_host_reads_the_secret_of_a_service_account(machine: UserMachine) -> None:
    (machine.temporary / "read.py").write_text(_READ)
    python = '"$RUNNER_TEMP/podpass/venv/bin/python" "$RUNNER_TEMP/read.py"'
    assert machine.run(f'"$PODPASS_BIN" cloud run --as web -- {python}') == SECRET


@pytest.mark.usefixtures("workflow")
def test_demo_runs(machine: UserMachine) -> None:
    assert "hello from the vault" in machine.run('"$PODPASS_BIN" cloud demo')


@pytest.mark.usefixtures("workflow")
def test_variables_of_the_host_reach_the_cloud_through_the_published_port(
    machine: UserMachine,
) -> None:
    values = json.loads(machine.run('"$PODPASS_BIN" cloud env -o json'))
    curl = "curl -sS --max-time 120 -o /dev/null -w '%{http_code}'"
    url = "https://demo-vault.vault.azure.net/secrets/greeting?api-version=7.4"
    proxy, bundle = values["HTTPS_PROXY"], values["CURL_CA_BUNDLE"]
    assert machine.run(f"{curl} -x {proxy} --cacert {bundle} '{url}'") == "401"
    machine.run('"$PODPASS_BIN" cloud env --stop')
