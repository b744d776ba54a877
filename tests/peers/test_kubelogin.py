"""kubelogin signs users and applications in: with azidentity, and with ADAL in its legacy mode."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import PBES, serialize_key_and_certificates

from podpass.crypto import jose
from podpass.directory.resources import MANAGER_APP_ID
from tests.journey.instance import Instance
from tests.peers.azwi_cli import create_certificate
from tests.peers.device_sign_in import sign_in
from tests.peers.rest import RestClient
from tests.programs import built

# A first build takes minutes.
pytestmark = [pytest.mark.peers, pytest.mark.timeout(1800)]
# The Azure CLI's client id: a public client of every tenant.
_CLIENT = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
# The only protection that ADAL's PKCS #12 reader knows.
_PFX = (
    PrivateFormat.PKCS12.encryption_builder()
    .key_cert_algorithm(PBES.PBESv1SHA1And3KeyTripleDESCBC)
    .hmac_hash(SHA1())
    .build(b"password")
)


@pytest.mark.parametrize("mode", [(), ("--legacy",)], ids=["azidentity", "adal"])
def test_kubelogin_signs_a_user_in_with_a_device_code(
    instance: Instance, tmp_path: Path, mode: tuple[str, ...]
) -> None:
    program = built("kubelogin")
    client = ("--client-id", _CLIENT, "--tenant-id", instance.status["tenant_id"])
    server = ("--server-id", MANAGER_APP_ID, "--cache-dir", str(tmp_path))
    command = [str(program), "get-token", "--login", "devicecode", *client, *server, *mode]
    credential = json.loads(sign_in(instance, command))
    claims = jose.parse(credential["status"]["token"]).claims
    assert claims["upn"] == instance.status["admin"]["username"]


@pytest.mark.parametrize("mode", [(), ("--legacy",)], ids=["azidentity", "adal"])
def test_kubelogin_signs_an_application_in_with_a_certificate(
    instance: Instance, rest: RestClient, tmp_path: Path, mode: tuple[str, ...]
) -> None:
    """ADAL for Go signs the query of the token endpoint as a part of the audience."""
    key, certificate = create_certificate()
    der = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
    body = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": der}
    status, made = rest(
        "POST", "/v1.0/applications", {"displayName": "kubelogin", "keyCredentials": [body]}
    )
    assert status == 201, made
    rest("POST", "/v1.0/servicePrincipals", {"appId": made["appId"]})
    file = tmp_path / "certificate.pfx"
    file.write_bytes(serialize_key_and_certificates(b"", key, certificate, None, _PFX))
    client = ("--client-id", made["appId"], "--client-certificate", str(file))
    where = ("--tenant-id", instance.status["tenant_id"], "--server-id", MANAGER_APP_ID)
    cache = ("--client-certificate-password", "password", "--cache-dir", str(tmp_path))
    command = [
        str(built("kubelogin")),
        "get-token",
        "--login",
        "spn",
        *client,
        *where,
        *cache,
        *mode,
    ]
    run = [sys.executable, "-m", "podpass.cli", "run", "--", *command]
    environ = {"HOME": str(tmp_path), "PODPASS_DATA_DIR": str(instance.data_dir)}
    done = subprocess.run(
        run, capture_output=True, text=True, env={**os.environ, **environ}, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    claims = jose.parse(json.loads(done.stdout)["status"]["token"]).claims
    assert claims["appid"] == made["appId"]


def test_kubectl_with_kubelogin_is_the_user_at_a_cluster_with_entra_integration(
    instance: Instance, rest: RestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run kubectl with the unchanged kubeconfig that `az aks get-credentials` writes."""
    monkeypatch.setenv("PATH", f"{built('kubelogin').parent}:{os.environ['PATH']}")
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
