"""The quick start's manifest, as it is, on a real node: its pod reads a secret from a vault."""

from tests.node.images import ROOT
from tests.node.node import Node

APP = ROOT / "examples" / "quickstart" / "app.yaml"


def test_pod_of_the_quick_start_reads_its_secret(webhook: Node) -> None:
    webhook.kubectl("apply", "-f", str(APP))
    webhook.wait_for("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/read-secret")
    assert webhook.kubectl("logs", "read-secret") == "hello from the vault\n"
    pod = webhook.get("pod", "read-secret")
    (container,) = pod["spec"]["containers"]
    variables = {each["name"] for each in container["env"]}
    assert {"AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"} <= variables
