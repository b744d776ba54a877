"""Storage accounts in front of a released Azurite, used by released libraries with workload identity."""

import base64
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from podpass.diagnose.explain.recognition import recognize
from tests.az.az_cli import VERSIONS, AzCli, signed_in_cli
from tests.clients import toolchains
from tests.clients.error_sentences import clean_output
from tests.clients.installation import PROGRAMS
from tests.clients.program_output import parse_output
from tests.clients.storage import wait_for
from tests.journey.instance import Instance, started
from tests.ports import free_base

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

ACCOUNTS = "orders:" + base64.b64encode(b"the key of the account orders...").decode()
CLIENT = "22222222-aaaa-4bbb-8ccc-00000000000"
SEED = f"""
identities:
  - name: writer
    client_id: {CLIENT}1
    federated_credentials:
      - {{name: pods, issuer: cluster, subject: "system:serviceaccount:default:writer"}}
  - name: reader
    client_id: {CLIENT}2
    federated_credentials:
      - {{name: pods, issuer: cluster, subject: "system:serviceaccount:default:reader"}}
  - name: powerless
    client_id: {CLIENT}3
    federated_credentials:
      - {{name: pods, issuer: cluster, subject: "system:serviceaccount:default:powerless"}}
storage_accounts:
  - name: orders
    access:
      - {{identity: writer, role: Storage Blob Data Contributor}}
      - {{identity: writer, role: Storage Queue Data Contributor}}
      - {{identity: writer, role: Storage Table Data Contributor}}
      - {{identity: reader, role: Storage Blob Data Reader, container: python}}
"""
SERVICES = ("blob", "queue", "table")


