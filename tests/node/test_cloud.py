"""The cloud half in a pod of the node, as `podpass cloud install` makes it, and unmodified images."""

from tests.node.cloud_installation import COREFILE, READ, RESOLVE, WEB_SEED, Installation


def test_cloud_uses_the_tenant_of_an_existing_webhook_of_the_node(cloud: Installation) -> None:
    assert cloud.status()["tenant_id"] == cloud.node.cloud.status["tenant_id"]


def test_unmodified_image_reads_its_secret(cloud: Installation) -> None:
    assert cloud.run("reader", READ) == "hello from the vault\n"


def test_other_service_account_is_refused(cloud: Installation) -> None:
    assert "AADSTS700213" in cloud.run("refused", READ, account="other")


def test_name_of_a_vault_resolves_when_the_vault_exists(cloud: Installation) -> None:
    names = ("demo-vault.vault.azure.net", "later-vault.vault.azure.net", "graph.microsoft.com")
    address = cloud.status()["address"]
    found = dict(line.split() for line in cloud.run("early", RESOLVE, *names).splitlines())
    assert found == {names[0]: address, names[1]: "NXDOMAIN", names[2]: address}
    cloud.podpass("apply", "-f", "-", given="vaults: [{name: later-vault}]")
    assert cloud.run("later", RESOLVE, names[1]) == f"{names[1]} {address}\n"


def test_replaced_pod_is_the_same_cloud(cloud: Installation) -> None:
    before = cloud.status()
    cloud.node.kubectl("delete", "pod", "-n", "podpass-cloud", "--all", "--wait=true")
    deployment = ("-n", "podpass-cloud", "deployment/podpass-cloud")
    cloud.node.wait_for("rollout", "status", *deployment)
    after = cloud.status()
    same = ("tenant_id", "subscription_id", "issuer", "address")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    cloud.podpass("apply", "-f", "-", given=WEB_SEED)
    assert cloud.run("again", READ) == "hello from the vault\n"


def test_dns_of_single_pods_is_changed_without_a_change_of_the_clusters_dns(
    cloud: Installation,
) -> None:
    cloud.podpass("install", "--for=shop", "--dns=pods", "--timeout=280")
    assert cloud.node.kubectl(*COREFILE) == cloud.corefile
    cloud.podpass("apply", "-f", "-", given=WEB_SEED)
    assert cloud.run("pod-dns", READ) == "hello from the vault\n"
    names = ("kubernetes.default", "demo-vault.vault.azure.net")
    found = dict(line.split() for line in cloud.run("own-dns", RESOLVE, *names).splitlines())
    assert found == {names[0]: "10.96.0.1", names[1]: cloud.status()["address"]}


def test_reset_keeps_the_cluster_and_the_pods_of_the_seed(cloud: Installation) -> None:
    cloud.podpass("apply", "-f", "-", given="vaults: [{name: third-vault}]")
    assert "is as at its start" in cloud.podpass("reset")
    assert cloud.status()["vaults"] == ["https://demo-vault.vault.azure.net"]
    cloud.podpass("apply", "-f", "-", given=WEB_SEED)
    assert cloud.run("after-reset", READ) == "hello from the vault\n"


def test_removed_installation_leaves_nothing(cloud: Installation) -> None:
    assert "is removed" in cloud.podpass("uninstall", "--yes")
    assert cloud.node.kubectl(*COREFILE) == cloud.corefile
    kinds = "all,configmaps,secrets,roles,clusterroles,clusterrolebindings"
    kinds += ",mutatingwebhookconfigurations"
    for label in ("app.kubernetes.io/part-of=podpass-cloud", "podpass.dev/cloud-managed"):
        found = cloud.node.kubectl("get", kinds, "-A", "-l", label, "-o", "name")
        assert found == ""
    labels = cloud.node.get("namespace", "shop")["metadata"]["labels"]
    assert "podpass.dev/cloud" not in labels
