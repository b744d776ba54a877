"""What `podpass cloud status POD` reads, in the embedded cluster."""

import pytest

from podpass.kubernetes.client import KubeClient
from podpass.lab.gateway.gateway import SERVED_NAMES
from podpass.lab.install import cluster_dns
from podpass.lab.install.object_names import NAME, NAMESPACE
from podpass.lab.install.pod_facts import NoSuchPod, read_cloud, read_pod
from podpass.lab.names.trust_objects import build_configuration

_STATUS = {"tenant_id": "t", "ca": "PEM"}
_COREFILE = ".:53 {\n    errors\n    forward . /etc/resolv.conf\n}\n"
_REGISTRATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


async def create_service(admin: KubeClient) -> str:
    """Create the Service of an installation; return its address."""
    await admin.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    about = {"metadata": {"name": NAME}, "spec": {"ports": [{"port": 443}]}}
    made = await admin.create(f"/api/v1/namespaces/{NAMESPACE}/services", about)
    return str(made["spec"]["clusterIP"])


async def test_missing_pod_is_an_error_with_the_command_that_lists_pods(admin: KubeClient) -> None:
    with pytest.raises(NoSuchPod, match="pod default/web does not exist") as caught:
        await read_pod(admin, "default", "web")
    assert caught.value.hint == "list the pods: kubectl get pods -n default"


async def test_config_map_of_the_namespace_is_read_if_there_is_one(admin: KubeClient) -> None:
    spec = {"containers": [{"name": "app", "image": "app"}], "automountServiceAccountToken": False}
    await admin.create("/api/v1/namespaces", {"metadata": {"name": "shop"}})
    await admin.create("/api/v1/namespaces/shop/pods", {"metadata": {"name": "web"}, "spec": spec})
    facts = await read_pod(admin, "shop", "web")
    assert (facts.namespace["metadata"]["name"], facts.bundle) == ("shop", None)
    bundle = {"metadata": {"name": "podpass-cloud-trust"}, "data": {"ca.crt": "PEM"}}
    await admin.create("/api/v1/namespaces/shop/configmaps", bundle)
    found = await read_pod(admin, "shop", "web")
    assert found.bundle is not None
    assert found.bundle["data"] == {"ca.crt": "PEM"}


async def test_objects_of_an_installation_are_read(admin: KubeClient) -> None:
    address = await create_service(admin)
    before = await read_cloud(admin, NAMESPACE, _STATUS)
    assert (before.resolver, before.registration, before.cluster_dns) == (address, None, False)
    metadata = {"name": "coredns", "namespace": "kube-system"}
    body = {"metadata": metadata, "data": {"Corefile": _COREFILE}}
    await admin.create("/api/v1/namespaces/kube-system/configmaps", body)
    await cluster_dns.add(admin, NAMESPACE, address, SERVED_NAMES)
    url = {"url": "https://127.0.0.1:9443/trust"}
    await admin.create(_REGISTRATIONS, build_configuration(url, NAMESPACE))
    after = await read_cloud(admin, NAMESPACE, _STATUS)
    assert after.cluster_dns is True
    assert after.registration is not None


async def test_dns_block_of_another_installation_is_ignored(admin: KubeClient) -> None:
    await create_service(admin)
    metadata = {"name": "coredns", "namespace": "kube-system"}
    body = {"metadata": metadata, "data": {"Corefile": _COREFILE}}
    await admin.create("/api/v1/namespaces/kube-system/configmaps", body)
    await cluster_dns.add(admin, "other", "10.96.1.2", SERVED_NAMES)
    assert (await read_cloud(admin, NAMESPACE, _STATUS)).cluster_dns is False
