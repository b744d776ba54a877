"""The guide for kind, line by line, and its workflow, on a cluster without a webhook."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guides import read_listings
from tests.node import user_machine
from tests.node.cloud_installation import COREFILE
from tests.node.conftest import RELEASE, SYSTEM, install_webhook
from tests.node.node import Node
from tests.node.user_machine import GUIDE, UserMachine, read_commands

SECRET = "hello from the vault\n"
_KIND = Path(__file__).with_name("kind_program.py")
# It needs Docker and a Dockerfile of the user; the image of the guide's Job is already in the cluster.
_BUILD = "docker build -t app:1 . && kind load docker-image app:1"


@pytest.fixture(scope="module")
def machine(node: Node) -> Iterator[UserMachine]:
    """Provide a developer's machine, next to a cluster as kind makes it: without a webhook."""
    had_webhook = RELEASE in node.helm("list", "--short", "--namespace", SYSTEM)
    if had_webhook:
        node.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--wait")
    kind = f'exec "{sys.executable}" "{_KIND}" "$@"'
    variables = {"NODE_KUBECONFIG": str(node.pki.kubeconfig("admin"))}
    yield user_machine.prepare(node.sandbox, kind, variables)
    if had_webhook:
        install_webhook(node)


def test_each_command_of_the_guide_works(machine: UserMachine, node: Node) -> None:
    before = node.kubectl(*COREFILE)
    outputs = {line: machine.run(line) for line in read_commands(GUIDE)}
    assert outputs["kubectl logs job/app"] == SECRET
    assert "podpass cloud is removed" in outputs["podpass cloud uninstall --yes"]
    assert node.kubectl(*COREFILE) == before
    # A webhook that ends while it is removed does not create its Secret again.
    assert "azure-wi-webhook-server-cert" not in node.kubectl("get", "secrets", "-A")


def test_workflow_of_the_guide_is_green(machine: UserMachine) -> None:
    text, _ = user_machine.read_workflow()
    assert len(text.splitlines()) <= 15
    runner = user_machine.run_workflow(machine, _BUILD)
    assert machine.run("kubectl logs job/app") == SECRET
    status = json.loads(machine.run('"$PODPASS_BIN" cloud status -o json'))
    assert runner.outputs["tenant-id"] == status["tenant_id"]
    machine.run('kubectl delete job app; "$PODPASS_BIN" cloud uninstall --yes; kind delete cluster')


def test_manifest_of_the_guide_is_that_of_the_examples() -> None:
    listed = [each for each in read_listings(GUIDE, "yaml") if "kind: Job" in each]
    file = Path(GUIDE).parents[2] / "examples" / "ci" / "app.yaml"
    assert listed == [file.read_text().split("\n", 1)[1]]
