"""Node SDKs, the oldest the documentation allows and the newest, as pods and on the host."""

import pytest

from clients.installed import node_with
from journey.instance import Instance

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

SETS = {
    "oldest": {"@azure__identity": "3.2.0", "@azure__keyvault-secrets": "4.7.0"},
    "newest": {"@azure__identity": "latest", "@azure__keyvault-secrets": "latest"},
}
STYLES = ("default", "chained", "workload")


@pytest.mark.parametrize("age", SETS)
@pytest.mark.parametrize("style", STYLES)
def test_azure_identity_for_node_in_a_pod_reads_the_secret(
    instance: Instance, age: str, style: str
) -> None:
    node, folder = node_with(**SETS[age])
    command = [node, f"{folder}/read.cjs", style]
    phase, printed = instance.run_command(f"node-{age}-{style}", "web", command)
    assert (phase, printed.splitlines()[-1]) == ("Succeeded", "hello"), printed


@pytest.mark.parametrize("age", SETS)
def test_azure_identity_for_node_on_the_host_reads_the_secret(instance: Instance, age: str) -> None:
    node, folder = node_with(**SETS[age])
    printed = instance.run_on_host("web", [node, f"{folder}/read.cjs", "workload"])
    assert printed.splitlines()[-1] == "hello"
