"""Storage accounts of `podpass cloud install`: Azurite in the cloud's pod, and unmodified images."""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.clients.program_output import parse_output
from tests.containers.images import AZURITE, azurite_archive
from tests.node.cloud_installation import COREFILE, IMAGE, RESOLVE, Installation
from tests.node.language_images import STORAGE_ACCOUNT, STORAGE_CLIENTS, write_image
from tests.node.node import Node
from tests.node.objects import CLIENT_ID, container, pod

_OTHER_CLIENT_ID = "7c1f4d2e-5b0a-4f6e-9d3c-2a8b6e1f0c58"
_ACCOUNTS = {"web": CLIENT_ID, "powerless": _OTHER_CLIENT_ID}
_SEED = f"""
identities:
  - name: web
    client_id: {CLIENT_ID}
    federated_credentials:
      - {{name: shop, issuer: cluster, subject: "system:serviceaccount:shop:web"}}
  - name: powerless
    client_id: {_OTHER_CLIENT_ID}
    federated_credentials:
      - {{name: shop, issuer: cluster, subject: "system:serviceaccount:shop:powerless"}}
storage_accounts:
  - name: {STORAGE_ACCOUNT}
    access: [{{identity: web, role: Storage Blob Data Contributor}}]
"""
_BLOBS = f"{STORAGE_ACCOUNT}.blob.core.windows.net"
_ENDED = "--for=jsonpath={.status.containerStatuses[0].state.terminated}"
_CONNECT = """
import socket, sys
for port in sys.argv[2:]:
    try:
        socket.create_connection((sys.argv[1], int(port)), timeout=30).close()
        print(port, "open")
    except ConnectionRefusedError:
        print(port, "refused")
"""
_READ = f"""
from azure.identity import WorkloadIdentityCredential
from azure.storage.blob import BlobServiceClient

client = BlobServiceClient("https://{_BLOBS}", WorkloadIdentityCredential())
print(client.get_blob_client("python", "a b/ü.txt").download_blob().readall().decode())
"""