@dataclass
class Cloud:
    """An instance with storage accounts, and its `az`."""

    instance: Instance
    az: AzCli

    def use(self, account: str, language: str, *arguments: str) -> dict[str, Any]:
        """Run a program as pods with a ServiceAccount; return what it printed."""
        printed = self.instance.run_on_host(account, [*toolchains.storage(language), *arguments])
        return parse_output(printed)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    port, folder = free_base(3), tmp_path_factory.mktemp("azurite")
    ports = [("--blobPort", port), ("--queuePort", port + 1), ("--tablePort", port + 2)]
    command = [
        *toolchains.azurite("azurite"),
        *(str(word) for pair in ports for word in pair),
        *("--location", str(folder), "--silent", "--skipApiVersionCheck", "--disableTelemetry"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURITE_ACCOUNTS", ACCOUNTS)
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, cwd=folder, env=dict(os.environ)
        ) as running:
            try:
                for offset in range(3):
                    wait_for(port + offset, running)
                yield from _started(tmp_path_factory.mktemp("storage"), port)
            finally:
                running.terminate()


def _started(folder: Path, port: int) -> Iterator[Cloud]:
    with started(folder, "--azurite", f"http://127.0.0.1:{port}") as instance:
        seed = folder / "storage.yaml"
        seed.write_text(SEED)
        instance.podpass("apply", "-f", str(seed))
        for number, name in enumerate(("writer", "reader", "powerless"), 1):
            instance.account(name, {"azure.workload.identity/client-id": f"{CLIENT}{number}"})
        yield Cloud(instance, signed_in_cli(VERSIONS[0], instance, folder / "home"))


@pytest.mark.parametrize(
    ("language", "arguments", "result"),
    [
        ("python", ("blob", "orders"), "hello"),
        ("python", ("queue", "orders"), "second"),
        ("python", ("table", "orders"), "2"),
        ("node", ("orders",), "hello"),
        ("go", ("orders",), "hello"),
    ],
    ids=["python-blob", "python-queue", "python-table", "node-blob", "go-blob"],
)
def test_released_library_reads_and_writes_only_with_a_role(
    cloud: Cloud, language: str, arguments: tuple[str, ...], result: str
) -> None:
    assert cloud.use("writer", language, *arguments).get("result") == result
    refused = cloud.use("powerless", language, *arguments)
    assert refused["refused"] == 403, refused
    assert "AuthorizationPermissionMismatch" in f"{refused['code']} {refused['text']}"
    assert "az role assignment create --role" in refused["text"]


@pytest.mark.parametrize(
    ("language", "failure", "account", "expected"),
    [
        ("python", "storage-no-role", "powerless", "storage_forbidden"),
        ("python", "storage-no-role-queue", "powerless", "storage_forbidden"),
        ("python", "storage-no-role-table", "powerless", "storage_forbidden"),
        ("python", "storage-account-key", "writer", "storage_key_not_permitted"),
        ("python", "storage-no-credential", "writer", "storage_public_access"),
        ("python", "storage-other-audience", "writer", "storage_token_refused"),
        ("python", "storage-no-blob", "writer", "storage_object_not_found"),
        ("python", "storage-no-account", "writer", "storage_account_not_found"),
        ("node", "storage-no-role", "powerless", "storage_forbidden"),
        ("go", "storage-no-role", "powerless", "storage_forbidden"),
    ],
    ids=lambda each: str(each),
)
def test_sentence_of_a_refusal_is_recognized(
    cloud: Cloud,
    recorded: list[dict[str, object]],
    tmp_path: Path,
    language: str,
    failure: str,
    account: str,
    expected: str,
) -> None:
    command = toolchains.storage(language)
    if language == "python":
        cloud.use("writer", "python", "blob", "orders")  # its container exists
        name = "absent" if failure == "storage-no-account" else "orders"
        refusals = str(PROGRAMS / "storage" / "refusals.py")
        printed = cloud.instance.run_on_host(account, [command[0], refusals, failure, name])
    else:
        printed = str(cloud.use(account, language, "orders")["text"])
    text = clean_output(printed, cloud.instance, tmp_path)
    entry = {"client": f"storage-{language}", "kind": "storage", "failure": failure}
    recorded.append({**entry, "expected": [expected], "text": text})
    assert expected in [each.sentence.id for each in recognize(text).findings], text


def test_reader_of_a_container_reads_and_cannot_write(cloud: Cloud) -> None:
    cloud.use("writer", "python", "blob", "orders")
    assert cloud.use("reader", "python", "read-blob", "orders")["result"] == "hello"
    refused = cloud.use("reader", "python", "blob", "orders")
    assert (refused["refused"], refused["code"]) == (403, "AuthorizationPermissionMismatch")


def test_pod_reads_its_blob(cloud: Cloud) -> None:
    cloud.use("writer", "python", "blob", "orders")
    command = [*toolchains.storage("python"), "read-blob", "orders"]
    phase, log = cloud.instance.run_command("blobs", "reader", command)
    assert (phase, parse_output(log)["result"]) == ("Succeeded", "hello")


def test_az_lists_blobs_after_it_has_assigned_the_role(cloud: Cloud) -> None:
    cloud.use("writer", "python", "blob", "orders")
    listing = "storage blob list --account-name orders -c python --auth-mode login"
    refused = cloud.az.run(listing)
    assert "Storage Blob Data" in refused.stderr
    assert refused.stdout.strip() in ("", "null")
    user = cloud.az("ad signed-in-user show")["id"]
    account = cloud.az("storage account show -n orders")["id"]
    cloud.az(
        "role assignment create --role 'Storage Blob Data Reader' --assignee-object-id"
        f" {user} --assignee-principal-type User --scope {account}"
    )
    assert "a b/ü.txt" in {each["name"] for each in cloud.az(listing)}


def test_az_creates_an_account(cloud: Cloud) -> None:
    created = cloud.az("storage account create -n another -g podpass -l eastus")
    assert created["primaryEndpoints"]["blob"] == "https://another.blob.core.windows.net/"
    assert {each["name"] for each in cloud.az("storage account list")} == {"orders", "another"}
    taken = cloud.az.refused("storage account create -n another -g other -l eastus")
    assert "another" in taken
