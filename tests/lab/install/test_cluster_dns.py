"""The configuration of CoreDNS: the block is added, and removed letter by letter."""

from typing import Any

import pytest

from podpass.kubernetes.client import KubeClient, KubeError
from podpass.lab.gateway.gateway import SERVED_NAMES, list_served_names
from podpass.lab.install import cluster_dns
from podpass.lab.install.cluster_dns import NoCoreDns, NoDnsServer
from podpass.lab.names.corefile import CUSTOM_KEY, OtherOwner

PATH = "/api/v1/namespaces/kube-system/configmaps"
KUBEADM = """.:53 {
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
    }
    forward . /etc/resolv.conf
    reload
}
"""
K3S = KUBEADM + "import /etc/coredns/custom/*.server\n"


async def create(admin: KubeClient, name: str, data: dict[str, str]) -> None:
    metadata = {"name": name, "namespace": "kube-system"}
    await admin.create(PATH, {"metadata": metadata, "data": data})


async def read(admin: KubeClient, name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = (await admin.get(f"{PATH}/{name}"))["data"]
    except KubeError as exc:
        assert exc.status == 404
        return None
    return found


async def test_corefile_gets_the_block_and_is_restored(admin: KubeClient) -> None:
    data = {"Corefile": KUBEADM, "other": "kept"}
    await create(admin, "coredns", data)
    await cluster_dns.check_dns(admin, "podpass-cloud", SERVED_NAMES)
    assert await cluster_dns.add(admin, "podpass-cloud", "10.96.1.2", SERVED_NAMES)
    changed = await read(admin, "coredns")
    assert changed is not None
    assert changed["Corefile"].endswith(KUBEADM)
    assert "forward . 10.96.1.2" in changed["Corefile"]
    assert "vault.azure.net:53" in changed["Corefile"]
    assert not await cluster_dns.add(admin, "podpass-cloud", "10.96.1.2", SERVED_NAMES)
    assert await cluster_dns.remove(admin, "podpass-cloud")
    assert await read(admin, "coredns") == data
    assert not await cluster_dns.remove(admin, "podpass-cloud")


async def test_zones_of_storage_are_added_to_the_block_of_an_earlier_installation(
    admin: KubeClient,
) -> None:
    """Without Azurite, the names of storage accounts are those of Azure."""
    zones = [f"{each}.core.windows.net:53" for each in ("blob", "queue", "table")]
    await create(admin, "coredns", {"Corefile": KUBEADM})
    assert await cluster_dns.add(admin, "podpass-cloud", "10.96.1.2", SERVED_NAMES)
    before = await read(admin, "coredns")
    assert before is not None
    assert not any(zone in before["Corefile"] for zone in zones)
    served = list_served_names(("blob", "queue", "table"))
    assert await cluster_dns.add(admin, "podpass-cloud", "10.96.1.2", served)
    after = await read(admin, "coredns")
    assert after is not None
    assert all(zone in after["Corefile"] for zone in zones)
    assert await cluster_dns.remove(admin, "podpass-cloud")
    assert await read(admin, "coredns") == {"Corefile": KUBEADM}


@pytest.mark.parametrize(
    "before", [None, {"own.server": "example.com { \n}\n"}, {}], ids=["absent", "used", "empty"]
)
async def test_k3s_gets_a_key_of_its_own_and_is_restored(
    admin: KubeClient, before: dict[str, str] | None
) -> None:
    await create(admin, "coredns", {"Corefile": K3S})
    if before is not None:
        await create(admin, "coredns-custom", before)
    assert await cluster_dns.add(admin, "podpass-cloud", "10.96.1.2", SERVED_NAMES)
    assert await read(admin, "coredns") == {"Corefile": K3S}
    custom = await read(admin, "coredns-custom")
    assert custom is not None
    assert custom.keys() == {CUSTOM_KEY, *(before or {})}
    assert await cluster_dns.remove(admin, "podpass-cloud")
    if before is None:
        assert await read(admin, "coredns-custom") is None
    else:
        stored = await admin.get(f"{PATH}/coredns-custom")
        assert (stored.get("data") or {}) == before


async def test_address_of_the_clusters_dns_service_is_found(admin: KubeClient) -> None:
    with pytest.raises(NoDnsServer):
        await cluster_dns.find_server(admin)
    about = {"metadata": {"name": "kube-dns"}, "spec": {"ports": [{"port": 53}]}}
    made = await admin.create("/api/v1/namespaces/kube-system/services", about)
    assert await cluster_dns.find_server(admin) == made["spec"]["clusterIP"]


async def test_cluster_without_coredns_is_refused(admin: KubeClient) -> None:
    with pytest.raises(NoCoreDns):
        await cluster_dns.check_dns(admin, "podpass-cloud", SERVED_NAMES)
    assert not await cluster_dns.remove(admin, "podpass-cloud")


async def test_block_of_another_installation_is_not_removed(admin: KubeClient) -> None:
    await create(admin, "coredns", {"Corefile": KUBEADM})
    await cluster_dns.add(admin, "first", "10.96.1.2", SERVED_NAMES)
    with pytest.raises(OtherOwner):
        await cluster_dns.remove(admin, "second")
