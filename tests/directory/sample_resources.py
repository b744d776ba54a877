"""Sample resource groups, vaults and clusters for tests."""

from typing import Any

from podpass.directory import resource_ids
from podpass.directory.model import ResourceGroup
from podpass.lab.services.clusters.model import Cluster
from podpass.lab.services.vault.model import Vault, vault_id

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
SUB = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"


def group(name: str = "Web", **changes: Any) -> ResourceGroup:
    values: dict[str, Any] = {"subscription_id": SUB, "name": name, "location": "eastus"}
    return ResourceGroup(**(values | changes))


def vault(name: str, group: str, **changes: Any) -> Vault:
    values: dict[str, Any] = {
        "name": name,
        "tenant_id": TENANT,
        "location": "eastus",
        "resource_id": vault_id(SUB, group, name),
    }
    return Vault(**(values | changes))


def cluster(name: str, group: str) -> Cluster:
    return Cluster(
        subscription_id=SUB,
        group=group,
        name=name,
        location="eastus",
        resource_id=resource_ids.cluster_id(SUB, group, name),
        document={"properties": {"a": 1}},
    )
