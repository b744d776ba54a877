"""The guide for kind, line by line, and its workflow, on a cluster without a webhook."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.node import user_machine
from tests.node.cloud_installation import COREFILE
from tests.node.conftest import RELEASE, SYSTEM, install_webhook
from tests.node.node import Node
from tests.node.user_machine import GUIDE, UserMachine, read_commands
from tests.release.action_runner import Runner

SECRET = "hello from the vault\n"
# It needs Docker and a Dockerfile of the user; the image of the guide's Job is already in the cluster.
_BUILD = "docker build -t app:1 . && kind load docker-image app:1"


@pytest.fixture(scope="module")
def machine(node: Node) -> Iterator[UserMachine]:
    """Provide a developer's machine, next to a cluster as kind makes it: without a webhook."""
    had_webhook = RELEASE in node.helm("list", "--short", "--namespace", SYSTEM)
    if had_webhook:
        node.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--wait")
    yield user_machine.prepare(node)
    if had_webhook:
        install_webhook(node)


def test_each_command_of_the_guide_works(machine: UserMachine) -> None:
    before = machine.node.kubectl(*COREFILE)
    outputs = {line: machine.run(line) for line in read_commands(GUIDE)}
    assert outputs["kubectl logs job/app"] == SECRET
    assert "podpass cloud is removed" in outputs["podpass cloud uninstall --yes"]
    assert machine.node.kubectl(*COREFILE) == before
    # A webhook that ends while it is removed does not create its Secret again.
    assert "azure-wi-webhook-server-cert" not in machine.node.kubectl("get", "secrets", "-A")


def test_workflow_of_the_guide_is_green(machine: UserMachine) -> None:
    text, workflow = _read_workflow()
    assert len(text.splitlines()) <= 15
    for name in ("quickstart/seed.yaml", "ci/app.yaml"):
        source = machine.checkout / "examples" / name
        (machine.checkout / source.name).write_bytes(source.read_bytes())
    runner = Runner(machine, machine.checkout)
    checkout, *steps = workflow["jobs"]["test"]["steps"]
    assert checkout["uses"].startswith("actions/checkout@")
    for step in steps:
        if "uses" in step:
            runner.use(
                yaml.safe_load((machine.checkout / "action.yml").read_text()), **step["with"]
            )
        elif step["run"] != _BUILD:
            runner.run(step["run"])
    assert machine.run("kubectl logs job/app") == SECRET
    status = json.loads(machine.run('"$PODPASS_BIN" cloud status -o json'))
    assert runner.outputs["tenant-id"] == status["tenant_id"]
    machine.run('kubectl delete job app; "$PODPASS_BIN" cloud uninstall --yes; kind delete cluster')


def _read_workflow() -> tuple[str, dict[str, Any]]:
    found = [each for each in user_machine.read_listings(GUIDE, "yaml") if "jobs:" in each]
    (text,) = found
    return text, yaml.safe_load(text)


def test_manifest_of_the_guide_is_that_of_the_examples() -> None:
    listed = [each for each in user_machine.read_listings(GUIDE, "yaml") if "kind: Job" in each]
    file = Path(GUIDE).parents[2] / "examples" / "ci" / "app.yaml"
    assert listed == [file.read_text().split("\n", 1)[1]]
