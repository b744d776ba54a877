"""An instance whose objects are created and broken by REST, and the diagnosis of one workload in it."""

import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podpass import names
from podpass.diagnose.doctor import cluster_facts
from podpass.diagnose.doctor.checks import examine
from podpass.diagnose.doctor.cloud_facts import CloudReader
from podpass.diagnose.doctor.cluster_facts import ClusterReader
from podpass.diagnose.doctor.directory_facts import RequestedResource
from podpass.diagnose.doctor.model import ClusterFacts, Diagnosis, Facts
from podpass.directory.roles import GET_SECRET
from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.objects import Preview
from podpass.provision.account import AzureAccount
from tests.cli.azure_world import AUDIENCE, AzureWorld
from tests.diagnose.doctor.lab import pod_spec
from tests.waiting import eventually

NO_CLIENT_ID = "none"
READER = "Key Vault Secrets User"
ROLES = {
    READER: "4633458b-17de-408a-b874-0445c86b69e6",
    "Key Vault Contributor": "f25e0fa2-a7c8-4377-a976-54943a77a395",
    "Reader": "acdd72a7-3385-48ef-bd42-f606fba81ae7",
    "Key Vault Reader": "21090545-7ca7-4776-b22c-e363652d74d2",
}
_GROUP = {"api-version": "2021-04-01"}
_IDENTITY = {"api-version": "2023-01-31"}
_VAULT = {"api-version": "2023-07-01"}
_ROLE = {"api-version": "2022-04-01"}
_PODS = "/api/v1/namespaces/default/pods"
_PREFIX = "azure.workload.identity"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(kw_only=True)
class Workload:
    """A ServiceAccount, its identity and its vault, before it is broken.

    A set-up changes the values before `CloudWorld.create` creates the objects.
    """

    name: str
    kind: str = "managed-identity"
    client_id: str = ""
    client_from: str = "client"
    tenant_id: str = ""
    audience: str = AUDIENCE
    authority_host: str = ""
    credentials: list[dict[str, Any]] = field(default_factory=list)
    role: str | None = READER
    scope: str = ""
    vault: str = "doctor-vault"
    has_pod: bool = False
    ids: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class CloudWorld:
    """Creates objects as the administrator of an instance."""

    world: AzureWorld
    account: AzureAccount
    cluster: KubeClient

    @property
    def subscription(self) -> str:
        return f"/subscriptions/{self.account.subscription_id}"

    def vault_id(self, name: str) -> str:
        return f"{self.subscription}/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/{name}"

    def credential(self, account: str, **changes: Any) -> dict[str, Any]:
        """Return the credential that trusts a ServiceAccount of the namespace default."""
        return {
            "name": "trust",
            "issuer": self.world.issuer,
            "subject": f"system:serviceaccount:default:{account}",
            "audiences": [AUDIENCE],
            **changes,
        }

    async def manage(
        self, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        return await self.account.manager_api().send(method, path, body, params)

    async def graph(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return await self.account.graph_api().send(method, f"/v1.0{path}", body)

    async def create_shared(self) -> None:
        """Create the resource group and the vaults of all set-ups."""
        group = f"{self.subscription}/resourcegroups/rg"
        await self.manage("PUT", group, {"location": "eastus"}, _GROUP)
        for name, uses_roles in (
            ("doctor-vault", True),
            ("other-vault", True),
            ("policies", False),
        ):
            await self.put_vault(name, uses_roles=uses_roles)

    async def put_vault(
        self, name: str, *, uses_roles: bool, policies: Sequence[dict[str, Any]] = ()
    ) -> None:
        properties = {
            "tenantId": self.account.tenant_id,
            "sku": {"family": "A", "name": "standard"},
            "enableRbacAuthorization": uses_roles,
            "accessPolicies": list(policies),
        }
        body = {"location": "eastus", "properties": properties}
        await self.manage("PUT", self.vault_id(name), body, _VAULT)

    async def create(self, wanted: Workload) -> None:
        """Create the objects of a workload."""
        if wanted.kind == "managed-identity":
            await self._create_managed(wanted)
        else:
            await self._create_application(wanted)
        if wanted.role and wanted.ids.get("principal"):
            await self.assign(
                wanted.ids["principal"], wanted.role, wanted.scope or self.vault_id(wanted.vault)
            )
        annotations = {f"{_PREFIX}/client-id": wanted.client_id or wanted.ids[wanted.client_from]}
        if wanted.client_id == NO_CLIENT_ID:
            annotations = {}
        if wanted.tenant_id:
            annotations[f"{_PREFIX}/tenant-id"] = wanted.tenant_id
        meta = {"name": wanted.name, "annotations": annotations}
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
        await self.cluster.create("/api/v1/namespaces/default/serviceaccounts", body)
        if wanted.has_pod:
            await self._create_pod(wanted.name)

    async def _create_pod(self, name: str) -> None:
        """Create a pod as `kubectl apply` does, which the webhook changes and no kubelet starts."""
        body = self._pod(name)
        body["metadata"]["annotations"] = {_LAST_APPLIED: json.dumps(body)}
        await self.cluster.create(_PODS, body)

    def _pod(self, name: str) -> dict[str, Any]:
        spec = pod_spec(None) | {"serviceAccountName": name}
        meta = {"name": name, "labels": {f"{_PREFIX}/use": "true"}}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}

    async def annotate(self, name: str, client_id: str | None) -> None:
        """Change or remove the annotation of a ServiceAccount, and wait until the webhook has read it."""
        meta = {"annotations": {f"{_PREFIX}/client-id": client_id}}
        path = f"/api/v1/namespaces/default/serviceaccounts/{name}"
        await self.cluster.patch(path, {"metadata": meta})

        async def is_read() -> bool:
            body = self._pod(name)
            body["metadata"]["name"] += "-preview"
            made = await self.cluster.create(f"{_PODS}?dryRun=All", body)
            env = {each["name"]: each.get("value") for each in made["spec"]["containers"][0]["env"]}
            return env.get(names.ENV_CLIENT_ID) == client_id

        await eventually(is_read)

    async def delete_vault(self, name: str) -> None:
        """Soft-delete a vault."""
        await self.manage("DELETE", self.vault_id(name), None, _VAULT)

    async def _create_managed(self, wanted: Workload) -> None:
        path = (
            f"{self.subscription}/resourceGroups/rg/providers/Microsoft.ManagedIdentity"
            f"/userAssignedIdentities/{wanted.name}"
        )
        made = await self.manage("PUT", path, {"location": "eastus"}, _IDENTITY)
        wanted.ids |= {
            "client": made["properties"]["clientId"],
            "principal": made["properties"]["principalId"],
            "resource": made["id"],
        }
        for each in wanted.credentials:
            properties = {key: value for key, value in each.items() if key != "name"}
            address = f"{path}/federatedIdentityCredentials/{each['name']}"
            await self.manage("PUT", address, {"properties": properties}, _IDENTITY)

    async def _create_application(self, wanted: Workload) -> None:
        made = await self.graph("POST", "/applications", {"displayName": wanted.name})
        wanted.ids |= {"client": made["appId"], "application": made["id"]}
        if wanted.kind == "application":
            principal = await self.graph("POST", "/servicePrincipals", {"appId": made["appId"]})
            wanted.ids["principal"] = principal["id"]
        for each in wanted.credentials:
            await self.graph(
                "POST", f"/applications/{made['id']}/federatedIdentityCredentials", each
            )

    async def assign(self, principal_id: str, role: str, scope: str) -> None:
        """Assign a built-in role."""
        provider = f"{self.subscription}/providers/Microsoft.Authorization"
        properties = {
            "roleDefinitionId": f"{provider}/roleDefinitions/{ROLES[role]}",
            "principalId": principal_id,
        }
        path = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        await self.manage("PUT", path, {"properties": properties}, _ROLE)

    async def read_cluster(self, wanted: Workload) -> ClusterFacts:
        """Read the cluster half of a workload."""
        reader = ClusterReader(self.cluster, time.time)
        found = await reader.read_objects(
            cluster_facts.WorkloadRef(namespace="default", pod=wanted.name)
            if wanted.has_pod
            else cluster_facts.WorkloadRef(namespace="default", account=wanted.name)
        )
        assert isinstance(found.preview, Preview)
        assert found.preview.pod
        if not wanted.has_pod:
            _overwrite(found.preview.pod, wanted)
        return found

    async def diagnose(self, wanted: Workload, *, exchange: bool = True) -> Diagnosis:
        """Diagnose a workload with the sign-in of the administrator."""
        return examine(await self.read(wanted, exchange=exchange))

    async def read(self, wanted: Workload, *, exchange: bool = True) -> Facts:
        """Read the facts of a workload."""
        cluster = await self.read_cluster(wanted)
        reader = CloudReader(
            self.account.endpoints,
            self.account.connection,
            self.account,
            wanted=RequestedResource(vault=wanted.vault, action=GET_SECRET, is_data=True),
            cluster=self.cluster if exchange else None,
        )
        return Facts(cluster=cluster, cloud=await reader.read(cluster))


def _overwrite(pod: dict[str, Any], wanted: Workload) -> None:
    """Set in the pod what the webhook's configuration of another cluster would set."""
    for container in pod["spec"]["containers"]:
        for entry in container["env"]:
            if entry["name"] == "AZURE_AUTHORITY_HOST" and wanted.authority_host:
                entry["value"] = wanted.authority_host
    for volume in pod["spec"]["volumes"]:
        for source in (volume.get("projected") or {}).get("sources") or ():
            token = source.get("serviceAccountToken") or {}
            if str(token.get("path", "")).endswith("azure-identity-token"):
                token["audience"] = wanted.audience


@asynccontextmanager
async def connected(world: AzureWorld) -> AsyncIterator[CloudWorld]:
    """Connect to an instance."""
    async with KubeClient.from_kubeconfig(Path(world.kubeconfig)) as cluster:
        yield CloudWorld(world=world, account=await world.account(), cluster=cluster)
