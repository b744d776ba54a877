"""Released add-ons as containers of the node read the vault of the installed cloud."""

import base64
import json
from collections.abc import Iterator

import pytest

from bench.peers.build import CannotBuild
from tests.kubernetes_clients.external_secrets import NAMESPACE, external_secret, store
from tests.node.addons import (
    CERTIFICATE,
    PROVIDER_NAMESPACE,
    install_external_secrets,
    install_secrets_store,
    mounting_pod,
    provider_class,
    vault_provider,
)
from tests.node.cloud_installation import Installation
from tests.node.node import Node
from tests.node.objects import CLIENT_ID, container
from tests.node.sandbox import wait_until

_SECONDS = 180
_ADMINISTRATOR = (
    "vaults: [{name: demo-vault, access: [{identity: web, role: Key Vault Administrator}]}]"
)
# Create a version of a certificate; print the certificate.
_CREATE = """
import json, urllib.request
from azure.identity import WorkloadIdentityCredential

token = WorkloadIdentityCredential().get_token("https://vault.azure.net/.default").token
headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
policy = {"issuer": {"name": "Self"}, "x509_props": {"subject": "CN=www"}}


def send(path, body=None):
    url = f"https://demo-vault.vault.azure.net/certificates/www{path}?api-version=7.6"
    return json.load(urllib.request.urlopen(urllib.request.Request(url, body, headers)))


send("/create", json.dumps({"policy": policy}).encode())
print(send("")["cer"])
"""
# Print the mounted certificate, and whether its key is there too, at the start and after a change.
_WATCH = """
import base64, ssl, time

seen = ""
for _ in range(2):
    while (text := open("/mnt/secrets/www.crt").read()) == seen:
        time.sleep(1)
    seen = text
    secret, public = (open(f"/mnt/secrets/www.{end}").read() for end in ("pem", "pub"))
    whole = "PRIVATE KEY" in secret and "PUBLIC KEY" in public and text.strip() in secret
    print(base64.b64encode(ssl.PEM_cert_to_DER_cert(text)).decode(), whole, flush=True)
"""
_SECRET = "vaults: [{name: demo-vault, secrets: {greeting: %s}}]"


@pytest.fixture(scope="module")
def external_secrets(cloud: Installation) -> Iterator[Installation]:
    """Install the operator; remove it with its definitions at the end."""
    try:
        install_external_secrets(cloud)
    except CannotBuild as exc:
        pytest.skip(f"External Secrets: {exc}")
    yield cloud
    cloud.node.helm("uninstall", "external-secrets", "-n", NAMESPACE, "--wait")
    cloud.node.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_external_secrets_runs_unchanged_and_trusts_the_cloud(
    external_secrets: Installation,
) -> None:
    (found,) = external_secrets.node.get("pods", "-n", NAMESPACE)["items"]
    (app,) = found["spec"]["containers"]
    assert app["securityContext"]["readOnlyRootFilesystem"] is True
    assert app["securityContext"]["runAsNonRoot"] is True
    assert "podpass-cloud-trust" in {each["name"] for each in found["spec"]["volumes"]}


def test_external_secrets_copies_a_secret_and_copies_it_again_when_it_changes(
    external_secrets: Installation,
) -> None:
    cloud = external_secrets
    cloud.node.apply(
        store(vault_provider("web", cloud.status()["tenant_id"]), namespace="shop"),
        external_secret("greeting", "1s", "shop"),
    )
    ready = ("wait", "--for=condition=Ready", "-n", "shop")
    cloud.node.wait_for(*ready, "secretstore/store", "externalsecret/wanted", seconds=_SECONDS)
    assert _copied(cloud) == "hello from the vault"
    cloud.podpass("apply", "-f", "-", given=_SECRET % "changed in the vault")
    wait_until(lambda: _copied(cloud) == "changed in the vault", _SECONDS, "the changed secret")


