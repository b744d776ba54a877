"""Installation and removal in the embedded cluster: objects, ownership, and refused managed clusters."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from podpass import names
from podpass.clock import system
from podpass.errors import UsageError
from podpass.guids import is_lower_guid
from podpass.kubernetes.client import KubeClient
from podpass.lab.install import apply as objects
from podpass.lab.install import identity_webhook, namespaces
from podpass.lab.install.apply import NotOurs
from podpass.lab.install.installer import (
    NO_DNS,
    InstalledElsewhere,
    Installer,
    InstallRequest,
    keep_earlier,
)
from podpass.lab.install.namespaces import NoPullSecret
from podpass.lab.install.objects import CloudValues, build_objects, build_registration
from podpass.lab.install.rights import MissingRights, Right, list_rights
from podpass.lab.install.safety import NotATestCluster, check_cluster, find_platform
from podpass.lab.names.trust_objects import (
    CONFIGURATION_PATH,
    MANAGED_LABEL,
    NAMESPACE_LABEL,
    selects_all_namespaces,
)
from tests.kubeling.cluster import Live

VALUES = CloudValues(image="podpass:1", seed="vaults: []\n")
IMAGE = "podpass:default"


def installer(client: KubeClient) -> Installer:
    lines: list[str] = []
    return Installer(
        client=client, report=lines.append, progress=lines.append, timeout=60, clock=system
    )


def request(values: CloudValues = VALUES, **more: Any) -> InstallRequest:
    return InstallRequest(values=values, context="kind-kind", dns=NO_DNS, **more)


async def install(client: KubeClient, values: CloudValues = VALUES) -> Installer:
    made = installer(client)
    await made.apply(await made.check(request(values), IMAGE))
    return made


async def find_all(client: KubeClient) -> list[str]:
    found = [await objects.read(client, item) for item in build_objects(VALUES)]
    return [objects.describe(each) for each in found if each is not None]


async def test_second_installation_changes_nothing(admin: KubeClient) -> None:
    assert (await install(admin)).changes == len(build_objects(VALUES))
    assert (await install(admin)).changes == 0
    # Without arguments, the earlier values are kept.
    assert (await install(admin, CloudValues(image=""))).changes == 0


async def test_upgrade_changes_only_what_differs(admin: KubeClient) -> None:
    await install(admin)
    assert (await install(admin, CloudValues(image="podpass:2"))).changes == 1


async def test_removal_leaves_nothing(admin: KubeClient) -> None:
    await install(admin)
    await namespaces.enable(admin, ["default"])
    about = {"name": "podpass-cloud-trust", "labels": {MANAGED_LABEL: "true"}}
    await admin.create("/api/v1/namespaces/default/configmaps", {"metadata": about})
    assert await installer(admin).uninstall("podpass-cloud") == ["default"]
    assert await find_all(admin) == []
    left, _ = await admin.list("/api/v1/configmaps", {"labelSelector": MANAGED_LABEL})
    assert left == []
    default = await admin.get("/api/v1/namespaces/default")
    assert NAMESPACE_LABEL not in (default["metadata"].get("labels") or {})
    again = installer(admin)
    await again.uninstall("podpass-cloud")
    assert again.changes == 0


async def test_half_done_installation_is_completed_and_removed(admin: KubeClient) -> None:
    await install(admin)
    for item in build_objects(VALUES)[-3:]:
        assert await objects.delete(admin, item)
    assert (await install(admin)).changes == 3
    for item in build_objects(VALUES)[1:5]:
        assert await objects.delete(admin, item)
    await installer(admin).uninstall("podpass-cloud")
    assert await find_all(admin) == []


async def test_all_namespaces_are_not_selected_before_the_cloud_is_ready(admin: KubeClient) -> None:
    values = CloudValues(image="podpass:1", all_namespaces=True)
    await install(admin, values)
    registration = await admin.get(CONFIGURATION_PATH)
    assert not selects_all_namespaces(registration)
    # An upgrade leaves the selection of the installation that is there.
    await objects.apply(admin, build_registration(values), registration)
    await install(admin, values)
    assert selects_all_namespaces(await admin.get(CONFIGURATION_PATH))


async def test_dry_run_changes_nothing(admin: KubeClient) -> None:
    made = installer(admin)
    await made.apply(await made.check(request(), IMAGE), dry_run=True)
    assert made.changes == len(build_objects(VALUES))
    assert await find_all(admin) == []
    await install(admin)
    made = installer(admin)
    changed = CloudValues(image="podpass:2")
    await made.apply(await made.check(request(changed), IMAGE), dry_run=True)
    assert made.changes == 1
    assert (await install(admin)).changes == 0


async def test_object_of_another_owner_is_refused_before_the_first_change(
    admin: KubeClient,
) -> None:
    about = {"metadata": {"name": "podpass-cloud"}}
    await admin.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", about)
    with pytest.raises(NotOurs, match="clusterrole/podpass-cloud exists already"):
        await install(admin)
    assert await find_all(admin) == ["clusterrole/podpass-cloud"]
    await installer(admin).uninstall("podpass-cloud")
    assert await find_all(admin) == ["clusterrole/podpass-cloud"]


async def test_second_installation_in_another_namespace_is_refused(admin: KubeClient) -> None:
    await install(admin)
    with pytest.raises(InstalledElsewhere, match="namespace podpass-cloud has an installation"):
        await installer(admin).check(
            request(CloudValues(image="podpass:1", namespace="other")), IMAGE
        )


async def test_missing_rights_are_named(live: Live) -> None:
    async with KubeClient.from_kubeconfig(live.kubeconfig("alice-token")) as alice:
        with pytest.raises(MissingRights) as caught:
            await installer(alice).check(request(), IMAGE)
    message = caught.value.message
    # Both namespaces, each kind of object, and the rights of the roles that are created.
    verbs = "create/delete/get/patch: serviceaccounts, roles, rolebindings, "
    assert f"in namespace podpass-cloud, {verbs}" in message
    [of_webhook] = re.findall(
        "in namespace azure-workload-identity-system, create/delete/get/patch: (.*)", message
    )
    assert {"serviceaccounts", "roles", "rolebindings"} < set(of_webhook.split(", "))
    assert "in namespace kube-system, get/update: configmaps" in message
    assert "in the whole cluster, list: nodes, deployments" in message
    assert caught.value.hint is not None
    assert "cluster-admin" in caught.value.hint


async def test_removal_without_rights_is_refused_before_the_first_change(
    admin: KubeClient, live: Live
) -> None:
    await install(admin)
    async with KubeClient.from_kubeconfig(live.kubeconfig("alice-token")) as alice:
        with pytest.raises(MissingRights, match="in namespace podpass-cloud, delete/get: "):
            await installer(alice).uninstall("podpass-cloud")
    assert (await install(admin)).changes == 0


def test_installer_needs_each_right_that_its_role_grants() -> None:
    rights = list_rights("podpass-cloud", build_objects(VALUES))
    assert Right(verb="update", resource="secrets", namespace="podpass-cloud") in rights


async def test_webhook_object_of_another_owner_is_refused_before_the_first_change(
    admin: KubeClient,
) -> None:
    about = {"metadata": {"name": "azure-wi-webhook-manager-role"}}
    await admin.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", about)
    with pytest.raises(NotOurs, match="clusterrole/azure-wi-webhook-manager-role exists already"):
        await install(admin)
    assert await find_all(admin) == []


async def test_existing_namespace_is_used_and_not_removed(admin: KubeClient) -> None:
    await admin.create("/api/v1/namespaces", {"metadata": {"name": "podpass-cloud"}})
    made = await install(admin)
    assert made.changes == len(build_objects(VALUES)) - 1
    await installer(admin).uninstall("podpass-cloud")
    assert await find_all(admin) == ["namespace/podpass-cloud"]


async def test_missing_namespace_is_refused(admin: KubeClient) -> None:
    with pytest.raises(UsageError, match="--for shop: the cluster has no such namespace"):
        await installer(admin).check(request(selected=("default", "shop")), IMAGE)


async def test_cloud_uses_the_tenant_of_an_existing_webhook(admin: KubeClient) -> None:
    tenant = "11111111-2222-4333-8444-555555555555"
    await admin.create("/api/v1/namespaces", {"metadata": {"name": "wi"}})
    config = {"metadata": {"name": "azure-wi-webhook-config"}, "data": {"AZURE_TENANT_ID": tenant}}
    await admin.create("/api/v1/namespaces/wi/configmaps", config)
    hook = {
        "name": "mutation.azure-workload-identity.io",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {"service": {"name": "webhook", "namespace": "wi"}},
    }
    registration = {
        "metadata": {"name": "azure-wi-webhook-mutating-webhook-configuration"},
        "webhooks": [hook],
    }
    path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    await admin.create(path, registration)
    checked = await installer(admin).check(request(), IMAGE)
    assert checked.foreign_webhook
    assert checked.values.tenant_id == tenant


async def test_webhook_starts_with_the_tenant_of_the_new_cloud(admin: KubeClient) -> None:
    made = installer(admin)
    checked = await made.check(request(), IMAGE)
    await made.apply(checked)
    await made.start_webhook(checked)
    tenant = checked.values.tenant_id
    assert is_lower_guid(tenant)
    path = "/api/v1/namespaces/azure-workload-identity-system/configmaps/azure-wi-webhook-config"
    assert (await admin.get(path))["data"]["AZURE_TENANT_ID"] == tenant
    # An upgrade changes the webhook after the cloud, which has the same tenant.
    later = await made.check(request(), IMAGE)
    assert later.values.tenant_id == tenant
    assert not later.starts_webhook_early


async def test_webhook_for_identities_refuses_pods_only_when_it_serves(admin: KubeClient) -> None:
    made = installer(admin)
    checked = await made.check(request(), IMAGE)
    await made.apply(checked)
    await made.start_webhook(checked)
    path = f"{CONFIGURATION_PATH.rpartition('/')[0]}/{names.WEBHOOK_CONFIGURATION}"

    async def make_ready(_: float) -> None:
        """Report each pod of the webhook as ready, as a kubelet does."""
        assert [each["failurePolicy"] for each in (await admin.get(path))["webhooks"]] == ["Ignore"]
        pods = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/pods"
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        for pod in (await admin.list(pods))[0]:
            await admin.patch(f"{pods}/{pod['metadata']['name']}/status", {"status": status})

    made.sleep = make_ready
    await made.connect_pods(request(), checked, checked.values.tenant_id)
    assert [each["failurePolicy"] for each in (await admin.get(path))["webhooks"]] == ["Fail"]


async def test_webhook_waits_for_a_cloud_whose_volume_may_have_a_tenant(admin: KubeClient) -> None:
    checked = await installer(admin).check(request(replace(VALUES, claim="data")), IMAGE)
    assert checked.values.tenant_id == ""
    assert not checked.starts_webhook_early


async def test_webhook_waits_for_a_cloud_whose_secret_has_a_tenant(admin: KubeClient) -> None:
    await install(admin)
    path = "/api/v1/namespaces/podpass-cloud/secrets/podpass-cloud-identity"
    secret = await admin.get(path)
    await admin.replace(path, {**secret, "data": {"instance.json": "e30="}})
    await admin.delete("/apis/apps/v1/namespaces/podpass-cloud/deployments/podpass-cloud")
    made = installer(admin)
    checked = await made.check(request(), IMAGE)
    assert checked.values.tenant_id == ""
    await made.start_webhook(checked)
    assert made.changes == 0


async def create_pull_secret(admin: KubeClient, namespace: str, kind: str) -> None:
    if await admin.find(f"/api/v1/namespaces/{namespace}") is None:
        await admin.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    body = {"metadata": {"name": "registry"}, "type": kind, "data": {".dockerconfigjson": "e30="}}
    await admin.create(f"/api/v1/namespaces/{namespace}/secrets", body)


async def test_pull_secret_is_checked_in_both_namespaces_before_the_first_change(
    admin: KubeClient,
) -> None:
    values = CloudValues(image="registry.example/podpass:1", pull_secret="registry")
    for namespace in ("podpass-cloud", "azure-workload-identity-system"):
        with pytest.raises(
            NoPullSecret, match=f"namespace {namespace} has no Secret registry"
        ) as caught:
            await install(admin, values)
        assert f"create secret docker-registry registry -n {namespace} " in str(caught.value.hint)
        await create_pull_secret(admin, namespace, "kubernetes.io/dockerconfigjson")
    assert await find_all(admin) == ["namespace/podpass-cloud"]
    await install(admin, values)
    account = await admin.get("/api/v1/namespaces/podpass-cloud/serviceaccounts/podpass-cloud")
    assert account["imagePullSecrets"] == [{"name": "registry"}]
    # Without arguments, it is kept.
    assert (await install(admin, CloudValues(image=""))).changes == 0


async def test_pull_secret_of_another_type_is_refused(admin: KubeClient) -> None:
    await create_pull_secret(admin, "podpass-cloud", "Opaque")
    values = CloudValues(image="podpass:1", pull_secret="registry")
    wanted = r"has type Opaque, not kubernetes\.io/dockerconfigjson"
    with pytest.raises(NoPullSecret, match=wanted) as refused:
        await install(admin, values)
    assert "kubectl delete secret registry -n podpass-cloud; kubectl create" in refused.value.hint


def test_webhook_for_identities_uses_the_pull_secret() -> None:
    values = CloudValues(image="podpass:1", pull_secret="registry")
    own = identity_webhook.build_own_webhook(values, identity_webhook.ANY_TENANT)
    [account] = [each for each in own if each["kind"] == "ServiceAccount"]
    assert account["imagePullSecrets"] == [{"name": "registry"}]


def test_second_installation_keeps_the_values_of_omitted_options() -> None:
    earlier = CloudValues(
        image="podpass:9",
        seed="vaults: []",
        claim="data",
        tenant_id="t",
        azurite_image="azurite:1",
        pull_secret="registry",
    )
    existing = {objects.describe(item): item for item in build_objects(earlier)}
    assert keep_earlier(CloudValues(image=""), existing) == earlier
    given = CloudValues(
        image="podpass:10",
        seed="identities: []",
        claim="other",
        tenant_id="u",
        azurite_image="azurite:2",
        pull_secret="more",
    )
    assert keep_earlier(given, existing) == given


def test_no_object_contains_a_key() -> None:
    (secret,) = [each for each in build_objects(VALUES) if each["kind"] == "Secret"]
    assert "data" not in secret
    assert "stringData" not in secret
    assert "PRIVATE KEY" not in json.dumps(build_objects(VALUES))


KIND = "https://127.0.0.1:6443"


@pytest.mark.parametrize(
    ("server", "label", "platform"),
    [
        (KIND, "kubernetes.io/os", None),
        ("https://demo-dns-1a2b.hcp.westeurope.azmk8s.io:443", "kubernetes.io/os", "AKS"),
        ("https://ABC.gr7.eu-west-1.EKS.amazonaws.com", "kubernetes.io/os", "EKS"),
        (KIND, "kubernetes.azure.com/cluster", "AKS"),
        (KIND, "eks.amazonaws.com/nodegroup", "EKS"),
        (KIND, "cloud.google.com/gke-nodepool", "GKE"),
        (KIND, "node.openshift.io/os_id", "OpenShift"),
        ("https://azmk8s.io.example:6443", "kubernetes.io/os", None),
    ],
    ids=["kind", "aks-server", "eks-server", "aks", "eks", "gke", "openshift", "similar-name"],
)
def test_platform_is_found_by_server_and_node_labels(
    server: str, label: str, platform: str | None
) -> None:
    assert find_platform(server, [{}, {label: "x"}]) == platform


def test_managed_cluster_is_refused() -> None:
    with pytest.raises(NotATestCluster, match="is a cluster of GKE") as caught:
        check_cluster("prod", KIND, [{"cloud.google.com/gke-nodepool": "p"}], None)
    assert caught.value.hint is not None
    assert "--yes-this-cluster prod" in caught.value.hint


def test_managed_cluster_is_accepted_if_its_name_is_repeated() -> None:
    check_cluster("lab", KIND, [{"cloud.google.com/gke-nodepool": "p"}], "lab")


def test_wrong_name_is_refused_for_any_cluster() -> None:
    with pytest.raises(NotATestCluster, match="--yes-this-cluster lab is not the current context"):
        check_cluster("kind-kind", KIND, [], "lab")
