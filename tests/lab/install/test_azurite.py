"""Azurite in the pod of an installation: only podpass reaches it, and it has the accounts of the seed."""

from typing import Any

import pytest

from podpass.lab.install.objects import CloudValues, build_objects
from podpass.settings.storage import parse_accounts, parse_services

SEED = "storage_accounts: [{name: orders}, {name: invoices}]\n"
IMAGE = "registry.example/azurite:1"


def build(**more: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the specification of the pod, its container of the cloud, and that of Azurite."""
    values = CloudValues(image="podpass:1", azurite_image=IMAGE, **{"seed": SEED, **more})
    (deployment,) = [each for each in build_objects(values) if each["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    cloud, azurite = pod["containers"]
    return pod, cloud, azurite


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container.get("env", ())}


def test_azurite_listens_on_loopback_and_no_port_leads_to_it() -> None:
    _, _, azurite = build()
    command = azurite["command"]
    for service in ("blob", "queue", "table"):
        assert command[command.index(f"--{service}Host") + 1] == "127.0.0.1"
    assert "ports" not in azurite
    published = [
        port["targetPort"]
        for each in build_objects(CloudValues(image="podpass:1", azurite_image=IMAGE))
        if each["kind"] == "Service"
        for port in each["spec"]["ports"]
    ]
    assert published == ["https", "dns", "dns-tcp", "webhook"]


def test_podpass_and_azurite_have_the_accounts_of_the_seed() -> None:
    _, cloud, azurite = build()
    accounts = variables(azurite)["AZURITE_ACCOUNTS"]
    assert variables(cloud)["AZURITE_ACCOUNTS"] == accounts
    assert set(parse_accounts(accounts)) == {"orders", "invoices"}
    services = parse_services(variables(cloud)["PODPASS_AZURITE"])
    assert services == {
        "blob": "http://127.0.0.1:10000",
        "queue": "http://127.0.0.1:10001",
        "table": "http://127.0.0.1:10002",
    }


def test_seed_without_accounts_leaves_azurite_its_own_account() -> None:
    for seed in ("", "vaults: []\n"):
        _, cloud, azurite = build(seed=seed)
        assert "AZURITE_ACCOUNTS" not in variables(cloud) | variables(azurite)


def test_azurite_has_the_security_context_of_the_cloud() -> None:
    _, cloud, azurite = build()
    assert azurite["securityContext"] == cloud["securityContext"]
    assert azurite["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize(
    ("claim", "mount"),
    [
        ("", {"name": "blobs", "mountPath": "/data"}),
        ("cloud-data", {"name": "data", "subPath": "azurite", "mountPath": "/data"}),
    ],
    ids=["no-claim", "claim"],
)
def test_data_is_in_the_claim_if_there_is_one(claim: str, mount: dict[str, str]) -> None:
    """The folder of the cloud, with its keys, is not in the container of Azurite."""
    pod, _, azurite = build(claim=claim)
    assert azurite["volumeMounts"] == [mount]
    assert mount["name"] in {each["name"] for each in pod["volumes"]}


def test_installation_without_azurite_has_one_container() -> None:
    values = CloudValues(image="podpass:1", seed=SEED)
    (deployment,) = [each for each in build_objects(values) if each["kind"] == "Deployment"]
    (cloud,) = deployment["spec"]["template"]["spec"]["containers"]
    assert not {"PODPASS_AZURITE", "AZURITE_ACCOUNTS"} & variables(cloud).keys()