def test_external_secrets_with_another_service_account_says_why_it_is_refused(
    external_secrets: Installation,
) -> None:
    node = external_secrets.node
    provider = vault_provider("other", external_secrets.status()["tenant_id"])
    node.apply(store(provider, name="refused", namespace="shop"))
    refused = ("wait", "--for=condition=Ready=false", "secretstore/refused", "-n", "shop")
    node.wait_for(*refused, seconds=_SECONDS)
    wait_until(lambda: "AADSTS700213" in _events(node, "refused"), _SECONDS, "the reason")


def _events(node: Node, name: str) -> str:
    about = f"--field-selector=involvedObject.name={name}"
    return node.kubectl("get", "events", "-n", "shop", about, "-o", "json")


def _copied(cloud: Installation) -> str:
    text = cloud.node.kubectl(
        "get", "secret", "copied", "-n", "shop", "-o", "jsonpath={.data.value}"
    )
    return base64.b64decode(text).decode()


@pytest.fixture(scope="module")
def secrets_store(cloud: Installation) -> Iterator[Installation]:
    """Install the CSI driver with its Azure provider, and a class of secrets; remove all at the end."""
    try:
        objects = install_secrets_store(cloud)
    except CannotBuild as exc:
        pytest.skip(f"the Secrets Store CSI driver: {exc}")
    cloud.node.apply(provider_class(cloud.status()["tenant_id"], CLIENT_ID))
    yield cloud
    # The driver unmounts what it has mounted, so the pods end before it.
    cloud.node.kubectl(
        "delete", "pod", "-n", "shop", "mounted", "unmounted", "certificate", "--ignore-not-found"
    )
    for item in reversed(objects):
        cloud.node.kubectl("delete", "-f", "-", "--wait=false", given=json.dumps(item))
    cloud.node.kubectl("delete", "namespace", PROVIDER_NAMESPACE, "--wait=false")


def test_csi_driver_mounts_a_secret_of_the_vault_as_a_file(secrets_store: Installation) -> None:
    node = secrets_store.node
    command = ["python", "-c", "print(open('/mnt/secrets/greeting').read())"]
    secrets_store.podpass("apply", "-f", "-", given=_SECRET % "as a file")
    node.apply(mounting_pod("mounted", container(command)))
    done = "--for=jsonpath={.status.containerStatuses[0].state.terminated}"
    node.wait_for("wait", done, "pod/mounted", "-n", "shop", seconds=_SECONDS)
    assert node.kubectl("logs", "mounted", "-n", "shop") == "as a file\n"


def test_csi_driver_mounts_a_certificate_and_changes_its_files_in_the_running_pod(
    secrets_store: Installation,
) -> None:
    node = secrets_store.node
    secrets_store.podpass("apply", "-f", "-", given=_ADMINISTRATOR)
    tenant = secrets_store.status()["tenant_id"]
    node.apply(provider_class(tenant, CLIENT_ID, "certificate", CERTIFICATE))
    first = secrets_store.run("certificate-1", _CREATE).split()
    app = container(["python", "-c", _WATCH])
    node.apply(mounting_pod("certificate", app, provider="certificate"))

    def lines() -> list[str]:
        return node.kubectl("logs", "certificate", "-n", "shop").splitlines()

    running = "--for=jsonpath={.status.containerStatuses[0].ready}=true"
    node.wait_for("wait", running, "pod/certificate", "-n", "shop", seconds=_SECONDS)
    wait_until(lambda: len(lines()) == 1, _SECONDS, "the mounted files")
    second = secrets_store.run("certificate-2", _CREATE).split()
    wait_until(lambda: len(lines()) == 2, _SECONDS, "the changed files")
    assert [each.split() for each in lines()] == [[*first, "True"], [*second, "True"]]
    assert first != second


def test_csi_driver_with_another_service_account_says_why_the_pod_waits(
    secrets_store: Installation,
) -> None:
    node = secrets_store.node
    node.apply(mounting_pod("unmounted", container(["true"]), account="other"))

    wait_until(lambda: "AADSTS700213" in _events(node, "unmounted"), _SECONDS, "the reason")