@pytest.fixture(scope="module")
def storage(webhook: Node) -> Iterator[Installation]:
    """Install the cloud half with Azurite for one namespace with the restricted profile."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"name": "shop", "labels": labels}
    webhook.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": namespace})
    for name, client_id in _ACCOUNTS.items():
        annotations = {"azure.workload.identity/client-id": client_id}
        about = {"name": name, "namespace": "shop", "annotations": annotations}
        webhook.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about})
    folder = webhook.sandbox.folder
    archive = azurite_archive(folder)
    webhook.import_image(archive)
    archive.unlink()
    seed = folder / "storage.yaml"
    seed.write_text(_SEED)
    installation = Installation(webhook, webhook.kubectl(*COREFILE))
    images = (f"--image={IMAGE}", f"--azurite-image={AZURITE}")
    print(installation.podpass("install", *images, "--for=shop", f"--seed={seed}", "--timeout=280"))
    yield installation
    installation.podpass("uninstall", "--yes")


@pytest.fixture(scope="module")
def printed(storage: Installation) -> Mapping[tuple[str, str], dict[str, Any]]:
    """Return what the clients print, by language and ServiceAccount: they run at the same time."""
    node = storage.node
    for language, client in STORAGE_CLIENTS.items():
        image, archive = write_image(client.image, node.sandbox.folder)
        node.import_image(archive)
        archive.unlink()
        for account in _ACCOUNTS:
            app = container(client.command, image)
            name = f"{language}-{account}"
            node.apply(pod(name, "shop", app, serviceAccountName=account))
    keys = [(language, account) for language in STORAGE_CLIENTS for account in _ACCOUNTS]
    node.wait_for("wait", _ENDED, *(f"pod/{'-'.join(key)}" for key in keys), "-n", "shop")
    logs = {key: node.kubectl("logs", "-".join(key), "-n", "shop") for key in keys}
    return {key: parse_output(log) for key, log in logs.items()}


@pytest.mark.parametrize("language", STORAGE_CLIENTS)
def test_unmodified_image_writes_and_reads_a_blob(
    printed: Mapping[tuple[str, str], dict[str, Any]], language: str
) -> None:
    assert printed[language, "web"].get("result") == "hello"


@pytest.mark.parametrize("language", STORAGE_CLIENTS)
def test_identity_without_a_role_is_refused(
    printed: Mapping[tuple[str, str], dict[str, Any]], language: str
) -> None:
    refused = printed[language, "powerless"]
    assert refused.get("refused") == 403, refused
    assert "AuthorizationPermissionMismatch" in f"{refused['code']} {refused['text']}"


def test_pod_cannot_reach_azurite_without_podpass(storage: Installation) -> None:
    node = storage.node
    (cloud,) = node.get("pods", "-n", "podpass-cloud")["items"]
    name, address = cloud["metadata"]["name"], cloud["status"]["podIP"]
    found = storage.run("around", _CONNECT, address, "8443", "10000", "10001", "10002")
    assert found.split() == [
        "8443",
        "open",
        *["10000", "refused", "10001", "refused", "10002", "refused"],
    ]
    # In the network of the cloud's pod, it responds: to a request without a signature, with a refusal.
    pid = node.container_pid("podpass-cloud", name, "azurite")
    ask = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}"]
    url = f"http://127.0.0.1:10000/{STORAGE_ACCOUNT}?comp=list"
    done = node.sandbox.run("nsenter", f"--target={pid}", "--net", "--", *ask, url)
    assert done.stdout == "403"


def test_only_existing_storage_accounts_have_names(storage: Installation) -> None:
    names = [
        *(f"{STORAGE_ACCOUNT}.{each}.core.windows.net" for each in ("blob", "queue", "table")),
        "absent.blob.core.windows.net",
    ]
    address = storage.status()["address"]
    found = dict(line.split() for line in storage.run("names", RESOLVE, *names).splitlines())
    assert found == {**dict.fromkeys(names, address), "absent.blob.core.windows.net": "NXDOMAIN"}


@pytest.mark.usefixtures("printed")
def test_program_of_the_host_reads_the_blob(storage: Installation) -> None:
    node, home = storage.node, storage.node.sandbox.folder / "storage-user"
    home.mkdir()
    variables = {
        "HOME": str(home),
        "KUBECONFIG": str(node.pki.kubeconfig("admin")),
        "XDG_STATE_HOME": str(home / "state"),
    }
    podpass = [sys.executable, "-m", "podpass.cli", "cloud", "run", "--as", "web.shop", "--"]
    given = ["env", *(f"{name}={value}" for name, value in variables.items()), *podpass]
    assert node.sandbox.run(*given, sys.executable, "-c", _READ).stdout == "hello\n"


def test_later_installation_keeps_azurite(storage: Installation) -> None:
    assert "; 0 changes" in storage.podpass("install", "--for=shop")
    assert json.loads(storage.podpass("status", "-o", "json"))["storage"] == {
        "accounts": [STORAGE_ACCOUNT],
        "services": ["blob", "queue", "table"],
        "azurite_accounts": [STORAGE_ACCOUNT],
    }


@pytest.mark.usefixtures("printed")
def test_reset_keeps_the_blobs_and_restores_the_roles(storage: Installation) -> None:
    assert "is as at its start" in storage.podpass("reset")
    client = STORAGE_CLIENTS["python"]
    app = container(["python", "-c", _READ], f"registry.example/{client.image}:1")
    storage.node.apply(pod("blob-after-reset", "shop", app))
    storage.node.wait_for("wait", _ENDED, "pod/blob-after-reset", "-n", "shop")
    assert storage.node.kubectl("logs", "blob-after-reset", "-n", "shop") == "hello\n"


def test_names_for_single_pods_need_no_change_of_the_clusters_dns(storage: Installation) -> None:
    assert "blob.core.windows.net" in storage.node.kubectl(*COREFILE)
    storage.podpass("install", "--for=shop", "--dns=pods", "--timeout=280")
    assert storage.node.kubectl(*COREFILE) == storage.corefile
    names = (_BLOBS, "absent.blob.core.windows.net")
    found = dict(line.split() for line in storage.run("own-names", RESOLVE, *names).splitlines())
    assert found == {names[0]: storage.status()["address"], names[1]: "NXDOMAIN"}
