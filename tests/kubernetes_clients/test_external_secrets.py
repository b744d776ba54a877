"""External Secrets on the embedded API: its chart with 20 CustomResourceDefinitions, and its controllers."""

import asyncio
import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from joserfc.jwk import ECKey

from tests.journey.instance import CLIENT, Instance, started
from tests.kubernetes_clients.command import CommandLineClient
from tests.kubernetes_clients.external_secrets import (
    CRDS,
    GROUP,
    NAMESPACE,
    VALUES,
    controllers,
    copy_chart,
    external_certificate,
    external_secret,
    pushed_certificate,
    store,
)
from tests.lab.instance.kubectl import binaries

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
COPIED = "/api/v1/namespaces/default/secrets/copied"
_SECONDS = 120
CREATE = """
from azure.identity import DefaultAzureCredential
from azure.keyvault.certificates import CertificateClient, CertificatePolicy
client = CertificateClient("https://journey-vault.vault.azure.net", DefaultAzureCredential())
policy = CertificatePolicy("Self", subject="CN=www", key_type="EC", key_curve_name="P-256")
client.begin_create_certificate("www", policy).result()
"""
READ = """
from azure.identity import DefaultAzureCredential
from azure.keyvault.certificates import CertificateClient
client = CertificateClient("https://journey-vault.vault.azure.net", DefaultAzureCredential())
print(client.get_certificate("pushed").properties.x509_thumbprint.hex())
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with started(tmp_path) as running:
        yield running


def cluster_client(instance: Instance, binary: Path) -> CommandLineClient:
    """Return a program with the kubeconfig of an instance."""
    kubeconfig = Path(instance.status["kubernetes"]["kubeconfig"])
    return CommandLineClient(
        binary, SimpleNamespace(folder=instance.data_dir.parent, kubeconfig=lambda: kubeconfig)
    )


async def wait_for_value(live: Any, value: str, log: Path) -> Any:
    """Wait until the controllers have written a value to the Secret."""
    for _ in range(_SECONDS * 10):
        found = await live.call("GET", COPIED)
        if found.status == 200:
            data = found.body.get("data") or {}
            if base64.b64decode(data.get("value", "")).decode() == value:
                return found.body
        await asyncio.sleep(0.1)
    raise AssertionError(f"the Secret has no value {value!r}: {log.read_text()[-3000:]}")


async def test_chart_installs_its_definitions_and_the_controllers_copy_a_secret(
    live: Any,
    helm: CommandLineClient,
    kubectl: CommandLineClient,
    external_secrets_binary: Path,
    tmp_path: Path,
) -> None:
    chart = str(copy_chart(tmp_path))
    release = ("external-secrets", chart, "-n", NAMESPACE, *VALUES)
    await helm("install", *release, "--create-namespace")
    found = (await live.call("GET", DEFINITIONS)).body["items"]
    assert len(found) == CRDS
    async with controllers(external_secrets_binary, kubectl, tmp_path) as log:
        fake = {"fake": {"data": [{"key": "greeting", "value": "hello"}]}}
        for body in (store(fake), external_secret("greeting", "1s")):
            await kubectl("apply", "-f", "-", given=json.dumps(body))
        copied = await wait_for_value(live, "hello", log)
        assert [each["kind"] for each in copied["metadata"]["ownerReferences"]] == [
            "ExternalSecret"
        ]
        wait = ("wait", "--for=condition=Ready", "--timeout=60s")
        await kubectl(*wait, "secretstore/store", "externalsecret/wanted")
        columns = (await kubectl("get", "externalsecrets")).splitlines()
        assert columns[0].split()[:3] == ["NAME", "STORETYPE", "STORE"]
        assert "SecretSynced" in columns[1]
        fake["fake"]["data"][0]["value"] = "changed"
        await kubectl("apply", "-f", "-", given=json.dumps(store(fake)))
        await wait_for_value(live, "changed", log)
        # The Secret belongs to the ExternalSecret, so the garbage collector deletes it.
        await kubectl("delete", "externalsecret", "wanted")
        for _ in range(_SECONDS * 10):
            if (await live.call("GET", COPIED)).status == 404:
                break
            await asyncio.sleep(0.1)
        assert (await live.call("GET", COPIED)).status == 404
    await helm("uninstall", "external-secrets", "-n", NAMESPACE)
    assert (await live.call("GET", f"{GROUP}/secretstores/store")).status == 200
    await kubectl("delete", "crd", "--all")
    assert (await live.call("GET", f"{GROUP}/secretstores/store")).status == 404


async def test_key_vault_secret_is_copied_with_workload_identity(
    instance: Instance, helm_binary: Path, external_secrets_binary: Path, tmp_path: Path
) -> None:
    """The whole loop by an unmodified program: token request, exchange, Key Vault, Secret."""
    found = binaries()
    kubectl = cluster_client(instance, Path(found["machine"] or found["package"]))
    helm = cluster_client(instance, helm_binary)
    chart = str(copy_chart(tmp_path))
    await helm("install", "external-secrets", chart, "-n", NAMESPACE, "--create-namespace", *VALUES)
    tenant = instance.status["tenant_id"]
    instance.account(
        "web",
        {"azure.workload.identity/client-id": CLIENT, "azure.workload.identity/tenant-id": tenant},
    )
    vault = {
        "vaultUrl": "https://journey-vault.vault.azure.net",
        "authType": "WorkloadIdentity",
        "serviceAccountRef": {"name": "web"},
    }
    gateway = {
        "HTTPS_PROXY": instance.status["gateway"],
        "SSL_CERT_FILE": instance.status["ca_file"],
    }
    instance.podpass("apply", "-f", str(_write_seed(tmp_path)))
    phase, printed = instance.run_command("create", "web", [sys.executable, "-c", CREATE])
    assert phase == "Succeeded", printed
    async with controllers(external_secrets_binary, kubectl, tmp_path, **gateway) as log:
        wanted = (external_secret("greeting"), external_certificate("www"))
        for body in (store({"azurekv": vault}), *wanted):
            await kubectl("apply", "-f", "-", given=json.dumps(body))
        ready = ("wait", "--for=condition=Ready", f"--timeout={_SECONDS}s")
        output = await kubectl(*ready, "externalsecret/wanted", "externalsecret/certificate")
        assert "condition met" in output, log.read_text()[-3000:]
        text = await kubectl("get", "secret", "copied", "-o", "jsonpath={.data.value}")
        assert base64.b64decode(text) == b"hello"
        text = await kubectl("get", "secret", "certificate", "-o", "jsonpath={.data}")
        issued = trustme.CA().issue_cert("www.example.com")
        certificate, key = issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()
        encoded = load_pem_private_key(key, None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        for body in pushed_certificate((certificate + encoded).decode()):
            await kubectl("apply", "-f", "-", given=json.dumps(body))
        output = await kubectl(*ready, "pushsecret/pushed")
        assert "condition met" in output, log.read_text()[-3000:]
    phase, printed = instance.run_command("read", "web", [sys.executable, "-c", READ])
    assert printed.split() == [
        x509.load_pem_x509_certificate(certificate).fingerprint(SHA1()).hex()
    ]
    copied = {name: base64.b64decode(value) for name, value in json.loads(text).items()}
    leaf = x509.load_der_x509_certificate(copied["cert"])
    assert leaf.subject.rfc4514_string() == "CN=www"
    public = ECKey.import_key(json.loads(copied["key"])).public_key
    assert public == leaf.public_key()
    loaded: Any = pkcs12.load_pkcs12(base64.b64decode(copied["secret"]), b"")
    assert loaded.cert is not None
    assert loaded.cert.certificate == leaf
    assert loaded.key.public_key() == public


def _write_seed(folder: Path) -> Path:
    """Write a seed that lets the identity `web` create certificates and read keys."""
    path = folder / "certificates.yaml"
    access = "{identity: web, role: Key Vault Administrator}"
    path.write_text(f"vaults: [{{name: journey-vault, access: [{access}]}}]")
    return path
