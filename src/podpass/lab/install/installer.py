"""Install, upgrade and remove the cloud half in a cluster; all checks come before the first change."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from podpass.clock import Clock
from podpass.errors import Error
from podpass.kubernetes.client import KubeClient
from podpass.lab.gateway.gateway import list_served_names
from podpass.lab.install import apply as objects
from podpass.lab.install import azurite, cluster_dns, identity_webhook, namespaces
from podpass.lab.install.apply import ObjectChange, describe
from podpass.lab.install.object_names import NAME, NOT_INSTALLED
from podpass.lab.install.objects import (
    IDENTITY_SECRET,
    OWNER_LABELS,
    SEED,
    SEED_KEY,
    CloudValues,
    Object,
    build_objects,
    build_registration,
)
from podpass.lab.install.rights import check_rights, list_removal_rights, list_rights
from podpass.lab.install.rollout import (
    POLL_SECONDS,
    NotReady,
    describe_pods,
    is_rolled_out,
    list_pods,
    wait_until_ready,
)
from podpass.lab.install.safety import check_cluster
from podpass.lab.names.trust_objects import CONFIGURATION, selects_all_namespaces
from podpass.names import STORAGE_SERVICES

Report = Callable[[str], None]
Sleep = Callable[[float], Awaitable[None]]

CLUSTER_DNS, POD_DNS, NO_DNS = "cluster", "pods", "none"


class InstalledElsewhere(Error):
    """The cluster has another installation, in another namespace."""

    code = "installed_elsewhere"


class WaitTimeout(Error):
    """A step of the installation did not end in time."""

    code = "cloud_install_timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallRequest:
    """The options of an installation.

    `selected` are the namespaces whose pods get the CA; `confirmed` repeats the name of a context that looks
    like that of a managed cluster.
    """

    values: CloudValues
    context: str
    confirmed: str | None = None
    dns: str = CLUSTER_DNS
    selected: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCluster:
    """What the checks have found: the objects that exist, and the webhook that is kept."""

    existing: Mapping[str, Object]
    foreign_webhook: bool
    values: CloudValues

    @property
    def starts_webhook_early(self) -> bool:
        """Return whether the webhook starts together with the cloud, which is new and has this tenant."""
        has_tenant = bool(self.values.tenant_id) and not self.values.claim
        return has_tenant and is_new(self.existing) and not self.foreign_webhook


@dataclass(slots=True, kw_only=True)
class Installer:
    """One installation; `report` gets a line for each change, `progress` for each thing it waits for.

    Units: `timeout` is the seconds to wait for each pod.
    """

    client: KubeClient
    report: Report
    progress: Report
    timeout: float
    clock: Clock
    sleep: Sleep = asyncio.sleep
    changes: int = field(default=0, init=False)

    async def check(self, request: InstallRequest, default_image: str) -> CheckedCluster:
        """Check that the installation may begin; take missing values from an earlier installation.

        Raises MissingRights, NotATestCluster, InstalledElsewhere, NotOurs, NoCoreDns, CorefileError,
        NoPullSecret, UsageError, KubeError.
        """
        client, values = self.client, request.values
        own_webhook = identity_webhook.build_own_webhook(
            values if values.image else replace(values, image=default_image),
            identity_webhook.ANY_TENANT,
        )
        rights = list_rights(values.namespace, [*build_objects(values), *own_webhook])
        await check_rights(client, rights)
        nodes, _ = await client.list("/api/v1/nodes")
        labels = [node["metadata"].get("labels") or {} for node in nodes]
        check_cluster(request.context, client.server, labels, request.confirmed)
        await self._check_elsewhere(values.namespace)
        await namespaces.check_namespaces(client, request.selected)
        existing = await objects.check_owned(client, build_objects(values))
        foreign = await identity_webhook.find_foreign(client)
        if foreign is None:
            await objects.check_owned(client, own_webhook)
        values = keep_earlier(values, existing)
        if request.dns == CLUSTER_DNS:
            await cluster_dns.check_dns(client, values.namespace, _served(values))
        await namespaces.check_pull_secret(client, values, with_webhook=foreign is None)
        if request.dns == POD_DNS:
            values = replace(values, dns_upstream=await cluster_dns.find_server(client))
        if foreign is not None and not values.tenant_id:
            tenant = await identity_webhook.read_tenant(client, foreign)
            values = replace(values, tenant_id=tenant)
        values = choose_tenant(values, existing)
        return CheckedCluster(
            existing=existing,
            foreign_webhook=foreign is not None,
            values=values if values.image else replace(values, image=default_image),
        )

    async def _check_elsewhere(self, namespace: str) -> None:
        others = [each for each in await find_installations(self.client) if each != namespace]
        if others:
            raise InstalledElsewhere(
                f"namespace {others[0]} has an installation; a cluster has one, because it has one DNS",
                hint=f"use that one with --namespace {others[0]}, or remove it:"
                f" podpass cloud uninstall --namespace {others[0]}",
            )

    async def apply(self, checked: CheckedCluster, *, dry_run: bool = False) -> None:
        """Apply the objects of the cloud; a second run changes nothing. Raises KubeError."""
        is_new = f"namespace/{checked.values.namespace}" not in checked.existing
        for item in build_objects(self._until_ready(checked)):
            # The API server refuses a dry run in a namespace that does not exist yet.
            if dry_run and is_new:
                change = ObjectChange.CREATED
            else:
                existing = checked.existing.get(describe(item))
                change = await objects.apply(self.client, item, existing, dry_run=dry_run)
            self._changed(describe(item), change)

    @staticmethod
    def _until_ready(checked: CheckedCluster) -> CloudValues:
        """Return the values without a webhook for all namespaces, unless the cluster has it already.

        Otherwise a cloud that does not become ready would stop the creation of every pod.
        """
        registration = checked.existing.get(f"mutatingwebhookconfiguration/{CONFIGURATION}")
        if registration is not None and selects_all_namespaces(registration):
            return checked.values
        return replace(checked.values, all_namespaces=False)

    async def start_webhook(self, checked: CheckedCluster) -> None:
        """Start the webhook for identities while a new cloud starts. Raises NotOurs, KubeError."""
        if not checked.starts_webhook_early:
            return
        own = identity_webhook.build_own_webhook(checked.values, checked.values.tenant_id)
        for name, change in await identity_webhook.start_own(self.client, own, self.clock()):
            self._changed(name, change)

    async def wait(self, namespace: str) -> None:
        """Wait until the cloud is ready. Raises NotReady, KubeError."""
        await wait_until_ready(
            self.client,
            namespace,
            seconds=self.timeout,
            report=self.progress,
            clock=self.clock,
            sleep=self.sleep,
        )

    async def connect_names(self, request: InstallRequest, values: CloudValues) -> None:
        """Begin to give pods the names of Azure; the cloud is ready. `connect_pods` waits until they resolve.

        Raises CorefileError, KubeError.
        """
        if request.dns == CLUSTER_DNS:
            address = (await self._read_service(values.namespace))["spec"]["clusterIP"]
            if await cluster_dns.add(self.client, values.namespace, address, _served(values)):
                self._changed("coredns in kube-system", ObjectChange.CONFIGURED)
        elif await cluster_dns.remove(self.client, values.namespace):
            self._changed("coredns in kube-system", "restored")

    async def connect_pods(
        self, request: InstallRequest, checked: CheckedCluster, tenant_id: str
    ) -> None:
        """Give pods their identity and the CA; the cloud is ready. Return when names resolve to it.

        Raises NotOurs, WaitTimeout, KubeError.
        """
        if checked.values.all_namespaces and self._until_ready(checked) != checked.values:
            registration = build_registration(checked.values)
            await objects.apply(self.client, registration, registration)
            self._changed("all namespaces but the system's", "selected")
        for name in await namespaces.enable(self.client, request.selected):
            self._changed(f"namespace/{name}", "labelled")
        if checked.foreign_webhook:
            self.progress("the webhook for identities that the cluster has is kept")
        else:
            await self._complete_webhook(checked, tenant_id)
        await self._wait_for("CoreDNS", lambda: cluster_dns.is_restarted(self.client))

    async def _complete_webhook(self, checked: CheckedCluster, tenant_id: str) -> None:
        """Wait until the webhook serves, then let the API server refuse pods that it cannot change."""
        path = identity_webhook.DEPLOYMENT_PATH
        own = identity_webhook.build_own_webhook(checked.values, tenant_id)
        if not checked.starts_webhook_early or tenant_id != checked.values.tenant_id:
            for name, change in await identity_webhook.start_own(self.client, own, self.clock()):
                self._changed(name, change)
        await self._wait_for("the webhook for identities", partial(self._is_rolled_out, path))
        for name, change in await identity_webhook.complete_own(self.client, own):
            if change != ObjectChange.UNCHANGED:
                self._changed(name, change)

    async def _is_rolled_out(self, path: str) -> bool:
        return is_rolled_out(await self.client.get(path))

    async def _read_service(self, namespace: str) -> dict[str, Any]:
        return await self.client.get(f"/api/v1/namespaces/{namespace}/services/{NAME}")

    async def _wait_for(self, what: str, is_done: Callable[[], Awaitable[bool]]) -> None:
        deadline, is_reported = self.clock() + self.timeout, False
        while not await is_done():
            if not is_reported:
                self.progress(f"waiting for {what}")
                is_reported = True
            if self.clock() >= deadline:
                raise WaitTimeout(
                    f"{what} is not ready after {self.timeout:.0f} seconds",
                    hint="run the command again; it continues where it stopped",
                )
            await self.sleep(POLL_SECONDS)

    def _changed(self, name: str, change: str) -> None:
        self.changes += change != ObjectChange.UNCHANGED
        self.report(f"{name} {change}")

    async def uninstall(self, namespace: str) -> list[str]:
        """Remove an installation, also a half-done one: first the names, last its namespace.

        The namespaces whose pods had the CA: containers in them cannot start again. Raises MissingRights,
        CorefileError, WaitTimeout, KubeError.
        """
        values = CloudValues(image="podpass", namespace=namespace)
        own = build_objects(values)
        webhook = identity_webhook.build_own_webhook(values, identity_webhook.ANY_TENANT)
        await check_rights(self.client, list_removal_rights([*own, *webhook]))
        if await cluster_dns.remove(self.client, namespace):
            self._changed("coredns in kube-system", "restored")
        await self._wait_for("CoreDNS", lambda: cluster_dns.is_restarted(self.client))
        registration = next(item for item in own if item["kind"] == "MutatingWebhookConfiguration")
        # Before its pod: the API server would refuse the pods of the selected namespaces.
        await self._delete(registration)
        served = await namespaces.find_served(self.client)
        for each in await namespaces.clear(self.client):
            self._changed(each, "removed")
        # A running webhook would create its Secret again, so its right to do so is deleted first.
        for item in sorted((*reversed(webhook), *reversed(own)), key=_is_deleted_late):
            await self._delete(item)
        for item in (webhook[0], own[0]):
            await self._wait_for(describe(item), partial(self._is_gone, item))
        return served

    async def _delete(self, item: Object) -> None:
        if await objects.delete(self.client, item):
            self._changed(describe(item), "deleted")

    async def _is_gone(self, item: Object) -> bool:
        found = await objects.read(self.client, item)
        return found is None or "deletionTimestamp" not in found["metadata"]


def _is_deleted_late(item: Object) -> int:
    """Return the stage in which an object is deleted; Secrets come next to last, namespaces last."""
    return {"Secret": 1, "Namespace": 2}.get(item["kind"], 0)


def _served(values: CloudValues) -> tuple[str, ...]:
    return list_served_names(STORAGE_SERVICES if values.azurite_image else ())


def is_new(existing: Mapping[str, Object]) -> bool:
    """Return whether no cloud has run: there is no pod for it, and it has stored no identity."""
    secret = existing.get(f"secret/{IDENTITY_SECRET}") or {}
    return f"deployment/{NAME}" not in existing and not secret.get("data")


def choose_tenant(values: CloudValues, existing: Mapping[str, Object]) -> CloudValues:
    """Return the values with a tenant for a new cloud; the data of a claim may have one already."""
    if values.tenant_id or values.claim or not is_new(existing):
        return values
    return replace(values, tenant_id=str(uuid.uuid4()))


def keep_earlier(values: CloudValues, existing: Mapping[str, Object]) -> CloudValues:
    """Return the values with those of the earlier installation where none are given."""
    deployment, seed = existing.get(f"deployment/{NAME}"), existing.get(f"configmap/{SEED}")
    image, claim, tenant, azurite_image = "", "", "", ""
    account = existing.get(f"serviceaccount/{NAME}") or {}
    secrets = [str(each["name"]) for each in account.get("imagePullSecrets") or ()]
    if deployment is not None:
        pod = deployment["spec"]["template"]["spec"]
        container = pod["containers"][0]
        azurite_image = azurite.find_image(pod["containers"])
        image = str(container["image"])
        variables = {each["name"]: each.get("value", "") for each in container.get("env") or ()}
        tenant = variables.get("PODPASS_CLOUD_TENANT_ID", "")
        volume: Object = next((each for each in pod["volumes"] if each["name"] == "data"), {})
        claim = str((volume.get("persistentVolumeClaim") or {}).get("claimName", ""))
    return replace(
        values,
        image=values.image or image,
        seed=values.seed or str(((seed or {}).get("data") or {}).get(SEED_KEY, "")),
        claim=values.claim or claim,
        tenant_id=values.tenant_id or tenant,
        azurite_image=values.azurite_image or azurite_image,
        pull_secret=values.pull_secret or next(iter(secrets), ""),
    )


async def find_installations(client: KubeClient) -> list[str]:
    """Return the namespaces that have an installation. Raises KubeError."""
    selector = ",".join(f"{key}={value}" for key, value in OWNER_LABELS.items())
    found, _ = await client.list("/apis/apps/v1/deployments", {"labelSelector": selector})
    return sorted(
        each["metadata"]["namespace"] for each in found if each["metadata"]["name"] == NAME
    )


async def observe(client: KubeClient, namespace: str) -> dict[str, Any]:
    """Return what the cluster has of an installation: its image, its address, and the state of its pod.

    Raises KubeError.
    """
    own = build_objects(CloudValues(image="", namespace=namespace))
    items = {describe(item): item for item in own}
    deployment = await objects.read(client, items[f"deployment/{NAME}"])
    service = await objects.read(client, items[f"service/{NAME}"])
    if deployment is None:
        return {"ready": False, "pod": NOT_INSTALLED, "image": "", "address": ""}
    try:
        state = describe_pods(await list_pods(client, namespace))
    except NotReady as exc:
        state = exc.message
    is_ready = is_rolled_out(deployment)
    return {
        "ready": is_ready,
        "pod": "ready" if is_ready else state,
        "image": deployment["spec"]["template"]["spec"]["containers"][0]["image"],
        "address": (service or {}).get("spec", {}).get("clusterIP", ""),
    }
