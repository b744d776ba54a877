"""kubelogin signs a user in with a device code: with azidentity, and with ADAL in its legacy mode."""

import base64
import json
import os
from pathlib import Path

import pytest

from bench.peers.build import CannotBuild, build_program
from podpass.crypto import jose
from podpass.directory.resources import MANAGER_APP_ID
from tests.journey.instance import Instance
from tests.peers.device_sign_in import sign_in
from tests.peers.rest import RestClient

# A first build takes minutes.
pytestmark = [pytest.mark.peers, pytest.mark.timeout(1800)]
# The Azure CLI's client id: a public client of every tenant.
_CLIENT = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"


def kubelogin() -> Path:
    try:
        return build_program("kubelogin")
    except CannotBuild as exc:
        pytest.skip(f"kubelogin: {exc}")


@pytest.mark.parametrize("mode", [(), ("--legacy",)], ids=["azidentity", "adal"])
def test_kubelogin_signs_a_user_in_with_a_device_code(
    instance: Instance, tmp_path: Path, mode: tuple[str, ...]
) -> None:
    program = kubelogin()
    client = ("--client-id", _CLIENT, "--tenant-id", instance.status["tenant_id"])
    server = ("--server-id", MANAGER_APP_ID, "--cache-dir", str(tmp_path))
    command = [str(program), "get-token", "--login", "devicecode", *client, *server, *mode]
    credential = json.loads(sign_in(instance, command))
    claims = jose.parse(credential["status"]["token"]).claims
    assert claims["upn"] == instance.status["admin"]["username"]


def test_kubectl_with_kubelogin_is_the_user_at_a_cluster_with_entra_integration(
    instance: Instance, rest: RestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run kubectl with the unchanged kubeconfig that `az aks get-credentials` writes."""
    monkeypatch.setenv("PATH", f"{kubelogin().parent}:{os.environ['PATH']}")
    group = f"/subscriptions/{instance.status['subscription_id']}/resourceGroups/entra"
    cluster = f"{group}/providers/Microsoft.ContainerService/managedClusters/entra"
    version = "?api-version=2025-05-01"
    pools = [{"name": "pool", "count": 1, "mode": "System"}]
    body = {"properties": {"agentPoolProfiles": pools, "aadProfile": {"managed": True}}}
    rest("PUT", f"{group}{version}", {"location": "eastus"})
    status, answer = rest("PUT", f"{cluster}{version}", {"location": "eastus", **body})
    assert status in (200, 201), answer
    _, answer = rest("POST", f"{cluster}/listClusterUserCredential{version}")
    file = tmp_path / "kubeconfig"
    file.write_bytes(base64.b64decode(answer["kubeconfigs"][0]["value"]))
    command = ["kubectl", "--kubeconfig", str(file), "auth", "whoami", "-o", "json"]
    user = json.loads(sign_in(instance, command))["status"]["userInfo"]
    rest("DELETE", f"{cluster}{version}")
    assert user["username"] == instance.status["admin"]["username"]
    assert user["groups"] == ["system:authenticated"]
